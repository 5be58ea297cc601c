"""Prediction: where objects will be, what they will do and whether they get in the way, from the recorded 3 s."""

import re

import numpy as np

from independent import words
from independent.asked import Asked, Checker
from independent.geometry import distances, in_way_now, outline, path_lines, touches_rest
from independent.grammar import seen, singular
from independent.verdict import Verdict, between, denied, first_failure, judge, number, undecided, yes_no
from independent.world import STEP_S, Box


def check_distance_ahead(asked: Asked) -> Verdict:
    """``How far will the car to the front be from the ego vehicle in 2 s?``."""
    stated = re.fullmatch(r"([\d.]+) m\.", asked.answer)
    step = round(float(asked.slot("seconds") or 0) / STEP_S)
    if stated is None or not 0 < step <= 6:
        return denied(f"no distance: {asked.answer}")

    def compare(box: Box) -> Verdict:
        value = distances(asked.keyframe, box)[step]
        return undecided("the future is not recorded") if np.isnan(value) else number(stated[1], value, unit="m")

    return asked.about(compare)


def check_change(asked: Asked) -> Verdict:
    """``Will the car to the front be closer to the ego vehicle or further away in 3 s?``."""

    def compare(box: Box) -> Verdict:
        change = distances(asked.keyframe, box)[-1] - box.distance
        low, high = words.DISTANCE_CHANGE_M
        if np.isnan(change):
            return undecided("the future is not recorded")
        truth = {
            "It will come closer.": between(-change, low, high),
            "It will be further away.": between(change, low, high),
            "It will stay as far away.": between(-abs(change), -high, -low),
        }.get(asked.answer, False)
        return judge(truth, f"changes by {change:.2f} m")

    return asked.about(compare)


def check_when_nearest(asked: Asked) -> Verdict:
    """``When in the next 3 s will the car to the front be nearest to the ego vehicle?``, in steps of 0.5 s."""
    stated = re.fullmatch(r"In ([\d.]+) s\.|Now\.", asked.answer)
    if stated is None:
        return denied(f"no time: {asked.answer}")
    step = round(float(stated[1] or 0) / STEP_S)

    def compare(box: Box) -> Verdict:
        known = distances(asked.keyframe, box)
        if np.isnan(known).any() or step > 6:
            return undecided("the future is not recorded")
        away = float(known[step] - known.min())
        return judge(between(-away, -0.1, -0.02), f"nearest after {np.argmin(known) * STEP_S} s, {away:.2f} m nearer")

    return asked.about(compare)


def check_near(asked: Asked) -> Verdict:
    """``Which objects will be within 5 m of the ego vehicle in the next 3 s?``: kinds, at the six future steps."""
    within = float(asked.slot("within") or 0)
    named = set(re.split(r", | and ", asked.answer.rstrip(".").lower())) - {"none", "nothing"}
    stated = {singular(name) for name in named}
    if not stated <= set(words.CATEGORIES):
        return denied(f"unknown kinds: {asked.answer}")
    nearest: dict[str, float] = {}
    for box in seen(asked.keyframe):
        known = distances(asked.keyframe, box)[1:]
        if not np.isnan(known).all():
            nearest[box.category] = min(nearest.get(box.category, np.inf), float(np.nanmin(known)))
    verdicts = []
    for name, category in words.CATEGORIES.items():
        truth = between(within - nearest.get(category, np.inf), -words.BORDER_M, words.BORDER_M)
        verdicts.append(judge(None if truth is None else truth == (name in stated), f"{name}: tables {truth}"))
    return first_failure(verdicts)


def check_in_way_now(asked: Asked) -> Verdict:
    """``Is the car to the front in the way of the ego vehicle?``."""
    return asked.about(
        lambda box: yes_no(
            asked.answer,
            in_way_now(asked.keyframe, box),
            f"{outline(box).distance(path_lines(asked.keyframe)[0]):.2f} m from the path",
        )
    )


def check_in_way_ahead(asked: Asked) -> Verdict:
    """``Will the car to the front be in the way …?``: on what the ego has yet to drive of its 3 s, before the ego.

    Who only follows is in nobody's way.
    """

    def compare(box: Box) -> Verdict:
        touches = touches_rest(asked.keyframe, box)
        truth: bool | None = True if True in touches else (None if None in touches[1:] else False)
        reason = f"on the rest of the driven path before the ego at steps {touches}"
        if asked.answer == "No." and truth and touches[0] is True and True not in touches[1:]:
            return undecided(f"leaves the path at once; {reason}")
        return yes_no(asked.answer, truth, reason)

    return asked.about(compare)


def check_future(asked: Asked) -> Verdict:
    """``What will the pedestrian to the front do next?``, from its recorded 3 s."""

    def compare(box: Box) -> Verdict:
        poses, valid = box.track()
        poses = poses[valid]
        if len(poses) < 4:
            return undecided("the future is not recorded")
        steps = np.hypot(*np.diff(poses[:, :2], axis=0).T) / STEP_S
        net = float(np.hypot(*(poses[-1] - poses[0])[:2]))
        turned = float(np.degrees(np.unwrap(poses[:, 2])[-1] - poses[0, 2]))
        truth = _future(box, asked.answer, steps, net, turned)
        return judge(
            truth, f"moves {net:.1f} m, {box.speed:.1f} m/s now, {steps[-1]:.1f} m/s last, turns {turned:.0f}°"
        )

    return asked.about(compare)


def _future(box: Box, answer: str, steps: np.ndarray, net: float, turned: float) -> bool | None:
    """Whether a sentence is true of a recorded future."""
    moves = between(net, words.STANDS_M, words.STEADY_M)
    now = between(box.speed, *words.AGENT_STOPPED_MPS)
    if now is None and box.attribute is not None:
        now = box.attribute.endswith("moving")
    last = between(float(steps[-1]), *words.STOPPED_MPS)
    turns = between(abs(turned), *words.AGENT_TURN_DEG)
    parts: dict[str, list[bool | None]] = {
        "It will stay where it is.": [_no(moves)],
        "It will start to move.": [moves, _no(now), last],
        "It will stop.": [moves, now, _no(last)],
        "It will keep walking.": [moves, now, last, box.category == "pedestrian"],
        "It will go straight.": [moves, now, last, _no(turns), box.category != "pedestrian"],
        "It will turn left.": [moves, turns, turned > 0],
        "It will turn right.": [moves, turns, turned < 0],
    }
    found = parts.get(answer, [False])
    return False if False in found else (None if None in found else True)


def _no(truth: bool | None) -> bool | None:
    return None if truth is None else not truth


def check_intention(asked: Asked) -> Verdict:
    """``What does the pedestrian to the front intend to do?``, by the world's truth."""
    stated = words.INTENTIONS.get(asked.answer.removeprefix("It intends to ").rstrip("."), ())

    def compare(box: Box) -> Verdict:
        found = asked.keyframe.values("intention", box.token)
        light = asked.keyframe.values("signal")
        if "queue" in stated and light and "red" not in light:
            return denied(f"the traffic light is {light}")
        return judge(bool(found & set(stated)), f"tables: {found}") if found else undecided("no intention is recorded")

    return asked.about(compare)


SHAPES: dict[str, tuple[tuple[str, ...], Checker]] = {
    "distance in the future": (
        (
            r"At what distance from the ego vehicle will OBJ be in (?P<seconds>\d+) s\?",
            r"How far will OBJ be from the ego vehicle in (?P<seconds>\d+) s\?",
            r"In (?P<seconds>\d+) s, how far away will OBJ be\?",
            r"What will be the distance between OBJ and the ego vehicle in (?P<seconds>\d+) s\?",
        ),
        check_distance_ahead,
    ),
    "closer or further": (
        (
            r"Does the ego vehicle come closer to OBJ in the next 3 s\?",
            r"How will the distance between OBJ and the ego vehicle change in the next 3 s\?",
            r"In 3 s, will OBJ be closer or further away\?",
            r"Will OBJ be closer to the ego vehicle or further away in 3 s\?",
        ),
        check_change,
    ),
    "when nearest": (
        (
            r"After how many seconds of the next 3 s is OBJ nearest to the ego vehicle\?",
            r"At what time in the next 3 s does OBJ come nearest to the ego vehicle\?",
            r"In how many seconds, out of the next 3 s, will OBJ be nearest to the ego vehicle\?",
            r"When in the next 3 s will OBJ be nearest to the ego vehicle\?",
        ),
        check_when_nearest,
    ),
    "kinds that come near": (
        (
            r"(?:What|Which) (?:kinds of )?objects will (?:be|get) within (?P<within>\d+) m of the ego vehicle "
            r"in the next 3 s\?",
            r"What will come within (?P<within>\d+) m of the ego vehicle in the next 3 s\?",
        ),
        check_near,
    ),
    "in the way": (
        (r"Is OBJ (?:in|on) the (?:way|path|moving direction) of the ego vehicle\?",),
        check_in_way_now,
    ),
    "will be in the way": (
        (
            r"Will OBJ be in the way of the ego vehicle (?:in the next|within) 3 s\?",
            r"In the next 3 s, will OBJ be in the way of the ego vehicle\?",
            r"Is OBJ going to be in the way of the ego vehicle in the next 3 s\?",
        ),
        check_in_way_ahead,
    ),
    "future": (
        (
            r"How will OBJ move in the next 3 s\?",
            r"What is the future state of OBJ\?",
            r"What will OBJ do (?:next|in the next 3 s)\?",
        ),
        check_future,
    ),
    "intention": (
        (
            r"What does OBJ (?:intend|plan) to do\?",
            r"What is (?:OBJ about to do|the intention of OBJ)\?",
        ),
        check_intention,
    ),
}

"""Planning and behavior: what the ego should do (what was driven), and what other actions would lead to."""

import re
from collections.abc import Iterable

import numpy as np

from independent import words
from independent.asked import Asked, Checker
from independent.geometry import distances, gaps, in_way_now
from independent.grammar import extract, resolve, seen
from independent.verdict import (
    AGREED,
    Verdict,
    between,
    denied,
    first_failure,
    judge,
    number,
    undecided,
    yes_no,
)
from independent.world import STEP_S, Box, Keyframe

ACTIONS = {
    "going straight": "straight",
    "accelerating": "accelerate",
    "braking": "brake",
    "turning left": "left",
    "turning right": "right",
}
CONDITIONS = {
    "accelerates": "accelerate",
    "brakes": "brake",
    "goes straight at the same speed": "straight",
    "turns left": "left",
    "turns right": "right",
}
CLEAR_M, NEAR_MISS_M = 1.0, 0.3
MOST, FEW = 0.66, 0.5


def collides(keyframe: Keyframe, box: Box, action: str) -> bool | None:
    """Whether an action hits a box within 3 s: in most strengths true, in none and not nearly false, else None."""
    found = gaps(keyframe, box, action)
    share = float((found <= 0.0).mean())
    return True if share >= MOST else (False if share == 0.0 and found.min() > NEAR_MISS_M else None)


def hits_any(keyframe: Keyframe, boxes: Iterable[Box], action: str) -> bool | None:
    """Whether an action hits any of the boxes; None where it may, or hits only what is mostly hidden."""
    found: list[bool | None] = []
    for box in boxes:
        truth = collides(keyframe, box, action)
        found.append(None if truth and box.visibility < words.SEEN_VISIBILITY else truth)
    return True if True in found else (None if None in found else False)


def check_probability(asked: Asked) -> Verdict:
    """``How likely is a collision with … if the ego vehicle brakes?``.

    High: in at least half of the strengths of the action; low: in none; medium: in some of them, or nearly.
    """
    action = CONDITIONS[asked.slot("condition") or ""]

    def compare(box: Box) -> Verdict:
        found = gaps(asked.keyframe, box, action)
        share = float((found <= 0.0).mean())
        reason = f"hit in {share:.0%} of the strengths, gap {found.min():.2f} to {found.max():.2f} m"
        if asked.answer == "High.":
            return judge(share >= 0.5 or (None if share > 0 else False), reason)
        if asked.answer == "Low.":
            return judge(share == 0 or (None if share <= FEW else False), reason)
        if asked.answer != "Medium.":
            return denied(f"no probability: {asked.answer}")
        nearly = found.min() <= NEAR_MISS_M or (None if found.min() <= CLEAR_M else False)
        return judge(nearly if share == 0 else (share < 1 or None), reason)

    return asked.about(compare)


def check_collisions_with(asked: Asked) -> Verdict:
    """``Which actions of the ego vehicle would lead to a collision with …?``."""
    return asked.about(lambda box: _actions(asked, [box]))


def check_collisions(asked: Asked) -> Verdict:
    """``Which actions of the ego vehicle are dangerous?``: those that hit anything."""
    return _actions(asked, list(asked.keyframe.boxes))


def _actions(asked: Asked, boxes: list[Box]) -> Verdict:
    text = asked.answer.rstrip(".").lower()
    stated = set() if text == "none of them" else {ACTIONS.get(name, "?") for name in re.split(r", | and ", text)}
    if "?" in stated:
        return denied(f"no actions: {asked.answer}")
    verdicts = []
    for name, action in ACTIONS.items():
        truth = hits_any(asked.keyframe, boxes, action)
        verdicts.append(judge(None if truth is None else truth == (action in stated), f"{name}: tables {truth}"))
    denials = [verdict for verdict in verdicts if verdict.kind == "false"]
    doubts = sum(verdict.kind == "undecidable" for verdict in verdicts)
    return denials[0] if denials else (undecided("every action is doubtful") if doubts == len(ACTIONS) else AGREED)


def check_straight(asked: Asked) -> Verdict:
    """``Would going straight at the same speed lead to a collision within 3 s?``."""
    return yes_no(asked.answer, hits_any(asked.keyframe, asked.keyframe.boxes, "straight"), "straight on")


def check_nearest_in_way(asked: Asked) -> Verdict:
    """``How far is the nearest object on the path of the ego vehicle?``, to its centre."""
    judged = [(box.distance, in_way_now(asked.keyframe, box)) for box in seen(asked.keyframe)]
    sure = min((distance for distance, truth in judged if truth), default=np.inf)
    maybe = min((distance for distance, truth in judged if truth is not False), default=np.inf)
    none_within = re.fullmatch(r"There is none within (\d+) m\.", asked.answer)
    stated = re.fullmatch(r"([\d.]+) m\.", asked.answer)
    if none_within:
        limit = float(none_within[1])
        return judge(False if sure < limit else (None if maybe < limit else True), f"one at {sure:.2f} m")
    if stated is None:
        return denied(f"no distance: {asked.answer}")
    options = {number(stated[1], value, unit="m").kind for value in (sure, maybe)}
    return judge(options.pop() == "true" if len(options) == 1 else None, f"nearest at {sure:.2f} or {maybe:.2f} m")


def driven(keyframe: Keyframe, steps: int = 6) -> np.ndarray | None:
    """Poses of the ego now and in the next steps; None where they are not all recorded."""
    poses, valid = keyframe.ego_track()
    return poses[: steps + 1] if valid[: steps + 1].all() else None


def check_length(asked: Asked) -> Verdict:
    """``How far should the ego vehicle drive in the next 3 s?``."""
    stated = re.fullmatch(r"([\d.]+) m\.", asked.answer)
    poses = driven(asked.keyframe, round(float(asked.slot("seconds") or 0) / STEP_S))
    if stated is None or poses is None:
        return denied(f"no length: {asked.answer}") if stated is None else undecided("the path is not recorded")
    return number(stated[1], float(np.hypot(*np.diff(poses[:, :2], axis=0).T).sum()), unit="m")


def check_speed_ahead(asked: Asked) -> Verdict:
    """``How fast should the ego vehicle be in 3 s?``: the speed that is recorded 3 s later."""
    stated = re.fullmatch(r"([\d.]+) m/s\.", asked.answer)
    value = asked.keyframe.speed_in(round(float(asked.slot("seconds") or 0) / STEP_S))
    if stated is None:
        return denied(f"no speed: {asked.answer}")
    if value is None:
        return undecided("the speed is not recorded")
    return number(stated[1], abs(value), words.SPEED_AHEAD_MPS, "m/s")


def check_turn(asked: Asked) -> Verdict:
    """``Which way should the ego vehicle go in the next 3 s?``."""
    poses = driven(asked.keyframe)
    if poses is None:
        return undecided("the path is not recorded")
    turned = float(np.degrees(np.unwrap(poses[:, 2])[-1]))
    low, high = words.EGO_TURN_DEG
    truth = {
        "Turn left.": between(turned, low, high),
        "Turn right.": between(-turned, low, high),
        "Go straight.": between(-abs(turned), -high, -low),
    }.get(asked.answer, False)
    return judge(truth, f"turns {turned:.1f}°")


def check_action(asked: Asked) -> Verdict:
    """``What should the ego vehicle do next (and why)?``."""
    action, _, reason = asked.answer.rstrip(".").partition(", because ")
    poses = driven(asked.keyframe)
    if poses is None:
        return undecided("the path is not recorded")
    steps = np.hypot(*np.diff(poses[:, :2], axis=0).T) / STEP_S
    verdict = judge(
        _acts(action, abs(asked.keyframe.speed), float(steps[-1]), float(steps.sum() * STEP_S)),
        f"{asked.keyframe.speed:.2f} m/s now, {steps[-1]:.2f} m/s last, {steps.sum() * STEP_S:.1f} m driven",
    )
    if asked.slot("why") is None:
        return verdict if not reason else denied("a reason where none is asked for")
    return first_failure([verdict, _because(asked, reason) if reason else denied("no reason")])


def _acts(action: str, now: float, last: float, length: float) -> bool | None:
    """Whether an action describes a drive from one speed to another over a length."""
    stands, moves = between(-now, -words.STOPPED_MPS[1], -words.STOPPED_MPS[0]), between(now, *words.STOPPED_MPS)
    ends = between(-last, -words.STOPPED_MPS[1], -words.STOPPED_MPS[0])
    (low, low_share), (high, high_share) = words.SPEED_CHANGE
    change = last - now
    more = between(change, max(low, low_share * now), max(high, high_share * now))
    less = between(-change, max(low, low_share * now), max(high, high_share * now))
    parts: dict[str, list[bool | None]] = {
        "Stay stopped": [stands, between(-length, -2.0, -words.STEADY_M)],
        "Start to drive": [stands, between(length, 0.1, words.STANDS_M)],
        "Stop": [moves, ends],
        "Slow down": [moves, None if ends else True, less if less is False else True],
        "Speed up": [moves, _no(ends), more if more is False else True],
        "Keep going": [moves, _no(ends), None if more else True, None if less else True],
    }
    found = parts.get(action, [False])
    return False if False in found else (None if None in found else True)


def _no(truth: bool | None) -> bool | None:
    return None if truth is None else not truth


def _because(asked: Asked, reason: str) -> Verdict:
    """Whether a reason holds in the tables."""
    frame = asked.keyframe
    text, references = extract(reason)
    if text == "the traffic light ahead is red":
        return judge("red" in frame.values("signal"), f"traffic light {frame.values('signal')}")
    if text == "the way ahead is clear":
        return _clear(frame)
    if text == "there is a turn ahead":
        poses = driven(frame)
        turned = 0.0 if poses is None else float(np.degrees(np.abs(poses[:, 2]).max()))
        ahead = frame.row["command_route"] in {"left", "right"} or turned >= words.EGO_TURN_DEG[0]
        return judge(ahead or bool(frame.values("event") & {"turn_left", "turn_right", "curve"}), "no turn")
    if len(references) != 1:
        return denied(f"unknown reason: {reason}")
    box, verdict = resolve(frame, references[0])
    if box is None:
        return verdict
    return first_failure([verdict, judge(box.token in asked.objects, "not listed"), _does(frame, box, text)])


def _does(frame: Keyframe, box: Box, text: str) -> Verdict:
    intentions = frame.values("intention", box.token)
    events = {i.value for i in frame.intervals if i.kind == "event" and i.token == box.token}
    wanted = {
        "OBJ crosses the road": {"crossing_pedestrian", "jaywalker", "hidden_jaywalker"},
        "OBJ pulls out in front of the ego vehicle": {"pull_out"},
        "OBJ changes into the lane of the ego vehicle": {"cut_in"},
        "OBJ has braked hard": {"hard_braking_lead"},
    }
    if text == "OBJ is in the way":
        truth = in_way_now(frame, box)
        return judge(truth, f"{text}: {truth}, at ({box.center[0]:.1f}, {box.center[1]:.1f})")
    return judge(bool(wanted.get(text, set()) & (intentions | events)), f"{text}: tables {intentions | events}")


def _clear(frame: Keyframe) -> Verdict:
    """Whether nothing that is seen stands on what is driven in 3 s, and no light ahead is red."""
    poses = driven(frame)
    reach = 0.0 if poses is None else float(np.hypot(*np.diff(poses[:, :2], axis=0).T).sum())
    blocking = [
        box
        for box in seen(frame)
        if in_way_now(frame, box) and box.distance <= max(reach, 6.0) and np.nanmin(distances(frame, box)) < 4.5
    ]
    if "red" in frame.values("signal"):
        return denied("the traffic light ahead is red")
    return judge(not blocking, f"{[box.category for box in blocking]} on the path")


def check_behavior(asked: Asked) -> Verdict:
    """``Predict the behavior of the ego vehicle.``: steering and speed over the next 3 s."""
    pattern = r"The ego vehicle is (.+)\. The ego vehicle is (.+)\."
    stated = re.fullmatch(pattern, asked.answer)
    poses = driven(asked.keyframe)
    if stated is None or poses is None:
        return denied(f"no behavior: {asked.answer}") if stated is None else undecided("the path is not recorded")
    turned = float(np.degrees(np.unwrap(poses[:, 2])[-1]))
    mean = float(np.hypot(*np.diff(poses[:, :2], axis=0).T).sum() / (STEP_S * 6))
    return first_failure([_steers(stated[1], turned), _speed_word(stated[2], mean)])


def _steers(stated: str, turned: float) -> Verdict:
    low, high = words.EGO_TURN_DEG
    side, size = ("left" if turned > 0 else "right"), abs(turned)
    word = "going straight" if size < low else f"{'slightly ' if size < high else ''}steering to the {side}"
    border = min(abs(size - low), abs(size - high)) < words.BEHAVIOR_BAND
    return judge(None if border else stated == word, f"turns {turned:.1f}°")


def _speed_word(stated: str, mean: float) -> Verdict:
    border = min(abs(mean - limit) for limit in words.SPEEDS_MPS) < words.BEHAVIOR_BAND / 5
    word = words.SPEED_WORDS[int(np.searchsorted(words.SPEEDS_MPS, mean, side="right"))]
    return judge(None if border else stated == word, f"{mean:.2f} m/s on average")


WHAT = r"(?:accelerates|brakes|goes straight at the same speed|turns left|turns right)"
SHAPES: dict[str, tuple[tuple[str, ...], Checker]] = {
    "collision probability": (
        (
            rf"How likely is a collision with OBJ if the ego vehicle (?P<condition>{WHAT})\?",
            rf"If the ego vehicle (?P<condition>{WHAT}), what is the probability of a collision with OBJ\?",
            rf"What is the (?:collision probability|probability of a collision) with OBJ if the ego vehicle "
            rf"(?P<condition>{WHAT})\?",
        ),
        check_probability,
    ),
    "actions that hit an object": (
        (
            r"(?:What|Which) actions (?:of the ego vehicle )?(?:would|could) (?:lead to|cause) a collision with OBJ\?",
            r"Which actions of the ego vehicle are dangerous because of OBJ\?",
        ),
        check_collisions_with,
    ),
    "dangerous actions": (
        (
            r"What are dangerous actions of the ego vehicle\?",
            r"Which actions of the ego vehicle are dangerous\?",
            r"(?:What|Which) actions of the ego vehicle (?:would|could) lead to a collision within 3 s\?",
        ),
        check_collisions,
    ),
    "going straight": (
        (
            r"If the ego vehicle goes straight at the same speed, would it hit something within 3 s\?",
            r"Is going straight at the same speed dangerous for the ego vehicle within 3 s\?",
            r"Would going straight at the same speed lead to a collision within 3 s\?",
            r"Would the ego vehicle hit something if it kept going straight\?",
        ),
        check_straight,
    ),
    "nearest in the way": (
        (
            r"(?:At what distance is|How far(?: away)? is|What is the distance to) the nearest object "
            r"(?:in|on) the (?:way|path) of the ego vehicle\?",
        ),
        check_nearest_in_way,
    ),
    "length of the path": (
        (
            r"How far should the ego vehicle drive in the next (?P<seconds>\d+) s\?",
            r"How long is the path that the ego vehicle should drive in the next (?P<seconds>\d+) s\?",
            r"How many metres should the ego vehicle drive in the next (?P<seconds>\d+) s\?",
            r"What distance should the ego vehicle cover in the next (?P<seconds>\d+) s\?",
        ),
        check_length,
    ),
    "speed in the future": (
        (
            r"At what speed should the ego vehicle drive in (?P<seconds>\d+) s\?",
            r"How fast should the ego vehicle be in (?P<seconds>\d+) s\?",
            r"In (?P<seconds>\d+) s, how fast should the ego vehicle drive\?",
            r"What speed should the ego vehicle have in (?P<seconds>\d+) s\?",
        ),
        check_speed_ahead,
    ),
    "turn": (
        (
            r"In the next 3 s, which way should the ego vehicle turn, if at all\?",
            r"Should the ego vehicle turn left, turn right or go straight in the next 3 s\?",
            r"Where should the ego vehicle steer in the next 3 s: to the left, to the right or straight\?",
            r"Where should the ego vehicle steer in the next 3 s: left, right or straight\?",
            r"Which way should the ego vehicle go in the next 3 s\?",
        ),
        check_turn,
    ),
    "action": (
        (
            r"What is (?:a safe|the target) action of the ego vehicle(?P<why> and why)?\?",
            r"What should the ego vehicle do (?:(?P<why>and why)|next)\?",
            r"Which action should the ego vehicle take(?: now|(?P<why>, and for what reason))\?",
        ),
        check_action,
    ),
    "behavior": (
        (
            r"Describe the behavior of the ego vehicle in the next 3 s\.",
            r"Predict the behavior of the ego vehicle\.",
            r"What (?:is|will be) the behavior of the ego vehicle\?",
        ),
        check_behavior,
    ),
}

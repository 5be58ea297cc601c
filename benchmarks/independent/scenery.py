"""Perception of the scene: light, weather, lamps, events, the traffic light, dividers and crossings."""

import re

import numpy as np
from shapely import LineString, MultiPoint, Point

from independent import words
from independent.asked import Asked, Checker
from independent.geometry import path_lines
from independent.verdict import AGREED, Verdict, denied, first_failure, judge, undecided, yes_no
from independent.world import STEP_S, Box, Keyframe

LAMPS = {"None.": set(), "Both.": {"hazard"}, "The left one.": {"turn_left"}, "The right one.": {"turn_right"}}


def check_daytime(asked: Asked) -> Verdict:
    """``What time of day is it?``, by the world's truth."""
    said = re.fullmatch(r"It is (day|dusk|night)\.", asked.answer)
    found = asked.keyframe.values("light") & {"day", "dusk", "night"}
    if not found:
        return undecided("the tables have no light")
    return judge(said is not None and {said[1]} == found, f"tables: {found}")


def check_rain(asked: Asked) -> Verdict:
    """``Is it raining?``, by the scene's description."""
    if asked.answer not in {"It is raining.", "It is not raining."}:
        return denied(f"no weather: {asked.answer}")
    return judge(("rain" in asked.keyframe.description.lower()) == (asked.answer == "It is raining."), "description")


def check_traffic_light(asked: Asked) -> Verdict:
    """``What is the color of the traffic light ahead?``."""
    found = asked.keyframe.values("signal")
    return judge({asked.answer.rstrip(".").lower()} == found, f"tables: {found or 'no traffic light'}")


def check_brake_lights(asked: Asked) -> Verdict:
    """``Are the brake lights of the car to the front on?``."""
    return asked.about(
        lambda box: yes_no(asked.answer, "brake" in asked.keyframe.values("light", box.token), "brake lights")
    )


def check_turn_signals(asked: Asked) -> Verdict:
    """``Which turn signal of the car to the front is on?``."""

    def compare(box: Box) -> Verdict:
        found = asked.keyframe.values("light", box.token) & {"hazard", "turn_left", "turn_right"}
        return judge(asked.answer in LAMPS and LAMPS[asked.answer] == found, f"tables: {found}")

    return asked.about(compare)


def check_events(asked: Asked) -> Verdict:
    """``What is going on in the current scene?``: all events of the truth, each with whom it concerns."""
    events = {i.value: i.token for i in asked.keyframe.intervals if i.kind == "event"}
    if asked.answer == "Nothing special.":
        turned = turned_deg(asked.keyframe)
        quiet = judge(turned < words.EGO_TURN_DEG[1], f"the ego vehicle turns {turned:.0f}° in 3 s")
        return first_failure([judge(not events, f"tables: {sorted(events)}"), quiet])
    stated: set[str] = set()
    verdicts = []
    for sentence in asked.answer.rstrip(".").split(". "):
        name, kind = _event(sentence)
        stated.add(name)
        box = asked.keyframe.by_token.get(events.get(name) or "")
        if kind and box is not None:
            verdicts.append(judge(box.category.replace("_", " ") == kind, f"{sentence}: it is a {box.category}"))
        if box is not None:
            verdicts.append(_happens(name, box))
    return first_failure([judge(stated == set(events), f"tables: {sorted(events)}"), *verdicts])


def _happens(name: str, box: Box) -> Verdict:
    """Whether an event of which a sentence speaks in the present tense is still going on, where that is plain."""
    poses, valid = box.track()
    steps = np.hypot(*np.diff(poses[:4, :2], axis=0).T) / STEP_S
    if name == "hard_braking_lead" and valid[:4].all():
        picks_up = steps[-1] - steps[0] > words.WALKING_MPS and (np.diff(steps) >= 0).all()
        return judge(not picks_up, f"it speeds up, {steps[0]:.1f} to {steps[-1]:.1f} m/s within 1.5 s")
    if name in {"overtaking", "double_parked_truck"}:
        return judge(box.center[0] > -words.PASSED_M, f"it is passed, {-box.center[0]:.1f} m behind")
    return AGREED


def turned_deg(frame: Keyframe) -> float:
    """By how much the ego turns in the recorded part of the next 3 s, in degrees, without the side."""
    poses, valid = frame.ego_track()
    return float(np.degrees(np.abs(np.unwrap(poses[valid][:, 2])[-1])))


def _event(sentence: str) -> tuple[str, str | None]:
    """An event of the truth by its sentence, and the kind of object that the sentence names."""
    for pattern, name in words.EVENTS_OF.items():
        if match := re.fullmatch(pattern, sentence):
            return name, match[1]
    return words.EVENTS.get(sentence, f"? {sentence}"), None


def check_divider(asked: Asked) -> Verdict:
    """``Is there a lane divider to the left of the ego vehicle?``, beside the ego's own lane."""
    sign = 1 if asked.slot("side") == "left" else -1
    sure, possible = (_nearest_divider(asked.keyframe, sign, along) for along in words.DIVIDER_BESIDE_M)
    low, high = words.DIVIDER_M
    truth = True if sure < low else (None if possible < high else False)
    return yes_no(asked.answer, truth, f"nearest divider on that side at {sure:.2f} m beside, {possible:.2f} m around")


def _nearest_divider(frame: Keyframe, sign: int, along_m: float) -> float:
    """How far to a side the nearest divider is that runs within ``along_m`` before or behind the ego origin."""
    beside = []
    for line in frame.polylines.get("divider", []):
        points = np.asarray(LineString(line).segmentize(0.25).coords)
        across = sign * points[np.abs(points[:, 0]) <= along_m, 1]
        beside += [float(value) for value in across if value > 0]
    return min(beside, default=np.inf)


def check_crossing(asked: Asked) -> Verdict:
    """``Is there a pedestrian crossing ahead?``."""
    frame = asked.keyframe
    low, high = words.CROSSING_M
    found = {
        _crosses(frame, line, reach) for line in (path_lines(frame, high)[0], _straight(high)) for reach in (low, high)
    }
    truth = found.pop() if len(found) == 1 else None
    return yes_no(asked.answer, truth, "crossings on the straight line and on the path")


def _straight(length_m: float) -> LineString:
    return LineString([(0.0, 0.0), (length_m, 0.0)])


def _crosses(frame: Keyframe, line: LineString, reach_m: float) -> bool:
    """Whether the line meets a crossing ahead of the ego within ``reach_m``."""
    for points in frame.polylines.get("ped_crossing", []):
        met = line.intersection(MultiPoint(points).convex_hull.buffer(0.2))
        if not met.is_empty and met.bounds[2] > 0.5 and met.distance(Point(0.0, 0.0)) <= reach_m:
            return True
    return False


SHAPES: dict[str, tuple[tuple[str, ...], Checker]] = {
    "time of day": (
        (
            r"At what time of day was the scene recorded\?",
            r"Does the ego vehicle drive by day or by night\?",
            r"Is it day or night\?",
            r"What time of day is it\?",
        ),
        check_daytime,
    ),
    "weather": (
        (
            r"Does it rain in this scene\?",
            r"How is the weather in the current scene\?",
            r"Is it raining\?",
            r"What is the weather like\?",
        ),
        check_rain,
    ),
    "traffic light": (
        (
            r"Is the traffic light ahead red, yellow or green\?",
            r"What does the traffic light ahead of the ego vehicle show\?",
            r"What is the color of the traffic light ahead\?",
            r"Which color does the traffic light ahead have\?",
        ),
        check_traffic_light,
    ),
    "brake lights": (
        (
            r"Are the brake lights (?:lit on OBJ|of OBJ on)\?",
            r"Do the brake lights of OBJ shine\?",
            r"Does OBJ have its brake lights on\?",
        ),
        check_brake_lights,
    ),
    "turn signals": (
        (
            r"Does OBJ signal, and on which side\?",
            r"Which of its turn signals has OBJ switched on\?",
            r"Which turn signals? of OBJ (?:is on|are blinking)\?",
        ),
        check_turn_signals,
    ),
    "events": (
        (
            r"What is going on in the current scene\?",
            r"What is happening around the ego vehicle\?",
            r"What special situation is this\?",
            r"Which event does the driver of the ego vehicle face\?",
        ),
        check_events,
    ),
    "lane divider": (
        (
            r"Does a lane divider run to the (?P<side>left|right) of the ego vehicle\?",
            r"Is a lane divider on the (?P<side>left|right) of the ego vehicle\?",
            r"Is the lane of the ego vehicle bounded by a lane divider to the (?P<side>left|right)\?",
            r"Is there a lane divider to the (?P<side>left|right) of the ego vehicle\?",
        ),
        check_divider,
    ),
    "pedestrian crossing": (
        (
            r"Is a pedestrian crossing in front of the ego vehicle within 25 m\?",
            r"Is there a pedestrian crossing (?:ahead|ahead of the ego vehicle|in front of the ego vehicle)\?",
        ),
        check_crossing,
    ),
}

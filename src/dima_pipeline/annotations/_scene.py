"""Perception of the scene as a whole: time of day, weather, map, construction, the ego's speed, signals and events."""

import re
from collections.abc import Iterator

import numpy as np

from dima_pipeline.annotations._asking import Asked
from dima_pipeline.annotations._view import View
from dima_pipeline.contracts.scene_words import (
    CONSTRUCTION,
    EVENT_WORDS,
    SIDE_M,
    SLIGHT_TURN_RAD,
    kilometres_per_hour,
    kinds,
    metres_per_second,
    yes_no,
)
from dima_pipeline.geometry import wrap_angle

PASSES = ("overtaking", "double_parked_truck")
"""Events that last until the ego is back in its lane, longer than it passes the other."""
CROSSING_AHEAD_M = 25.0
CROSSING_ASIDE_M = 6.0
DIVIDER_ASIDE_M = 5.0
MAP_MARGIN_M = 0.5
DAYLIGHT_SHARES = {"day": 0.35, "dusk": 1.0, "night": 1.0}


def scene_questions(view: View, rng: np.random.Generator) -> Iterator[Asked]:
    """All questions about the scene of a keyframe as a whole."""
    yield from _time_of_day(view)
    yield _weather(view)
    yield from _crossing(view)
    yield from _divider(view, "left" if rng.random() < 0.5 else "right")
    yield from _construction(view)
    yield from _ego_speed(view, is_in_km=bool(rng.random() < 0.5))
    yield from _signal(view)
    yield from _events(view)


def is_night(description: str) -> bool:
    """Whether a scene description speaks of night."""
    return re.search(r"\bnight\b", description, re.IGNORECASE) is not None


def _time_of_day(view: View) -> Iterator[Asked]:
    text = view.frame.description
    word = view.truth.daylight or ("night" if is_night(text) else "day")
    if view.truth.daylight is None and re.search(r"\b(dusk|dawn|twilight|sunset|sunrise)\b", text, re.IGNORECASE):
        return
    phrasings = (
        "Is it day or night?",
        "What time of day is it?",
        "At what time of day was the scene recorded?",
        "Does the ego vehicle drive by day or by night?",
    )
    yield Asked("time_of_day", phrasings, f"It is {word}.", share=DAYLIGHT_SHARES[word])


def _weather(view: View) -> Asked:
    text = view.frame.description.lower()
    answer, share = "It is not raining.", 0.15
    if re.search(r"\bafter rain\b", text):
        answer, share = "The road is wet after rain.", 1.0
    elif re.search(r"\brain(y|ing|s|fall)?\b", text):
        answer, share = "It is raining.", 1.0
    phrasings = (
        "Is it raining?",
        "What is the weather like?",
        "Does it rain in this scene?",
        "How is the weather in the current scene?",
    )
    return Asked("weather", phrasings, answer, share=share)


def _crossing(view: View) -> Iterator[Asked]:
    if not view.has_map["ped_crossing"]:
        return
    points = view.frame.polylines["ped_crossing"].reshape(-1, 2)

    def is_ahead(margin_m: float) -> bool:
        ahead = (points[:, 0] > -margin_m) & (points[:, 0] <= CROSSING_AHEAD_M + margin_m)
        return bool((ahead & (np.abs(points[:, 1]) <= CROSSING_ASIDE_M + margin_m)).any())

    if is_ahead(MAP_MARGIN_M) == is_ahead(-MAP_MARGIN_M):
        phrasings = (
            "Is there a pedestrian crossing ahead?",
            "Is there a pedestrian crossing ahead of the ego vehicle?",
            "Is there a pedestrian crossing in front of the ego vehicle?",
            "Is a pedestrian crossing in front of the ego vehicle within 25 m?",
        )
        yield Asked("crossing", phrasings, yes_no(is_ahead(0.0)), share=1.0 if is_ahead(0.0) else 0.5)


def _divider(view: View, side: str) -> Iterator[Asked]:
    if not view.has_map["divider"]:
        return
    points = view.frame.polylines["divider"].reshape(-1, 2) * (1.0, 1.0 if side == "left" else -1.0)

    def is_beside(margin_m: float) -> bool:
        along = np.abs(points[:, 0]) <= DIVIDER_ASIDE_M + margin_m
        return bool((along & (points[:, 1] > -margin_m) & (points[:, 1] <= DIVIDER_ASIDE_M + margin_m)).any())

    if is_beside(MAP_MARGIN_M) == is_beside(-MAP_MARGIN_M):
        phrasings = (
            f"Is there a lane divider to the {side} of the ego vehicle?",
            f"Does a lane divider run to the {side} of the ego vehicle?",
            f"Is a lane divider on the {side} of the ego vehicle?",
            f"Is the lane of the ego vehicle bounded by a lane divider to the {side}?",
        )
        yield Asked("divider", phrasings, yes_no(is_beside(0.0)), share=0.6)


def _construction(view: View) -> Iterator[Asked]:
    rows = view.rows(CONSTRUCTION, reach_m=SIDE_M)
    if not view.is_sure(CONSTRUCTION, reach_m=SIDE_M):
        return
    found = {view.frame.categories[row] for row in rows}
    phrasings = (
        "Which construction objects are near the ego vehicle, within 15 m?",
        "Which construction objects are around the ego vehicle within 15 m?",
        "What kinds of construction objects are around the ego vehicle within 15 m?",
        "Which kinds of construction objects can be seen around the ego vehicle within 15 m?",
    )
    yield Asked("construction", phrasings, kinds(found, nothing="None"), view.tokens(rows), 1.0 if rows else 0.04)


def _ego_speed(view: View, is_in_km: bool) -> Iterator[Asked]:
    speed = float(view.frame.sample.speed_mps)
    if not np.isfinite(speed) or speed < 0:
        return
    unit = "km/h" if is_in_km else "m/s"
    phrasings = (
        f"How fast is the ego vehicle driving, in {unit}?",
        f"What is the speed of the ego vehicle in {unit}?",
        f"How many {unit} does the ego vehicle drive?",
        f"At what speed, in {unit}, is the ego vehicle moving?",
    )
    words = kilometres_per_hour(speed) if is_in_km else metres_per_second(speed)
    yield Asked("ego_speed", phrasings, f"{words}.", share=1.0 if speed > 0.5 else 0.3)


def _signal(view: View) -> Iterator[Asked]:
    if view.truth.signal is None:
        return
    phrasings = (
        "What is the color of the traffic light ahead?",
        "What does the traffic light ahead of the ego vehicle show?",
        "Is the traffic light ahead red, yellow or green?",
        "Which color does the traffic light ahead have?",
    )
    yield Asked("signal", phrasings, f"{view.truth.signal.capitalize()}.")


def _events(view: View) -> Iterator[Asked]:
    found = {value for value, _ in view.truth.events}
    if not view.truth.is_known or not found <= set(EVENT_WORDS) or _is_passed(view):
        return
    known = view.frame.ego_future[view.frame.ego_future_valid]
    if not found and (not len(known) or abs(float(wrap_angle(known[-1, 2]))) >= SLIGHT_TURN_RAD):
        return
    phrasings = (
        "What is happening around the ego vehicle?",
        "What is going on in the current scene?",
        "Which event does the driver of the ego vehicle face?",
        "What special situation is this?",
    )
    answer = " ".join(words for value, words in EVENT_WORDS.items() if value in found)
    named = {instance for _, instance in view.truth.events}
    objects = tuple(instance for instance in view.frame.instances if instance in named)
    yield Asked("event", phrasings, answer or "Nothing special.", objects, 1.0 if found else 0.1)


def _is_passed(view: View) -> bool:
    """Whether the ego has left behind what an event says that it passes."""
    passed = {instance for value, instance in view.truth.events if value in PASSES}
    rows = [row for row, instance in enumerate(view.frame.instances) if instance in passed]
    return bool((view.frame.box[rows, 0] < -view.frame.box[rows, 3] / 2).any())

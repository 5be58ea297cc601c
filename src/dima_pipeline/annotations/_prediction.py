"""Prediction: what the others will do in the next 3 s, and whether that concerns the ego. Read from the futures."""

from collections.abc import Iterator

import numpy as np

from dima_pipeline.annotations._view import MOVING_MPS, Asked, View, is_asked, on_path
from dima_pipeline.contracts.frames import EGO_WIDTH_M, STEP_S
from dima_pipeline.contracts.scene_words import kinds, yes_no
from dima_pipeline.geometry import distance_to_polyline, wrap_angle

NEAR_M = 5.0
STAYS_M = 0.5
STARTS_M = 1.0
TURN_RAD = np.radians(20.0)
MIN_STEPS = 4
"""A future known for less than 2 s is not judged."""


def prediction(view: View, rng: np.random.Generator) -> Iterator[Asked]:
    """All prediction questions of a keyframe whose driven path is known."""
    yield _near_objects(view)
    for mention in view.mentions[:3]:
        if view.frame.categories[mention.row] in ("traffic_cone", "barrier"):
            continue
        name, objects = mention.name.rstrip(","), (mention.instance,)
        motion = _motion(view, mention.row)
        if motion:
            phrasings = (f"What is the future state of {name}?", f"What will {mention.name} do next?")
            yield Asked(phrasings, motion, objects)
            phrasings = (
                f"Will {mention.name} be in the way of the ego vehicle in the next 3 s?",
                f"Will {mention.name} get onto the path of the ego vehicle?",
            )
            is_hindering = _gets_in_the_way(view, mention.row)
            if is_asked(is_hindering, rng):
                yield Asked(phrasings, yes_no(is_hindering), objects)
        is_ahead = bool(on_path(view.frame, view.path)[mention.row])
        if is_asked(is_ahead, rng):
            direction = (f"Is {mention.name} in the moving direction of the ego vehicle?",)
            yield Asked(direction, yes_no(is_ahead), objects)


def _near_objects(view: View) -> Asked:
    frame = view.frame
    gap = np.linalg.norm(frame.future[:, :, :2] - frame.ego_future[None, :, :2], axis=-1)
    is_near = (np.where(frame.future_valid, gap, np.inf) < NEAR_M).any(1) & frame.is_visible
    rows = [int(row) for row in np.flatnonzero(is_near)]
    return Asked(
        (
            "Which objects will be within 5 m of the ego vehicle in the next 3 s?",
            "What will come within 5 m of the ego vehicle in the next 3 s?",
        ),
        kinds((frame.categories[row] for row in rows), nothing="None."),
        view.tokens(rows),
    )


def _motion(view: View, row: int) -> str | None:
    """The future motion of an agent in words; None where too little of it is known."""
    frame = view.frame
    future = frame.future[row][frame.future_valid[row]]
    if len(future) < MIN_STEPS:
        return None
    track = np.concatenate([frame.box[row, :2][None], future[:, :2]])
    moved = float(np.linalg.norm(track[-1] - track[0]))
    end_mps = float(np.linalg.norm(track[-1] - track[-2])) / STEP_S
    turn = float(wrap_angle(future[-1, 2] - frame.box[row, 2]))
    rules = (
        (moved < STAYS_M, "stay where it is"),
        (not view.is_moving[row] and moved >= STARTS_M, "start to move"),
        (end_mps < MOVING_MPS, "stop"),
        (frame.categories[row] == "pedestrian", "keep walking"),
        (turn >= TURN_RAD, "turn left"),
        (turn <= -TURN_RAD, "turn right"),
    )
    return f"It will {next((words for holds, words in rules if holds), 'go straight')}."


def _gets_in_the_way(view: View, row: int) -> bool:
    """Whether the agent's centre comes onto the strip that the ego drives along."""
    frame = view.frame
    driven = np.concatenate([np.zeros((1, 2)), frame.ego_future[:, :2]])
    reach = (EGO_WIDTH_M + frame.box[row, 4]) / 2
    future = frame.future[row][frame.future_valid[row]][:, :2]
    return bool((distance_to_polyline(future, driven) < reach).any())

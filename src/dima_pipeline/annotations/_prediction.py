"""Prediction: what the others will do in the next 3 s, and whether that concerns the ego. Read from the futures."""

from collections.abc import Iterator

import numpy as np

from dima_pipeline.annotations._asking import Asked, phrased
from dima_pipeline.annotations._truth import LASTS
from dima_pipeline.annotations._view import Mention, View
from dima_pipeline.contracts.frames import NUM_FUTURE_STEPS, STEP_S
from dima_pipeline.contracts.scene_words import (
    CLOSER_M,
    IN_WAY_MARGIN_M,
    INTENTION_WORDS,
    LEVEL_M,
    MIN_STEPS,
    MOVING_MPS,
    NEAR_M,
    SIDE_M,
    STARTS_M,
    STAYS_M,
    TURN_RAD,
    kinds,
    metres,
    yes_no,
)
from dima_pipeline.geometry import wrap_angle

STILL = ("traffic_cone", "barrier")
NEAR_MARGIN_M = 0.3
TURN_MARGIN_RAD = np.radians(3.0)
MOTION_SHARES = {"stay where it is": 0.3, "go straight": 0.7, "keep walking": 0.5}
INTENTION_SHARES = {"parked": 0.15, "keep_walkway": 0.3, "keep_lane": 0.5}


def prediction(view: View, rng: np.random.Generator) -> Iterator[Asked]:
    """All prediction questions of a keyframe whose driven path is known."""
    yield from _near_objects(view)
    for mention in view.mentions:
        if view.frame.categories[mention.row] not in STILL:
            yield from _future_state(view, mention)
            yield from _in_the_way(view, mention)
            yield from _intention(view, mention)
        yield from _on_path(view, mention)
        yield from _distance_later(view, mention, int(rng.integers(1, 4)))
        yield from _approach(view, mention)
        yield from _nearest_time(view, mention)


def near_future(view: View, within_m: float) -> np.ndarray:
    """Which agents' centres come within a distance of the ego at a known step of the next 3 s."""
    return np.asarray(view.near_gap < within_m)


def gets_in_the_way(view: View, row: int, margin_m: float = 0.0) -> bool:
    """Whether the agent's centre comes onto the strip that the ego has still to drive along at that moment."""
    return bool(view.way_gap[row] < margin_m)


def is_known(view: View, row: int) -> bool:
    """Whether the agent's future is known for all 3 s."""
    return bool(view.frame.future_valid[row].all())


def _near_objects(view: View) -> Iterator[Asked]:
    frame = view.frame
    surely, maybe = near_future(view, NEAR_M - NEAR_MARGIN_M), near_future(view, NEAR_M + NEAR_MARGIN_M)
    unknown = ~frame.future_valid.all(1) & (view.distance < SIDE_M)
    open_ = (maybe & ~(surely & frame.is_visible)) | (unknown & ~surely)
    if (open_ & (frame.is_visible | frame.is_doubtful)).any():
        return
    rows = [int(row) for row in np.flatnonzero(surely & frame.is_visible)]
    phrasings = (
        "Which objects will be within 5 m of the ego vehicle in the next 3 s?",
        "What will come within 5 m of the ego vehicle in the next 3 s?",
        "What kinds of objects will be within 5 m of the ego vehicle in the next 3 s?",
        "Which kinds of objects will get within 5 m of the ego vehicle in the next 3 s?",
    )
    answer = kinds((frame.categories[row] for row in rows), nothing="None")
    yield Asked("near_objects", phrasings, answer, view.tokens(rows), 1.0 if rows else 0.2)


def _future_state(view: View, mention: Mention) -> Iterator[Asked]:
    motion = future_motion(view, mention.row)
    if motion:
        phrasings = phrased(
            mention.name,
            "What is the future state of {x}?",
            "What will {x} do next?",
            "What will {x} do in the next 3 s?",
            "How will {x} move in the next 3 s?",
        )
        yield Asked(
            "future_state", phrasings, f"It will {motion}.", (mention.instance,), MOTION_SHARES.get(motion, 1.0)
        )


def future_motion(view: View, row: int) -> str | None:
    """The future motion of an agent in words; None where too little of it is known or two words might fit."""
    frame = view.frame
    future = frame.future[row][frame.future_valid[row]]
    if len(future) < MIN_STEPS or not view.is_motion_known[row]:
        return None
    track = np.concatenate([frame.box[row, :2][None], future[:, :2]])
    moved = float(np.linalg.norm(track[-1] - track[0]))
    end_mps = float(np.linalg.norm(track[-1] - track[-2])) / STEP_S
    turn = float(wrap_angle(future[-1, 2] - frame.box[row, 2]))
    is_moving = bool(view.is_moving[row])
    if moved < STAYS_M:
        return None if is_moving else "stay where it is"
    if moved < STARTS_M or abs(abs(turn) - TURN_RAD) < TURN_MARGIN_RAD:
        return None
    rules = (
        (not is_moving, "start to move"),
        (end_mps < MOVING_MPS, "stop"),
        (frame.categories[row] == "pedestrian", "keep walking"),
        (turn >= TURN_RAD, "turn left"),
        (turn <= -TURN_RAD, "turn right"),
    )
    return next((words for holds, words in rules if holds), "go straight")


def _in_the_way(view: View, mention: Mention) -> Iterator[Asked]:
    row = mention.row
    surely, maybe = gets_in_the_way(view, row, -IN_WAY_MARGIN_M), gets_in_the_way(view, row, IN_WAY_MARGIN_M)
    if surely or (not maybe and is_known(view, row)):
        phrasings = phrased(
            mention.name,
            "Will {x} be in the way of the ego vehicle in the next 3 s?",
            "In the next 3 s, will {x} be in the way of the ego vehicle?",
            "Will {x} be in the way of the ego vehicle within 3 s?",
            "Is {x} going to be in the way of the ego vehicle in the next 3 s?",
        )
        yield Asked("in_the_way", phrasings, yes_no(surely), (mention.instance,), 1.0 if surely else 0.1)


def _on_path(view: View, mention: Mention) -> Iterator[Asked]:
    if view.is_way_clear_cut[mention.row]:
        is_ahead = bool(view.in_way[mention.row])
        phrasings = phrased(
            mention.name,
            "Is {x} in the moving direction of the ego vehicle?",
            "Is {x} in the path of the ego vehicle?",
            "Is {x} in the way of the ego vehicle?",
            "Is {x} on the path of the ego vehicle?",
        )
        yield Asked("on_path", phrasings, yes_no(is_ahead), (mention.instance,), 1.0 if is_ahead else 0.15)


def _distance_later(view: View, mention: Mention, seconds: int) -> Iterator[Asked]:
    step = round(seconds / STEP_S) - 1
    if view.frame.future_valid[mention.row, step]:
        gap = view.frame.future[mention.row, step, :2] - view.frame.ego_future[step, :2]
        phrasings = phrased(
            mention.name,
            f"How far will {{x}} be from the ego vehicle in {seconds} s?",
            f"What will be the distance between {{x}} and the ego vehicle in {seconds} s?",
            f"In {seconds} s, how far away will {{x}} be?",
            f"At what distance from the ego vehicle will {{x}} be in {seconds} s?",
        )
        words = metres(float(np.linalg.norm(gap)))
        yield Asked("distance_later", phrasings, f"{words}.", (mention.instance,), 0.6)


def _approach(view: View, mention: Mention) -> Iterator[Asked]:
    if not view.frame.future_valid[mention.row, -1]:
        return
    later = float(np.linalg.norm(view.frame.future[mention.row, -1, :2] - view.frame.ego_future[-1, :2]))
    change = later - float(view.distance[mention.row])
    if LEVEL_M < abs(change) < CLOSER_M:
        return
    answer = "It will stay as far away." if abs(change) <= LEVEL_M else "It will come closer."
    answer = "It will be further away." if change >= CLOSER_M else answer
    phrasings = phrased(
        mention.name,
        "Will {x} be closer to the ego vehicle or further away in 3 s?",
        "How will the distance between {x} and the ego vehicle change in the next 3 s?",
        "In 3 s, will {x} be closer or further away?",
        "Does the ego vehicle come closer to {x} in the next 3 s?",
    )
    yield Asked("approach", phrasings, answer, (mention.instance,), 0.7)


def _nearest_time(view: View, mention: Mention) -> Iterator[Asked]:
    if not is_known(view, mention.row):
        return
    gaps = np.linalg.norm(view.frame.future[mention.row, :, :2] - view.frame.ego_future[:, :2], axis=-1)
    gaps = np.concatenate([[view.distance[mention.row]], gaps])
    order = np.argsort(gaps, kind="stable")
    first = int(order[0])
    others = np.delete(gaps, [at for at in (first - 1, first, first + 1) if 0 <= at <= NUM_FUTURE_STEPS])
    if gaps[order[1]] - gaps[first] < NEAR_MARGIN_M or others.min() - gaps[first] < NEAR_MARGIN_M:
        return
    phrasings = phrased(
        mention.name,
        "When in the next 3 s will {x} be nearest to the ego vehicle?",
        "In how many seconds, out of the next 3 s, will {x} be nearest to the ego vehicle?",
        "At what time in the next 3 s does {x} come nearest to the ego vehicle?",
        "After how many seconds of the next 3 s is {x} nearest to the ego vehicle?",
    )
    answer = f"In {first * STEP_S:.1f} s." if first else "Now."
    share = 0.4 if first in (0, NUM_FUTURE_STEPS) else 1.0
    yield Asked("nearest_time", phrasings, answer, (mention.instance,), share)


def _intention(view: View, mention: Mention) -> Iterator[Asked]:
    value = view.truth.intentions.get(mention.instance, "")
    if value in INTENTION_WORDS and _still_holds(view, mention, value):
        phrasings = phrased(
            mention.name,
            "What does {x} intend to do?",
            "What is the intention of {x}?",
            "What is {x} about to do?",
            "What does {x} plan to do?",
        )
        answer = f"It intends to {INTENTION_WORDS[value]}."
        yield Asked("intention", phrasings, answer, (mention.instance,), INTENTION_SHARES.get(value, 1.0))


def _still_holds(view: View, mention: Mention, value: str) -> bool:
    """Whether what somebody set out to do is not done yet: the truth holds an intention for its whole interval."""
    if value in LASTS or value.startswith("change_lane"):
        return True
    if value.startswith("turn_"):
        return future_motion(view, mention.row) == value.replace("_", " ")
    if value == "queue":
        return view.truth.signal == "red" and not view.is_moving[mention.row]
    if value == "u_turn":
        return ("u_turn", mention.instance) in view.truth.events
    return mention.instance in view.truth.pending

"""Planning and behavior: what the ego does, why, and what would go wrong otherwise.

The safe action is what the driver did; a reason is only given where the tables hold one. Wrong actions are rolled
out as simple manoeuvres and tested against the boxes of the others (``_rollout``).
"""

from collections.abc import Iterator

import numpy as np

from dima_pipeline.annotations._asking import Asked, phrased
from dima_pipeline.annotations._prediction import gets_in_the_way, is_known, near_future
from dima_pipeline.annotations._rollout import ACTIONS, CONDITIONS, ROLLS_MPS, probabilities
from dima_pipeline.annotations._view import Mention, View, rank
from dima_pipeline.contracts.frames import STEP_S
from dima_pipeline.contracts.scene_words import (
    FAR_M,
    IN_WAY_M,
    IN_WAY_MARGIN_M,
    KEEPS_MPS,
    NEAR_M,
    PRIORITY_MARGIN_M,
    PROBABILITIES,
    SLIGHT_TURN_RAD,
    SPEED_CHANGE_MPS,
    STANDING_MPS,
    TURN_RAD,
    listed,
    metres,
    metres_per_second,
    yes_no,
)
from dima_pipeline.geometry import wrap_angle
from dima_pipeline.storage.keyframes import Keyframe

SPEED_WORDS = ((0.5, "not moving"), (3.0, "driving slowly"), (8.0, "driving with normal speed"), (12.0, "driving fast"))
ACTION_SHARES = {"keep going": 0.5, "stay stopped": 0.7}
PROBABILITY_SHARES = dict(zip(PROBABILITIES, (0.15, 1.0, 1.0), strict=True))
COMES_OUT = {
    "jaywalker": "crosses the road",
    "hidden_jaywalker": "crosses the road",
    "crossing_pedestrian": "crosses the road",
    "cut_in": "changes into the lane of the ego vehicle",
    "pull_out": "pulls out in front of the ego vehicle",
    "hard_braking_lead": "has braked hard",
    "wrong_way_cyclist": "comes towards the ego vehicle on the same lane",
}
"""Events that are a reason to slow down, of the instance that they are about."""


def behavior(frame: Keyframe) -> Iterator[Asked]:
    """DriveLM's description of the ego in one of 21 combinations, from the mean speed and the turn over 3 s."""
    turn = float(wrap_angle(frame.ego_future[-1, 2]))
    mean_mps = float(_step_speeds(frame).mean())
    pace = next((words for limit, words in SPEED_WORDS if mean_mps < limit), "driving very fast")
    heading = "going straight"
    if pace == "not moving" and abs(turn) >= SLIGHT_TURN_RAD:
        return
    if abs(turn) >= SLIGHT_TURN_RAD:
        slightly = "slightly " if abs(turn) < TURN_RAD else ""
        heading = f"{slightly}steering to the {'left' if turn > 0 else 'right'}"
    phrasings = (
        "Predict the behavior of the ego vehicle.",
        "What is the behavior of the ego vehicle?",
        "Describe the behavior of the ego vehicle in the next 3 s.",
        "What will be the behavior of the ego vehicle?",
    )
    yield Asked("behavior", phrasings, f"The ego vehicle is {heading}. The ego vehicle is {pace}.")


def planning(view: View, rng: np.random.Generator) -> Iterator[Asked]:
    """All planning questions of a keyframe whose driven path is known."""
    yield from _actions(view)
    yield from _steering(view)
    yield from _numbers(view)
    yield from _priority(view)
    yield from _next_in_way(view)
    for mention in view.mentions:
        yield from _importance(view, mention)
    yield from _collisions(view, rng)


def driven_action(frame: Keyframe) -> str | None:
    """What the driver did over the next 3 s, in the words of an action; None between two of them."""
    steps = _step_speeds(frame)
    now_mps = abs(frame.speed_mps) if np.isfinite(frame.speed_mps) else float(steps[0])
    end_mps = float(steps[-1])
    if max(now_mps, float(steps.max())) < STANDING_MPS:
        return "stay stopped"
    if now_mps < STANDING_MPS:
        return "start to drive"
    if end_mps < STANDING_MPS:
        return "stop"
    change = end_mps - now_mps
    if abs(change) >= SPEED_CHANGE_MPS:
        return "speed up" if change > 0 else "slow down"
    return "keep going" if abs(change) <= KEEPS_MPS else None


def _step_speeds(frame: Keyframe) -> np.ndarray:
    """Mean speed of the ego in each of the six steps, m/s."""
    track = np.concatenate([np.zeros((1, 2)), frame.ego_future[:, :2]])
    return np.asarray(np.linalg.norm(np.diff(track, axis=0), axis=1) / STEP_S)


def _actions(view: View) -> Iterator[Asked]:
    action = driven_action(view.frame)
    if action is None:
        return
    phrasings = (
        "What is a safe action of the ego vehicle?",
        "What should the ego vehicle do next?",
        "Which action should the ego vehicle take now?",
        "What is the target action of the ego vehicle?",
    )
    yield Asked("safe_action", phrasings, f"{action.capitalize()}.", share=ACTION_SHARES.get(action, 1.0))
    reason, objects = _reason(view, action)
    if reason:
        phrasings = (
            "What is the target action of the ego vehicle and why?",
            "What should the ego vehicle do and why?",
            "Which action should the ego vehicle take, and for what reason?",
            "What is a safe action of the ego vehicle and why?",
        )
        is_usual = reason == "the way ahead is clear"
        answer = f"{action.capitalize()}, because {reason}."
        yield Asked("reasoned_action", phrasings, answer, objects, 0.3 if is_usual else 1.0)


def _reason(view: View, action: str) -> tuple[str, tuple[str, ...]]:
    """Why the driver did it, and the instances the reason names; empty where the tables do not tell."""
    if action not in ("stop", "slow down", "stay stopped"):
        in_way = (view.in_way | ~view.is_way_clear_cut) & (view.distance <= IN_WAY_M)
        is_open = (in_way & (view.frame.is_visible | view.frame.is_doubtful)).any()
        return ("" if is_open or view.truth.signal == "red" else "the way ahead is clear"), ()
    for mention in view.mentions:
        events = {value for value, instance in view.truth.events if instance == mention.instance}
        doing = next((words for value, words in COMES_OUT.items() if value in events), "")
        if doing:
            return f"{mention.words} {doing}", (mention.instance,)
    for mention in view.mentions:
        is_in_way = view.in_way[mention.row] and view.is_way_clear_cut[mention.row]
        if is_in_way and view.distance[mention.row] <= IN_WAY_M:
            return f"{mention.words} is in the way", (mention.instance,)
    if view.truth.signal == "red":
        return "the traffic light ahead is red", ()
    is_turn = action == "slow down" and abs(float(wrap_angle(view.frame.ego_future[-1, 2]))) >= TURN_RAD
    return ("there is a turn ahead" if is_turn else ""), ()


def _steering(view: View) -> Iterator[Asked]:
    turn = float(wrap_angle(view.frame.ego_future[-1, 2]))
    if SLIGHT_TURN_RAD <= abs(turn) < TURN_RAD or _step_speeds(view.frame).mean() < STANDING_MPS:
        return
    phrasings = (
        "Should the ego vehicle turn left, turn right or go straight in the next 3 s?",
        "Where should the ego vehicle steer in the next 3 s: left, right or straight?",
        "Which way should the ego vehicle go in the next 3 s?",
        "In the next 3 s, which way should the ego vehicle turn, if at all?",
    )
    answer = "Go straight." if abs(turn) < TURN_RAD else f"Turn {'left' if turn > 0 else 'right'}."
    yield Asked("steering", phrasings, answer, share=0.15 if abs(turn) < TURN_RAD else 1.0)


def _numbers(view: View) -> Iterator[Asked]:
    steps = _step_speeds(view.frame)
    phrasings = (
        "How far should the ego vehicle drive in the next 3 s?",
        "What distance should the ego vehicle cover in the next 3 s?",
        "How many metres should the ego vehicle drive in the next 3 s?",
        "How long is the path that the ego vehicle should drive in the next 3 s?",
    )
    share = 0.5 if steps.max() >= STANDING_MPS else 0.1
    yield Asked("driven_distance", phrasings, f"{metres(float(steps.sum()) * STEP_S)}.", share=share)
    phrasings = (
        "How fast should the ego vehicle be in 3 s?",
        "What speed should the ego vehicle have in 3 s?",
        "At what speed should the ego vehicle drive in 3 s?",
        "In 3 s, how fast should the ego vehicle drive?",
    )
    speed_mps = float(view.frame.later_mps[-1])
    if np.isfinite(speed_mps) and speed_mps >= 0:
        yield Asked("target_speed", phrasings, f"{metres_per_second(speed_mps)}.", share=share)


def _priority(view: View) -> Iterator[Asked]:
    order = rank(view.frame, view.in_way)
    ranks = [order[mention.row] for mention in view.mentions]
    is_clear_cut = all(view.is_way_clear_cut[mention.row] for mention in view.mentions)
    # Somebody who is hidden, or of whom only the nearest of a kind is named, might come before the second.
    rows = np.flatnonzero(view.frame.is_visible | view.frame.is_doubtful)
    by_rank = sorted((order[row], int(row)) for row in rows)
    if not view.mentions or not is_clear_cut or by_rank[0][1] != view.mentions[0].row:
        return
    first, gap = view.mentions[0], view.concern()
    # Who is near now must also come nearest: the order of the moment and that of the next 3 s agree, or none is told.
    others = [row for _, row in by_rank[1:]]
    if (view.concern(IN_WAY_MARGIN_M)[others] < gap[first.row]).any():
        return
    if len(by_rank) < 2 or by_rank[1][0] - by_rank[0][0] >= PRIORITY_MARGIN_M:
        phrasings = (
            "Which object should the ego vehicle consider first?",
            "Which object has the highest priority for the ego vehicle?",
            "What is the most important object for the ego vehicle?",
            "Which object is most important for the ego vehicle to watch?",
        )
        yield Asked("priority", phrasings, listed([first.words], ""), (first.instance,))
    named = [mention.row for mention in view.mentions[:3]]
    agrees = [row for _, row in by_rank[:3]] == named and (np.diff(gap[named]) >= 0).all()
    if len(ranks) >= 3 and np.diff(ranks[:3]).min() >= PRIORITY_MARGIN_M and agrees:
        phrasings = (
            "In which order should the ego vehicle consider the objects around it?",
            "What is the priority order of the objects for the ego vehicle?",
            "Which objects should the ego vehicle consider first, second and third?",
            "List the three most important objects in the order of their priority.",
        )
        answer = ", then ".join(mention.words for mention in view.mentions[:3])
        objects = tuple(mention.instance for mention in view.mentions[:3])
        yield Asked("priority_order", phrasings, f"First {answer}.", objects)


def _next_in_way(view: View) -> Iterator[Asked]:
    frame = view.frame
    near = view.distance <= 30.0
    if (
        (~view.is_way_clear_cut | (view.in_way & frame.is_doubtful)) & near & (frame.is_visible | frame.is_doubtful)
    ).any():
        return
    rows = [int(row) for row in np.flatnonzero(view.in_way & frame.is_visible & near)]
    phrasings = (
        "How far away is the nearest object in the way of the ego vehicle?",
        "What is the distance to the nearest object in the path of the ego vehicle?",
        "How far is the nearest object on the path of the ego vehicle?",
        "At what distance is the nearest object in the way of the ego vehicle?",
    )
    if rows:
        row = min(rows, key=lambda one: float(view.distance[one]))
        yield Asked("next_in_way", phrasings, f"{metres(view.distance[row])}.", view.tokens([row]))
    else:
        yield Asked("next_in_way", phrasings, "There is none within 30 m.", share=0.1)


def importance(view: View, row: int) -> str | None:
    """``High``, ``Medium`` or ``Low`` (``contracts.scene_words.FAR_M``); None where the tables do not tell."""
    is_far = not near_future(view, FAR_M)[row] and is_known(view, row)
    if gets_in_the_way(view, row, -IN_WAY_MARGIN_M):
        return "High"
    if gets_in_the_way(view, row, IN_WAY_MARGIN_M) or not is_known(view, row):
        return None
    if near_future(view, NEAR_M)[row]:
        return "Medium"
    return "Low" if is_far and view.is_way_clear_cut[row] and not view.in_way[row] else None


def _importance(view: View, mention: Mention) -> Iterator[Asked]:
    level = importance(view, mention.row)
    if level is not None:
        phrasings = phrased(
            mention.name,
            "How important is {x} for the ego vehicle?",
            "What is the importance of {x} for the ego vehicle: high, medium or low?",
            "How much does {x} matter to the ego vehicle in the next 3 s: high, medium or low?",
            "Of what importance for the ego vehicle is {x}?",
        )
        yield Asked("importance", phrasings, f"{level}.", (mention.instance,), 0.25 if level == "Low" else 1.0)


def _collisions(view: View, rng: np.random.Generator) -> Iterator[Asked]:
    found = probabilities(view.frame)
    for mention in view.mentions:
        column = [levels[mention.row] for levels in found]
        yield from _dangerous_for(mention, column)
        known = [at for at, level in enumerate(column) if level is not None]
        if known:
            yield _probability(mention, column, int(rng.choice(_balanced(known, column))))
    yield from _dangerous(view, found)


def _balanced(known: list[int], column: list[str | None]) -> list[int]:
    """The actions that might hit, where there are any: almost all others do not."""
    return [at for at in known if column[at] != PROBABILITIES[0]] or known


def _probability(mention: Mention, column: list[str | None], at: int) -> Asked:
    condition, level = CONDITIONS[at], str(column[at])
    phrasings = phrased(
        mention.name,
        f"What is the probability of a collision with {{x}} if the ego vehicle {condition}?",
        f"How likely is a collision with {{x}} if the ego vehicle {condition}?",
        f"If the ego vehicle {condition}, what is the probability of a collision with {{x}}?",
        f"What is the collision probability with {{x}} if the ego vehicle {condition}?",
    )
    return Asked("probability", phrasings, level, (mention.instance,), PROBABILITY_SHARES[level])


def _dangerous_for(mention: Mention, column: list[str | None]) -> Iterator[Asked]:
    named = _dangerous_actions(column)
    if named is not None:
        phrasings = phrased(
            mention.name,
            "What actions could lead to a collision with {x}?",
            "Which actions of the ego vehicle are dangerous because of {x}?",
            "Which actions of the ego vehicle would lead to a collision with {x}?",
            "What actions of the ego vehicle could cause a collision with {x}?",
        )
        answer = listed(named, "none of them")
        yield Asked("dangerous_for", phrasings, answer, (mention.instance,), 1.0 if named else 0.1)


def _dangerous_actions(column: list[str | None]) -> list[str] | None:
    """The actions of high probability; None where one is neither high nor low."""
    if not set(column) <= {PROBABILITIES[0], PROBABILITIES[-1]}:
        return None
    return [name for name, level in zip(ACTIONS, column, strict=True) if level == PROBABILITIES[-1]]


def _dangerous(view: View, found: list[list[str | None]]) -> Iterator[Asked]:
    low, _, high = PROBABILITIES
    rows = [int(row) for row in np.flatnonzero(view.frame.is_visible | view.frame.is_doubtful)]
    worst = [_worst([levels[row] for row in rows]) for levels in found]
    if view.frame.speed_mps >= ROLLS_MPS and worst[0] in (low, high):
        seen = [row for row in rows if view.frame.is_visible[row] and found[0][row] == high]
        is_hit = worst[0] == high
        phrasings = (
            "Would going straight at the same speed lead to a collision within 3 s?",
            "Would the ego vehicle hit something if it kept going straight?",
            "Is going straight at the same speed dangerous for the ego vehicle within 3 s?",
            "If the ego vehicle goes straight at the same speed, would it hit something within 3 s?",
        )
        yield Asked("straight_on", phrasings, yes_no(is_hit), view.tokens(seen), 1.0 if is_hit else 0.15)
    named = _dangerous_actions(worst)
    if named is not None:
        phrasings = (
            "Which actions of the ego vehicle would lead to a collision within 3 s?",
            "What are dangerous actions of the ego vehicle?",
            "Which actions of the ego vehicle are dangerous?",
            "What actions of the ego vehicle could lead to a collision within 3 s?",
        )
        hitting = [at for at, name in enumerate(ACTIONS) if name in named]
        objects = [row for row in rows if view.frame.is_visible[row] and any(found[at][row] == high for at in hitting)]
        answer = listed(named, "none of them")
        yield Asked("dangerous", phrasings, answer, view.tokens(objects), 1.0 if named else 0.1)


def _worst(levels: list[str | None]) -> str | None:
    """The highest probability; None where an unknown one might be higher."""
    if PROBABILITIES[-1] in levels:
        return PROBABILITIES[-1]
    return (
        None
        if None in levels
        else max(levels, key=lambda level: PROBABILITIES.index(str(level)), default=PROBABILITIES[0])
    )

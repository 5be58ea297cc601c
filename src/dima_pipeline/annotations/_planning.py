"""Planning and behavior: what the ego does, why, and what would go wrong otherwise.

The safe action is what the driver did; a reason is only given where the tables hold one. Wrong actions are rolled
out as simple manoeuvres and tested against the boxes of the others.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float

from dima_pipeline.annotations._view import Asked, View, is_asked, on_path
from dima_pipeline.contracts.frames import EGO_LENGTH_M, EGO_WIDTH_M, NUM_FUTURE_STEPS, STEP_S
from dima_pipeline.contracts.scene_words import yes_no
from dima_pipeline.geometry import boxes_overlap, ego_boxes, wrap_angle
from dima_pipeline.storage.keyframes import Keyframe

Array = np.ndarray
STANDING_MPS = 0.5
SPEED_CHANGE_MPS = 1.5
REASON_AHEAD_M = 20.0
TURN_RAD = np.radians(20.0)
SLIGHT_TURN_RAD = np.radians(5.0)
SPEED_WORDS = ((0.5, "not moving"), (3.0, "driving slowly"), (8.0, "driving with normal speed"), (12.0, "driving fast"))
MANOEUVRES = ("going straight", "accelerating", "braking", "turning left", "turning right")


def behavior(frame: Keyframe) -> Asked:
    """DriveLM's description of the ego in one of 21 combinations, from the mean speed and the turn over 3 s."""
    turn = float(wrap_angle(frame.ego_future[-1, 2]))
    track = np.concatenate([np.zeros((1, 2)), frame.ego_future[:, :2]])
    mean_mps = float(np.linalg.norm(np.diff(track, axis=0), axis=1).sum()) / (NUM_FUTURE_STEPS * STEP_S)
    pace = next((words for limit, words in SPEED_WORDS if mean_mps < limit), "driving very fast")
    heading = "going straight"
    if pace != "not moving" and abs(turn) >= SLIGHT_TURN_RAD:
        slightly = "slightly " if abs(turn) < TURN_RAD else ""
        heading = f"{slightly}steering to the {'left' if turn > 0 else 'right'}"
    return Asked(
        ("Predict the behavior of the ego vehicle.", "What is the behavior of the ego vehicle?"),
        f"The ego vehicle is {heading}. The ego vehicle is {pace}.",
    )


def planning(view: View, rng: np.random.Generator) -> Iterator[Asked]:
    """All planning questions of a keyframe whose driven path is known."""
    action = driven_action(view.frame)
    yield Asked(
        ("What is a safe action of the ego vehicle?", "What should the ego vehicle do next?"), f"{action.capitalize()}."
    )
    reason, objects = _reason(view, action)
    if reason:
        phrasings = ("What is the target action of the ego vehicle and why?", "What should the ego vehicle do and why?")
        yield Asked(phrasings, f"{action.capitalize()}, because {reason}.", objects)
    if view.mentions:
        first = view.mentions[0]
        phrasings = ("Which object should the ego vehicle consider first?", "Which object has the highest priority?")
        yield Asked(phrasings, f"{first.words[0].upper()}{first.words[1:]}.", (first.instance,))
    if np.isfinite(view.frame.speed_mps):
        yield from _collisions(view, rng)


def driven_action(frame: Keyframe) -> str:
    """What the driver did over the next 3 s, in the words of an action."""
    track = np.concatenate([np.zeros((1, 2)), frame.ego_future[:, :2]])
    step_mps = np.linalg.norm(np.diff(track, axis=0), axis=1) / STEP_S
    now_mps = abs(frame.speed_mps) if np.isfinite(frame.speed_mps) else float(step_mps[0])
    end_mps = float(step_mps[-1])
    if max(now_mps, float(step_mps.max())) < STANDING_MPS:
        return "stay stopped"
    if now_mps < STANDING_MPS:
        return "start to drive"
    if end_mps < STANDING_MPS:
        return "stop"
    if abs(end_mps - now_mps) >= SPEED_CHANGE_MPS:
        return "speed up" if end_mps > now_mps else "slow down"
    return "keep going"


def _reason(view: View, action: str) -> tuple[str, tuple[str, ...]]:
    """Why the driver did it, and the instances the reason names; empty where the tables do not tell."""
    frame = view.frame
    in_way = on_path(frame, view.path)
    blocking = [mention for mention in view.mentions if in_way[mention.row]]
    near = [mention for mention in blocking if view.distance[mention.row] <= REASON_AHEAD_M]
    if action in ("stop", "slow down", "stay stopped"):
        if near:
            return f"{near[0].words} is in the way", (near[0].instance,)
        is_turn = action == "slow down" and abs(float(wrap_angle(frame.ego_future[-1, 2]))) >= TURN_RAD
        return ("there is a turn ahead" if is_turn else ""), ()
    is_clear = not (in_way & frame.is_visible & (view.distance <= REASON_AHEAD_M)).any()
    return ("the way ahead is clear" if is_clear else ""), ()


def _collisions(view: View, rng: np.random.Generator) -> Iterator[Asked]:
    frame = view.frame
    hits = collisions(manoeuvre_boxes(frame.speed_mps), frame)
    for mention in view.mentions[:2]:
        found = [name for name, hit in zip(MANOEUVRES, hits[:, mention.row], strict=True) if hit]
        if not is_asked(bool(found), rng):
            continue
        text = ", ".join(found) if found else "none of them"
        yield Asked(
            (
                f"What actions could lead to a collision with {mention.name.rstrip(',')}?",
                f"Which actions of the ego vehicle are dangerous because of {mention.name.rstrip(',')}?",
            ),
            f"{text[0].upper()}{text[1:]}.",
            (mention.instance,),
        )
    rows = [int(row) for row in np.flatnonzero(hits[0] & frame.is_visible)]
    if is_asked(bool(rows), rng):
        phrasings = (
            "Would going straight at the same speed lead to a collision within 3 s?",
            "Would the ego vehicle hit something if it kept going straight?",
        )
        yield Asked(phrasings, yes_no(bool(rows)), view.tokens(rows))


def manoeuvre_boxes(speed_mps: float) -> Float[Array, "5 6 5"]:
    """Ego boxes at the six steps of each of ``MANOEUVRES``, from a speed: 2 m/s2 up, 4 m/s2 down, arcs of 3 m/s2."""
    time = np.arange(1, NUM_FUTURE_STEPS + 1) * STEP_S
    speed = max(speed_mps, 0.0)
    braking = np.minimum(time, speed / 4.0)
    along = {"accelerating": speed * time + time**2, "braking": speed * braking - 2.0 * braking**2}
    arc = max(speed, 3.0)
    curvature = min(1 / 8.0, 3.0 / arc**2)
    boxes = []
    for name in MANOEUVRES:
        if name.startswith("turning"):
            yaw = arc * time * curvature * (1.0 if name.endswith("left") else -1.0)
            origin = np.stack([np.sin(np.abs(yaw)), np.sign(yaw) * (1 - np.cos(yaw))], -1) / curvature
        else:
            yaw = np.zeros_like(time)
            origin = np.stack([along.get(name, speed * time), np.zeros_like(time)], -1)
        boxes.append(ego_boxes(np.concatenate([origin, yaw[:, None]], -1)))
    return np.stack(boxes)


def collisions(boxes: Float[Array, "K 6 5"], frame: Keyframe) -> Bool[Array, "K N"]:
    """Which of K rolled out ego paths touches which agent at one of the six steps."""
    size = np.broadcast_to(frame.box[:, None, 3:], (*frame.future.shape[:2], 2))
    others = np.concatenate([frame.future, size], -1)
    gap = np.linalg.norm(boxes[:, None, :, :2] - others[None, :, :, :2], axis=-1)
    reach = (np.hypot(EGO_LENGTH_M, EGO_WIDTH_M) + np.hypot(*frame.box[:, 3:].T)) / 2
    path, agent, step = np.nonzero((gap < reach[None, :, None]) & frame.future_valid)
    hits = np.zeros(gap.shape, bool)
    hits[path, agent, step] = boxes_overlap(boxes[path, step], others[agent, step])
    return hits.any(-1)

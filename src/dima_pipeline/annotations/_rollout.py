"""What would happen if: simple actions of the ego rolled out against the recorded futures of the others.

Each action comes in nine variants, the speed of now times 0.9, 1 and 1.1 and the strength times 0.8, 1 and 1.2, so that
no answer hangs on one of them: a collision is likely where all variants touch, unlikely where none does.
"""

import numpy as np
from jaxtyping import Bool, Float

from dima_pipeline.contracts.frames import EGO_LENGTH_M, EGO_WIDTH_M, NUM_FUTURE_STEPS, STEP_S
from dima_pipeline.contracts.scene_words import PROBABILITIES
from dima_pipeline.geometry import boxes_overlap, ego_boxes, wrap_angle
from dima_pipeline.storage.keyframes import Keyframe

Array = np.ndarray
ACTIONS = ("going straight", "accelerating", "braking", "turning left", "turning right")
CONDITIONS = ("goes straight at the same speed", "accelerates", "brakes", "turns left", "turns right")
"""For "if the ego vehicle ...", in the order of ``ACTIONS``."""
SPEEDS, STRENGTHS = (0.9, 1.0, 1.1), (0.8, 1.0, 1.2)
ACCELERATE_MPS2, BRAKE_MPS2, LATERAL_MPS2 = 2.0, 4.0, 3.0
MIN_RADIUS_M, TURN_MPS = 8.0, 3.0
"""Turns are arcs at the speed of now, but no slower than this."""
ROLLS_MPS = 1.0
"""A slower ego is only asked about accelerating."""
ROAM_M, WALKS_M = 13.5, 9.0
"""Half of 3 m/s2 times (3 s)2, and 3 m/s for 3 s."""
SUBSTEPS = 2
"""Between two recorded steps others move straight on."""
TIMES_S = np.arange(1, NUM_FUTURE_STEPS * SUBSTEPS + 1) * STEP_S / SUBSTEPS


def action_boxes(speed_mps: float) -> Float[Array, "5 9 12 5"]:
    """Ego boxes of the variants of ``ACTIONS`` at 0.25 ... 3.0 s, from a speed forward (m/s)."""
    speed, strength = (values.reshape(-1, 1) for values in np.meshgrid(np.array(SPEEDS) * speed_mps, STRENGTHS))
    time = TIMES_S
    brake = BRAKE_MPS2 * strength
    braking = np.minimum(time, speed / brake)
    along = (
        speed * time * np.ones_like(strength),
        speed * time + ACCELERATE_MPS2 * strength * time**2 / 2,
        speed * braking - brake * braking**2 / 2,
    )
    poses = [np.stack([x, np.zeros_like(x), np.zeros_like(x)], -1) for x in along]
    arc = np.maximum(speed, TURN_MPS)
    radius = np.maximum(MIN_RADIUS_M, arc**2 / (LATERAL_MPS2 * strength))
    angle = arc * time / radius
    for side in (1.0, -1.0):
        poses.append(np.stack([radius * np.sin(angle), side * radius * (1 - np.cos(angle)), side * angle], -1))
    return ego_boxes(np.stack(poses))


def probabilities(frame: Keyframe) -> list[list[str | None]]:
    """One of ``PROBABILITIES`` for each of ``ACTIONS`` and each agent; None where the tables cannot tell.

    They cannot where the agent's future is not known for 3 s, it might come near (``may_meet``) and not all variants
    touch it for sure, nor for an ego that stands, reverses or has no speed.
    """
    speed = frame.speed_mps
    if not speed > -0.1:
        return [[None] * len(frame.instances)] * len(ACTIONS)
    boxes = action_boxes(max(speed, 0.0))
    hits = collisions(boxes, frame)
    found = []
    for name, touched, path in zip(ACTIONS, hits, boxes, strict=True):
        is_known = frame.future_valid.all(1) | ~may_meet(frame, path)
        is_asked = speed >= ROLLS_MPS or name == "accelerating"
        found.append(
            [_probability(touched[:, row], bool(is_known[row])) if is_asked else None for row in range(len(is_known))]
        )
    return found


def _probability(touched: Bool[Array, "9"], is_known: bool) -> str | None:
    low, medium, high = PROBABILITIES
    if touched.all():
        return high
    return (medium if touched.any() else low) if is_known else None


def may_meet(frame: Keyframe, boxes: Float[Array, "V 12 5"]) -> Bool[Array, "N"]:
    """Which agents the ego might meet on rolled out paths, if they move as they like for 3 s.

    Cones, barriers and what is parked stay; pedestrians move 9 m, others 3 s at their speed and ``ROAM_M`` more.
    """
    roam = np.linalg.norm(frame.velocity, axis=1) * TIMES_S[-1] + ROAM_M
    for row, (category, attribute) in enumerate(zip(frame.categories, frame.attributes, strict=True)):
        if category in ("traffic_cone", "barrier") or attribute == "vehicle.parked":
            roam[row] = 0.0
        elif category == "pedestrian":
            roam[row] = WALKS_M
    gap = np.linalg.norm(boxes[:, :, None, :2] - frame.box[:, :2], axis=-1).min((0, 1))
    return np.asarray(~(gap > roam + _radii(frame)))


def _radii(frame: Keyframe) -> Float[Array, "N"]:
    """Half the diagonals of an agent and of the ego: further apart their boxes never touch."""
    return np.asarray((np.hypot(EGO_LENGTH_M, EGO_WIDTH_M) + np.hypot(*frame.box[:, 3:].T)) / 2)


def collisions(boxes: Float[Array, "K V 12 5"], frame: Keyframe) -> Bool[Array, "K V N"]:
    """Which of K x V rolled out ego paths touches which agent within 3 s, at a step whose both ends are known."""
    others, is_known = _between_steps(frame)
    gap = np.linalg.norm(boxes[:, :, None, :, :2] - others[..., :2], axis=-1)
    path, variant, agent, step = np.nonzero((gap < _radii(frame)[:, None]) & is_known)
    hits = np.zeros(gap.shape, bool)
    hits[path, variant, agent, step] = boxes_overlap(boxes[path, variant, step], others[agent, step])
    return hits.any(-1)


def _between_steps(frame: Keyframe) -> tuple[Float[Array, "N 12 5"], Bool[Array, "N 12"]]:
    """Boxes of the others at ``TIMES_S``, and where they are known."""
    steps = np.concatenate([frame.box[:, None, :3], frame.future], 1)
    valid = np.concatenate([np.ones((len(steps), 1), bool), frame.future_valid], 1)
    begin, end = steps[:, :-1, None], steps[:, 1:, None]
    share = (np.arange(1, SUBSTEPS + 1) / SUBSTEPS)[:, None]
    change = end - begin
    change[..., 2] = wrap_angle(change[..., 2])
    poses = (begin + share * change).reshape(len(steps), len(TIMES_S), 3)
    size = np.broadcast_to(frame.box[:, None, 3:], (*poses.shape[:2], 2))
    return np.concatenate([poses, size], -1), np.repeat(valid[:, :-1] & valid[:, 1:], SUBSTEPS, axis=1)

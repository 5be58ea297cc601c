"""A plan as a car would drive it: a kinematic bicycle tracks the waypoints at 10 Hz, so that what no car can do is not
scored.

At every tick the car takes the acceleration that would meet the plan half a second later, and steers along the arc to a
point at least that far ahead; steady acceleration or a steady bend is followed to centimetres. After the PDM score of
NAVSIM (Dauner et al., NeurIPS 2024), which tracks with an LQR instead.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dima_pipeline.contracts.frames import NUM_FUTURE_STEPS, STEP_S

TICK_S = 0.1
TICKS_PER_STEP = round(STEP_S / TICK_S)
NUM_TICKS = NUM_FUTURE_STEPS * TICKS_PER_STEP
AHEAD_TICKS = TICKS_PER_STEP
"""How far ahead on the plan the car aims: the damping is 0.7 of the critical one for any such time."""
MAX_AHEAD_TICKS = 20
STEER_BY_M = 4.0
"""A slow car looks further ahead, up to ``MAX_AHEAD_TICKS``, for a point to steer by: it would swing about a near one,
as its wheels need time to turn."""
MIN_AIM_M = 0.3
"""A point nearer than that does not say where to steer to."""

WHEELBASE_M = 2.588
"""Renault Zoe, the car of nuScenes; the ego origin is the middle of its rear axle."""
MAX_STEERING_RAD = 0.6
"""At the front wheel: a turning circle of some 11 m between kerbs."""
MAX_STEERING_RATE_RADPS = 1.0
"""An emergency: some 900 degrees a second at the steering wheel."""
MIN_ACCELERATION_MPS2, MAX_ACCELERATION_MPS2 = -8.0, 5.0
"""What brakes and engine can do, well beyond what is comfortable."""
GRIP_MPS2 = 8.0
"""Lateral acceleration that tyres hold on a dry road."""
MIN_REVERSE_M = 0.05
"""The car reverses only where the plan goes back by more than that in half a second, never to correct itself."""


@dataclass(frozen=True, kw_only=True)
class Motion:
    """What the car did at 0.0, 0.1 ... 3.0 s, in the ego frame at t=0."""

    pose: Float[np.ndarray, "N S 3"]
    """x, y (m), yaw (rad, without jumps) of the ego origin."""
    speed_mps: Float[np.ndarray, "N S"]
    """Negative when reversing."""


def roll_out(
    plans: Float[np.ndarray, "N T D"],
    speed_mps: Float[np.ndarray, "N"],
    steering_rad: Float[np.ndarray, "N"] | None = None,
) -> Motion:
    """Drive plans (x, y (m) at 0.5 ... 3.0 s; what follows them, such as a yaw, is not used) from the origin.

    ``speed_mps`` and ``steering_rad`` (straight on if None) are those at t=0.
    """
    target = reference(np.asarray(plans, float)[..., :2])
    pose = np.zeros((len(target), NUM_TICKS + 1, 3))
    speed = np.zeros(pose.shape[:2])
    speed[:, 0] = speed_mps
    steering = np.zeros(len(target)) if steering_rad is None else np.asarray(steering_rad, float)
    for tick in range(NUM_TICKS):
        here, now_mps = pose[:, tick], speed[:, tick]
        ahead = target[:, tick + AHEAD_TICKS : tick + MAX_AHEAD_TICKS + 1]
        steering = _steer(steering, steering_to(here, _to_steer_by(here, ahead), steering), now_mps)
        may_reverse = _goes_back(ahead[:, 0] - target[:, tick], here[:, 2])
        speed[:, tick + 1] = _accelerate(now_mps, _way_to(here, ahead[:, 0]), may_reverse)
        moved_m = TICK_S * (now_mps + speed[:, tick + 1]) / 2
        turned = moved_m * np.tan(steering) / WHEELBASE_M
        middle = here[:, 2] + turned / 2
        pose[:, tick + 1] = here + np.stack([moved_m * np.cos(middle), moved_m * np.sin(middle), turned], -1)
    return Motion(pose=pose, speed_mps=speed)


def reference(plans: Float[np.ndarray, "N T 2"]) -> Float[np.ndarray, "N R 2"]:
    """Where the plan is at every tick: a cubic through origin and waypoints (Hermite), whose velocity at a waypoint is
    the mean of the steps beside it; straight on from its end for as long as the car aims ahead."""
    knots = np.concatenate([np.zeros_like(plans[:, :1]), plans], 1)
    step = np.diff(knots, axis=1)
    tangent = np.concatenate([step[:, :1], (step[:, :-1] + step[:, 1:]) / 2, step[:, -1:]], 1)
    t = (np.arange(TICKS_PER_STEP) / TICKS_PER_STEP)[:, None]
    start, end = knots[:, :-1, None], knots[:, 1:, None]
    leave, arrive = tangent[:, :-1, None], tangent[:, 1:, None]
    rise = t * t * (3 - 2 * t)
    between = start + rise * (end - start) + t * (1 - t) ** 2 * leave - t * t * (1 - t) * arrive
    beyond = knots[:, -1:] + tangent[:, -1:] * (np.arange(MAX_AHEAD_TICKS + 1) / TICKS_PER_STEP)[:, None]
    return np.concatenate([between.reshape(len(plans), NUM_TICKS, 2), beyond], 1)


def steering_to(
    pose: Float[np.ndarray, "N 3"], point: Float[np.ndarray, "N 2"], otherwise: Float[np.ndarray, "N"]
) -> Float[np.ndarray, "N"]:
    """The steering angle (rad) of the arc from ``pose`` along its heading to ``point``, forwards or backwards;
    ``otherwise`` where the point is too near to say."""
    ahead, left = _seen_from(pose, point)
    chord2 = ahead**2 + left**2
    angle = np.arctan(WHEELBASE_M * 2 * left / np.maximum(chord2, MIN_AIM_M**2))
    return np.where(chord2 >= MIN_AIM_M**2, angle, otherwise)


def _way_to(pose: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Distance (m) of a point, negative behind; the arc there is 2 % longer at most, in the tightest bend."""
    ahead, left = _seen_from(pose, point)
    return np.copysign(np.hypot(ahead, left), ahead)


def _seen_from(pose: np.ndarray, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far ahead of a pose and to its left a point is."""
    cos, sin = np.cos(pose[:, 2]), np.sin(pose[:, 2])
    x, y = (point - pose[:, :2]).T
    return cos * x + sin * y, cos * y - sin * x


def _to_steer_by(pose: np.ndarray, track: np.ndarray) -> np.ndarray:
    """The first point of a track (N, R, 2) that is ``STEER_BY_M`` away, else its last."""
    is_far = ((track - pose[:, None, :2]) ** 2).sum(-1) >= STEER_BY_M**2
    first = np.where(is_far.any(1), is_far.argmax(1), track.shape[1] - 1)
    return track[np.arange(len(track)), first]


def _steer(steering: np.ndarray, wanted: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """The steering angle after one tick."""
    grip = np.arctan(WHEELBASE_M * GRIP_MPS2 / np.maximum(speed**2, 1e-6))
    limit = np.minimum(MAX_STEERING_RAD, grip)
    turn = MAX_STEERING_RATE_RADPS * TICK_S
    return np.clip(np.clip(wanted, -limit, limit), steering - turn, steering + turn)


def _goes_back(move: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    return move[:, 0] * np.cos(yaw) + move[:, 1] * np.sin(yaw) < -MIN_REVERSE_M


def _accelerate(speed: np.ndarray, way_m: np.ndarray, may_reverse: np.ndarray) -> np.ndarray:
    """The speed after one tick of the acceleration that covers ``way_m`` in the time the car aims ahead."""
    ahead_s = AHEAD_TICKS * TICK_S
    wanted = 2 * (way_m - speed * ahead_s) / ahead_s**2
    changed = speed + TICK_S * np.clip(wanted, MIN_ACCELERATION_MPS2, MAX_ACCELERATION_MPS2)
    return np.where(may_reverse, changed, np.maximum(changed, np.minimum(speed, 0.0)))

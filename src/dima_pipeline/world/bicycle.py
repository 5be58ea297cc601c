"""The ego as a car: a kinematic bicycle about its rear axle that keeps to what passengers and tyres bear.

Rajamani, Vehicle Dynamics and Control, 2012, section 2.2, with the rear axle as the reference point.
"""

from dataclasses import dataclass

import numpy as np

WHEELBASE_M = 2.588
MAX_STEERING_RAD = 0.52
MAX_STEERING_RATE_RADPS = 0.8
MAX_ACCELERATION_MPS2 = 2.0
COMFORT_BRAKING_MPS2 = 4.0
EMERGENCY_BRAKING_MPS2 = 6.0
MAX_LATERAL_MPS2 = 3.0
COMFORT_JERK_MPS3 = 5.0
EMERGENCY_JERK_MPS3 = 30.0
STANDSTILL_MPS = 0.02
GEAR_BRAKING_MPS2 = 1.5


@dataclass(frozen=True)
class Action:
    """What a policy asks of the car: pedal (m/s2 along the direction of travel), curvature (1/m, left positive)."""

    acceleration_mps2: float
    curvature_1pm: float
    is_reverse: bool = False
    """The gear; one is only changed at standstill, so a moving car brakes first."""


@dataclass(frozen=True)
class Car:
    """State of the car: rear axle x, y, yaw; speed (never negative) in ``direction`` +1 or -1; pedal and wheels."""

    pose: tuple[float, float, float]
    speed_mps: float
    direction: float = 1.0
    acceleration_mps2: float = 0.0
    steering_rad: float = 0.0


def drive(car: Car, action: Action, step_s: float) -> Car:
    """The car after ``step_s`` of an action that is cut to the limits above; raises ``ValueError`` where it is not
    finite."""
    if not np.isfinite([action.acceleration_mps2, action.curvature_1pm]).all():
        raise ValueError(f"an action must be finite, got {action}")
    direction = car.direction
    wanted = float(np.clip(action.acceleration_mps2, -EMERGENCY_BRAKING_MPS2, MAX_ACCELERATION_MPS2))
    if action.is_reverse != (direction < 0):
        if car.speed_mps < STANDSTILL_MPS:
            direction = -direction
        else:
            wanted = min(wanted, -GEAR_BRAKING_MPS2)
    pull = _with_limited_jerk(car, wanted, step_s)
    speed = max(car.speed_mps + pull * step_s, 0.0)
    if wanted <= 0.0 and speed < STANDSTILL_MPS:
        speed = 0.0
    steering = _steered(car, action.curvature_1pm, step_s)
    distance = direction * (car.speed_mps + speed) / 2 * step_s
    bend = np.tan((car.steering_rad + steering) / 2) / WHEELBASE_M
    x, y, yaw = car.pose
    half = distance * bend / 2
    chord = distance * float(np.sinc(half / np.pi))
    pose = (x + chord * float(np.cos(yaw + half)), y + chord * float(np.sin(yaw + half)), yaw + 2 * float(half))
    return Car(pose, speed, direction, pull if speed > 0 else 0.0, steering)


def _with_limited_jerk(car: Car, wanted: float, step_s: float) -> float:
    """Acceleration of the next step: changes smoothly, but for an emergency and for the halt itself."""
    is_hard = min(wanted, car.acceleration_mps2) < -COMFORT_BRAKING_MPS2
    change = (EMERGENCY_JERK_MPS3 if is_hard else COMFORT_JERK_MPS3) * step_s
    return float(np.clip(wanted, car.acceleration_mps2 - change, car.acceleration_mps2 + change))


def _steered(car: Car, curvature_1pm: float, step_s: float) -> float:
    """Angle of the front wheels, held to its range, its rate and the lateral acceleration of the curve it drives."""
    most = MAX_LATERAL_MPS2 / max(car.speed_mps, 0.5) ** 2
    wanted = float(np.arctan(WHEELBASE_M * np.clip(curvature_1pm, -most, most)))
    wanted = float(np.clip(wanted, -MAX_STEERING_RAD, MAX_STEERING_RAD))
    change = MAX_STEERING_RATE_RADPS * step_s
    return float(np.clip(wanted, car.steering_rad - change, car.steering_rad + change))

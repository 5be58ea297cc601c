"""Drives the ego by the rules: speed from the driver model with foresight, steering that holds the car on its path.

Steering feeds back from the rear axle (Paden et al., IEEE T-IV 2016, section V.A): the path's curvature a moment ahead,
less what its offset and its heading error ask for. At a cusp it halts, turns its wheels and changes gear.
"""

import numpy as np

from dima_pipeline.geometry import wrap_angle
from dima_pipeline.world.actors import State
from dima_pipeline.world.bicycle import MAX_STEERING_RAD, WHEELBASE_M, Action
from dima_pipeline.world.driver_models import DECISION_S, Decision, Memory, decide
from dima_pipeline.world.paths import DrivePath

FORESIGHT_S = 0.25
"""How far ahead it asks for its limit: what the smooth pedal lags behind."""
STEERING_FORESIGHT_S = 0.2
SETTLE_M, SETTLE_S = 2.2, 0.55
"""An offset dies out over about so many metres, at speed over so many seconds."""
CUSP_M = 0.3
HALT_MPS2 = -1.5
WHEELS_READY_RAD = 0.12


class Expert:
    """A policy for one scene; it follows the path of the ego's course and remembers which gates it found open."""

    def __init__(self) -> None:
        self.decision = Decision(0.0)
        self._memory: Memory = set()
        self._decided_s = -np.inf

    def act(self, state: State) -> Action:
        """The next pedal and wheel."""
        path = state.paths[0]
        assert path is not None
        if state.time_s - self._decided_s > DECISION_S - 1e-6:
            self.decision = decide(state, 0, self._memory, state.time_s, foresight_s=FORESIGHT_S)
            self._decided_s = state.time_s
        along, pull = float(state.along_m[0]), self.decision.acceleration_mps2
        curvature = steer(path, along, state)
        if min(path.next_cusp(along), path.length) - along < CUSP_M:
            pull = min(pull, HALT_MPS2)
        wheels = np.clip(np.arctan(WHEELBASE_M * curvature), -MAX_STEERING_RAD, MAX_STEERING_RAD)
        if state.car.speed_mps == 0.0 and abs(wheels - state.car.steering_rad) > WHEELS_READY_RAD:
            pull = min(pull, 0.0)
        return Action(pull, curvature, is_reverse=bool(path.direction_at(along) < 0))


def steer(path: DrivePath, along_m: float, state: State) -> float:
    """Curvature (1/m) that brings the rear axle back to a path."""
    x, y, yaw = path.pose(along_m)
    car, speed = state.car.pose, state.car.speed_mps
    offset = float(-(car[0] - x) * np.sin(yaw) + (car[1] - y) * np.cos(yaw))
    turned = float(wrap_angle(car[2] - yaw))
    settle = max(SETTLE_M, SETTLE_S * speed)
    # Not beyond a cusp, where the wheel turns over.
    place = min(along_m + STEERING_FORESIGHT_S * speed, path.next_cusp(along_m) - 0.3)
    bend = path.bend_at(max(place, along_m))
    return bend - 2 * float(path.direction_at(along_m)) * turned / settle - offset / settle**2

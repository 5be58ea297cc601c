"""The car of the ego: where an action takes it, and what it refuses to do to its passengers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dima_pipeline.world.bicycle import (
    EMERGENCY_BRAKING_MPS2,
    MAX_ACCELERATION_MPS2,
    MAX_LATERAL_MPS2,
    MAX_STEERING_RAD,
    MAX_STEERING_RATE_RADPS,
    WHEELBASE_M,
    Action,
    Car,
    drive,
)

STEP_S = 0.05
ACTIONS = st.builds(Action, st.floats(-20, 20), st.floats(-2, 2), st.booleans())


def test_straight_on_a_car_covers_its_speed_times_the_time() -> None:
    car = Car((1.0, 2.0, np.pi / 2), 8.0)
    for _ in range(20):
        car = drive(car, Action(0.0, 0.0), STEP_S)
    assert car.pose == pytest.approx((1.0, 10.0, np.pi / 2)) and car.speed_mps == 8.0


def test_with_its_wheels_turned_a_car_drives_the_circle_of_its_steering_angle() -> None:
    radius = 10.0
    car = Car((0.0, 0.0, 0.0), 3.0, steering_rad=float(np.arctan(WHEELBASE_M / radius)))
    steps = round(2 * np.pi * radius / 3.0 / STEP_S)
    places = []
    for _ in range(steps):
        car = drive(car, Action(0.0, 1 / radius), STEP_S)
        places.append(car.pose[:2])
    away = np.hypot(*(np.array(places) - (0.0, radius)).T)
    assert np.abs(away - radius).max() < 1e-9
    assert car.pose[2] == pytest.approx(steps * 3.0 * STEP_S / radius)


def test_a_car_brakes_to_a_halt_before_it_changes_gear() -> None:
    car, reversed_at = Car((0.0, 0.0, 0.0), 1.0), None
    for tick in range(80):
        before, car = car, drive(car, Action(0.5, 0.0, is_reverse=True), STEP_S)
        if car.direction != before.direction:
            reversed_at = tick
            assert before.speed_mps < 0.03
    assert reversed_at is not None and reversed_at * STEP_S > 0.6
    assert car.speed_mps > 0.3 and car.direction == -1.0


def test_backwards_with_wheels_to_the_left_the_heading_turns_right() -> None:
    car = Car((0.0, 0.0, 0.0), 2.0, direction=-1.0, steering_rad=0.4)
    car = drive(car, Action(0.0, np.tan(0.4) / WHEELBASE_M, is_reverse=True), STEP_S)
    assert car.pose[0] < 0 and car.pose[2] < 0


@pytest.mark.parametrize("action", [Action(np.nan, 0.0), Action(0.0, np.inf)])
def test_an_action_that_is_no_number_is_refused(action: Action) -> None:
    with pytest.raises(ValueError, match="must be finite"):
        drive(Car((0.0, 0.0, 0.0), 3.0), action, STEP_S)


@given(st.lists(ACTIONS, min_size=1, max_size=60), st.floats(0.0, 15.0))
def test_whatever_is_asked_the_car_stays_within_its_limits(actions: list[Action], speed: float) -> None:
    car = Car((0.0, 0.0, 0.0), speed)
    for action in actions:
        before, car = car, drive(car, action, STEP_S)
        gained = (car.speed_mps - before.speed_mps) / STEP_S
        assert -EMERGENCY_BRAKING_MPS2 - 1e-6 <= gained <= MAX_ACCELERATION_MPS2 + 1e-6
        assert abs(car.steering_rad) <= MAX_STEERING_RAD + 1e-9
        assert abs(car.steering_rad - before.steering_rad) <= MAX_STEERING_RATE_RADPS * STEP_S + 1e-9
        moved = np.hypot(car.pose[0] - before.pose[0], car.pose[1] - before.pose[1])
        assert moved <= (before.speed_mps + car.speed_mps) / 2 * STEP_S + 1e-9
        assert car.speed_mps >= 0.0


@given(st.floats(-2, 2), st.floats(1.0, 15.0))
def test_held_on_a_curve_the_lateral_acceleration_stays_bearable(curvature: float, speed: float) -> None:
    car = Car((0.0, 0.0, 0.0), speed)
    for _ in range(40):
        car = drive(car, Action(0.0, curvature), STEP_S)
    assert car.speed_mps**2 * abs(np.tan(car.steering_rad)) / WHEELBASE_M <= MAX_LATERAL_MPS2 + 1e-6

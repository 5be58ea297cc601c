"""Motions of the bicycle: hand-typed drives are followed to centimetres, impossible ones are refused."""

import numpy as np
import pytest

from dima_pipeline.curation.edit_motions import (
    MAX_BRAKING_MPS2,
    MAX_JERK_MPS3,
    Driven,
    beside,
    braking,
    driven_motions,
    even_line,
    follow,
    is_drivable,
    reverses,
    setting_off,
)
from dima_pipeline.storage.keyframes import keyframes
from edit_checker import integrate
from hand_scenes import HandScene, from_speeds, make_tables, straight


def frame_of(ego: np.ndarray):
    return next(keyframes(make_tables(HandScene(ego=ego))))


def driven(ego: np.ndarray, speed_mps: float) -> Driven | None:
    return driven_motions([frame_of(ego)], [speed_mps])[0]


def circle(speed_mps: float, radius_m: float) -> np.ndarray:
    turned = speed_mps * 0.5 * np.arange(8) / radius_m
    return np.stack([radius_m * np.sin(turned), radius_m * (1 - np.cos(turned)), turned], -1)


@pytest.mark.parametrize("speed", [0.0, 3.0, 15.0])
def test_a_straight_drive_is_followed_exactly_without_steering(speed):
    found = driven(straight(8, speed), speed)
    assert found is not None
    np.testing.assert_allclose(found.motion.path[0, :, 0], speed * 0.5 * np.arange(1, 7), atol=0.01)
    assert np.abs(found.motion.steering_rad).max() < 1e-9


def test_a_bend_is_followed_with_the_steering_of_its_radius():
    ego = circle(5.0, 12.0)
    found = driven(ego, 5.0)
    assert found is not None
    np.testing.assert_allclose(found.motion.path[0], ego[1:7, :2], atol=0.05)
    np.testing.assert_allclose(found.motion.steering_rad[0, 5:24], np.arctan(2.588 / 12.0), atol=0.02)


@pytest.mark.parametrize(
    ("ego", "speed"),
    [
        (from_speeds([10, 10, 0, 10, 10, 10, 10]), 10.0),  # stops at once and is gone again
        (circle(10.0, 8.0), 10.0),  # 12 m/s2 to the side
        (straight(8, 6.0) + np.array([[0, 1.5 * (at % 2), 0] for at in range(8)]), 6.0),  # hops from side to side
        (straight(8, 6.0), 14.0),  # the speed that was measured is another
    ],
)
def test_what_no_car_drives_is_refused(ego, speed):
    assert driven(ego, speed) is None


def test_reversing_is_found_and_noise_of_a_standing_car_is_not():
    assert reverses(frame_of(from_speeds([0, -1, -1, -1, 0, 0, 0])))
    assert not reverses(frame_of(from_speeds([0, -0.02, 0.02, 0, 0, 0, 0])))
    assert not reverses(frame_of(circle(5.0, 6.0)))


def test_braking_builds_up_within_the_jerk_and_is_never_softer_than_the_driver():
    found = driven(from_speeds([8, 8, 7, 6, 5, 4, 3]), 8.0)
    assert found is not None
    pushed = braking(found, np.array([1.0, MAX_BRAKING_MPS2]))
    assert (pushed <= found.acceleration_mps2 + 1e-9).all()
    assert pushed[1].min() == -MAX_BRAKING_MPS2
    assert np.abs(np.diff(pushed)).max() / 0.1 <= MAX_JERK_MPS3 + 1e-6


def test_a_car_brakes_to_a_halt_and_stays_there():
    line = even_line(np.zeros((1, 2)), 0.0)
    motion = follow(line[None], np.full((1, 30), -4.0), 4.0, 0.0)
    # v^2 / 2a, and the last tenth of a second that was only partly needed.
    np.testing.assert_allclose(motion.path[0, -1], [2.0, 0.0], atol=0.01)
    assert (motion.speed_mps[0, 10:] == 0).all() and is_drivable(motion).all()


def test_setting_off_is_gentle_and_ends_at_the_speed_asked_for():
    found = driven(straight(8, 6.0), 6.0)
    assert found is not None
    pushed = setting_off(found, np.array([1.5]), 8.0)
    assert pushed.max() <= 1.5 and 7.5 < 6.0 + 0.1 * pushed.sum() <= 8.0


def test_a_line_beside_leaves_smoothly_and_runs_parallel():
    line = beside(even_line(np.zeros((1, 2)), 0.0), np.array([1.4, -0.8]), 10.0)
    np.testing.assert_allclose(line[:, 0, 1], 0.0)
    np.testing.assert_allclose(line[:, 20:, 1], np.array([[1.4], [-0.8]]) * np.ones(221))


@pytest.mark.parametrize("shift", [0.8, -1.4, 2.0])
def test_another_integration_of_the_controls_gives_the_same_path(shift):
    found = driven(circle(7.0, 40.0), 7.0)
    assert found is not None
    line = beside(found.line, np.array([shift]), 14.0)
    motion = follow(line, found.acceleration_mps2[None], found.speed_mps, float(found.motion.steering_rad[0, 0]))
    poses, _ = integrate(found.speed_mps, motion.acceleration_mps2[0], motion.steering_rad[0])
    np.testing.assert_allclose(poses[10::10, :2], motion.path[0], atol=1e-3)


def test_every_limit_is_looked_at():
    line = even_line(np.zeros((1, 2)), 0.0)
    for push in (np.full(30, 3.1), np.full(30, -6.1), np.repeat([0.0, 1.6], 15)):
        assert not is_drivable(follow(line[None], push[None], 20.0, 0.0)).any()
    assert is_drivable(follow(line[None], np.repeat([[0.0, 1.4]], 15, axis=1), 20.0, 0.0)).all()
    # A right angle at 15 m/s cannot be steered: the car keeps within its limits, and goes wide.
    corner = even_line(np.array([[0.0, 0.0], [10.0, 0.0]]), np.pi / 2)
    motion = follow(corner[None], np.zeros((1, 30)), 15.0, 0.0)
    assert is_drivable(motion).all() and motion.path[0, :, 0].max() > 15.0

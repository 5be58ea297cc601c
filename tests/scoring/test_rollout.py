"""Plans driven by a car: what it can do is followed, what it cannot is not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline.scoring.rollout import (
    GRIP_MPS2,
    MAX_ACCELERATION_MPS2,
    MAX_AHEAD_TICKS,
    MAX_STEERING_RAD,
    MAX_STEERING_RATE_RADPS,
    MIN_ACCELERATION_MPS2,
    NUM_TICKS,
    TICK_S,
    WHEELBASE_M,
    Motion,
    reference,
    roll_out,
    steering_to,
)

TIMES_S = np.arange(1, 7) * 0.5
SEEDS = st.integers(0, 10_000)


def straight(speed_mps: float, acceleration_mps2: float = 0.0) -> np.ndarray:
    """Straight ahead: (1, T, 2)."""
    return np.stack([speed_mps * TIMES_S + acceleration_mps2 * TIMES_S**2 / 2, 0 * TIMES_S], -1)[None]


def driven_by_a_bicycle(
    speed_mps: np.ndarray, acceleration: np.ndarray, steering_rate: np.ndarray, steering: np.ndarray
) -> np.ndarray:
    """Poses (N, T, 3) of a bicycle stepped by 10 ms, by controls (N, T) that hold for half a second each."""
    x, y, yaw, speed, steering = np.stack([0 * speed_mps, 0 * speed_mps, 0 * speed_mps, speed_mps, steering])
    poses = []
    for step in range(6):
        for _ in range(50):
            x, y = x + 0.01 * speed * np.cos(yaw), y + 0.01 * speed * np.sin(yaw)
            yaw = yaw + 0.01 * speed * np.tan(steering) / WHEELBASE_M
            speed = np.maximum(speed + 0.01 * acceleration[:, step], 0)
            grip = np.arctan(WHEELBASE_M * 4.0 / np.maximum(speed**2, 1e-6))
            steering = np.clip(steering + 0.01 * steering_rate[:, step], -grip, grip)
        poses.append(np.stack([x, y, yaw], -1))
    return np.stack(poses, 1)


def at_steps(motion: Motion) -> np.ndarray:
    """Poses (N, T, 3) at the half seconds."""
    return motion.pose[:, 5::5]


@given(seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_what_a_bicycle_has_driven_is_followed_within_a_fifth_of_a_metre(seed: int):
    rng = np.random.default_rng(seed)
    speed = rng.uniform(0, 18, 40)
    track = driven_by_a_bicycle(speed, rng.uniform(-2, 2, (40, 6)), rng.uniform(-0.1, 0.1, (40, 6)), np.zeros(40))
    gap = np.linalg.norm(at_steps(roll_out(track, speed))[..., :2] - track[..., :2], axis=-1)
    assert gap.max() < 0.2 and gap.mean() < 0.06


def test_constant_acceleration_and_constant_bends_are_followed_to_the_centimetre():
    plan = straight(5, 2)[0]
    ahead = at_steps(roll_out(plan[None], np.array([5.0])))[0, :, :2]
    np.testing.assert_allclose(ahead[:5], plan[:5], atol=0.01)
    steering = np.array([0.2])
    bend = driven_by_a_bicycle(np.array([6.0]), np.zeros((1, 6)), np.zeros((1, 6)), steering)
    turned = at_steps(roll_out(bend, np.array([6.0]), steering))
    np.testing.assert_allclose(turned[:, :5], bend[:, :5], atol=0.02)
    # Nothing says that they last beyond 3 s, which the car sees half a second before.
    np.testing.assert_allclose(ahead[5], plan[5], atol=0.1)
    np.testing.assert_allclose(turned[:, 5, :2], bend[:, 5, :2], atol=0.15)


@pytest.mark.parametrize("speed_mps", [2.0, 4.0, 6.0, 8.0, 12.0])
def test_a_jump_to_the_side_is_not_followed_but_made_up_for_without_swinging(speed_mps: float):
    plan = straight(speed_mps)
    plan[0, 2:, 1] = 3.0
    left = at_steps(roll_out(plan, np.array([speed_mps])))[0, :, 1]
    assert abs(left[2] - left[1] - 3.0) > 0.5 and left.max() < 3.5


def test_a_stretched_first_step_is_not_reached_as_the_engine_has_its_limits():
    ahead = at_steps(roll_out(straight(20.0), np.array([0.0])))[0, :, 0]
    np.testing.assert_allclose(ahead, MAX_ACCELERATION_MPS2 * TIMES_S**2 / 2, atol=1e-6)


def test_a_standing_plan_stands_still_and_a_late_brake_ends_in_front_of_the_point_never_in_reverse():
    standing = roll_out(np.zeros((1, 6, 2)), np.zeros(1))
    assert (standing.pose == 0).all() and (standing.speed_mps == 0).all()
    # 8 m/s at 8 m/s^2: stands after 4 m and 1 s.
    braked = roll_out(np.zeros((1, 6, 2)), np.array([8.0]))
    np.testing.assert_allclose(at_steps(braked)[0, :, 0], [3, 4, 4, 4, 4, 4], atol=1e-9)
    assert (braked.speed_mps >= 0).all()


def test_noise_of_a_standing_plan_neither_moves_nor_turns_the_car():
    plans = np.random.default_rng(0).normal(0, 0.01, (50, 6, 2))
    motion = roll_out(plans, np.zeros(50))
    assert np.abs(motion.pose[..., :2]).max() < 0.1 and np.abs(motion.pose[..., 2]).max() < 0.03


def test_a_plan_that_goes_back_is_driven_in_reverse_and_its_bend_too():
    back = roll_out(straight(-2.0), np.array([-2.0]))
    np.testing.assert_allclose(at_steps(back)[0, :, :2], straight(-2.0)[0], atol=0.01)
    angle = TIMES_S * 0.2
    circle = np.stack([-10 * np.sin(angle), 10 - 10 * np.cos(angle)], -1)[None]
    bend = at_steps(roll_out(circle, np.array([-2.0])))
    np.testing.assert_allclose(bend[0, :, :2], circle[0], atol=0.15)
    assert bend[0, -1, 2] < -0.4


def test_a_standing_car_backs_up_if_the_plan_does():
    back = at_steps(roll_out(straight(0.0, -1.0), np.zeros(1)))[0, :, 0]
    np.testing.assert_allclose(back, -(TIMES_S**2) / 2, atol=0.15)


def test_the_wheels_stay_as_they_are_for_a_point_too_near_to_steer_by():
    points = np.array([[0.1, 0.1], [-5.0, 0.0], [5.0, 5.0]])
    angles = steering_to(np.zeros((3, 3)), points, np.full(3, 0.3))
    np.testing.assert_allclose(angles, [0.3, 0.0, np.arctan(WHEELBASE_M / 5)], atol=1e-12)


def test_a_car_sets_off_from_standstill_into_a_bend():
    angle = 1.0 * TIMES_S**2 / 2 / 12
    plan = np.stack([12 * np.sin(angle), 12 - 12 * np.cos(angle)], -1)[None]
    np.testing.assert_allclose(at_steps(roll_out(plan, np.zeros(1)))[0, :, :2], plan[0], atol=0.15)


@given(seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_the_car_keeps_to_its_limits_whatever_it_is_told(seed: int):
    rng = np.random.default_rng(seed)
    speed = rng.uniform(-3, 20, 30)
    motion = roll_out(rng.normal(0, rng.choice([0.01, 1, 30, 1e4]), (30, 6, 2)), speed)
    assert np.isfinite(motion.pose).all() and (motion.speed_mps[:, 0] == speed).all()
    acceleration = np.diff(motion.speed_mps, axis=1) / TICK_S
    assert acceleration.min() > MIN_ACCELERATION_MPS2 - 1e-9 and acceleration.max() < MAX_ACCELERATION_MPS2 + 1e-9
    moved = (motion.speed_mps[:, 1:] + motion.speed_mps[:, :-1]) / 2 * TICK_S
    turned = np.diff(motion.pose[..., 2], axis=1)
    assert (np.abs(turned) <= np.abs(moved) * np.tan(MAX_STEERING_RAD) / WHEELBASE_M + 1e-9).all()
    # Speed rises within a tick, and the wheels come back no faster than they can: a little beyond the grip is left.
    assert (np.abs(turned * moved) / TICK_S**2 < GRIP_MPS2 * 1.5).all()
    is_fast = np.abs(moved) > 0.05
    steering = np.arctan(WHEELBASE_M * turned / np.where(is_fast, moved, 1.0))
    change = np.abs(np.diff(steering, axis=1))[is_fast[:, 1:] & is_fast[:, :-1]]
    assert (change <= MAX_STEERING_RATE_RADPS * TICK_S + 1e-9).all()


@given(seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_a_mirrored_plan_is_driven_mirrored_and_a_plan_alone_as_among_others(seed: int):
    rng = np.random.default_rng(seed)
    plans, speed = np.cumsum(rng.normal((2, 0), (1, 1), (7, 6, 2)), 1), rng.uniform(0, 10, 7)
    motion, mirrored = roll_out(plans, speed), roll_out(plans * [1, -1], speed)
    np.testing.assert_allclose(mirrored.pose, motion.pose * [1, -1, -1], atol=1e-9)
    alone = roll_out(plans[3:4], speed[3:4])
    np.testing.assert_array_equal(alone.pose[0], motion.pose[3])


def test_the_reference_goes_through_the_waypoints_and_on_from_the_last():
    plan = np.random.default_rng(1).normal(0, 5, (4, 6, 2))
    track = reference(plan)
    assert track.shape == (4, NUM_TICKS + MAX_AHEAD_TICKS + 1, 2) and (track[:, 0] == 0).all()
    np.testing.assert_allclose(track[:, 5:31:5], plan, atol=1e-9)
    np.testing.assert_allclose(track[:, 35], 2 * plan[:, -1] - plan[:, -2], atol=1e-9)
    np.testing.assert_allclose(reference(straight(4.0))[0, :, 0], 0.4 * np.arange(51), atol=1e-9)


@pytest.mark.parametrize("num", [0, 3])
def test_headings_of_plans_are_not_looked_at_and_no_plan_at_all_is_fine(num: int):
    plans = np.random.default_rng(2).normal(2, 1, (num, 6, 3))
    motion = roll_out(plans, np.ones(num))
    np.testing.assert_array_equal(motion.pose, roll_out(plans[..., :2], np.ones(num)).pose)
    assert motion.pose.shape == (num, 31, 3) and motion.speed_mps.shape == (num, 31)

"""The world step by step: any policy may drive, a state is never changed, and the expert keeps to its path."""

from dataclasses import fields

import numpy as np
import pytest

from dima_pipeline.geometry import wrap_angle
from dima_pipeline.world.actors import Actor, State
from dima_pipeline.world.bicycle import Action
from dima_pipeline.world.curves import Curve
from dima_pipeline.world.drama import Drama
from dima_pipeline.world.expert import Expert
from dima_pipeline.world.paths import DrivePath, forward_path, sample_curves, three_point_path
from dima_pipeline.world.signal_plans import SignalPlan
from dima_pipeline.world.simulation import TIME_STEP_S, make_ego, simulate, start, step

BEND = Curve((0.0, 0.0, 0.0), ((40.0, 0.0), (5 * np.pi, 0.1), (60.0, 0.0)))


def path_of(curve: Curve, speed: float = 8.0) -> DrivePath:
    return forward_path(*sample_curves([curve], [speed]))


def lead(speed: float = 6.0) -> Actor:
    return Actor(
        "lead", "vehicle.car", (4.5, 1.85, 1.6), path=path_of(BEND), start_m=25.0, speed_mps=speed, center_ahead_m=1.3
    )


class Coast:
    """Neither pedal nor wheel."""

    def act(self, state: State) -> Action:
        """Nothing."""
        return Action(0.0, 0.0)


def test_another_policy_drives_where_it_likes_and_the_others_go_on() -> None:
    actors = [make_ego(path_of(BEND), 5.0, ()), lead()]
    tracks = simulate(actors, 6.0, policy=Coast())
    assert tracks.ego_poses[-1] == pytest.approx([5.0 + 6.0 * 8.0, 0.0, 0.0], abs=1e-6)
    assert tracks.poses[-1, 1, 1] > 2.0


def test_who_is_behind_brakes_for_an_ego_that_brakes() -> None:
    class Brake:
        def act(self, state: State) -> Action:
            return Action(-4.0, 0.0)

    behind = lead()
    behind.start_m, behind.path = 0.0, path_of(Curve((-30.0, 0.0, 0.0), ((150.0, 0.0),)))
    tracks = simulate([make_ego(path_of(BEND), 5.0, ()), behind], 12.0, policy=Brake())
    assert tracks.speeds[-1, 1] < 0.1
    assert tracks.poses[-1, 0, 0] - tracks.poses[-1, 1, 0] > (4.084 + 4.5) / 2


def test_a_state_is_the_same_after_a_step_and_steps_again_to_the_same() -> None:
    state = start([make_ego(path_of(BEND), 5.0, ()), lead()], {"s": SignalPlan(34.0, 0.0)})
    for _ in range(7):
        state = step(state, Action(0.5, 0.01))
    before = {field.name: _bytes(getattr(state, field.name)) for field in fields(state)}
    braked, pushed, again = (step(state, Action(pull, 0.0)) for pull in (-6.0, 2.0, -6.0))
    assert before == {field.name: _bytes(getattr(state, field.name)) for field in fields(state)}
    assert braked.car == again.car and (braked.poses == again.poses).all() and braked.car != pushed.car


def _bytes(value: object) -> object:
    return value.tobytes() if isinstance(value, np.ndarray) else value


def test_stepping_by_hand_is_what_simulate_does() -> None:
    actors = [make_ego(path_of(BEND), 5.0, ()), lead()]
    tracks = simulate(actors, 5.0)
    state, expert = start(actors), Expert()
    for _ in range(100):
        state = step(state, expert.act(state))
    assert state.time_s == pytest.approx(5.0) and (state.poses == tracks.poses[-1]).all()


def test_the_expert_stays_within_a_hand_of_its_path_through_a_bend() -> None:
    ego = make_ego(path_of(BEND), 5.0, ())
    tracks = simulate([ego], 12.0)
    assert ego.path is not None
    apart = tracks.ego_poses - ego.path.pose(tracks.along_m[:, 0])
    assert np.hypot(*apart[:, :2].T).max() < 0.15 and np.abs(wrap_angle(apart[:, 2])).max() < 0.12


def test_the_expert_turns_round_in_three_parts_and_halts_between_them() -> None:
    there = Curve((0.0, -1.45, 0.0), ((100.0, 0.0),))
    path, _, _ = three_point_path(there, there.offset(2.9).reversed(), 40.0, 4.3)
    tracks = simulate([make_ego(path, 37.0, ())], 20.0)
    signs = np.sign(tracks.speeds[np.abs(tracks.speeds[:, 0]) > 0.1, 0])
    assert signs[np.flatnonzero(np.diff(signs, prepend=-signs[0]))].tolist() == [1.0, -1.0, 1.0]
    assert abs(tracks.ego_poses[-1, 2] - np.pi) < 0.05 and abs(tracks.ego_poses[-1, 1] - 1.45) < 0.2
    halted = tracks.speeds[:, 0] == 0.0
    # Only a standing car turns its wheels from one stop to the other.
    assert np.abs(np.diff(tracks.steering_rad))[halted[1:]].sum() > 1.2


def test_in_every_scene_the_expert_keeps_to_its_path_and_to_what_passengers_bear(dramas: dict[str, Drama]) -> None:
    for name, drama in dramas.items():
        tracks, path = drama.tracks, drama.actors[0].path
        assert path is not None
        apart = np.hypot(*(tracks.ego_poses - path.pose(tracks.along_m[:, 0]))[:, :2].T)
        assert apart.max() < 0.6, name
        yaw_rate = np.diff(tracks.ego_poses[:, 2]) / TIME_STEP_S
        assert np.abs(yaw_rate * tracks.speeds[:-1, 0]).max() < 3.3, name
        assert np.abs(np.diff(tracks.steering_rad)).max() / TIME_STEP_S < 0.81, name
        assert tracks.acceleration_mps2.max() < 2.1, name

"""People on foot: what the social-force model promises for two, for one, and beside a wall."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline.world.social_force import FASTEST, accelerations, repulsions, step

BODY_M = 0.3
STEP_S = 0.05


def walk(starts: object, goals: object, wanted: object, seconds: float, walls: object = None) -> np.ndarray:
    """Positions (T, N, 2) of people who start at rest."""
    places, aims, paces = (np.array(value, float) for value in (starts, goals, wanted))
    speeds, trace = np.zeros_like(places), [places]
    fences = None if walls is None else np.array(walls, float)
    for _ in range(round(seconds / STEP_S)):
        push = accelerations(places, speeds, aims, paces, np.full(len(paces), BODY_M), fences)
        places, speeds = step(places, speeds, push, paces, STEP_S)
        trace.append(places)
    return np.stack(trace)


@given(st.floats(0.5, 2.0), st.floats(-np.pi, np.pi))
def test_somebody_alone_reaches_the_speed_it_wants_in_the_direction_of_its_goal(pace: float, angle: float) -> None:
    toward = np.array([np.cos(angle), np.sin(angle)])
    trace = walk([[0.0, 0.0]], [1000 * toward], [pace], 4.0)
    assert np.allclose((trace[-1, 0] - trace[-2, 0]) / STEP_S, pace * toward, atol=0.02 * pace)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.02, 1.0), st.floats(0.7, 1.8), st.floats(0.7, 1.8))
def test_two_who_meet_pass_without_touching(aside: float, first: float, second: float) -> None:
    starts, goals = [[-9.0, aside], [9.0, 0.0]], [[99.0, aside], [-99.0, 0.0]]
    trace = walk(starts, goals, [first, second], 24.0)
    assert np.linalg.norm(trace[:, 0] - trace[:, 1], axis=1).min() > 2 * BODY_M
    assert trace[-1, 0, 0] > trace[-1, 1, 0], "they have passed"


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=2, max_size=6, unique=True))
def test_people_at_rest_push_each_other_equally_so_that_nobody_gains_momentum(places: list[tuple]) -> None:
    force = repulsions(np.array(places), np.zeros((len(places), 2)), np.full(len(places), BODY_M))
    assert np.allclose(force, -force.swapaxes(0, 1)) and np.allclose(force.sum((0, 1)), 0.0, atol=1e-9)


@given(st.floats(0.1, 1.0), st.floats(0.5, 4.0))
def test_a_mirrored_scene_has_mirrored_accelerations(aside: float, apart: float) -> None:
    places, speeds = np.array([[0.0, aside], [apart, 0.0]]), np.array([[1.2, 0.1], [-1.0, 0.0]])
    flip, rest = np.array([1.0, -1.0]), (np.array([1.3, 1.1]), np.full(2, BODY_M))
    goals = np.array([[50.0, 1.0], [-50.0, 0.0]])
    push = accelerations(places, speeds, goals, *rest)
    assert np.allclose(accelerations(places * flip, speeds * flip, goals * flip, *rest), push * flip)


def test_somebody_who_wants_to_stand_stands_and_others_go_round() -> None:
    trace = walk([[-6.0, 0.1], [0.0, 0.0]], [[60.0, 0.1], [0.0, 0.0]], [1.3, 0.0], 14.0)
    assert (trace[:, 1] == 0.0).all()
    assert trace[-1, 0, 0] > 5.0 and np.linalg.norm(trace[:, 0] - trace[:, 1], axis=1).min() > 2 * BODY_M


def test_a_wall_keeps_people_on_its_left_and_fetches_back_who_is_beyond() -> None:
    wall = [[-50.0, 0.0, 50.0, 0.0]]
    trace = walk([[0.0, 2.0], [5.0, -0.1]], [[20.0, -30.0], [40.0, 1.5]], [1.3, 1.3], 8.0, wall)
    assert trace[:, 0, 1].min() > 0.1 and trace[-1, 1, 1] > 0.1


def test_nobody_walks_faster_than_a_third_above_its_pace() -> None:
    rng = np.random.default_rng(0)
    places = rng.uniform(-2, 2, (12, 2))
    trace = walk(places, -40 * places, np.full(12, 1.2), 5.0)
    assert np.linalg.norm(np.diff(trace, axis=0), axis=-1).max() / STEP_S <= FASTEST * 1.2 + 1e-9


def test_crowds_have_nothing_to_do_with_each_other() -> None:
    places = np.array([[[0.0, 0.0], [1.0, 0.2]], [[0.0, 0.1], [3.0, 0.0]]])
    rest = (np.zeros_like(places), places + np.array([5.0, 0.0]), np.ones((2, 2)), np.full((2, 2), BODY_M))
    both = accelerations(places, *rest)
    for index in range(2):
        assert np.allclose(both[index], accelerations(places[index], *(part[index] for part in rest)))


def test_company_pushes_less_than_strangers() -> None:
    places, still = np.array([[0.0, 0.0], [0.0, 0.8]]), np.zeros((2, 2))
    rest = (still, places + np.array([9.0, 0.0]), np.ones(2), np.full(2, BODY_M))
    strangers = accelerations(places, *rest)[0, 1]
    assert strangers < 3 * accelerations(places, *rest, None, np.array([4, 4]))[0, 1] < 0.0

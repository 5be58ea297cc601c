"""Every slice against what the simulator knows, in towns that its rules were not tuned on."""

import numpy as np
import pytest

from slice_worlds import CASES, World, members_and_truth, score, world

NUM_SCENES = 22
"""A round of val scenes: every event is planted once, and more comes about."""
NEVER = {"dense"}
"""Fifteen hardly ever come together in the generated world; ``dense, of ten`` stands for it."""


@pytest.fixture(scope="module")
def val_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world(tmp_path_factory.mktemp("slices") / "root", "val", 204, NUM_SCENES)


@pytest.mark.slow
@pytest.mark.parametrize("case", sorted(CASES.keys() - NEVER))
def test_a_slice_finds_what_truly_happens_and_nothing_else(case: str, val_world: World) -> None:
    result = score(members_and_truth(val_world, case))
    assert result.found > 0 and result.true > 0
    assert min(result.precision, result.recall, result.event_precision, result.event_recall) >= 0.95, result


def keyframes(marks: str) -> np.ndarray:
    """``.#..`` as bool."""
    return np.array([mark == "#" for mark in marks])


def test_an_end_that_is_a_keyframe_off_is_right_and_two_are_not() -> None:
    truth = keyframes("...####...")
    assert score([(keyframes("..######.."), truth)])[2:4] == (1.0, 1.0)
    assert score([(keyframes(".########."), truth)])[2:4] == (0.75, 1.0)
    assert score([(keyframes("....##...."), truth)])[2:4] == (1.0, 1.0)
    assert score([(keyframes("......#..."), truth)])[2:4] == (1.0, 0.5)


def test_events_are_counted_besides_keyframes() -> None:
    result = score([(keyframes("####...#.."), keyframes("####......")), (keyframes("....."), keyframes("..##."))])
    assert (result.true_events, result.found_events) == (2, 2)
    assert (result.event_precision, result.event_recall) == (0.5, 0.5)


def test_what_is_possible_only_is_neither_asked_for_nor_wrong() -> None:
    surely, possibly = keyframes("...#......"), keyframes("..####....")
    assert score([(keyframes("...#......"), (surely, possibly))])[2:4] == (1.0, 1.0)
    assert score([(keyframes("..####...."), (surely, possibly))])[2:4] == (1.0, 1.0)
    assert np.isnan(score([(keyframes("....."), (keyframes("....."), keyframes(".##..")))]).recall)

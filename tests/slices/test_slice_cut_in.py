"""Cutting in, on scenes whose members are known by eye."""

import numpy as np
import pytest

from dima_pipeline.slices import SLICES
from hand_scenes import Actor, HandScene, from_speeds, make_tables, straight


def members(scene: HandScene, **options) -> list[int]:
    found = SLICES.build(SLICES.parse({"name": "cut_in", **options})).members(make_tables(scene))
    return [int(token[-3:]) for token in found.index[found]]


def changing(offsets: list[float], ahead_m: float = 14.0, speed_mps: float = 8.0) -> Actor:
    """A car that keeps ``ahead_m`` before the ego's origin, at sideways places."""
    track = straight(len(offsets), speed_mps, start_x=ahead_m)
    track[:, 1] = offsets
    return Actor("car", track)


INTO = [3.5, 3.5, 3.5, 2.6, 1.6, 0.7, 0.0, 0.0, 0.0, 0.0]


def test_a_cut_in_lasts_from_beside_the_lane_until_in_it() -> None:
    scene = HandScene(ego=straight(10, 8.0), actors={"car": changing(INTO)})
    assert members(scene) == [3, 4, 5]
    mirrored = HandScene(ego=straight(10, 8.0), actors={"car": changing([-y for y in INTO])})
    assert members(mirrored) == [3, 4, 5]


@pytest.mark.parametrize(
    "car",
    [
        changing([3.5] * 10),
        changing([0.0] * 10),
        changing(INTO[::-1]),
        changing(INTO, ahead_m=35.0),
        changing([3.5, 3.5, 1.6, 1.6, 1.6, 1.6, 1.6, 1.6, 1.6, 1.6, 1.6, 0.0][:10]),
        changing([3.5, *[1.6] * 8, 0.0]),
    ],
    ids=["stays beside", "always ahead", "leaves the lane", "far ahead", "never in the lane", "takes very long"],
)
def test_what_is_no_cut_in(car: Actor) -> None:
    assert members(HandScene(ego=straight(10, 8.0), actors={"car": car})) == []


def test_who_comes_towards_the_ego_does_not_cut_in() -> None:
    track = np.array([[60 - 4.0 * n, y, np.pi] for n, y in enumerate(INTO)])
    assert members(HandScene(ego=straight(10, 1.0), actors={"car": Actor("car", track)})) == []


def test_on_a_bend_nobody_cuts_in() -> None:
    ego = from_speeds([8.0] * 9, 0.15)
    lead = np.array([[*(pose[:2] + 14.0 * np.array([np.cos(pose[2]), np.sin(pose[2])])), pose[2]] for pose in ego])
    lead[:, :2] += np.array(INTO)[:, None] * np.stack([-np.sin(ego[:, 2]), np.cos(ego[:, 2])], -1)
    assert members(HandScene(ego=ego, actors={"car": Actor("car", lead)})) == []


def test_a_shorter_gap_may_be_asked_for() -> None:
    scene = HandScene(ego=straight(10, 8.0), actors={"car": changing(INTO)})
    assert members(scene, max_gap_m=5.0) == []

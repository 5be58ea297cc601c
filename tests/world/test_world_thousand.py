"""A thousand simulated scenes of twenty worlds, without pictures: the expert never drives into anybody or off the road.

Footprints are cut with shapely, which the simulation does not use to find collisions.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest
from shapely import STRtree, box
from shapely.affinity import rotate, translate

from dima_pipeline.world.bicycle import EMERGENCY_BRAKING_MPS2, STANDSTILL_MPS
from dima_pipeline.world.config import WorldConfig
from dima_pipeline.world.drama import Drama
from dima_pipeline.world.events import PLANTED
from dima_pipeline.world.generate import play_scene, scene_jobs

NUM_WORLDS, NUM_TRAIN, NUM_VAL = 20, 32, 18


def footprint(pose: np.ndarray, length: float, width: float) -> object:
    """The outline of a box."""
    x, y, yaw = map(float, pose)
    outline = box(-length / 2, -width / 2, length / 2, width / 2)
    return translate(rotate(outline, yaw, origin=(0, 0), use_radians=True), x, y)


def faults(drama: Drama) -> list[str]:
    """What the ego did wrong in a scene, looked at ten times a second."""
    found, road = [], drama.town.drivable.buffer(0.2)
    sizes = [actor.size for actor in drama.actors]
    for tick in range(0, len(drama.tracks.times_s), 2):
        shapes = [footprint(pose, *size[:2]) for pose, size in zip(drama.tracks.poses[tick], sizes, strict=True)]
        near = STRtree(shapes[1:]).query(shapes[0]) + 1
        hit = [int(i) for i in near if shapes[0].intersection(shapes[i]).area > 1e-9]
        found += [f"{drama.recipe}: hits {drama.actors[i].name} at {drama.tracks.times_s[tick]:.1f} s" for i in hit]
        if not road.contains(shapes[0]):
            found.append(f"{drama.recipe}: off the road at {drama.tracks.times_s[tick]:.1f} s")
    pull = np.diff(np.abs(drama.tracks.speeds[:, 0])) / 0.05
    # A car that is slower than it can tell from standing stands: 0.02 m/s in a step of 0.05 s.
    if pull.min() < -EMERGENCY_BRAKING_MPS2 - STANDSTILL_MPS / 0.05 or pull.max() > 2.1:
        found.append(f"{drama.recipe}: acceleration from {pull.min():.1f} to {pull.max():.1f} m/s2")
    return found


def of_world(seed: int) -> tuple[int, list[str], set[str]]:
    """Number of scenes, faults and recipes of a world."""
    config = WorldConfig(seed=seed, num_train_scenes=NUM_TRAIN, num_val_scenes=NUM_VAL)
    numbered = [f"scene-{number:04d}" for number in range(NUM_TRAIN + NUM_VAL)]
    names = {"train": numbered[:NUM_TRAIN], "val": numbered[NUM_TRAIN:]}
    dramas = [play_scene(config, job) for job in scene_jobs(config, names)]
    return len(dramas), [fault for drama in dramas for fault in faults(drama)], {drama.recipe for drama in dramas}


@pytest.mark.slow
def test_in_a_thousand_scenes_the_expert_hits_nobody_and_keeps_to_the_road() -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as workers:
        worlds = list(workers.map(of_world, range(NUM_WORLDS)))
    assert sum(count for count, _, _ in worlds) == 1000
    assert [fault for _, of_one, _ in worlds for fault in of_one] == []
    assert set().union(*(recipes for _, _, recipes in worlds)) >= PLANTED


def test_an_ego_that_is_moved_into_another_vehicle_is_found_out(dramas: dict[str, Drama]) -> None:
    drama = next(drama for drama in dramas.values() if len(drama.actors) > 3)
    assert faults(drama) == []
    poses = drama.tracks.poses.copy()
    poses[40, 0] = poses[40, 1]
    assert any("hits" in fault for fault in faults(replace(drama, tracks=replace(drama.tracks, poses=poses))))

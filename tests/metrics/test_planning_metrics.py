"""The two metrics on scenes typed by hand, with answers one can see."""

from dataclasses import replace

import numpy as np
import pytest

from dima_pipeline.contracts.frames import (
    AGENT_CATEGORIES,
    EGO_CENTER_AHEAD_M,
    EGO_LENGTH_M,
    EGO_WIDTH_M,
    NUM_FUTURE_STEPS,
)
from dima_pipeline.geometry import from_frame
from dima_pipeline.metrics import METRICS, DrivenScenes
from dima_pipeline.scoring.protocols import PROTOCOLS

TIMES_S = np.array([0.5, 1.0, 1.5, 2.0, 2.5, 3.0])
CAR = (4.0, 2.0)
FRONT_M = EGO_CENTER_AHEAD_M + EGO_LENGTH_M / 2
"""From the ego origin to the front bumper."""


def drive(speed_mps: float) -> np.ndarray:
    """Straight ahead at a speed: (T, 3)."""
    return np.stack([speed_mps * TIMES_S, np.zeros(6), np.zeros(6)], -1)


def scene_with(boxes: object, driven: np.ndarray | None = None, category: str = "car") -> DrivenScenes:
    """One keyframe with one agent, whose x, y, yaw, length, width are given once or for each step; the ego stood."""
    boxes = np.broadcast_to(np.asarray(boxes, float), (NUM_FUTURE_STEPS, 5))
    return DrivenScenes(
        path=(drive(0.0) if driven is None else driven)[None],
        path_valid=np.ones((1, NUM_FUTURE_STEPS), bool),
        boxes=boxes[None, :, None],
        boxes_valid=np.ones((1, NUM_FUTURE_STEPS, 1), bool),
        category=np.array([[AGENT_CATEGORIES.index(category)]]),
        is_tracked=np.ones((1, 1), bool),
        has_past=np.ones(1, bool),
        speed_mps=np.zeros(1),
        map_points=np.zeros((1, 0, 20, 2)),
        map_kind=np.zeros((1, 0), int),
    )


def collisions(plan: np.ndarray, scenes: DrivenScenes, **options: object) -> list[float]:
    """``box_collision`` of one plan, step by step."""
    metric = METRICS.build(METRICS.parse({"name": "box_collision", **options}))
    return metric.compute(plan[None], scenes).value[0].tolist()


def test_l2_is_the_distance_at_each_step_and_not_a_mean_over_time():
    scenes = scene_with([50, 50, 0, *CAR], driven=drive(5.0))
    values = METRICS.build(METRICS.parse("planning_l2")).compute(drive(6.0)[None], scenes)
    np.testing.assert_allclose(values.value[0], [0.5, 1.0, 1.5, 2.0, 2.5, 3.0])


def test_moving_plans_and_drives_together_changes_no_l2():
    rng = np.random.default_rng(0)
    plans, driven = rng.normal(0, 5, (2, 6, 3))
    metric = METRICS.build(METRICS.parse("planning_l2"))
    here = metric.compute(plans[None], scene_with([50, 50, 0, *CAR], driven=driven))
    by = np.array([30.0, -7.0, 2.0])
    plans, driven = (np.concatenate([from_frame(track[:, :2], by), track[:, 2:]], -1) for track in (plans, driven))
    there = metric.compute(plans[None], scene_with([50, 50, 0, *CAR], driven=driven))
    np.testing.assert_allclose(there.value, here.value, atol=1e-9)


def test_l2_leaves_steps_out_where_the_driven_path_ends():
    scenes = scene_with([50, 50, 0, *CAR])
    scenes.path_valid[0, 4:] = False
    values = METRICS.build(METRICS.parse("planning_l2")).compute(drive(6.0)[None], scenes)
    assert values.valid[0].tolist() == [True] * 4 + [False] * 2
    assert values.value[0, 4:].tolist() == [0.0, 0.0]


def test_driving_on_behind_a_braking_lead_vehicle_is_a_collision_at_2_s():
    # The lead stands with its rear 14 m ahead; at 6 m/s the ego front is at 12.5 m after 1.5 s, at 15.5 m after 2 s.
    rear_m = 6.0 * 1.75 + FRONT_M
    scenes = scene_with([rear_m + CAR[0] / 2, 0, 0, *CAR])
    assert collisions(drive(6.0), scenes) == [0, 0, 0, 1, 1, 1]


def test_passing_a_tenth_of_a_metre_beside_a_car_is_none():
    gap_m = 0.1
    beside = [8.0, EGO_WIDTH_M / 2 + CAR[1] / 2 + gap_m, 0, *CAR]
    assert collisions(drive(4.0), scene_with(beside)) == [0] * 6
    beside[1] -= 0.15
    assert sum(collisions(drive(4.0), scene_with(beside))) > 0


def test_the_footprint_stands_ahead_of_the_ego_origin():
    touching = [FRONT_M + CAR[0] / 2 - 0.05, 0, 0, *CAR]
    behind = [-(FRONT_M + CAR[0] / 2 - 0.05), 0, 0, *CAR]
    metric = METRICS.build(METRICS.parse("box_collision"))
    assert metric.compute_driven(scene_with(touching)).value.all()
    assert not metric.compute_driven(scene_with(behind)).value.any()


def test_a_turning_ego_needs_its_heading_and_the_protocol_takes_it_from_the_path():
    # The plan turns left at once, a car stands where its nose comes to: seen only by who turns the footprint.
    plan = np.stack([np.full(6, 0.5), 1.5 * np.arange(1, 7), np.zeros(6)], -1)
    nose = scene_with([0.5, 9.0 + FRONT_M + CAR[1] / 2 - 0.1, 0, *CAR])
    assert collisions(plan, nose)[-1] == 1
    assert collisions(plan, nose, protocol="vad")[-1] == 0
    aside = scene_with([0.5 + FRONT_M + CAR[0] / 2 - 0.4, 9.0, 0, *CAR])
    assert collisions(plan, aside)[-1] == 0
    assert collisions(plan, aside, protocol="vad")[-1] == 1


def test_steps_where_the_driven_box_collides_too_are_forgiven_and_reported_beside():
    scenes = scene_with([8.0, 0, 0, *CAR], driven=drive(4.0))
    metric = METRICS.build(METRICS.parse("box_collision"))
    assert metric.compute_driven(scenes).value.sum() > 0
    assert collisions(drive(4.0), scenes) == [0] * 6
    only_here = metric.compute(drive(0.0)[None] + [5.0, 0, 0], scenes).value[0]
    forgiven = metric.compute_driven(scenes).value[0] > 0
    assert (only_here[forgiven] == 0).all() and (only_here[~forgiven] == 1).all()


@pytest.mark.parametrize("category", AGENT_CATEGORIES)
def test_the_protocol_says_which_agents_count(category: str):
    scenes = scene_with([8.0, 0, 0, *CAR], category=category)
    is_obstacle = category in ("traffic_cone", "barrier")
    assert any(collisions(drive(4.0), scenes)) == (not is_obstacle)
    assert any(collisions(drive(4.0), scenes, protocol="vad")) == (not is_obstacle)
    assert any(collisions(drive(4.0), scenes, protocol="uniad")) == (not is_obstacle and category != "pedestrian")


def test_vad_knows_only_agents_that_it_tracks_from_the_start_on():
    scenes = replace(scene_with([8.0, 0, 0, *CAR]), is_tracked=np.zeros((1, 1), bool))
    assert not any(collisions(drive(4.0), scenes, protocol="vad"))
    assert any(collisions(drive(4.0), scenes, protocol="uniad")) and any(collisions(drive(4.0), scenes))


def test_the_first_keyframe_of_a_scene_counts_for_all_but_the_standardised_protocol():
    scenes = replace(scene_with([50, 50, 0, *CAR]), has_past=np.zeros(1, bool))
    for name in PROTOCOLS:
        for metric in ("planning_l2", "box_collision"):
            found = METRICS.build(METRICS.parse({"name": metric, "protocol": name})).compute(drive(6.0)[None], scenes)
            assert found.valid.all() == (name != "standardised") == found.valid.any()


def test_an_agent_that_is_not_there_yet_or_is_padding_cannot_be_hit():
    scenes = scene_with([8.0, 0, 0, *CAR])
    scenes.boxes_valid[0, :3] = False
    assert collisions(drive(4.0), scenes)[:3] == [0, 0, 0] and any(collisions(drive(4.0), scenes))
    scenes.category[:] = -1
    assert not any(collisions(drive(4.0), scenes))


def test_a_scene_without_agents_has_no_collision():
    scenes = scene_with([8.0, 0, 0, *CAR])
    empty = replace(
        scenes,
        boxes=scenes.boxes[:, :, :0],
        boxes_valid=scenes.boxes_valid[:, :, :0],
        category=scenes.category[:, :0],
        is_tracked=scenes.is_tracked[:, :0],
    )
    assert collisions(drive(4.0), empty) == [0] * 6


def test_a_misspelt_protocol_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'standardised'"):
        METRICS.parse({"name": "box_collision", "protocol": "standardized"})

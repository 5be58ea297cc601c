"""The two metrics on scenes typed by hand, with answers one can see."""

import numpy as np
import pytest

from dima_pipeline.contracts.frames import (
    AGENT_CATEGORIES,
    EGO_CENTER_AHEAD_M,
    EGO_LENGTH_M,
    EGO_WIDTH_M,
    NUM_FUTURE_STEPS,
)
from dima_pipeline.metrics import METRICS, DrivenScenes
from dima_pipeline.metrics.box_collision import BoxCollision

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
    )


def collisions(plan: np.ndarray, scenes: DrivenScenes, **options: object) -> list[float]:
    """``box_collision`` of one plan, step by step."""
    metric = METRICS.build(METRICS.parse({"name": "box_collision", **options}))
    return metric.compute(plan[None], scenes).value[0].tolist()


def test_l2_is_the_distance_at_each_step_and_not_a_mean_over_time():
    scenes = scene_with([50, 50, 0, *CAR], driven=drive(5.0))
    values = METRICS.build(METRICS.parse("planning_l2")).compute(drive(6.0)[None], scenes)
    np.testing.assert_allclose(values.value[0], [0.5, 1.0, 1.5, 2.0, 2.5, 3.0])


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
    metric = BoxCollision(METRICS.parse("box_collision"))
    assert metric.collides(drive(0.0)[None], scene_with(touching)).all()
    assert not metric.collides(drive(0.0)[None], scene_with(behind)).any()


def test_a_turning_ego_needs_its_heading():
    # The ego stands across the road after a left turn: its nose reaches a car on its left only with its own heading.
    pose = np.tile([4.0, 0.0, np.pi / 2], (6, 1))
    left = scene_with([4.0, 4.0, 0, *CAR])
    straight_on = pose * [1, 1, 0]
    assert collisions(pose, left) == [1] * 6
    assert collisions(straight_on, left) == [0] * 6
    ahead = scene_with([8.5, 0.0, 0, *CAR])
    assert collisions(pose, ahead) == [0] * 6
    assert collisions(straight_on, ahead) == [1] * 6


def test_steps_where_the_driven_box_collides_too_are_forgiven_and_reported_beside():
    scenes = scene_with([8.0, 0, 0, *CAR], driven=drive(4.0))
    metric = METRICS.build(METRICS.parse("box_collision"))
    assert metric.compute_driven(scenes).value.sum() > 0
    assert collisions(drive(4.0), scenes) == [0] * 6
    only_here = metric.compute(drive(0.0)[None] + [5.0, 0, 0], scenes).value[0]
    forgiven = metric.compute_driven(scenes).value[0] > 0
    assert (only_here[forgiven] == 0).all() and (only_here[~forgiven] == 1).all()


@pytest.mark.parametrize("category", AGENT_CATEGORIES)
def test_cones_and_barriers_count_only_when_asked_for(category: str):
    scenes = scene_with([8.0, 0, 0, *CAR], category=category)
    assert any(collisions(drive(4.0), scenes)) == (category not in ("traffic_cone", "barrier"))
    assert any(collisions(drive(4.0), scenes, classes=["barrier"])) == (category == "barrier")


def test_an_agent_that_is_not_there_yet_or_is_padding_cannot_be_hit():
    scenes = scene_with([8.0, 0, 0, *CAR])
    scenes.boxes_valid[0, :3] = False
    assert collisions(drive(4.0), scenes)[:3] == [0, 0, 0] and any(collisions(drive(4.0), scenes))
    scenes.category[:] = -1
    assert not any(collisions(drive(4.0), scenes))


def test_a_scene_without_agents_has_no_collision():
    scenes = scene_with([8.0, 0, 0, *CAR])
    empty = DrivenScenes(
        path=scenes.path,
        path_valid=scenes.path_valid,
        boxes=scenes.boxes[:, :, :0],
        boxes_valid=scenes.boxes_valid[:, :, :0],
        category=scenes.category[:, :0],
    )
    assert collisions(drive(4.0), empty) == [0] * 6


def test_a_misspelt_class_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'pedestrian'"):
        METRICS.parse({"name": "box_collision", "classes": ["pedestrain"]})

"""Replayed images against projections worked out by hand, and against real ones where a recording lies at hand."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shapely

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.curation.replay import (
    GROUND_RADIUS_M,
    ReplayRenderer,
    agent_boxes,
    backdrop_of,
    camera_view,
    instance_id,
    level_pose,
)
from dima_pipeline.geometry import box_corners, image_from_ego, project
from dima_pipeline.world.renderer import Backdrop, Renderer
from hand_scenes import Actor, HandScene, make_tables, straight

IMAGE_SIZE = (96, 160)
ROAD_RGB = (92, 92, 96)
SHARED_DATA = Path(os.environ.get("DIMA_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


class RecordedGround:
    """A straight road along x at any place; remembers what it was asked for."""

    def __init__(self, half_width_m=200.0):
        self.half_width_m = half_width_m
        self.asked = []

    def __call__(self, location, center_xy, radius_m):
        self.asked.append((location, np.array(center_xy), radius_m))
        x = center_xy[0]
        road = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [radius_m, self.half_width_m] + [x, 0]
        return [("road", road, ())], [("divider", np.array([[x - 50, 0.0], [x + 50, 0.0]]))]


def hull_in_image(tables, sample, camera, instance_token, image_size=IMAGE_SIZE):
    """The projected box of an agent by the tables alone, in pixels of ``image_size``."""
    agents = tables.agents
    row = agents[(agents.sample_token == sample.sample_token) & (agents.instance_token == instance_token)].iloc[0]
    corners = np.tile(box_corners(row[["x_m", "y_m", "yaw_rad", "length_m", "width_m"]].to_numpy(float)), (2, 1))
    height = np.repeat([[-0.5], [0.5]], 4, axis=0) * row.height_m + row.z_m
    name = camera.lower()
    scale = (image_size[1] / sample[f"{name}_width"], image_size[0] / sample[f"{name}_height"])
    intrinsics = np.asarray(sample[f"{name}_intrinsics"], float).reshape(3, 3)
    pose = np.asarray(sample[f"{name}_camera_from_ego"], float).reshape(4, 4)
    pixels, depth = project(image_from_ego(intrinsics, pose, scale), np.hstack([corners, height]))
    return shapely.convex_hull(shapely.multipoints(pixels)), depth.min()


def changed_pixels(picture, other):
    rows, columns = np.nonzero((picture != other).any(-1))
    return columns + 0.5, rows + 0.5


@pytest.fixture
def replay():
    renderer = ReplayRenderer(RecordedGround(), IMAGE_SIZE)
    yield renderer
    renderer.close()


TURNED = np.array([[1200.0, 640.0, 2.2]] * 2)
"""An ego far from the map's origin that looks to the upper left."""


def ahead_of(ego, x, y, yaw=0.0):
    """Global pose of something at x, y in the frame of a pose."""
    cos, sin = np.cos(ego[2]), np.sin(ego[2])
    return np.array([ego[0] + cos * x - sin * y, ego[1] + sin * x + cos * y, ego[2] + yaw])


@pytest.mark.parametrize(
    ("camera", "x", "y"),
    [("CAM_FRONT", 12.0, 1.0), ("CAM_BACK", -10.0, -1.0), ("CAM_FRONT_LEFT", 6.0, 9.0), ("CAM_BACK_RIGHT", -4.0, -9.0)],
)
def test_a_vehicle_shows_where_it_projects(replay, camera, x, y):
    parked = ahead_of(TURNED[0], x, y, 0.7)
    with_truck = make_tables(HandScene(TURNED, {"truck-1": Actor("truck", [parked] * 2)}))
    without = make_tables(HandScene(TURNED, {}, name="scene-0002"))
    sample = with_truck.samples.iloc[0]
    empty = replay.render(without, without.samples.iloc[0], camera)
    picture = replay.render(with_truck, sample, camera)
    assert picture.shape == (*IMAGE_SIZE, 3) and picture.dtype == np.uint8
    hull, nearest = hull_in_image(with_truck, sample, camera, "truck-1")
    assert nearest > 1
    u, v = changed_pixels(picture, empty)
    seen = hull.intersection(shapely.box(0, 0, IMAGE_SIZE[1], IMAGE_SIZE[0]))
    # shadows and the blend at outlines also change pixels, below and beside the box
    inside = shapely.contains_xy(seen.buffer(1.0), u, v)
    assert inside.sum() >= 0.7 * seen.area
    assert v[~inside].min(initial=np.inf) > seen.centroid.y


def test_other_cameras_do_not_see_it(replay):
    tables = make_tables(HandScene(TURNED, {"car-1": Actor("car", [ahead_of(TURNED[0], 12, 0)] * 2)}))
    without = make_tables(HandScene(TURNED, {}, name="scene-0002"))
    for camera in CAMERAS:
        picture = replay.render(tables, tables.samples.iloc[0], camera)
        empty = replay.render(without, without.samples.iloc[0], camera)
        assert (picture != empty).any() == (camera == "CAM_FRONT")


def test_the_ground_is_asked_for_around_the_ego_and_again_after_forty_metres():
    ground = RecordedGround()
    replay = ReplayRenderer(ground, IMAGE_SIZE)
    tables = make_tables(HandScene(straight(8, 26.0)))
    for _, sample in tables.samples.iterrows():
        for camera in CAMERAS[:2]:
            replay.render(tables, sample, camera)
    replay.close()
    assert [location for location, _, _ in ground.asked] == ["boston-seaport"] * 2
    # 13 m a keyframe: 0, 13, 26, 39 m are near, 52 m is not, 91 m is near that again
    assert [center.tolist() for _, center, _ in ground.asked] == [[0.0, 0.0], [52.0, 0.0]]
    assert ground.asked[0][2] == GROUND_RADIUS_M


def test_a_new_scene_gets_its_own_ground_and_light(replay):
    day = make_tables(HandScene(straight(1, 5.0)))
    night = make_tables(HandScene(straight(1, 5.0), name="scene-0002", description="Night, rain, parked cars"))
    bright, dark, again = (
        replay.render(tables, tables.samples.iloc[0], "CAM_FRONT").astype(int) for tables in (day, night, day)
    )
    assert dark.mean() < 0.5 * bright.mean()
    assert (again == bright).all()


def test_the_road_lies_where_the_map_says():
    replay = ReplayRenderer(RecordedGround(half_width_m=4.0), IMAGE_SIZE)
    tables = make_tables(HandScene(np.array([[300.0, 1.0, 0.0]])))
    sample = tables.samples.iloc[0]
    picture = replay.render(tables, sample, "CAM_FRONT").astype(int)
    replay.close()
    intrinsics, camera_from_world = camera_view(sample, "CAM_FRONT", IMAGE_SIZE)
    points = np.array([[312.0, -3.2, 0], [312.0, -5.0, 0], [312.0, 3.2, 0], [312.0, 5.0, 0]])
    pixels, _ = project(intrinsics @ camera_from_world[:3], points)
    is_road = [np.abs(picture[int(v), int(u)] - ROAD_RGB).max() <= 1 for u, v in pixels]
    assert is_road == [True, False, True, False]


def test_pitch_and_roll_of_the_car_do_not_tilt_boxes_against_the_camera():
    """Boxes and camera are both given in the ego frame, so the pose of the ego must not move the picture."""
    tables = make_tables(HandScene(np.array([[0.0, 0, 0]]), {"car-1": Actor("car", [[10.0, 1.0, 0.3]])}))
    tilted = make_tables(HandScene(np.array([[0.0, 0, 0]]), {"car-1": Actor("car", [[10.0, 1.0, 0.3]])}))
    tilt = np.array([1.0, 0.02, -0.015, 0.0])
    tilted.samples[["ego_qw", "ego_qx", "ego_qy", "ego_qz"]] = tilt / np.linalg.norm(tilt)
    tilted.samples["ego_z_m"] = 41.5
    pictures = []
    for each in (tables, tilted):
        replay = ReplayRenderer(RecordedGround(), IMAGE_SIZE)
        pictures.append(replay.render(each, each.samples.iloc[0], "CAM_FRONT").astype(int))
        replay.close()
    assert np.abs(pictures[0] - pictures[1]).mean() < 0.5


def test_replay_is_deterministic_whatever_was_drawn_before():
    tables = make_tables(HandScene(straight(4, 8.0), {"bus-1": Actor("bus", [[25.0, 3.0, 3.0]] * 4)}))
    one, other = ReplayRenderer(RecordedGround(), IMAGE_SIZE), ReplayRenderer(RecordedGround(), IMAGE_SIZE)
    for at in (0, 3):
        other.render(tables, tables.samples.iloc[at], "CAM_BACK")
    first = one.render(tables, tables.samples.iloc[0], "CAM_FRONT")
    assert (first == other.render(tables, tables.samples.iloc[0], "CAM_FRONT")).all()
    one.close()
    other.close()


def test_an_agent_keeps_its_paint_through_the_scene():
    tables = make_tables(HandScene(straight(2, 8.0), {"car-1": Actor("car", [[25.0, 3.0, 3.0]] * 2)}))
    ids = [
        agent_boxes(tables.agents[tables.agents.sample_token == sample.sample_token], level_pose(sample))[0].instance_id
        for _, sample in tables.samples.iterrows()
    ]
    assert ids[0] == ids[1] == instance_id("car-1")
    assert instance_id("car-1") != instance_id("car-2")


def test_boxes_come_back_to_their_global_places():
    parked = ahead_of(TURNED[0], 15.0, -3.0, 0.4)
    tables = make_tables(HandScene(TURNED, {"car-1": Actor("car", [parked] * 2)}))
    sample = tables.samples.iloc[0]
    (box,) = agent_boxes(tables.agents[tables.agents.sample_token == sample.sample_token], level_pose(sample))
    assert box.center == pytest.approx([*parked[:2], 0.8])
    assert np.cos(box.yaw - parked[2]) == pytest.approx(1.0)
    assert box.size == (4.6, 1.9, 1.6)


@pytest.mark.parametrize(
    ("description", "backdrop"),
    [
        ("Parked truck, construction, intersection", Backdrop()),
        ("Night, big street, bus stop", Backdrop("night")),
        ("Rain, many parked cars", Backdrop(weather="rain")),
        ("Night, rain, turn left", Backdrop("night", "rain")),
        ("Night, after rain, nightclub", Backdrop("night")),
        ("Train crossing, rainbow, Knightsbridge", Backdrop()),
        ("Dusk, long street", Backdrop("dusk")),
        ("", Backdrop()),
    ],
)
def test_the_backdrop_follows_the_words_of_the_description(description, backdrop):
    assert backdrop_of(description) == backdrop


def test_an_unknown_camera_is_refused_with_a_hint(replay):
    tables = make_tables(HandScene(straight(1, 5.0)))
    with pytest.raises(ValueError, match="did you mean 'CAM_FRONT'"):
        replay.render(tables, tables.samples.iloc[0], "CAM_FRNT")


def test_a_sample_of_another_scene_is_refused(replay):
    tables = make_tables(HandScene(straight(1, 5.0)))
    sample = pd.Series({**tables.samples.iloc[0], "scene_token": "elsewhere"})
    with pytest.raises(ValueError, match="names scene 'elsewhere'"):
        replay.render(tables, sample, "CAM_FRONT")


def test_boxes_of_a_real_recording_line_up_with_the_tables():
    """Every box of scene-0061's first keyframe that no other hides is where the calibration puts it."""
    dataroot = SHARED_DATA / "nuscenes-mini"
    if not dataroot.is_dir():
        pytest.skip(f"no recording at {dataroot}: set DIMA_SHARED_DATA to the folder that holds nuscenes-mini")
    from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset

    dataset = NuScenesDataset(Config(version="v1.0-mini"), dataroot=dataroot)
    tables = dataset.tables("scene-0061")
    sample = tables.samples.iloc[0]
    height, width = image_size = (180, 320)
    replay = ReplayRenderer(dataset.ground, image_size)
    drawing = Renderer(width, height)
    agents = tables.agents[tables.agents.sample_token == sample.sample_token]
    num_seen = 0
    for camera in CAMERAS:
        picture = replay.render(tables, sample, camera)
        bottom = picture[-height // 4 :].reshape(-1, 3).astype(int)
        assert (np.abs(bottom - ROAD_RGB).max(-1) <= 1).mean() > (0.3 if camera == "CAM_FRONT" else 0.0)
        for box in agent_boxes(agents, level_pose(sample)):
            token = next(token for token in agents.instance_token if instance_id(token) == box.instance_id)
            hull, nearest = hull_in_image(tables, sample, camera, token, image_size)
            seen = hull.intersection(shapely.box(0, 0, width, height)) if nearest > 0.6 else shapely.Point()
            if seen.area < 60:
                continue
            drawing.set_boxes([box])
            rows, columns = np.nonzero(drawing.render_instances(*camera_view(sample, camera, image_size)))
            assert shapely.contains_xy(hull.buffer(0.5), columns + 0.5, rows + 0.5).mean() >= 0.99, (camera, token)
            assert len(rows) >= 0.5 * seen.area, (camera, token)
            num_seen += 1
    replay.close()
    drawing.close()
    assert num_seen > 20

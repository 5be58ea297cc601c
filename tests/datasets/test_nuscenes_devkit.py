"""The devkit reads the same root and agrees: it is the referee of the format."""

import os
from pathlib import Path

import numpy as np
import pytest

from dima_pipeline.contracts.frames import AGENT_CATEGORIES, CAMERAS
from dima_pipeline.datasets._nuscenes_can import NO_CAN, OFF_ROUTE
from dima_pipeline.datasets._nuscenes_map import read_layers
from dima_pipeline.datasets._nuscenes_tables import agent_category
from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset
from nuscenes_root import LOCATION, VERSION

os.environ.setdefault("MPLBACKEND", "Agg")

from nuscenes.can_bus.can_bus_api import NuScenesCanBus
from nuscenes.eval.detection.constants import DETECTION_NAMES
from nuscenes.map_expansion.map_api import NuScenesMap
from nuscenes.nuscenes import NuScenes
from pyquaternion import Quaternion

SHARED = Path(os.environ.get("DIMA_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
MINI = SHARED / "nuscenes-mini"


@pytest.fixture(scope="module", params=["hand-made", "mini"])
def both(request: pytest.FixtureRequest, root: Path) -> tuple[NuScenes, NuScenesDataset]:
    path = root if request.param == "hand-made" else MINI
    if not path.is_dir():
        pytest.skip(f"no recordings at {path}: set DIMA_SHARED_DATA")
    return NuScenes(VERSION, str(path), verbose=False), NuScenesDataset(Config(version=VERSION), dataroot=path)


def test_boxes_velocities_and_intrinsics_are_those_of_the_devkit(both: tuple[NuScenes, NuScenesDataset]) -> None:
    nuscenes, dataset = both
    tables = dataset.tables(dataset.scene_names()[0])
    for row in tables.samples.iloc[[0, 4, len(tables.samples) - 1]].itertuples():
        ours = tables.agents[tables.agents["sample_token"] == row.sample_token].set_index("instance_token")
        sample = nuscenes.get("sample", row.sample_token)
        ego = nuscenes.get("ego_pose", nuscenes.get("sample_data", sample["data"]["LIDAR_TOP"])["ego_pose_token"])
        back = Quaternion(ego["rotation"]).inverse
        compared = 0
        for token in sample["anns"]:
            instance = nuscenes.get("sample_annotation", token)["instance_token"]
            if instance not in ours.index:
                continue
            agent, box = ours.loc[instance], nuscenes.get_box(token)
            box.velocity = nuscenes.box_velocity(token)
            box.translate(-np.array(ego["translation"]))
            box.rotate(back)
            assert agent[["x_m", "y_m", "z_m"]].to_numpy(float) == pytest.approx(box.center, abs=1e-6)
            assert agent[["vx_mps", "vy_mps"]].to_numpy(float) == pytest.approx(box.velocity[:2], abs=1e-5, nan_ok=True)
            assert agent[["width_m", "length_m", "height_m"]].to_numpy(float) == pytest.approx(box.wlh)
            heading = box.rotation_matrix[:, 0]
            assert agent["yaw_rad"] == pytest.approx(np.arctan2(heading[1], heading[0]))
            compared += 1
        assert compared == len(ours)
        intrinsic = nuscenes.get_sample_data(sample["data"][CAMERAS[0]])[2]
        assert np.reshape(row.cam_front_intrinsics, (3, 3)) == pytest.approx(intrinsic)


def test_lanes_and_polygons_are_those_of_the_devkits_map(root: Path) -> None:
    theirs = NuScenesMap(str(root), LOCATION)
    ours = read_layers(root / "maps" / "expansion" / f"{LOCATION}.json")
    curves = theirs.discretize_lanes(list(ours.lanes), 1.0)
    assert all(poses == pytest.approx(np.array(curves[token])) for token, poses in ours.lanes.items())
    crossing = theirs.extract_polygon(theirs.ped_crossing[0]["polygon_token"])
    assert ours.polygons["ped_crossing"][0].equals(crossing)
    assert {token: theirs.get_outgoing_lane_ids(token) for token in ours.outgoing} == ours.outgoing


def test_scenes_without_usable_can_bus_are_those_of_the_devkit(root: Path) -> None:
    can = NuScenesCanBus(str(root))
    assert frozenset(can.can_blacklist) == NO_CAN
    assert frozenset(can.route_blacklist) == OFF_ROUTE


def test_categories_are_the_detection_classes() -> None:
    assert set(AGENT_CATEGORIES) == set(DETECTION_NAMES)
    assert agent_category("vehicle.bus.bendy") == agent_category("vehicle.bus.rigid") == "bus"
    assert agent_category("human.pedestrian.police_officer") == "pedestrian"
    assert agent_category("construction_vehicle") == "construction_vehicle"
    assert agent_category("human.pedestrian.wheelchair") is agent_category("animal") is None

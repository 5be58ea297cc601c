"""Vehicles that keep to their log where nothing is in the way, and stop behind what is."""

import os
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from dima_pipeline.curation.reactive_replay import react
from dima_pipeline.datasets import SceneTables
from hand_scenes import Actor, HandScene, make_tables, straight

NUM = 16
STANDS = np.zeros((NUM, 3))
SHARED_DATA = Path(os.environ.get("DIMA_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def scene(ego, agents):
    made = make_tables(HandScene(ego, agents))
    return SceneTables(**{field.name: getattr(made, field.name) for field in fields(SceneTables)})


def track_of(tables, name):
    """Global x, y of an agent, ego frames turned back by hand: these egos look along x."""
    rows = tables.agents[tables.agents["instance_token"] == name]
    ego = tables.samples.set_index("sample_token").loc[rows["sample_token"], ["ego_x_m", "ego_y_m"]].to_numpy(float)
    return rows[["x_m", "y_m"]].to_numpy(float) + ego


def test_with_nothing_in_the_way_everybody_keeps_to_the_log():
    agents = {
        "car-1": Actor("car", straight(NUM, 8.0, 20.0)),
        "ped-1": Actor("pedestrian", straight(NUM, 1.0, 9.0, 5.0)),
    }
    tables = scene(straight(NUM, 8.0), agents)
    made = react(tables)
    assert np.abs(track_of(made, "car-1") - track_of(tables, "car-1")).max() < 1.0
    assert track_of(made, "ped-1") == pytest.approx(track_of(tables, "ped-1"))
    assert len(made.agents) == len(tables.agents)


def test_a_car_behind_an_ego_that_stops_stops_too():
    """In the log both drive on at 8 m/s; now the ego stands where it was."""
    tables = scene(straight(NUM, 8.0), {"car-1": Actor("car", straight(NUM, 8.0, -30.0))})
    made = react(tables, STANDS)
    x = track_of(made, "car-1")[:, 0]
    front = x[-1] + 4.6 / 2
    # the ego's rear bumper is about a metre behind its pose
    assert -6.0 < front < -1.0
    assert (np.diff(x) > -1e-9).all() and x[-1] - x[-2] < 0.3
    last = made.agents.iloc[-1]
    assert np.hypot(last["vx_mps"], last["vy_mps"]) < 0.6


def test_who_follows_a_stopped_car_stops_behind_it_and_nobody_overlaps():
    agents = {"car-1": Actor("car", straight(NUM, 8.0, -30.0)), "car-2": Actor("car", straight(NUM, 8.0, -50.0))}
    made = react(scene(straight(NUM, 8.0), agents), STANDS)
    gap = track_of(made, "car-1")[:, 0] - track_of(made, "car-2")[:, 0] - 4.6
    assert gap.min() > 0.5


def test_an_ego_beside_the_path_is_passed():
    beside = np.tile([0.0, 4.0, 0.0], (NUM, 1))
    tables = scene(straight(NUM, 8.0), {"car-1": Actor("car", straight(NUM, 8.0, -30.0))})
    assert np.abs(track_of(react(tables, beside), "car-1") - track_of(tables, "car-1")).max() < 1.0


def test_parked_cars_people_and_cones_keep_to_their_log_whatever_the_ego_does():
    agents = {
        "car-1": Actor("car", [[30.0, 3.0, 0.0]] * NUM),
        "ped-1": Actor("pedestrian", straight(NUM, 1.5, -10.0)),
        "cone-1": Actor("traffic_cone", [[12.0, 0.0, 0.0]] * NUM),
    }
    tables = scene(straight(NUM, 3.0), agents)
    made = react(tables, STANDS)
    for name in agents:
        assert track_of(made, name) == pytest.approx(track_of(tables, name))


def test_boxes_are_given_in_the_frame_of_the_new_ego():
    """An ego that stands at x = 5 and looks to the left sees a car at x = 30 to its right."""
    tables = scene(straight(NUM, 8.0), {"car-1": Actor("car", [[30.0, 0.0, 0.0]] * NUM)})
    made = react(tables, np.tile([5.0, 0.0, np.pi / 2], (NUM, 1)))
    assert made.agents[["x_m", "y_m", "yaw_rad"]].to_numpy(float) == pytest.approx(
        np.tile([0.0, -25.0, -np.pi / 2], (NUM, 1))
    )
    assert made.ego_paths.empty and made.map_elements.empty and made.agent_futures.empty


@pytest.mark.parametrize("ego", [np.zeros((3, 3)), np.full((NUM, 3), np.nan)])
def test_a_wrong_ego_is_refused(ego):
    with pytest.raises(ValueError, match="for each of 16 keyframes"):
        react(scene(straight(NUM, 8.0), {}), ego)


def test_two_scenes_are_refused():
    made = make_tables(HandScene(straight(2, 5.0)), HandScene(straight(2, 5.0), name="scene-0002"))
    tables = SceneTables(**{field.name: getattr(made, field.name) for field in fields(SceneTables)})
    with pytest.raises(ValueError, match="one scene at a time"):
        react(tables)


def test_a_real_recording_stays_near_its_log_when_the_ego_does():
    dataroot = SHARED_DATA / "nuscenes-mini"
    if not dataroot.is_dir():
        pytest.skip(f"no recording at {dataroot}: set DIMA_SHARED_DATA to the folder that holds nuscenes-mini")
    from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset

    tables = NuScenesDataset(Config(version="v1.0-mini"), dataroot=dataroot).tables("scene-0061")
    made = react(tables)
    away = np.hypot(*(made.agents[["x_m", "y_m"]].to_numpy() - tables.agents[["x_m", "y_m"]].to_numpy()).T)
    assert np.median(away) < 0.05 and np.mean(away > 3.0) < 0.05

"""Which side of its edges the road is on, and where agents may be added: hand-typed maps, answers known by eye."""

import numpy as np
import pytest

from dima_pipeline.curation.annotation_config import EditConfig
from dima_pipeline.curation.counterfactual import agent_boxes
from dima_pipeline.curation.edit_places import candidates, is_on_map, lane_lines
from dima_pipeline.curation.road_surface import Surface, is_known, surface
from dima_pipeline.storage.keyframes import Keyframe, keyframes
from hand_scenes import HandScene, make_tables, straight

EDGES = [("boundary", [(-60, y), (140, y)]) for y in (-5.5, 2.0)]
LANES = [("centerline", [(-60, y), (140, y)]) for y in (-3.5, 0.0)]
CROSSING = np.array([(12, -5.3), (16, -5.3), (16, 1.8), (12, 1.8), (12, -5.3)], float)


def frame_of(*lines, crossing: bool = False) -> Keyframe:
    tables = make_tables(HandScene(ego=straight(8, 5.0), lines=[*EDGES, *LANES, *lines]))
    frame = next(keyframes(tables))
    if crossing:
        frame.polylines["ped_crossing"] = outline(CROSSING)[None]
    return frame


def outline(corners: np.ndarray) -> np.ndarray:
    """20 points along a ring."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1))])
    at = np.linspace(0, along[-1], 20)
    return np.stack([np.interp(at, along, corners[:, axis]) for axis in (0, 1)], -1)


def standing(x: float, y: float, length: float = 4.6, width: float = 1.9, yaw: float = 0.0) -> np.ndarray:
    return np.tile([x, y, yaw, length, width], (1, 31, 1))


def fits(ground: Surface, box: np.ndarray, walks: bool) -> bool:
    return bool(is_on_map(ground, box, np.array([walks]))[0])


def test_road_lies_between_its_edges():
    ground = surface(frame_of())
    points = np.array([[10.0, 0.0], [10.0, -5.0], [10.0, 3.0], [10.0, -7.0], [-20.0, 1.9]])
    assert ground.is_road(points).tolist() == [True, True, False, False, True]


def test_beyond_a_median_there_is_road_again():
    other = [("boundary", [(-60, 4.0), (140, 4.0)]), ("boundary", [(-60, 11.0), (140, 11.0)])]
    ground = surface(frame_of(*other, ("centerline", [(140, 7.5), (-60, 7.5)])))
    assert ground.is_road(np.array([[5.0, 3.0], [5.0, 7.0], [5.0, 12.0]])).tolist() == [False, True, False]


def test_an_ego_beside_the_road_does_not_make_a_road_of_it():
    edges = [("boundary", [(-60, y), (140, y)]) for y in (3.0, 10.0)]
    lanes = [("centerline", [(-60, y), (140, y)]) for y in (5.0, 8.0)]
    frame = next(keyframes(make_tables(HandScene(ego=straight(8, 1.0), lines=[*edges, *lanes]))))
    assert surface(frame).is_road(np.array([[0.5, 0.0], [5.0, 6.0]])).tolist() == [False, True]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (standing(15, 0), True),
        (standing(15, 1.2), False),  # a wheel over the edge
        (standing(15, 4.0), False),  # beside the road
        (standing(15, 0, yaw=np.pi / 2), False),  # across, longer than the rest of the road
        (standing(15, -2, yaw=np.pi / 2), True),
    ],
)
def test_who_drives_stays_on_the_road_with_the_whole_box(box, expected):
    assert fits(surface(frame_of()), box, walks=False) == expected


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (15, 3.0, True),  # on the walkway
        (15, 2.1, True),  # on the kerb, within the crossing that is prolonged to it
        (25, 2.1, False),  # on the kerb elsewhere
        (14, 0.0, True),  # on the crossing
        (20, 0.0, False),  # on the road
        (12.1, 0.0, False),  # half beside the crossing
    ],
)
def test_who_walks_keeps_off_the_road_but_for_crossings(x, y, expected):
    assert fits(surface(frame_of(crossing=True)), standing(x, y, 0.7, 0.7), walks=True) == expected


def test_what_is_beyond_the_patch_is_not_known():
    boxes = np.concatenate([standing(x, 0.0)[0, :1] for x in (27.6, 27.8, -27.6)])
    assert is_known(boxes).tolist() == [True, False, True]


def test_candidates_keep_to_the_map_and_drive_along_the_lane():
    frame = frame_of(crossing=True)
    ground = surface(frame)
    config = EditConfig(num_candidates=300, vulnerable_share=0.5)
    found = candidates(config, frame, ground, agent_boxes(frame), np.random.default_rng(0))
    assert {agent.category for agent in found} == {"car", "truck", "bicycle", "pedestrian"}
    for agent in found:
        x, y, yaw = agent.pose.T
        if agent.category == "pedestrian":
            assert ((y < -5.5) | (y > 2.0) | ((x > 12) & (x < 16))).all()
        else:
            assert ((y > -5.5) & (y < 2.0)).all() and np.allclose(yaw, 0.0)
            np.testing.assert_allclose(x[-1] - x[0], 3.0 * np.linalg.norm(agent.velocity), atol=1e-6)
        assert (np.abs(x) <= 30).all() and (np.abs(y) <= 15).all()


def test_who_reaches_the_end_of_a_lane_goes_on_in_the_next():
    bend = [np.array([20 + 10 * np.sin(a), 10 - 10 * np.cos(a)]) for a in np.linspace(0, np.pi / 2, 20)]
    frame = frame_of()
    frame.polylines["boundary"] = np.zeros((0, 20, 2))
    first = np.stack([np.linspace(-20, 20, 20), np.zeros(20)], -1)
    frame.polylines["centerline"] = np.stack([first, np.array(bend)])
    config = EditConfig(num_candidates=200, vulnerable_share=0.0, min_ahead_m=8.0, max_ahead_m=14.0)
    found = candidates(config, frame, surface(frame), agent_boxes(frame), np.random.default_rng(0))
    turned = [agent.pose[-1, 2] for agent in found if agent.velocity[0] == 6.0]
    # From 8 to 14 m on, 18 m along: 6 to 12 m into a bend of 10 m radius.
    assert turned and min(turned) > 0.5 and max(turned) < 1.3


def test_without_centerlines_lanes_are_beside_dividers_along_the_ego():
    scene = HandScene(ego=straight(8, 5.0), lines=[("divider", [(60, 1.75), (-60, 1.75)])])
    lines = lane_lines(next(keyframes(make_tables(scene))))
    np.testing.assert_allclose(np.unique(lines[..., 1].round(6)), [0.0, 3.5])
    assert (np.diff(lines[..., 0], axis=1) > 0).all()

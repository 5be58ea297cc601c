"""Each fault of VAD's converter on a hand-typed scene: the value that is right and the one that was published."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dima_pipeline.curation.vad_agents import CATEGORIES, DETECTION_NAMES, goals
from dima_pipeline.curation.vad_bugs import BUGS, Bug
from dima_pipeline.curation.vad_infos import VadScene
from dima_pipeline.geometry import quaternion_from_yaw
from nuscenes_root import START_US, STEP_US, Tables
from vad_drives import EMPTY_SCENE, SCENE, Can, Change, boxes_of, drop_box, keep, poses_of, read_drive, row, write_drive

ROOT_HALF = np.sqrt(0.5)
STATUS = "gt_ego_lcf_feat"
NORTH = np.pi / 2


@dataclass(frozen=True)
class Case:
    """A scene, where to look, and what is there."""

    look: Callable[[VadScene], object]
    right: object
    wrong: object
    change: Change = keep
    scene: str = SCENE


def of(part: str, name: str, *index: object) -> Callable[[VadScene], object]:
    """Look at an element of a column."""
    return lambda infos: getattr(infos, part)[name][index]


def slow(name: str, keyframe: int, *index: object) -> Callable[[VadScene], object]:
    """Look at an element of a column of the box of car ``slow`` in a keyframe."""

    def look(infos: VadScene) -> object:
        is_box = infos.boxes["annotation_token"] == f"slow-{keyframe}"
        return infos.boxes[name][is_box][(0, *index)]

    return look


def two_messages(_: Tables, can: Can) -> None:
    """10 ms before keyframe 5 all parts are ones, 20 ms after it all are twos."""
    at = START_US + 5 * STEP_US
    can[f"{SCENE}_pose"] = [
        {"utime": at + offset, "pos": [value] * 3, "orientation": [value] * 4}
        | {key: [value] * 3 for key in ("accel", "rotation_rate", "vel")}
        for offset, value in ((-10_000, 1.0), (20_000, 2.0))
    ]


def other_speed_without_feedback(_: Tables, can: Can) -> None:
    del can[f"{SCENE}_steeranglefeedback"]
    for message in can[f"{SCENE}_pose"]:
        message["vel"] = [7.0, 0.0, 0.0]


def reverse_north(tables: Tables, _: Can) -> None:
    """The ego looks south while it moves north, and turns by 0.1 rad before keyframe 4."""
    for index, pose in enumerate(poses_of(tables)):
        pose["rotation"] = quaternion_from_yaw(-NORTH + 0.1 * (index >= 4)).tolist()


def late_keyframe(tables: Tables, _: Can) -> None:
    row(tables, "sample", f"{SCENE}-4")["timestamp"] += 100_000


def move_slow(tables: Tables, step: tuple[float, float, float]) -> None:
    for index, box in enumerate(boxes_of(tables, "slow")):
        box["translation"] = (np.array([96.5, 60.0, 0.8]) + index * np.array(step)).tolist()


def turn_slow(tables: Tables, _: Can) -> None:
    """0.1 rad short of west before keyframe 4, 0.1 rad past it from there."""
    for index, box in enumerate(boxes_of(tables, "slow")):
        box["rotation"] = quaternion_from_yaw(np.pi - 0.1 if index < 4 else -np.pi + 0.1).tolist()


def tilt_slow(tables: Tables, _: Can) -> None:
    """Heads 0.5 rad north of east and leans by 60 degrees about its own forward axis."""
    (w, *_, z), (cos, sin) = quaternion_from_yaw(0.5), (np.cos(np.pi / 6), np.sin(np.pi / 6))
    for box in boxes_of(tables, "slow"):
        box["rotation"] = [w * cos, w * sin, z * sin, z * cos]


def climb(tables: Tables, _: Can) -> None:
    """The ego looks up by 30 degrees; the car ahead rises by 2 m/s."""
    (w, *_, z), (cos, sin) = quaternion_from_yaw(NORTH), (np.cos(np.pi / 12), -np.sin(np.pi / 12))
    for pose in poses_of(tables):
        pose["rotation"] = [w * cos, -z * sin, w * sin, z * cos]
    move_slow(tables, (0, 0, 1))


def in_singapore(tables: Tables, _: Can) -> None:
    row(tables, "log", f"log-{SCENE}")["location"] = "singapore-queenstown"


CASES = {
    Bug.CAN_TWO_MESSAGES: Case(of("samples", "can_bus", 5, [0, 3, 7, 10, 13]), [1] * 5, [1, 1, 2, 2, 2], two_messages),
    Bug.CAN_FILE_ORDER: Case(
        of("samples", "can_bus", 3, slice(7, 16)), [0.5, 0, 9.8, 0, 0, 0.1, 5, 0, 0], [5, 0, 0, 0.5, 0, 9.8, 0, 0, 0.1]
    ),
    Bug.CAN_SCALAR_ROTATION: Case(
        of("samples", "can_bus_loaded", 3, slice(3, 7)), [ROOT_HALF, 0, 0, ROOT_HALF], [ROOT_HALF] * 4
    ),
    Bug.CAN_ALL_OR_NOTHING: Case(of("samples", STATUS, 3, 7), 7, 5, other_speed_without_feedback),
    Bug.ROLL_FOR_YAW: Case(
        lambda infos: [infos.samples[STATUS][3, 1], infos.samples[STATUS][4, 4]], [-5, 0.2], [5, 0], reverse_north
    ),
    Bug.FIXED_STEP: Case(of("samples", STATUS, 4, 1), 2.5 / 0.6, 5, late_keyframe),
    Bug.LOOKS_AHEAD: Case(of("samples", "gt_ego_his_trajs", 0), [[0, 0], [0, 0]], [[0, 2.5], [0, 2.5]]),
    Bug.MIXED_AXES: Case(of("samples", STATUS, 3, slice(2, 4)), [0, 0.5], [0.5, 0]),
    Bug.SINGAPORE_STEERING: Case(of("samples", STATUS, 3, 8), 0.4 / 2.588, -0.4 / 2.588, in_singapore),
    Bug.ZERO_FOR_UNKNOWN: Case(of("samples", STATUS, 3, [2, 3, 8]), [np.nan] * 3, [0] * 3, scene=EMPTY_SCENE),
    Bug.CATEGORY_BY_POSITION: Case(slow("gt_agent_lcf_feat", 3, 8), 17, 0),
    Bug.GOAL_WITHOUT_ABS: Case(slow("gt_agent_fut_goal", 3), 0, 9, lambda tables, _: move_slow(tables, (-1, -0.5, 0))),
    Bug.STEPS_ARE_COUNTED: Case(
        slow("gt_agent_fut_masks", 3),
        [0, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1, 0],
        lambda tables, _: drop_box(tables, "slow-4"),
    ),
    Bug.YAW_STEP_NOT_WRAPPED: Case(slow("gt_agent_fut_yaw", 3, 0), 0.2, 0.2 - 2 * np.pi, turn_slow),
    Bug.BOX_YAW_TRANSPOSED: Case(slow("gt_boxes", 3, 6), -0.5 - NORTH, -np.arctan(np.tan(0.5) / 2) - NORTH, tilt_slow),
    Bug.FLAT_VELOCITY: Case(slow("gt_velocity", 3), [0, 1], [0, 0], climb),
}


@pytest.mark.parametrize("bug", CASES, ids=lambda bug: bug.name)
def test_each_fault_is_absent_by_default_and_there_on_demand(bug: Bug, tmp_path: Path) -> None:
    case = CASES[bug]
    root = write_drive(tmp_path / "root", case.change)
    for compat, expected in (("none", case.right), ([bug], case.wrong)):
        found = case.look(read_drive(root, case.scene, compat=compat))
        np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=f"compat {compat}")


def test_an_agent_that_moves_home_exactly_is_in_the_first_sector_and_not_in_a_ninth() -> None:
    home = np.array([[[-1.0, 0.0]] * 6])
    assert goals(home, frozenset()) == [0]
    assert goals(home, frozenset({Bug.GOAL_NINTH_SECTOR})) == [8]


def test_times_in_float_seconds_cost_the_last_digits_of_a_velocity(tmp_path: Path) -> None:
    def late(tables: Tables, _: Can) -> None:
        row(tables, "sample", f"{SCENE}-4")["timestamp"] += 3

    root = write_drive(tmp_path / "root", late)
    exact, rounded = (slow("gt_velocity", 3, 1)(read_drive(root, compat=bugs)) for bugs in ([], [Bug.FLOAT_SECONDS]))
    assert exact == pytest.approx(2 / 1.000003, abs=1e-12)
    assert 1e-9 < abs(rounded - exact) < 1e-6


def test_every_fault_has_a_case_and_is_part_of_compat_vad() -> None:
    assert {*CASES, Bug.GOAL_NINTH_SECTOR, Bug.FLOAT_SECONDS} == set(Bug) == BUGS["vad"]
    assert BUGS["none"] == frozenset()


def test_categories_and_names_are_those_of_the_devkit() -> None:
    from nuscenes.eval.detection.utils import category_to_detection_name
    from nuscenes.utils.color_map import get_colormap

    assert tuple(get_colormap())[: len(CATEGORIES)] == CATEGORIES
    names = {name: category_to_detection_name(name) for name in CATEGORIES}
    assert {name: short for name, short in names.items() if short} == DETECTION_NAMES

"""Boxes of a scene and where they go, as VAD's infos have them: LIDAR_TOP frame of the keyframe (x right, y forward).

Futures are looked up for all boxes of a scene at once; faults of the published converter are asked for by name.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from dima_pipeline.contracts.frames import NUM_FUTURE_STEPS
from dima_pipeline.curation.vad_bugs import Bug
from dima_pipeline.curation.vad_ego import Drive, last_known
from dima_pipeline.curation.vad_sensors import Columns, quaternions, rotate, strings
from dima_pipeline.datasets._nuscenes_check import Records, Row, read_json, vectors
from dima_pipeline.geometry import rotation_from_quaternion, wrap_angle

STATIC_GOAL = 9
STATIC_M = 1.0
MAX_VELOCITY_GAP_S = 1.5
"""Boxes further apart in time give no velocity (twice that for both neighbours), as in the devkit."""

CATEGORIES = (
    *("noise", "animal", "human.pedestrian.adult", "human.pedestrian.child", "human.pedestrian.construction_worker"),
    *("human.pedestrian.personal_mobility", "human.pedestrian.police_officer", "human.pedestrian.stroller"),
    *("human.pedestrian.wheelchair", "movable_object.barrier", "movable_object.debris"),
    *("movable_object.pushable_pullable", "movable_object.trafficcone", "static_object.bicycle_rack"),
    *("vehicle.bicycle", "vehicle.bus.bendy", "vehicle.bus.rigid", "vehicle.car", "vehicle.construction"),
    *("vehicle.emergency.ambulance", "vehicle.emergency.police", "vehicle.motorcycle", "vehicle.trailer"),
    "vehicle.truck",
)
"""Categories of boxes by their lidarseg number."""

DETECTION_NAMES = {
    "movable_object.barrier": "barrier",
    "movable_object.trafficcone": "traffic_cone",
    "vehicle.bicycle": "bicycle",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.car": "car",
    "vehicle.construction": "construction_vehicle",
    "vehicle.motorcycle": "motorcycle",
    "vehicle.trailer": "trailer",
    "vehicle.truck": "truck",
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.police_officer": "pedestrian",
}
"""``gt_names`` of a category; all others keep their name."""


@dataclass(frozen=True)
class Boxes:
    """The B annotations of a scene in the world, keyframe by keyframe in the order of the table."""

    rows: list[Row]
    sample: Int[np.ndarray, "B"]
    """Keyframe of each."""
    start: Int[np.ndarray, "N+1"]
    center: Float[np.ndarray, "B 3"]
    rotation: Float[np.ndarray, "B 3 3"]
    before: Int[np.ndarray, "B"]
    """Box before and after in the chain of the same object, -1 where there is none."""
    after: Int[np.ndarray, "B"]


def scene_boxes(records: Records, tokens: list[str]) -> Boxes:
    """Collect the annotations of N keyframes; raises ``ValueError`` for a box without place or heading."""
    per_sample = [records.annotations[token] for token in tokens]
    rows = [row for found in per_sample for row in found]
    counts = np.array([len(found) for found in per_sample])
    table = records.directory / "sample_annotation.json"
    place = {row["token"]: index for index, row in enumerate(rows)}
    return Boxes(
        rows=rows,
        sample=np.repeat(np.arange(len(tokens)), counts),
        start=np.concatenate([[0], np.cumsum(counts)]),
        center=vectors(rows, "translation", 3, table),
        rotation=rotation_from_quaternion(quaternions(rows, table)),
        before=np.array([place.get(row["prev"], -1) for row in rows], np.int64),
        after=np.array([place.get(row["next"], -1) for row in rows], np.int64),
    )


def agent_columns(records: Records, boxes: Boxes, drive: Drive, bugs: frozenset[Bug]) -> Columns:
    """Fields of the boxes of a drive, (B, ...); raises ``ValueError`` for a box without size."""
    turn = drive.lidar.sensor_from_global[boxes.sample]
    center = rotate(turn[:, :3, :3], boxes.center) + turn[:, :3, 3]
    size = vectors(boxes.rows, "size", 3, records.directory / "sample_annotation.json")
    yaw = _box_yaw(turn, boxes.rotation, bugs)
    velocity = _velocity(boxes, drive.times_us[boxes.sample], turn, bugs)
    names = [records.categories[row["instance_token"]] for row in boxes.rows]
    kind = category_numbers(records, bugs, names)
    lidar_points, radar_points = (
        np.array([row.get(name) or 0 for row in boxes.rows], np.int64) for name in ("num_lidar_pts", "num_radar_pts")
    )
    return {
        "annotation_token": strings([row["token"] for row in boxes.rows]),
        "instance_token": strings([row["instance_token"] for row in boxes.rows]),
        "gt_boxes": np.column_stack([center, size, -yaw - np.pi / 2]),
        "gt_names": strings([DETECTION_NAMES.get(name, name) for name in names]),
        "gt_velocity": velocity,
        "num_lidar_pts": lidar_points,
        "num_radar_pts": radar_points,
        "valid_flag": lidar_points + radar_points > 0,
        **_future_columns(boxes, turn, future_boxes(boxes, drive.future_rows, bugs), bugs),
        "gt_agent_lcf_feat": np.column_stack([center[:, :2], yaw, velocity, size, kind]).astype(np.float32),
    }


def _box_yaw(
    turn: Float[np.ndarray, "B 4 4"], rotation: Float[np.ndarray, "B 3 3"], bugs: frozenset[Bug]
) -> Float[np.ndarray, "B"]:
    ahead, left = (rotate(turn[:, :2, :3], rotation[:, :, axis]) for axis in (0, 1))
    across = -left[:, 0] if Bug.BOX_YAW_TRANSPOSED in bugs else ahead[:, 1]
    return np.arctan2(across, ahead[:, 0])


def _velocity(
    boxes: Boxes, times_us: Int[np.ndarray, "B"], turn: Float[np.ndarray, "B 4 4"], bugs: frozenset[Bug]
) -> Float[np.ndarray, "B 2"]:
    """Central difference along the chain, one-sided at its ends, in the LIDAR frame (m/s); NaN where unknown."""
    here = np.arange(len(boxes.rows))
    first = np.where(boxes.before < 0, here, boxes.before)
    last = np.where(boxes.after < 0, here, boxes.after)
    elapsed_s = (times_us[last] - times_us[first]) / 1e6
    if Bug.FLOAT_SECONDS in bugs:
        elapsed_s = 1e-6 * times_us[last] - 1e-6 * times_us[first]
    limit_s = np.where((boxes.before >= 0) & (boxes.after >= 0), 2, 1) * MAX_VELOCITY_GAP_S
    is_known = (first != last) & (elapsed_s > 0) & (elapsed_s <= limit_s)
    moved = boxes.center[last] - boxes.center[first]
    if Bug.FLAT_VELOCITY in bugs:
        moved = moved * [1, 1, 0]
    velocity = rotate(turn[:, :2, :3], moved) / np.where(is_known, elapsed_s, 1.0)[:, None]
    return np.where(is_known[:, None], velocity, np.nan)


def category_numbers(records: Records, bugs: frozenset[Bug], names: list[str]) -> Float[np.ndarray, "B"]:
    """A number for each category name; -1 for one that is not known."""
    known = list(CATEGORIES)
    if Bug.CATEGORY_BY_POSITION in bugs:
        known = [row["name"] for row in read_json(records.directory / "category.json")]
    number = {name: index for index, name in enumerate(known)}
    return np.array([number.get(name, -1) for name in names], float)


def future_boxes(boxes: Boxes, future: Int[np.ndarray, "N 6"], bugs: frozenset[Bug]) -> Int[np.ndarray, "B 6"]:
    """Box of the same object at each of the next six steps, -1 where there is none."""
    if Bug.STEPS_ARE_COUNTED in bugs:
        after, steps = np.append(boxes.after, -1), [boxes.after]  # the spare last entry leads from -1 to -1
        while len(steps) < NUM_FUTURE_STEPS:
            steps.append(after[steps[-1]])
        return np.stack(steps, 1)
    tokens = strings([row["instance_token"] for row in boxes.rows])
    names, instance = np.unique(tokens, return_inverse=True)
    box_at = np.full((len(names), len(boxes.start)), -1)  # a spare last keyframe stands for "none"
    box_at[instance, boxes.sample] = np.arange(len(boxes.rows))
    return box_at[instance[:, None], future[boxes.sample]]


def _future_columns(
    boxes: Boxes, turn: Float[np.ndarray, "B 4 4"], future: Int[np.ndarray, "B 6"], bugs: frozenset[Bug]
) -> Columns:
    """Offsets and turns from step to step in the frame of the box's keyframe; 0 into a step that is not known: its way
    is part of the next step that is."""
    valid: Bool[np.ndarray, "B 6"] = future >= 0
    here = np.arange(len(boxes.rows))[:, None]
    steps = np.concatenate([here, last_known(future, here)], 1)
    at = rotate(turn[:, None, :2, :3], boxes.center[steps])
    ahead = rotate(turn[:, None, :2, :3], boxes.rotation[:, :, 0][steps])
    offsets, turns = np.diff(at, axis=1), np.diff(np.arctan2(ahead[..., 1], ahead[..., 0]), axis=1)
    if Bug.YAW_STEP_NOT_WRAPPED not in bugs:
        turns = wrap_angle(turns)
    return {
        "gt_agent_fut_trajs": offsets.reshape(-1, 2 * NUM_FUTURE_STEPS).astype(np.float32),
        "gt_agent_fut_masks": valid.astype(np.float32),
        "gt_agent_fut_yaw": turns.astype(np.float32),
        "gt_agent_fut_goal": goals(offsets, bugs).astype(np.float32),
    }


def goals(offsets: Float[np.ndarray, "B 6 2"], bugs: frozenset[Bug]) -> Float[np.ndarray, "B"]:
    """Eighth of a turn, 0 ... 7 from -x counter-clockwise, in which an agent moves from step 1 to step 6; 9: by less
    than 1 m along both axes, or not known."""
    path = np.cumsum(offsets, 1)
    moved = path[:, -1] - path[:, 0]
    reach = moved if Bug.GOAL_WITHOUT_ABS in bugs else np.abs(moved)
    sector = np.floor_divide(np.arctan2(moved[:, 1], moved[:, 0]) + np.pi, np.pi / 4)
    if Bug.GOAL_NINTH_SECTOR not in bugs:
        sector = sector % 8
    return np.where(reach.max(-1) < STATIC_M, STATIC_GOAL, sector)

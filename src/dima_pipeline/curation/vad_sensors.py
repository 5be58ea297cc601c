"""Poses of a scene's sensors as VAD's infos list them: LIDAR_TOP at the keyframes, six cameras, LIDAR sweeps.

``sensor2lidar`` leads from the sensor at its own time to LIDAR_TOP at the keyframe, over the two ego poses.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.datasets._nuscenes_check import Records, Row, Table, vectors
from dima_pipeline.datasets._nuscenes_store import LIDAR, LidarSweeps
from dima_pipeline.geometry import rigid, rotation_from_quaternion

MAX_SWEEPS = 10

Columns = dict[str, np.ndarray]
"""Arrays by the name of VAD's field, one row each."""


def multiply(first: Float[np.ndarray, "... 4 4"], second: Float[np.ndarray, "... 4 4"]) -> Float[np.ndarray, "... 4 4"]:
    """``first @ second``, added up in a fixed order: the last bit of numpy's own products of small matrices depends on
    where the arrays lie in memory, and infos are to be the same bytes from run to run."""
    terms = [first[..., :, at, None] * second[..., None, at, :] for at in range(4)]
    return terms[0] + terms[1] + terms[2] + terms[3]


def rotate(rotation: Float[np.ndarray, "... R C"], vector: Float[np.ndarray, "... C"]) -> Float[np.ndarray, "... R"]:
    """``rotation @ vector`` of matrices of two or three columns, added up in a fixed order."""
    total = rotation[..., 0] * vector[..., 0, None]
    for at in range(1, rotation.shape[-1]):
        total = total + rotation[..., at] * vector[..., at, None]
    return total


def invert(matrix: Float[np.ndarray, "... 4 4"]) -> Float[np.ndarray, "... 4 4"]:
    """Inverse of a rigid transform."""
    rotation = np.swapaxes(matrix[..., :3, :3], -1, -2)
    return rigid(rotation, -rotate(rotation, matrix[..., :3, 3]))


@dataclass(frozen=True)
class SensorPoses:
    """Where the sensors of R rows of ``sample_data`` are; quaternions w, x, y, z as the tables have them."""

    rows: list[Row]
    sensor2ego_translation: Float[np.ndarray, "R 3"]
    sensor2ego_rotation: Float[np.ndarray, "R 4"]
    ego2global_translation: Float[np.ndarray, "R 3"]
    ego2global_rotation: Float[np.ndarray, "R 4"]
    ego_from_sensor: Float[np.ndarray, "R 4 4"]
    global_from_ego: Float[np.ndarray, "R 4 4"]

    @property
    def global_from_sensor(self) -> Float[np.ndarray, "R 4 4"]:
        """Pose of the sensor in the world."""
        return multiply(self.global_from_ego, self.ego_from_sensor)

    @property
    def sensor_from_global(self) -> Float[np.ndarray, "R 4 4"]:
        """Its inverse."""
        return invert(self.global_from_sensor)


def sensor_poses(records: Records, rows: list[Row], ego_poses: Table | None = None) -> SensorPoses:
    """Poses of rows of ``sample_data``; raises ``ValueError`` for a pose that is none."""
    ego_poses = records.ego_poses if ego_poses is None else ego_poses
    mounts = [records.calibrations[row["calibrated_sensor_token"]] for row in rows]
    egos = [ego_poses[row["ego_pose_token"]] for row in rows]
    mounted, placed = (
        (vectors(found, "translation", 3, table), quaternions(found, table))
        for found, table in (
            (mounts, records.directory / "calibrated_sensor.json"),
            (egos, records.directory / "ego_pose.json"),
        )
    )
    ego_from_sensor, global_from_ego = (rigid(rotation_from_quaternion(turn), at) for at, turn in (mounted, placed))
    return SensorPoses(rows, *mounted, *placed, ego_from_sensor, global_from_ego)


def quaternions(rows: list[Row], table: Path) -> Float[np.ndarray, "R 4"]:
    """``rotation`` of rows as written; raises ``ValueError`` for one that is further than 1 % from unit length."""
    found = vectors(rows, "rotation", 4, table)
    excess = np.abs(np.linalg.norm(found, axis=1) - 1)
    if (excess > 0.01).any():
        bad = rows[int(excess.argmax())]
        raise ValueError(f"{table}: rotation {bad['rotation']} of record {bad['token']} is no unit quaternion")
    return found


def lidar_poses(records: Records, tokens: list[str]) -> SensorPoses:
    """LIDAR_TOP at N keyframes; raises ``ValueError`` for a recording without it."""
    for token in tokens:
        if LIDAR not in records.sensor_rows[token]:
            raise ValueError(f"sample {token} of {records.directory} has no {LIDAR}: VAD's infos stand in its frame")
    return sensor_poses(records, [records.sensor_rows[token][LIDAR] for token in tokens])


def camera_columns(records: Records, lidar: SensorPoses, tokens: list[str]) -> Columns:
    """Fields of ``cams``, (N, 6, ...) in the order of ``CAMERAS``; ``data_path`` is below the dataroot."""
    rows = [records.sensor_rows[token][camera] for token in tokens for camera in CAMERAS]
    cameras = sensor_poses(records, rows)
    columns = _relative_to_lidar(cameras, lidar.sensor_from_global.repeat(len(CAMERAS), 0))
    mounts = [records.calibrations[row["calibrated_sensor_token"]] for row in rows]
    intrinsics = vectors(mounts, "camera_intrinsic", 9, records.directory / "calibrated_sensor.json")
    columns["cam_intrinsic"] = intrinsics.reshape(-1, 3, 3)
    return {name: column.reshape(-1, len(CAMERAS), *column.shape[1:]) for name, column in columns.items()}


def _relative_to_lidar(sensors: SensorPoses, lidar_from_global: Float[np.ndarray, "R 4 4"]) -> Columns:
    relative = multiply(lidar_from_global, sensors.global_from_sensor)
    return {
        "data_path": strings([row["filename"] for row in sensors.rows]),
        "sample_data_token": strings([row["token"] for row in sensors.rows]),
        "timestamp": _times_us(sensors.rows),
        "sensor2ego_translation": sensors.sensor2ego_translation,
        "sensor2ego_rotation": sensors.sensor2ego_rotation,
        "ego2global_translation": sensors.ego2global_translation,
        "ego2global_rotation": sensors.ego2global_rotation,
        "sensor2lidar_rotation": relative[:, :3, :3],
        "sensor2lidar_translation": relative[:, :3, 3],
    }


def _times_us(rows: list[Row]) -> Int[np.ndarray, "R"]:
    for row in rows:
        if not isinstance(row.get("timestamp"), int):
            raise ValueError(f"sample_data.json: record {row['token']} has no timestamp in whole microseconds")
    return np.array([row["timestamp"] for row in rows], np.int64)


def sweep_columns(
    records: Records, lidar: SensorPoses, sweeps: LidarSweeps | None
) -> tuple[Int[np.ndarray, "N+1"], Columns]:
    """The up to 10 readings before each keyframe, nearest first, and where those of each keyframe begin; none without
    ``sweeps``. Raises ``ValueError`` where ``prev`` of a reading is no chain."""
    chain: list[Row] = [] if sweeps is None else _chain(lidar.rows, sweeps)
    place = {row["token"]: index for index, row in enumerate(chain)}
    before = np.array([place.get(row["token"], 0) for row in lidar.rows])[:, None] - np.arange(1, MAX_SWEEPS + 1)
    sample, _ = np.nonzero(before >= 0)
    poses = sensor_poses(records, chain, sweeps.ego_poses if sweeps else None)
    columns = _relative_to_lidar(_take(poses, before[before >= 0]), lidar.sensor_from_global[sample])
    return np.concatenate([[0], np.cumsum((before >= 0).sum(1))]), columns


def _chain(keyframes: list[Row], sweeps: LidarSweeps) -> list[Row]:
    """All readings of a scene in order."""
    chain: list[Row] = []
    token = keyframes[-1]["token"]
    while token and len(chain) <= len(sweeps.rows):
        if token not in sweeps.rows:
            raise ValueError(f"sample_data.json: {token}, to which prev leads, is no reading of {LIDAR} of its scene")
        chain.append(sweeps.rows[token])
        token = chain[-1]["prev"]
    lost = {row["token"] for row in keyframes} - {row["token"] for row in chain}
    if lost or len(chain) > len(sweeps.rows):
        at = min(lost) if lost else chain[-1]["token"]
        raise ValueError(f"sample_data.json: the readings of {LIDAR} are no chain at {at}: check prev")
    return chain[::-1]


def _take(poses: SensorPoses, index: Int[np.ndarray, "S"]) -> SensorPoses:
    arrays = {name: value[index] for name, value in vars(poses).items() if name != "rows"}
    return SensorPoses(rows=[poses.rows[at] for at in index], **arrays)


def strings(values: list[str]) -> np.ndarray:
    """Text as an array of fixed width, also where there is none."""
    return np.array(values, dtype=np.str_) if values else np.zeros(0, "<U1")

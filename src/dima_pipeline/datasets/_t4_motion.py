"""Motion that T4 recordings hold besides nuScenes' tables: of the ego, and of boxes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from dima_pipeline.datasets._nuscenes_can import nearest
from dima_pipeline.datasets._nuscenes_check import Records, Row, read_json, vectors
from dima_pipeline.geometry import rotation_from_quaternion


def motion(records: Records, samples: pd.DataFrame, channel: str) -> dict[str, np.ndarray]:
    """Signed speed, acceleration and yaw rate of ``ego_pose`` (local frame), steering of ``vehicle_state``; NaN where
    there are none. The speed of ``vehicle_state`` is left alone: it is km/h by the format, m/s by its converter."""
    rows = [records.sensor_rows[token][channel] for token in samples["sample_token"]]
    poses = [records.ego_poses[row["ego_pose_token"]] for row in rows]
    path = records.directory / "ego_pose.json"
    twist, acceleration = _optional(poses, "twist", 6, path), _optional(poses, "acceleration", 3, path)
    steering = _steering(records.directory / "vehicle_state.json", samples["timestamp_us"].to_numpy(np.int64))
    # A twist is vx, vy, vz, yaw rate, pitch rate, roll rate.
    columns = (twist[:, 0], acceleration[:, 0], twist[:, 3], steering)
    return dict(zip(("speed_mps", "acceleration_mps2", "yaw_rate_radps", "steering_rad"), columns, strict=True))


def _steering(path: Path, times_us: Int[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
    """Steering wheel angle nearest in time to each keyframe; raises ``ValueError`` for a broken table."""
    states = read_json(path) if path.is_file() else []
    try:
        known = pd.DataFrame(states, columns=["timestamp", "steering_wheel_angle"]).dropna().sort_values("timestamp")
        message_times_us, angles = known["timestamp"].to_numpy(np.int64), known.to_numpy(float)[:, 1:]
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path}: expected records with timestamp and steering_wheel_angle: {error}") from None
    return nearest(message_times_us, angles, times_us)[:, 0] if len(known) else np.full(len(times_us), np.nan)


def annotated_velocities(records: Records, samples: pd.DataFrame, agents: pd.DataFrame) -> dict[str, np.ndarray]:
    """Velocity in the ego frame: the annotated one, which is global, else the one from neighbouring boxes."""
    boxes = {(row["sample_token"], row["instance_token"]): row for rows in records.annotations.values() for row in rows}
    rows = [boxes[key] for key in zip(agents["sample_token"], agents["instance_token"], strict=True)]
    annotated = _optional(rows, "velocity", 3, records.directory / "sample_annotation.json")
    sample = pd.Index(samples["sample_token"]).get_indexer(pd.Index(agents["sample_token"]))
    global_from_ego = rotation_from_quaternion(samples[["ego_qw", "ego_qx", "ego_qy", "ego_qz"]].to_numpy())[sample]
    turned = np.einsum("aji,aj->ai", global_from_ego, annotated)
    columns = zip(("vx_mps", "vy_mps"), turned[:, :2].T, strict=True)
    return {name: np.where(np.isnan(values), agents[name], values) for name, values in columns}


def _optional(rows: Sequence[Row], field: str, length: int, table: Path) -> Float[np.ndarray, "N length"]:
    """A vector of each row, NaN where it is null or not there; raises ``ValueError`` where it is something else."""
    known = [number for number, row in enumerate(rows) if row.get(field) is not None]
    values = np.full((len(rows), length), np.nan)
    values[known] = vectors([rows[number] for number in known], field, length, table)
    return values

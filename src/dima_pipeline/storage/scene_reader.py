"""From the ``samples`` table and image shards to ``SceneBatch``: the one place where a keyframe becomes model input."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from dima_pipeline.contracts.batch import SceneBatch
from dima_pipeline.contracts.frames import CAMERAS, COMMANDS
from dima_pipeline.geometry import image_from_ego, rotation_from_quaternion, to_frame, wrap_angle, yaw_from_rotation
from dima_pipeline.storage.image_shards import ImageShards


def global_poses(samples: pd.DataFrame) -> np.ndarray:
    """x, y (m) and yaw (rad) of every keyframe in the global frame, (N, 3)."""
    quaternions = samples[["ego_qw", "ego_qx", "ego_qy", "ego_qz"]].to_numpy(float)
    yaw = yaw_from_rotation(rotation_from_quaternion(quaternions))
    return np.column_stack([samples[["ego_x_m", "ego_y_m"]].to_numpy(float), yaw])


def projections(samples: pd.DataFrame, image_size: tuple[int, int]) -> np.ndarray:
    """``image_from_ego`` of every keyframe and camera at ``image_size`` (height, width), (N, C, 3, 4) float32."""
    height, width = image_size
    cameras = []
    for camera in CAMERAS:
        name = camera.lower()
        intrinsics = np.stack(samples[f"{name}_intrinsics"].to_list()).reshape(-1, 3, 3)
        from_ego = np.stack(samples[f"{name}_camera_from_ego"].to_list()).reshape(-1, 4, 4)
        scale = np.zeros((len(samples), 3, 3))
        scale[:, 0, 0] = width / samples[f"{name}_width"].to_numpy(float)
        scale[:, 1, 1] = height / samples[f"{name}_height"].to_numpy(float)
        scale[:, 2, 2] = 1
        cameras.append(image_from_ego(scale @ intrinsics, from_ego))
    return np.stack(cameras, 1).astype(np.float32)


class SceneReader:
    """Reads batches of keyframes.

    ``command`` chooses the column: ``route`` does not look ahead, ``driven`` does (VAD's rule, for comparison only).
    """

    def __init__(
        self, samples: pd.DataFrame, shards: ImageShards, command: Literal["route", "driven"] = "route"
    ) -> None:
        self.shards = shards
        self._row = {token: row for row, token in enumerate(samples["sample_token"])}
        self._projection = projections(samples, shards.image_size)
        sources = [samples[f"{camera.lower()}_source"].to_numpy(str) for camera in CAMERAS]
        self._camera_valid = np.stack(sources, 1) != "missing"
        self._command = samples[f"command_{command}"].map(COMMANDS.index).to_numpy(np.int64)
        self._motion = self._ego_motion(samples)

    def _ego_motion(self, samples: pd.DataFrame) -> np.ndarray:
        """Pose of each ego frame in the ego frame of the keyframe before it; zero at the start of a scene."""
        poses = global_poses(samples)
        motion = np.zeros((len(samples), 3), np.float32)
        for row, previous in enumerate(samples["prev"]):
            if isinstance(previous, str) and previous in self._row:
                before = poses[self._row[previous]]
                motion[row, :2] = to_frame(poses[row, :2], before)
                motion[row, 2] = wrap_angle(poses[row, 2] - before[2])
        return motion

    def batch(self, sample_tokens: Sequence[str]) -> SceneBatch:
        """The keyframes as a batch of numpy arrays."""
        rows = [self._row[token] for token in sample_tokens]
        return SceneBatch(
            images=np.stack([self.shards.read(token) for token in sample_tokens]),
            image_from_ego=self._projection[rows],
            camera_valid=self._camera_valid[rows],
            command=self._command[rows],
            prev_from_ego=self._motion[rows],
        )

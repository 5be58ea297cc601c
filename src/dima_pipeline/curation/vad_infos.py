"""The infos of VAD's converter for a scene of a nuScenes-format recording, without its faults, or with them on demand.

All keyframes and boxes of a scene are worked out together. ``gt_*`` fields stand in the LIDAR_TOP frame of their
keyframe: x right, y forward, metres, radians. Jiang et al., "VAD: Vectorized Scene Representation", ICCV 2023.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from dima_pipeline.contracts.frames import CAMERAS, CONTRACT_VERSION
from dima_pipeline.curation.vad_agents import agent_columns, scene_boxes
from dima_pipeline.curation.vad_bugs import BUGS, Bug, Compat
from dima_pipeline.curation.vad_can import read_scene_can
from dima_pipeline.curation.vad_ego import Drive, ego_columns, keyframes_at
from dima_pipeline.curation.vad_sensors import (
    Columns,
    SensorPoses,
    camera_columns,
    lidar_poses,
    strings,
    sweep_columns,
)
from dima_pipeline.datasets._nuscenes_check import Records
from dima_pipeline.datasets._nuscenes_store import LidarSweeps

PATHS = ("lidar_path", "data_path")
"""Columns of file names below the dataroot."""
PARTS = ("samples", "cams", "boxes", "sweeps")


@dataclass(frozen=True)
class VadScene:
    """The infos of N keyframes as arrays under the names of VAD's fields.

    Beyond VAD's: ``gt_ego_his_masks``, ``has_can_bus``, ``can_bus_loaded``, ``annotation_token``, ``instance_token``.
    """

    name: str
    samples: Columns
    """(N, ...)"""
    cams: Columns
    """(N, 6, ...) in the order of ``CAMERAS``."""
    boxes: Columns
    """(B, ...), keyframe by keyframe."""
    sweeps: Columns
    """(S, ...), keyframe by keyframe, the nearest first."""
    box_start: Int[np.ndarray, "N+1"]
    """Where the boxes of each keyframe begin, and their number."""
    sweep_start: Int[np.ndarray, "N+1"]

    def __len__(self) -> int:
        return len(self.samples["token"])

    def infos(self, dataroot: str = "./data/nuscenes") -> list[dict[str, Any]]:
        """One dictionary a keyframe, as VAD's ``infos``: file names below ``dataroot``, numbers as Python's own."""
        return [self._info(index, dataroot) for index in range(len(self))]

    def _info(self, index: int, dataroot: str) -> dict[str, Any]:
        box, sweep = (slice(*start[index : index + 2]) for start in (self.box_start, self.sweep_start))
        cams = {
            camera: {"type": camera, **_row(self.cams, (index, column), dataroot)}
            for column, camera in enumerate(CAMERAS)
        }
        sweeps = [{"type": "lidar", **_row(self.sweeps, at, dataroot)} for at in range(sweep.start, sweep.stop)]
        boxes = {name: column[box] for name, column in self.boxes.items()}
        return {**_row(self.samples, index, dataroot), "cams": cams, "sweeps": sweeps, **boxes}


def _row(columns: Columns, index: Any, dataroot: str) -> dict[str, Any]:
    values = {name: column[index] for name, column in columns.items()}
    plain = {name: value.item() if np.ndim(value) == 0 else value for name, value in values.items()}
    return {name: f"{dataroot}/{value}" if name in PATHS else value for name, value in plain.items()}


def vad_infos(
    records: Records,
    scene_name: str,
    dataroot: Path,
    *,
    compat: Compat | Collection[Bug] = "none",
    sweeps: LidarSweeps | None = None,
) -> VadScene:
    """All fields of VAD's infos for a scene of ``records``; CAN bus from ``dataroot/can_bus`` where there is one.

    ``compat``: ``none`` has the right values, ``vad`` those of the published converter, a collection of ``Bug`` has
    some of its faults. Without ``sweeps`` (``NuScenesDataset.sweeps``) the field is empty; VAD does not train on it.

    Raises ``ValueError`` for a recording without LIDAR_TOP, a pose that is none, a broken CAN file, an unknown
    ``compat``, or a scene that the published converter refuses.
    """
    bugs = _bugs(compat)
    samples = records.scene_samples(scene_name)
    tokens = [row["token"] for row in samples]
    if len(tokens) == 1 and Bug.LOOKS_AHEAD in bugs:
        raise ValueError(f"{scene_name} has one keyframe: VAD's converter stops there; use compat 'none'")
    lidar = lidar_poses(records, tokens)
    times_us = np.array([row["timestamp"] for row in samples], np.int64)
    location = records.location(scene_name)
    drive = Drive(lidar, times_us, keyframes_at(times_us, bugs), location.startswith("singapore"))
    boxes = scene_boxes(records, tokens)
    sweep_start, sweep_rows = sweep_columns(records, lidar, sweeps)
    return VadScene(
        name=scene_name,
        samples={
            **_sample_columns(samples, lidar, location),
            **ego_columns(drive, read_scene_can(Path(dataroot), scene_name, bugs), bugs),
        },
        cams=camera_columns(records, lidar, tokens),
        boxes=agent_columns(records, boxes, drive, bugs),
        sweeps=sweep_rows,
        box_start=boxes.start,
        sweep_start=sweep_start,
    )


def _bugs(compat: Compat | Collection[Bug]) -> frozenset[Bug]:
    if not isinstance(compat, str):
        return frozenset(compat)
    if compat not in BUGS:
        raise ValueError(f"compat '{compat}' is not known: use {' or '.join(BUGS)}")
    return BUGS[compat]


def _sample_columns(samples: list[dict], lidar: SensorPoses, location: str) -> Columns:
    num = len(samples)
    return {
        **{name: strings([row[name] for row in samples]) for name in ("token", "prev", "next", "scene_token")},
        "timestamp": np.array([row["timestamp"] for row in samples], np.int64),
        "frame_idx": np.arange(num),
        "map_location": strings([location] * num),
        "lidar_path": strings([row["filename"] for row in lidar.rows]),
        "lidar2ego_translation": lidar.sensor2ego_translation,
        "lidar2ego_rotation": lidar.sensor2ego_rotation,
        "ego2global_translation": lidar.ego2global_translation,
        "ego2global_rotation": lidar.ego2global_rotation,
    }


def write_infos(scene: VadScene, path: Path) -> None:
    """Write a scene as one ``.npz`` of plain arrays (no pickle), the same bytes for the same scene.

    VAD itself reads a pickle, which we do not write. Its user makes one on the own machine from these files, with
    numpy 1.26, as older ones do not read what numpy 2 pickles; ``names`` are the scenes of the split:

        import pickle; from pathlib import Path
        from dima_pipeline.curation.vad_infos import read_infos
        scenes = [read_infos(Path("vad_infos") / f"{name}.npz") for name in names]
        data = {"infos": [i for s in scenes for i in s.infos("./data/nuscenes")], "metadata": {"version": "v1.0-mini"}}
        Path("vad_nuscenes_infos_temporal_train.pkl").write_bytes(pickle.dumps(data))

    Raises ``ValueError`` for a name that does not end in ``.npz``.
    """
    if path.suffix != ".npz":
        raise ValueError(f"{path} must end in .npz")
    parts = {f"{part}.{name}": column for part in PARTS for name, column in getattr(scene, part).items()}
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            allow_pickle=False,
            contract_version=CONTRACT_VERSION,
            name=scene.name,
            box_start=scene.box_start,
            sweep_start=scene.sweep_start,
            **parts,
        )


def read_infos(path: Path) -> VadScene:
    """Read what ``write_infos`` wrote; raises ``ValueError`` for a file of another version or kind."""
    with np.load(path, allow_pickle=False) as stored:
        if "contract_version" not in stored or stored["contract_version"] != CONTRACT_VERSION:
            raise ValueError(f"{path} holds no infos of contract version {CONTRACT_VERSION}: write it again")
        columns: dict[str, Columns] = {part: {} for part in PARTS}
        for key in stored.files:
            if match := re.fullmatch(r"(\w+)\.(\w+)", key):
                columns[match[1]][match[2]] = stored[key]
        name, box_start, sweep_start = stored["name"].item(), stored["box_start"], stored["sweep_start"]
    return VadScene(name, **columns, box_start=box_start, sweep_start=sweep_start)

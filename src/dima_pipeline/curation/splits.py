"""Which scenes train and which hold out: nuScenes' official lists, own lists, and a gate against leaks between them."""

from collections.abc import Sequence

import pandas as pd

from dima_pipeline.datasets import _nuscenes_can
from dima_pipeline.datasets._nuscenes_splits import official_splits


def assign_splits(names: Sequence[str], version: str, val_scenes: Sequence[str] = ()) -> dict[str, str]:
    """Scene name -> split: ``val`` where ``val_scenes`` lists it, else its official split, else ``train``.

    The official split follows the version name: mini_train and mini_val for ``*mini``, all of test for ``*test``,
    train and val for ``*trainval``; other versions have none.
    """
    official = _official_split_of(version)
    return {name: "val" if name in val_scenes else official.get(name, "train") for name in names}


def _official_split_of(version: str) -> dict[str, str]:
    lists = official_splits()
    if version.endswith("mini"):
        return {**dict.fromkeys(lists["mini_train"], "train"), **dict.fromkeys(lists["mini_val"], "val")}
    if version.endswith("trainval"):
        return {**dict.fromkeys(lists["train"], "train"), **dict.fromkeys(lists["val"], "val")}
    if version.endswith("test"):
        return dict.fromkeys(lists["test"], "test")
    return {}


def is_official(version: str) -> bool:
    """Whether a version is one of nuScenes' own, whose splits are given and cannot be mended here."""
    return version in ("v1.0-mini", "v1.0-trainval", "v1.0-test")


def synthetic_scene_names() -> tuple[list[str], list[str]]:
    """Official train and val scene names that a generated root may use, in official order.

    Left out are the scenes that the devkit's CAN bus reader refuses or warns about, so that every generated scene has
    CAN bus and route.
    """
    unusable = _nuscenes_can.NO_CAN | _nuscenes_can.OFF_ROUTE
    lists = official_splits()
    train, val = (
        [name for name in lists[split] if _nuscenes_can.scene_number(name) not in unusable]
        for split in ("train", "val")
    )
    return train, val


def shared_logs(scenes: pd.DataFrame) -> list[str]:
    """Logs (table ``scenes``) with scenes in more than one split, sorted."""
    counts = scenes.groupby("log_token")["split"].nunique()
    return sorted(counts.index[counts > 1])


def check_leakage(scenes: pd.DataFrame, version: str) -> list[str]:
    """Refuse a split that shares a scene or, in a version of our own, a log between train and held-out scenes.

    Returns the shared logs of official versions, for the report. Raises ``ValueError`` that names scenes and log.
    """
    repeated = scenes[["scene_token", "name"]].apply(lambda column: column.duplicated(keep=False)).any(axis=1)
    if repeated.any():
        names = sorted(scenes.loc[repeated, "name"].unique())
        raise ValueError(f"scenes {', '.join(names)} stand in the table more than once: one scene, one split")
    logs = shared_logs(scenes)
    if logs and not is_official(version):
        rows = scenes[scenes["log_token"] == logs[0]]
        members = ", ".join(f"{row.name_} ({row.split})" for row in rows.rename(columns={"name": "name_"}).itertuples())
        raise ValueError(
            f"log {logs[0]} is in more than one split: {members}; consecutive scenes of one drive look alike, so move "
            f"them into one split with val_scenes ({len(logs)} such logs)"
        )
    return logs

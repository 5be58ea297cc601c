"""Which scenes train and which hold out: nuScenes' official lists, own lists, and a gate against leaks between them.

Own lists stand in a file like the devkit's ``splits.json``: a list of scene names for each split. Frames of different
splits that look the same are ``near_duplicates``' matter, places in common ``geography``'s.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from dima_pipeline.contracts.frames import SPLITS
from dima_pipeline.curation.config import IngestionConfig
from dima_pipeline.datasets import _nuscenes_can
from dima_pipeline.datasets._nuscenes_splits import official_splits
from dima_pipeline.plugins import unknown


def configured_splits(config: IngestionConfig, names: Sequence[str], recorded: Sequence[str]) -> dict[str, str]:
    """Scene name -> split of the scenes ``names`` that are ingested, of all that are ``recorded``.

    From ``splits_file`` where there is one, else by ``assign_splits``. Raises ``ValueError`` for a wrong file and for
    a scene to ingest that no list of it names.
    """
    if config.splits_file is None:
        return assign_splits(names, getattr(config.dataset, "version", ""), config.val_scenes)
    own = read_splits(Path(config.splits_file), recorded)
    unlisted = [name for name in names if name not in own]
    if unlisted:
        raise ValueError(
            f"no list of {config.splits_file} names scene {unlisted[0]} ({len(unlisted)} such scenes): add them, or "
            "name the scenes to ingest with scenes"
        )
    return {name: own[name] for name in names}


def split_version(config: IngestionConfig) -> str:
    """The version of the data set whose own lists decide; empty where the user's do, who can then mend them."""
    return "" if config.val_scenes or config.splits_file else getattr(config.dataset, "version", "")


def read_splits(path: Path, recorded: Sequence[str]) -> dict[str, str]:
    """Scene name -> split from a JSON or YAML file ``{train: [...], val: [...], test: [...]}`` of scene names.

    A list may be left out. Raises ``ValueError`` that names the file for one that is missing or has another form, and
    for a split, or a scene that is not ``recorded``, or is listed twice.
    """
    lists = _named_lists(path)
    splits: dict[str, str] = {}
    for split, names in lists.items():
        for name in names:
            if name in splits:
                raise ValueError(
                    f"{path} lists scene {name} twice, in {splits[name]} and in {split}: one scene, one split"
                )
            splits[name] = split
    known = set(recorded)
    strange = [name for name in splits if name not in known]
    if strange:
        raise ValueError(_not_recorded(path, strange, splits, recorded))
    return splits


def _named_lists(path: Path) -> Mapping[str, list[str]]:
    form = f"{path} must hold lists of scene names, {{train: [...], val: [...], test: [...]}}"
    lists: dict[str, list[str]] = {}
    for split, names in _read_pairs(path, form):
        if split not in SPLITS:
            raise ValueError(unknown("split", str(split), list(SPLITS), where=str(path)))
        if split in lists:
            raise ValueError(f"{path} has two lists '{split}': join them")
        if type(names) is not list:
            raise ValueError(f"{form}, but {split} is {names!r}")
        for name in names:
            if not isinstance(name, str):
                raise ValueError(f"{form}, but {split} holds {name!r}: put a name that looks like a number in quotes")
        lists[split] = names
    if not any(lists.values()):
        raise ValueError(f"{form}, but names no scene")
    return lists


class _Pairs(list[tuple[Any, Any]]):
    """A mapping as it was written, so that a key that stands there twice is seen."""


def _read_pairs(path: Path, form: str) -> _Pairs:
    """Keys and values of the outermost mapping of a JSON or YAML file."""
    if not path.is_file():
        raise ValueError(f"splits_file {path} is not there; a relative path counts from the project folder")
    try:
        text = path.read_text(encoding="utf-8")
        pairs = json.loads(text, object_pairs_hook=_Pairs) if path.suffix == ".json" else _yaml_pairs(text)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{form}, but cannot be read: {error}") from error
    if not isinstance(pairs, _Pairs):
        raise ValueError(f"{form}, but holds {pairs!r:.40}")
    return pairs


def _yaml_pairs(text: str) -> object:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            return None if node is None else loader.construct_document(node)
        return _Pairs(
            (loader.construct_object(key), loader.construct_object(value, deep=True)) for key, value in node.value
        )
    finally:
        loader.dispose()


def _not_recorded(path: Path, strange: Sequence[str], splits: Mapping[str, str], recorded: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(strange[0], recorded, n=1)
    hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
    return (
        f"{path} lists scene '{strange[0]}' in {splits[strange[0]]}, which is not among the {len(recorded):,} recorded "
        f"scenes{hint} ({len(strange)} such scenes)"
    )


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


def synthetic_scene_names() -> dict[str, list[str]]:
    """Official scene names by split that a generated root may use, in official order.

    Left out are the scenes that the devkit's CAN bus reader refuses or warns about, so that every generated scene has
    CAN bus and route.
    """
    unusable = _nuscenes_can.NO_CAN | _nuscenes_can.OFF_ROUTE
    lists = official_splits()
    return {
        split: [name for name in lists[split] if _nuscenes_can.scene_number(name) not in unusable]
        for split in ("train", "val", "test")
    }


def shared_logs(scenes: pd.DataFrame) -> list[str]:
    """Logs (table ``scenes``) with scenes in more than one split, sorted."""
    counts = scenes.groupby("log_token")["split"].nunique()
    return sorted(counts.index[counts > 1])


def check_leakage(scenes: pd.DataFrame, version: str) -> list[str]:
    """Refuse a split that shares a scene or, in a version of our own, a log between train and held-out scenes.

    ``version`` is empty where the user chose the splits (``split_version``). Returns the shared logs of official
    versions, for the report. Raises ``ValueError`` that names scenes and log.
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

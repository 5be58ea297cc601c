"""From tables and image shards to ``TrainingBatch``: targets of all keyframes become arrays once, images are read when
a batch is drawn. Every lookup is vectorised, since it runs again in each worker."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from dima_pipeline.contracts.batch import SceneEdits, SceneTargets, SceneWindow, TrainingBatch, VqaPair
from dima_pipeline.contracts.frames import (
    AGENT_CATEGORIES,
    MAP_KINDS,
    NUM_FUTURE_STEPS,
    NUM_POLYLINE_POINTS,
    PERCEPTION_RANGE_M,
)
from dima_pipeline.storage.manifest import digest
from dima_pipeline.storage.scene_reader import SceneReader
from dima_pipeline.training.augmentation import Augmentation

DEVELOPMENT = "development"
"""The split of the train scenes that configurations are compared on."""
EDIT_KINDS = {"add": 1, "delete": 2}
BOX_COLUMNS = ["x_m", "y_m", "yaw_rad", "length_m", "width_m", "vx_mps", "vy_mps"]


@dataclass(frozen=True, kw_only=True)
class TrainingTables:
    """The tables that training reads; columns as in ``contracts.tables``."""

    scenes: pd.DataFrame
    samples: pd.DataFrame
    agents: pd.DataFrame
    ego_paths: pd.DataFrame
    agent_futures: pd.DataFrame
    map_elements: pd.DataFrame
    vqa_pairs: pd.DataFrame
    scene_edits: pd.DataFrame

    def write(self, directory: Path) -> None:
        """One parquet file a table."""
        directory.mkdir(parents=True, exist_ok=True)
        for field in fields(self):
            getattr(self, field.name).to_parquet(directory / f"{field.name}.parquet", index=False)

    @classmethod
    def read(cls, directory: Path) -> "TrainingTables":
        """What ``write`` wrote."""
        return cls(**{field.name: pd.read_parquet(directory / f"{field.name}.parquet") for field in fields(cls)})

    def hold_out(self, num_scenes: int) -> "TrainingTables":
        """These tables with ``num_scenes`` train scenes moved to the split ``development``.

        The digests of their tokens choose them: no property of a scene does. Raises ``ValueError`` where no scene would
        be left to train on.
        """
        tokens = self.scenes.loc[self.scenes["split"] == "train", "scene_token"].tolist()
        if num_scenes >= len(tokens) and num_scenes > 0:
            raise ValueError(
                f"distillation.num_development_scenes is {num_scenes}, but there are {len(tokens)} train scenes: "
                "at least one must be left to train on"
            )
        chosen = sorted(tokens, key=lambda token: hashlib.sha256(token.encode()).digest())[:num_scenes]
        split = self.scenes["split"].mask(self.scenes["scene_token"].isin(chosen), DEVELOPMENT)
        return replace(self, scenes=self.scenes.assign(split=split))


def tables_digest(directory: Path) -> dict[str, str]:
    """Digest of every table file in ``directory`` by name."""
    return {path.stem: digest(path) for path in sorted(directory.glob("*.parquet"))}


class WindowDataset:
    """All keyframes of one split, as windows.

    ``num_past`` and ``num_future`` count the keyframes around the present one; ``num_agents`` and ``num_map`` are the
    capacities of the targets (nearest first). Raises ``ValueError`` for a split without keyframes.
    """

    def __init__(
        self,
        tables: TrainingTables,
        reader: SceneReader,
        split: str,
        *,
        num_past: int = 1,
        num_future: int = 2,
        num_agents: int = 24,
        num_map: int = 16,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.sample_tokens = split_tokens(tables, split)
        self._reader = reader
        self._all_tokens = tables.samples["sample_token"].tolist()
        rows = pd.Index(self._all_tokens).get_indexer(pd.Index(self.sample_tokens))
        self._past = _neighbours(tables.samples, "prev", num_past)[rows][:, ::-1]
        self._future = _neighbours(tables.samples, "next", num_future)[rows]
        self._rows = rows
        tokens = pd.Index(self.sample_tokens)
        self._targets = build_targets(tables, tokens, num_agents=num_agents, num_map=num_map)
        self._pairs = _pairs(tables.vqa_pairs, tokens)
        self._edits = _EditTable(tables.scene_edits, tokens)
        self._augmentation = augmentation

    def __len__(self) -> int:
        return len(self.sample_tokens)

    def batch(self, indices: Int[np.ndarray, "B"], epochs: Int[np.ndarray, "B"] | None = None) -> TrainingBatch:
        """The samples ``indices`` as numpy arrays, several threads at a time if need be.

        Of several edits of a keyframe, epoch e shows the e-th in turn; augmentation differs by epoch too.
        """
        epochs = np.zeros(len(indices), np.int64) if epochs is None else epochs
        edits, edit_pairs = self._edits.take(indices, epochs)
        sample_tokens = tuple(self.sample_tokens[index] for index in indices)
        window = self._window(indices)
        if self._augmentation is not None:
            window = self._augmentation.window(window, sample_tokens, epochs)
        return TrainingBatch(
            sample_tokens=sample_tokens,
            window=window,
            targets=SceneTargets(**{f.name: getattr(self._targets, f.name)[indices] for f in fields(SceneTargets)}),
            edits=edits,
            pairs=tuple(self._pairs[index] for index in indices),
            edit_pairs=edit_pairs,
        )

    def _window(self, indices: Int[np.ndarray, "B"]) -> SceneWindow:
        """Missing frames repeat the nearest one that exists, which is the present one at the ends of a scene."""
        present = self._rows[indices]
        past, future = self._past[indices], self._future[indices]
        past_rows = _repeat_nearest(past[:, ::-1], present)[:, ::-1]
        future_rows = _repeat_nearest(future, present)
        read = self._reader.batch
        return SceneWindow(
            past=tuple(read([self._all_tokens[row] for row in column]) for column in past_rows.T),
            past_valid=past >= 0,
            current=read([self._all_tokens[row] for row in present]),
            future=tuple(read([self._all_tokens[row] for row in column]) for column in future_rows.T),
            future_valid=future >= 0,
        )


def split_tokens(tables: TrainingTables, split: str) -> list[str]:
    """Keyframes of the scenes of ``split``, in the order of the samples table."""
    scenes = tables.scenes.loc[tables.scenes["split"] == split, "scene_token"]
    tokens = tables.samples.loc[tables.samples["scene_token"].isin(set(scenes)), "sample_token"].tolist()
    if not tokens:
        known = sorted(set(tables.scenes["split"]))
        raise ValueError(f"no keyframe belongs to split '{split}'; the scenes table has {known}")
    return tokens


def _neighbours(samples: pd.DataFrame, link: str, count: int) -> Int[np.ndarray, "S N"]:
    """Rows of the keyframes reached by following ``link`` 1 ... ``count`` times, -1 beyond the ends of the scene."""
    index = pd.Index(samples["sample_token"])
    one_step = np.append(index.get_indexer(pd.Index(samples[link])), -1)  # the last entry keeps -1 at -1
    steps = [one_step[:-1]]
    for _ in range(count - 1):
        steps.append(one_step[steps[-1]])
    return np.stack(steps[:count], 1) if count else np.zeros((len(samples), 0), np.int64)


def _repeat_nearest(rows: Int[np.ndarray, "B N"], present: Int[np.ndarray, "B"]) -> Int[np.ndarray, "B N"]:
    """``rows`` (nearest first) with every -1 replaced by the frame before it, at first by the present one."""
    filled = rows.copy()
    for step in range(rows.shape[1]):
        before = filled[:, step - 1] if step else present
        filled[:, step] = np.where(rows[:, step] >= 0, rows[:, step], before)
    return filled


def build_targets(tables: TrainingTables, tokens: pd.Index, *, num_agents: int, num_map: int) -> SceneTargets:
    """Targets of all keyframes ``tokens``; B is their number."""
    return SceneTargets(
        **_ego_targets(tables.ego_paths, tokens),
        **_agent_targets(tables.agents, tables.agent_futures, tokens, num_agents),
        **_map_targets(tables.map_elements, tokens, num_map),
    )


def _ego_targets(ego_paths: pd.DataFrame, tokens: pd.Index) -> dict[str, np.ndarray]:
    rows = tokens.get_indexer(pd.Index(ego_paths["sample_token"]))
    step = ego_paths["step"].to_numpy(np.int64)
    keep = (rows >= 0) & (step >= 1) & ego_paths["valid"].to_numpy(bool)
    future = np.zeros((len(tokens), NUM_FUTURE_STEPS, 3), np.float32)
    valid = np.zeros(future.shape[:2], bool)
    at = (rows[keep], step[keep] - 1)
    future[at] = ego_paths[["x_m", "y_m", "yaw_rad"]].to_numpy(np.float32)[keep]
    valid[at] = True
    return {"ego_future": future, "ego_future_valid": valid}


def _agent_targets(
    agents: pd.DataFrame, futures: pd.DataFrame, tokens: pd.Index, num_agents: int
) -> dict[str, np.ndarray]:
    rows = tokens.get_indexer(pd.Index(agents["sample_token"]))
    x, y = agents["x_m"].to_numpy(float), agents["y_m"].to_numpy(float)
    x_min, y_min, x_max, y_max = PERCEPTION_RANGE_M
    inside = (x >= x_min) & (x <= x_max) & (y >= y_min) & (y <= y_max)
    slots = nearest_slots(rows, np.hypot(x, y), (rows >= 0) & inside, num_agents)
    keep = slots >= 0
    at = (rows[keep], slots[keep])
    # A box annotated once has no velocity and no future either; zero is what a standing agent would have.
    box = agents[BOX_COLUMNS].to_numpy(float)[keep]
    shape = (len(tokens), num_agents)
    targets: dict[str, np.ndarray] = {
        "agent_box": np.zeros((*shape, 7), np.float32),
        "agent_category": np.zeros(shape, np.int64),
        "agent_valid": np.zeros(shape, bool),
    }
    targets["agent_box"][at] = np.nan_to_num(box)
    targets["agent_category"][at] = agents["category"].map(AGENT_CATEGORIES.index).to_numpy(np.int64)[keep]
    targets["agent_valid"][at] = True
    kept = agents.loc[keep, ["sample_token", "instance_token"]].assign(row=at[0], slot=at[1])
    return {**targets, **_agent_futures(futures, kept, shape)}


def _agent_futures(futures: pd.DataFrame, kept: pd.DataFrame, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    future = np.zeros((*shape, NUM_FUTURE_STEPS, 2), np.float32)
    valid = np.zeros(future.shape[:3], bool)
    joined = futures[futures["valid"].to_numpy(bool)].merge(kept, on=["sample_token", "instance_token"])
    row, slot, step = (joined[name].to_numpy(np.int64) for name in ("row", "slot", "step"))
    future[row, slot, step - 1] = joined[["x_m", "y_m"]].to_numpy(np.float32)
    valid[row, slot, step - 1] = True
    return {"agent_future": future, "agent_future_valid": valid}


def _map_targets(elements: pd.DataFrame, tokens: pd.Index, num_map: int) -> dict[str, np.ndarray]:
    rows = tokens.get_indexer(pd.Index(elements["sample_token"]))
    points = _stack_lists(elements["points"], (NUM_POLYLINE_POINTS, 2))
    slots = nearest_slots(rows, np.linalg.norm(points, axis=-1).min(-1), rows >= 0, num_map)
    keep = slots >= 0
    at = (rows[keep], slots[keep])
    shape = (len(tokens), num_map)
    map_points = np.zeros((*shape, NUM_POLYLINE_POINTS, 2), np.float32)
    map_kind, map_valid = np.zeros(shape, np.int64), np.zeros(shape, bool)
    map_points[at] = points[keep]
    map_kind[at] = elements["kind"].map(MAP_KINDS.index).to_numpy(np.int64)[keep]
    map_valid[at] = True
    return {"map_points": map_points, "map_kind": map_kind, "map_valid": map_valid}


def nearest_slots(
    rows: Int[np.ndarray, "N"], distance: np.ndarray, wanted: Bool[np.ndarray, "N"], capacity: int
) -> Int[np.ndarray, "N"]:
    """Position of each entry among the wanted ones of its row by distance; -1 beyond ``capacity`` or unwanted."""
    slots = np.full(len(rows), -1, np.int64)
    chosen = np.flatnonzero(wanted)
    chosen = chosen[np.lexsort((distance[chosen], rows[chosen]))]
    rank = pd.Series(rows[chosen]).groupby(rows[chosen]).cumcount().to_numpy() if len(chosen) else chosen
    slots[chosen] = np.where(rank < capacity, rank, -1)
    return slots


def _stack_lists(column: pd.Series, shape: tuple[int, ...]) -> np.ndarray:
    """A column of flat lists as one array (N, *shape)."""
    flat = [np.asarray(values, float) for values in column]
    return np.stack(flat).reshape(-1, *shape) if flat else np.zeros((0, *shape))


def _pairs(vqa_pairs: pd.DataFrame, tokens: pd.Index) -> list[tuple[VqaPair, ...]]:
    """Pairs of every keyframe; those that failed their check are left out."""
    found: list[list[VqaPair]] = [[] for _ in tokens]
    good = vqa_pairs[vqa_pairs["check"] != "failed"]
    rows = tokens.get_indexer(pd.Index(good["sample_token"]))
    columns = ("sample_token", "category", "question", "answer", "objects", "source")
    for row, *values in zip(rows, *(good[name] for name in columns), strict=True):
        if row >= 0:
            token, category, question, answer, objects, source = values
            found[row].append(VqaPair(token, category, question, answer, tuple(objects), source))
    return [tuple(pairs) for pairs in found]


class _EditTable:
    """Scene edits grouped by keyframe."""

    def __init__(self, scene_edits: pd.DataFrame, tokens: pd.Index) -> None:
        self._kind = scene_edits["kind"].map(EDIT_KINDS).to_numpy(np.int64)
        self._category = scene_edits["category"].map(AGENT_CATEGORIES.index).to_numpy(np.int64)
        self._box = scene_edits[BOX_COLUMNS].to_numpy(np.float32)
        self._future = _stack_lists(scene_edits["future"], (NUM_FUTURE_STEPS, 2)).astype(np.float32)
        self._path_valid = _stack_lists(scene_edits["path_valid"], (NUM_FUTURE_STEPS,)).astype(bool)
        path = _stack_lists(scene_edits["path"], (NUM_FUTURE_STEPS, 2))
        self._path = np.where(self._path_valid[..., None], path, 0).astype(np.float32)
        self._pairs = list(_edit_pairs(scene_edits))
        self._rows_of: list[list[int]] = [[] for _ in tokens]
        for edit, row in enumerate(tokens.get_indexer(pd.Index(scene_edits["sample_token"]))):
            if row >= 0:
                self._rows_of[row].append(edit)

    def take(
        self, indices: Sequence[int] | np.ndarray, epochs: np.ndarray
    ) -> tuple[SceneEdits, tuple[tuple[VqaPair, ...], ...]]:
        """One edit a sample (kind 0 where there is none), and its question."""
        chosen = [
            options[int(epoch) % len(options)] if (options := self._rows_of[index]) else -1
            for index, epoch in zip(indices, epochs, strict=True)
        ]
        rows = np.array(chosen, np.int64)
        edits = SceneEdits(
            kind=_pick(self._kind, rows),
            box=_pick(self._box, rows),
            category=_pick(self._category, rows),
            future=_pick(self._future, rows),
            path=_pick(self._path, rows),
            path_valid=_pick(self._path_valid, rows),
        )
        return edits, tuple((self._pairs[row],) if row >= 0 else () for row in chosen)


def _pick(values: np.ndarray, rows: Int[np.ndarray, "B"]) -> np.ndarray:
    """``values[rows]``, zero where a row is -1."""
    picked = np.zeros((len(rows), *values.shape[1:]), values.dtype)
    picked[rows >= 0] = values[rows[rows >= 0]]
    return picked


def _edit_pairs(scene_edits: pd.DataFrame) -> Iterable[VqaPair]:
    names = ("sample_token", "instance_token", "question", "answer")
    for token, instance, question, answer in zip(*(scene_edits[name] for name in names), strict=True):
        yield VqaPair(token, "planning", question, answer, (instance,), "scene_edits")

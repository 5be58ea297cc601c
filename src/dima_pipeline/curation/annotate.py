"""Annotation: tables in, question-answer pairs, scene edits and slice members out.

Scene by scene, with a random generator seeded by the scene's token: the same rows come out whether the scenes are
annotated together, one by one or on many machines.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dima_pipeline.annotations import ANNOTATORS, Annotator
from dima_pipeline.contracts.batch import VqaPair
from dima_pipeline.contracts.tables import SceneEditRows, SliceMembers, VqaPairs, WorldTruth
from dima_pipeline.curation.annotation_config import AnnotationConfig
from dima_pipeline.curation.grounding import Verdict, check_pairs
from dima_pipeline.curation.grounding.rates import grounding_rates
from dima_pipeline.curation.review import apply_decisions, read_decisions
from dima_pipeline.curation.scene_edits import scene_edit_rows
from dima_pipeline.datasets import SceneTables
from dima_pipeline.slices import SLICES
from dima_pipeline.storage.keyframes import keyframes


@dataclass(frozen=True)
class TruthfulScene(SceneTables):
    """The tables of one scene and, where a simulator knows it, what truly happened (``contracts.tables.WorldTruth``).

    For annotators and checks alone: slices, planners and ingestion get ``SceneTables``, which have no such field.
    """

    world_truth: pd.DataFrame
    """Empty for recordings."""


def annotate(
    config: AnnotationConfig, tables: SceneTables, world_truth: pd.DataFrame | None = None
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """``vqa_pairs``, ``scene_edits``, ``slice_members``, ``grounding_rates`` of ``tables``, valid under the contracts.

    ``world_truth``: of generated scenes; rows of other scenes are passed over. Raises ``ValueError`` naming the table
    and the sample_token where rows belong to no keyframe.
    """
    pairs: list[pd.DataFrame] = []
    edits: list[dict[str, Any]] = []
    annotators = [ANNOTATORS.build(spec) for spec in config.annotators]
    for scene in truthful_scenes(tables, world_truth):
        pairs.append(scene_pairs(annotators, scene, config.seed))
        rng = _generator(config.seed, "edits", _scene_token(scene))
        edits.extend(scene_edit_rows(config.edits, list(keyframes(scene)), rng))
    checked = pd.concat(pairs, ignore_index=True) if pairs else _no_pairs()
    scene_edits = pd.DataFrame(edits) if edits else _empty(SceneEditRows)
    return (
        VqaPairs.validate(_decided(config, checked.drop(columns="claim"))),
        SceneEditRows.validate(scene_edits),
        slice_members(config, tables),
        grounding_rates(checked),
    )


def truthful_scenes(tables: SceneTables, world_truth: pd.DataFrame | None = None) -> Iterator[TruthfulScene]:
    """The tables of each scene, in the order of ``scenes``, with its rows of ``world_truth``."""
    truth = WorldTruth.validate(_empty(WorldTruth) if world_truth is None else world_truth)
    of_scene = dict(iter(truth.groupby("scene_token", sort=False)))
    for scene in split_scenes(tables):
        parts = {field.name: getattr(scene, field.name) for field in fields(SceneTables)}
        yield TruthfulScene(**parts, world_truth=of_scene.get(_scene_token(scene), truth.iloc[:0]))


def scene_pairs(annotators: Sequence[Annotator], scene: TruthfulScene, seed: int) -> pd.DataFrame:
    """The checked pairs of one scene from all ``annotators``: rows of ``VqaPairs`` with the ``claim`` checked.

    What is said twice is kept once.
    """
    found: dict[str, VqaPair] = {}
    for at, annotator in enumerate(annotators):
        rng = _generator(seed, f"annotator {at}", _scene_token(scene))
        for pair in annotator.pairs(scene, rng):
            found.setdefault(pair.pair_id, pair)
    verdicts = check_pairs(found.values(), scene)
    rows = [_pair_row(key, pair, verdict) for (key, pair), verdict in zip(found.items(), verdicts, strict=True)]
    return pd.DataFrame(rows) if rows else _no_pairs()


def _pair_row(pair_id: str, pair: VqaPair, verdict: Verdict) -> dict[str, Any]:
    found = {"check": verdict.check, "reason": verdict.reason or pair.reason, "claim": verdict.claim}
    return {"pair_id": pair_id, **asdict(pair), "objects": list(pair.objects), **found}


def _no_pairs() -> pd.DataFrame:
    return _empty(VqaPairs).assign(claim=pd.Series(dtype=object))


def _decided(config: AnnotationConfig, vqa_pairs: pd.DataFrame) -> pd.DataFrame:
    """The pairs after what people decided about them, where there are decisions."""
    if config.decisions_file is None:
        return vqa_pairs
    return apply_decisions(vqa_pairs, read_decisions(Path(config.decisions_file)))


def slice_members(config: AnnotationConfig, tables: SceneTables) -> pd.DataFrame:
    """Members of every slice; consecutive member keyframes of a scene are one event.

    Raises ``ValueError`` where a slice does not answer for every keyframe.
    """
    samples = tables.samples.sort_values(["scene_token", "index"])
    parts = [_empty(SliceMembers)]
    for spec in config.slices:
        name = SLICES.dump(spec)["name"]
        is_member = SLICES.build(spec).members(tables).reindex(samples.sample_token)
        if is_member.isna().any():
            raise ValueError(f"slice '{name}' has no answer for sample_token '{is_member.index[is_member.isna()][0]}'")
        parts.append(_events(samples, is_member.to_numpy(bool), name))
    return SliceMembers.validate(pd.concat(parts, ignore_index=True))


def split_scenes(tables: SceneTables) -> Iterator[SceneTables]:
    """The tables of each scene, in the order of ``scenes``."""
    scene_of = tables.samples.set_index("sample_token").scene_token
    names = [field.name for field in fields(SceneTables)]
    groups = {}
    for name in names:
        table = getattr(tables, name)
        key = table.scene_token if "scene_token" in table else table.sample_token.map(scene_of)
        if key.isna().any():
            raise ValueError(f"{name}: sample_token '{table.sample_token[key.isna()].iloc[0]}' is not in samples")
        groups[name] = (table, table.groupby(key.to_numpy(object), sort=False).indices)
    for token in tables.scenes.scene_token:
        none = np.array([], int)
        yield SceneTables(**{name: table.take(rows.get(token, none)) for name, (table, rows) in groups.items()})


def _events(samples: pd.DataFrame, is_member: np.ndarray, name: str) -> pd.DataFrame:
    scene = samples.scene_token.to_numpy(object)
    begins = is_member & ~np.concatenate([[False], is_member[:-1] & (scene[1:] == scene[:-1])])
    first = np.maximum.accumulate(np.where(begins, np.arange(len(samples)), 0))
    token = samples.sample_token.to_numpy(object)
    event = [f"{name}-{token[row]}" for row in first[is_member]]
    return pd.DataFrame({"sample_token": token[is_member], "slice": name, "event_id": event}, dtype=object)


def _generator(seed: int, purpose: str, scene_token: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed} {purpose} {scene_token}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def _scene_token(scene: SceneTables) -> str:
    return str(scene.scenes.scene_token.iloc[0])


def _empty(table: type) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=object) for name in table.to_schema().columns})  # type: ignore[attr-defined]

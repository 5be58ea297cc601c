"""Pairs back into DriveLM's form.

``vqa_pairs`` holds the language; what it has no column for (C, con_up, cluster, unknown keys, empty answers, the order)
stays in the file that the pairs came from and is joined again by ``pair_id``. So nothing is kept twice, and a question
that a reviewer rejected or fixed is so in the export, too.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from dima_pipeline.annotations._drivelm_file import TOO_DEEP, Fault, Path_, frames_of, open_file
from dima_pipeline.annotations._drivelm_pairs import SOURCE, FaultCount, pair_of, records_of
from dima_pipeline.annotations._drivelm_tags import Boxes, boxes_of
from dima_pipeline.contracts.frames import VQA_CATEGORIES
from dima_pipeline.curation.drivelm_objects import Said, frame_objects

IMAGE_CAMERAS = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")
"""In DriveLM's order."""
IMAGE_ROOT = "../nuscenes/"
PLACEHOLDERS = {"C": None, "con_up": None, "con_down": None, "cluster": None, "layer": None}
"""Null in all of DriveLM-nuScenes."""


class Row(NamedTuple):
    """A row of ``vqa_pairs``, as far as a file has it."""

    pair_id: str
    category: str
    question: str
    answer: str
    objects: tuple[str, ...]
    source: str


@dataclass
class Written:
    """What an export holds."""

    num_scenes: int = 0
    num_frames: int = 0
    num_pairs: int = 0
    """From ``vqa_pairs``; frames that our tables do not know are written as they were, and not counted here."""
    num_left_out: int = 0
    """Pairs of the original that ``vqa_pairs`` no longer has: rejected, or fixed and so another pair."""
    faults: FaultCount = field(default_factory=FaultCount)


@dataclass(frozen=True, eq=False)
class Fleet:
    """The tables of a data set, and its pairs, by keyframe."""

    scenes: Mapping[str, str]
    """Description by token."""
    samples: Mapping[str, Any]
    """Rows of ``samples`` by token, in the order of scenes and time."""
    agents: pd.DataFrame
    rows_of: Mapping[str, Any]
    """Places in ``agents`` by sample token."""
    pairs: Mapping[str, list[Row]]

    def agents_of(self, sample_token: str) -> pd.DataFrame:
        """The rows of ``agents`` of a keyframe."""
        rows = self.rows_of.get(sample_token)
        return self.agents.iloc[:0] if rows is None else self.agents.take(rows)

    def boxes(self, sample_token: str) -> Boxes:
        """The boxes of a keyframe."""
        return boxes_of(self.samples[sample_token], self.agents_of(sample_token))


def fleet_of(tables: Any, vqa_pairs: pd.DataFrame) -> Fleet:
    """``tables``: scenes, samples and agents as of ``datasets.SceneTables``. Answers that a check refuted are left out,
    but for DriveLM's own. Raises ``ValueError`` for pairs of other recordings."""
    order = pd.Index(tables.scenes.scene_token).get_indexer(pd.Index(tables.samples.scene_token))
    samples = tables.samples.assign(_scene=order).sort_values(["_scene", "index"], kind="stable").drop(columns="_scene")
    unknown = vqa_pairs.sample_token[~vqa_pairs.sample_token.isin(samples.sample_token)]
    if len(unknown):
        raise ValueError(f"vqa_pairs: sample_token '{unknown.iloc[0]}' is not in samples: they are of other recordings")
    kept = vqa_pairs[(vqa_pairs.check != "failed") | (vqa_pairs.source == SOURCE)]
    pairs: dict[str, list[Row]] = {}
    for token, *values in kept[["sample_token", *Row._fields]].itertuples(index=False, name=None):
        row = Row(*values)
        pairs.setdefault(token, []).append(row._replace(objects=tuple(row.objects)))
    return Fleet(
        scenes=dict(zip(tables.scenes.scene_token, tables.scenes.description, strict=True)),
        samples={row.sample_token: row for row in samples.itertuples(index=False)},
        agents=tables.agents,
        rows_of=tables.agents.groupby("sample_token", sort=False).indices,
        pairs=pairs,
    )


def export(fleet: Fleet, original: Path | None, written: Written) -> Iterator[tuple[str, Any]]:
    """Scenes of DriveLM's form by token: those of ``original`` first, then keyframes that it does not have.

    ``written`` is filled on the way. Raises ``ValueError`` for an original that is no JSON, or that no pair is from.
    """
    file = None if original is None else open_file(original)
    if file is not None and not any(row.source == SOURCE for rows in fleet.pairs.values() for row in rows):
        raise ValueError(f"vqa_pairs hold no pair of source '{SOURCE}': they were not annotated with {original}")
    new: dict[str, list[str]] = {}
    for token, sample in fleet.samples.items():
        if token in fleet.pairs and (file is None or token not in file.scenes_of):
            new.setdefault(sample.scene_token, []).append(token)
    for fault in file.twice() if file is not None else ():
        written.faults.tell(fault)
    for scene_token, content in file.all_scenes() if file is not None else ():
        yield scene_token, _merged_scene(fleet, scene_token, content, new.pop(scene_token, []), written)
    for scene_token, tokens in new.items():
        frames = {token: _our_frame(fleet, token, written) for token in tokens}
        written.num_scenes += 1
        yield scene_token, {"scene_description": fleet.scenes[scene_token], "key_frames": frames}


def scene_text(scene_token: str, content: Any, written: Written) -> str | None:
    """A scene as a member of a JSON object; numbers that JSON does not have become null, too deep ones are told."""
    try:
        try:
            text = json.dumps(content, allow_nan=False)
        except ValueError:
            text = json.dumps(_finite(content), allow_nan=False)
    except RecursionError:
        written.faults.tell(Fault(TOO_DEEP, (scene_token,), "the scene is left out"))
        return None
    return f"{json.dumps(scene_token)}: {text}"


def _merged_scene(fleet: Fleet, scene_token: str, content: Any, new: list[str], written: Written) -> Any:
    """A scene of the original with what ``vqa_pairs`` says of it, and with keyframes that only we have."""
    usable = dict(frames_of(scene_token, content, written.faults.tell))
    written.num_scenes += 1
    if not isinstance(content, dict) or not isinstance(content.get("key_frames") or {}, dict):
        return content
    frames: dict[str, Any] = {}
    for token, frame in (content.get("key_frames") or {}).items():
        if token in usable:
            frames[token] = _merged_frame(fleet, scene_token, token, frame, written)
        elif not isinstance(frame, dict):
            frames[token] = frame  # told, and as it was
    written.num_frames += len(frames)
    frames |= {token: _our_frame(fleet, token, written) for token in new}
    return content | {"key_frames": frames} if frames or content.get("key_frames") is not None else content


def _merged_frame(fleet: Fleet, scene_token: str, sample_token: str, frame: dict[str, Any], written: Written) -> Any:
    if sample_token not in fleet.samples:
        return frame
    path = (scene_token, "key_frames", sample_token)
    rows = {row.pair_id: row for row in fleet.pairs.get(sample_token, [])}
    kept: dict[Path_, list[Any]] = {}
    used: set[str] = set()
    for place, record in records_of(frame, path, written.faults.tell):
        pair = pair_of(sample_token, place, record)
        records = kept.setdefault(place[:-1], [])
        if isinstance(pair, Fault):
            records.append(record)
        elif pair.pair_id in rows:
            row = rows[pair.pair_id]
            records.append(record | {"Q": row.question, "A": row.answer})
            used.add(pair.pair_id)
            written.num_pairs += 1
        else:
            written.num_left_out += 1
    if kept:
        frame = frame | {"QA": frame["QA"] | {str(place[-1]): records for place, records in kept.items()}}
    others = [row for row in rows.values() if row.pair_id not in used]
    return _with_ours(fleet, path, frame, others, written) if others else frame


def _with_ours(fleet: Fleet, path: Path_, frame: dict[str, Any], rows: list[Row], written: Written) -> Any:
    """A frame of the original with pairs of other sources after its own."""
    ours = _frame_of(fleet, str(path[-1]), rows)
    questions, infos = frame.get("QA") or {}, frame.get("key_object_infos") or {}
    has_lists = isinstance(questions, dict) and all(
        isinstance(questions.get(name) or [], list) for name in VQA_CATEGORIES
    )
    if not has_lists or not isinstance(infos, dict):
        written.faults.tell(Fault("a frame that has no place for pairs of other sources", path))
        return frame
    written.num_pairs += len(rows)
    more = {name: [*(questions.get(name) or []), *ours["QA"][name]] for name in VQA_CATEGORIES}
    added = {tag: info for tag, info in ours["key_object_infos"].items() if tag not in infos}
    changed = {category: records for category, records in more.items() if records or category in questions}
    return frame | {"key_object_infos": infos | added, "QA": questions | changed}


def _our_frame(fleet: Fleet, sample_token: str, written: Written) -> dict[str, Any]:
    rows = fleet.pairs[sample_token]
    written.num_frames += 1
    written.num_pairs += len(rows)
    return _frame_of(fleet, sample_token, rows)


def _frame_of(fleet: Fleet, sample_token: str, rows: list[Row]) -> dict[str, Any]:
    """A frame of the documented form, from pairs and tables alone."""
    said = [Said((row.question, row.answer), row.objects) for row in rows]
    questions: dict[str, list[Any]] = {category: [] for category in VQA_CATEGORIES}
    for row in rows:
        questions[row.category].append({"Q": row.question, "A": row.answer, **PLACEHOLDERS})
    sample = fleet.samples[sample_token]
    return {
        "key_object_infos": frame_objects(fleet.boxes(sample_token), fleet.agents_of(sample_token), said),
        "QA": questions,
        "image_paths": {name: f"{IMAGE_ROOT}{getattr(sample, f'{name.lower()}_file')}" for name in IMAGE_CAMERAS},
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

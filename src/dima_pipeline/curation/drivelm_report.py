"""What of a DriveLM file can be used with a data set: frames, questions and tags, counted by what became of them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dima_pipeline.annotations._drivelm_file import Fault, frames_of, open_file
from dima_pipeline.annotations._drivelm_pairs import FaultCount, TagReader, pair_of, records_of
from dima_pipeline.annotations._drivelm_tags import boxes_of

UNKNOWN_SCENE = "a scene token that is not in the tables"
UNKNOWN_FRAME = "a sample token that is not in the tables"


@dataclass
class Usable:
    """Counts over a file."""

    num_scenes: int = 0
    num_frames: int = 0
    num_questions: int = 0
    num_pairs: int = 0
    """Questions that become pairs, in any frame."""
    num_joined_frames: int = 0
    """Frames that are keyframes of the tables."""
    num_joined_pairs: int = 0
    num_flagged_pairs: int = 0
    num_tags: int = 0
    """Different tags in the questions and answers of joined frames."""
    num_resolved: int = 0
    unresolved: FaultCount = field(default_factory=FaultCount)
    faults: FaultCount = field(default_factory=FaultCount)


def check_file(path: Path, scenes: Iterable[Any] | None) -> Usable:
    """Count what can be used; ``scenes``: tables of one or more scenes each (``datasets.SceneTables``), None for the
    form alone. Raises ``ValueError`` for a file that is no JSON."""
    found = Usable()
    file = open_file(path)
    for fault in file.twice():
        found.faults.tell(fault)
    known_scenes: set[str] = set()
    known_frames: set[str] = set()
    for tables in scenes or ():
        known_scenes |= set(tables.scenes.scene_token)
        known_frames |= set(tables.samples.sample_token)
        _join(file.scenes(set(tables.samples.sample_token)), tables, found)
    for scene_token, content in file.all_scenes():
        found.num_scenes += 1
        if scenes is not None and scene_token not in known_scenes:
            found.faults.tell(Fault(UNKNOWN_SCENE, (scene_token,)))
        for sample_token, frame in frames_of(scene_token, content, found.faults.tell):
            place = (scene_token, "key_frames", sample_token)
            found.num_frames += 1
            if scenes is not None and sample_token not in known_frames:
                found.faults.tell(Fault(UNKNOWN_FRAME, place))
            for where_, record in records_of(frame, place, found.faults.tell):
                found.num_questions += 1
                pair = pair_of(sample_token, where_, record)
                if isinstance(pair, Fault):
                    found.faults.tell(pair)
                else:
                    found.num_pairs += 1
    return found


def _join(scenes: Iterable[tuple[str, Any]], tables: Any, found: Usable) -> None:
    """Resolve the tags of the frames that are keyframes of ``tables``."""
    samples = {row.sample_token: row for row in tables.samples.itertuples(index=False)}
    rows_of = tables.agents.groupby("sample_token", sort=False).indices
    for scene_token, content in scenes:
        for sample_token, frame in frames_of(scene_token, content, _heard):
            if sample_token in samples:
                rows = rows_of.get(sample_token)
                agents = tables.agents.iloc[:0] if rows is None else tables.agents.take(rows)
                place = (scene_token, "key_frames", sample_token)
                reader = TagReader(boxes_of(samples[sample_token], agents), frame.get("key_object_infos"), place)
                found.num_joined_frames += 1
                _read_frame(reader, sample_token, frame, found)


def _read_frame(reader: TagReader, sample_token: str, frame: dict[str, Any], found: Usable) -> None:
    for where_, record in records_of(frame, reader.path, _heard):
        pair = pair_of(sample_token, where_, record)
        if not isinstance(pair, Fault):
            found.num_joined_pairs += 1
            found.num_flagged_pairs += reader.with_objects(pair).reason is not None
    found.num_tags += len(reader.meaning)
    for tag, (instance, why) in reader.meaning.items():
        found.num_resolved += instance is not None
        if instance is None:
            found.unresolved.tell(Fault(why, (*reader.path, tag)))


def _heard(fault: Fault) -> None:
    """Faults are told once, by the pass over the whole file."""

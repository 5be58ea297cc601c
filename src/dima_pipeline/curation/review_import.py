"""Decisions from Label Studio's export ("JSON", https://labelstud.io/guide/export): all of a file, or none of it.

Nothing in the file is trusted: a task must be one that ``review_tasks`` wrote for this environment, and what it says
must still have its ``pair_id``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from dima_pipeline.contracts.batch import VqaPair
from dima_pipeline.contracts.frames import VQA_CATEGORIES
from dima_pipeline.curation.review import COLUMNS, LABELS
from dima_pipeline.curation.review_tasks import FORMAT_KEY, PAIR_KEYS, TASK_FORMAT
from dima_pipeline.plugins import unknown

MAX_TEXT = 10_000
"""Characters of a correction or note: what people type is shorter."""
MAX_SHOWN = 60
MAX_PROBLEMS = 10
TEXTS = ("fixed_question", "fixed_answer", "note")


class _Result(msgspec.Struct):
    from_name: str = ""
    value: dict[str, Any] = {}


class _Annotation(msgspec.Struct):
    id: int | str | None = None
    result: list[_Result] = []
    completed_by: int | str | dict[str, Any] | None = None
    created_at: str | None = None
    updated_at: str | None = None
    was_cancelled: bool | None = False


class _Task(msgspec.Struct):
    data: dict[str, Any]
    annotations: list[_Annotation]
    id: int | str | None = None
    project: int | str | None = None


@dataclass(frozen=True)
class Export:
    """What a file of Label Studio holds."""

    decisions: pd.DataFrame
    """Columns as ``review.Decision``."""
    num_tasks: int
    num_open: int
    """Tasks without a decision."""
    num_skipped: int
    """Annotations that an annotator skipped."""


def read_export(path: Path, environment: str) -> Export:
    """The decisions in ``path``; raises ``ValueError`` naming file, task and key of (the first ten of) all faults."""
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    num_open = num_skipped = 0
    tasks = _tasks(path)
    for place, content in enumerate(tasks):
        try:
            task = _task(content, environment)
            done = [annotation for annotation in task.annotations if not annotation.was_cancelled]
            num_skipped += len(task.annotations) - len(done)
            num_open += not done
            rows.extend(_decision(task, annotation) for annotation in done)
        except ValueError as error:
            problems.append(f"{_name(content, place)}: {error}")
    if problems:
        more = f"\n  ... and {len(problems) - MAX_PROBLEMS} more" if len(problems) > MAX_PROBLEMS else ""
        listed = "".join(f"\n  {problem}" for problem in problems[:MAX_PROBLEMS])
        raise ValueError(
            f"{path}: nothing was imported, {len(problems)} of {len(tasks)} tasks are wrong:{listed}{more}"
        )
    return Export(pd.DataFrame(rows, columns=list(COLUMNS), dtype=object), len(tasks), num_open, num_skipped)


def _tasks(path: Path) -> list[Any]:
    if not path.is_file():
        raise ValueError(f"{path} is no file: name what Label Studio exported as JSON")
    try:
        content = msgspec.json.decode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(content, list):
        raise ValueError(f"{path} holds no list of tasks but {_kind(content)}: export the project as JSON")
    return content


def _name(content: Any, place: int) -> str:
    number = content.get("id") if isinstance(content, dict) else None
    return f"task {_shown(number)}" if number is not None else f"task at place {place + 1}"


def _task(content: Any, environment: str) -> _Task:
    if isinstance(content, dict) and not {"data", "annotations"} & content.keys():
        raise ValueError("has neither data nor annotations; export as JSON, not as JSON-MIN")
    try:
        task = msgspec.convert(content, _Task)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    if FORMAT_KEY not in task.data:
        raise ValueError(f"data.{FORMAT_KEY} is missing: not a task of `dima review export`, but of another project?")
    if task.data[FORMAT_KEY] != TASK_FORMAT:
        raise ValueError(f"data.{FORMAT_KEY} is {_shown(task.data[FORMAT_KEY])}, this code reads {TASK_FORMAT}")
    if task.data.get("environment") != environment:
        found = _shown(task.data.get("environment"))
        raise ValueError(f"data.environment is {found}: of another project, not of '{environment}' (see --env)")
    _check_pair(task.data)
    return task


def _check_pair(data: dict[str, Any]) -> None:
    for key in (*PAIR_KEYS, "tier"):
        if not isinstance(data.get(key), str):
            raise ValueError(f"data.{key} is {_shown(data.get(key))} instead of text")
    if data["category"] not in VQA_CATEGORIES:
        raise ValueError(unknown("category", _cut(data["category"]), list(VQA_CATEGORIES), where="data.category"))
    said = VqaPair(data["sample_token"], data["category"], data["question"], data["answer"], source=data["source"])
    if said.pair_id != data["pair_id"]:
        raise ValueError(f"data.pair_id {_shown(data['pair_id'])} is not that of its texts: the task was changed")


def _decision(task: _Task, annotation: _Annotation) -> dict[str, Any]:
    try:
        decision = _label(annotation)
        texts = {name: _text(annotation, name, task.data) for name in TEXTS}
        if decision == "fix" and not (texts["fixed_question"] or texts["fixed_answer"]):
            raise ValueError("result: the decision is fix, but neither fixed_question nor fixed_answer was changed")
        fixed = {name: texts[f"fixed_{name}"] or task.data[name] for name in ("question", "answer")}
        return {
            **{key: task.data[key] for key in (*PAIR_KEYS, "tier")},
            "decision": decision,
            **{f"fixed_{name}": text if decision == "fix" else None for name, text in fixed.items()},
            "note": texts["note"],
            "annotator": _annotator(annotation.completed_by),
            "decided_at": _time(annotation),
            "origin": f"project {task.project}, task {task.id}, annotation {annotation.id}",
        }
    except ValueError as error:
        raise ValueError(f"annotation {_shown(annotation.id)}: {error}") from None


def _values(annotation: _Annotation, name: str, key: str) -> Iterator[str]:
    for result in annotation.result:
        if result.from_name == name:
            found = result.value.get(key)
            for value in found if isinstance(found, list) else [found]:
                if not isinstance(value, str):
                    raise ValueError(f"result of {name}: value.{key} is {_shown(found)} instead of a list of texts")
                yield value


def _label(annotation: _Annotation) -> str:
    labels = sorted(set(_values(annotation, "decision", "choices")))
    if not labels:
        raise ValueError("result: no decision was chosen")
    if len(labels) > 1:
        raise ValueError(f"result of decision: {_shown(', '.join(labels))} are chosen at once, one is allowed")
    if labels[0] not in LABELS:
        raise ValueError(unknown("decision", _cut(labels[0]), list(LABELS), where="result of decision"))
    return labels[0]


def _text(annotation: _Annotation, name: str, data: dict[str, Any]) -> str | None:
    """What was typed, where it is not empty and not what was there already (fields come filled in)."""
    shown = data.get(name.removeprefix("fixed_"))
    texts = {text for text in _values(annotation, name, "text") if text.strip() and text != shown}
    if len(texts) > 1:
        raise ValueError(f"result of {name}: {len(texts)} texts, one is allowed")
    text = texts.pop() if texts else None
    if text is not None and len(text) > MAX_TEXT:
        raise ValueError(f"result of {name}: {len(text):,} characters, {MAX_TEXT:,} are allowed")
    return text


def _annotator(completed_by: int | str | dict[str, Any] | None) -> str:
    if isinstance(completed_by, dict):
        completed_by = completed_by.get("id", completed_by.get("email"))
    if not isinstance(completed_by, int | str) or not str(completed_by).strip():
        raise ValueError("completed_by is missing: export with the details of users")
    return str(completed_by).strip()


def _time(annotation: _Annotation) -> str:
    key = "created_at" if annotation.updated_at is None else "updated_at"
    text = getattr(annotation, key)
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ValueError(f"{key} is {_shown(text)} instead of a time with its zone, such as 2025-03-09T21:52:49Z")
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def _shown(value: object) -> str:
    return "null" if value is None else _cut(repr(value))


def _cut(text: str) -> str:
    """Short, and without what could command a terminal."""
    start = "".join(letter if letter.isprintable() else "?" for letter in text[:MAX_SHOWN])
    return start if len(text) <= MAX_SHOWN else f"{start}... ({len(text):,} characters)"


def _kind(value: object) -> str:
    kinds = {dict: "an object", str: "a text", int: "a number", float: "a number", bool: "true or false"}
    return kinds.get(type(value), "null")

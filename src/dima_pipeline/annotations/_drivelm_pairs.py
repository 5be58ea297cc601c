"""A frame of DriveLM as pairs: what can be trained on becomes a ``VqaPair``, the rest is left aside with its reason.

A text is never changed; what is odd about it is flagged in ``reason``: tags that mean no agent, markup, control
characters.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from dima_pipeline.annotations._drivelm_file import Fault, Path_, Tell, shown
from dima_pipeline.annotations._drivelm_tags import Boxes, tags_of
from dima_pipeline.contracts.batch import VqaPair
from dima_pipeline.contracts.frames import VQA_CATEGORIES

SOURCE = "drivelm"
MAX_TEXT = 10_000
"""Characters of a question or answer that is trained on; DriveLM's longest has some 2,000."""
MAX_FLAGS = 3
EMPTY = "no answer: left aside, not trained on"

_MARKUP = re.compile(r"<\s*[/!?a-zA-Z](?!\d+\s*,)[^<>]{0,200}>|&(?:#\d{1,7}|#x[0-9a-fA-F]{1,6}|[a-zA-Z]{2,10});")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class FaultCount:
    """Faults by kind, with the first of each kind: however many there are, this stays small."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.examples: dict[str, Fault] = {}

    def tell(self, fault: Fault) -> None:
        """Count one more."""
        self.numbers[fault.kind] = self.numbers.get(fault.kind, 0) + 1
        self.examples.setdefault(fault.kind, fault)

    def lines(self) -> list[str]:
        """A line a kind, the most frequent first."""
        ranked = sorted(self.numbers.items(), key=lambda item: (-item[1], item[0]))
        return [f"{number} x {kind}; first: {self.examples[kind]}" for kind, number in ranked]


def records_of(frame: dict[str, Any], path: Path_, tell: Tell) -> Iterator[tuple[Path_, Any]]:
    """Path and content of every question of a frame, in the order of the file; what is no list is told."""
    questions = frame.get("QA")
    if questions is not None and not isinstance(questions, dict):
        return tell(Fault("QA is no object", (*path, "QA"), type(questions).__name__))
    for category, records in (questions or {}).items():
        here = (*path, "QA", category)
        if records is None:
            continue
        if not isinstance(records, list):
            tell(Fault("questions that are no list", here, type(records).__name__))
        elif category not in VQA_CATEGORIES:
            tell(Fault("a category that is not ours: left aside", here, f"known: {', '.join(VQA_CATEGORIES)}"))
        else:
            yield from (((*here, at), record) for at, record in enumerate(records))


def pair_of(sample_token: str, path: Path_, record: Any) -> VqaPair | Fault:
    """What a question says, without its objects; or why it is left aside. ``path``: as of ``records_of``."""
    if not isinstance(record, dict):
        return Fault("a question that is no object: left aside", path, type(record).__name__)
    question, answer = record.get("Q"), record.get("A")
    for key, text in (("Q", question), ("A", answer)):
        why = _unfit(text)
        if why:
            return Fault(why, (*path, key), type(text).__name__ if not isinstance(text, str) else "")
    return VqaPair(sample_token, str(path[-2]), question, answer, (), SOURCE)  # type: ignore[arg-type]


def frame_pairs(sample_token: str, path: Path_, frame: dict[str, Any], boxes: Boxes, tell: Tell) -> Iterator[VqaPair]:
    """The pairs of a frame with the agents that their tags mean; what is left aside is told."""
    reader = TagReader(boxes, frame.get("key_object_infos"), path)
    if not isinstance(frame.get("key_object_infos") or {}, dict):
        tell(Fault("key_object_infos are no object", (*path, "key_object_infos")))
    for where_, record in records_of(frame, path, tell):
        pair = pair_of(sample_token, where_, record)
        if isinstance(pair, Fault):
            tell(pair)
        else:
            yield reader.with_objects(pair)


class TagReader:
    """Resolves the tags of one frame, each once."""

    def __init__(self, boxes: Boxes, infos: Any, path: Path_) -> None:
        self.boxes = boxes
        self.path = path
        self.infos = infos if isinstance(infos, dict) else {}
        self.meaning: dict[str, tuple[str | None, str]] = {}

    def with_objects(self, pair: VqaPair) -> VqaPair:
        """The pair with the agents its tags mean, those of the answer first, and its flags."""
        objects: dict[str, None] = {}
        flags: dict[str, None] = {}
        for text in (pair.answer, pair.question):
            for tag in tags_of(text):
                if tag.text not in self.meaning:
                    self.meaning[tag.text] = self.boxes.resolve(tag, self.infos.get(tag.text))
                instance, why = self.meaning[tag.text]
                if instance is None:
                    flags[f"tag {shown(tag.text)}: {why}"] = None
                else:
                    objects[instance] = None
        flags |= dict.fromkeys(text_flags(f"{pair.question}\n{pair.answer}"))
        return replace(pair, objects=tuple(objects), reason=_joined(list(flags)))


def text_flags(text: str) -> list[str]:
    """What a reader of a text should know before it is shown or printed anywhere."""
    return [
        name
        for name, pattern in (("text: markup", _MARKUP), ("text: control characters", _CONTROL))
        if pattern.search(text)
    ]


def _unfit(text: Any) -> str:
    """Why a text cannot be trained on; empty where it can."""
    if text is None or (isinstance(text, str) and not text.strip()):
        return EMPTY
    if not isinstance(text, str):
        return "a question or answer that is no text: left aside"
    if len(text) > MAX_TEXT:
        return f"a text of more than {MAX_TEXT} characters: left aside"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "half a character (a lone surrogate): left aside"
    return ""


def _joined(flags: list[str]) -> str | None:
    more = [f"and {len(flags) - MAX_FLAGS} more"] if len(flags) > MAX_FLAGS else []
    return "; ".join([*flags[:MAX_FLAGS], *more]) or None

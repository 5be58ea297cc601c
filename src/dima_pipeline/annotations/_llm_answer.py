"""Reads what a language model wrote: one JSON object a line, or one array. All else is dropped, with the reason.

Whatever the text says, the outcome is a list of short plain strings and a count of reasons: nothing in it is run,
followed or shown as it came.
"""

import json
import re
import unicodedata
from collections import Counter
from typing import Any, NamedTuple

MAX_TEXT = 50_000
MAX_QUESTION, MAX_ANSWER = 300, 600
CATEGORIES = ("perception", "prediction", "planning")
THOUGHT = re.compile(r"\A\s*<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL)
MARKUP = re.compile(r"</?[a-zA-Z!?][^>]*>?|&(?:#\d+|#x[0-9a-fA-F]+|[a-zA-Z]{2,8});|\[[^\]]*\]\([^)]*\)|<\|")
REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) (?:sorry|unable|not able)|i (?:can(?:no|')?t|cannot|won't|will not)\b"
    r"|as an? (?:\w+ ){0,3}(?:model|assistant)\b|cannot (?:help|assist|provide|determine)|not enough information)",
    re.IGNORECASE,
)
INNER_NAME = re.compile(r"\b[oq]\d+\b")
UNPRINTED = ("Cc", "Cf", "Cs", "Co", "Cn")
"""Unicode categories: control, format (bidirectional marks, joiners of width zero), surrogates, private, unassigned."""
MAX_SAME = 3
"""Times that the same four words may stand in an answer."""


class Item(NamedTuple):
    """A pair as the model wrote it: of a category, or other words for pair ``of`` (q1, ...)."""

    category: str | None
    of: str | None
    question: str
    answer: str
    objects: tuple[str, ...]


class Parsed(NamedTuple):
    """What could be read, and why the rest could not."""

    items: list[Item]
    dropped: Counter[str]


def parse(text: str, max_items: int) -> Parsed:
    """The pairs in ``text``, at most ``max_items``; the same question comes once. Never raises."""
    dropped: Counter[str] = Counter()
    items: dict[str, Item] = {}
    for value in _values(text, dropped):
        item = _item(value)
        problem = item if isinstance(item, str) else _problem(item)
        if problem is not None:
            dropped[problem] += 1
            continue
        assert isinstance(item, Item)
        question = item.question.casefold()
        if question in items:
            dropped["repeated question"] += 1
        elif len(items) >= max_items:
            dropped["more than asked for"] += 1
        else:
            items[question] = item
    return Parsed(list(items.values()), dropped)


def _values(text: str, dropped: Counter[str]) -> list[Any]:
    """The JSON values in a text; lines that are none are counted."""
    text = THOUGHT.sub("", text, count=1).strip()
    if not text:
        dropped["empty"] += 1
        return []
    if len(text) > MAX_TEXT:
        dropped["too long"] += 1
        text = text[:MAX_TEXT]
    text = re.sub(r"^```\w*[^\S\n]*$", "", text, flags=re.MULTILINE).strip()
    whole = _load(text)
    if isinstance(whole, list):
        return whole
    if isinstance(whole, dict):
        lists = [value for value in whole.values() if isinstance(value, list)]
        return lists[0] if len(whole) == 1 and lists else [whole]
    values = []
    for line in text.splitlines():
        stripped = line.strip().removesuffix(",")
        if stripped in ("", "[", "]"):
            continue
        value = _load(stripped)
        if value is None:
            dropped["refusal" if REFUSAL.search(stripped) else "no JSON"] += 1
        else:
            values.append(value)
    return values


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _item(value: Any) -> Item | str:
    """The value as an item, else why it is none."""
    if not isinstance(value, dict):
        return "no object"
    texts = [value.get("question"), value.get("answer")]
    if not all(isinstance(text, str) for text in texts):
        return "no question or answer"
    of, category = value.get("of"), value.get("category")
    if isinstance(of, str):
        category = None
    elif category not in CATEGORIES:
        return "unknown category"
    objects = value.get("objects", [])
    named = tuple(dict.fromkeys(one for one in objects if isinstance(one, str))) if isinstance(objects, list) else ()
    question, answer = (" ".join(unicodedata.normalize("NFC", str(text)).split()) for text in texts)
    return Item(category, of if isinstance(of, str) else None, question, answer, named)


def _problem(item: Item) -> str | None:
    both = f"{item.question} {item.answer}"
    if not item.question or not item.answer:
        return "empty"
    if len(item.question) > MAX_QUESTION or len(item.answer) > MAX_ANSWER:
        return "too long"  # First: what follows takes time that grows with the square of the length.
    rules = (
        ("control characters", any(unicodedata.category(letter) in UNPRINTED for letter in both)),
        ("markup", MARKUP.search(both)),
        ("refusal", REFUSAL.search(item.answer)),
        ("names an object by its number", INNER_NAME.search(both)),
        ("repeated text", _is_repetitive(item.answer)),
    )
    return next((name for name, holds in rules if holds), None)


def _is_repetitive(text: str) -> bool:
    words = text.casefold().split()
    counts = Counter(tuple(words[at : at + 4]) for at in range(len(words) - 3))
    return max(counts.values(), default=0) > MAX_SAME

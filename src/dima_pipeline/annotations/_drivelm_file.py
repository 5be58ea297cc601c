"""DriveLM's file (``v1_0_train_nus.json``) scene by scene: its text and one scene are in memory, nothing more.

What is no JSON at all is refused with its place. Anything else that is wrong is a ``Fault`` of one scene, frame or key:
it is told, and the rest is kept.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

MAX_BYTES = 2**30
"""Some seven times DriveLM's file."""
MAX_DEPTH = 32
MAX_SHOWN = 60
TOO_DEEP = "nested too deep"
TWICE = "a key that stands twice: the last one counts"
FORM = "an object of scenes by scene token, as DriveLM's v1_0_train_nus.json"

_SPACE = re.compile(r"[ \t\r\n]*")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[{}\[\],:"]', re.DOTALL)

Path_ = tuple[str | int, ...]
"""Keys and places in lists from the root to a value."""


class Fault(NamedTuple):
    """What is wrong, and where."""

    kind: str
    """A few fixed words, to count by."""
    path: Path_
    detail: str = ""

    def __str__(self) -> str:
        return f"{where(self.path)}: {self.kind}{f' ({self.detail})' if self.detail else ''}"


Tell = Callable[[Fault], None]


class Doubled(dict[str, Any]):
    """An object that has a key twice: the last value counts, as with every reader of JSON."""

    keys_twice: tuple[str, ...] = ()


class Member(NamedTuple):
    """A scene of the file: token, content, and where the content stands in the text."""

    token: str
    content: Any
    begin: int
    end: int


@dataclass(frozen=True)
class DriveLmFile:
    """A file that is JSON throughout, ready to hand out scenes."""

    text: str
    spans: tuple[tuple[str, int, int], ...]
    """Scene token, begin and end of the content in ``text``."""
    scenes_of: dict[str, list[int]]
    """Places in ``spans`` by sample token."""

    def scenes(self, sample_tokens: set[str]) -> Iterator[tuple[str, Any]]:
        """Token and content of the scenes that have one of some keyframes, in the order of the file."""
        for place in sorted({at for token in sample_tokens for at in self.scenes_of.get(token, ())}):
            yield self._scene(place)

    def all_scenes(self) -> Iterator[tuple[str, Any]]:
        """Token and content of every scene, in the order of the file."""
        return map(self._scene, range(len(self.spans)))

    def twice(self) -> Iterator[Fault]:
        """Scene tokens that stand twice: both scenes are read."""
        for token, number in Counter(token for token, _, _ in self.spans).items():
            if number > 1:
                yield Fault("a scene that stands twice: both are read", (token,))

    def _scene(self, place: int) -> tuple[str, Any]:
        token, begin, end = self.spans[place]
        try:
            return token, _decoder().decode(self.text[begin:end])
        except RecursionError:  # read once before, by a caller that was not nested as deep itself
            raise ValueError(f"{where((token,))}: nested too deep to be read") from None


def shown(text: object) -> str:
    """Quoted, short and without anything a terminal would act on: for messages."""
    words = str(text)
    cut = f"... ({len(words)} characters)" if len(words) > MAX_SHOWN else ""
    return ascii(words[:MAX_SHOWN]) + cut


def where(path: Path_) -> str:
    """``scene 'a', frame 'b', key 'QA.planning[3].A'``."""
    parts, rest = [], list(path)
    if rest:
        parts.append(f"scene {shown(rest.pop(0))}")
    if len(rest) > 1 and rest[0] == "key_frames":
        parts.append(f"frame {shown(rest[1])}")
        rest = rest[2:]
    if rest:
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest)
        parts.append(f"key {shown(key.removeprefix('.'))}")
    return ", ".join(parts) or "root"


def read_text(path: Path) -> str:
    """The text of a file; raises ``ValueError`` for one that cannot be read, is too large or no UTF-8."""
    try:
        if path.exists() and not path.is_file():
            raise ValueError(f"{path} is no file: name DriveLM's v1_0_train_nus.json")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ValueError(f"{path} has {size} bytes: at most {MAX_BYTES} are read; split it by scenes")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text: byte {error.start} ({error.reason})") from None


def open_file(path: Path) -> DriveLmFile:
    """A file ready to hand out scenes, kept until another one is opened; raises ``ValueError`` where it is no JSON."""
    try:
        facts = path.stat()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    return _opened(path, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=1)
def _opened(path: Path, size: int, mtime_ns: int) -> DriveLmFile:
    text = read_text(path)
    spans: list[tuple[str, int, int]] = []
    places: dict[str, list[int]] = {}
    for at, member in enumerate(members(text, path)):
        spans.append((member.token, member.begin, member.end))
        frames = member.content.get("key_frames") if isinstance(member.content, dict) else None
        for token in frames if isinstance(frames, dict) else ():
            places.setdefault(token, []).append(at)
    return DriveLmFile(text, tuple(spans), places)


def members(text: str, path: Path) -> Iterator[Member]:
    """The scenes of a file one after the other; raises ``ValueError`` with the place where it is no JSON."""
    begin = 0
    try:
        at = _after_space(text, 0)
        if text[at : at + 1] != "{":
            kind = type(_decoder().raw_decode(text, at)[0]).__name__
            raise ValueError(f"{path}: the root is a {kind}, not {FORM}")
        decoder = _decoder()
        at = _after_space(text, at + 1)
        is_first = True
        while text[at : at + 1] != "}" or not is_first:
            if text[at : at + 1] != '"':
                raise json.JSONDecodeError("a scene token is missing", text, at)
            begin = at
            token, at = decoder.raw_decode(text, at)
            at = _expect(text, at, ":")
            content, end = decoder.raw_decode(text, at)
            yield Member(token, content, at, end)
            at, is_first = _after_space(text, end), False
            if text[at : at + 1] == "}":
                break
            at = _expect(text, at, ",")
        if _after_space(text, at + 1) != len(text):
            raise ValueError(f"{path}: something follows the last scene: line {text.count(chr(10), 0, at) + 1}")
    except json.JSONDecodeError as error:
        message = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise ValueError(f"{path} is no JSON or cut short: {_path_at(text, begin, error.pos)}: {message}") from None
    except RecursionError:
        raise ValueError(f"{path}: {_path_at(text, begin, begin + 2**16)}: nested too deep to be read") from None


def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole_number, strict=False)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    doubled = Doubled(made)
    doubled.keys_twice = tuple(key for key, number in Counter(key for key, _ in pairs).items() if number > 1)
    return doubled


def _whole_number(digits: str) -> int | float:
    # Python refuses to read more than 4,300 digits; infinity is found by ``faults``.
    return int(digits) if len(digits) < 400 else float(digits)


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None
    return match.end()


def _expect(text: str, at: int, sign: str) -> int:
    at = _after_space(text, at)
    if text[at : at + 1] != sign:
        raise json.JSONDecodeError(f"'{sign}' is missing", text, at)
    return _after_space(text, at + 1)


def _path_at(text: str, begin: int, end: int) -> str:
    """In words, where in the root a place of the text is; ``begin`` is where its scene token stands."""
    stack: list[str | int] = [""]
    is_key = [True]
    for match in _TOKEN.finditer(text, begin, end):
        sign = match.group()
        if sign == '"':
            break  # a text that does not end
        if sign in "{[":
            is_key.append(sign == "{")
            stack.append("" if sign == "{" else 0)
        elif sign in "}]":
            is_key.pop()
            stack.pop()
        elif sign == "," and stack and isinstance(stack[-1], int):
            stack[-1] += 1
        elif sign[0] == '"' and stack and is_key[-1] is True:
            stack[-1] = sign[1:-1]
        if sign in ",:" and stack and not isinstance(stack[-1], int):
            is_key[-1] = sign == ","
        if not stack or len(stack) > MAX_DEPTH:
            break
    return where(tuple(part for part in stack if part != ""))


def faults(value: Any, path: Path_) -> Iterator[Fault]:
    """What is wrong with any JSON value: numbers that are none, keys that stand twice, too deep nesting (the last)."""
    stack = [(path, value)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, float) and not math.isfinite(value):
            yield Fault("a number that JSON does not have, or too large", path)
        if isinstance(value, Doubled):
            yield Fault(TWICE, path, shown(value.keys_twice[0]))
        children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        if children and len(path) >= MAX_DEPTH:
            yield Fault(TOO_DEEP, path[:8], f"more than {MAX_DEPTH} levels")
            return
        # Scalars that cannot be wrong, nearly all there are, need no place of their own.
        stack.extend(((*path, key), child) for key, child in children if isinstance(child, float | dict | list))


def frames_of(token: str, content: Any, tell: Tell) -> Iterator[tuple[str, dict[str, Any]]]:
    """Sample token and content of the frames of a scene that can be used; what is wrong is told."""
    if not isinstance(content, dict):
        return tell(Fault("a scene that is no object", (token,), type(content).__name__))
    frames = content.get("key_frames")
    if frames is not None and not isinstance(frames, dict):
        return tell(Fault("key_frames are no object", (token, "key_frames"), type(frames).__name__))
    for found in faults({key: value for key, value in content.items() if key != "key_frames"}, (token,)):
        tell(found)
    for holder, at in ((content, ()), (frames, ("key_frames",))):
        if isinstance(holder, Doubled):
            tell(Fault(TWICE, (token, *at), shown(holder.keys_twice[0])))
    for sample_token, frame in (frames or {}).items():
        path = (token, "key_frames", sample_token)
        if not isinstance(frame, dict):
            tell(Fault("a frame that is no object", path, type(frame).__name__))
            continue
        found_faults = list(faults(frame, path))
        for fault in found_faults:
            tell(fault)
        if not any(fault.kind == TOO_DEEP for fault in found_faults):
            yield sample_token, frame

"""Reads a JSON list of records block by block: typed rows, and where in the file each record lies.

A block ends at the last ``}`` read so far. If it decodes as a list, and holds exactly as many ``{`` and ``}`` as
records, each brace is the edge of a record. Anything else (a brace in a string, an object in a field, NaN, damage) is
read record by record with the standard library, which also knows the byte where a file is broken.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from jaxtyping import Int

BLOCK_BYTES = 1 << 17
"""Fits into the cache of a processor core: four megabytes take a quarter longer."""
MAX_RECORD_BYTES = 1 << 20
"""A longer record is taken for damage or an attack; records of nuScenes take half a kilobyte."""

SPACE = re.compile(r"[ \t\r\n]*")
COMMA = re.compile(r"[ \t\r\n]*,[ \t\r\n]*")
KINDS = {b"{": "dict", b'"': "str", b"t": "bool", b"f": "bool", b"n": "null"} | {
    digit.encode(): "number" for digit in "-0123456789"
}


@dataclass(frozen=True)
class Block:
    """Some records of a table that follow each other."""

    rows: list[Any]
    """One object per record, with the fields asked for as attributes."""
    spans: Int[np.ndarray, "R 2"]
    """First byte of each record in the file, and the byte after its last."""


def read_blocks(path: Path, fields: Mapping[str, Any], block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """The records of a JSON list, decoded to the ``fields``: name -> type, ``msgspec.Raw`` for what must only be there.

    Holds one block of about ``block_bytes`` at a time. Raises ``ValueError`` that names the file, and the record or the
    byte: for a file that cannot be read or is no JSON list in UTF-8, and for a record that lacks a field, has one of
    another type or is longer than ``MAX_RECORD_BYTES``.
    """
    try:
        with path.open("rb") as file:
            reader = _Reader(path, file, fields, block_bytes)
            reader.open_list()
            while not reader.is_closed():
                yield reader.take()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None


def read_spans(path: Path, spans: Int[np.ndarray, "R 2"]) -> list[dict[str, Any]]:
    """The records that lie at ``spans`` of the file, as ``json.loads`` gives them.

    Raises ``ValueError`` where there is no record (any more).
    """
    try:
        with path.open("rb", buffering=0) as file:
            parts = []
            for start, end in spans.tolist():
                file.seek(start)
                parts.append(file.read(end - start).decode())
        rows = json.loads(f"[{','.join(parts)}]")
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read again ({error}): did it change meanwhile?") from None
    if len(rows) != len(spans) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path} has no records where they were: did it change meanwhile?")
    return rows


class _Reader:
    """The part of a file that is read but not yet decoded."""

    def __init__(self, path: Path, file: BinaryIO, fields: Mapping[str, Any], block_bytes: int) -> None:
        self.path, self.file, self.block_bytes = path, file, block_bytes
        self.text = b""
        self.place = 0
        """Where ``text`` begins in the file."""
        self.is_end = False
        self.num_rows = 0
        self.required = frozenset(fields)
        plain = msgspec.defstruct("Record", list(fields.items()), gc=False)
        self.decoder = msgspec.json.Decoder(list[plain])  # type: ignore[valid-type]
        loose = {name: Any if kind is msgspec.Raw else kind for name, kind in fields.items()}
        self.careful = msgspec.defstruct("Record", list(loose.items()))

    def more(self) -> None:
        chunk = self.file.read(self.block_bytes)
        self.is_end = not chunk
        self.text += chunk

    def skip(self, num_bytes: int) -> None:
        self.text = self.text[num_bytes:]
        self.place += num_bytes

    def peek(self) -> bytes:
        """The next byte that is no white space; empty at the end of the file."""
        while True:
            self.skip(len(self.text) - len(self.text.lstrip(b" \t\r\n")))
            if self.text or self.is_end:
                return self.text[:1]
            self.more()

    def broken(self, reason: str, at: int = 0) -> ValueError:
        place = self.place + at
        return ValueError(f"{self.path} is no valid JSON ({reason} at byte {place}): was it cut short? Unpack it again")

    def open_list(self) -> None:
        while len(self.text) < 3 and not self.is_end:
            self.more()
        self.skip(3 if self.text.startswith(b"\xef\xbb\xbf") else 0)
        mark = self.peek()
        if mark in KINDS:
            raise ValueError(f"{self.path} holds a {KINDS[mark]}, expected a list of records")
        if mark != b"[":
            raise self.broken("no list begins")
        self.skip(1)

    def is_closed(self) -> bool:
        """Whether the list ends here, after which nothing may come."""
        mark = self.peek()
        if mark == b"]":
            self.skip(1)
            if self.peek():
                raise self.broken("more text after the list")
            return True
        if self.num_rows:
            if mark != b",":
                raise self.broken("no ',' or ']' after a record")
            self.skip(1)
        return False

    def take(self) -> Block:
        """The next records, at least one."""
        while True:
            if len(self.text) < self.block_bytes and not self.is_end:
                self.more()
            block = self._take_plain() or self._take_carefully()
            if block:
                self.num_rows += len(block.rows)
                return block
            self.more()

    def _take_plain(self) -> Block | None:
        cut = self.text.rfind(b"}") + 1
        body = self.text[:cut]
        try:
            if not body.isascii():
                body.decode()  # the decoder does not look into fields that it skips
            rows = self.decoder.decode(b"".join((b"[", body, b"]")))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        text = np.frombuffer(body, np.uint8)
        starts, ends = np.flatnonzero(text == ord("{")), np.flatnonzero(text == ord("}")) + 1
        if not len(rows) == len(starts) == len(ends) > 0 or (ends - starts).max() > MAX_RECORD_BYTES:
            return None
        block = Block(rows, np.stack([starts, ends], 1) + self.place)
        self.skip(cut)
        return block

    def _take_carefully(self) -> Block | None:
        text = self.text.decode("latin-1")  # one character a byte: places in it are places in the file
        rows: list[Any] = []
        spans: list[tuple[int, int]] = []
        comma = SPACE.match(text)
        while comma and (span := self._next_record(text, comma.end())):
            rows.append(self._checked(span, self.num_rows + len(rows)))
            spans.append(span)
            comma = COMMA.match(text, span[1])
        if not rows:
            return None
        block = Block(rows, np.array(spans, np.int64) + self.place)
        self.skip(spans[-1][1])
        return block

    def _next_record(self, text: str, start: int) -> tuple[int, int] | None:
        """Where the record at ``start`` lies; None where its end is not read yet."""
        try:
            end = json.JSONDecoder().raw_decode(text, start)[1]
        except json.JSONDecodeError as error:
            if self.is_end or len(text) - start > MAX_RECORD_BYTES:
                raise self.broken(error.msg, error.pos) from None
            return None
        except RecursionError:
            raise self.broken("nested too deeply", start) from None
        except ValueError as error:  # an integer of more digits than Python reads
            raise self.broken(str(error), start) from None
        if end - start > MAX_RECORD_BYTES:
            raise self.broken(f"a record of more than {MAX_RECORD_BYTES} bytes", start)
        return start, end

    def _checked(self, span: tuple[int, int], number: int) -> Any:
        try:
            row = json.loads(self.text[span[0] : span[1]].decode())
        except UnicodeDecodeError as error:
            raise self.broken("no UTF-8", span[0] + error.start) from None
        if not isinstance(row, dict) or not self.required <= row.keys():
            lacking = sorted(self.required - row.keys()) if isinstance(row, dict) else "its fields"
            raise ValueError(f"{self.path}: record {number} lacks {lacking}")
        try:
            return msgspec.convert(row, self.careful)
        except (msgspec.ValidationError, UnicodeEncodeError) as error:
            where = f"record {number} at byte {self.place + span[0]}"
            raise ValueError(f"{self.path}: {where} has a field of another type: {error}") from None

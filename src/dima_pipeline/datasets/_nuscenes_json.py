"""Reads a JSON list of records block by block: typed rows, and where in the file each record lies.

A block ends at the last ``}`` read so far. If it decodes as a list, and holds exactly as many ``{`` and ``}`` as
records, each brace is the edge of a record. Anything else (a brace in a string, an object in a field, NaN, damage) is
read record by record with the standard library, which also knows the byte where a file is broken.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from jaxtyping import Int

from dima_pipeline.contracts.findings import BrokenRecording
from dima_pipeline.datasets._nuscenes_findings import Findings, broken

BLOCK_BYTES = 1 << 17
"""Fits into the cache of a processor core: four megabytes take a quarter longer."""
MAX_RECORD_BYTES = 1 << 20
"""A longer record is taken for damage or an attack; records of nuScenes take half a kilobyte."""
MAX_FAULTS = 1000
"""A table with so many broken records is not read to its end."""

SPACE = re.compile(r"[ \t\r\n]*")
COMMA = re.compile(r"[ \t\r\n]*,[ \t\r\n]*")
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
TOKEN = re.compile(rb'"token"\s*:\s*"([^"\\]{1,200})"')
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

    Holds one block of about ``block_bytes`` at a time. Raises ``BrokenRecording`` that names the file, and the record
    or the byte: at once for a file that cannot be read, is no JSON list in UTF-8 or holds a record longer than
    ``MAX_RECORD_BYTES``; at the end for the records that lack a field or have one of another type, which are left out.
    """
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise broken("unreadable_table", path, f"{path} is no file")
        with path.open("rb") as file:
            reader = _Reader(path, file, fields, block_bytes)
            reader.open_list()
            while not reader.is_closed():
                yield reader.take()
            reader.findings().stop()
    except OSError as error:
        raise broken("unreadable_table", path, f"{path} cannot be read: {error.strerror}") from None


def read_spans(path: Path, spans: Int[np.ndarray, "R 2"]) -> list[dict[str, Any]]:
    """The records that lie at ``spans`` of the file, as ``json.loads`` gives them.

    Raises ``BrokenRecording`` where there is no record (any more).
    """
    try:
        parts = list(span_bytes(path, spans))
    except OSError as error:
        raise broken("unreadable_table", path, f"{path} cannot be read again: {error.strerror}") from None
    try:
        rows = json.loads(f"[{','.join(part.decode() for part in parts)}]")
    except (ValueError, RecursionError):
        rows = [_read_again(path, part, start) for part, start in zip(parts, spans[:, 0].tolist(), strict=True)]
    if len(rows) != len(spans) or not all(isinstance(row, dict) for row in rows):
        message = f"{path} has no records where they were: did it change meanwhile?"
        raise broken("unreadable_record", path, message)
    return rows


def _read_again(path: Path, content: bytes, start: int) -> Any:
    try:
        return json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        token = TOKEN.search(content)
        raise broken(
            "unreadable_record",
            path,
            f"{path} cannot be read again at byte {start} ({error}): did it change meanwhile?",
            token=token[1].decode(errors="replace") if token else "",
        ) from None


def span_bytes(path: Path, spans: Int[np.ndarray, "R 2"]) -> Iterator[bytes]:
    """The bytes of each record as it stands in the file."""
    with path.open("rb", buffering=0) as file:
        for start, end in spans.tolist():
            file.seek(start)
            yield file.read(end - start)


def field_of(error: Exception) -> str:
    """The field of a record that a ``msgspec.ValidationError`` is about."""
    found = re.search(r"\$(?:\[\d*\.*\])?\.(\w+)", str(error))
    return found[1] if found else ""


class _Reader:
    """The part of a file that is read but not yet decoded."""

    def __init__(self, path: Path, file: BinaryIO, fields: Mapping[str, Any], block_bytes: int) -> None:
        self.path, self.file, self.block_bytes = path, file, block_bytes
        self.text = b""
        self.place = 0
        """Where ``text`` begins in the file."""
        self.is_end = False
        self.num_rows = 0
        self.faults: dict[tuple[str, str], tuple[str, str]] = {}
        """(check, field) -> message and token of the first record that fails it."""
        self.num_faults = Counter[tuple[str, str]]()
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

    def findings(self) -> Findings:
        """What is wrong with the records so far."""
        found = Findings()
        for (check, field), (message, token) in self.faults.items():
            found.add(check, self.path, message, token=token, num=self.num_faults[check, field])
        return found

    def broken(self, reason: str, at: int = 0) -> BrokenRecording:
        place = self.place + at
        return self.malformed(f" is no valid JSON ({reason} at byte {place}): was it cut short? Unpack it again")

    def malformed(self, text: str) -> BrokenRecording:
        found = self.findings()
        found.add("malformed_table", self.path, f"{self.path}{text}")
        return BrokenRecording(found)

    def open_list(self) -> None:
        while len(self.text) < 3 and not self.is_end:
            self.more()
        self.skip(3 if self.text.startswith(b"\xef\xbb\xbf") else 0)
        mark = self.peek()
        if mark in KINDS:
            raise self.malformed(f" holds a {KINDS[mark]}, expected a list of records")
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
        self.num_rows += len(rows)
        self.skip(cut)
        return block

    def _take_carefully(self) -> Block | None:
        text = self.text.decode("latin-1")  # one character a byte: places in it are places in the file
        rows: list[Any] = []
        spans: list[tuple[int, int]] = []
        end = 0
        comma = SPACE.match(text)
        while comma and (span := self._next_record(text, comma.end())):
            row = self._checked(span)
            if row is not None:
                rows.append(row)
                spans.append(span)
            self.num_rows += 1
            end = span[1]
            comma = COMMA.match(text, end)
        if not end:
            return None
        block = Block(rows, np.array(spans, np.int64).reshape(-1, 2) + self.place)
        self.skip(end)
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

    def _checked(self, span: tuple[int, int]) -> Any:
        """The record as an object; None where it is noted as a fault."""
        try:
            row = json.loads(self.text[span[0] : span[1]].decode())
        except UnicodeDecodeError as error:
            raise self.broken("no UTF-8", span[0] + error.start) from None
        if not isinstance(row, dict) or not self.required <= row.keys():
            lacking = sorted(self.required - row.keys()) if isinstance(row, dict) else "its fields"
            self._note("missing_field", str(lacking), f"record {self.num_rows} lacks {lacking}", row)
            return None
        try:
            if SURROGATE.search(self.text, *span):
                json.dumps(row, ensure_ascii=False).encode()  # half of one is no text
            return msgspec.convert(row, self.careful)
        except RecursionError:
            raise self.broken("nested too deeply", span[0]) from None
        except (msgspec.ValidationError, UnicodeEncodeError) as error:
            where = f"record {self.num_rows} at byte {self.place + span[0]}"
            self._note("wrong_type", field_of(error), f"{where} has a field of another type: {error}", row)
            return None

    def _note(self, check: str, field: str, message: str, row: Any) -> None:
        token = row.get("token") if isinstance(row, dict) else ""
        self.faults.setdefault((check, field), (f"{self.path}: {message}", token if isinstance(token, str) else ""))
        self.num_faults[check, field] += 1
        if self.num_faults.total() >= MAX_FAULTS:
            raise BrokenRecording(self.findings())

"""What was asked and answered, by content: a second run, or one after a kill, asks no answered question again.

One SQLite file. A reply is in it whole, once and for good when ``add`` returns, and several processes may write at
once. It is work in progress of a run and belongs in its work folder, never among the outs of DVC.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from dima_pipeline.language import REJECTED, Prompt, Reply

FILE = "replies.sqlite"
FORMAT = 1
PATIENCE_S = 60.0
COLUMNS = ("text", "finish", "tokens_in", "tokens_out", "seconds", "attempts")
SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, request TEXT NOT NULL, text TEXT NOT NULL, finish TEXT NOT NULL,
    tokens_in INTEGER, tokens_out INTEGER, seconds REAL NOT NULL, attempts INTEGER NOT NULL
)
"""


class ReplyStore:
    """The store in ``directory``, which is made where it is not there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._path = directory / FILE
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"{directory} cannot be made to keep replies in: {error.strerror}") from error
        with self._connection() as connection:
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, FORMAT):
                raise ValueError(f"{self._path} has format {found}, this code reads {FORMAT}: move it away")
            connection.execute(SCHEMA)
            connection.execute(f"PRAGMA user_version = {FORMAT}")

    def known(self, keys: Sequence[str]) -> dict[str, Reply]:
        """The stored replies among ``keys``."""
        with self._connection() as connection:
            found = {key: _reply(connection, key) for key in keys}
        return {key: reply for key, reply in found.items() if reply is not None}

    def add(self, key: str, model: str, request: str, reply: Reply) -> Reply:
        """Store a reply durably; returns what the store then holds: where another process came first, its reply."""
        assert reply.finish != REJECTED, "a rejection is no answer"
        # SQLite takes no half of a surrogate pair, which JSON can hold.
        whole = replace(reply, text=reply.text.encode("utf-8", "replace").decode())
        values = (key, model, request, *(getattr(whole, name) for name in COLUMNS))
        marks = ", ".join("?" * len(values))
        with self._connection() as connection:
            connection.execute(f"INSERT OR IGNORE INTO replies VALUES ({marks})", values)
            held = _reply(connection, key)
        assert held is not None, key
        return held

    def figures(self, model: str) -> list[tuple[int | None, int | None, float, int]]:
        """Tokens in and out, seconds and attempts of every reply of ``model``."""
        with self._connection() as connection:
            query = "SELECT tokens_in, tokens_out, seconds, attempts FROM replies WHERE model = ? ORDER BY key"
            return connection.execute(query, (model,)).fetchall()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection whose work is one transaction: made whole, or not at all."""
        try:
            with closing(sqlite3.connect(self._path, timeout=PATIENCE_S)) as connection, connection:
                yield connection
        except sqlite3.DatabaseError as error:
            raise ValueError(
                f"{self._path} cannot be used ({error}): is it whole, is the disk not full, does the filesystem know "
                "locks? Once it is moved away, all is asked anew"
            ) from error


def _reply(connection: sqlite3.Connection, key: str) -> Reply | None:
    query = f"SELECT {', '.join(COLUMNS)} FROM replies WHERE key = ?"
    row = connection.execute(query, (key,)).fetchone()
    return None if row is None else Reply(**dict(zip(COLUMNS, row, strict=True)))


def request_of(identity: Mapping[str, Any], prompt: Prompt) -> str:
    """All that an answer depends on, as canonical JSON."""
    messages = [[message.role, message.text] for message in prompt]
    return json.dumps({"generator": dict(identity), "messages": messages}, sort_keys=True)


def key_of(request: str) -> str:
    """SHA-256 of a request."""
    return hashlib.sha256(request.encode()).hexdigest()

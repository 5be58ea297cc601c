"""A disk that fails or dies at a chosen operation, and what a power cut leaves of what had not been synced."""

import errno
import itertools
import os
from pathlib import Path

from dima_pipeline.storage.filesystem import FileSystem

POWER_CUTS = ("nothing lost", "content cut", "content lost", "names undone")


class DiedError(BaseException):
    """The process is gone: nothing that follows is done."""


class FaultyDisk(FileSystem):
    """Counts operations and lets number ``at`` fail with ``fault``: an ``errno``, or None to die.

    An operation that fails is half done where it can be; one that dies is done, or not where ``is_before``. A disk that
    is full stays so; other errors go away.
    """

    chunk_bytes = 400

    def __init__(self, graves: Path, at: int | None = None, fault: int | None = None, is_before: bool = False) -> None:
        self.count = 0
        self.done: list[str] = []
        self._graves, self._at, self._fault, self._is_before = graves, at, fault, is_before
        self._is_dead = self._is_full = False
        self._unsynced: set[int] = set()
        """Inodes of files."""
        self._unnamed: dict[int, int] = {}
        """Inode of a file that is new, and of the directory whose sync makes its name durable."""
        self._undo: list[tuple[Path, Path | None, Path]] = []
        """Directory whose names changed, where a thing is now (None: it was made), where it was."""

    def _operation(self, kind: str, do, half=lambda: None):
        if self._is_dead:
            raise DiedError
        number, self.count = self.count, self.count + 1
        self.done.append(kind)
        is_it = number == self._at
        if (is_it or (self._is_full and kind in ("open", "append", "make"))) and self._fault is not None:
            self._is_full = self._fault == errno.ENOSPC
            half()
            raise OSError(self._fault, os.strerror(self._fault))
        if is_it and self._is_before:
            self._is_dead = True
            half()
            raise DiedError
        result = do()
        if is_it:
            self._is_dead = True
            raise DiedError
        return result

    def make_directory(self, path):
        is_new = not path.exists()
        self._operation("make", lambda: super(FaultyDisk, self).make_directory(path))
        if is_new:
            self._undo.append((path.parent, None, path))

    def open(self, path):
        def do():
            descriptor = super(FaultyDisk, self).open(path)
            inode = os.fstat(descriptor).st_ino
            self._unsynced.add(inode)
            self._unnamed[inode] = path.parent.stat().st_ino
            return descriptor

        return self._operation("open", do)

    def append(self, descriptor, content):
        def do(part=content):
            super(FaultyDisk, self).append(descriptor, part)

        self._operation("append", do, lambda: do(content[: len(content) // 2]))

    def sync(self, descriptor):
        def do():  # not in truth: only this class knows what was lost
            found = os.fstat(descriptor)
            self._unsynced.discard(found.st_ino)
            self._unnamed = {file: folder for file, folder in self._unnamed.items() if folder != found.st_ino}
            self._undo = [entry for entry in self._undo if not _is_same(entry[0], found)]

        self._operation("sync", do)

    def rename(self, source, target):
        def do():
            super(FaultyDisk, self).rename(source, target)
            self._undo.append((target.parent, target, source))

        self._operation("rename", do)

    def remove(self, directory):
        grave = self._graves / str(next(_numbers))

        def do():
            if directory.exists():
                self._graves.mkdir(parents=True, exist_ok=True)
                directory.rename(grave)
                self._undo.append((directory.parent, grave, directory))

        def half():
            if directory.exists() and (names := sorted(directory.iterdir())):
                names[0].unlink()

        self._operation("remove", do, half)

    def cut_power(self, directory: Path, how: str) -> None:
        """Let what is below ``directory`` be as a power cut may leave it."""
        if how == "names undone":
            for _, now, before in reversed(self._undo):
                if now is not None and now.exists() and not before.exists():
                    now.rename(before)
            for path in [path for path in directory.rglob("*") if path.is_file()]:
                if path.stat().st_ino in self._unnamed:
                    path.unlink()
        share = {"nothing lost": 1.0, "content cut": 0.5}.get(how, 0.0)
        for path in directory.rglob("*"):
            if path.is_file() and path.stat().st_ino in self._unsynced:
                os.truncate(path, int(path.stat().st_size * share))


_numbers = itertools.count()


def _is_same(path: Path, found: os.stat_result) -> bool:
    return path.exists() and path.stat().st_ino == found.st_ino

"""The few operations by which something becomes durable, so that tests can let each of them fail or be the last one."""

import errno
import os
import shutil
from pathlib import Path


class FileSystem:
    """That of the operating system. All methods raise ``OSError`` as it does."""

    chunk_bytes = 1 << 24

    def make_directory(self, path: Path) -> None:
        """With parents, whose entries are not synced; one that is there is left as it is."""
        path.mkdir(parents=True, exist_ok=True)

    def write(self, path: Path, content: bytes) -> None:
        """A new file, whose content is on the disk when this returns; its name is only after ``sync_directory``."""
        view = memoryview(content)
        descriptor = self.open(path)
        try:
            for start in range(0, len(view), self.chunk_bytes):
                self.append(descriptor, view[start : start + self.chunk_bytes])
            self.sync(descriptor)
        finally:
            os.close(descriptor)

    def open(self, path: Path) -> int:
        """Descriptor of an empty file."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)

    def append(self, descriptor: int, content: memoryview) -> None:
        """Write all of ``content``: the system may take less at a time."""
        while content:
            content = content[os.write(descriptor, content) :]

    def sync(self, descriptor: int) -> None:
        """Wait until what was written is on the disk."""
        os.fsync(descriptor)

    def sync_directory(self, path: Path) -> None:
        """Wait until the names within are on the disk: a rename without it may be undone by a power cut."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            self.sync(descriptor)
        except OSError as error:
            if error.errno != errno.EINVAL:  # some network file systems cannot, and need not
                raise
        finally:
            os.close(descriptor)

    def sync_tree(self, directory: Path) -> None:
        """All files and directories below ``directory``, and itself."""
        for folder, _, names in os.walk(directory, topdown=False):
            for name in names:
                self.sync_directory(Path(folder) / name)  # a file is opened and synced alike
            self.sync_directory(Path(folder))

    def rename(self, source: Path, target: Path) -> None:
        """Atomic; a file takes the place of another, a directory that of an empty one."""
        source.rename(target)

    def remove(self, directory: Path) -> None:
        """A directory with all that is in it; one that is not there is none to remove."""
        try:
            shutil.rmtree(directory)
        except FileNotFoundError:
            return


DISK = FileSystem()

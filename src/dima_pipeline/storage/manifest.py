"""Directories that are either whole or not there: a digest manifest written last, and an atomic publish.

A directory without a readable ``manifest.json`` is unfinished by definition and is never read.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from dima_pipeline.contracts.frames import CONTRACT_VERSION
from dima_pipeline.storage.filesystem import DISK, FileSystem

MANIFEST = "manifest.json"


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(directory: Path, **facts: Any) -> None:
    """List every file below ``directory`` with size and digest, beside ``facts`` (JSON values); written last."""
    files = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path != directory / MANIFEST:
            files[path.relative_to(directory).as_posix()] = {"bytes": path.stat().st_size, "sha256": digest(path)}
    write_durably(directory / MANIFEST, manifest_of(files, **facts))


def manifest_of(files: Mapping[str, Mapping[str, Any]], **facts: Any) -> bytes:
    """Content of a manifest: ``files`` has ``bytes`` and ``sha256`` of each."""
    content = {"contract_version": CONTRACT_VERSION, **facts, "files": files}
    return json.dumps(content, indent=1, sort_keys=True).encode()


def write_durably(path: Path, content: bytes) -> None:
    """Write a file so that after a crash it holds either the old or the new content, never a part."""
    with durably_open(path) as file:
        file.write(content)


@contextmanager
def durably_open(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which takes the place of ``path`` when the body has ended well."""
    staged = path.with_name(f".{path.name}.partial")
    try:
        with staged.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
        DISK.sync_directory(path.parent)
    finally:
        staged.unlink(missing_ok=True)


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a finished directory; raises ``ValueError`` for a missing, unfinished or foreign one."""
    path = directory / MANIFEST
    if not directory.is_dir():
        raise ValueError(f"{directory} does not exist: run the pipeline that makes it")
    if not path.is_file():
        raise ValueError(f"{directory} is unfinished: it has no {MANIFEST}; make it again")
    try:
        manifest = json.loads(path.read_text())
        version = manifest["contract_version"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error}); make {directory} again") from None
    if version != CONTRACT_VERSION:
        raise ValueError(f"{directory} has contract version {version}, this code reads {CONTRACT_VERSION}")
    try:
        is_listed = all({"bytes", "sha256"} <= set(entry) for entry in manifest["files"].values())
    except (KeyError, TypeError, AttributeError):
        is_listed = False
    if not is_listed:
        raise ValueError(f"{path} is damaged (it does not list the files as it should); make {directory} again")
    return manifest


def verify(directory: Path) -> dict[str, Any]:
    """The manifest, after comparing every file with it; raises ``ValueError`` that names the first bad file."""
    manifest = read_manifest(directory)
    for name, expected in manifest["files"].items():
        path = directory / name
        if not path.is_file():
            raise ValueError(f"{path} is missing; make {directory} again")
        if path.stat().st_size != expected["bytes"]:
            raise ValueError(f"{path} has {path.stat().st_size} bytes instead of {expected['bytes']}: cut short?")
        if digest(path) != expected["sha256"]:
            raise ValueError(f"{path} is not what was written: its digest differs from {MANIFEST}")
    return manifest


def make_once(directory: Path, make: Callable[[Path], Mapping[str, Any]]) -> dict[str, Any]:
    """The manifest of ``directory``, whose name says what it is made from; ``make`` is called where it is not whole.

    ``make`` fills an empty directory beside it and returns the facts of its manifest (JSON values); a name that begins
    with "." and ends in ``.partial`` is what a killed process leaves behind.
    """
    try:
        return verify(directory)
    except ValueError:
        staged = directory.with_name(f".{directory.name}.{uuid.uuid4().hex}.partial")
        staged.mkdir(parents=True)
    try:
        write_manifest(staged, **make(staged))
        try:
            publish(staged, directory)
        except OSError:
            with suppress(ValueError):  # another process may have published the same meanwhile
                return verify(directory)
            raise
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return read_manifest(directory)


def link_or_copy(source: Path, target: Path) -> None:
    """A hard link, or a copy where ``target`` is on another filesystem; what is there is replaced."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def publish(staged: Path, target: Path, *, is_durable: bool = False, disk: FileSystem = DISK) -> None:
    """Put a finished directory in place of ``target`` by renames; the old one stays until the new one is there.

    Whoever dies between the two renames leaves the old one under another name: ``restore`` finds it again. With
    ``is_durable`` every file is on the disk before it is renamed, which takes its time where there are many.
    """
    read_manifest(staged)
    if target.exists() and staged.samefile(target):
        return
    disk.make_directory(target.parent)
    restore(target, disk)
    retired = _retired(target)
    if target.exists():
        disk.remove(retired)
    if staged.stat().st_dev != target.parent.stat().st_dev:
        near = target.with_name(f".{target.name}.partial")
        disk.remove(near)
        shutil.copytree(staged, near)
        disk.remove(staged)
        staged = near
    if is_durable:
        disk.sync_tree(staged)
    if target.exists():
        disk.rename(target, retired)
    disk.rename(staged, target)
    disk.sync_directory(target.parent)
    disk.remove(retired)


def restore(target: Path, disk: FileSystem = DISK) -> None:
    """Take back what ``publish`` had put aside when it died before the new directory was there; else nothing.

    Not while another process may be publishing the same directory.
    """
    retired = _retired(target)
    if retired.exists() and not target.exists():
        with suppress(FileNotFoundError):  # another worker was first
            disk.rename(retired, target)


def _retired(target: Path) -> Path:
    return target.with_name(f".{target.name}.retired")

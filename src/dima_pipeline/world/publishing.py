"""A generated root as a finished directory: taken as it is where it is there already, and never in the place of others.

Its manifest says what it was made from: configuration, scene names, code and libraries. A root that was made from the
same is the same; another one is replaced where ``overwrite`` asks for it; any other folder stays.
"""

import hashlib
import importlib.metadata
import json
import shutil
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

import dima_pipeline
from dima_pipeline.storage.disk import FullDiskError, full_disk_in_words
from dima_pipeline.storage.manifest import MANIFEST, digest, read_manifest, verify, write_manifest
from dima_pipeline.world.config import WorldConfig
from dima_pipeline.world.generate import Names, Progress, generate, scene_jobs
from dima_pipeline.world.spreading import Spread

KIND = "dataroot"
CODE = ("contracts/frames.py", "geometry.py", "world")
LIBRARIES = ("numpy", "panda3d", "pillow", "scipy", "shapely")
ADVICE = "move it away, or write elsewhere (data_dir in conf/<environment>/globals.yml)"


def make_world(
    config: WorldConfig,
    names: Names,
    target: Path,
    *,
    stage: Callable[[], Path],
    spread: Spread | None = None,
    progress: Progress | None = None,
) -> Path:
    """A finished root to publish as ``target``: a new one in the empty directory that ``stage`` gives, or ``target``
    itself where it is this very world.

    Nothing is written to ``target``. Raises ``ValueError`` where something else is there, before anything is drawn,
    and for a full disk, after taking the unfinished root away.
    """
    made_from = origin(config, names)
    if not may_replace(target, made_from, overwrite=config.overwrite):
        return target
    staged = stage()
    try:
        with full_disk_in_words(staged):
            generate(config, staged, names, spread=spread, progress=progress)
            write_manifest(staged, kind=KIND, made_from=made_from)
    except FullDiskError:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    return staged


def may_replace(target: Path, made_from: str, *, overwrite: bool) -> bool:
    """Whether a world is to be made for ``target``; False where this one is there and whole.

    Raises ``ValueError`` for another world without ``overwrite``, and always for what no world has written.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return True
    manifest = _world_manifest(target)
    found = "another world: its configuration or code differs"
    if manifest.get("made_from") == made_from:
        try:
            verify(target)
            return False
        except ValueError as error:
            found = f"this world, damaged: {error}"
    if not overwrite:
        raise ValueError(
            f"{target} holds {found}. To replace it, run with --params=world.overwrite=true (overwrite: true in "
            f"parameters_world.yml); to keep it, {ADVICE}"
        )
    for path in sorted(target.rglob("*")):
        if (
            not path.is_dir()
            and path != target / MANIFEST
            and path.relative_to(target).as_posix() not in manifest["files"]
        ):
            raise ValueError(f"{path} was not written by the world that lies in {target}: move it away first")
    return True


def _world_manifest(target: Path) -> dict[str, Any]:
    """The manifest of a generated root; raises ``ValueError`` for anything else."""
    try:
        manifest = read_manifest(target)
    except ValueError as error:
        raise ValueError(f"{target} is no generated world ({error}) and never overwritten: {ADVICE}") from None
    if manifest.get("kind") != KIND:
        raise ValueError(f"{target} holds a finished '{manifest.get('kind')}', which is never overwritten: {ADVICE}")
    return manifest


def origin(config: WorldConfig, names: Names) -> str:
    """A digest of all that the bytes of a world follow from."""
    settings = TypeAdapter(WorldConfig).dump_python(config, mode="json")
    del settings["overwrite"]
    used = [job.name for job in scene_jobs(config, names)]
    return _digest([settings, used, _code(), [f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES]])


@lru_cache
def _code() -> str:
    package = Path(dima_pipeline.__file__).parent
    roots = [package / name for name in CODE]
    paths = [path for root in roots for path in ([root] if root.is_file() else sorted(root.rglob("*.py")))]
    return _digest({path.relative_to(package).as_posix(): digest(path) for path in paths})


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]

"""An ingestion in a process of its own, to be killed, and what it leaves.

Run as ``python tests/ingestion_runs.py DATAROOT FOLDER NUM_PROCESSES``: the work folder and what is published lie in
FOLDER.
"""

import hashlib
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from dima_pipeline.curation.config import IngestionConfig
from dima_pipeline.curation.conversion import TABLES
from dima_pipeline.curation.ingest import audit, in_this_process, ingest
from dima_pipeline.pipelines.datasets import DirectoryDataset, TableDataset
from dima_pipeline.storage.runtime import RuntimeConfig
from nuscenes_root import VERSION

NAMES = ("0001", "0002", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011", "0061", "0103")
SCENES = {f"scene-{number}": float(index) for index, number in enumerate(NAMES)}
"""Speeds (m/s) by official name."""


def run(dataroot: Path, folder: Path, num_processes: int = 1) -> None:
    """Ingest and publish as the pipeline does."""
    config = IngestionConfig(
        dataset={"name": "nuscenes", "version": VERSION}, image_height=24, image_width=40, vad_infos="none"
    )
    workers = in_this_process
    if num_processes > 1:
        from dima_pipeline.distributed.scene_workers import SceneWorkers

        workers = SceneWorkers(RuntimeConfig(work_dir=str(folder), num_processes=num_processes, num_cpus=num_processes))
    findings = audit(config, dataroot, folder / "work", workers=workers)
    made = ingest(config, dataroot, folder / "work", workers=workers)
    for name, table in {"audit_findings": findings, **{name: getattr(made.tables, name) for name in TABLES}}.items():
        TableDataset(filepath=str(folder / "published" / f"{name}.parquet"), licence="test").save(table)
    DirectoryDataset(filepath=str(folder / "published" / "image_shards")).save(made.shards)
    DirectoryDataset(filepath=str(folder / "published" / "vad_infos")).save(made.vad_infos)


def start(dataroot: Path, folder: Path, num_processes: int = 1) -> subprocess.Popen[bytes]:
    """``run`` in a process of its own, leader of its group."""
    command = [sys.executable, __file__, str(dataroot), str(folder), str(num_processes)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    return subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.PIPE)


def published(folder: Path) -> dict[str, str]:
    """Digest of every published file."""
    root = folder / "published"
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def finished_steps(folder: Path) -> dict[str, int]:
    """Inode of the manifest of every finished step: another one where a step was done again."""
    root = folder / "work" / "scenes"
    return {
        path.relative_to(root).as_posix(): path.stat().st_ino
        for path in root.glob("*/*/manifest.json")
        if not path.parent.name.startswith(".")
    }


def until_first_step(folder: Path) -> float:
    """Wait for the first finished step; returns the time."""
    deadline_s = time.monotonic() + 60
    while not finished_steps(folder):
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
    return time.monotonic()


def kill_after(root: Path, folder: Path, delay_s: float, num_processes: int = 1) -> bool:
    """Start an ingestion and kill it ``delay_s`` after its first finished step; whether it was still at work."""
    process = start(root, folder, num_processes)
    until_first_step(folder)
    time.sleep(delay_s)
    was_at_work = process.poll() is None
    with suppress(ProcessLookupError):  # it may have ended by itself and left nobody of its group
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return was_at_work


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))

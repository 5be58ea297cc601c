"""Minutes, memory and bytes of pipeline ``ingestion`` at the size of trainval: linear in the number of scenes or not.

``python benchmarks/ingestion.py [--sizes 0.1 | 0.25,0.5,1] [--again] [--source ../shared/data]`` writes the tables of
nuScenes mini over and over, with new tokens (``benchmarks/reader.py``), points them at the real camera images that are
there, and runs ``kedro run --pipelines ingestion`` on them. Memory is what all processes hold together, shared pages
counted once; ``--again`` runs each a second time, when every scene is finished.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path
from typing import Any

import psutil
import yaml
from reader import NUM_TRAINVAL, PROJECT, VERSION, source_tables, write_copies

from dima_pipeline.contracts.frames import CAMERAS

ENVIRONMENT = "scale"
QUIET = {
    "KEDRO_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "KEDRO_LOGGING_CONFIG": str(PROJECT / "conf" / "logging.yml"),
}


def recorded_images(shared: Path) -> dict[str, list[Path]]:
    """The camera images that are there, by channel."""
    found: dict[str, list[Path]] = {camera: [] for camera in CAMERAS}
    for version in ("v1.0-mini", "v1.0-keyframes"):
        root = shared / f"nuscenes-{version.removeprefix('v1.0-')}"
        for camera in CAMERAS:
            found[camera] += sorted((root / "samples" / camera).glob("*.jpg"))
    return found


def write_root(shared: Path, root: Path, size: float) -> int:
    """A dataroot with that share of trainval's keyframes, links to images, maps and CAN messages; returns how many."""
    source = shared / "nuscenes-mini"
    tables = source_tables(source)
    images = recorded_images(shared)
    for camera, paths in images.items():
        (root / "samples" / camera).mkdir(parents=True)
        for path in paths:
            shutil.copyfile(path, root / "samples" / camera / path.name)
    ahead = {camera: cycle(paths) for camera, paths in images.items()}
    for row in tables["sample_data"]:
        camera = row["filename"].split("/")[1]
        if row["is_key_frame"] and camera in ahead:
            row["filename"] = f"samples/{camera}/{next(ahead[camera]).name}"
    num_copies = max(1, round(size * NUM_TRAINVAL / len(tables["sample"]) + 0.499))
    write_copies(tables, root, num_copies)
    shutil.copytree(source / "maps", root / "maps")
    (root / "can_bus").mkdir()
    names = [row["name"] for row in json.loads((root / VERSION / "scene.json").read_bytes())]
    for name in names:
        recorded = "scene-" + name.rsplit("-", 1)[1]
        for path in (source / "can_bus").glob(f"{recorded}_*.json"):
            shutil.copyfile(path, root / "can_bus" / path.name.replace(recorded, name))
    (root / "splits.json").write_text(json.dumps({"train": names}))
    return len(tables["sample"]) * num_copies


def write_environment(root: Path, folder: Path) -> Path:
    """A copy of the configuration with an environment for this root; returns its folder."""
    conf = Path(shutil.copytree(PROJECT / "conf", folder / "conf"))
    (conf / ENVIRONMENT).mkdir()
    facts: dict[str, Any] = {"dataset": "copies of mini", "generates_world": False, "licence": "CC BY-NC-SA 4.0"}
    facts |= {"data_dir": str(folder / "data"), "metrics_dir": str(folder / "metrics")}
    (conf / ENVIRONMENT / "globals.yml").write_text(yaml.safe_dump(facts))
    ingestion = {"dataset": {"version": VERSION}, "splits_file": str(root / "splits.json")}
    (conf / ENVIRONMENT / "parameters_ingestion.yml").write_text(yaml.safe_dump({"ingestion": ingestion}))
    return conf


def run(root: Path, conf: Path, nodes: str) -> tuple[float, float]:
    """Seconds and peak bytes of some nodes of pipeline ``ingestion``."""
    command = [str(Path(sys.executable).with_name("kedro")), "run", "--pipelines", "ingestion", "--nodes", nodes]
    command += ["--env", ENVIRONMENT, "--conf-source", str(conf)]
    environment = {**os.environ, **QUIET, "DIMA_DATAROOT": str(root), "OMP_NUM_THREADS": "1"}
    started_s, peak = time.monotonic(), 0
    with subprocess.Popen(command, cwd=PROJECT, env=environment) as process:
        while process.poll() is None:
            peak = max(peak, held_bytes(process.pid))
            time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"kedro run ended with exit status {process.returncode}")
    return time.monotonic() - started_s, peak


def held_bytes(pid: int) -> int:
    """Of a process and all below it."""
    total = 0
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def folder_bytes(folder: Path) -> int:
    """Bytes on disk of all files below a folder; what is linked twice counts once."""
    return sum(
        {(s.st_dev, s.st_ino): s.st_size for p in folder.rglob("*") if (s := p.lstat()) and p.is_file()}.values()
    )


def main() -> None:
    """Parse the arguments; run each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="0.1", help="shares of trainval, separated by commas")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--source", type=Path, default=PROJECT.parent / "shared" / "data")
    parser.add_argument("--scratch", type=Path, help="folder for tables and results (trainval: 8 GB)")
    given = parser.parse_args()
    print(" keyframes    turn  audit min  convert min  ms/keyframe  peak GB  disk GB")
    for size in map(float, given.sizes.split(",")):
        with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
            folder = Path(scratch)
            root = folder / "root"
            num = write_root(given.source, root, size)
            conf = write_environment(root, folder)
            for turn in ("first", "again")[: 1 + given.again]:
                audit_s, audit_bytes = run(root, conf, "audit_recordings")
                convert_s, convert_bytes = run(root, conf, "ingest_recordings")
                numbers = (audit_s / 60, convert_s / 60, 1e3 * (audit_s + convert_s) / num)
                peak = max(audit_bytes, convert_bytes) / 1e9
                disk = folder_bytes(folder / "data") / 1e9
                print(
                    f"{num:10,}{turn:>8}{numbers[0]:11.2f}{numbers[1]:13.2f}{numbers[2]:13.2f}{peak:9.2f}{disk:9.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()

"""What ``dima doctor`` looks at in a dataroot of recordings: without reading what is large."""

import re
from collections.abc import Iterator
from pathlib import Path

from dima_pipeline.cli.checks import Finding

NUM_PLACES = 64
"""Places of ``sample_data.json`` at which camera files are sampled."""
PLACE_BYTES = 16384
CAMERA_FILE = re.compile(rb'"filename"\s*:\s*"(samples/CAM_[A-Z_]+/[^"]+)"')


def check_recordings(dataroot: str, version: str, require_maps: bool, missing_images: str) -> Iterator[Finding]:
    """Tables, map expansion, CAN bus and camera files of one version."""
    from dima_pipeline.datasets._nuscenes_check import REQUIRED, read_json

    root = Path(dataroot).expanduser()
    if not dataroot or not root.is_dir():
        found = f"DIMA_DATAROOT={dataroot} is no directory" if dataroot else "DIMA_DATAROOT is not set"
        yield Finding("recordings", "fault", found, "export it as the folder that holds v1.0-*, samples/ and maps/")
        return
    folder = root / version
    lacking = [f"{name}.json" for name in REQUIRED if not (folder / f"{name}.json").is_file()]
    if lacking:
        there = sorted(path.name for path in root.glob("v*") if path.is_dir())
        found = f"{folder} lacks {', '.join(lacking)}; {root} holds {', '.join(there) or 'no version'}"
        yield Finding("recordings", "fault", found, "unpack the metadata, or set ingestion.dataset.version")
        return
    try:
        scenes, logs = read_json(folder / "scene.json"), read_json(folder / "log.json")
        num_samples = len(read_json(folder / "sample.json"))
    except ValueError as error:
        yield Finding("recordings", "fault", str(error), "unpack the metadata again")
        return
    yield Finding("recordings", "ok", f"{len(scenes)} scenes, {num_samples} keyframes in {folder}")
    locations = sorted({log["location"] for log in logs if log["token"] in {scene["log_token"] for scene in scenes}})
    yield check_maps(root, locations, require_maps)
    yield check_can_bus(root, [scene["name"] for scene in scenes])
    yield check_cameras(root, folder / "sample_data.json", missing_images)


def check_maps(root: Path, locations: list[str], require_maps: bool) -> Finding:
    """Whether there is a readable map expansion for every place."""
    from dima_pipeline.datasets._nuscenes_map import read_layers

    folder, broken = root / "maps" / "expansion", []
    for location in locations:
        path = folder / f"{location}.json"
        try:
            if path.is_file():
                read_layers(path)
            else:
                broken.append(f"{path} is missing")
        except ValueError as error:
            broken.append(str(error))
    if not broken:
        return Finding("map expansion", "ok", ", ".join(locations))
    advice = "unpack the map expansion (1.3 or later) into maps/, or set ingestion.dataset.require_maps: false"
    return Finding("map expansion", "fault" if require_maps else "warning", "; ".join(broken), advice)


def check_can_bus(root: Path, names: list[str]) -> Finding:
    """How many scenes have poses on the CAN bus."""
    num_found = sum((root / "can_bus" / f"{name}_pose.json").is_file() for name in names)
    found = f"{num_found} of {len(names)} scenes"
    if num_found:
        return Finding("CAN bus", "ok", found)
    return Finding(
        "CAN bus", "warning", found, "speeds are read off the driven path; unpack can_bus/ for measured ones"
    )


def check_cameras(root: Path, table: Path, missing_images: str) -> Finding:
    """Whether camera files, sampled evenly over the table, are there."""
    names = sampled_camera_files(table)
    num_missing = sum(not (root / name).is_file() for name in names)
    found = f"{len(names) - num_missing} of {len(names)} sampled files are there"
    if not names:
        return Finding("camera files", "fault", f"{table} names no camera keyframe", "unpack the metadata again")
    if not num_missing:
        return Finding("camera files", "ok", found)
    if missing_images == "error":
        advice = "complete the download, or set ingestion.missing_images to drop or render"
        return Finding("camera files", "fault", found, advice)
    return Finding("camera files", "warning", f"{found}; ingestion.missing_images is {missing_images}")


def sampled_camera_files(table: Path) -> list[str]:
    """Names of camera keyframes at even distances in ``sample_data.json``, which may be larger than a gigabyte."""
    size = table.stat().st_size
    found: set[str] = set()
    with table.open("rb") as file:
        for place in range(NUM_PLACES):
            file.seek(max(0, size - PLACE_BYTES) * place // (NUM_PLACES - 1))
            found |= {name.decode() for name in CAMERA_FILE.findall(file.read(PLACE_BYTES))}
    return sorted(found)

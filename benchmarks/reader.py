"""Seconds and memory to read the tables of a version: the JSON module, plain dicts, the devkit, and the record store.

``python benchmarks/reader.py [--size 0.1 | trainval] [--repeats 1] [--source ../shared/data/nuscenes-mini]`` writes the
tables of nuScenes mini (without it: of the hand-made root of the tests) over and over, with new tokens and with sweeps,
until they have that share of trainval's 34,149 keyframes. Each reader runs in a process of its own, in turn; memory is
the most that it held. ``--decoders`` compares ways to decode one table instead.
"""

import argparse
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
MINI = PROJECT.parent / "shared" / "data" / "nuscenes-mini"
VERSION = "v1.0-mini"
NUM_TRAINVAL = 34_149
TABLES = ("category", "attribute", "visibility", "instance", "sensor", "calibrated_sensor", "ego_pose", "log", "scene")
TABLES += ("sample", "sample_data", "sample_annotation", "map")
FIXED = ("category", "attribute", "visibility", "sensor")
"""Tables that do not grow with the recordings."""
MARK = "@@@@"
"""Stands for the number of the copy."""
SWEEPS = {"CAM": (5, 5), "LIDAR": (9, 9), "RADAR": (5, 6)}
"""Sweeps after a keyframe by sensor, in turn: as many as in the official tables."""
SPARE_BYTES = 4 << 30
"""Left to other programs."""

Row = dict[str, Any]
Tables = dict[str, list[Row]]


def source_tables(source: Path) -> Tables:
    """The tables to copy, with sweeps."""
    if (source / VERSION).is_dir():
        tables = {name: json.loads((source / VERSION / f"{name}.json").read_bytes()) for name in TABLES}
    else:
        print(f"{source} is not there: copies of the hand-made root")
        sys.path.insert(0, str(PROJECT / "tests"))
        from nuscenes_root import make_tables

        tables = make_tables()
    add_sweeps(tables)
    return tables


def add_sweeps(tables: Tables) -> None:
    """Between the keyframes of each sensor, with an ego pose each, in the same chain."""
    channels = {row["token"]: row["channel"] for row in tables["sensor"]}
    channel = {row["token"]: channels[row["sensor_token"]] for row in tables["calibrated_sensor"]}
    poses = {row["token"]: row for row in tables["ego_pose"]}
    keyframes = {row["token"]: row for row in tables["sample_data"]}
    num_swept = 0
    for index, row in enumerate(keyframes.values()):
        after = keyframes.get(row["next"])
        numbers = SWEEPS[channel[row["calibrated_sensor_token"]].split("_")[0]]
        chain = [row]
        for _ in range(numbers[index % 2] if after else 0):
            num_swept += 1
            own = {"token": f"{num_swept:032x}", "ego_pose_token": f"{num_swept:032x}", "is_key_frame": False}
            chain.append({**row, **own, "filename": row["filename"].replace("samples/", "sweeps/")})
            tables["ego_pose"].append({**poses[row["ego_pose_token"]], "token": own["token"]})
        chain += [after] if after else []
        for one, other in pairwise(chain):
            one["next"], other["prev"] = other["token"], one["token"]
        tables["sample_data"] += chain[1:-1] if after else []


def template(tables: Tables, name: str) -> bytes:
    """The records of a table as official files have them, with ``MARK`` in each token that a copy must renew."""
    fixed = {row["token"] for table in FIXED for row in tables[table]}

    def renewed(field: str, value: Any) -> Any:
        if name == "scene" and field == "name":
            return f"scene-{MARK}-{value}"
        if (field == "token" or field.endswith("_token") or field in ("prev", "next")) and value and value not in fixed:
            return MARK + (value[len(MARK) :] if len(value) == 32 else value)
        return value

    rows = [{field: renewed(field, value) for field, value in row.items()} for row in tables[name]]
    return json.dumps(rows, indent=0).encode()[2:-2]


def write_copies(tables: Tables, root: Path, num_copies: int) -> None:
    """A root with ``num_copies`` of the recordings."""
    (root / VERSION).mkdir(parents=True)
    for name in TABLES:
        if name == "map":
            continue
        once = template(tables, name)
        with (root / VERSION / f"{name}.json").open("wb") as file:
            file.write(b"[\n")
            for copy in range(1 if name in FIXED else num_copies):
                file.write((b",\n" if copy else b"") + once.replace(MARK.encode(), b"%04x" % copy))
            file.write(b"\n]")
    logs = json.loads((root / VERSION / "log.json").read_bytes())
    (root / "mask.png").write_bytes(one_pixel())
    mask = {"token": "map", "category": "", "filename": "mask.png", "log_tokens": [row["token"] for row in logs]}
    (root / VERSION / "map.json").write_text(json.dumps([mask]))


def one_pixel() -> bytes:
    """A PNG, for the devkit to find a map."""
    from io import BytesIO

    from PIL import Image

    Image.new("L", (1, 1)).save(buffer := BytesIO(), "PNG")
    return buffer.getvalue()


def read_json(root: Path, _: Path) -> object:
    """``json.loads`` of all tables, and nothing else."""
    return [json.loads((root / VERSION / f"{name}.json").read_bytes()) for name in TABLES]


def read_dicts(root: Path, _: Path) -> object:
    """The straight way: all tables as dicts by token, every reference looked up, indexed by keyframe."""
    from dima_pipeline.datasets._nuscenes_columns import FIELDS, LINKS

    paths = {name: root / VERSION / f"{name}.json" for name in FIELDS}
    tables = {name: {row["token"]: row for row in json.loads(path.read_bytes())} for name, path in paths.items()}
    for name, field, target in LINKS:
        known = tables[target]
        for row in tables[name].values():
            assert row[field] in known or (row[field] == "" and field in ("prev", "next"))
    channels = {token: row["channel"] for token, row in tables["sensor"].items()}
    channel = {token: channels[row["sensor_token"]] for token, row in tables["calibrated_sensor"].items()}
    readings: dict[str, dict[str, Row]] = {token: {} for token in tables["sample"]}
    for row in tables["sample_data"].values():
        if row["is_key_frame"]:
            readings[row["sample_token"]][channel[row["calibrated_sensor_token"]]] = row
    boxes: dict[str, list[Row]] = {token: [] for token in tables["sample"]}
    for row in tables["sample_annotation"].values():
        boxes[row["sample_token"]].append(row)
    return tables, readings, boxes


def read_devkit(root: Path, _: Path) -> object:
    """``NuScenes(...)`` of the devkit."""
    from nuscenes.nuscenes import NuScenes

    return NuScenes(VERSION, str(root), verbose=False)


def open_store(root: Path, _: Path) -> object:
    """The record store, without a cache."""
    from dima_pipeline.datasets._nuscenes_store import RecordStore

    return RecordStore.open(root / VERSION)


def open_cached(root: Path, cache: Path) -> object:
    """The record store, from its cache after the first time."""
    from dima_pipeline.datasets._nuscenes_store import RecordStore

    return RecordStore.open(root / VERSION, cache_dir=cache)


def read_scenes(root: Path, cache: Path) -> object:
    """All scenes, one after the other, from the cached store."""
    store: Any = open_cached(root, cache)
    return sum(len(store.records(name).samples) for name in store.scene_names())


READERS: dict[str, Callable[[Path, Path], object]] = {
    "json.loads": read_json,
    "dicts": read_dicts,
    "devkit": read_devkit,
    "store": open_store,
    "store, writing its cache": open_cached,
    "store, from its cache": open_cached,
    "all scenes, from the cache": read_scenes,
}


def run_reader(name: str, root: Path, cache: Path) -> None:
    """Run one reader in this process and print wall and processor seconds and peak memory, as JSON; the time of imports
    does not count."""
    for module in ("nuscenes.nuscenes",) if name == "devkit" else ("dima_pipeline.datasets._nuscenes_store",):
        importlib.import_module(module)
    limit = available_bytes() - SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    wall, start = time.perf_counter(), time.process_time()
    kept = READERS[name](root, cache)
    found = [time.perf_counter() - wall, time.process_time() - start, status_bytes("/proc/self/status", "VmHWM:")]
    print(json.dumps(found), flush=True)
    del kept
    os._exit(0)  # without minutes of freeing dicts


def available_bytes() -> int:
    """Memory that is free on this machine."""
    return status_bytes("/proc/meminfo", "MemAvailable:")


def status_bytes(path: str, field: str) -> int:
    """A field in kB of a file of /proc."""
    lines = Path(path).read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


def measure(name: str, root: Path, cache: Path) -> list[float] | None:
    """Wall and processor seconds and bytes of a reader in a process of its own; None where memory did not suffice."""
    command = [sys.executable, __file__, "--reader", name, "--root", str(root), "--cache", str(cache)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    if "MemoryError" in done.stderr:
        return None
    raise RuntimeError(done.stderr)


def compare(root: Path, cache: Path, repeats: int) -> None:
    """Print a line for each reader, with its processor time as a ratio to that of ``json.loads`` in the same turn."""
    turns = [{name: measure(name, root, cache / str(turn)) for name in READERS} for turn in range(repeats)]
    print(f"{'reader':28}{'wall s':>9}{'cpu s':>9}{'x json':>9}{'peak GB':>9}")
    for name in READERS:
        found = [(turn[name], turn["json.loads"]) for turn in turns if turn[name] and turn["json.loads"]]
        if not found:
            print(f"{name:28} does not fit into {(available_bytes() - SPARE_BYTES) / 1e9:.0f} GB")
            continue
        wall_s, cpu_s = (statistics.median(one[at] for one, _ in found) for at in (0, 1))
        ratio = statistics.median(one[1] / plain[1] for one, plain in found)
        print(f"{name:28}{wall_s:9.2f}{cpu_s:9.2f}{ratio:9.3f}{max(one[2] for one, _ in found) / 1e9:9.2f}")


def decoders(path: Path) -> dict[str, Callable[[], object]]:
    """Ways to decode ``sample_data.json``: to everything it holds, or to the fields that are needed."""
    import msgspec
    import orjson
    import pyarrow.json

    from dima_pipeline.datasets._nuscenes_columns import read_columns

    text = path.read_bytes()
    ways: dict[str, Callable[[], object]] = {
        "json.loads": lambda: json.loads(text),
        "orjson.loads": lambda: orjson.loads(text),
        "msgspec, untyped": lambda: msgspec.json.decode(text),
        "blocks, typed, to columns": lambda: read_columns(path, "sample_data"),
    }
    # It reads records one after the other, not a list: the commas must go, which only works for flat records.
    lines = text.strip()[1:-1].replace(b"},", b"}\n")
    options = pyarrow.json.ParseOptions(newlines_in_values=True)
    ways["pyarrow.json"] = lambda: pyarrow.json.read_json(
        pyarrow.BufferReader(lines), pyarrow.json.ReadOptions(block_size=1 << 22), options
    )
    try:
        import ijson
    except ImportError:
        return ways
    ways[f"ijson ({ijson.backend_name})"] = lambda: sum(1 for _ in ijson.items(path.open("rb"), "item"))
    return ways


def compare_decoders(path: Path, repeats: int) -> None:
    """Print MB a processor second of each way, and its time as a ratio to ``json.loads`` in the same turn."""
    ways, size = decoders(path), path.stat().st_size
    turns = []
    for _ in range(repeats):
        turns.append({})
        for name, way in ways.items():
            start = time.process_time()
            way()
            turns[-1][name] = time.process_time() - start
    for name in ways:
        seconds = statistics.median(turn[name] for turn in turns)
        ratio = statistics.median(turn[name] / turn["json.loads"] for turn in turns)
        print(f"{name:28}{size / 1e6 / seconds:8.0f} MB/s{ratio:9.2f} x json")


def main() -> None:
    """Parse the arguments; write the tables and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="0.1", help="share of trainval, or trainval")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--source", type=Path, default=MINI)
    parser.add_argument("--scratch", type=Path, help="folder for the tables (trainval: 3 GB)")
    parser.add_argument("--decoders", action="store_true")
    for name in ("reader", "root", "cache"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.reader:
        run_reader(given.reader, Path(given.root), Path(given.cache))
    tables = source_tables(given.source)
    share = 1.0 if given.size == "trainval" else float(given.size)
    num_copies = max(1, round(share * NUM_TRAINVAL / len(tables["sample"]) + 0.499))
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        root = Path(folder) / "root"
        write_copies(tables, root, num_copies)
        sizes = {name: (root / VERSION / f"{name}.json").stat().st_size / 1e6 for name in TABLES}
        counts = [f"{len(tables[name]) * num_copies:,} {name} ({sizes[name]:,.0f} MB)" for name in TABLES[-5:-1]]
        print(f"{num_copies} copies: {', '.join(counts)}", flush=True)
        del tables
        if given.decoders:
            compare_decoders(root / VERSION / "sample_data.json", given.repeats)
        else:
            compare(root, Path(folder) / "cache", given.repeats)


if __name__ == "__main__":
    main()

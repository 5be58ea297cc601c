"""Milliseconds a keyframe for VAD's infos: ours against the published way, call by call of the devkit, on one core.

``python benchmarks/labels.py [--scenes 4] [--rounds 2] [--dense-can]``. The tables of nuScenes mini (else the hand-made
root of the tests) with whole objects left out at random so that 34 boxes a keyframe remain; tables are read before the
clock starts, messages are not. All ways take turns scene by scene in one process and give the same values on every
field. ``cached`` is the published remedy: CAN messages once a scene, camera files without the boxes in view.
"""

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dima_pipeline.curation.vad_infos import vad_infos, write_infos

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from nuscenes_root import VERSION
from vad_drives import read_all_sweeps, write_drive
from vad_reference import VadReference, assert_same, read_all_records

SHARED = Path(os.environ.get("DIMA_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
MINI = SHARED / "nuscenes-mini"
BOXES_PER_SAMPLE = 34
BASE = "ours, none"


def mini_root(directory: Path, is_dense: bool) -> Path:
    """Mini with 34 boxes a keyframe; maps are links, CAN messages too unless they are made dense."""
    (directory / "v1.0-mini").mkdir(parents=True)
    for path in (MINI / "v1.0-mini").glob("*.json"):
        (directory / "v1.0-mini" / path.name).symlink_to(path)
    (directory / "maps").symlink_to(MINI / "maps")
    (directory / "v1.0-mini" / "sample_annotation.json").unlink()
    (directory / "v1.0-mini" / "sample_annotation.json").write_text(json.dumps(thinned_boxes()))
    if is_dense:
        dense_can(directory / "can_bus")
    else:
        (directory / "can_bus").symlink_to(MINI / "can_bus")
    return directory


def thinned_boxes() -> list[dict]:
    """The boxes of mini, in each scene without as many objects as make them 34 a keyframe; no scene gains any."""
    rows, samples = (
        json.loads((MINI / "v1.0-mini" / f"{name}.json").read_bytes()) for name in ("sample_annotation", "sample")
    )
    scene_of = {row["token"]: row["scene_token"] for row in samples}
    num_samples = Counter(scene_of.values())
    counts = Counter((scene_of[row["sample_token"]], row["instance_token"]) for row in rows)
    kept, taken = set(), Counter[str]()
    for scene, instance in np.random.default_rng(0).permutation(sorted(counts)).tolist():
        if taken[scene] + counts[scene, instance] / 2 <= num_samples[scene] * BOXES_PER_SAMPLE:
            taken[scene] += counts[scene, instance]
            kept.add(instance)
    return [row for row in rows if row["instance_token"] in kept]


def dense_can(folder: Path) -> None:
    """Messages at the rates of the real expansion, pose 50 Hz and steering 100 Hz, by repeating those of mini."""
    folder.mkdir()
    for path in (MINI / "can_bus").glob("*_pose.json"):
        rows = json.loads(path.read_bytes())
        spans = [(row, later["utime"] - row["utime"]) for row, later in itertools.pairwise(rows)]
        poses = [{**row, "utime": row["utime"] + span_us * part // 5} for row, span_us in spans for part in range(5)]
        (folder / path.name).write_text(json.dumps(poses))
        times_us = [row["utime"] + span_us * part // 10 for row, span_us in spans for part in range(10)]
        steering = [{"utime": time_us, "value": 0.1} for time_us in times_us]
        (folder / path.name.replace("pose", "steeranglefeedback")).write_text(json.dumps(steering))


def ways(root: Path, version: str) -> dict[str, Callable[[str], Any]]:
    """What to time, each called with a scene name."""
    records, sweeps = read_all_records(root / version), read_all_sweeps(root / version)
    straight, cached = (VadReference(version, root, is_cached) for is_cached in (False, True))

    def by_calls(reference: VadReference, scene: str) -> list[dict]:
        tokens = [row["token"] for row in records.scene_samples(scene)]
        return [reference.info(reference.nusc.get("sample", token)) for token in tokens]

    def written(scene: str) -> None:
        write_infos(vad_infos(records, scene, root, sweeps=sweeps), root / "infos.npz")

    return {
        BASE: lambda scene: vad_infos(records, scene, root, sweeps=sweeps),
        "ours, vad": lambda scene: vad_infos(records, scene, root, compat="vad", sweeps=sweeps),
        "ours, none, as dictionaries": lambda scene: vad_infos(records, scene, root, sweeps=sweeps).infos(str(root)),
        "ours, none, written": written,
        "published": partial(by_calls, straight),
        "published, cached": partial(by_calls, cached),
    }


def compare(root: Path, version: str, num_scenes: int, rounds: int) -> None:
    """Print a line for each way."""
    records, timed = read_all_records(root / version), ways(root, version)
    scenes = list(records.scenes)[:num_scenes]
    num_samples = sum(records.scenes[name]["nbr_samples"] for name in scenes)
    num_boxes = sum(len(records.annotations[row["token"]]) for name in scenes for row in records.scene_samples(name))
    print(f"{len(scenes)} scenes, {num_samples} keyframes, {num_boxes / num_samples:.1f} boxes a keyframe")
    check(timed, scenes[0], root)
    spent = {name: [0.0] * rounds for name in timed}
    for number, scene, name in itertools.product(range(rounds), scenes, timed):
        begin = time.process_time()
        timed[name](scene)
        spent[name][number] += time.process_time() - begin
    best = {name: 1000 * min(seconds) / num_samples for name, seconds in spent.items()}
    for name, ms in best.items():
        print(f"{name:28} {ms:8.2f} ms a keyframe  {ms / best[BASE]:7.1f} x")


def check(timed: dict[str, Callable[[str], Any]], scene: str, root: Path) -> None:
    """Every field of a scene is the same in all ways with the published faults; warms them up too."""
    ours = timed["ours, vad"](scene).infos(str(root))
    for name in ("published", "published, cached"):
        for expected, found in zip(timed[name](scene), ours, strict=True):
            assert_same(expected, found, expected["token"])
    print(f"all fields of {scene} are equal")


def main() -> None:
    """Parse the arguments and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--dense-can", action="store_true", help="CAN messages at the rates of the real expansion")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if MINI.is_dir():
            root, version = mini_root(Path(scratch) / "root", arguments.dense_can), "v1.0-mini"
        else:
            root, version = write_drive(Path(scratch) / "root"), VERSION
        compare(root, version, arguments.scenes, arguments.rounds)


if __name__ == "__main__":
    main()

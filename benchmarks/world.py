"""Keyframes a second and core of the generated world, where the time goes, bytes a keyframe, and growth with scenes.

    python benchmarks/world.py                 10, 20 and 40 scenes at 640 x 360
    python benchmarks/world.py 50 100 200 400

Ratios are the thing to compare between machines: times are processor time, which other work on the machine lengthens
less than it does the clock. Every number of scenes is made in a fresh process, so that its peak memory is its own.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dima_pipeline.curation.splits import synthetic_scene_names
from dima_pipeline.world import generate, recording
from dima_pipeline.world.config import WorldConfig
from dima_pipeline.world.renderer import Renderer

SIZE = (640, 360)
NUM_SCENES = (10, 20, 40)
PARTS = {
    "simulate": (generate, "play_scene"),
    "cameras": (recording._Recorder, "_photograph"),
    "of which pixels": (Renderer, "render"),
    "LIDAR": (recording, "scan"),
    "visibility": (recording, "visible_share"),
}


def timed(spent: Counter[str], name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """The same call; the processor time it takes is added up."""

    def wrapped(*arguments: Any, **options: Any) -> Any:
        begin = time.process_time()
        try:
            return call(*arguments, **options)
        finally:
            spent[name] += time.process_time() - begin

    return wrapped


def measure(num_scenes: int, directory: Path) -> dict[str, float]:
    """Make a world in this process; seconds, bytes, memory."""
    config = WorldConfig(num_scenes=num_scenes, image_width=SIZE[0], image_height=SIZE[1])
    spent: Counter[str] = Counter()
    for name, (owner, attribute) in PARTS.items():
        setattr(owner, attribute, timed(spent, name, getattr(owner, attribute)))
    marks: list[float] = []
    begin = time.process_time()
    generate.generate(
        config, directory, synthetic_scene_names(), progress=lambda done, total: marks.append(time.process_time())
    )
    end = time.process_time()
    files = [path for path in directory.rglob("*") if path.is_file()]
    fixed = sum(path.stat().st_size for path in files if "maps" in path.parts)
    keyframes = num_scenes * config.num_keyframes
    return {
        "keyframes": keyframes,
        "seconds": end - begin,
        # Towns and Panda3D start once: growth is between the first scene and the last.
        "seconds_each": (marks[-1] - marks[0]) / max(keyframes - config.num_keyframes, 1),
        "seconds_tables": end - marks[-1],
        "bytes_each": (sum(path.stat().st_size for path in files) - fixed) / keyframes,
        "fixed_bytes": fixed,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        **spent,
    }


def in_fresh_process(num_scenes: int) -> dict[str, float]:
    """``measure`` in a process and a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="dima_world_") as folder:
        command = [sys.executable, __file__, "--measure", str(num_scenes), str(Path(folder, "root"))]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(done.stdout)


def report(found: list[dict[str, float]]) -> None:
    """Print a line for each world, and the parts of the largest."""
    print("keyframes  seconds  keyframes/s/core  tables_s  kB/keyframe  maps_MB  peak_MB")
    for row in found:
        numbers = (f"{row['keyframes']:9.0f}", f"{row['seconds']:8.1f}", f"{1 / row['seconds_each']:17.2f}")
        sizes = (f"{row['bytes_each'] / 1e3:12.1f}", f"{row['fixed_bytes'] / 1e6:8.1f}", f"{row['peak_mb']:8.0f}")
        print(*numbers, f"{row['seconds_tables']:9.2f}", *sizes)
    first, last = found[0], found[-1]
    grown = {name: last[name] / first[name] for name in ("keyframes", "seconds_each", "bytes_each", "peak_mb")}
    print(
        f"growth x{grown['keyframes']:.0f}: seconds a keyframe x{grown['seconds_each']:.2f}, "
        f"bytes a keyframe x{grown['bytes_each']:.2f}, peak memory x{grown['peak_mb']:.2f}"
    )
    each = last["seconds"] / last["keyframes"]
    print(f"of {1e3 * each:.1f} ms a keyframe at {SIZE[0]} x {SIZE[1]}:")
    for name in PARTS:
        print(f"  {name:16} {1e3 * last[name] / last['keyframes']:7.1f} ms  {last[name] / last['seconds']:5.0%}")
    print(f"cameras alone: {last['keyframes'] / last['cameras']:.1f} keyframes/s/core")
    print(f"cameras and LIDAR: {last['keyframes'] / (last['cameras'] + last['LIDAR']):.1f} keyframes/s/core")


def main() -> None:
    """Measure worlds of growing size, or one where a parent process asks for it."""
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(int(sys.argv[2]), Path(sys.argv[3]))))
        return
    report([in_fresh_process(int(number)) for number in sys.argv[1:] or NUM_SCENES])


if __name__ == "__main__":
    main()

"""Reads every case of broken tables, CAN bus files and maps (``python read_broken_roots.py ROOT FOLDER``).

Prints as JSON what came of each: the findings, the messages, and each file that was opened outside the root.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from broken_roots import copy
from broken_scenes import SCENE_CASES
from broken_tables import TABLE_CASES
from nuscenes_root import VERSION

CASES = {**TABLE_CASES, **SCENE_CASES}


def read_cases(root: Path, folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """What comes of each case, in roots below ``folder``."""
    read(copy(root, folder / "sound"))  # and whatever is imported on the way
    opened: list[Any] = []
    sys.addaudithook(lambda event, arguments: opened.append(arguments[0]) if event == "open" else None)
    for number, (name, case) in enumerate(CASES.items()):
        own = copy(root, folder / str(number) / "root")
        case.spoil(own)
        opened.clear()
        result = read(own)
        named = [Path(os.path.realpath(os.fsdecode(path))) for path in opened if not isinstance(path, int)]
        result["outside"] = [str(path) for path in named if not path.is_relative_to(own.resolve())]
        yield name, result
        shutil.rmtree(folder / str(number))


def read(root: Path) -> dict[str, Any]:
    """All scenes, as ingestion does: findings of one do not keep it from the next."""
    from dima_pipeline.contracts.findings import BrokenRecording
    from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset

    findings, messages = [], []
    try:
        dataset = NuScenesDataset(Config(version=VERSION), dataroot=root)
        for scene_name in dataset.scene_names():
            try:
                dataset.fingerprint(scene_name)
                dataset.tables(scene_name)
                dataset.sweeps(scene_name)
            except BrokenRecording as error:
                findings += error.findings
                messages.append(str(error))
    except BrokenRecording as error:
        findings += error.findings
        messages.append(str(error))
    except ValueError as error:
        messages.append(str(error))
    return {"findings": [asdict(finding) for finding in findings], "messages": messages}


if __name__ == "__main__":
    print(json.dumps(dict(read_cases(Path(sys.argv[1]), Path(sys.argv[2])))))  # noqa: T201

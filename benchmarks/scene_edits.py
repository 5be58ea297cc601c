"""Thousands of random scene edits, each looked at by a checker that shares no code with what makes them.

``python benchmarks/scene_edits.py [--edits 10000] [--scenes 110] [--seed 1] [--mini ../shared/data/nuscenes-mini]``
plays a world without pictures (or reads the recordings), edits it with one seed after the other, and prints faults by
name, shares by kind, category and label, how many edits matter, which keyframes were left alone and why, and edits a
second of processor time. On a world, added vehicles are also held against the drivable area of the map itself, which
the tables do not hold.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely

from dima_pipeline.curation.annotation_config import EditConfig
from dima_pipeline.curation.scene_edits import scene_edit_rows
from dima_pipeline.datasets import SceneTables
from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from edit_checker import check_edits, polygons
from edit_worlds import all_tables, generator, make_world, scenes_of


def make_edits(tables: SceneTables, num: int) -> tuple[pd.DataFrame, Counter[str], float]:
    """At least ``num`` edits, whole seeds of them; keyframes left alone by reason; seconds of processor time."""
    scenes, rows = list(scenes_of(tables)), []
    left_alone: Counter[str] = Counter()
    began = time.process_time()
    for seed in count():
        for at, frames in enumerate(scenes):
            rows += scene_edit_rows(EditConfig(), frames, generator(seed, at), left_alone)
        if len(rows) >= num:
            return pd.DataFrame(rows), left_alone, time.process_time() - began
    raise AssertionError


def off_the_map(edits: pd.DataFrame, tables: SceneTables, dataset: NuScenesDataset) -> np.ndarray:
    """Square metres of every added vehicle, at the worst of its seven places, that are off the map's drivable area."""
    samples = tables.samples.merge(tables.scenes[["scene_token", "location"]]).set_index("sample_token")
    vehicles = edits[(edits.kind == "add") & (edits.category != "pedestrian")]
    found = []
    for row in vehicles.itertuples():
        at = samples.loc[row.sample_token]
        yaw = np.arctan2(2 * (at.ego_qw * at.ego_qz + at.ego_qx * at.ego_qy), 1 - 2 * (at.ego_qy**2 + at.ego_qz**2))
        areas, _ = dataset.ground(at.location, np.array([at.ego_x_m, at.ego_y_m]), 40.0)
        road = shapely.union_all([shapely.Polygon(shell, holes) for kind, shell, holes in areas if kind == "road"])
        future = np.column_stack([np.reshape(row.future, (6, 2)), row.future_yaw_rad])
        x, y, turned = np.concatenate([[[row.x_m, row.y_m, row.yaw_rad]], future]).T
        place = np.stack(
            [at.ego_x_m + np.cos(yaw) * x - np.sin(yaw) * y, at.ego_y_m + np.sin(yaw) * x + np.cos(yaw) * y]
        )
        size = np.full((2, len(x)), [[row.length_m], [row.width_m]])
        boxes = polygons(np.stack([*place, turned + yaw, *size], -1))
        found.append(shapely.area(shapely.difference(boxes, road)).max())
    return np.array(found)


def report(edits: pd.DataFrame, faults: pd.Series, left_alone: Counter[str], seconds: float) -> None:
    """Print what was found."""
    found = Counter(name for names in faults for name in names.split())
    print(f"{len(edits):,} edits, {(faults != '').sum()} at fault {dict(found)}, {len(edits) / seconds:.0f} a second")
    print(f"matter: {edits.matters.mean():.1%} {edits.groupby('kind').matters.mean().round(3).to_dict()}")
    print(f"keyframes left alone: {dict(sorted(left_alone.items()))}")
    table = pd.crosstab([edits.kind, edits.category], edits.label, margins=True)
    print(table.to_string())
    print((table / len(edits) * 100).round(1).to_string())


def main() -> None:
    """Parse the arguments; make, check, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edits", type=int, default=10_000)
    parser.add_argument("--scenes", type=int, default=110)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mini", type=Path, help="a folder with nuScenes v1.0-mini, instead of a world")
    given: Any = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if given.mini:
            dataset = NuScenesDataset(Config(version="v1.0-mini"), dataroot=given.mini)
        else:
            dataset = make_world(Path(scratch) / "root", given.scenes, given.seed)
        tables = all_tables(dataset)
        edits, left_alone, seconds = make_edits(tables, given.edits)
        report(edits, check_edits(edits, tables), left_alone, seconds)
        if not given.mini:
            off = off_the_map(edits, tables, dataset)
            print(f"off the map's drivable area by more than 0.05 m2: {(off > 0.05).sum()} of {len(off):,} vehicles")
            print(f"worst {off.max():.3f} m2")


if __name__ == "__main__":
    main()

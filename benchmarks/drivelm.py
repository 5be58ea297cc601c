"""How often tags mean the right agent, and seconds and memory for a DriveLM file of trainval's size.

    python benchmarks/drivelm.py data/nuscenes_mini/02_intermediate

Tags: every seen box in every camera that shows its centre, exactly and as a person may draw it (centre off by 4 % of
the size, edges by 6 %, standard deviations). File: 4,072 frames, those of the tables over and over under new tokens.
"""

import argparse
import json
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from dima_pipeline.annotations._drivelm_file import open_file
from dima_pipeline.annotations._drivelm_tags import IMAGE_PX, KINDS, Boxes, Tag, boxes_of
from dima_pipeline.annotations.drivelm import scene_pairs
from dima_pipeline.contracts.frames import CAMERAS, VQA_CATEGORIES
from dima_pipeline.storage.keyframes import seen

NUM_FRAMES, NUM_QUESTIONS = 4072, 93
CENTRE_SHARE, EDGE_SHARE = 0.04, 0.06


def keyframes(samples: pd.DataFrame, agents: pd.DataFrame) -> Iterator[tuple[Boxes, np.ndarray]]:
    """Boxes of every keyframe and which of them are seen."""
    rows = agents.groupby("sample_token", sort=False).indices
    for sample in samples.itertuples(index=False):
        mine = agents.take(rows.get(sample.sample_token, np.array([], int)))
        yield boxes_of(sample, mine), seen(mine)


def shown_boxes(boxes: Boxes, camera: str) -> np.ndarray:
    """Rows whose centre a camera shows."""
    drawn = boxes.drawn(camera)
    inside = (drawn.centre >= 0).all(1) & (drawn.centre <= IMAGE_PX).all(1)
    return np.flatnonzero(drawn.is_inside & inside)


def resolution(samples: pd.DataFrame, agents: pd.DataFrame) -> dict[str, Counter[str]]:
    """What became of tags, by how they were drawn."""
    rng, found = np.random.default_rng(0), {}
    for boxes, is_seen in keyframes(samples, agents):
        for camera in CAMERAS:
            drawn = boxes.drawn(camera)
            for row in (row for row in shown_boxes(boxes, camera) if is_seen[row]):
                box = drawn.rectangle[row]
                size = box[2:] - box[:2]
                by_hand = (box[:2] + box[2:]) / 2 + CENTRE_SHARE * rng.normal(size=2) * size
                edges = box + EDGE_SHARE * rng.normal(size=4) * np.tile(size, 2)
                group = next(name for name, kinds in KINDS.items() if boxes.categories[row] in kinds)
                for name, place, info in (
                    ("exact, with box", drawn.centre[row], {"Category": group, "2d_bbox": box.round(1).tolist()}),
                    ("exact, alone", drawn.centre[row], None),
                    ("by hand, with box", by_hand, {"Category": group, "2d_bbox": edges.tolist()}),
                    ("by hand, alone", by_hand, None),
                ):
                    x, y = np.clip(place, 0, IMAGE_PX).round(1).tolist()
                    instance, _ = boxes.resolve(Tag("", camera, x, y), info)
                    outcome = "right" if instance == boxes.instances[row] else "wrong" if instance else "open"
                    found.setdefault(name, Counter())[outcome] += 1
    return found


def frame(boxes: Boxes) -> dict[str, object]:
    """A frame as DriveLM has it, with up to six tagged objects."""
    infos: dict[str, object] = {}
    for camera in ("CAM_FRONT", "CAM_BACK", "CAM_FRONT_LEFT"):
        for row in shown_boxes(boxes, camera)[:2]:
            x, y = boxes.drawn(camera).centre[row]
            box = boxes.drawn(camera).rectangle[row].round(1).tolist()
            facts = {"Category": None, "Status": "Moving", "Visual_description": "A car.", "2d_bbox": box}
            infos[f"<c{len(infos) + 1},{camera},{x:.1f},{y:.1f}>"] = facts
    tags = list(infos) or ["<c1,CAM_FRONT,800.0,450.0>"]
    empty = dict.fromkeys(("C", "con_up", "con_down", "cluster", "layer"))
    questions: dict[str, list[object]] = {category: [] for category in VQA_CATEGORIES}
    for at in range(NUM_QUESTIONS):
        tag = tags[at % len(tags)]
        asked = f"What is the moving status of object {tag}? And what of it in question {at} of this frame?"
        questions[VQA_CATEGORIES[at % 4]].append({"Q": asked, "A": f"{tag} goes ahead, {at} times.", **empty})
    return {"key_object_infos": infos, "QA": questions, "image_paths": {}}


def large(samples: pd.DataFrame, agents: pd.DataFrame) -> tuple[list[SimpleNamespace], dict[str, object]]:
    """Tables of scenes, and a file about their keyframes."""
    frames = {boxes.sample.sample_token: frame(boxes) for boxes, _ in keyframes(samples, agents)}
    scenes, content, number = [], {}, 0
    agents = agents.assign(
        scene=agents.sample_token.map(dict(zip(samples.sample_token, samples.scene_token, strict=True)))
    )
    parts = [(part, agents[agents.scene == token]) for token, part in samples.groupby("scene_token", sort=False)]
    while number < NUM_FRAMES:
        part, boxes = parts[len(scenes) % len(parts)]
        prefix, kept = f"{len(scenes):04d}", part.head(NUM_FRAMES - number)
        scenes.append(
            SimpleNamespace(
                **{
                    name: table.assign(sample_token=prefix + table.sample_token)
                    for name, table in (("samples", part), ("agents", boxes))
                }
            )
        )
        key_frames = {prefix + token: frames[token] for token in kept.sample_token}
        content[prefix + part.scene_token.iloc[0]] = {"scene_description": "A drive.", "key_frames": key_frames}
        number += len(kept)
    return scenes, content


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path, help="folder of samples.parquet and agents.parquet")
    folder = parser.parse_args().tables
    samples, agents = (pd.read_parquet(folder / f"{name}.parquet") for name in ("samples", "agents"))
    for name, outcomes in resolution(samples, agents).items():
        total = sum(outcomes.values())
        print(f"{name:18} {total} tags", *(f"{one} {outcomes[one] / total:.2%}" for one in ("right", "open", "wrong")))
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, "qa.json")
        scenes, content = large(samples, agents)
        with path.open("w") as file:
            json.dump(content, file, indent=4)
        del content
        before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        open_file(path)
        opened = time.process_time()
        num_pairs = sum(1 for scene in scenes for _ in scene_pairs(path, scene, print))
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(f"{path.stat().st_size / 1e6:.0f} MB, {num_pairs} pairs: ready after {opened - begin:.1f} s,", end=" ")
        print(f"read in {time.process_time() - opened:.1f} s on one core; the peak of memory grows by {grown:.0f} MB")


if __name__ == "__main__":
    main()

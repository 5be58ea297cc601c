"""Pairs a keyframe, distinct answers, what always giving the most frequent answer scores, and pairs/s/core, by rule.

    python benchmarks/annotation.py                            a generated world of 60 scenes without pictures
    python benchmarks/annotation.py --scenes 200 --seed 1
    python benchmarks/annotation.py --root DIR --version v1.0-mini
    python benchmarks/annotation.py --scenes 200 --seed 11 --write DIR    also tables and pairs, as parquet files in DIR

One line a category, then one a question template. ``phrasings`` are counted after names, numbers and directions are
blanked out. The bars are 60 % a category and 85 % a template; the time is that of the rules alone, tables in memory.
"""

import argparse
import json
import re
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pandas as pd

from dima_pipeline.annotations import ANNOTATORS
from dima_pipeline.contracts.batch import VqaPair
from dima_pipeline.curation.annotate import TruthfulScene, truthful_scenes
from dima_pipeline.curation.grounding import check_pairs
from dima_pipeline.curation.splits import synthetic_scene_names
from dima_pipeline.datasets import DATASETS, SceneTables
from dima_pipeline.world.config import WorldConfig
from dima_pipeline.world.generate import scene_jobs, write_root

CATEGORY_BAR, TEMPLATE_BAR = 0.60, 0.85
FEW = 20
"""Answers of a template that are too few to be judged."""


def generated_scenes(num_scenes: int, seed: int) -> Iterator[TruthfulScene]:
    """The scenes of a world without pictures."""
    config = WorldConfig(num_scenes=num_scenes, seed=seed, image_width=48, image_height=27)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        write_root(config, root, scene_jobs(config, synthetic_scene_names()), with_images=False)
        yield from recorded_scenes(root, config.version)


def recorded_scenes(root: Path, version: str) -> Iterator[TruthfulScene]:
    """The scenes of a root, with their truth where it has one; pictures are not looked at."""
    dataset = DATASETS.build(DATASETS.parse({"name": "nuscenes", "version": version}), dataroot=root, cache_dir=None)
    found = [dataset.tables(name) for name in dataset.scene_names()]
    names = [field.name for field in fields(SceneTables)]
    tables = SceneTables(**{name: pd.concat([getattr(one, name) for one in found]) for name in names})
    file = root / version / "world_truth.json"
    yield from truthful_scenes(tables, pd.DataFrame(json.loads(file.read_text())) if file.is_file() else None)


def plain(question: str) -> str:
    """A question without what differs from object to object."""
    question = re.sub(r"<c\d+,[^>]*>, ", "", question)
    question = re.sub(r"\bthe (?:nearest )?[a-z ]+? to the (?:front|back)(?: left| right)?,?", "X", question)
    return re.sub(r"\d+", "0", question)


def table(groups: dict[str, list[tuple[str, str]]], num_keyframes: int, bar: float) -> None:
    """Print a line for each group of (question, answer)."""
    print(f"{'':20} {'pairs':>7} {'a keyframe':>10} {'answers':>8} {'phrasings':>9} {'most frequent':>14}")
    for name, rows in groups.items():
        answers = Counter(answer for _, answer in rows)
        answer, number = answers.most_common(1)[0]
        share = number / len(rows)
        mark = " (few)" if len(rows) < FEW else " !!" if share > bar else ""
        sizes = f"{len(rows):7} {len(rows) / num_keyframes:10.2f} {len(answers):8}"
        print(f"{name:20} {sizes} {len({plain(text) for text, _ in rows}):9} {share:13.1%}{mark}  {answer[:60]}")


def write(folder: Path, scenes: list[TruthfulScene], pairs: list[VqaPair]) -> None:
    """The tables of the scenes and their pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    for field in fields(TruthfulScene):
        pd.concat([getattr(scene, field.name) for scene in scenes]).to_parquet(folder / f"{field.name}.parquet")
    rows = [{**asdict(pair), "objects": list(pair.objects)} for pair in pairs]
    pd.DataFrame(rows).to_parquet(folder / "vqa_pairs.parquet")


def main() -> None:
    """Annotate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--version", default="v1.0-mini")
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    source = recorded_scenes(arguments.root, arguments.version) if arguments.root else None
    scenes = list(source or generated_scenes(arguments.scenes, arguments.seed))
    rules = ANNOTATORS.build(ANNOTATORS.parse("rules"))
    num_keyframes = sum(len(scene.samples) for scene in scenes)
    begin = time.process_time()
    asked = [list(rules.templated_pairs(scene, np.random.default_rng(at))) for at, scene in enumerate(scenes)]
    seconds = time.process_time() - begin
    if arguments.write:
        write(arguments.write, scenes, [pair for rows in asked for _, pair in rows])
    by_category, by_template = defaultdict(list), defaultdict(list)
    for template, pair in (one for rows in asked for one in rows):
        by_category[pair.category].append((pair.question, pair.answer))
        by_template[f"{pair.category[:4]} {template}"].append((pair.question, pair.answer))
    num_pairs = sum(map(len, asked))
    print(f"{len(scenes)} scenes, {num_keyframes} keyframes, {num_pairs} pairs, {num_pairs / seconds:.0f} pairs/s/core")
    table(by_category, num_keyframes, CATEGORY_BAR)
    table(dict(sorted(by_template.items())), num_keyframes, TEMPLATE_BAR)
    verdicts = Counter(
        verdict.check
        for scene, rows in zip(scenes, asked, strict=True)
        for verdict in check_pairs([pair for _, pair in rows], scene)
    )
    print(f"the checker of the pipeline says: {dict(verdicts)}")


if __name__ == "__main__":
    main()

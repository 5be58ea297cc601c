"""A tiny training set for tests: hand-made scenes as tables, noise images as shards, questions and one edit."""

from pathlib import Path

import numpy as np
import pandas as pd

from dima_pipeline.storage.image_shards import ImageShards, ImageShardWriter
from dima_pipeline.training.windows import TrainingTables
from hand_scenes import Actor, HandScene, make_tables, straight, token

IMAGE_SIZE = (32, 32)
EDIT_COLUMNS = [
    "sample_token",
    "kind",
    "instance_token",
    "category",
    "x_m",
    "y_m",
    "yaw_rad",
    "length_m",
    "width_m",
    "vx_mps",
    "vy_mps",
    "future",
    "path",
    "path_valid",
    "question",
    "answer",
    "matters",
]


def edit_row(sample_token: str, kind: str = "add", x_m: float = 12.0, answer: str = "brake") -> dict[str, object]:
    """A standing car ahead, and an ego that rolls to a stop before it."""
    path = np.stack([np.linspace(1, 5, 6), np.zeros(6)], -1)
    values = (sample_token, kind, f"{kind}-{sample_token}", "truck", x_m, 0.0, 0.0, 7.0, 2.5, 0.0, 0.0)
    lists = ([x_m, 0.0] * 6, path.ravel().tolist(), [True] * 5 + [False])
    return dict(zip(EDIT_COLUMNS, (*values, *lists, "A truck stands ahead: what now?", answer, True), strict=True))


def vqa_row(sample_token: str, answer: str, check: str = "passed") -> dict[str, object]:
    """A question about speed."""
    return {
        "sample_token": sample_token,
        "category": "planning",
        "question": "How does the car move?",
        "answer": answer,
        "objects": ["ahead"],
        "source": "rules",
        "check": check,
    }


def make_training_tables(num_keyframes: int = 6) -> TrainingTables:
    """Two train scenes at 4 and 8 m/s behind a car, one val scene; a question a keyframe, an edit of the first."""
    scenes = []
    for number, (speed, split) in enumerate(((4.0, "train"), (8.0, "train"), (6.0, "val"))):
        ego = straight(num_keyframes, speed)
        actors = {
            "ahead": Actor("car", straight(num_keyframes, speed, 10.0)),
            "stone": Actor("barrier", (20.0, 4.0, 0)),
        }
        line = ("divider", [(-20.0, 2.0), (40.0, 2.0)])
        scenes.append((HandScene(ego, actors, [line], name=f"scene-{number:04d}"), split, speed))
    made = make_tables(*(scene for scene, _, _ in scenes))
    made.scenes["split"] = [split for _, split, _ in scenes]
    pairs = [
        vqa_row(token(s, at), f"It drives {speed:.0f} m/s.") for s, _, speed in scenes for at in range(num_keyframes)
    ]
    edits = [edit_row(token(scene, 0)) for scene, _, _ in scenes]
    return TrainingTables(
        **vars(made), vqa_pairs=pd.DataFrame(pairs), scene_edits=pd.DataFrame(edits, columns=EDIT_COLUMNS)
    )


def write_shards(tables: TrainingTables, directory: Path, image_size: tuple[int, int] = IMAGE_SIZE) -> ImageShards:
    """Noise images that start with the number of their keyframe in the samples table."""
    rng = np.random.default_rng(0)
    writer = ImageShardWriter(directory, image_size)
    rows = {name: row for row, name in enumerate(tables.samples["sample_token"])}
    for scene_token, samples in tables.samples.groupby("scene_token"):
        images = rng.integers(0, 256, (len(samples), 6, *image_size, 3), dtype=np.uint8)
        images[:, 0, 0, 0, 0] = [rows[name] for name in samples["sample_token"]]
        writer.add_scene(str(scene_token), samples["sample_token"].tolist(), images)
    writer.finish()
    return ImageShards(directory)

"""Recorded images of a keyframe beside what replay draws of it, the annotated boxes over both."""

from pathlib import Path

import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from dima_pipeline.cli.box_outlines import draw_outlines
from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.curation.replay import ReplayRenderer
from dima_pipeline.datasets import SceneTables
from dima_pipeline.datasets.nuscenes import NuScenesDataset
from dima_pipeline.storage.scene_reader import projections

SIZE = (360, 640)
"""Height and width of a picture."""


def recorded_keyframes(tables: SceneTables) -> pd.DataFrame:
    """Rows of ``samples`` whose six images are all recorded."""
    sources = tables.samples[[f"{camera.lower()}_source" for camera in CAMERAS]]
    return tables.samples[(sources == "recorded").all(axis=1)].sort_values("index")


def draw_replay(
    sample: pd.Series, tables: SceneTables, dataset: NuScenesDataset, renderer: ReplayRenderer
) -> Image.Image:
    """Six rows, one a camera: recorded, rendered."""
    height, width = SIZE
    agents = tables.agents[tables.agents["sample_token"] == sample["sample_token"]]
    from_ego = projections(sample.to_frame().T, SIZE)[0]
    recorded = dataset.images(sample, SIZE)
    sheet = Image.new("RGB", (2 * width, len(CAMERAS) * height), "#2a3139")
    for row, camera in enumerate(CAMERAS):
        for column, pixels in enumerate((recorded[camera], renderer.render(tables, sample, camera))):
            if pixels is None:
                continue
            picture = Image.fromarray(pixels)
            draw_outlines(picture, agents, from_ego[row])
            label = f"{camera}, {('recorded', 'rendered')[column]}"
            ImageDraw.Draw(picture).text((8, 6), label, font=ImageFont.load_default(size=20), fill="#ffffff")
            sheet.paste(picture, (column * width, row * height))
    return sheet


def write_replay_sheets(dataset: NuScenesDataset, out: Path, scene_names: list[str]) -> list[dict[str, str]]:
    """A PNG of the first keyframe with recorded images of each scene; raises ``ValueError`` where no scene has one."""
    renderer = ReplayRenderer(dataset.ground, SIZE)
    entries = []
    try:
        for name in scene_names:
            tables = dataset.tables(name)
            for _, sample in recorded_keyframes(tables).head(1).iterrows():
                file = f"replay_{name}_{sample['index']:03d}.png"
                draw_replay(sample, tables, dataset, renderer).save(out / file)
                text = f"{tables.scenes.iloc[0]['description']}. Recorded on the left, rendered on the right."
                entries.append({"file": file, "heading": f"{name}, keyframe {sample['index']}", "text": text})
    finally:
        renderer.close()
    if not entries:
        raise ValueError(f"no keyframe of {', '.join(scene_names)} has six recorded images: nothing to set beside")
    return entries

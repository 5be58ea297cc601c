"""What recorded traffic does where the ego drives otherwise: the log beside a replay in which the ego brakes to a halt.

In the replay vehicles keep to their logged path and react by IDM (``curation.reactive_replay``).
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from dima_pipeline.cli.replay_sheets import SIZE
from dima_pipeline.curation.reactive_replay import react
from dima_pipeline.curation.replay import ReplayRenderer, level_pose
from dima_pipeline.datasets import SceneTables
from dima_pipeline.datasets.nuscenes import NuScenesDataset

Array = np.ndarray
VIEWS = ("CAM_FRONT", "CAM_BACK")
BRAKING_MPS2 = 3.0
NUM_INSTANTS = 5


def halted(logged: Float[Array, "N 3"], times_s: Float[Array, "N"], from_s: float) -> Float[Array, "N 3"]:
    """The logged poses, but that the ego brakes with ``BRAKING_MPS2`` on its logged path from ``from_s`` on."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(logged[:, :2], axis=0), axis=1))])
    begin = int(np.searchsorted(times_s, from_s))
    if begin >= len(times_s) - 1:
        return logged
    speed = (along[begin + 1] - along[begin]) / (times_s[begin + 1] - times_s[begin])
    since = np.minimum(np.maximum(times_s - times_s[begin], 0.0), speed / BRAKING_MPS2)
    place = np.where(times_s <= times_s[begin], along, along[begin] + speed * since - BRAKING_MPS2 * since**2 / 2)
    # Never further than in the log: a car that stood soon anyway stands there.
    place = np.minimum(place, along)
    turned = np.column_stack([logged[:, :2], np.unwrap(logged[:, 2])])
    rising = along + 1e-9 * np.arange(len(along))
    return np.stack([np.interp(place, rising, values) for values in turned.T], -1)


def draw_reaction(tables: SceneTables, renderer: ReplayRenderer) -> Image.Image:
    """Five instants, one below the other: front and back as logged, then with the ego that halts after a third."""
    samples = tables.samples.sort_values("index", ignore_index=True)
    logged = np.stack([level_pose(sample) for _, sample in samples.iterrows()])
    times = (samples["timestamp_us"].to_numpy(float) - samples["timestamp_us"].iloc[0]) / 1e6
    from_s = float(times[-1]) / 3
    driven = halted(logged, times, from_s)
    reacting = react(tables, driven)
    apart = np.hypot(*(driven - logged)[:, :2].T)
    height, width = SIZE
    instants = np.linspace(len(times) // 3, len(times) - 1, NUM_INSTANTS).round().astype(int)
    sheet = Image.new("RGB", (2 * len(VIEWS) * width, NUM_INSTANTS * height), "#2a3139")
    sides = (("log", tables, samples), ("ego halts", reacting, reacting.samples.sort_values("index")))
    # Side by side in time: the renderer takes two keyframes of one sample_token in a row for the same.
    for column, (name, scene, rows) in enumerate(sides):
        for line, at in enumerate(instants):
            for place, camera in enumerate(VIEWS):
                picture = Image.fromarray(renderer.render(scene, rows.iloc[at], camera))
                label = f"{name}, {camera}, {times[at]:.1f} s" + (f", {apart[at]:.0f} m behind" if column else "")
                ImageDraw.Draw(picture).text((8, 6), label, font=ImageFont.load_default(size=20), fill="#ffffff")
                sheet.paste(picture, ((column * len(VIEWS) + place) * width, line * height))
    return sheet


def write_reaction_sheets(dataset: NuScenesDataset, out: Path, scene_names: list[str]) -> list[dict[str, str]]:
    """A PNG of each scene; returns file, heading and description of each, for the page."""
    renderer = ReplayRenderer(dataset.ground, SIZE)
    entries = []
    try:
        for name in scene_names:
            tables = dataset.tables(name)
            file = f"reaction_{name}.png"
            draw_reaction(tables, renderer).save(out / file)
            text = f"{tables.scenes.iloc[0]['description']}. Left the log; right the ego brakes and the others react."
            entries.append({"file": file, "heading": name, "text": text})
    finally:
        renderer.close()
    return entries

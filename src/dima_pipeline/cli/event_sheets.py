"""Contact sheets of planted events: six cameras and the view from above at five instants taken from ``world_truth``."""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from dima_pipeline.cli.box_outlines import draw_frames
from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.curation.replay import level_pose
from dima_pipeline.datasets import SceneTables
from dima_pipeline.datasets._nuscenes_tables import agent_category
from dima_pipeline.datasets.nuscenes import NuScenesDataset
from dima_pipeline.evaluation.drawing import TILE, Keyframe, draw_above, draw_cameras
from dima_pipeline.geometry import rotation_from_quaternion, to_frame, wrap_angle, yaw_from_rotation
from dima_pipeline.storage.scene_reader import projections

NUM_INSTANTS = 5
MARGIN_US = 1_000_000
"""Shown before and after an event."""
ROW_HEIGHT, CAPTION_HEIGHT = 400, 34
MAX_NAMED = 6


@dataclass(frozen=True)
class Event:
    """An interval of a scene that a sheet shows."""

    kind: str
    scene_name: str
    begin_us: int
    end_us: int
    actors: frozenset[str]
    """Instance tokens of those that the event is about."""


def find_events(truth: pd.DataFrame, scenes: pd.DataFrame, per_kind: int) -> list[Event]:
    """At most ``per_kind`` events of each kind by name: bright scenes before dark and wet ones, long before short.

    ``truth`` has the columns of ``contracts.tables.WorldTruth``; ``scenes`` token, name and description.
    """
    rows = truth[truth["kind"] == "event"].merge(scenes, left_on="scene_token", right_on="token")
    dim = rows["description"].str.contains(r"\b(?:night|dusk|rain|fog)", case=False, regex=True)
    rows = rows.assign(dim=dim, length=rows["end_timestamp_us"] - rows["begin_timestamp_us"])
    rows = rows.sort_values(["value", "dim", "length", "name"], ascending=[True, True, False, True])
    found = []
    for kind, of_kind in rows.groupby("value", sort=True):
        for _, row in of_kind.drop_duplicates("name").head(per_kind).iterrows():
            found.append(_event(str(kind), row, of_kind, truth))
    return found


def _event(kind: str, row: pd.Series, of_kind: pd.DataFrame, truth: pd.DataFrame) -> Event:
    """Marked are the agents of the event, and those whose intention has its name."""
    here = of_kind[of_kind["scene_token"] == row["scene_token"]]
    meant = truth[(truth["scene_token"] == row["scene_token"]) & (truth["kind"] == "intention")]
    meant = meant[meant["value"] == kind]
    actors = frozenset({*here["instance_token"].dropna(), *meant["instance_token"].dropna()})
    return Event(kind, row["name"], int(row["begin_timestamp_us"]), int(row["end_timestamp_us"]), actors)


def instants(times_us: np.ndarray, begin_us: int, end_us: int) -> list[int]:
    """Places of the keyframes to show: evenly from a second before an interval to a second after it, none twice."""
    wanted = np.linspace(begin_us - MARGIN_US, end_us + MARGIN_US, NUM_INSTANTS)
    nearest = np.abs(np.asarray(times_us)[None] - wanted[:, None]).argmin(1)
    return sorted(set(nearest.tolist()))


def draw_sheet(event: Event, tables: SceneTables, truth: pd.DataFrame, dataset: NuScenesDataset) -> Image.Image:
    """A row of pictures for each instant, the first on top; agents of the event have a coloured outline."""
    samples = tables.samples.sort_values("index")
    places = instants(samples["timestamp_us"].to_numpy(), event.begin_us, event.end_us)
    rows = [_row(event, samples.iloc[place], tables, truth, dataset) for place in places]
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


def _row(
    event: Event, sample: pd.Series, tables: SceneTables, truth: pd.DataFrame, dataset: NuScenesDataset
) -> Image.Image:
    keyframe = _keyframe(event, sample, tables, dataset)
    parts = [_scaled(draw_cameras(keyframe)), _scaled(draw_above(keyframe))]
    row = Image.new("RGB", (sum(part.width for part in parts), ROW_HEIGHT + CAPTION_HEIGHT), "white")
    font = ImageFont.load_default(size=20)
    ImageDraw.Draw(row).text((6, 5), caption(event, sample, tables, truth), font=font, fill="#111111")
    left = 0
    for part in parts:
        row.paste(part, (left, CAPTION_HEIGHT))
        left += part.width
    return row


def _scaled(picture: Image.Image) -> Image.Image:
    return picture.resize((round(picture.width * ROW_HEIGHT / picture.height), ROW_HEIGHT), Image.Resampling.LANCZOS)


def _keyframe(event: Event, sample: pd.Series, tables: SceneTables, dataset: NuScenesDataset) -> Keyframe:
    token = sample["sample_token"]
    agents = tables.agents[tables.agents["sample_token"] == token]
    agents = pd.concat([agents, unmapped_agents(event, sample, dataset)], ignore_index=True)
    path = tables.ego_paths[(tables.ego_paths["sample_token"] == token) & (tables.ego_paths["step"] > 0)]
    from_ego = projections(sample.to_frame().T, (TILE[1], TILE[0]))[0]
    recorded = dataset.images(sample, (TILE[1], TILE[0]))
    images = {
        camera: _outlined(recorded[camera], agents, from_ego[place], event.actors)
        for place, camera in enumerate(CAMERAS)
    }
    return Keyframe(
        images=images,
        sources={camera: sample[f"{camera.lower()}_source"] for camera in CAMERAS},
        front_from_ego=from_ego[CAMERAS.index("CAM_FRONT")],
        agents=agents,
        agent_futures=tables.agent_futures[tables.agent_futures["sample_token"] == token],
        map_elements=tables.map_elements[tables.map_elements["sample_token"] == token],
        driven=path[path["valid"].astype(bool)].sort_values("step")[["x_m", "y_m"]].to_numpy(float),
        plans={},
        marked=event.actors,
    )


def unmapped_agents(event: Event, sample: pd.Series, dataset: NuScenesDataset) -> pd.DataFrame:
    """Marked boxes of categories that the tables leave out, such as an ambulance, as rows of ``agents``."""
    records, token = dataset.records(event.scene_name), sample["sample_token"]
    ego = level_pose(sample)
    rows = []
    for box in records.annotations[token]:
        name = box["instance_token"]
        if name in event.actors and agent_category(records.categories[name]) is None:
            x, y = to_frame(np.array(box["translation"][:2]), ego)
            yaw = float(yaw_from_rotation(rotation_from_quaternion(np.array(box["rotation"])))) - ego[2]
            place = {"x_m": x, "y_m": y, "z_m": box["translation"][2], "yaw_rad": float(wrap_angle(np.array(yaw)))}
            size = dict(zip(("width_m", "length_m", "height_m"), box["size"], strict=True))
            rows.append({"sample_token": token, "instance_token": name, "category": "truck", **place, **size})
    return pd.DataFrame(rows)


def _outlined(
    pixels: np.ndarray | None, agents: pd.DataFrame, image_from_ego: np.ndarray, marked: frozenset[str]
) -> np.ndarray | None:
    if pixels is None:
        return None
    picture = Image.fromarray(pixels)
    draw_frames(picture, agents, image_from_ego, marked)
    return np.asarray(picture)


def caption(event: Event, sample: pd.Series, tables: SceneTables, truth: pd.DataFrame) -> str:
    """Time in the scene, speed, what happens, and which lights and signals the agents of the event show."""
    scene = tables.scenes.set_index("scene_token").loc[sample["scene_token"]]
    seconds = (sample["timestamp_us"] - scene["first_timestamp_us"]) / 1e6
    parts = [f"{seconds:.1f} s", "" if pd.isna(sample["speed_mps"]) else f"{sample['speed_mps']:.1f} m/s"]
    time = sample["timestamp_us"]
    now = truth[(truth["scene_token"] == sample["scene_token"]) & (truth["begin_timestamp_us"] <= time)]
    now = now[now["end_timestamp_us"] >= time]
    parts += sorted(set(now[now["kind"] == "event"]["value"].str.replace("_", " ")))
    shown = now[now["kind"].isin(["light", "signal"]) & now["instance_token"].isin(event.actors)]
    return "   ".join(part for part in [*parts, *_named(shown)] if part)


def _named(shown: pd.DataFrame) -> Iterator[str]:
    """Numbers of agents by light or signal."""
    for value, num in shown["value"].value_counts(sort=False).head(MAX_NAMED).items():
        yield str(value).replace("_", " ") + (f" (x{num})" if num > 1 else "")


def meaning(kind: str) -> str:
    """What the module of an event says that it is."""
    name = f"dima_pipeline.world.events.{kind}"
    if importlib.util.find_spec(name) is None:
        return ""
    return (importlib.import_module(name).__doc__ or "").split("\n")[0]


def write_event_sheets(dataset: NuScenesDataset, truth: pd.DataFrame, out: Path, per_kind: int) -> list[dict[str, str]]:
    """Write a PNG for each event into ``out``; returns file, heading and description of each, for the page."""
    tables: dict[str, SceneTables] = {}
    every = [dataset.records(name).scenes[name] for name in dataset.scene_names()]
    scenes = pd.DataFrame(every)[["token", "name", "description"]]
    entries = []
    for event in find_events(truth, scenes, per_kind):
        if event.scene_name not in tables:
            tables[event.scene_name] = dataset.tables(event.scene_name)
        of_scene = tables[event.scene_name]
        file = f"{event.kind}_{event.scene_name}.png"
        draw_sheet(event, of_scene, truth, dataset).save(out / file)
        row = of_scene.scenes.iloc[0]
        text = f"{meaning(event.kind)} ({event.scene_name} in {row['location']}: {row['description']})"
        entries.append({"file": file, "heading": event.kind.replace("_", " "), "text": text})
    return entries

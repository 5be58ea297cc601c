"""Which keyframes to look at, and their pictures: the worst plans, typical ones, and one event of each slice."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dima_pipeline.contracts.frames import CAMERAS, MAIN_PROTOCOL
from dima_pipeline.datasets import SceneTables
from dima_pipeline.evaluation.drawing import PLAN_COLOURS, TILE, Keyframe, draw_above, draw_cameras
from dima_pipeline.evaluation.plans import plan_array
from dima_pipeline.storage.image_shards import ImageShards
from dima_pipeline.storage.manifest import write_manifest
from dima_pipeline.storage.scene_reader import projections

INDEX = "pictures.json"
ReadImages = Callable[[pd.Series], Mapping[str, np.ndarray | None]]
"""Images by camera of a ``samples`` row, as ``datasets.Dataset.images``."""


@dataclass(frozen=True)
class Choice:
    """A keyframe to look at, and why."""

    sample_token: str
    reason: str


def shard_images(shards: ImageShards) -> ReadImages:
    """Images at the model's resolution: what there is when the recordings are not at hand."""
    return lambda sample: dict(zip(CAMERAS, shards.read(sample["sample_token"]), strict=True))


def choose_keyframes(
    scores: pd.DataFrame, samples: pd.DataFrame, slice_members: pd.DataFrame, *, planner: str, num_pictures: int
) -> list[Choice]:
    """At most ``num_pictures`` keyframes with a known driven path, none of them twice.

    The two with the largest distance at 3 s (of different scenes), the one with the median distance, then the middle
    of one event of every slice, slices in turn.
    """
    scores = scores[(scores["protocol"] == MAIN_PROTOCOL) & scores["valid"]]
    at_end = scores[(scores["planner"] == planner) & (scores["metric"] == "planning_l2")]
    at_end = at_end[at_end["horizon_s"] == at_end["horizon_s"].max()]
    at_end = at_end.sort_values(["value", "sample_token"], ascending=[False, True])
    scene = samples.set_index("sample_token")["scene_token"]
    at_end = at_end.assign(scene=scene.loc[at_end["sample_token"]].to_numpy())
    if at_end.empty:
        return []
    worst = at_end.drop_duplicates("scene").head(2)
    median = at_end.iloc[len(at_end) // 2]
    chosen = [Choice(token, "largest distance at 3 s in its scene") for token in worst["sample_token"]]
    chosen.append(Choice(median["sample_token"], "typical: the median distance at 3 s"))
    chosen += _events(slice_members, set(at_end["sample_token"]), samples)
    once = {choice.sample_token: choice for choice in reversed(chosen)}
    return [choice for choice in chosen if once[choice.sample_token] is choice][:num_pictures]


def _events(slice_members: pd.DataFrame, scored: set[str], samples: pd.DataFrame) -> list[Choice]:
    """The middle keyframe of events: the first event of every slice, then the second, and so on."""
    index = samples.set_index("sample_token")["index"]
    rows = slice_members[slice_members["sample_token"].isin(scored)]
    ranked: list[tuple[int, str, Choice]] = []
    for name, members in rows.groupby("slice", sort=True):
        for rank, (_, event) in enumerate(members.groupby("event_id", sort=True)):
            ordered = event["sample_token"].iloc[np.argsort(index.loc[event["sample_token"]].to_numpy())]
            choice = Choice(ordered.iloc[len(ordered) // 2], f"slice {name}: the middle of an event")
            ranked.append((rank, str(name), choice))
    return [choice for _, _, choice in sorted(ranked, key=lambda item: item[:2])]


def draw_pictures(
    directory: Path,
    choices: Sequence[Choice],
    tables: SceneTables,
    plans: pd.DataFrame,
    *,
    planners: Sequence[str],
    scores: pd.DataFrame,
    images: ReadImages,
    fallback: ReadImages | None = None,
) -> Path:
    """Write two PNG files a keyframe (cameras, view from above) and ``pictures.json`` into ``directory``.

    ``planners`` are drawn, at most four; ``fallback`` gives the images that ``images`` has not, such as rendered ones.
    Raises ``ValueError`` for a planner without plans.
    """
    assert len(planners) <= len(PLAN_COLOURS), planners
    directory.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, choice in enumerate(choices):
        sample = tables.samples[tables.samples["sample_token"] == choice.sample_token].iloc[0]
        keyframe = _keyframe(sample, tables, plans, planners, _with_fallback(images, fallback))
        files = {"cameras": f"{number:02d}_cameras.png", "above": f"{number:02d}_above.png"}
        draw_cameras(keyframe).save(directory / files["cameras"])
        draw_above(keyframe).save(directory / files["above"])
        entries.append({**files, **_texts(choice, sample, tables.scenes, scores, planners)})
    (directory / INDEX).write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    write_manifest(directory, kind="pictures")
    return directory


def _with_fallback(images: ReadImages, fallback: ReadImages | None) -> ReadImages:
    if fallback is None:
        return images

    def read(sample: pd.Series) -> Mapping[str, np.ndarray | None]:
        found = images(sample)
        if all(found.get(camera) is not None for camera in CAMERAS):
            return found
        others = fallback(sample)
        return {camera: others[camera] if found.get(camera) is None else found[camera] for camera in CAMERAS}

    return read


def _keyframe(
    sample: pd.Series, tables: SceneTables, plans: pd.DataFrame, planners: Sequence[str], images: ReadImages
) -> Keyframe:
    token = sample["sample_token"]
    path = tables.ego_paths[(tables.ego_paths["sample_token"] == token) & (tables.ego_paths["step"] > 0)]
    path = path[path["valid"].astype(bool)].sort_values("step")
    front = CAMERAS.index("CAM_FRONT")
    return Keyframe(
        images=images(sample),
        sources={camera: sample[f"{camera.lower()}_source"] for camera in CAMERAS},
        front_from_ego=projections(sample.to_frame().T, (TILE[1], TILE[0]))[0, front],
        agents=tables.agents[tables.agents["sample_token"] == token],
        agent_futures=tables.agent_futures[tables.agent_futures["sample_token"] == token],
        map_elements=tables.map_elements[tables.map_elements["sample_token"] == token],
        driven=path[["x_m", "y_m"]].to_numpy(float),
        plans={planner: plan_array(plans, planner, [token])[0, :, :2] for planner in planners},
    )


def _texts(
    choice: Choice, sample: pd.Series, scenes: pd.DataFrame, scores: pd.DataFrame, planners: Sequence[str]
) -> dict[str, object]:
    """What the report says beside the pictures."""
    scene = scenes.set_index("scene_token").loc[sample["scene_token"]]
    rows = scores[
        (scores["sample_token"] == choice.sample_token) & (scores["protocol"] == MAIN_PROTOCOL) & scores["valid"]
    ]
    distance = rows[(rows["metric"] == "planning_l2") & (rows["horizon_s"] == 3.0)].set_index("planner")["value"]
    hits = rows[(rows["metric"] == "box_collision") & (rows["value"] > 0)]
    first_hit = hits.groupby("planner")["horizon_s"].min()
    speed = sample["speed_mps"]
    return {
        "sample_token": choice.sample_token,
        "title": f"{scene['name']}, keyframe {sample['index']}",
        "reason": choice.reason,
        "description": scene["description"],
        "command": sample["command_route"],
        "speed_mps": None if pd.isna(speed) else float(speed),
        "l2_m": {name: float(distance[name]) for name in planners if name in distance.index},
        "first_collision_s": {name: float(first_hit[name]) for name in planners if name in first_hit.index},
    }

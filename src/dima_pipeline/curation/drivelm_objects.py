"""The objects that our pairs of a keyframe speak of, as DriveLM's ``key_object_infos`` has them."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dima_pipeline.annotations._drivelm_tags import IMAGE_PX, KINDS, Boxes, Tag, number_of, tags_of
from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.contracts.scene_words import singular

MAX_OBJECTS = 6
"""As many as DriveLM has at most; tags that texts hold are all kept."""
SAME_PX = 1.0
MOVING_MPS = 0.5
STILL = ("parked", "stopped", "standing", "sitting_lying_down")


class Said(NamedTuple):
    """What a pair says, and the instances it speaks of."""

    texts: tuple[str, str]
    objects: tuple[str, ...]


def frame_objects(boxes: Boxes, agents: pd.DataFrame, said: Sequence[Said]) -> dict[str, dict[str, Any]]:
    """Facts by tag: of the tags in the texts, then of objects that have none, the most spoken of first.

    ``agents``: the rows that ``boxes`` were made from. A tag that means no agent has no entry.
    """
    infos: dict[str, dict[str, Any]] = {}
    tagged: set[int] = set()
    number = 0
    for one in said:
        for tag in (tag for text in one.texts for tag in tags_of(text)):
            number = max(number, number_of(tag.text))
            row = _row_of(boxes, tag, one.objects)
            if tag.text not in infos and row is not None:
                infos[tag.text] = _info(boxes, agents, row, tag.camera)
                tagged.add(row)
    for row in _most_spoken_of(boxes, said):
        camera = _camera(boxes, row) if row not in tagged and len(infos) < MAX_OBJECTS else None
        if camera is not None:
            number += 1
            x, y = boxes.drawn(camera).centre[row]
            infos[f"<c{number},{camera},{x:.1f},{y:.1f}>"] = _info(boxes, agents, row, camera)
    return infos


def _row_of(boxes: Boxes, tag: Tag, objects: Iterable[str]) -> int | None:
    """The agent of a tag: one of the pair's own whose centre is drawn there, else whom it is resolved to."""
    instance, why = boxes.resolve(tag)
    if tag.camera in CAMERAS and not np.isnan(tag.x + tag.y):
        centre = boxes.drawn(tag.camera).centre
        own = [boxes.instances.index(token) for token in objects if token in boxes.instances]
        near = [row for row in own if np.abs(centre[row] - (tag.x, tag.y)).max() <= SAME_PX]
        if len(near) == 1:
            return near[0]
    return boxes.instances.index(instance) if instance is not None and not why else None


def _most_spoken_of(boxes: Boxes, said: Sequence[Said]) -> list[int]:
    counts: dict[str, int] = {}
    for token in (token for one in said for token in one.objects):
        counts[token] = counts.get(token, 0) + 1
    # Sorting is stable: who is spoken of as often comes in the order of the pairs.
    ranked = sorted((token for token in counts if token in boxes.instances), key=lambda token: -counts[token])
    return [boxes.instances.index(token) for token in ranked]


def _camera(boxes: Boxes, row: int) -> str | None:
    """The camera that has the centre of a box nearest to the middle of its image; None where no camera sees it."""
    middle = np.array(IMAGE_PX) / 2
    best, least = None, 1.0
    for camera in CAMERAS:
        drawn = boxes.drawn(camera)
        aside = float(np.abs((drawn.centre[row] - middle) / middle).max())
        if drawn.is_inside[row] and aside < least:
            best, least = camera, aside
    return best


def _info(boxes: Boxes, agents: pd.DataFrame, row: int, camera: str) -> dict[str, Any]:
    category = boxes.categories[row]
    group = next(name for name, kinds in KINDS.items() if category in kinds)
    words = singular(category)
    return {
        "Category": group.capitalize(),
        "Status": None if group == "traffic element" else _status(agents.iloc[row]),
        "Visual_description": f"{words[0].upper()}{words[1:]}.",
        "2d_bbox": [round(float(edge), 1) for edge in boxes.drawn(camera).rectangle[row]],
    }


def _status(agent: Any) -> str | None:
    """By the attribute, else by the speed; None where neither is known."""
    last = str(agent.attribute).rpartition(".")[2] if isinstance(agent.attribute, str) else ""
    if last in STILL:
        return "Stationary"
    speed = float(np.hypot(agent.vx_mps, agent.vy_mps)) if not pd.isna([agent.vx_mps, agent.vy_mps]).any() else np.nan
    if last == "moving" or speed > MOVING_MPS:
        return "Moving"
    return None if np.isnan(speed) else "Stationary"

"""Draws the edges of agents' boxes over a picture, by the tables alone."""

from collections.abc import Container

import numpy as np
import pandas as pd
from jaxtyping import Float
from PIL import Image, ImageDraw

from dima_pipeline.evaluation.drawing import AGENT_COLOURS, MARK_COLOUR
from dima_pipeline.geometry import box_corners, project

NEAR_M = 0.3
EDGES = [(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)]
"""Between the corners of ``box_corners`` below and above."""


def corners_of(agents: pd.DataFrame) -> Float[np.ndarray, "N 8 3"]:
    """Corners of boxes in the ego frame, the four below first."""
    flat = box_corners(agents[["x_m", "y_m", "yaw_rad", "length_m", "width_m"]].to_numpy(float))
    heights = agents["z_m"].to_numpy(float)[:, None] + agents["height_m"].to_numpy(float)[:, None] * [[-0.5, 0.5]]
    parts = [np.concatenate([flat, np.repeat(heights[:, [side]], 4, 1)[..., None]], -1) for side in (0, 1)]
    return np.concatenate(parts, 1)


def draw_outlines(picture: Image.Image, agents: pd.DataFrame, image_from_ego: Float[np.ndarray, "3 4"]) -> None:
    """Draw the edges of the boxes of a keyframe's agents into ``picture``.

    ``image_from_ego`` projects to pixels of the picture; edges that reach behind the camera are left out.
    """
    draw = ImageDraw.Draw(picture)
    for category, corners in zip(agents["category"], corners_of(agents), strict=True):
        pixels, depth = project(np.asarray(image_from_ego, float), corners)
        for begin, end in EDGES:
            if min(depth[begin], depth[end]) > NEAR_M:
                draw.line([tuple(pixels[begin]), tuple(pixels[end])], fill=AGENT_COLOURS[category], width=2)


def draw_frames(
    picture: Image.Image, agents: pd.DataFrame, image_from_ego: Float[np.ndarray, "3 4"], marked: Container[str]
) -> None:
    """Draw a rectangle around each agent that is ``marked`` (instance token): its lamps stay free."""
    draw = ImageDraw.Draw(picture)
    for token, corners in zip(agents["instance_token"], corners_of(agents), strict=True):
        pixels, depth = project(np.asarray(image_from_ego, float), corners)
        if token in marked and depth.min() > NEAR_M:
            (left, top), (right, bottom) = pixels.min(0) - 3, pixels.max(0) + 3
            if right > 0 and left < picture.width:
                draw.rectangle((left, top, right, bottom), outline=MARK_COLOUR, width=3)

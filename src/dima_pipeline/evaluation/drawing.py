"""Draws one keyframe: six cameras with the paths on the road, and the scene from above with map, agents and paths.

Colours are of the Okabe-Ito set, which colour-blind readers can tell apart; every path also has its own dash.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from PIL import Image, ImageDraw, ImageFont

from dima_pipeline.contracts.frames import CAMERAS, EGO_CENTER_AHEAD_M, EGO_LENGTH_M, EGO_WIDTH_M
from dima_pipeline.geometry import box_corners, project

DRIVEN_COLOUR = "#009E73"
PLAN_COLOURS = ("#0072B2", "#E69F00", "#CC79A7", "#56B4E9")
"""Of the first, second, ... planner shown."""
PLAN_DASHES: tuple[str, ...] = ("-", "--", "-.", ":")
AGENT_COLOURS = {
    **dict.fromkeys(("car", "truck", "bus", "trailer", "construction_vehicle"), "#8a97a6"),
    **dict.fromkeys(("pedestrian", "motorcycle", "bicycle"), "#D55E00"),
    **dict.fromkeys(("traffic_cone", "barrier"), "#F0E442"),
}
MARK_COLOUR = "#e0218a"
MAP_STYLES: dict[str, dict[str, object]] = {
    "boundary": {"color": "#3b4652", "lw": 1.6},
    "divider": {"color": "#9aa5b1", "lw": 1.2, "ls": (0, (5, 3))},
    "ped_crossing": {"color": "#b08bc4", "lw": 1.2},
    "centerline": {"color": "#cfd6dd", "lw": 0.9, "ls": ":"},
}
MOSAIC = (("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT"), ("CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT"))
TILE = (480, 270)
"""Width and height of a camera in the mosaic, pixels."""
GAP = 6
VIEW_M = (-20.0, 34.0, -13.5, 13.5)
"""What the view from above shows, unless asked otherwise: x behind and ahead, y right and left."""


@dataclass(frozen=True, kw_only=True)
class Keyframe:
    """Everything that is drawn of a keyframe."""

    images: Mapping[str, UInt8[np.ndarray, "H W 3"] | None]
    """By camera; None where there is no image."""
    sources: Mapping[str, str]
    """recorded, rendered or missing, by camera."""
    front_from_ego: Float[np.ndarray, "3 4"]
    """Projection into CAM_FRONT at the width and height of a mosaic tile."""
    agents: pd.DataFrame
    agent_futures: pd.DataFrame
    map_elements: pd.DataFrame
    driven: Float[np.ndarray, "N 2"]
    """The known part of the driven path (m)."""
    plans: Mapping[str, Float[np.ndarray, "T 2"]]
    """By planner, in the order of their colours."""
    marked: frozenset[str] = frozenset()
    """Instance tokens of agents that stand out in the view from above."""
    view_m: tuple[float, float, float, float] = VIEW_M
    """What the view from above shows: x behind and ahead, y right and left."""


def draw_cameras(keyframe: Keyframe) -> Image.Image:
    """Six cameras as seen from the driver's seat; the paths lie on the road of the front camera."""
    width, height = TILE
    size = (3 * width + 2 * GAP, 2 * height + GAP)
    mosaic = Image.new("RGB", size, "#10151b")
    assert {camera for row in MOSAIC for camera in row} == set(CAMERAS)
    for row, cameras in enumerate(MOSAIC):
        for column, camera in enumerate(cameras):
            tile = _tile(keyframe, camera)
            mosaic.paste(tile, (column * (width + GAP), row * (height + GAP)))
    return mosaic


def _tile(keyframe: Keyframe, camera: str) -> Image.Image:
    pixels = keyframe.images.get(camera)
    source = "missing" if pixels is None else keyframe.sources[camera]
    if pixels is None or source == "missing":
        tile = Image.new("RGB", TILE, "#2a3139")
    else:
        tile = Image.fromarray(np.asarray(pixels)).resize(TILE, Image.Resampling.LANCZOS)
    if camera == "CAM_FRONT":
        for index, path in enumerate(keyframe.plans.values()):
            tile = _with_path(tile, path, keyframe.front_from_ego, PLAN_COLOURS[index])
        tile = _with_path(tile, keyframe.driven, keyframe.front_from_ego, DRIVEN_COLOUR)
    label = camera.removeprefix("CAM_").replace("_", " ").lower()
    _label(tile, label if source == "recorded" else f"{label} ({source})")
    return tile


def _with_path(tile: Image.Image, path: np.ndarray, from_ego: np.ndarray, colour: str) -> Image.Image:
    """The path on the ground (z = 0), drawn twice as large and shrunk, so that its edge is smooth."""
    if len(path) == 0:
        return tile
    track = np.concatenate([np.zeros((1, 2)), path])
    at = np.linspace(0, len(track) - 1, 20 * len(track))
    dense = np.stack([np.interp(at, np.arange(len(track)), track[:, axis]) for axis in (0, 1)], -1)
    pixels, depth = project(from_ego, np.column_stack([dense, np.zeros(len(dense))]))
    seen = [tuple(2 * point) for point in pixels[depth > 1.0]]
    large = tile.resize((2 * TILE[0], 2 * TILE[1]), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(large)
    if len(seen) > 1:
        draw.line(seen, fill="#ffffff", width=14, joint="curve")
        draw.line(seen, fill=colour, width=8, joint="curve")
    dots, depth = project(from_ego, np.column_stack([path, np.zeros(len(path))]))
    for u, v in 2 * dots[depth > 1.0]:
        draw.ellipse((u - 8, v - 8, u + 8, v + 8), fill=colour, outline="#ffffff", width=3)
    return large.resize(TILE, Image.Resampling.LANCZOS)


def _label(tile: Image.Image, text: str) -> None:
    draw = ImageDraw.Draw(tile, "RGBA")
    font = ImageFont.load_default(size=26)
    left, top, right, bottom = draw.textbbox((14, 8), text, font=font)
    draw.rounded_rectangle((left - 8, top - 6, right + 8, bottom + 6), 7, fill=(16, 21, 27, 190))
    draw.text((14, 8), text, font=font, fill="#ffffff")


def draw_above(keyframe: Keyframe) -> Image.Image:
    """The scene from above, driving to the right: map, agents with their futures, driven and planned paths."""
    figure = Figure(figsize=(7.2, 4.1), dpi=150, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.01, 0.11, 0.98, 0.88))
    _draw_map(axes, keyframe.map_elements)
    _draw_agents(axes, keyframe)
    _draw_box(axes, [EGO_CENTER_AHEAD_M, 0, 0, EGO_LENGTH_M, EGO_WIDTH_M], "#ffffff", "#111111", 1.8)
    handles = _draw_paths(axes, keyframe)
    behind, ahead, right, left = keyframe.view_m
    axes.plot([behind + 2, behind + 12], [right + 1.4] * 2, color="#111111", lw=2)
    axes.text(behind + 7, right + 1.9, "10 m", ha="center", fontsize=10)
    axes.set_xlim(behind, ahead)
    axes.set_ylim(right, left)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#cfd6dd")
    legend = {"ncols": len(handles), "frameon": False, "fontsize": 9.5, "handlelength": 1.9, "columnspacing": 1.2}
    figure.legend(handles=handles, loc="lower center", handletextpad=0.5, **legend)  # type: ignore[arg-type]
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _draw_map(axes: Axes, map_elements: pd.DataFrame) -> None:
    for kind, points in zip(map_elements["kind"], map_elements["points"], strict=True):
        line = np.asarray(points, float).reshape(-1, 2)
        axes.plot(line[:, 0], line[:, 1], zorder=1, **MAP_STYLES[kind])  # type: ignore[arg-type]


def _draw_agents(axes: Axes, keyframe: Keyframe) -> None:
    columns = ["x_m", "y_m", "yaw_rad", "length_m", "width_m"]
    futures = keyframe.agent_futures[keyframe.agent_futures["valid"].astype(bool)]
    tracks = {str(token): rows.sort_values("step") for token, rows in futures.groupby("instance_token")}
    names = zip(keyframe.agents["instance_token"], keyframe.agents["category"], strict=True)
    for (instance_token, category), values in zip(names, keyframe.agents[columns].to_numpy(float), strict=True):
        box = values.tolist()
        edge, width = (MARK_COLOUR, 2.4) if instance_token in keyframe.marked else ("#3b4652", 0.9)
        _draw_box(axes, box, AGENT_COLOURS[category], edge, width)
        if instance_token in tracks:
            track = tracks[instance_token]
            x, y = [box[0], *track["x_m"]], [box[1], *track["y_m"]]
            axes.plot(x, y, color="#5b6673", lw=1.1, zorder=3)


def _draw_box(axes: Axes, box: list[float], fill: str, edge: str, width: float) -> None:
    corners = box_corners(np.array(box))
    axes.add_patch(Polygon(corners, closed=True, fc=fill, ec=edge, lw=width, zorder=4))
    nose = corners[[0, 3]].mean(0)
    axes.plot([box[0], nose[0]], [box[1], nose[1]], color=edge, lw=width, zorder=5)


def _draw_paths(axes: Axes, keyframe: Keyframe) -> list[Line2D]:
    """Draw the driven path below the planned ones; returns the legend."""
    handles = []
    paths = [("driven", keyframe.driven, DRIVEN_COLOUR, "-", 4.0)]
    for index, (name, path) in enumerate(keyframe.plans.items()):
        paths.append((name.replace("_", " "), path, PLAN_COLOURS[index], PLAN_DASHES[index], 2.0))
    for order, (name, path, colour, dash, width) in enumerate(paths):
        track = np.concatenate([np.zeros((1, 2)), path])
        (line,) = axes.plot(track[:, 0], track[:, 1], color=colour, ls=dash, lw=width, zorder=6 + order, label=name)
        line.set(marker="o", markersize=width + 2, markevery=slice(1, None), markeredgecolor="white")
        handles.append(line)
    groups = {"vehicle": "car", "person, cycle": "pedestrian", "cone, barrier": "traffic_cone"}
    present = set(keyframe.agents["category"].map(AGENT_COLOURS))
    for label, category in groups.items():
        if AGENT_COLOURS[category] in present:
            square = {"marker": "s", "ls": "", "markersize": 8, "markeredgecolor": "#3b4652"}
            handles.append(Line2D([], [], color=AGENT_COLOURS[category], label=label, **square))  # type: ignore[arg-type]
    return handles

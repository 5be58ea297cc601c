"""VAD's constraints on the plan (Jiang et al., ICCV 2023, section 3.4): keep off others, off the boundary, along lanes.

They hold the plan against the scene that the planner itself predicts, detached: what does not fit is the plan's fault.
All thresholds are VAD's; distances are from the origin of the ego frame.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dima_pipeline.contracts.frames import AGENT_CATEGORIES, MAP_KINDS
from dima_pipeline.models.matching import masked_mean
from dima_pipeline.models.planning_losses import steps_of
from dima_pipeline.models.vector_losses import AgentAnswers, MapAnswers, MotionAnswers

MIN_SCORE = 0.5
NEAR_AGENT_M = 3.0
CLEARANCE_M = (3.0, 1.5)
"""Along and across the ego's heading at t=0."""
BOUNDARY_M = 1.0
NEAR_DIVIDER_M = 2.0
STATIONARY_M = 1.0
VEHICLES = tuple(AGENT_CATEGORIES.index(name) for name in ("car", "truck", "bus", "trailer", "construction_vehicle"))


@dataclass(frozen=True, kw_only=True)
class PredictedScene:
    """What the planner believes stands around it; no gradient flows into it."""

    vehicle_paths: Float[Tensor, "B A T 2"]
    """Absolute positions (m), most likely mode."""
    is_vehicle: Bool[Tensor, "B A"]
    map_points: Float[Tensor, "B M P 2"]
    is_boundary: Bool[Tensor, "B M"]
    is_divider: Bool[Tensor, "B M"]


@torch.no_grad()
def predicted_scene(agents: AgentAnswers, motion: MotionAnswers, map_: MapAnswers) -> PredictedScene:
    """Vehicles, boundaries and dividers that are believed with ``MIN_SCORE`` or more."""
    mode = motion.logits.argmax(-1)[..., None, None, None].expand(-1, -1, 1, *motion.steps.shape[3:])
    paths = agents.boxes[..., None, :2] + motion.steps.gather(2, mode)[:, :, 0].cumsum(2)
    score, category = agents.logits.sigmoid().max(-1)
    believed, kind = map_.logits.sigmoid().max(-1)
    is_vehicle = torch.isin(category, torch.tensor(VEHICLES, device=category.device))
    return PredictedScene(
        vehicle_paths=paths,
        is_vehicle=is_vehicle & (score >= MIN_SCORE),
        map_points=map_.points,
        is_boundary=(kind == MAP_KINDS.index("boundary")) & (believed >= MIN_SCORE),
        is_divider=(kind == MAP_KINDS.index("divider")) & (believed >= MIN_SCORE),
    )


def plan_constraints(
    path: Float[Tensor, "B T 2"], valid: Bool[Tensor, "B T"], scene: PredictedScene
) -> dict[str, Float[Tensor, ""]]:
    """``collision`` (m), ``boundary`` (m) and ``direction`` (rad), means over the valid steps of the plan."""
    return {
        "collision": masked_mean(collision(path, scene), valid[..., None]),
        "boundary": masked_mean(boundary(path, scene), valid),
        "direction": masked_mean(direction(path, scene), valid),
    }


def collision(path: Float[Tensor, "B T 2"], scene: PredictedScene) -> Float[Tensor, "B T 2"]:
    """By how much the nearest vehicle is nearer than ``CLEARANCE_M``, along and across, each axis for itself.

    Only vehicles within ``NEAR_AGENT_M`` at that step count.
    """
    away = path[:, :, None] - scene.vehicle_paths.transpose(1, 2)
    counts = scene.is_vehicle[:, None] & (away.detach().norm(dim=-1) <= NEAR_AGENT_M)
    missing = (path.new_tensor(CLEARANCE_M) - away.abs()).clamp(min=0) * counts[..., None]
    nobody = torch.zeros_like(missing[:, :, :1]) if missing.shape[2] else path[:, :, None] * 0
    return torch.cat([missing, nobody], 2).amax(2)


def boundary(path: Float[Tensor, "B T 2"], scene: PredictedScene) -> Float[Tensor, "B T"]:
    """By how much the nearest boundary point is nearer than ``BOUNDARY_M``, up to the step that crosses a boundary.

    From there on the hinge would push the plan further out.
    """
    distance = distances(path, scene.map_points)
    missing = (BOUNDARY_M - distance).clamp(min=0) * scene.is_boundary[:, None, :, None]
    nearest = missing.flatten(2).amax(2)
    return nearest * ~has_crossed(path.detach(), scene.map_points, scene.is_boundary)


def direction(path: Float[Tensor, "B T 2"], scene: PredictedScene) -> Float[Tensor, "B T"]:
    """Angle (0 ... pi/2) between each step and the nearest divider there, whichever way that one is written.

    0 where no divider is within ``NEAR_DIVIDER_M`` and for a plan that ends within ``STATIONARY_M``.
    """
    distance = distances(path.detach(), scene.map_points)
    distance = distance.masked_fill(~scene.is_divider[:, None, :, None], torch.inf).flatten(2)
    nearest, index = distance.min(2)
    lanes = scene.map_points.diff(dim=2)
    lanes = torch.cat([lanes, lanes[:, :, -1:]], 2).flatten(1, 2)
    lane = lanes.gather(1, index[..., None].expand(-1, -1, 2))
    step = steps_of(path, 0.0)
    moves = (step.detach().norm(dim=-1) > 1e-3) & (lane.norm(dim=-1) > 1e-3)
    asked = moves & (nearest <= NEAR_DIVIDER_M) & (path.detach()[:, -1:].norm(dim=-1) >= STATIONARY_M)
    # An angle of nothing has no gradient: unasked steps point along x instead.
    ahead = path.new_tensor([1.0, 0.0])
    step, lane = (torch.where(asked[..., None], vector, ahead) for vector in (step, lane))
    cross = step[..., 0] * lane[..., 1] - step[..., 1] * lane[..., 0]
    return torch.atan2(cross.abs(), (step * lane).sum(-1).abs())


def distances(path: Float[Tensor, "B T 2"], points: Float[Tensor, "B M P 2"]) -> Float[Tensor, "B T M P"]:
    """From each step to each point (m); its gradient where they coincide is finite."""
    away = path[:, :, None, None] - points[:, None]
    return (away.square().sum(-1) + 1e-12).sqrt()


def has_crossed(
    path: Float[Tensor, "B T 2"], points: Float[Tensor, "B M P 2"], counts: Bool[Tensor, "B M"]
) -> Bool[Tensor, "B T"]:
    """Whether the plan has crossed one of the polylines that count on the way to each step, starting from the ego."""
    along = steps_of(path, 0.0)
    start = (path - along)[:, :, None, None]
    across = points.diff(dim=2)[:, None]
    offset = points[:, None, :, :-1] - start
    along = along[:, :, None, None]
    area = _cross(along, across)
    parallel = area.abs() < 1e-9
    area = area.masked_fill(parallel, 1.0)
    on_step, on_line = _cross(offset, across) / area, _cross(offset, along) / area
    hit = ~parallel & (on_step >= 0) & (on_step <= 1) & (on_line >= 0) & (on_line <= 1)
    return (hit & counts[:, None, :, None]).flatten(2).any(2).cummax(1).values


def _cross(a: Float[Tensor, "... 2"], b: Float[Tensor, "... 2"]) -> Float[Tensor, "..."]:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]

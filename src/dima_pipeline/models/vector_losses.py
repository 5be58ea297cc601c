"""VAD's perception losses (Jiang et al., ICCV 2023): agents, their motion and the vectorised map, matched one to one.

As there, a loss is summed over the numbers of a matched pair and averaged over pairs, so that VAD's weights keep their
meaning. Sums over queries (focal) are divided by the number of pairs too.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from dima_pipeline.contracts.batch import SceneTargets
from dima_pipeline.models.matching import Matches, match
from dima_pipeline.models.planning_losses import encode_boxes, step_valid, steps_of

ALPHA, GAMMA = 0.25, 2.0
"""Of the focal loss (Lin et al., ICCV 2017)."""
CLASS_COST, BOX_COST, POINTS_COST = 2.0, 0.25, 1.0
BOX_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.2, 0.2)
"""Of x, y (m), sin and cos of the yaw, log length, log width, vx, vy (m/s); the matching leaves the velocity out."""
SAME_WAY = 1e-3
"""What a segment's direction counts in the choice of the order of points: far off a line, both its directions are
equally far, and the one that runs the same way is meant."""
CLOSED_M = 0.01
"""A polyline whose ends are closer than this is a ring: it may start anywhere."""


@dataclass(frozen=True, kw_only=True)
class AgentAnswers:
    """One decoder layer's agents: logits (sigmoid) by category, boxes as ``planning_losses.encode_boxes``."""

    logits: Float[Tensor, "B A categories"]
    boxes: Float[Tensor, "B A 8"]


@dataclass(frozen=True, kw_only=True)
class MotionAnswers:
    """K futures of each agent: displacement (m) in each step, and a logit (sigmoid) for each mode."""

    steps: Float[Tensor, "B A K T 2"]
    logits: Float[Tensor, "B A K"]


@dataclass(frozen=True, kw_only=True)
class MapAnswers:
    """One decoder layer's map: logits (sigmoid) over the first kinds of ``frames.MAP_KINDS``, and points (m)."""

    logits: Float[Tensor, "B M kinds"]
    points: Float[Tensor, "B M P 2"]


def agent_losses(answers: AgentAnswers, targets: SceneTargets) -> tuple[dict[str, Float[Tensor, ""]], Matches]:
    """``agent_class`` (focal) and ``agent_box`` (L1, ``BOX_WEIGHTS``), and who was matched with whom."""
    expected = encode_boxes(targets.agent_box)
    distance = torch.cdist(answers.boxes[..., :6].to(expected), expected[..., :6], p=1)
    cost = CLASS_COST * focal_cost(answers.logits, targets.agent_category) + BOX_COST * distance
    found = match(cost, targets.agent_valid)
    error = (answers.boxes[found.sample, found.query] - expected[found.sample, found.target]).abs()
    terms = {
        "agent_class": set_focal(answers.logits, targets.agent_category, found),
        "agent_box": per_pair(error * error.new_tensor(BOX_WEIGHTS), found),
    }
    return terms, found


def motion_losses(answers: MotionAnswers, found: Matches, targets: SceneTargets) -> dict[str, Float[Tensor, ""]]:
    """``agent_motion`` (m, L1 of the best mode's steps) and ``agent_mode`` (focal: which mode is the best).

    The best mode ends nearest to where the agent was last seen; an agent without a known future counts nothing.
    """
    steps, logits = answers.steps[found.sample, found.query], answers.logits[found.sample, found.query]
    future = targets.agent_future - targets.agent_box[..., None, :2]
    future = future[found.sample, found.target]
    known = targets.agent_future_valid[found.sample, found.target]
    best = best_mode(steps.detach(), future, known)
    chosen = steps[torch.arange(len(steps), device=steps.device), best]
    error = (chosen - steps_of(future, 0.0)).abs() * step_valid(known)[..., None]
    has_future = known.any(-1)
    is_best = functional.one_hot(best, logits.shape[-1]).to(logits)
    num = has_future.sum().clamp(min=1)
    return {
        "agent_motion": error.sum() / num,
        "agent_mode": (focal(logits, is_best) * has_future[:, None]).sum() / num,
    }


def best_mode(
    steps: Float[Tensor, "N K T 2"], future: Float[Tensor, "N T 2"], known: Bool[Tensor, "N T"]
) -> Int[Tensor, "N"]:
    """The mode whose position at the last known step is nearest (0 where no step is known)."""
    order = torch.arange(1, known.shape[1] + 1, device=known.device)
    last = functional.one_hot((order * known).argmax(-1), known.shape[1]) * known.any(-1, keepdim=True)
    distance = (steps.cumsum(2) - future[:, None]).norm(dim=-1)
    return (distance * last[:, None]).sum(-1).argmin(-1)


def map_losses(
    answers: MapAnswers, targets: SceneTargets, range_m: tuple[float, float, float, float]
) -> dict[str, Float[Tensor, ""]]:
    """``map_class`` (focal), ``map_points`` (L1, the length and width of ``range_m`` are one) and ``map_direction``
    (1 - cosine, segment by segment), each in the order of points that fits best (MapTR).

    Elements of a kind that the answers have no logit for are not asked for.
    """
    kinds = answers.logits.shape[-1]
    valid = targets.map_valid & (targets.map_kind < kinds)
    kind = targets.map_kind.clamp(max=kinds - 1)
    size = answers.points.new_tensor([range_m[2] - range_m[0], range_m[3] - range_m[1]])
    ordered = orders(targets.map_points)
    # (B, queries, targets, orders)
    flat = (ordered / size).flatten(-2).flatten(1, 2)
    distance = torch.cdist((answers.points / size).flatten(-2).to(flat), flat, p=1).unflatten(-1, ordered.shape[1:3])
    found = match(CLASS_COST * focal_cost(answers.logits, kind) + POINTS_COST * distance.amin(-1), valid)
    own, ways = answers.points[found.sample, found.query], ordered[found.sample, found.target]
    bends = 1 - functional.cosine_similarity(own.diff(dim=1)[:, None], ways.diff(dim=2), dim=-1, eps=1e-6)
    # (pairs, orders, ...) from here on, of which the best counts.
    far = distance[found.sample, found.query, found.target]
    best = (far + SAME_WAY * bends.detach().sum(-1)).argmin(-1)
    pair = torch.arange(len(best), device=best.device)
    return {
        "map_class": set_focal(answers.logits, kind, found),
        "map_points": per_pair((own - ways[pair, best]).abs() / size, found),
        "map_direction": per_pair(bends[pair, best], found),
    }


def orders(points: Float[Tensor, "B M P 2"]) -> Float[Tensor, "B M O P 2"]:
    """All ways to write each polyline: both directions, and of a ring each start; the first way fills up the rest."""
    num_starts = points.shape[2] - 1
    is_ring = ((points[:, :, 0] - points[:, :, -1]).norm(dim=-1) < CLOSED_M)[:, :, None, None, None]
    index = (torch.arange(num_starts)[:, None] + torch.arange(num_starts + 1)) % num_starts
    rings = points[:, :, index.to(points.device)]
    rings = torch.cat([rings, rings.flip(3)], 2)
    same = points[:, :, None]
    lines = torch.cat([same, same.flip(3), same.expand(-1, -1, 2 * num_starts - 2, -1, -1)], 2)
    return torch.where(is_ring, rings, lines)


def focal(logits: Float[Tensor, "..."], expected: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Sigmoid focal loss of each logit against 0 or 1."""
    chance = logits.sigmoid()
    wrong = torch.where(expected > 0, 1 - chance, chance)
    weight = torch.where(expected > 0, ALPHA, 1 - ALPHA) * wrong**GAMMA
    return weight * functional.binary_cross_entropy_with_logits(logits, expected, reduction="none")


def focal_cost(logits: Float[Tensor, "B N K"], category: Int[Tensor, "B G"]) -> Float[Tensor, "B N G"]:
    """What the focal loss rises by if a query is to say a target's category rather than not (Deformable DETR)."""
    ones = torch.ones_like(logits)
    rise = focal(logits, ones) - focal(logits, 0 * ones)
    return rise.gather(2, category[:, None].expand(-1, logits.shape[1], -1))


def set_focal(logits: Float[Tensor, "B N K"], category: Int[Tensor, "B G"], found: Matches) -> Float[Tensor, ""]:
    """Focal loss of all queries: matched ones should say their target's category, the others none."""
    expected = torch.zeros_like(logits)
    expected[found.sample, found.query, category[found.sample, found.target]] = 1.0
    return focal(logits, expected).sum() / max(len(found.query), 1)


def per_pair(errors: Float[Tensor, "N ..."], found: Matches) -> Float[Tensor, ""]:
    """Their sum over the number of pairs; a differentiable zero without any."""
    return errors.sum() / max(len(found.query), 1)

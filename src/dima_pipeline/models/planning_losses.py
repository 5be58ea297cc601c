"""The losses of VAD's stage 2 in the project's frame: agents, map, trajectory, and keeping clear of others."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dima_pipeline.contracts.batch import SceneTargets
from dima_pipeline.contracts.frames import AGENT_CATEGORIES
from dima_pipeline.models.heads import POSITION_SCALE_M, SPEED_SCALE_MPS, AgentHead, MapHead
from dima_pipeline.models.matching import class_cost, masked_mean, match, set_cross_entropy

CLEARANCE_M = (3.0, 1.5)
"""Along and across the ego's heading at t=0: VAD's thresholds for the collision hinge."""
MOVING = torch.tensor([category not in ("traffic_cone", "barrier") for category in AGENT_CATEGORIES])


def agent_losses(
    head: AgentHead, tokens: Float[Tensor, "B A D"], targets: SceneTargets
) -> dict[str, Float[Tensor, ""]]:
    """``agent_class`` (nats), ``agent_box`` (5 m, rad, log, 5 m/s are one) and ``agent_motion`` (m a step)."""
    logits, boxes, steps = head.classify(tokens), head.boxes(tokens), head.steps(tokens)
    expected = encode_boxes(targets.agent_box)
    distance = torch.cdist(boxes[..., :2], expected[..., :2], p=1) / POSITION_SCALE_M
    found = match(class_cost(logits, targets.agent_category) + distance, targets.agent_valid)
    error = (boxes[found.sample, found.query] - expected[found.sample, found.target]).abs() / _box_scale(boxes)
    future = steps_of(targets.agent_future, targets.agent_box[..., None, :2])[found.sample, found.target]
    valid = step_valid(targets.agent_future_valid)[found.sample, found.target]
    return {
        "agent_class": set_cross_entropy(logits, targets.agent_category, found),
        "agent_box": masked_mean(error, torch.ones_like(error, dtype=torch.bool)),
        "agent_motion": masked_mean((steps[found.sample, found.query] - future).abs(), valid[..., None]),
    }


def map_losses(head: MapHead, tokens: Float[Tensor, "B M D"], targets: SceneTargets) -> dict[str, Float[Tensor, ""]]:
    """``map_class`` (nats) and ``map_points`` (5 m are one); a polyline counts in the direction that fits better."""
    logits, points = head.classify(tokens), head.points(tokens)
    both = torch.stack([targets.map_points, targets.map_points.flip(2)], 1)
    # (B, direction, queries, targets): mean distance of points, one coordinate at a time.
    distance = torch.cdist(points[:, None].flatten(3), both.flatten(3), p=1) / points[0, 0].numel()
    cost = class_cost(logits, targets.map_kind) + distance.amin(1) / POSITION_SCALE_M
    found = match(cost, targets.map_valid)
    error = distance[found.sample, :, found.query, found.target].amin(1) / POSITION_SCALE_M
    return {
        "map_class": set_cross_entropy(logits, targets.map_kind, found),
        "map_points": masked_mean(error, torch.ones_like(error, dtype=torch.bool)),
    }


def trajectory_l1(trajectory: Float[Tensor, "B T 2"], targets: SceneTargets) -> Float[Tensor, ""]:
    """Mean absolute error of per-step offsets (m) where both ends of the step are known."""
    error = steps_of(trajectory, 0.0) - steps_of(targets.ego_future[..., :2], 0.0)
    return masked_mean(error.abs(), step_valid(targets.ego_future_valid)[..., None])


def collision(trajectory: Float[Tensor, "B T 2"], targets: SceneTargets) -> Float[Tensor, ""]:
    """How far (m) the path enters the clearance of others' recorded positions, mean over steps (cf. VAD's hinge).

    Steps where the driver came as close to the same agent are not held against the planner.
    """
    others = targets.agent_future.transpose(1, 2)
    present = targets.agent_future_valid & targets.agent_valid[..., None]
    present = present & MOVING.to(present.device)[targets.agent_category][..., None]
    driven = _intrusion(targets.ego_future[..., :2], others) * targets.ego_future_valid[..., None]
    asked = present.transpose(1, 2) & (driven == 0)
    entered = _intrusion(trajectory, others) * asked
    if entered.shape[2] == 0:
        return entered.sum()
    return masked_mean(entered.amax(2), targets.ego_future_valid | asked.any(2))


def encode_boxes(boxes: Float[Tensor, "... 7"]) -> Float[Tensor, "... 8"]:
    """Ground-truth boxes in the columns of ``AgentHead.boxes``."""
    x, y, yaw, length, width, vx, vy = boxes.unbind(-1)
    length, width = length.clamp(min=0.1).log(), width.clamp(min=0.1).log()
    return torch.stack([x, y, yaw.sin(), yaw.cos(), length, width, vx, vy], -1)


def steps_of(path: Float[Tensor, "... T 2"], start: Float[Tensor, "... 1 2"] | float) -> Float[Tensor, "... T 2"]:
    """Displacement in each step of an absolute path."""
    first = path[..., :1, :] - start
    return torch.cat([first, path[..., 1:, :] - path[..., :-1, :]], -2)


def step_valid(valid: Bool[Tensor, "... T"]) -> Bool[Tensor, "... T"]:
    """Whether a step's end and its start are known; the start of the first one is the present."""
    return valid & torch.cat([torch.ones_like(valid[..., :1]), valid[..., :-1]], -1)


def _intrusion(path: Float[Tensor, "B T 2"], others: Float[Tensor, "B T A 2"]) -> Float[Tensor, "B T A"]:
    """The shortest way (m) out of the clearance rectangle around each agent; zero outside."""
    margin = path.new_tensor(CLEARANCE_M) - (path[:, :, None] - others).abs()
    return margin.amin(-1).clamp(min=0)


def _box_scale(boxes: Float[Tensor, "... 8"]) -> Float[Tensor, "8"]:
    near, fast = POSITION_SCALE_M, SPEED_SCALE_MPS
    return boxes.new_tensor([near, near, 1.0, 1.0, 1.0, 1.0, fast, fast])

"""Scene editing (DiMA, arXiv 2501.09757): a vehicle is added or deleted; what should the ego do, in words and metres?

An edit appends one agent token, made by a linear layer from the vehicle's box, motion and category. The paper deletes
by removing the agent's token. Agent tokens need not say where they are, so which one stands for the deleted vehicle may
be unknown; a deletion is therefore also an appended token, by a linear layer of its own, that says who is gone.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from dima_pipeline.contracts.batch import BeamTokens, SceneEdits
from dima_pipeline.contracts.frames import AGENT_CATEGORIES, EGO_CENTER_AHEAD_M, NUM_FUTURE_STEPS
from dima_pipeline.models.matching import masked_mean
from dima_pipeline.models.task_heads import PathHead
from dima_pipeline.plugins import config_dataclass
from dima_pipeline.surrogates import Privileged, SurrogateInput, TeacherOutput

ADD, DELETE = 1, 2
POSITION_SCALE_M, SIZE_SCALE_M, SPEED_SCALE_MPS = 30.0, 5.0, 10.0
"""Bring an edit's numbers to about 1."""


@config_dataclass
class Config:
    """Distances between centres below which the ego is too close to an added vehicle (VAD's collision constraint)."""

    safe_ahead_m: float = Field(default=3.0, gt=0)
    safe_aside_m: float = Field(default=1.5, gt=0)
    horizon: int = Field(default=NUM_FUTURE_STEPS, ge=1)


@dataclass(frozen=True, kw_only=True)
class EditTarget:
    """What the ego should do in the edited scene, and whom it must not hit."""

    path: Float[Tensor, "B T 2"]
    obstacle: Float[Tensor, "B T 2"]
    """Positions of the added vehicle."""
    is_obstacle: Bool[Tensor, "B T"]


class SceneEditing(nn.Module):
    """See the module."""

    needs_future = False

    def __init__(self, config: Config, *, token_dim: int, teacher_dim: int, bev_shape: tuple[int, int]) -> None:
        super().__init__()
        self.config = config
        row_dim = 8 + 2 * config.horizon + len(AGENT_CATEGORIES)
        self.added = nn.Linear(row_dim, token_dim)
        self.deleted = nn.Linear(row_dim, token_dim)
        self.head = PathHead(teacher_dim, teacher_dim, config.horizon)

    def prepare(self, beam: BeamTokens, known: Privileged, generator: Generator) -> SurrogateInput:
        """A beam with one agent more (not valid where there is no edit); ``valid`` (B, T). Nothing is drawn."""
        edits = known.edits
        row = edit_row(edits)
        is_edited = edits.kind > 0
        token = torch.where((edits.kind == DELETE)[:, None], self.deleted(row), self.added(row)).to(beam.agent.dtype)
        center = beam.agent_center
        if center is not None:
            center = torch.cat([center, edits.box[:, None, :2].to(center.dtype)], 1)
        edited = replace(
            beam,
            agent=torch.cat([beam.agent, token[:, None]], 1),
            agent_valid=torch.cat([beam.agent_valid, is_edited[:, None]], 1),
            agent_center=center,
        )
        valid = edits.path_valid & is_edited[:, None]
        is_obstacle = valid & (edits.kind == ADD)[:, None]
        target = EditTarget(path=edits.path, obstacle=edits.future, is_obstacle=is_obstacle)
        pairs = [own[0] if own else None for own in known.edit_pairs]
        return SurrogateInput(beam=edited, pairs=pairs, target=target, valid=valid)

    def losses(self, answer: TeacherOutput, asked: SurrogateInput) -> dict[str, Tensor]:
        """``trajectory_l1`` (m) to the counterfactual path, ``collision`` (m) with an added vehicle, ``language``."""
        path = self.head(answer.ego[:, 0])
        too_close = intrusion(path, asked.target.obstacle, self.config.safe_ahead_m, self.config.safe_aside_m)
        terms = {
            "trajectory_l1": masked_mean((path - asked.target.path).abs().mean(-1), asked.valid),
            "collision": masked_mean(too_close, asked.target.is_obstacle),
        }
        if answer.language_loss is not None:
            terms["language"] = answer.language_loss
        return terms


def edit_row(edits: SceneEdits) -> Float[Tensor, "B row"]:
    """x, y, sin and cos of yaw, length, width, vx, vy, future positions and the category one-hot, scaled to about 1."""
    x_y, yaw, size, velocity = edits.box[:, :2], edits.box[:, 2:3], edits.box[:, 3:5], edits.box[:, 5:7]
    return torch.cat(
        [
            x_y / POSITION_SCALE_M,
            yaw.sin(),
            yaw.cos(),
            size / SIZE_SCALE_M,
            velocity / SPEED_SCALE_MPS,
            edits.future.flatten(1) / POSITION_SCALE_M,
            functional.one_hot(edits.category, len(AGENT_CATEGORIES)).to(edits.box.dtype),
        ],
        -1,
    )


def intrusion(
    path: Float[Tensor, "B T 2"], obstacle: Float[Tensor, "B T 2"], safe_ahead_m: float, safe_aside_m: float
) -> Float[Tensor, "B T"]:
    """How many metres, along the easier axis, the ego's footprint must move to keep its distance; 0 where it does.

    VAD's hinge, in the axes of the ego frame at t=0: too close is below both distances at once. The centre of the
    footprint is taken straight ahead of the ego origin, which is exact on a straight path.
    """
    centre = path + path.new_tensor([EGO_CENTER_AHEAD_M, 0.0])
    away = (centre - obstacle).abs()
    missing = (away.new_tensor([safe_ahead_m, safe_aside_m]) - away).clamp(min=0)
    return missing.amin(-1)


build = SceneEditing

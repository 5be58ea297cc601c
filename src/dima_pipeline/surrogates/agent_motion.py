"""Agent motion: the teacher says where the others are and where they go (its second planning task, arXiv 2501.09757).

A Q-Former hands the language model a fixed number of agent tokens, which stand for no agent in particular: they are
matched with the recorded ones as queries of a detector are. The scene is shown as it is: the pass is shared.
"""

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from dima_pipeline.contracts.batch import BeamTokens
from dima_pipeline.models.heads import AgentHead
from dima_pipeline.models.planning_losses import agent_losses
from dima_pipeline.plugins import config_dataclass
from dima_pipeline.surrogates import Privileged, SurrogateInput, TeacherOutput


@config_dataclass
class Config:
    """``dim``: width of the heads, between the language model's and their outputs."""

    dim: int = Field(default=64, ge=8)


class AgentMotion(nn.Module):
    """See the module."""

    needs_future = False

    def __init__(self, config: Config, *, token_dim: int, teacher_dim: int, bev_shape: tuple[int, int]) -> None:
        super().__init__()
        self.read = nn.Sequential(nn.Linear(teacher_dim, config.dim), nn.ReLU())
        # All queries start at the car: which of them looks where is the Q-Former's to learn.
        self.head = AgentHead(config.dim, torch.zeros(1, 2))

    def prepare(self, beam: BeamTokens, known: Privileged, generator: Generator) -> SurrogateInput:
        """The beam itself; ``target`` is the ground truth of the scene. Nothing is drawn."""
        return SurrogateInput(beam=beam, pairs=None, target=known.targets, valid=known.targets.agent_valid)

    def losses(self, answer: TeacherOutput, asked: SurrogateInput) -> dict[str, Tensor]:
        """``agent_class`` (nats), ``agent_box`` (5 m, rad, log, 5 m/s are one) and ``agent_motion`` (m a step)."""
        return agent_losses(self.head, self.read(answer.agent), asked.target)


build = AgentMotion

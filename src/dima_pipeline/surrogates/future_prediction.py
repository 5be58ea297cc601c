"""Future prediction (DiMA, arXiv 2501.09757): from the present scene, the teacher foresees the BEV tokens of t+1, t+2.

Targets are the planner's own tokens of the recorded next keyframes, in their own ego frames, detached and
layer-normalised. The scene is shown as it is, so the forward pass is shared with the questions.
"""

import torch
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from dima_pipeline.contracts.batch import BeamTokens
from dima_pipeline.models.bev_decoder import BevDecoder
from dima_pipeline.models.matching import masked_mean
from dima_pipeline.plugins import config_dataclass
from dima_pipeline.surrogates import Privileged, SurrogateInput, TeacherOutput


@config_dataclass
class Config:
    """``num_frames``: keyframes ahead that are predicted, 0.5 s apart; the loader supplies two, as in the paper."""

    num_frames: int = Field(default=2, ge=1, le=2)


class FuturePrediction(nn.Module):
    """See the module."""

    needs_future = True

    def __init__(self, config: Config, *, token_dim: int, teacher_dim: int, bev_shape: tuple[int, int]) -> None:
        super().__init__()
        self.num_frames = config.num_frames
        self.decoder = BevDecoder(teacher_dim, token_dim, bev_shape, num_frames=config.num_frames)

    def prepare(self, beam: BeamTokens, known: Privileged, generator: Generator) -> SurrogateInput:
        """The beam itself; ``target`` (B, N, Q, D), ``valid`` (B, N). Nothing is drawn.

        Raises ``ValueError`` where the batch holds fewer future keyframes than the configuration asks for.
        """
        assert known.future_bev is not None, "needs_future"
        supplied = known.future_bev.shape[1]
        if supplied < self.num_frames:
            raise ValueError(f"future_prediction.num_frames is {self.num_frames}, the batch holds {supplied}")
        future = known.future_bev[:, : self.num_frames].detach()
        target = functional.layer_norm(future, future.shape[-1:])
        valid = known.future_valid[:, : self.num_frames].to(torch.bool)
        return SurrogateInput(beam=beam, pairs=None, target=target, valid=valid)

    def losses(self, answer: TeacherOutput, asked: SurrogateInput) -> dict[str, Tensor]:
        """``t_plus_1``, ``t_plus_2``, ...: mean squared error of each keyframe ahead."""
        error = (self.decoder(answer.bev) - asked.target).square().mean((-1, -2))
        return {
            f"t_plus_{step + 1}": masked_mean(error[:, step], asked.valid[:, step]) for step in range(self.num_frames)
        }


build = FuturePrediction

"""Masked reconstruction (DiMA, arXiv 2501.09757): the teacher rebuilds the BEV tokens it cannot see.

A share of 0.2 to 0.4 of the cells, drawn for each sample, becomes one learned vector. The target is layer-normalised
and detached, else the jointly trained encoder could make the task easy by making all cells alike.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
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
    """The share of masked cells is uniform between ``min_ratio`` and ``max_ratio``."""

    min_ratio: float = Field(default=0.2, gt=0, lt=1)
    max_ratio: float = Field(default=0.4, gt=0, lt=1)

    def __post_init__(self) -> None:
        if self.min_ratio > self.max_ratio:
            raise ValueError(f"min_ratio {self.min_ratio} is above max_ratio {self.max_ratio}")


class MaskedReconstruction(nn.Module):
    """See the module."""

    needs_future = False

    def __init__(self, config: Config, *, token_dim: int, teacher_dim: int, bev_shape: tuple[int, int]) -> None:
        super().__init__()
        self.config = config
        self.mask_vector = nn.Parameter(0.02 * torch.randn(token_dim))
        self.decoder = BevDecoder(teacher_dim, token_dim, bev_shape)

    def prepare(self, beam: BeamTokens, known: Privileged, generator: Generator) -> SurrogateInput:
        """A beam with masked BEV cells; ``valid`` (B, Q) says which must be rebuilt, at least one a sample."""
        is_masked = self._draw(beam.bev.shape[:2], generator).to(beam.bev.device)
        masked = torch.where(is_masked[..., None], self.mask_vector.to(beam.bev.dtype), beam.bev)
        target = functional.layer_norm(beam.bev.detach(), beam.bev.shape[-1:])
        return SurrogateInput(beam=replace(beam, bev=masked), pairs=None, target=target, valid=is_masked)

    def losses(self, answer: TeacherOutput, asked: SurrogateInput) -> dict[str, Tensor]:
        """``reconstruction``: mean squared error of the masked cells (1 for a decoder that says zero)."""
        rebuilt = self.decoder(answer.bev)[:, 0]
        return {"reconstruction": masked_mean((rebuilt - asked.target).square().mean(-1), asked.valid)}

    @torch.no_grad()
    def metrics(self, answer: TeacherOutput, asked: SurrogateInput) -> dict[str, Tensor]:
        """``masked_share``: of all cells. ``mask_norm``: of the mask vector, as a share of the mean norm of shown ones.

        ``spread``: standard deviation of what is rebuilt over all masked cells, as a share of that of the targets; near
        0 every cell is answered alike.
        """
        shown, masked = asked.beam.bev[~asked.valid].float(), asked.valid
        rebuilt = self.decoder(answer.bev)[:, 0]
        rebuilt, target = rebuilt[masked].float(), asked.target[masked].float()
        return {
            "masked_share": masked.float().mean(),
            "mask_norm": self.mask_vector.float().norm() / shown.norm(dim=-1).mean().clamp(min=1e-6),
            "spread": _spread(rebuilt) / _spread(target).clamp(min=1e-6),
        }

    def _draw(self, shape: torch.Size, generator: Generator) -> Tensor:
        """Exactly the drawn share of cells of each sample, at random places."""
        batch_size, num_cells = shape
        device = generator.device
        low, high = self.config.min_ratio, self.config.max_ratio
        ratio = low + (high - low) * torch.rand(batch_size, 1, generator=generator, device=device)
        places = torch.rand(batch_size, num_cells, generator=generator, device=device).argsort(1).argsort(1)
        return places < (ratio * num_cells).round().clamp(min=1)


def _spread(rows: Float[Tensor, "N D"]) -> Float[Tensor, ""]:
    """Root mean square distance from the mean row, per channel."""
    return (rows - rows.mean(0)).square().mean().sqrt()


build = MaskedReconstruction

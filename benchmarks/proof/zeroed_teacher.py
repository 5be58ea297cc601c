"""A teacher that is shown nothing: its scene tokens are made of zeros, so that it can teach no more than a habit."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dima_pipeline.contracts.batch import BeamTokens
from dima_pipeline.plugins import config_dataclass
from dima_pipeline.teachers import causal_lm


@config_dataclass
class Config(causal_lm.Config):
    """As ``causal_lm``, without a checkpoint."""


class ZeroedTeacher(causal_lm.CausalLmTeacher):
    """``causal_lm`` behind a curtain."""

    def embed_scene(self, beam: BeamTokens) -> tuple[Float[Tensor, "B S H"], dict[str, slice]]:
        """The prompt's scene part, the same for every scene."""
        names = [f.name for f in fields(BeamTokens) if getattr(beam, f.name) is not None]
        known = {name: getattr(beam, name) for name in names}
        return super().embed_scene(replace(BeamTokens(**known), **{n: zeros(known[n]) for n in known}))


def zeros(values: Tensor) -> Tensor:
    """Zeros in place of numbers; what is valid stays valid."""
    return values if values.dtype == torch.bool else torch.zeros_like(values)


def build(config: Config, *, token_dim: int, feature_dim: int, texts: Sequence[str]) -> ZeroedTeacher:
    """A new teacher for a planner of ``token_dim``."""
    teacher: Any = causal_lm.build(config, token_dim=token_dim, feature_dim=feature_dim, texts=texts)
    teacher.__class__ = ZeroedTeacher  # begins with the very weights of the teacher that sees
    return teacher

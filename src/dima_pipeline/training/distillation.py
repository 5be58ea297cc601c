"""Distillation: the planner's features are pulled towards the teacher's, which get no gradient from here.

``ego`` is the paper's (DiMA, section 3.4): both sides are the last features before a plan. ``agent`` and ``map`` go
beyond it: the Q-Former's queries stand for no token in particular, so the means over each component are compared, the
planner's through a linear regressor that exists in training alone (FitNets, Romero et al., ICLR 2015).
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from dima_pipeline.contracts.batch import BeamTokens
from dima_pipeline.surrogates import TeacherOutput
from dima_pipeline.training.weights import ObjectiveConfig


class TokenRegressors(nn.ModuleDict):
    """Regressors of ``components``, from the planner's mean token to the width of the teacher's features."""

    def __init__(self, components: Sequence[str], planner: Any, teacher: Any) -> None:
        super().__init__({name: nn.Linear(planner.token_dim, teacher.hidden_dim) for name in components})

    def term(self, name: str, answer: TeacherOutput, beam: BeamTokens, config: ObjectiveConfig) -> Float[Tensor, ""]:
        """``distance`` of a component's means; samples without a valid token do not count."""
        tokens = getattr(beam, name)
        mean, has_any = mean_token(tokens, getattr(beam, f"{name}_valid"))
        if not has_any.any():
            return 0 * tokens.sum()
        return distance(getattr(answer, name).mean(1)[has_any], self[name](mean[has_any]), config)


class WeightAverage(nn.Module):
    """Exponential moving average of the weights of ``module`` that train (mean teacher, Tarvainen & Valpola 2017)."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.names = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
        for index, value in enumerate(self._values(module)):
            self.register_buffer(f"weight_{index}", value.detach().clone())

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move by 1 - ``decay`` of the way to the present weights."""
        for average, value in zip(self.buffers(), self._values(module), strict=True):
            average.lerp_(value, 1 - self.decay)

    @torch.no_grad()
    def answer(self, module: nn.Module, *arguments: Any) -> Any:
        """What ``module`` would say with the average weights, and without dropout."""
        was_training = module.training
        module.eval()
        try:
            return torch.func.functional_call(module, dict(zip(self.names, self.buffers(), strict=True)), arguments)
        finally:
            module.train(was_training)

    def _values(self, module: nn.Module) -> list[Tensor]:
        known = dict(module.named_parameters())
        return [known[name] for name in self.names]


def mean_token(
    tokens: Float[Tensor, "B N D"], valid: Bool[Tensor, "B N"]
) -> tuple[Float[Tensor, "B D"], Bool[Tensor, "B"]]:
    """Mean of the valid tokens of each sample, zero where there is none, and whether there is one."""
    weight = valid.to(tokens.dtype)[..., None]
    return (tokens * weight).sum(1) / weight.sum(1).clamp(min=1), valid.any(1)


def distance(
    teacher: Float[Tensor, "B F"], planner: Float[Tensor, "B F"], config: ObjectiveConfig
) -> Float[Tensor, ""]:
    """How far the planner's features are from the teacher's, which get no gradient from here.

    ``kl``: D(P_llm || P_vis) of softmax distributions over channels (the paper's), times the squared temperature.
    """
    teacher = teacher.detach()
    if config.distillation == "smooth_l1":
        return functional.smooth_l1_loss(planner, teacher)
    if config.distillation == "cosine":
        return (1 - functional.cosine_similarity(planner, teacher, dim=-1)).mean()
    tau = config.temperature
    log_vis, log_llm = functional.log_softmax(planner / tau, -1), functional.log_softmax(teacher / tau, -1)
    # Rounding can push the divergence of equal distributions just below zero.
    return functional.kl_div(log_vis, log_llm, reduction="batchmean", log_target=True).clamp(min=0) * tau**2

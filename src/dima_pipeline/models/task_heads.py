"""Heads on features of the language model: three linear layers with ReLU between them (DiMA's surrogate heads)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

STEP_SCALE_M = 2.0
"""Outputs of order one become steps of 0.5 s in metres."""


def relu_head(input_dim: int, hidden_dim: int, output_dim: int) -> nn.Sequential:
    """Linear, ReLU, Linear, ReLU, Linear."""
    return nn.Sequential(
        nn.Linear(input_dim, hidden_dim),
        nn.ReLU(),
        nn.Linear(hidden_dim, hidden_dim),
        nn.ReLU(),
        nn.Linear(hidden_dim, output_dim),
    )


class PathHead(nn.Module):
    """Positions (m) at ``num_steps`` steps from one feature; training starts from 4 m/s straight ahead."""

    def __init__(self, input_dim: int, hidden_dim: int, num_steps: int) -> None:
        super().__init__()
        self.steps = relu_head(input_dim, hidden_dim, 2 * num_steps)
        last = self.steps[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.bias[0::2] = 1.0

    def forward(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B T 2"]:
        """Absolute positions in the ego frame at t=0."""
        return STEP_SCALE_M * self.steps(features).unflatten(-1, (-1, 2)).cumsum(1)

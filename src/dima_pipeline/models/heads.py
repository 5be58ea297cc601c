"""What tokens say in metres: agents, map elements and the trajectory.

The heads read nothing but tokens and fixed anchors, so whoever changes a token (a scene edit) changes what it says.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dima_pipeline.contracts.frames import (
    AGENT_CATEGORIES,
    COMMANDS,
    MAP_KINDS,
    NUM_FUTURE_STEPS,
    NUM_POLYLINE_POINTS,
    STEP_S,
)
from dima_pipeline.models.initialization import OUTPUT_GAIN, scaled

POSITION_SCALE_M = 5.0
SPEED_SCALE_MPS = 5.0
STEP_SCALE_M = 2.0
"""Network outputs are of order one; these make metres of them."""
TYPICAL_LENGTH_M, TYPICAL_WIDTH_M = 4.0, 1.9


def spread_points(num: int, range_m: tuple[float, float, float, float]) -> Float[Tensor, "num 2"]:
    """``num`` points that cover a rectangle evenly (x_min, y_min, x_max, y_max): the additive R2 sequence."""
    golden = 1.32471795724474602596
    steps = torch.tensor([1 / golden, 1 / golden**2], dtype=torch.float64)
    unit = (0.5 + torch.arange(1, num + 1, dtype=torch.float64)[:, None] * steps) % 1
    low, high = torch.tensor(range_m[:2], dtype=torch.float64), torch.tensor(range_m[2:], dtype=torch.float64)
    return (low + unit * (high - low)).float()


def mlp(dim: int, out_dim: int) -> nn.Sequential:
    """LayerNorm, one hidden layer, and a small last one."""
    return nn.Sequential(
        nn.LayerNorm(dim), scaled(nn.Linear(dim, dim)), nn.GELU(), scaled(nn.Linear(dim, out_dim), OUTPUT_GAIN)
    )


class AgentHead(nn.Module):
    """Category, box and future of each agent token; the anchors are the reference points of the queries."""

    def __init__(self, dim: int, anchors_m: Float[Tensor, "A 2"]) -> None:
        super().__init__()
        self.anchors: Tensor
        self.register_buffer("anchors", anchors_m, persistent=False)
        self.category = mlp(dim, len(AGENT_CATEGORIES) + 1)
        self.box = mlp(dim, 8)
        self.motion = mlp(dim, 2 * NUM_FUTURE_STEPS)

    def classify(self, tokens: Float[Tensor, "B A D"]) -> Float[Tensor, "B A categories+1"]:
        """Logits over ``frames.AGENT_CATEGORIES``; the last one means no agent."""
        return self.category(tokens)

    def boxes(self, tokens: Float[Tensor, "B A D"]) -> Float[Tensor, "B A 8"]:
        """x, y (m), sin and cos of the yaw, log length, log width (of m), vx, vy (m/s)."""
        raw = self.box(tokens)
        size = raw.new_tensor([TYPICAL_LENGTH_M, TYPICAL_WIDTH_M]).log()
        center = self.anchors + POSITION_SCALE_M * raw[..., :2]
        return torch.cat([center, raw[..., 2:4], size + raw[..., 4:6], SPEED_SCALE_MPS * raw[..., 6:]], -1)

    def steps(self, tokens: Float[Tensor, "B A D"]) -> Float[Tensor, "B A T 2"]:
        """Displacement (m) in each future step, one mode."""
        return STEP_SCALE_M * self.motion(tokens).unflatten(-1, (NUM_FUTURE_STEPS, 2))


class MapHead(nn.Module):
    """Kind and polyline of each map token."""

    def __init__(self, dim: int, anchors_m: Float[Tensor, "M 2"]) -> None:
        super().__init__()
        self.anchors: Tensor
        self.register_buffer("anchors", anchors_m, persistent=False)
        self.kind = mlp(dim, len(MAP_KINDS) + 1)
        self.polyline = mlp(dim, 2 * NUM_POLYLINE_POINTS)

    def classify(self, tokens: Float[Tensor, "B M D"]) -> Float[Tensor, "B M kinds+1"]:
        """Logits over ``frames.MAP_KINDS``; the last one means no element."""
        return self.kind(tokens)

    def points(self, tokens: Float[Tensor, "B M D"]) -> Float[Tensor, "B M P 2"]:
        """Polyline points (m)."""
        raw = self.polyline(tokens).unflatten(-1, (NUM_POLYLINE_POINTS, 2))
        return self.anchors[:, None] + POSITION_SCALE_M * raw


class EgoStatus(nn.Module):
    """What the car's own motion adds to the ego feature that the trajectory head reads: DiMA+ (arXiv 2501.09757)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.embed = scaled(nn.Linear(3, dim))

    def forward(self, ego: Float[Tensor, "B D"], prev_from_ego: Float[Tensor, "B 3"]) -> Float[Tensor, "B D"]:
        """``ego`` with the mean velocity (5 m/s are one) and yaw rate (rad/s) since the keyframe before, zero where
        there is none (``SceneBatch.prev_from_ego``)."""
        scale = prev_from_ego.new_tensor([SPEED_SCALE_MPS, SPEED_SCALE_MPS, 1.0])
        return ego + self.embed(prev_from_ego / (STEP_S * scale))


class TrajectoryHead(nn.Module):
    """The ego token's trajectory: shared penultimate features, one last layer per command (as VAD's ego modes)."""

    def __init__(self, dim: int, feature_dim: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.LayerNorm(dim),
            scaled(nn.Linear(dim, feature_dim)),
            nn.GELU(),
            scaled(nn.Linear(feature_dim, feature_dim)),
            nn.GELU(),
        )
        self.branches = scaled(nn.Linear(feature_dim, len(COMMANDS) * NUM_FUTURE_STEPS * 2), OUTPUT_GAIN)
        with torch.no_grad():
            # Cars mostly drive ahead: start from 4 m/s straight on, not from standing still.
            self.branches.bias.view(len(COMMANDS), NUM_FUTURE_STEPS, 2)[..., 0] = 1.0

    def forward(
        self, ego: Float[Tensor, "B D"], command: Int[Tensor, "B"]
    ) -> tuple[Float[Tensor, "B T 2"], Float[Tensor, "B F"]]:
        """Absolute positions (m) for ``command`` and the penultimate features."""
        features = self.features(ego)
        return self.decode(features, command), features

    def decode(self, features: Float[Tensor, "B F"], command: Int[Tensor, "B"]) -> Float[Tensor, "B T 2"]:
        """Absolute positions (m) for ``command`` out of penultimate features, whoever they come from."""
        steps = self.branches(features).unflatten(-1, (len(COMMANDS), NUM_FUTURE_STEPS, 2))
        # A mask instead of an index: the exported graph stays free of data-dependent gathers.
        chosen = torch.arange(len(COMMANDS), device=features.device) == command[:, None]
        steps = (steps * chosen[..., None, None]).sum(1)
        return STEP_SCALE_M * steps.cumsum(1)

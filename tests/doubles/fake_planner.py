"""A planner of a few hundred weights for tests of training; it can die once, be slow, or return a NaN when asked to."""

import os
import time
from pathlib import Path

import torch
from torch import nn

from dima_pipeline.contracts.batch import BeamTokens, BevMemory, Plan, SceneBatch, SceneTargets
from dima_pipeline.plugins import config_dataclass


@config_dataclass
class Config:
    token_dim: int = 8
    dropout: float = 0.2
    die_at: int | None = None
    """Call of ``losses`` at which the process ends."""
    died_flag: str = ""
    """A file written when it dies, so that it dies once only."""
    nan_from: int | None = None
    """Call of ``losses`` from which on its loss is not a number."""
    pause_s: float = 0.0


class FakePlanner(nn.Module):
    feature_dim = 8
    bev_shape = (2, 2)
    num_bev_cells = 4

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.token_dim = config, config.token_dim
        self.see = nn.Linear(18, config.token_dim * self.num_bev_cells)
        self.norm = nn.BatchNorm1d(config.token_dim * self.num_bev_cells)
        self.drop = nn.Dropout(config.dropout)
        self.steer = nn.Linear(config.token_dim, 8)
        self.out = nn.Linear(8, 12)
        self.unused = nn.Linear(3, 3)
        self.num_calls = 0

    def encode(self, batch: SceneBatch, memory: BevMemory) -> tuple[BeamTokens, BevMemory]:
        seen = self.see(batch.images.float().mean((2, 3)).flatten(1) / 255)
        bev = self.drop(self.norm(seen)).unflatten(1, (4, self.token_dim))
        bev = bev + 0.1 * memory.bev * memory.is_valid[:, None, None]
        valid = torch.ones(bev.shape[:2], dtype=torch.bool)
        ego = bev.mean(1, keepdim=True)
        beam = BeamTokens(bev=bev, ego=ego, agent=bev, map=bev, agent_valid=valid, map_valid=valid)
        return beam, BevMemory(bev=bev, is_valid=torch.ones_like(memory.is_valid))

    def plan(self, beam: BeamTokens, batch: SceneBatch) -> Plan:
        features = torch.tanh(self.steer(beam.ego[:, 0]))
        return Plan(trajectory=self.out(features).unflatten(1, (6, 2)), features=features)

    def losses(self, beam: BeamTokens, plan: Plan, batch: SceneBatch, targets: SceneTargets) -> dict[str, torch.Tensor]:
        self._misbehave()
        error = (plan.trajectory - targets.ego_future[..., :2]).abs().sum(-1) * targets.ego_future_valid
        loss = error.sum() / targets.ego_future_valid.sum().clamp(min=1)
        is_broken = self.config.nan_from is not None and self.num_calls > self.config.nan_from
        return {"trajectory_l1": loss * (float("nan") if is_broken else 1.0)}

    def _misbehave(self) -> None:
        config = self.config
        time.sleep(config.pause_s)
        if self.num_calls == config.die_at and not Path(config.died_flag).exists():
            Path(config.died_flag).write_text("died")
            os._exit(1)
        self.num_calls += 1


def build(config: Config, *, image_size: tuple[int, int]) -> FakePlanner:
    assert len(image_size) == 2
    return FakePlanner(config)

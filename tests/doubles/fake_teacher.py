"""A small teacher for tests of tuning that loads no language library; from some size on its features are NaN."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from dima_pipeline.contracts.batch import BeamTokens, VqaPair
from dima_pipeline.plugins import config_dataclass
from dima_pipeline.surrogates import TeacherOutput
from dima_pipeline.teachers import TextBatch
from dima_pipeline.training.checkpoints import save_tensors


@config_dataclass
class Config:
    num_bev_queries: int = 2
    lora_rank: int = 8
    broken_from: int = 1000
    """From this many queries on its features are not finite."""


class FakeTeacher(nn.Module):
    hidden_dim = 8

    def __init__(self, config: Config, token_dim: int, feature_dim: int) -> None:
        super().__init__()
        self.config = config
        self.queries = nn.Parameter(torch.randn(config.num_bev_queries, self.hidden_dim))
        self.read = nn.Linear(token_dim, self.hidden_dim)
        self.to_features = nn.Linear(self.hidden_dim, feature_dim)
        self.plan = nn.Linear(feature_dim, 12)

    def tokenize(self, pairs: Sequence[VqaPair | None]) -> TextBatch:
        length = torch.tensor([[len(pair.answer) if pair else 0] for pair in pairs])
        return TextBatch(input_ids=length, labels=length, attention_mask=length > 0)

    def forward(self, beam: BeamTokens, text: TextBatch | None) -> TeacherOutput:
        ego = self.read(beam.ego)
        features = self.to_features(ego[:, 0])
        if self.config.num_bev_queries >= self.config.broken_from:
            features = features * torch.nan
        return TeacherOutput(
            bev=self.read(beam.bev.mean(1, keepdim=True)) + self.queries,
            ego=ego,
            agent=ego,
            map=ego,
            trajectory=self.plan(features).unflatten(1, (6, 2)),
            ego_features=features,
            language_loss=None if text is None else features.square().mean(),
            language_accuracy=None,
        )

    def save_pretrained(self, directory: Path) -> None:
        directory.mkdir()
        save_tensors(self.state_dict(), directory / "teacher.safetensors")


def build(config: Config, *, token_dim: int, feature_dim: int, texts: Sequence[str]) -> FakeTeacher:
    assert texts
    return FakeTeacher(config, token_dim, feature_dim)

"""A metric, a slice and a surrogate task, one file each outside of the project, become usable from YAML alone."""

import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from dima_pipeline.evaluation.baselines import constant_velocity
from dima_pipeline.evaluation.config import EvaluationConfig
from dima_pipeline.evaluation.scores import score
from dima_pipeline.planners import PLANNERS
from dima_pipeline.surrogates import SURROGATES
from dima_pipeline.teachers import TEACHERS
from dima_pipeline.training.config import parse_distillation
from dima_pipeline.training.objective import JointObjective
from evaluation_scenes import make_fleet
from teaching_cases import TEXTS, TINY_TEACHER, make_training_batch

METRIC = '''
"""Lateral error: how far a plan is beside the driven path."""
import numpy as np
from dima_pipeline.metrics import MetricValues
from dima_pipeline.plugins import config_dataclass

@config_dataclass
class Config:
    tolerance_m: float = 0.0

class LateralError:
    protocol, horizon_rule = "ours", "at"

    def __init__(self, config):
        self.config = config

    def compute(self, plans, scenes):
        error = np.abs(plans[..., 1] - scenes.path[..., 1])
        value = np.where(scenes.path_valid, np.maximum(error - self.config.tolerance_m, 0), 0.0)
        return MetricValues(value=value, valid=scenes.path_valid)

build = LateralError
'''

SLICE = '''
"""First keyframes of scenes."""
import pandas as pd
from dima_pipeline.plugins import config_dataclass

@config_dataclass
class Config:
    num_keyframes: int = 1

class Beginning:
    def __init__(self, config):
        self.config = config

    def members(self, tables):
        is_early = tables.samples["index"] < self.config.num_keyframes
        return pd.Series(is_early.to_numpy(), index=tables.samples["sample_token"])

build = Beginning
'''

SURROGATE = '''
"""Agent counting: the teacher tells how many agents there are."""
from torch import nn
from dima_pipeline.plugins import config_dataclass
from dima_pipeline.surrogates import SurrogateInput

@config_dataclass
class Config:
    scale: float = 0.1

class AgentCounting(nn.Module):
    needs_future = False

    def __init__(self, config, *, token_dim, teacher_dim, bev_shape):
        super().__init__()
        self.scale = config.scale
        self.head = nn.Linear(teacher_dim, 1)

    def prepare(self, beam, known, generator):
        count = known.targets.agent_valid.sum(-1).float()
        return SurrogateInput(beam=beam, pairs=None, target=count, valid=None)

    def losses(self, answer, asked):
        said = self.head(answer.ego[:, 0]).squeeze(-1)
        return {"count": self.scale * (said - asked.target).abs().mean()}

build = AgentCounting
'''


@pytest.fixture(autouse=True)
def their_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A package of a user, importable but not part of the project."""
    package = tmp_path / "theirs"
    package.mkdir()
    (package / "__init__.py").write_text("")
    for name, text in {"lateral_error": METRIC, "beginning": SLICE, "agent_counting": SURROGATE}.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "theirs"]:
        del sys.modules[name]


def test_a_new_metric_scores_plans():
    config = EvaluationConfig(
        **yaml.safe_load("metrics: [planning_l2, {name: theirs.lateral_error, tolerance_m: 0.1}]")
    )
    tables = make_fleet()
    scores = score(constant_velocity(tables, "val"), tables, config.metrics)
    assert set(scores["metric"]) == {"planning_l2", "theirs.lateral_error"}
    assert set(scores["protocol"]) == {"standardised", "ours"}


def test_a_new_slice_is_written_by_kedro_run(kedro_run, root, tmp_path):
    slices = yaml.safe_load("slices: [{name: theirs.beginning, num_keyframes: 3}]")
    assert kedro_run("--pipelines", "ingestion,annotation", dataroot=root, changes={"annotation": slices}) == 0
    members = pd.read_parquet(tmp_path / "data" / "04_feature" / "slice_members.parquet")
    assert members["slice"].unique().tolist() == ["theirs.beginning"]
    assert len(members) == 6  # three keyframes of each of two scenes


def test_a_new_surrogate_task_is_a_named_term_of_the_objective():
    text = "{planner: vad, teacher: causal_lm, surrogates: [{name: theirs.agent_counting, scale: 0.2}]}"
    config = parse_distillation(yaml.safe_load(text))
    torch.manual_seed(0)
    batch = make_training_batch(batch_size=2)
    planner = PLANNERS.build(config.planner, image_size=tuple(batch.window.current.images.shape[2:4]))
    width = {"token_dim": planner.token_dim, "feature_dim": planner.feature_dim}
    teacher = TEACHERS.build(TEACHERS.parse(TINY_TEACHER), **width, texts=TEXTS)
    facts = {"token_dim": planner.token_dim, "teacher_dim": teacher.hidden_dim, "bev_shape": planner.bev_shape}
    task = SURROGATES.build(config.surrogates[0], **facts)
    objective = JointObjective(planner, teacher, [task], config.objective)
    terms = objective(batch, torch.Generator().manual_seed(0))
    assert terms["surrogate/theirs.agent_counting/count"] > 0

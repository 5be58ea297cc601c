"""Gradients on the shared encoder: norms and angles known by hand, and a run that they do not change."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dima_pipeline.planners import PLANNERS
from dima_pipeline.surrogates import SURROGATES
from dima_pipeline.training.config import parse_distillation
from dima_pipeline.training.encoder_gradients import encoder_gradients, reached, watch_encoder
from dima_pipeline.training.objective import JointObjective
from dima_pipeline.training.run_log import read_log
from dima_pipeline.training.runtime import LocalRuntime
from dima_pipeline.training.stages import load_planner, plan_stages, train_stage
from teaching_cases import IMAGE_SIZE, TINY_PLANNER, make_training_batch, tiny_teacher
from training_cases import make_training_tables, write_shards


class Planner(nn.Module):
    """Two weights that are shared, (3, 4), and a head of its own."""

    def __init__(self):
        super().__init__()
        self.shared, self.head = nn.Parameter(torch.tensor([3.0, 4.0])), nn.Parameter(torch.tensor(2.0))

    def encode(self, batch, memory):
        token = 1.0 * self.shared
        return SimpleNamespace(bev=token, ego=token[:1], agent=token.detach(), map=token), memory


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.planner = Planner()

    def forward(self):
        beam, _ = self.planner.encode(None, None)
        right, up = beam.bev
        with torch.no_grad():
            self.planner.encode(None, None)
        terms = {"right": 2 * right, "up": self.planner.head * up, "back": -right, "head": self.planner.head * 1.0}
        return {**terms, "metric/x": right.detach(), "total": 2 * right + self.planner.head * up}


def test_norms_and_cosines_are_those_of_the_hand():
    model = Model()
    with watch_encoder(model) as tokens:
        losses = model()
    found = encoder_gradients(losses, tokens, model)
    assert found == pytest.approx(
        {
            "norm/right": 2.0,
            "cosine/right": math.sqrt(0.5),
            "norm/up": 2.0,
            "cosine/up": math.sqrt(0.5),
            "norm/back": 1.0,
            "cosine/back": -math.sqrt(0.5),
            "norm/head": 0.0,
            "norm/total": math.sqrt(8.0),
        }
    )


def test_measuring_leaves_gradients_alone_and_the_planner_as_it_was():
    model, measured = Model(), Model()
    model()["total"].backward()
    with watch_encoder(measured) as tokens:
        losses = measured()
    encoder_gradients(losses, tokens, measured)
    assert measured.planner.shared.grad is None and "encode" not in vars(measured.planner)
    losses["total"].backward()
    assert torch.equal(model.planner.shared.grad, measured.planner.shared.grad)


def test_a_model_without_a_planner_and_a_frozen_encoder_give_nothing():
    with watch_encoder(nn.Linear(2, 2)) as tokens:
        pass
    assert tokens == []
    model = Model()
    model.planner.shared.requires_grad_(False)
    with watch_encoder(model) as tokens:
        losses = model()
    assert encoder_gradients(losses, tokens, model) == {}


@pytest.fixture(scope="module")
def joint():
    torch.manual_seed(0)
    planner, teacher = PLANNERS.build(PLANNERS.parse(TINY_PLANNER), image_size=IMAGE_SIZE), tiny_teacher()
    shape = {"token_dim": planner.token_dim, "teacher_dim": teacher.hidden_dim, "bev_shape": planner.bev_shape}
    return JointObjective(
        planner, teacher, [SURROGATES.build(SURROGATES.parse(name), **shape) for name in SURROGATES.names()]
    )


def test_every_term_of_the_joint_objective_moves_the_shared_encoder(joint):
    with watch_encoder(joint) as tokens:
        losses = joint(make_training_batch(), torch.Generator().manual_seed(5))
    found = encoder_gradients(losses, tokens, joint)
    terms = [name for name, loss in losses.items() if loss.requires_grad]
    assert set(terms) >= {"planning/map_points", "teacher/vqa", "distillation/ego", "total"}
    assert all(found[f"norm/{name}"] > 0 for name in terms)
    assert all(-1.001 < found[f"cosine/{name}"] < 1.001 for name in terms if name != "total")


def test_the_shared_encoder_is_what_the_tokens_depend_on_and_neither_heads_nor_teacher(joint):
    with watch_encoder(joint) as tokens:
        joint(make_training_batch(), torch.Generator().manual_seed(5))
    names = {id(parameter): name for name, parameter in joint.named_parameters()}
    found = {names[id(weight)] for weight in reached(tokens)}
    parts = {name.split(".")[1] for name in found}
    assert parts == {"backbone", "lifting", "fusion", "bev_encoder", "agents", "map", "ego"}


def test_a_run_that_measures_ends_with_the_weights_and_terms_of_one_that_does_not(tmp_path):
    tables = make_training_tables()
    write_shards(tables, tmp_path / "shards")
    ends, lines = [], []
    for every in (0, 2):
        stage = {"num_steps": 4, "batch_size": 4, "checkpoint_every": 9, "gradient_norms_every": every}
        planner = {**TINY_PLANNER, "bev_shape": [6, 4], "heights_m": [0.0, 1.5]}
        config = parse_distillation({"planner": planner, "pretraining": stage})
        spec = plan_stages(config, tables, tmp_path / "shards", tmp_path / str(every))["pretraining"]
        train_stage(spec, LocalRuntime())
        ends.append(load_planner(spec.model_dir)[0].state_dict())
        lines.append(read_log(spec.log_path))
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert [line["terms"] for line in lines[0]] == [line["terms"] for line in lines[1]]
    assert ["encoder" in line for line in lines[0]] == [False] * 4
    assert ["encoder" in line for line in lines[1]] == [True, False, True, False]
    assert lines[1][0]["encoder"]["norm/planning/trajectory_l1"] > 0

"""One trial without Ray: the shortened joint stage, scored at each checkpoint, gone on with wherever it was cut."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from dima_pipeline.contracts.batch import BeamTokens, BevMemory, Plan
from dima_pipeline.distributed.sweep_ledger import Ledger
from dima_pipeline.distributed.sweep_score import DevelopmentScore
from dima_pipeline.distributed.sweep_search import OBJECTIVE, STEP
from dima_pipeline.distributed.sweep_trial import ScoredRuntime, StoppedError, TrialJob, train_trial, trial_spec
from dima_pipeline.storage.image_shards import ImageShards
from dima_pipeline.storage.runtime import RuntimeConfig
from dima_pipeline.training.loop import read_log
from dima_pipeline.training.runtime import LocalRuntime
from dima_pipeline.training.stages import load_planner
from dima_pipeline.training.windows import TrainingTables
from sweep_cases import make_data, make_joint, make_tuning
from training_cases import make_training_tables, write_shards

VALUES = {"joint.learning_rate": 0.05, "teacher.num_bev_queries": 3}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Data and the pretrained planner."""
    directory = tmp_path_factory.mktemp("trials")
    return directory, make_joint(directory)


@pytest.fixture
def job(shared, tmp_path):
    """A sweep with the trial 0."""
    Ledger(tmp_path / "sweep").add(VALUES)
    return TrialJob(
        sweep_dir=str(tmp_path / "sweep"),
        joint=shared[1],
        tuning=make_tuning(),
        runtime=RuntimeConfig(work_dir=str(tmp_path)),
        python_path=[],
    )


class Standing(nn.Module):
    """A planner that plans to stand where it is, or ``value`` m ahead where it remembers nothing."""

    num_bev_cells, token_dim = 4, 8

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))
        self.memories: list[list[bool]] = []

    def encode(self, batch, memory):
        assert not self.training
        self.memories.append(memory.is_valid.tolist())
        tokens = torch.zeros(len(batch.command), 4, 8)
        valid = torch.ones(tokens.shape[:2], dtype=torch.bool)
        tokens = tokens + self.value * ~memory.is_valid[:, None, None]
        beam = BeamTokens(bev=tokens, ego=tokens, agent=tokens, map=tokens, agent_valid=valid, map_valid=valid)
        return beam, BevMemory(bev=tokens, is_valid=valid[:, 0])

    def plan(self, beam, batch):
        trajectory = beam.bev[:, :1, :1].expand(-1, 6, 2)
        return Plan(trajectory=trajectory, features=trajectory[:, 0])


def score_of(directory, num_scenes=1):
    tables, shards_dir = make_data(directory)
    return DevelopmentScore(tables.hold_out(num_scenes), ImageShards(shards_dir), "route")


def test_a_planner_that_stands_is_off_by_the_way_driven(shared):
    """The development scene drives 4 or 8 m/s: mean distance after 1, 2 and 3 s = twice the metres of one second."""
    tables, _ = make_data(shared[0])
    scenes = tables.hold_out(1).scenes
    held_out = scenes.loc[scenes["split"] == "development", "name"].item()
    speed_mps = {"scene-0000": 4.0, "scene-0001": 8.0}[held_out]
    planner = Standing(99.0)  # at the first keyframe, which does not count
    assert score_of(shared[0])(planner.train()) == pytest.approx(2 * speed_mps)
    assert planner.memories == [[False], *[[True]] * 11]


def test_a_plan_that_is_not_finite_is_refused(shared):
    with pytest.raises(ValueError, match="no complete, finite plan"):
        score_of(shared[0])(Standing(math.nan))


def test_scenes_too_short_to_score_are_refused(tmp_path):
    tables = make_training_tables(6)
    write_shards(tables, tmp_path)
    with pytest.raises(ValueError, match="hold out longer scenes"):
        DevelopmentScore(tables.hold_out(1), ImageShards(tmp_path), "route")


def test_without_development_scenes_there_is_no_score(shared):
    with pytest.raises(ValueError, match="no keyframe of split 'development'"):
        score_of(shared[0], num_scenes=0)


def test_a_trial_is_the_joint_stage_shortened_with_its_own_values(job):
    spec = trial_spec(job, 0)
    settings = spec.config["joint"]
    assert (settings["num_steps"], settings["checkpoint_every"], settings["learning_rate"]) == (12, 4, 0.05)
    assert settings["warmup_steps"] == 3  # 10 of 40 steps, of 12 now
    assert spec.config["teacher"]["num_bev_queries"] == 3
    assert (spec.stage, spec.parent_dir, spec.tables_dir) == ("joint", job.joint.parent_dir, job.joint.tables_dir)
    assert job.joint.config["joint"]["num_steps"] == 40


def train(job, report=None):
    """The reports of trial 0."""
    seen = []
    train_trial(0, job, LocalRuntime(), report or seen.append)
    return [(report[STEP], report[OBJECTIVE]) for report in seen]


def test_a_trial_reports_what_the_planner_then_scores(job):
    reports = train(job)
    assert [step for step, _ in reports] == [4, 8, 12]
    planner, _ = load_planner(trial_spec(job, 0).model_dir)
    tables = TrainingTables.read(Path(job.joint.tables_dir))
    score = DevelopmentScore(tables, ImageShards(Path(job.joint.shards_dir)), "route")
    assert reports[-1][1] == score(planner)
    assert len({objective for _, objective in reports}) == 3


def test_scoring_does_not_change_what_is_learnt(job, tmp_path, monkeypatch):
    train(job)
    scored = [line["terms"] for line in read_log(trial_spec(job, 0).log_path)]
    monkeypatch.setattr("dima_pipeline.distributed.sweep_trial._score", lambda spec, planner: 1.0)
    Ledger(tmp_path / "other").add(VALUES)
    other = replace(job, sweep_dir=str(tmp_path / "other"))
    train(other)
    assert [line["terms"] for line in read_log(trial_spec(other, 0).log_path)] == scored


@pytest.mark.parametrize("last", [4, 8, 12])
def test_a_trial_that_died_before_it_could_report_goes_on_from_its_checkpoint(job, last):
    """The checkpoint of step ``last`` is there, its report is not."""
    seen = []

    def dies(report):
        if report[STEP] == last:
            raise KeyboardInterrupt
        seen.append(report[STEP])

    with pytest.raises(KeyboardInterrupt):
        train(job, report=dies)
    ledger = Ledger(Path(job.sweep_dir))
    for step in seen:
        ledger.report(0, step, 1.0)
    before = read_log(trial_spec(job, 0).log_path)
    reports = train(job)
    assert [step for step, _ in reports] == ([12] if last == 12 else [step for step in (8, 12) if step > last])
    assert read_log(trial_spec(job, 0).log_path)[:last] == before


def test_a_trial_ends_itself_at_the_next_step_when_the_ledger_says_so(job):
    ledger = Ledger(Path(job.sweep_dir))

    train(job, report=lambda report: ledger.end(0, "stopped"))
    assert len(read_log(trial_spec(job, 0).log_path)) == 4
    assert not trial_spec(job, 0).model_dir.exists()


class Worker(LocalRuntime):
    """The second of two workers, which see what each other passes."""

    rank, world_size = 1, 2

    def __init__(self, first):
        super().__init__()
        self.first = first

    def gather(self, values):
        return [self.first, values]


def test_only_the_first_worker_scores_and_asks_but_all_of_them_stop():
    def asked(*_):
        pytest.fail("the first worker scores and asks")

    reports = []
    runtime = ScoredRuntime(Worker({"total": 1.0}), asked, reports.append, asked)
    assert runtime.gather({"total": 2.0}) == [{"total": 1.0}, {"total": 2.0}]
    runtime.report({"step": 4.0})
    assert reports[0][STEP] == 4 and math.isnan(reports[0][OBJECTIVE])
    with pytest.raises(StoppedError):
        ScoredRuntime(Worker({"stopped": 1.0}), asked, reports.append, asked).gather({"total": 2.0})

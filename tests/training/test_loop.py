"""The loop: deterministic, resumable bit for bit, and not to be ruined by a step that is not finite."""

import fcntl
import json
import math
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dima_pipeline.contracts.batch import SceneWindow, TrainingBatch
from dima_pipeline.training import loop
from dima_pipeline.training.config import StageConfig
from dima_pipeline.training.loop import LOG, Run, build_optimizer, fit, read_log, schedule
from dima_pipeline.training.runtime import LocalRuntime, mean_terms
from scene_batches import make_edits, make_scene_batch, make_targets

STAGE = StageConfig(num_steps=12, batch_size=4, learning_rate=0.01, warmup_steps=3, checkpoint_every=4)


class Data:
    """Ten random samples; can fail at a step, and remembers who was asked for."""

    sample_tokens = tuple(str(index) for index in range(10))

    def __init__(self, fail_at_call: int | None = None) -> None:
        self.targets = make_targets(np.random.default_rng(0), 10, num_agents=2, num_map=1)
        self.fail_at_call = fail_at_call
        self.asked: list[list[int]] = []

    def __len__(self) -> int:
        return 10

    def batch(self, indices, epochs=None):
        if len(self.asked) == self.fail_at_call:
            raise OSError("the disk is gone")
        self.asked.append(indices.tolist())
        scene = make_scene_batch(np.random.default_rng(0), len(indices), image_size=(4, 4))
        none = np.zeros((len(indices), 0), bool)
        return TrainingBatch(
            sample_tokens=tuple(str(index) for index in indices),
            window=SceneWindow(past=(), past_valid=none, current=scene, future=(), future_valid=none),
            targets=type(self.targets)(**{name: array[indices] for name, array in vars(self.targets).items()}),
            edits=make_edits(np.random.default_rng(0), len(indices)),
            pairs=((),) * len(indices),
            edit_pairs=((),) * len(indices),
        )


class Model(nn.Module):
    """Predicts the ego future from its own first step; dropout and the generator make it random."""

    def __init__(self, nan_at: tuple[int, ...] = (), bad_gradient_at: tuple[int, ...] = ()) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 18))
        self.nan_at, self.bad_gradient_at = nan_at, bad_gradient_at
        self.num_calls = 0
        self.weights: list[object] = []

    def forward(self, batch, generator, weights):
        self.weights.append(weights)
        future = batch.targets.ego_future
        x = future[:, 0] + 0.1 * torch.rand(len(future), 3, generator=generator)
        if self.num_calls in self.nan_at:
            x = x * math.nan
        error = (self.net(x).unflatten(1, (6, 3)) - future).abs().mean()
        if self.num_calls in self.bad_gradient_at:
            error = error + torch.sqrt(self.net[0].bias.sum() * 0)
        self.num_calls += 1
        return {"l1": error, "metric/half": error.detach() / 2, "total": error}


def run(directory: Path, stage: StageConfig = STAGE, **options) -> Run:
    return Run(**{"stage": stage, "seed": 7, "digest": "d", "directory": directory, **options})


def train(directory, model=None, data=None, stage=STAGE, **options):
    model = Model() if model is None else model
    result = fit(model, Data() if data is None else data, run(directory, stage, **options), LocalRuntime())
    return model, result


def terms(directory):
    return [(line["step"], line["terms"]) for line in read_log(directory / LOG)]


def equal(first, second):
    return all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_training_lowers_the_loss_and_logs_every_step(tmp_path):
    _, result = train(tmp_path, stage=StageConfig(num_steps=60, batch_size=4, learning_rate=0.03))
    logged = terms(tmp_path)
    assert [step for step, _ in logged] == list(range(60))
    assert logged[0][1].keys() == {"l1", "metric/half", "total", "gradient_norm", "learning_rate"}
    assert np.mean([t["l1"] for _, t in logged[-5:]]) < 0.6 * logged[0][1]["l1"]
    assert (result.first_step, result.num_steps, result.num_bad_steps) == (0, 60, 0)


def test_the_same_seed_gives_the_same_losses_and_weights_and_another_seed_others(tmp_path):
    first, _ = train(tmp_path / "a")
    second, _ = train(tmp_path / "b")
    train(tmp_path / "c", seed=8)
    assert terms(tmp_path / "a") == terms(tmp_path / "b") != terms(tmp_path / "c")
    assert equal(first, second)


@pytest.mark.parametrize("fail_at_call", [1, 4, 5, 8, 11])
def test_an_interrupted_and_resumed_run_equals_the_uninterrupted_one_bit_for_bit(tmp_path, fail_at_call):
    whole, _ = train(tmp_path / "whole")
    with pytest.raises(OSError, match="the disk is gone"):
        train(tmp_path / "cut", data=Data(fail_at_call))
    resumed, result = train(tmp_path / "cut")
    assert result.first_step == 4 * (fail_at_call // 4)
    assert terms(tmp_path / "cut") == terms(tmp_path / "whole")
    assert equal(resumed, whole)


def test_a_resumed_run_asks_for_the_samples_that_are_left(tmp_path):
    whole, rest = Data(), Data()
    train(tmp_path / "whole", data=whole)
    with pytest.raises(OSError):
        train(tmp_path / "cut", data=Data(6))
    train(tmp_path / "cut", data=rest)
    assert rest.asked == whole.asked[4:]
    assert sorted([index for asked in whole.asked for index in asked][:10]) == list(range(10))


def test_with_a_damaged_newest_checkpoint_the_one_before_it_gives_the_same_end(tmp_path):
    whole, _ = train(tmp_path / "whole")
    with pytest.raises(OSError):
        train(tmp_path / "cut", data=Data(9))
    path = tmp_path / "cut" / "checkpoints" / "step_00000008" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    resumed, result = train(tmp_path / "cut")
    assert result.first_step == 4
    assert equal(resumed, whole) and terms(tmp_path / "cut") == terms(tmp_path / "whole")


def test_a_finished_run_does_nothing_more(tmp_path):
    first, _ = train(tmp_path)
    data = Data()
    again, result = train(tmp_path, data=data)
    assert result.first_step == 12 and data.asked == []
    assert equal(first, again) and len(terms(tmp_path)) == 12


def test_a_log_line_cut_short_by_a_kill_is_repaired(tmp_path):
    with pytest.raises(OSError):
        train(tmp_path, data=Data(6))
    with (tmp_path / LOG).open("a") as file:
        file.write('{"step": 6, "te')
    train(tmp_path)
    assert [step for step, _ in terms(tmp_path)] == list(range(12))
    assert all(json.loads(line) for line in (tmp_path / LOG).read_text().splitlines())


def test_two_runs_in_one_folder_exclude_each_other_and_a_dead_one_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "LOCK_PATIENCE_S", 0.1)
    with (tmp_path / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another process trains in"):
            train(tmp_path)
    train(tmp_path)
    assert len(terms(tmp_path)) == 12


def test_checkpoints_of_another_configuration_are_refused(tmp_path):
    train(tmp_path)
    with pytest.raises(ValueError, match="checkpoints of another configuration"):
        train(tmp_path, digest="e")


def test_a_resumed_run_takes_its_learning_rate_from_its_own_configuration(tmp_path):
    with pytest.raises(OSError):
        train(tmp_path, data=Data(9))
    model, _ = train(tmp_path, stage=replace(STAGE, learning_rate=0.02))
    assert [found["learning_rate"] / schedule(step, STAGE) for step, found in terms(tmp_path)] == [
        pytest.approx(0.01 if step < 8 else 0.02) for step in range(12)
    ]
    whole, _ = train(tmp_path / "whole")
    assert not equal(model, whole)


def test_a_resumed_run_that_decays_other_parts_is_refused_as_its_optimiser_counts_other_groups(tmp_path):
    with pytest.raises(OSError):
        train(tmp_path, data=Data(9))
    with pytest.raises(ValueError, match=r"groups of \[2, 4\] parameters, now they are \[6\]"):
        train(tmp_path, stage=replace(STAGE, weight_decay=0.0))


@pytest.mark.parametrize("broken", [{"nan_at": (5,)}, {"bad_gradient_at": (5,)}])
def test_a_step_that_is_not_finite_is_skipped_counted_and_leaves_no_trace(tmp_path, broken):
    model, result = train(tmp_path, Model(**broken))
    assert result.num_bad_steps == 1
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    bad = [step for step, found in terms(tmp_path) if not math.isfinite(found["gradient_norm"])]
    assert bad == [5]


def test_a_skipped_step_is_logged_with_what_was_not_finite_and_warned_of(tmp_path, caplog):
    stage = StageConfig(num_steps=9, batch_size=4, log_every=5)
    train(tmp_path, Model(nan_at=(3,), bad_gradient_at=(7,)), stage=stage)
    lines = read_log(tmp_path / LOG)
    assert {line["step"]: line.get("skipped") for line in lines} == {
        0: None,
        3: ["l1", "metric/half", "total"],
        5: None,
        7: ["gradient"],
        8: None,
    }
    assert [record.getMessage() for record in caplog.records] == [
        "step 3: l1, metric/half, total not finite: the step is skipped, 1 of at most 3",
        "step 7: gradient not finite: the step is skipped, 2 of at most 3",
    ]


def test_a_skipped_step_changes_neither_weights_nor_running_statistics(tmp_path):
    model = Model(nan_at=(0,))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(tmp_path, model, stage=StageConfig(num_steps=1, batch_size=4))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_model_is_told_of_each_step_that_moved_it_and_of_no_other(tmp_path):
    model = Model(nan_at=(1,))
    told = []
    model.after_step = lambda: told.append(model.num_calls - 1)
    train(tmp_path, model, stage=StageConfig(num_steps=4, batch_size=4))
    assert told == [0, 2, 3]


def test_too_many_bad_steps_stop_the_run_and_say_what_was_not_finite(tmp_path):
    with pytest.raises(ValueError, match=r"step 6: l1, metric/half, total not finite, for the 4th time"):
        train(tmp_path, Model(nan_at=(1, 3, 5, 6)))


def test_bad_steps_are_counted_across_a_restart(tmp_path):
    with pytest.raises(OSError):
        train(tmp_path, Model(nan_at=(1, 2)), Data(6))
    _, result = train(tmp_path, Model(nan_at=(0,)))
    assert result.num_bad_steps == 3


def test_the_weights_of_the_run_reach_the_model(tmp_path):
    model, _ = train(tmp_path, stage=StageConfig(num_steps=2, batch_size=2), weights={"planning": 2.0})
    assert model.weights == [{"planning": 2.0}] * 2


def test_only_every_nth_step_and_the_last_are_logged(tmp_path):
    train(tmp_path, stage=StageConfig(num_steps=12, batch_size=2, log_every=5))
    assert [step for step, _ in terms(tmp_path)] == [0, 5, 10, 11]


def test_a_line_of_the_log_says_what_the_step_cost_and_the_runtime_is_shown_the_same_line(tmp_path):
    class Watching(LocalRuntime):
        def __init__(self):
            super().__init__()
            self.observed, self.reported = [], []

        def observe(self, line):
            self.observed.append(line)

        def report(self, metrics):
            self.reported.append(metrics)

    runtime = Watching()
    stage = StageConfig(num_steps=8, batch_size=4, log_every=3, checkpoint_every=5)
    fit(Model(), Data(), run(tmp_path, stage), runtime)
    lines = read_log(tmp_path / LOG)
    assert lines == runtime.observed
    assert [line["step"] for line in lines] == [0, 3, 6, 7]
    fields = {"seconds", "samples_per_second", "data_wait_seconds", "data_stall_share", "resident_memory_bytes"}
    assert all(line.keys() == {"step", "terms", *fields} for line in lines)
    assert all(min(line[name] for name in fields) >= 0 < line["samples_per_second"] for line in lines)
    # At the checkpoint after step 4 the last measurements are those of step 3.
    assert [reported["step"] for reported in runtime.reported] == [5, 8]
    assert [{name: reported[name] for name in fields} for reported in runtime.reported] == [
        {name: lines[at][name] for name in fields} for at in (1, 3)
    ]


def test_data_that_come_slowly_show_as_waiting(tmp_path):
    class Slow(Data):
        def batch(self, indices, epochs=None):
            time.sleep(0.25)
            return super().batch(indices, epochs)

    train(tmp_path / "fast", stage=StageConfig(num_steps=4, batch_size=4))
    train(tmp_path / "slow", data=Slow(), stage=StageConfig(num_steps=4, batch_size=4))
    fast, slow = ([line["data_wait_seconds"] for line in read_log(tmp_path / name / LOG)] for name in ("fast", "slow"))
    assert min(slow) > 0.03 > np.median(fast)
    assert terms(tmp_path / "fast") == terms(tmp_path / "slow")


def test_the_learning_rate_warms_up_and_falls_to_zero():
    stage = StageConfig(num_steps=10, warmup_steps=4)
    rates = [schedule(step, stage) for step in range(11)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert all(after < before for before, after in pairwise(rates[4:]))
    assert rates[7] == pytest.approx(0.5) and rates[10] == pytest.approx(0)


def test_vectors_do_not_decay_and_frozen_weights_are_no_ones_business():
    model = Model()
    model.net[3].requires_grad_(False)
    groups = build_optimizer(model, StageConfig(weight_decay=0.3)).param_groups
    assert sorted((group["weight_decay"], len(group["params"])) for group in groups) == [(0.0, 3), (0.3, 1)]


def test_a_part_of_the_model_can_have_a_learning_rate_of_its_own():
    model = torch.nn.ModuleDict({"planner": torch.nn.Linear(2, 2), "teacher": torch.nn.Linear(2, 2, bias=False)})
    stage = StageConfig(learning_rate=1e-3, learning_rates={"teacher": 3e-3}, weight_decay=0.1)
    groups = build_optimizer(model, stage).param_groups
    rates = {id(parameter): group["peak_lr"] for group in groups for parameter in group["params"]}
    assert rates[id(model["teacher"].weight)] == 3e-3
    assert rates[id(model["planner"].weight)] == rates[id(model["planner"].bias)] == 1e-3


def test_terms_are_averaged_over_the_workers_that_have_them_and_one_nan_spoils_the_mean():
    mean = mean_terms([{"a": 1.0, "b": 2.0}, {"a": 3.0, "c": math.inf}])
    assert (mean["a"], mean["b"]) == (2.0, 2.0) and math.isnan(mean["c"])

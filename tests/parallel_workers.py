"""A tiny objective of planner and teacher, and processes that train it together over gloo, without Ray.

``python parallel_workers.py jobs.json rank`` is one of them: it does all jobs in turn, for its start is what costs.
"""

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import nn

from dima_pipeline.contracts.batch import SceneWindow, TrainingBatch
from dima_pipeline.training.config import StageConfig
from dima_pipeline.training.loop import Run, fit, read_log
from dima_pipeline.training.runtime import GroupRuntime, LocalRuntime
from scene_batches import make_edits, make_scene_batch, make_targets

NUM_SAMPLES = 16


class TinyData:
    """Sixteen ego paths; reading fails at call ``fail_at``."""

    sample_tokens = tuple(str(index) for index in range(NUM_SAMPLES))

    def __init__(self, fail_at: int | None = None) -> None:
        self.fail_at, self.num_calls = fail_at, 0
        self.targets = make_targets(np.random.default_rng(0), NUM_SAMPLES, num_agents=1, num_map=1)

    def __len__(self) -> int:
        return NUM_SAMPLES

    def batch(self, indices, epochs=None):
        if self.num_calls == self.fail_at:
            raise OSError("the disk is gone")
        self.num_calls += 1
        none = np.zeros((len(indices), 0), bool)
        return TrainingBatch(
            sample_tokens=tuple(str(index) for index in indices),
            window=SceneWindow(
                past=(),
                past_valid=none,
                current=make_scene_batch(np.random.default_rng(0), len(indices), image_size=(4, 4)),
                future=(),
                future_valid=none,
            ),
            targets=type(self.targets)(**{name: array[indices] for name, array in vars(self.targets).items()}),
            edits=make_edits(np.random.default_rng(0), len(indices)),
            pairs=((),) * len(indices),
            edit_pairs=((),) * len(indices),
        )


class TinyTeacher(nn.Module):
    """Two layers and a frozen one; ``head`` has fewer rows than there may be workers' shards."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.head = nn.Linear(8, 3)
        self.unused = nn.Linear(2, 2)

    def prepare_for_sharding(self):
        return list(self.layers)

    def forward(self, tokens):
        for layer in self.layers:
            tokens = torch.tanh(layer(tokens))
        return self.head(self.frozen(tokens))


class TinyObjective(nn.Module):
    """The teacher reads the planner's tokens twice a step; all terms are means over samples; nothing is random.

    ``nan_at``: calls at which the planner's loss is not a number.
    """

    def __init__(self, nan_at: Sequence[int] = ()) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.planner = nn.Sequential(nn.Linear(3, 8), nn.Tanh())
        self.own = nn.Linear(8, 3)
        self.teacher = TinyTeacher()
        self.register_buffer("num_seen", torch.zeros(1))
        self.nan_at, self.num_calls = nan_at, 0

    def forward(self, batch, generator, weights):
        future = batch.targets.ego_future
        self.num_seen += len(future)
        tokens = self.planner(future[:, 0] / 10)
        bad = math.nan if self.num_calls in self.nan_at else 0.0
        self.num_calls += 1
        answer = self.teacher(tokens)
        again = self.teacher(tokens.detach().flip(-1))
        terms = {
            "planning": (self.own(tokens) - future[:, 5] / 10).abs().mean() + bad,
            "teacher": (answer - future[:, 3] / 10).square().mean(),
            "again": (again - future[:, 2] / 10).square().mean(),
        }
        return {**terms, "total": sum(terms.values())}


class JointData(TinyData):
    """Batches of the real contracts; a ``silent`` worker's have neither questions nor edits."""

    def __init__(self, silent: bool) -> None:
        super().__init__()
        self.silent = silent

    def batch(self, indices, epochs=None):
        from teaching_cases import make_training_batch  # it loads transformers

        made = make_training_batch(len(indices), seed=int(indices[0]))
        none = ((),) * len(indices)
        return replace(made, pairs=none, edit_pairs=none) if self.silent else made


def joint_objective() -> nn.Module:
    """The real one: a tiny VAD, a tiny causal LM, all surrogate tasks."""
    from dima_pipeline.planners import PLANNERS
    from dima_pipeline.surrogates import SURROGATES
    from dima_pipeline.training.objective import JointObjective
    from teaching_cases import IMAGE_SIZE, TINY_PLANNER, tiny_teacher

    torch.manual_seed(0)
    planner = PLANNERS.build(PLANNERS.parse(TINY_PLANNER), image_size=IMAGE_SIZE)
    teacher = tiny_teacher()
    shape = {"token_dim": planner.token_dim, "teacher_dim": teacher.hidden_dim, "bev_shape": planner.bev_shape}
    surrogates = [SURROGATES.build(SURROGATES.parse(name), **shape) for name in SURROGATES.names()]
    return JointObjective(planner, teacher, surrogates)


def train(directory: Path, job: dict[str, Any], runtime: Any) -> nn.Module:
    """Train as ``job`` says (``stage``, ``nan_at`` for the last worker, ``fail_at``, ``joint``): the trained model."""
    if job.get("joint"):
        model, data = joint_objective(), JointData(silent=runtime.rank > 0)
    else:
        nan_at = job.get("nan_at", []) if runtime.rank == runtime.world_size - 1 else []
        model, data = TinyObjective(nan_at), TinyData(job.get("fail_at"))
    fit(model, data, Run(stage=StageConfig(**job["stage"]), seed=3, digest="d", directory=directory), runtime)
    return model


def train_alone(directory: Path, **job: Any) -> nn.Module:
    """In this process."""
    return train(directory, job, LocalRuntime())


def train_together(directory: Path, jobs: dict[str, dict[str, Any]], num_workers: int = 2) -> list[dict[str, str]]:
    """All jobs in processes of their own, each in its folder; for each rank and job the error, or nothing."""
    path = directory / "jobs.json"
    path.write_text(json.dumps({"num_workers": num_workers, "jobs": jobs}))
    command = [sys.executable, __file__, str(path)]
    workers = [
        subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for rank in range(num_workers)
    ]
    said = [worker.communicate(timeout=240) for worker in workers]
    assert all(worker.returncode == 0 for worker in workers), [error[-3000:] for _, error in said]
    return [json.loads(out.splitlines()[-1]) for out, _ in said]


def curve(directory: Path) -> list[dict[str, float]]:
    """The terms of all logged steps."""
    return [line["terms"] for line in read_log(directory / "log.jsonl")]


def main(path: str, rank: str) -> None:
    """One worker: writes the errors of its jobs."""
    torch.set_num_threads(1)
    directory = Path(path).absolute().parent
    todo = json.loads(Path(path).read_text())
    rendezvous = (directory / "rendezvous").as_uri()
    dist.init_process_group("gloo", init_method=rendezvous, rank=int(rank), world_size=todo["num_workers"])
    errors = {}
    for name, job in todo["jobs"].items():
        runtime = GroupRuntime("cpu", parallel=job["parallel"])
        try:
            model = train(directory / name, job, runtime)
            if rank == "0":
                save_file(model.state_dict(), directory / name / "trained.safetensors")
            errors[name] = ""
        except (ValueError, OSError) as error:
            errors[name] = str(error)
    dist.destroy_process_group()
    sys.stdout.write(json.dumps(errors) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

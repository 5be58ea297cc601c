"""Ground truth cannot reach a plan: whatever comes after the keyframe may change, and not one bit of the plan does."""

import inspect
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch

from dima_pipeline.contracts.batch import BeamTokens, BevMemory, SceneBatch
from dima_pipeline.contracts.frames import COMMANDS
from dima_pipeline.models.tensors import to_tensors
from dima_pipeline.planners._vad_vectors import VectorPlanner
from dima_pipeline.planners.vad import VadPlanner
from dima_pipeline.storage.scene_reader import SceneReader
from dima_pipeline.training.objective import remember
from dima_pipeline.training.windows import WindowDataset
from planner_bundles import IMAGE_SIZE, VARIANTS, fresh_planner
from training_cases import make_training_tables, write_shards

AT = 3
"""The keyframe that is planned for; both training scenes have six."""


def with_another_future(tables: Any) -> Any:
    """All keyframes after ``AT`` elsewhere, with other commands and agents; all recorded futures another way."""
    later = tables.samples["sample_token"].str[-3:].astype(int) > AT
    samples = tables.samples.copy()
    samples.loc[later, ["ego_x_m", "ego_y_m"]] += 7.0
    samples.loc[later, "command_route"] = COMMANDS[-1]
    samples["command_driven"] = samples["command_driven"].map(lambda name: COMMANDS[COMMANDS.index(name) - 1])
    agents = tables.agents.copy()
    agents.loc[agents["sample_token"].str[-3:].astype(int) > AT, "x_m"] += 5.0
    moved = {"samples": samples, "agents": agents}
    for name in ("ego_paths", "agent_futures"):
        table = getattr(tables, name)
        moved[name] = table.assign(x_m=table["x_m"] + 3.0 * (table["step"] > 0))
    moved["scene_edits"] = tables.scene_edits.assign(path=[np.add(path, 3.0) for path in tables.scene_edits["path"]])
    return replace(tables, **moved)


def window_at(tables: Any, directory: Any, command: Any = "route") -> Any:
    """The training batch of keyframe ``AT`` of both training scenes, as tensors."""
    shards = write_shards(tables, directory, IMAGE_SIZE)
    data = WindowDataset(tables, SceneReader(tables.samples, shards, command=command), "train", num_past=2)
    return to_tensors(data.batch(np.array([AT, 6 + AT])))


def known(window: Any) -> tuple[Any, ...]:
    """What the car has seen by now."""
    return (*window.past, window.current)


def same(one: Any, other: Any) -> bool:
    """Whether all arrays of two dataclasses are equal, bit by bit."""
    return all(torch.equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))


@pytest.mark.parametrize("name", ["vad", *VARIANTS])
def test_the_future_may_change_and_the_plan_stays_bit_equal(tmp_path, name):
    tables = make_training_tables()
    driven, changed = (window_at(t, tmp_path / n) for t, n in ((tables, "a"), (with_another_future(tables), "b")))
    assert not torch.equal(driven.targets.ego_future, changed.targets.ego_future)
    assert not torch.equal(driven.targets.agent_future, changed.targets.agent_future)
    assert not torch.equal(driven.window.future[0].prev_from_ego, changed.window.future[0].prev_from_ego)
    for one, other in zip(
        [*driven.window.past, driven.window.current], [*changed.window.past, changed.window.current], strict=True
    ):
        assert same(one, other)
    planner = fresh_planner(name).eval()
    plans = []
    for batch in (driven, changed):
        with torch.no_grad():
            beam, _ = planner.encode(batch.window.current, remember(planner, batch.window))
            plans.append(planner.plan(beam, batch.window.current))
    assert same(*plans)


def test_the_command_that_looks_ahead_is_one_that_is_asked_for(tmp_path):
    tables = make_training_tables()
    driven = [window_at(t, tmp_path / n, "driven") for t, n in ((tables, "a"), (with_another_future(tables), "b"))]
    assert not same(driven[0].window.current, driven[1].window.current)


@pytest.mark.parametrize("planner", [VadPlanner, VectorPlanner])
def test_what_plans_has_no_parameter_that_could_hold_ground_truth(planner):
    known = {SceneBatch, BevMemory, BeamTokens}
    for method in (planner.encode, planner.plan):
        types = inspect.get_annotations(method, eval_str=True)
        taken = {kind for name, kind in types.items() if name != "return"}
        assert taken and all(any(issubclass(kind, good) for good in known) for kind in taken), taken

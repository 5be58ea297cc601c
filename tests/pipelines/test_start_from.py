"""``kedro run --params distillation.start_from=...``: through the pipeline into the plan, and refused before Ray."""

from dataclasses import replace
from pathlib import Path

import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from dima_pipeline.distributed import distill as distill_module
from dima_pipeline.pipelines.distillation.nodes import distill_planner
from dima_pipeline.storage.runtime import RuntimeConfig
from training_cases import make_training_tables, write_shards

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def configured():
    """The configuration of the demo with a start and a name given on the command line."""
    bootstrap_project(PROJECT)
    given = {"distillation": {"start_from": "/nowhere/vad.safetensors"}, "runtime": {"run_name": "night"}}
    with KedroSession.create(PROJECT, runtime_params=given) as session:
        return session.load_context().params


def test_the_command_line_reaches_the_configuration_and_leaves_the_rest(configured):
    config, runtime = configured["distillation"], configured["runtime"]
    assert config.start_from == "/nowhere/vad.safetensors" and config.joint.num_steps == 300
    assert runtime.run_name == "night" and runtime.num_workers == 1 and not runtime.resume_changed


def test_a_missing_start_is_refused_before_ray_is_touched(configured, tmp_path, monkeypatch):
    monkeypatch.setattr(distill_module, "launch", lambda *_, **__: pytest.fail("Ray was started"))
    tables = make_training_tables()
    write_shards(tables, tmp_path / "shards")
    config = replace(configured["distillation"], num_development_scenes=0)
    runtime = RuntimeConfig(work_dir=str(tmp_path / "work"))
    with pytest.raises(ValueError, match=r"distillation\.start_from: /nowhere/vad\.safetensors does not exist"):
        distill_planner(config, runtime, tmp_path / "shards", **vars(tables))

"""Checks on what ``make run`` trained: the planner looks, the teacher reads the scene, the bundle is whole.

Run after it (``make test-demo``); every number is read from the tables of that run or computed again from its bundle.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from dima_pipeline.contracts.frames import VQA_CATEGORIES
from dima_pipeline.evaluation.planners import SHUFFLED, plan_scenes, plan_shuffled
from dima_pipeline.evaluation.plans import plan_array
from dima_pipeline.monitoring.config import DriftConfig
from dima_pipeline.monitoring.drift import judge, score_drift
from dima_pipeline.monitoring.windows import cut_windows
from dima_pipeline.serving.bundle import PlannerBundle
from dima_pipeline.storage.image_shards import ImageShards
from dima_pipeline.storage.manifest import verify
from dima_pipeline.storage.scene_reader import SceneReader

pytestmark = pytest.mark.demo

DATA = Path(__file__).parents[2] / "data" / "synthetic"
MIN_RISE = 1.10


def table(layer: str, name: str) -> pd.DataFrame:
    """A table of the run; the test fails where the demo has not been run."""
    path = DATA / layer / f"{name}.parquet"
    assert path.is_file(), f"{path} is missing: run `make run` first"
    return pd.read_parquet(path)


@pytest.fixture(scope="module")
def held_out() -> pd.DataFrame:
    """Keyframes of the validation towns."""
    scenes, samples = table("02_intermediate", "scenes"), table("02_intermediate", "samples")
    return samples[samples["scene_token"].isin(scenes.loc[scenes["split"] == "val", "scene_token"])]


@pytest.fixture(scope="module")
def bundle() -> PlannerBundle:
    """The exported planner."""
    return PlannerBundle.load(DATA / "06_models" / "planner_bundle", num_threads=2)


def mean_l2(plans: pd.DataFrame, planner: str, samples: pd.DataFrame) -> float:
    """Mean distance (m) to the driven path over all valid steps."""
    paths = table("02_intermediate", "ego_paths")
    paths = paths[(paths["step"] > 0) & paths["sample_token"].isin(samples["sample_token"])]
    paths = paths.sort_values(["sample_token", "step"])
    tokens = paths["sample_token"].unique().tolist()
    driven = paths[["x_m", "y_m"]].to_numpy().reshape(len(tokens), -1, 2)
    valid = paths["valid"].to_numpy().reshape(len(tokens), -1)
    error = np.linalg.norm(plan_array(plans, planner, tokens)[..., :2] - driven, axis=-1)
    return float(error[valid].mean())


@pytest.mark.parametrize("seed", [1, 2])
def test_images_of_other_scenes_make_plans_worse_by_a_tenth(bundle, held_out, seed):
    samples = table("02_intermediate", "samples")
    reader = SceneReader(samples, ImageShards(DATA / "02_intermediate" / "image_shards"))
    own = mean_l2(plan_scenes(bundle, reader, held_out, planner="planner"), "planner", held_out)
    rng = np.random.default_rng(seed)
    shuffled = plan_shuffled(bundle, reader, held_out, planner="shuffled", rng=rng)
    ratio = mean_l2(shuffled, "shuffled", held_out) / own
    print(f"mean L2 with own images {own:.2f} m; images of other scenes raise it by {100 * (ratio - 1):.0f} %")  # noqa: T201
    assert ratio >= MIN_RISE


def test_the_plans_of_the_report_are_those_of_the_bundle(held_out):
    plans = table("07_model_output", "plans")
    ratio = mean_l2(plans, f"planner{SHUFFLED}", held_out) / mean_l2(plans, "planner", held_out)
    assert ratio >= MIN_RISE


def test_the_teacher_answers_better_with_the_tokens_of_its_own_scene():
    answers = table("07_model_output", "vqa_scores")
    assert set(answers["category"]) == set(VQA_CATEGORIES)
    shares = answers.groupby(["category", "beam"])["correct"].mean().unstack()
    overall = answers.groupby("beam")["correct"].mean()
    print(shares.round(3).to_string(), overall.round(3).to_string(), sep="\n")  # noqa: T201
    assert overall["own"] > overall["shuffled"]
    assert shares.loc["perception", "own"] > shares.loc["perception", "shuffled"]


@pytest.mark.parametrize("name", ["planner_bundle", "control_bundle"])
def test_no_weight_of_an_llm_is_in_a_bundle(name):
    directory = DATA / "06_models" / name
    files = set(verify(directory)["files"])
    assert files == {"planner.onnx", "planner.safetensors", "card.json"}
    words = (directory / "planner.onnx").read_bytes()
    assert not any(word in words for word in (b"lora", b"embed_tokens", b"lm_head", b"q_proj", b"teacher"))


def test_every_loss_term_is_logged_and_the_control_took_as_many_steps():
    log = table("06_models", "training_log")
    terms = log.groupby("stage")["term"].unique()
    expected = {"planning/trajectory_l1", "teacher/vqa", "teacher/trajectory_l1", "distillation/ego"}
    assert expected <= set(terms["joint"])
    assert {term.split("/")[1] for term in terms["joint"] if term.startswith("surrogate/")} == {
        "masked_reconstruction",
        "future_prediction",
        "scene_editing",
    }
    assert not any(term.startswith(("teacher", "surrogate", "distillation")) for term in terms["control"])
    steps = log.groupby("stage")["step"].max()
    assert steps["joint"] == steps["control"]


def test_the_report_is_one_page_without_requests():
    verify(DATA / "08_reporting" / "report")
    page = (DATA / "08_reporting" / "report" / "index.html").read_text()
    assert "constant velocity" in page.lower()
    assert "<script" not in page


def test_the_sweep_found_something_better_than_it_started_from():
    trials = table("06_models", "sweep_trials")
    finished = trials[trials["status"] == "finished"]
    default, best = (finished.loc[finished[name], "objective"].item() for name in ("is_default", "is_best"))
    print(trials.drop(columns="config").to_string())  # noqa: T201
    assert best < default
    assert trials["objective"].max() - trials["objective"].min() > 0.1
    written = yaml.safe_load((DATA / "06_models" / "sweep" / "parameters_distillation.yml").read_text())
    rate = json.loads(trials.loc[trials["is_best"], "config"].item())["joint.learning_rate"]
    assert written["distillation"]["joint"]["learning_rate"] == rate


def drift_passes(**current: str) -> bool:
    """The verdict of ``kedro run --pipelines drift`` with that current window, drawn from the training split."""
    config = DriftConfig(reference={"split": "train"}, current={"split": "train", **current})
    members = table("04_feature", "slice_members")
    features, scenes = table("07_model_output", "keyframe_features"), table("02_intermediate", "scenes")
    windows = cut_windows(features, scenes, members, config)
    return judge(windows, score_drift(windows, members.iloc[:0], config), config)["passed"]


@pytest.mark.parametrize(("current", "passes"), [({"slice": "night"}, False), ({"part": "odd"}, True)])
def test_nights_drift_from_the_other_training_scenes_and_every_other_scene_does_not(current, passes):
    assert drift_passes(**current) is passes

"""Nodes of the ``drift`` pipeline."""

from pathlib import Path
from typing import Any

from dima_pipeline.datasets import SceneTables
from dima_pipeline.monitoring.config import DriftConfig
from dima_pipeline.pipelines.hints import Table
from dima_pipeline.storage.runtime import RuntimeConfig


def describe_keyframes(planner_bundle: Path, image_shards: Path, config: DriftConfig, *tables: Table) -> Table:
    """Features of every keyframe of the splits that the windows are cut from."""
    import pandas as pd

    from dima_pipeline.evaluation.planners import plan_with_features
    from dima_pipeline.evaluation.plans import split_samples
    from dima_pipeline.monitoring.features import describe
    from dima_pipeline.serving.bundle import PlannerBundle
    from dima_pipeline.storage.image_shards import ImageShards
    from dima_pipeline.storage.scene_reader import SceneReader

    scenes, shards, bundle = SceneTables(*tables), ImageShards(image_shards), PlannerBundle.load(planner_bundle)
    samples = pd.concat([split_samples(scenes, split) for split in config.splits])
    reader = SceneReader(scenes.samples, shards, command=bundle.card.facts["training"]["command"])
    trajectory, embedding = plan_with_features(bundle, reader, samples)
    return describe(scenes, samples, shards, trajectory, embedding)


def compare_windows(
    keyframe_features: Table, scenes: Table, slice_members: Table, config: DriftConfig, runtime: RuntimeConfig
) -> tuple[Table, Path, dict[str, Any]]:
    """Scores by feature and slice, Evidently's page, and the verdict."""
    from dima_pipeline.monitoring.drift import judge, score_drift
    from dima_pipeline.monitoring.evidently_page import write_page
    from dima_pipeline.monitoring.windows import cut_windows

    windows = cut_windows(keyframe_features, scenes, slice_members, config)
    scores = score_drift(windows, slice_members, config)
    verdict = judge(windows, scores, config)
    directory = runtime.staging("drift")
    write_page(directory, windows, scores, slice_members=slice_members, verdict=verdict, config=config)
    return scores, directory, verdict


def judge_drift(drift_verdict: dict[str, Any], drift_scores: Table, config: DriftConfig) -> None:
    """The exit rule, after everything is written."""
    from dima_pipeline.monitoring.drift import check

    check(drift_verdict, drift_scores, config)

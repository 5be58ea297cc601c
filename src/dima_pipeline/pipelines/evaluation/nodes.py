"""Nodes of the ``evaluation`` pipeline."""

from pathlib import Path
from typing import Any

from dima_pipeline.datasets import SceneTables
from dima_pipeline.evaluation.config import EvaluationConfig
from dima_pipeline.pipelines.hints import Table
from dima_pipeline.storage.runtime import RuntimeConfig

PLANNER, CONTROL = "planner", "control"


def plan_scenes(
    planner_bundle: Path,
    control_bundle: Path,
    joint_model: Path,
    image_shards: Path,
    config: EvaluationConfig,
    *tables: Table,
) -> Table:
    """Plans of the exported planners, of the baselines and of other inference modes for every held-out keyframe."""
    from dima_pipeline.evaluation.planners import plan_all
    from dima_pipeline.serving.bundle import PlannerBundle
    from dima_pipeline.storage.image_shards import ImageShards
    from dima_pipeline.storage.scene_reader import SceneReader

    scenes = SceneTables(*tables)
    bundles = {PLANNER: PlannerBundle.load(planner_bundle), CONTROL: PlannerBundle.load(control_bundle)}
    reader = SceneReader(
        scenes.samples, ImageShards(image_shards), command=bundles[PLANNER].card.facts["training"]["command"]
    )
    return plan_all(bundles, reader, scenes, config, _with_teacher(joint_model, config))


def _with_teacher(joint_model: Path, config: EvaluationConfig) -> dict[str, Any]:
    """Who plans in the inference modes beside the exported planner's, by mode."""
    modes = [mode for mode in config.inference_modes if mode != PLANNER]
    if not modes:
        return {}
    from dima_pipeline.evaluation.modes import ModePlanner
    from dima_pipeline.training.stages import load_planner, load_teacher

    try:
        teacher = load_teacher(joint_model)
    except ValueError as error:
        raise ValueError(f"evaluation.inference_modes {modes} need a teacher: {error}") from error
    planner, _ = load_planner(joint_model)
    return {mode: ModePlanner(planner, teacher, mode) for mode in modes}


def score_plans(
    plans: Table, slice_members: Table, config: EvaluationConfig, *tables: Table
) -> tuple[Table, Table, Table, dict[str, float]]:
    """Scores a keyframe, their means by slice, the planner against the others, and the headline numbers."""
    from dima_pipeline.evaluation.scores import compare, headline, score, summarise

    scenes = SceneTables(*tables)
    scores = score(plans, scenes, config.metrics)
    summaries = summarise(scores, scenes.samples, slice_members, config)
    return scores, summaries, compare(scores, scenes.samples, PLANNER, config), headline(summaries)


def time_planner(planner_bundle: Path, image_shards: Path, samples: Table, config: EvaluationConfig) -> Table:
    """Latency of the exported planner at batch 1."""
    from dima_pipeline.evaluation.latency import measure_latency
    from dima_pipeline.serving.bundle import PlannerBundle
    from dima_pipeline.storage.image_shards import ImageShards
    from dima_pipeline.storage.scene_reader import SceneReader

    bundle = PlannerBundle.load(planner_bundle)
    batch = SceneReader(samples, ImageShards(image_shards)).batch([samples["sample_token"].iloc[0]])
    return measure_latency(bundle, batch, planner=PLANNER, num_runs=config.num_latency_runs)


def question_teacher(
    joint_model: Path, image_shards: Path, vqa_pairs: Table, config: EvaluationConfig, *tables: Table
) -> Table:
    """The teacher's answers to held-out questions, with its own and with another scene's BEAM tokens."""
    from dima_pipeline.evaluation.plans import split_samples
    from dima_pipeline.evaluation.vqa import answer_questions
    from dima_pipeline.storage.image_shards import ImageShards
    from dima_pipeline.storage.scene_reader import SceneReader
    from dima_pipeline.training.stages import load_planner, load_teacher

    scenes = SceneTables(*tables)
    planner, training = load_planner(joint_model)
    reader = SceneReader(scenes.samples, ImageShards(image_shards), command=training.window.command)
    samples = split_samples(scenes, config.split)
    teacher = load_teacher(joint_model)
    return answer_questions(teacher, planner, reader, samples=samples, vqa_pairs=vqa_pairs, config=config)


def picture_keyframes(
    *,
    plans: Table,
    planning_scores: Table,
    slice_members: Table,
    image_shards: Path,
    config: EvaluationConfig,
    runtime: RuntimeConfig,
    **tables: Table,
) -> Path:
    """Pictures of the worst, of typical and of long-tail keyframes."""
    from dima_pipeline.evaluation.pictures import choose_keyframes, draw_pictures, shard_images
    from dima_pipeline.evaluation.plans import split_samples
    from dima_pipeline.storage.image_shards import ImageShards

    scenes = SceneTables(**tables)
    samples = split_samples(scenes, config.split)
    number = config.num_pictures
    chosen = choose_keyframes(planning_scores, samples, slice_members, planner=PLANNER, num_pictures=number)
    return draw_pictures(
        runtime.staging("pictures"),
        chosen,
        scenes,
        plans,
        planners=[PLANNER, CONTROL],
        scores=planning_scores,
        images=shard_images(ImageShards(image_shards)),
    )


def plot_scores(score_summaries: Table, training_log: Table) -> tuple[list[Any], list[Any]]:
    """The points that ``dvc plots`` draws: L2 by horizon, and the loss that all stages of training share."""
    from dima_pipeline.evaluation.plot_points import l2_by_horizon, loss_by_step

    return l2_by_horizon(score_summaries), loss_by_step(training_log)

"""Wiring of the ``evaluation`` pipeline: bundles become plans, scores, answers and pictures."""

from kedro.pipeline import Pipeline, node

from dima_pipeline.pipelines.evaluation import nodes
from dima_pipeline.pipelines.ingestion.pipeline import TABLES

SETTINGS = "params:evaluation"


def create_pipeline() -> Pipeline:
    """Bundles, models and tables in, what the report shows out."""
    return Pipeline(
        [
            node(
                nodes.plan_scenes,
                ["planner_bundle", "control_bundle", "joint_model", "image_shards", SETTINGS, *TABLES],
                "plans",
                name="plan_scenes",
            ),
            node(
                nodes.score_plans,
                ["plans", "slice_members", SETTINGS, *TABLES],
                ["planning_scores", "score_summaries", "score_differences", "headline"],
                name="score_plans",
            ),
            node(
                nodes.time_planner,
                ["planner_bundle", "image_shards", "samples", SETTINGS],
                "latencies",
                name="time_planner",
            ),
            node(
                nodes.question_teacher,
                ["joint_model", "image_shards", "vqa_pairs", SETTINGS, *TABLES],
                "vqa_scores",
                name="question_teacher",
            ),
            node(
                nodes.picture_keyframes,
                {
                    **{name: name for name in ["plans", "planning_scores", "slice_members", "image_shards", *TABLES]},
                    "config": SETTINGS,
                    "runtime": "params:runtime",
                },
                "pictures",
                name="picture_keyframes",
            ),
            node(
                nodes.plot_scores,
                ["score_summaries", "training_log"],
                ["planning_l2_plot", "training_loss_plot"],
                name="plot_scores",
            ),
        ]
    )

"""Wiring of the ``evaluation`` pipeline: bundles become plans, scores, answers, pictures and the report."""

from kedro.pipeline import Pipeline, node

from dima_pipeline.pipelines.evaluation import nodes
from dima_pipeline.pipelines.ingestion.pipeline import TABLES

SETTINGS = "params:evaluation"


def create_pipeline() -> Pipeline:
    """Bundles, models and tables in, the report page out."""
    return Pipeline(
        [
            node(
                nodes.plan_scenes,
                ["planner_bundle", "control_bundle", "image_shards", SETTINGS, *TABLES],
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
                nodes.write_report,
                {
                    **{name: name for name in ["scenes", "samples", "vqa_scores", "training_log", "latencies"]},
                    **{"summaries": "score_summaries", "differences": "score_differences"},
                    **{"pictures": "pictures", "planner_bundle": "planner_bundle"},
                    **{"config": SETTINGS, "runtime": "params:runtime"},
                },
                "report",
                name="write_report",
            ),
        ]
    )

"""Wiring of the ``report`` pipeline: what evaluation, sweep and drift found becomes one page."""

from kedro.pipeline import Pipeline, node

from dima_pipeline.pipelines.report import nodes

INPUTS = {
    **{name: name for name in ["scenes", "samples", "slice_members", "vqa_scores", "training_log", "latencies"]},
    **{"findings": "audit_findings", "overlap": "geographic_overlap", "grounding": "grounding_rates"},
    **{"summaries": "score_summaries", "differences": "score_differences"},
    **{name: name for name in ["sweep_trials", "drift_scores", "drift_verdict", "pictures"]},
    **{"planner_bundle": "planner_bundle", "joint_model": "joint_model"},
    **{"config": "params:report", "evaluation": "params:evaluation", "runtime": "params:runtime"},
}


def create_pipeline() -> Pipeline:
    """Tables, pictures and verdicts in, the report page out."""
    return Pipeline([node(nodes.write_report, INPUTS, "report", name="write_report")])

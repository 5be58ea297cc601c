"""The pipelines by name; ``kedro run`` runs them all in the order of their data."""

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline


def register_pipelines() -> dict[str, Pipeline]:
    """Every package of ``pipelines/`` that has ``create_pipeline``; ``__default__`` is their sum."""
    found = find_pipelines(raise_errors=True)
    found["__default__"] = sum((found[name] for name in sorted(found) if name != "__default__"), Pipeline([]))
    return found

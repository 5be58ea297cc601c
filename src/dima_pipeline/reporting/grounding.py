"""Is the language true? What became of the questions and answers that annotation checked against the tables."""

from typing import Any

from dima_pipeline.reporting.facts import ReportFacts
from dima_pipeline.reporting.wording import many, percent


def grounding_rows(facts: ReportFacts) -> list[dict[str, Any]]:
    """One row a writer and kind of claim, the most failures first; empty where nothing was checked."""
    if facts.grounding is None or facts.grounding.empty:
        return []
    table = facts.grounding.sort_values(["num_failed", "num_passed"], ascending=False, kind="stable")
    return [
        {
            "claim": row["claim"],
            "source": row["source"],
            **{name: f"{row[f'num_{name}']:,}" for name in ("passed", "failed", "unchecked")},
            "example": row["first_failure"] if isinstance(row["first_failure"], str) else "",
        }
        for _, row in table.iterrows()
    ]


def grounding_in_words(facts: ReportFacts) -> str:
    """How many pairs were checked, and how many of those hold."""
    if facts.grounding is None or facts.grounding.empty:
        return ""
    passed, failed, unchecked = (
        int(facts.grounding[f"num_{name}"].sum()) for name in ("passed", "failed", "unchecked")
    )
    checked = passed + failed
    if not checked:
        return f"None of the {many(unchecked, 'question')} with answers claims anything that the tables can tell."
    return (
        f"Of {many(checked + unchecked, 'question')} with answers {percent(checked / (checked + unchecked), 0)} claim "
        f"something that the tables can tell; {percent(passed / checked)} of those hold, {failed:,} do not."
    )

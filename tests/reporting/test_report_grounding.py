"""What the report says of checked questions and answers: few words, and nothing of a pair can run in the page."""

from pathlib import Path

import pandas as pd

from dima_pipeline.contracts.result_tables import GroundingRates
from dima_pipeline.reporting.grounding import grounding_in_words, grounding_rows
from dima_pipeline.reporting.page import render_report
from report_facts import make_facts

EVIL = "<script>alert('x')</script> {{ 7 * 7 }} <img src=x onerror=alert(1)>"
RATES = GroundingRates.validate(
    pd.DataFrame(
        [
            ("rules", "count", 900, 0, 0, None),
            ("llm:tiny", "distance", 60, 40, 0, EVIL),
            ("llm:tiny", "none", 0, 0, 1000, None),
        ],
        columns=list(GroundingRates.to_schema().columns),
    )
)


def test_rows_begin_with_most_failures_and_say_who_wrote_what():
    rows = grounding_rows(make_facts(grounding=RATES))
    assert [(row["claim"], row["source"]) for row in rows] == [
        ("distance", "llm:tiny"),
        ("count", "rules"),
        ("none", "llm:tiny"),
    ]
    assert (rows[0]["passed"], rows[0]["failed"], rows[2]["unchecked"]) == ("60", "40", "1,000")


def test_the_sentence_counts_pairs_that_could_be_checked_and_those_that_hold():
    text = grounding_in_words(make_facts(grounding=RATES))
    assert text.startswith("Of 2,000 questions with answers 50\u00a0% claim")
    assert "96.0\u00a0% of those hold, 40 do not" in text


def test_the_page_shows_a_failure_as_text_only(tmp_path: Path):
    text = render_report(make_facts(grounding=RATES), tmp_path).read_text(encoding="utf-8")
    assert "&lt;script&gt;alert" in text and "<script" not in text and "<img src=x" not in text
    assert "{{ 7 * 7 }}" in text


def test_a_run_without_checks_says_nothing_of_them(tmp_path: Path):
    for none in (None, RATES.iloc[:0]):
        assert grounding_rows(make_facts(grounding=none)) == [] and grounding_in_words(make_facts(grounding=none)) == ""
    only_unread = RATES[RATES["claim"] == "none"]
    assert grounding_in_words(make_facts(grounding=only_unread)).startswith("None of the 1,000 questions")
    assert "Questions and answers, checked" not in render_report(make_facts(), tmp_path).read_text(encoding="utf-8")

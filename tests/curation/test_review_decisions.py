"""Decisions of people: kept in a file that only grows, and applied to whatever annotation says next."""

import json
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline.contracts.tables import VqaPairs
from dima_pipeline.curation.review import (
    add_decisions,
    apply_decisions,
    latest_decisions,
    no_decisions,
    outcomes,
    read_decisions,
    stale_decisions,
)
from dima_pipeline.storage.lock import BusyError, exclusive
from review_cases import TIME, decision_row, decisions_of, human_id, pair_row, pairs_of

LATER = "2025-03-10T00:00:00.000000+00:00"
TWO, THREE, FOUR = (pair_row(answer, check="failed", reason="count: no") for answer in ("Two.", "Three.", "Four."))


def test_accepted_passes_fixed_is_human_rejected_goes_and_the_rest_stays_in_its_order():
    pairs = pairs_of(pair_row("One."), TWO, THREE, FOUR, pair_row("Five."))
    decisions = decisions_of(
        decision_row(FOUR, "reject"), decision_row(THREE, fixed="3 cars."), decision_row(TWO, "accept")
    )
    after = VqaPairs.validate(apply_decisions(pairs, decisions))
    assert after["answer"].tolist() == ["One.", "Two.", "3 cars.", "Five."]
    assert after["check"].tolist() == ["passed", "passed", "unchecked", "passed"]
    assert after["source"].tolist() == ["rules", "rules", "human", "rules"]
    assert after["reason"].isna().all()
    assert after["pair_id"].iloc[2] == human_id(THREE, "3 cars.")
    assert after["objects"].tolist() == [["car-1"]] * 4
    assert pairs["answer"].tolist() == ["One.", "Two.", "Three.", "Four.", "Five."]


def test_without_decisions_nothing_changes():
    pairs = pairs_of(TWO, THREE)
    pd.testing.assert_frame_equal(apply_decisions(pairs, no_decisions()), pairs)
    assert apply_decisions(pairs_of(), no_decisions()).empty


def test_when_all_is_rejected_an_empty_table_is_left():
    after = apply_decisions(pairs_of(TWO), decisions_of(decision_row(TWO, "reject")))
    assert after.empty and list(after.columns) == list(pairs_of(TWO).columns)


def test_another_annotation_that_says_the_same_finds_its_decision_and_one_that_says_else_does_not():
    decisions = decisions_of(decision_row(TWO, "reject"))
    again = pairs_of(THREE, pair_row("Two.", check="passed"), pair_row("Two.", source="llm:tiny"))
    after = apply_decisions(again, decisions)
    assert after[["answer", "source"]].to_numpy().tolist() == [["Three.", "rules"], ["Two.", "llm:tiny"]]
    assert stale_decisions(again, decisions).empty


def test_decisions_whose_pair_is_gone_are_stale_and_change_nothing(caplog):
    decisions = decisions_of(decision_row(TWO, "reject"), decision_row(THREE))
    after = apply_decisions(pairs_of(THREE), decisions)
    assert after["answer"].tolist() == ["Three."]
    assert stale_decisions(pairs_of(THREE), decisions)["answer"].tolist() == ["Two."]
    assert "1 of 2 decisions are stale" in caplog.text


def test_a_pair_made_by_a_fix_may_be_decided_upon_again():
    fixed = pair_row("2 cars.", source="human")
    decisions = decisions_of(decision_row(TWO, fixed="2 cars."), decision_row(fixed, "reject", by="2"))
    assert apply_decisions(pairs_of(TWO), decisions).empty
    assert stale_decisions(pairs_of(TWO), decisions).empty
    assert len(stale_decisions(pairs_of(THREE), decisions)) == 2


def test_fixes_that_lead_round_in_a_circle_end():
    there, back = pair_row("A.", source="human"), pair_row("B.", source="human")
    decisions = decisions_of(
        decision_row(TWO, fixed="A."), decision_row(there, fixed="B."), decision_row(back, fixed="A.")
    )
    after = apply_decisions(pairs_of(TWO), decisions)
    assert after["answer"].tolist() == ["A."]
    assert stale_decisions(pairs_of(TWO), decisions).empty


def test_two_pairs_that_are_fixed_to_the_same_words_become_one():
    decisions = decisions_of(decision_row(TWO, fixed="2 cars."), decision_row(THREE, fixed="2 cars."))
    after = VqaPairs.validate(apply_decisions(pairs_of(TWO, THREE, FOUR), decisions))
    assert after["answer"].tolist() == ["2 cars.", "Four."]


def test_after_application_only_what_left_no_trace_is_stale():
    decisions = decisions_of(
        decision_row(TWO, fixed="2 cars."), decision_row(THREE, "reject"), decision_row(FOUR, "accept")
    )
    applied = apply_decisions(pairs_of(TWO, THREE, FOUR), decisions)
    assert stale_decisions(applied, decisions, is_applied=True).empty
    assert stale_decisions(pairs_of(), decisions, is_applied=True)["answer"].tolist() == ["Two.", "Four."]


def test_the_last_word_of_an_annotator_counts_whatever_the_order_of_import():
    decisions = decisions_of(decision_row(TWO, "reject", at=LATER), decision_row(TWO, "accept"))
    assert latest_decisions(decisions)["decision"].tolist() == ["reject"]
    assert outcomes(decisions)[["decision", "num_annotators"]].to_numpy().tolist() == [["reject", 1]]


@pytest.mark.parametrize(
    ("votes", "decision"),
    [
        (["accept", "accept", "reject"], "accept"),
        (["accept", "reject"], "disputed"),
        (["accept", "accept", "reject", "reject"], "disputed"),
        (["accept", "3.", "reject"], "disputed"),
        (["3.", "3.", "reject"], "fix"),
        (["3.", "4."], "disputed"),
        (["3.", "4.", "4."], "fix"),
    ],
)
def test_more_than_half_of_the_annotators_must_want_the_same(votes, decision):
    rows = [
        decision_row(TWO, vote, by=str(by))
        if vote in ("accept", "reject")
        else decision_row(TWO, fixed=vote, by=str(by))
        for by, vote in enumerate(votes)
    ]
    assert outcomes(decisions_of(*rows))["decision"].tolist() == [decision]


def test_nobody_learns_from_a_disputed_pair_and_it_says_who_wanted_what():
    pair = pair_row("Two.")
    decisions = decisions_of(decision_row(pair, "reject"), decision_row(pair, "accept", by="2"))
    after = apply_decisions(pairs_of(pair), decisions)
    assert after[["check", "reason"]].to_numpy().tolist() == [["failed", "review: 1 accept, 1 reject"]]


def test_decisions_come_back_from_their_file_as_they_were(tmp_path):
    odd = pair_row("<b>two</b> \u2028 \x85 \x1b[31m \u00fc\n\U0001f697")
    decisions = decisions_of(decision_row(odd, fixed="2\n\n cars <script>"), decision_row(THREE))
    path = tmp_path / "review" / "decisions.jsonl"
    assert add_decisions(path, decisions) == 2
    pd.testing.assert_frame_equal(read_decisions(path), decisions)
    assert len(path.read_bytes().splitlines()) == 2
    assert all(len(json.loads(line)["digest"]) == 16 for line in path.read_bytes().splitlines())


def test_a_second_import_adds_only_what_is_new_and_leaves_the_old_bytes(tmp_path):
    path = tmp_path / "decisions.jsonl"
    first, second = decision_row(TWO), decision_row(TWO, "reject", at=LATER)
    assert add_decisions(path, decisions_of(first, first)) == 1
    old = path.read_bytes()
    assert add_decisions(path, decisions_of(first)) == 0
    assert path.read_bytes() == old
    assert add_decisions(path, decisions_of({**first, "origin": "project 2, task 9, annotation 9"}, second)) == 1
    assert path.read_bytes().startswith(old)
    assert read_decisions(path)["decision"].tolist() == ["accept", "reject"]


ROWS = st.builds(
    lambda pair, label, by, at: (
        decision_row(pair, label, by=by, at=at) if label != "fix" else decision_row(pair, fixed="X", by=by, at=at)
    ),
    st.sampled_from([TWO, THREE, FOUR]),
    st.sampled_from(["accept", "fix", "reject"]),
    st.sampled_from(["1", "2"]),
    st.sampled_from([TIME, LATER]),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(ROWS, max_size=5), min_size=1, max_size=4))
def test_importing_anything_again_in_any_order_loses_and_adds_nothing(imports):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "decisions.jsonl"
        for rows in imports:
            add_decisions(path, decisions_of(*rows))
        before = path.read_bytes() if path.is_file() else b""
        for rows in reversed(imports):
            assert add_decisions(path, decisions_of(*reversed(rows))) == 0
        assert (path.read_bytes() if path.is_file() else b"") == before
        wanted = {tuple(row.items()) for rows in imports for row in rows}
        found = read_decisions(path) if wanted else no_decisions()
        assert {tuple(row.items()) for row in found.to_dict("records")} == wanted


@settings(max_examples=50, deadline=None)
@given(st.lists(ROWS, max_size=8))
def test_applying_decisions_twice_is_applying_them_once(rows):
    pairs, decisions = pairs_of(TWO, pair_row("One."), THREE, FOUR), decisions_of(*rows)
    once = VqaPairs.validate(apply_decisions(pairs, decisions))
    pd.testing.assert_frame_equal(VqaPairs.validate(apply_decisions(once, decisions)), once)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.replace(b"reject", b"accept"), "line 2 is not what was written"),
        (lambda text: text[:-20], "ends within line 2: cut short"),
        (lambda text: b"<<<<<<< ours\n" + text, "line 1 is not what was written"),
        (lambda text: text.replace(b"\n", b"\n\n", 1), "line 2 is not what was written"),
    ],
)
def test_a_changed_file_is_refused_with_its_line_and_not_written_over(tmp_path, damage, message):
    path = tmp_path / "decisions.jsonl"
    add_decisions(path, decisions_of(decision_row(TWO), decision_row(THREE, "reject")))
    path.write_bytes(damage(path.read_bytes()))
    damaged = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        read_decisions(path)
    with pytest.raises(ValueError, match=message):
        add_decisions(path, decisions_of(decision_row(FOUR)))
    assert path.read_bytes() == damaged


def test_files_of_two_branches_may_be_put_together_line_by_line(tmp_path):
    for name, row in (("ours", decision_row(TWO)), ("theirs", decision_row(THREE))):
        add_decisions(tmp_path / name, decisions_of(row))
    merged = tmp_path / "merged"
    merged.write_bytes((tmp_path / "ours").read_bytes() + (tmp_path / "theirs").read_bytes())
    assert read_decisions(merged)["answer"].tolist() == ["Two.", "Three."]


def test_without_a_file_it_is_said_what_makes_it(tmp_path):
    with pytest.raises(ValueError, match="does not exist: `dima review import` makes it"):
        read_decisions(tmp_path / "none.jsonl")


def test_two_imports_do_not_write_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("dima_pipeline.curation.review.PATIENCE_S", 0.0)
    with exclusive(tmp_path, "imports review decisions"), pytest.raises(BusyError, match="another process"):
        add_decisions(tmp_path / "decisions.jsonl", decisions_of(decision_row(TWO)))
    assert not (tmp_path / "decisions.jsonl").exists()

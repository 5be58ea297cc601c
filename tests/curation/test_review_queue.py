"""The review queue: which pairs people see, and in what order."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dima_pipeline.curation.review_queue import TIERS, ReviewConfig, review_queue
from review_cases import NO_SLICES, decision_row, decisions_of, pair_row, pairs_of


def members(*rows):
    """``slice_members``."""
    return pd.DataFrame(list(rows), columns=["sample_token", "slice", "event_id"])


def failed(answer, reason="count: wrong", **other):
    return pair_row(answer, check="failed", reason=reason, **other)


def plain(num):
    """Passed pairs, each of another keyframe."""
    return [pair_row("Yes.", sample=f"plain-{number:03d}") for number in range(num)]


def queue_of(rows, slices=NO_SLICES, decisions=None, **config):
    return review_queue(pairs_of(*rows), slices, decisions, ReviewConfig(**config))


def test_failed_come_before_flagged_before_rare_before_unchecked_of_an_llm_before_the_sample():
    rows = [
        *plain(20),
        pair_row("LLM.", source="llm:tiny", check="unchecked"),
        pair_row("Rare.", sample="at-night"),
        pair_row("Flagged.", reason="tag: no agent within 16 px", source="drivelm"),
        failed("Failed."),
    ]
    queue = queue_of(rows, members(("at-night", "night", "night-1")), num_tasks=10, audit_share=0.0)
    assert queue["tier"].tolist() == [*TIERS[:4], *["audit"] * 6]
    assert queue["answer"].tolist()[:4] == ["Failed.", "Flagged.", "Rare.", "LLM."]
    assert queue["why"].tolist()[:4] == [
        "count: wrong",
        "tag: no agent within 16 px",
        "slice night",
        "unchecked, from llm:tiny",
    ]


def test_a_pair_is_there_once_in_the_first_tier_that_it_belongs_to():
    rows = [failed("Failed.", sample="at-night", source="llm:tiny"), *plain(12)]
    queue = queue_of(rows, members(("at-night", "night", "n")), num_tasks=50)
    assert queue["pair_id"].is_unique and len(queue) == 13
    assert queue["tier"].iloc[0] == "failed"


def test_the_sample_keeps_its_share_and_what_a_tier_cannot_fill_goes_to_the_most_urgent():
    rows = [*plain(50), *(failed(f"{number}.") for number in range(50))]
    counts = queue_of(rows, num_tasks=20)["tier"].value_counts()
    assert counts.to_dict() == {"failed": 18, "audit": 2}


def test_kinds_of_faults_take_turns():
    rows = [failed(f"{n}.", f"count: said {n}") for n in range(30)]
    rows += [failed("a", "direction: left"), failed("b", "speed: 5 m/s")]
    reasons = queue_of(rows, num_tasks=3)["why"].str.partition(":")[0]
    assert sorted(reasons) == ["count", "direction", "speed"]


def test_events_of_rare_slices_take_turns_and_the_rarest_slice_begins():
    rows = [*plain(60)]
    rows += [pair_row(f"{n}.", sample=f"night-{k}") for k in range(3) for n in range(5)]
    rows += [pair_row(f"{n}.", sample="u-turn") for n in range(5)]
    slices = members(*((f"night-{k}", "night", f"event-{k % 2}") for k in range(3)), ("u-turn", "three_point", "t"))
    queue = queue_of(rows, slices, num_tasks=10, rare_slice_share=0.6, audit_share=0.1)
    rare = queue[queue["tier"] == "rare_slice"]
    assert rare["sample_token"].iloc[0] == "u-turn"
    events = ["t" if token == "u-turn" else int(token[-1]) % 2 for token in rare["sample_token"][:3]]
    assert sorted(map(str, events)) == ["0", "1", "t"]


def test_a_slice_that_every_second_keyframe_is_in_is_not_rare():
    rows = plain(10)
    slices = members(*((row["sample_token"], "turning", "t") for row in rows[:5]))
    assert set(queue_of(rows, slices, num_tasks=5)["tier"]) == {"audit"}


def test_what_enough_people_agree_on_leaves_the_queue():
    one, two, three = failed("1."), failed("2."), failed("3.")
    decisions = decisions_of(
        decision_row(one, "reject"),
        *(decision_row(two, label, by=by) for by, label in (("1", "accept"), ("2", "reject"))),
    )
    assert sorted(queue_of([one, two, three], decisions=decisions)["answer"]) == ["2.", "3."]
    twice = queue_of([one, two, three], decisions=decisions, num_annotators=2)
    assert sorted(twice["answer"]) == ["1.", "2.", "3."]


def test_the_queue_does_not_depend_on_the_order_of_rows_but_on_the_seed():
    rows = [*plain(40), *(failed(f"{n}.", f"kind-{n % 3}: x") for n in range(40))]
    first = queue_of(rows, num_tasks=20)
    pd.testing.assert_frame_equal(first, queue_of(rows[::-1], num_tasks=20))
    assert set(first["pair_id"]) != set(queue_of(rows, num_tasks=20, seed=1)["pair_id"])


def test_no_pairs_give_an_empty_queue():
    assert queue_of([]).empty


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["passed", "failed", "flagged", "llm", "rare"]), max_size=40),
    st.integers(1, 30),
    st.lists(st.integers(0, 10), min_size=5, max_size=5).filter(any),
)
def test_the_queue_is_full_whenever_there_are_enough_pairs(kinds, num, weights):
    changes = {
        "failed": {"check": "failed", "reason": None},
        "flagged": {"reason": "tag: far"},
        "llm": {"source": "llm:x", "check": "unchecked"},
    }
    samples = [f"{'rare' if kind == 'rare' else 's'}-{at}" for at, kind in enumerate(kinds)]
    rows = [pair_row(sample=sample, **changes.get(kind, {})) for sample, kind in zip(samples, kinds, strict=True)]
    slices = members(*((sample, "night", sample) for sample in samples if sample.startswith("rare")))
    shares = {f"{tier}_share": weight for tier, weight in zip(TIERS, weights, strict=True)}
    queue = queue_of(rows, slices, num_tasks=num, max_slice_share=1.0, **shares)
    assert len(queue) == min(num, len(kinds)) and queue["pair_id"].is_unique
    assert queue["tier"].map(TIERS.index).is_monotonic_increasing
    assert set(queue["pair_id"]) <= {row["pair_id"] for row in rows}


def test_shares_are_relative_and_cannot_all_be_nothing():
    assert ReviewConfig(failed_share=1.4).share("failed") == pytest.approx(0.7)
    with pytest.raises(ValidationError, match="every share of the review queue is 0"):
        ReviewConfig(**{f"{tier}_share": 0.0 for tier in TIERS})

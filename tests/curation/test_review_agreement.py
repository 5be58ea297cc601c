"""Cohen's kappa: worked examples, an independent computation, and scikit-learn where it is there."""

import math
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline.curation.review import LABELS
from dima_pipeline.curation.review_agreement import agreement, cohens_kappa, decisions_by_tier, label_counts
from review_cases import decision_row, decisions_of, pair_row

LATER = "2026-01-01T00:00:00.000000+00:00"


def said(by, *labels, at=None):
    """One annotator's labels of pair 0, 1, 2, ..."""
    rows = []
    for number, label in enumerate(labels):
        pair = pair_row(f"Answer {number}.")
        times = {} if at is None else {"at": at}
        if label:
            rows.append(decision_row(pair, label, by=by, fixed="Fixed." if label == "fix" else None, **times))
    return rows


def test_the_textbook_example_has_kappa_of_two_fifths():
    # 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: observed 0.7, expected 0.5.
    assert cohens_kappa(np.array([[20, 5], [10, 15]])) == pytest.approx(0.4)


def test_full_agreement_is_one_and_full_disagreement_of_two_labels_minus_one():
    assert cohens_kappa(np.array([[3, 0], [0, 2]])) == 1.0
    assert cohens_kappa(np.array([[0, 4], [4, 0]])) == -1.0


def test_where_chance_alone_agrees_there_is_no_kappa():
    assert math.isnan(cohens_kappa(np.array([[7, 0], [0, 0]])))
    assert math.isnan(cohens_kappa(np.zeros((3, 3), int)))


def test_every_two_annotators_are_compared_over_what_both_decided():
    rows = [*said("a", "accept", "reject", "fix", "accept"), *said("b", "accept", "reject", "fix", "reject")]
    found = agreement(decisions_of(*rows, *said("c", "", "", "", "", "accept")))
    assert found[["first", "second", "num_shared"]].to_numpy().tolist() == [["a", "b", 4], ["a", "c", 0], ["b", "c", 0]]
    assert found["observed"].iloc[0] == 0.75
    # Expected: (2*1 + 1*1 + 1*2) / 16 = 5/16; (3/4 - 5/16) / (11/16) = 7/11.
    assert found["kappa"].iloc[0] == pytest.approx(7 / 11)
    assert found[["observed", "kappa"]].iloc[1:].isna().all(axis=None)


def test_fixes_with_other_words_are_the_same_label_and_the_last_word_counts():
    rows = [*said("a", "fix", "accept"), *said("b", "fix", "reject"), *said("b", "", "accept", at=LATER)]
    assert agreement(decisions_of(*rows))["kappa"].tolist() == [1.0]


def test_one_annotator_or_none_gives_an_empty_table():
    assert agreement(decisions_of(*said("a", "accept"))).empty
    assert agreement(decisions_of()).empty


LABEL_PAIRS = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=40)


def straightforward(pairs):
    """From the definition, in fractions; None where it divides by zero."""
    num = len(pairs)
    observed = Fraction(sum(first == second for first, second in pairs), num)
    of_first, of_second = zip(*pairs, strict=True)
    expected = sum(Fraction(of_first.count(x), num) * Fraction(of_second.count(x), num) for x in LABELS)
    return None if expected == 1 else (observed - expected) / (1 - expected)


@settings(max_examples=300)
@given(LABEL_PAIRS)
def test_kappa_is_that_of_the_definition(pairs):
    first, second = (pd.Series(column) for column in zip(*pairs, strict=True))
    found, wanted = cohens_kappa(label_counts(first, second)), straightforward(pairs)
    assert math.isnan(found) if wanted is None else found == pytest.approx(float(wanted), abs=1e-12)
    assert math.isnan(found) or found == pytest.approx(cohens_kappa(label_counts(second, first)), abs=1e-12)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=50, deadline=None)
@given(LABEL_PAIRS)
def test_kappa_is_that_of_scikit_learn(pairs):
    metrics = pytest.importorskip("sklearn.metrics")
    first, second = zip(*pairs, strict=True)
    found = cohens_kappa(label_counts(pd.Series(first), pd.Series(second)))
    wanted = metrics.cohen_kappa_score(first, second)
    assert math.isnan(found) or found == pytest.approx(wanted, abs=1e-12)
    assert not math.isnan(found) or math.isnan(wanted) or len(set(first) | set(second)) == 1


def test_decisions_are_counted_by_tier():
    rows = [decision_row(pair_row(f"{n}."), "reject" if n < 3 else "accept", tier="audit") for n in range(4)]
    found = decisions_by_tier(decisions_of(*rows, decision_row(pair_row("9."), fixed="8.")))
    assert found.to_dict("records") == [
        {"tier": "audit", "num": 4, "accept": 0.25, "fix": 0.0, "reject": 0.75},
        {"tier": "failed", "num": 1, "accept": 0.0, "fix": 1.0, "reject": 0.0},
    ]

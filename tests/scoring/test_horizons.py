"""From steps to the numbers of a table: the published ones, masks, and properties of the three rules."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dima_pipeline.scoring.horizons import HORIZON_RULES, HORIZONS, horizon_columns, horizon_means
from dima_pipeline.scoring.values import MetricValues
from scoring_cases import numbers

PUBLISHED_STEPS_M = [0.2788, 0.5380, 0.8239, 1.1513, 1.5322, 1.9821]
"""L2 of a checkpoint of VAD at 0.5 to 3 s, published by PARA-Drive."""
steps = st.lists(st.floats(0, 50), min_size=6, max_size=6)
tables = st.lists(steps, min_size=1, max_size=4).map(np.array)


def all_known(values) -> MetricValues:
    values = np.atleast_2d(np.asarray(values, float))
    return MetricValues(value=values, valid=np.ones(values.shape, bool))


@pytest.mark.parametrize(
    ("rule", "row"), [("at", [0.5380, 1.1513, 1.9821, 1.2238]), ("mean", [0.4084, 0.6980, 1.0511, 0.7192])]
)
def test_the_published_steps_make_both_published_rows(rule, row):
    found = numbers(all_known(PUBLISHED_STEPS_M), rule)
    last_digit = 5.1e-5  # two of them end on a half
    assert [found[horizon] for horizon in ("1.0", "2.0", "3.0", "avg")] == pytest.approx(row, abs=last_digit)
    assert found["avg_all"] == pytest.approx(1.0511, abs=last_digit)


def test_a_collision_counts_from_its_step_on_under_the_rule_any():
    found = numbers(all_known([[0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]]), "any")
    assert [found[horizon] for horizon in HORIZONS[:6]] == [0, 0, 0.5, 0.5, 0.5, 0.5]
    assert found["avg"] == pytest.approx((0 + 0.5 + 0.5) / 3)
    assert found["avg_all"] == pytest.approx(0.5 / 6)  # of the steps, not of what came before them


@pytest.mark.parametrize(("rule", "at_3_s"), [("at", 7.0), ("mean", (7 + 3) / 2), ("any", (7 + 5) / 2)])
def test_an_unknown_step_is_in_no_denominator(rule, at_3_s):
    # The second sample ends after two steps: "at" leaves it out, the others keep what it had until then.
    value = np.array([[7.0] * 6, [1.0, 5.0, 99.0, 99.0, 99.0, np.nan]])
    valid = np.array([[True] * 6, [True, True, False, False, False, False]])
    assert numbers(MetricValues(value=value, valid=valid), rule)["3.0"] == pytest.approx(at_3_s)


@pytest.mark.parametrize("rule", HORIZON_RULES)
def test_nothing_known_is_nan_without_a_warning(rule):
    unknown = MetricValues(value=np.zeros((2, 6)), valid=np.zeros((2, 6), bool))
    with np.errstate(all="raise"):
        assert np.isnan(list(numbers(unknown, rule).values())).all()


@given(tables)
def test_rules_agree_on_half_a_second_and_are_ordered_after_it(table):
    at, mean, highest = (horizon_columns(table, np.ones(table.shape, bool), rule)[0] for rule in HORIZON_RULES)
    np.testing.assert_array_equal(at[:, 0], mean[:, 0])
    np.testing.assert_array_equal(at[:, 0], highest[:, 0])
    assert (at <= highest).all() and (mean <= highest + 1e-9).all()
    for columns in (mean, highest):
        np.testing.assert_array_equal(columns[:, 6:], table)


@given(tables, st.sampled_from(HORIZON_RULES))
def test_averages_are_those_of_the_definition(table, rule):
    sums, counts = horizon_columns(table, np.ones(table.shape, bool), rule)
    found = dict(zip(HORIZONS, horizon_means(sums.sum(0), counts.sum(0)), strict=True))
    assert found["avg"] == pytest.approx((found["1.0"] + found["2.0"] + found["3.0"]) / 3)
    assert found["avg_all"] == pytest.approx(table.mean())


@given(st.floats(0, 50), st.sampled_from(HORIZON_RULES))
def test_a_value_that_never_changes_is_every_number(value, rule):
    assert list(numbers(all_known([[value] * 6] * 3), rule).values()) == pytest.approx([value] * 8)

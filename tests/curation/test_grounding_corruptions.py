"""Planted falsehoods are found: one pair in ten of a generated world is made false, by kind of value."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from corruptions import corrupt
from dima_pipeline.annotations import ANNOTATORS
from dima_pipeline.contracts.batch import VqaPair
from dima_pipeline.curation.grounding import check_pairs
from generated_tables import generated_tables

MANY = {f"num_{category}": 60 for category in ("perception", "prediction", "planning")}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    return generated_tables(tmp_path_factory.mktemp("world") / "root")


@pytest.fixture(scope="module", params=[True, False], ids=["with tags", "without tags"])
def pairs(request: pytest.FixtureRequest, world: SimpleNamespace) -> list[VqaPair]:
    rules = ANNOTATORS.build(ANNOTATORS.parse({"name": "rules", "is_tagged": request.param, **MANY}))
    return list(rules.pairs(world, np.random.default_rng(0)))


def test_true_pairs_are_nearly_all_weighed_and_none_fails(pairs, world):
    checks = Counter(verdict.check for verdict in check_pairs(pairs, world))
    assert checks["failed"] == 0
    assert checks["passed"] >= 0.9 * len(pairs) > 1000


def test_of_pairs_made_false_98_per_cent_are_found_with_at_most_one_per_cent_false_alarms(pairs, world):
    rng = np.random.default_rng(7)
    planted = {int(at): corrupt(pairs[at], rng) for at in rng.permutation(len(pairs))[: len(pairs) // 10]}
    kinds = {at: found[1] for at, found in planted.items() if found is not None}
    mixed = [planted[at][0] if at in kinds else pair for at, pair in enumerate(pairs)]
    verdicts = list(check_pairs(mixed, world))
    found = Counter(kinds[at] for at in kinds if verdicts[at].check == "failed")
    assert found.total() >= 0.98 * len(kinds) > 100
    false_alarms = sum(verdict.check == "failed" for at, verdict in enumerate(verdicts) if at not in kinds)
    assert false_alarms <= 0.01 * (len(pairs) - len(kinds))


def test_every_kind_of_value_is_guarded(pairs, world):
    rng = np.random.default_rng(8)
    planted = [found for pair in pairs if (found := corrupt(pair, rng)) is not None]
    verdicts = check_pairs([pair for pair, _ in planted], world)
    asked, found = Counter(), Counter()
    for (_, kind), verdict in zip(planted, verdicts, strict=True):
        asked[kind] += 1
        found[kind] += verdict.check == "failed"
    missed = {kind: f"{found[kind]} of {asked[kind]}" for kind in asked if found[kind] < 0.95 * asked[kind]}
    assert not missed
    assert len(asked) >= 10


def test_a_false_pair_fails_whoever_wrote_it(pairs, world):
    """A person or an LLM is held to looser limits, but most plain falsehoods are found all the same."""
    rng = np.random.default_rng(9)
    sample = [pairs[at] for at in rng.permutation(len(pairs))[:600]]
    true = [replace(pair, source="llm:any") for pair in sample]
    false = [replace(made[0], source="llm:any") for pair in sample if (made := corrupt(pair, rng)) is not None]
    checks = [Counter(verdict.check for verdict in check_pairs(some, world)) for some in (true, false)]
    assert checks[0]["failed"] <= 0.01 * len(true)
    assert checks[1]["failed"] >= 0.6 * len(false)

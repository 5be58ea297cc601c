"""Proposals are a function of the ledger; ASHA decides by all sittings; every trial that is left is handed out once."""

import math
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import TrialScheduler

from dima_pipeline.distributed.sweep_ledger import Ledger, Trial
from dima_pipeline.distributed.sweep_run import num_left
from dima_pipeline.distributed.sweep_search import FAILURE, OBJECTIVE, STEP, Asha, LedgerSearch, propose
from dima_pipeline.distributed.sweep_space import distributions
from sweep_cases import make_tuning

TUNING = make_tuning(num_steps=16, report_every=4, grace_period=4, num_random=3)
SPACE = distributions(TUNING.space)
DEFAULT = {
    "joint.learning_rate": 0.01,
    "objective.weights.distillation/ego": 1.0,
    "surrogates.masked_reconstruction.max_ratio": 0.4,
    "teacher.num_bev_queries": 2,
    "objective.distillation": "kl",
}


def proposed(count, objective=lambda values: 1.0, status="finished"):
    """So many trials, each proposed when those before had ended."""
    trials = []
    for number in range(count):
        values = propose(trials, DEFAULT, SPACE, TUNING)
        reports = {} if status == "failed" else {16: objective(values)}
        trials.append(Trial(number=number, values=values, reports=reports, status=status))
    return trials


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "sweep")


def test_the_first_proposal_is_the_present_configuration():
    assert propose([], DEFAULT, SPACE, TUNING) == DEFAULT


def test_proposals_lie_in_the_space_are_readable_and_differ():
    trials = proposed(9)
    for trial in trials:
        assert all(TUNING.space[path].holds(value) for path, value in trial.values.items())
        assert trial.values["joint.learning_rate"] == float(f"{trial.values['joint.learning_rate']:.4g}")
    assert len({str(trial.values) for trial in trials}) == 9


def test_another_sitting_proposes_what_this_one_would_have():
    """A sampler that is seeded once a sitting would begin from its first draw, and give that trial twice."""
    trials = proposed(6)
    for number in range(1, 6):
        assert propose(trials[:number], DEFAULT, SPACE, TUNING) == trials[number].values


def test_after_the_random_ones_proposals_follow_what_was_good():
    """The objective is how far the learning rate is from 0.03, in powers of ten."""
    trials = proposed(30, lambda values: abs(math.log10(values["joint.learning_rate"] / 0.03)))
    errors = [trial.objective for trial in trials]
    assert sum(errors[20:]) < 0.6 * sum(errors[:10])


@pytest.mark.parametrize("status", ["running", "stopped", "failed"])
def test_trials_of_every_kind_can_be_told(status):
    assert proposed(6, status=status)[-1].values.keys() == SPACE.keys()


def search_of(ledger, seen=None):
    proposals = iter([{"x": number} for number in range(10)])
    return LedgerSearch(ledger, 16, lambda: next(proposals), (seen if seen is not None else []).append)


def test_unfinished_trials_are_handed_out_before_new_ones(ledger):
    for _ in range(3):
        ledger.add({"x": "old"})
    ledger.end(1, "stopped")
    search = search_of(ledger)
    assert [search.suggest(name) for name in "abc"] == [{"number": 0}, {"number": 2}, {"number": 3}]
    assert [trial.values["x"] for trial in ledger.trials] == ["old", "old", "old", 0]


def test_the_number_of_trials_that_are_left_counts_those_without_an_end(ledger):
    assert num_left(ledger, 5) == 5
    for _ in range(3):
        ledger.add({})
    ledger.end(0, "failed")
    assert num_left(ledger, 5) == 4  # two run, two are missing
    assert num_left(ledger, 2) == 2  # fewer were asked for, but what was begun is ended


def test_reports_and_ends_are_written_down(ledger):
    seen = []
    search = search_of(ledger, seen)
    for name in "abc":
        search.suggest(name)
    search.on_trial_result("a", {STEP: 8, OBJECTIVE: 3.0})
    search.on_trial_result("a", {STEP: 16, OBJECTIVE: 2.0})
    search.on_trial_complete("a", {STEP: 16, OBJECTIVE: 2.0})
    search.on_trial_result("b", {STEP: 0, OBJECTIVE: math.nan, FAILURE: "step 3: total not finite"})
    search.on_trial_complete("b", {STEP: 0, OBJECTIVE: math.nan, FAILURE: "step 3: total not finite"})
    search.on_trial_complete("c", error=True)
    trials = Ledger(ledger.directory).trials
    assert [trial.status for trial in trials] == ["finished", "failed", "failed"]
    assert trials[0].reports == {8: 3.0, 16: 2.0} and trials[1].reports == {}
    assert trials[1].error == "step 3: total not finite" and "runtime.max_failures" in trials[2].error
    assert [trial.number for trial in seen] == [0, 1, 2]


def tell(scheduler, trial_id, number, *reports):
    """Add a trial and report; the statuses after each."""
    trial = SimpleNamespace(trial_id=trial_id, config={"number": number})
    scheduler.on_trial_add(None, trial)
    for step, objective in reports:
        assert scheduler.on_trial_result(None, trial, {STEP: step, OBJECTIVE: objective}) == TrialScheduler.CONTINUE


def test_asha_stops_what_is_worse_and_says_so_in_the_ledger(ledger):
    for _ in range(4):
        ledger.add({})
    scheduler = Asha(ledger, TUNING)
    tell(scheduler, "a", 1, (4, 2.0))
    tell(scheduler, "b", 2, (4, 3.0))
    tell(scheduler, "c", 3, (4, 1.0))
    assert [trial.status for trial in ledger.trials] == ["running", "running", "stopped", "running"]
    assert ledger.trials[2].reports == {4: 3.0}


def test_the_present_configuration_and_trials_at_their_last_step_are_not_stopped(ledger):
    for _ in range(3):
        ledger.add({})
    scheduler = Asha(ledger, TUNING)
    tell(scheduler, "a", 1, (4, 2.0), (8, 2.0), (16, 2.0))
    tell(scheduler, "b", 0, (4, 9.0), (8, 9.0), (16, 9.0))
    assert {trial.status for trial in ledger.trials} == {"running"}


def test_asha_knows_what_trials_of_an_earlier_sitting_reached(ledger):
    ledger.add({})
    ledger.add({})
    ledger.report(0, 4, 1.0)
    ledger.end(0, "finished")
    before = ledger.trials[0]
    tell(Asha(ledger, TUNING), "new", 1, (4, 2.0))
    assert ledger.trials[1].status == "stopped"
    assert ledger.trials[0] == before


def test_a_trial_that_reports_again_what_was_known_is_judged_as_at_first(ledger):
    for _ in range(2):
        ledger.add({})
    ledger.report(0, 4, 1.0)
    ledger.end(0, "finished")
    ledger.report(1, 4, 0.5)
    scheduler = Asha(ledger, TUNING)
    tell(scheduler, "again", 1, (4, 0.5), (8, 0.4))
    assert ledger.trials[1].status == "running"

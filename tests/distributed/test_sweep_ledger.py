"""The ledger is whole at every moment, and another sitting reads what this one wrote."""

import json

import pytest

from dima_pipeline.distributed import sweep_ledger
from dima_pipeline.distributed.sweep_ledger import Ledger, Trial


@pytest.fixture
def ledger(tmp_path):
    """Two trials: one that reported twice and finished, one that runs."""
    ledger = Ledger(tmp_path / "sweep")
    ledger.add({"joint.learning_rate": 0.1})
    ledger.add({"joint.learning_rate": 0.2})
    ledger.report(0, 8, 3.0)
    ledger.report(0, 16, 2.5)
    ledger.end(0, "finished")
    return ledger


def test_another_sitting_reads_what_was_written(ledger):
    assert Ledger(ledger.directory).trials == [
        Trial(number=0, values={"joint.learning_rate": 0.1}, reports={8: 3.0, 16: 2.5}, status="finished"),
        Trial(number=1, values={"joint.learning_rate": 0.2}),
    ]


def test_the_objective_is_that_of_the_last_step(ledger):
    ledger.report(1, 16, 4.0)
    ledger.report(1, 8, 1.0)
    assert [trial.objective for trial in ledger.trials] == [2.5, 4.0]
    assert Trial(number=2, values={}).objective is None


def test_a_process_that_waits_for_a_verdict_sees_it(ledger):
    other = Ledger(ledger.directory)
    ledger.end(1, "stopped")
    assert other.trials[1].status == "running"
    assert other.latest(1).status == other.trials[1].status == "stopped"


def test_a_trial_that_could_not_be_written_is_not_there(ledger, monkeypatch):
    """A full disk: the old content stays and the sweep does not believe in what it could not write."""

    def full(path, content):
        raise OSError("no space left")

    monkeypatch.setattr(sweep_ledger, "write_durably", full)
    with pytest.raises(OSError, match="no space"):
        ledger.report(1, 8, 2.0)
    assert Ledger(ledger.directory).trials[1].reports == {}


def test_a_file_that_was_cut_short_while_it_was_written_does_not_count(ledger):
    (ledger.directory / "trials" / ".0002.json.partial").write_text('{"number": 2, "val')
    assert len(Ledger(ledger.directory).trials) == 2
    assert ledger.add({}).number == 2
    assert len(Ledger(ledger.directory).trials) == 3


def test_the_files_are_json_for_people(ledger):
    content = json.loads((ledger.directory / "trials" / "0000.json").read_text())
    assert content["values"] == {"joint.learning_rate": 0.1} and content["status"] == "finished"
    assert ledger.run_dir(1) == ledger.directory / "runs" / "0001"

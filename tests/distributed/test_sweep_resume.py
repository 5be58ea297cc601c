"""A sweep that is killed at several moments: every trial once, no step of an ended trial twice, the others go on."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dima_pipeline.distributed import sweep
from dima_pipeline.distributed.sweep_ledger import Ledger
from dima_pipeline.storage.lock import exclusive
from sweep_cases import TUNING, make_distillation, make_joint, make_tuning, run_sweep

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]
PAUSE_S = 0.1
"""Of every step, so that there is time to kill."""
PLANNER = {"name": "doubles.fake_planner", "pause_s": PAUSE_S}


def start(directory: Path) -> subprocess.Popen:
    """The sweep in a process of its own."""
    path = os.pathsep.join([str(TESTS), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, str(TESTS / "sweep_cases.py"), str(directory), str(PAUSE_S)]
    with (directory / "output.txt").open("a") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)


def ledger_of(directory: Path) -> Ledger | None:
    """What the sweep wrote down so far."""
    found = list((directory / "work" / "sweeps").glob("*"))
    return Ledger(found[0]) if found else None


def kill_when(directory: Path, is_time: Callable[[Ledger], bool]) -> Ledger:
    """Start the sweep, end it with SIGKILL as soon as ``is_time``, and say what it left."""
    process = start(directory)
    try:
        deadline_s = time.monotonic() + 240
        while not ((ledger := ledger_of(directory)) and is_time(ledger)):
            assert process.poll() is None, (directory / "output.txt").read_text()
            assert time.monotonic() < deadline_s, "the moment did not come"
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    left = ledger_of(directory)
    assert left is not None
    return left


def log_lines(ledger: Ledger, number: int) -> list[str]:
    """With the measured seconds of each step: a step that is done again gives another line."""
    path = ledger.run_dir(number) / "log.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def lasting_lines(ledger: Ledger, number: int) -> list[str]:
    """Lines of the steps that must not be done again: all of an ended trial, else those before its checkpoint."""
    lines = log_lines(ledger, number)
    if ledger.trials[number].status != "running":
        return lines
    saved = sorted((ledger.run_dir(number) / "checkpoints").glob("step_*"))
    return lines[: int(saved[-1].name.removeprefix("step_"))] if saved else []


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The folder of a sweep that was killed twice and then left alone, and what each kill left."""
    directory = tmp_path_factory.mktemp("sweep")
    make_joint(directory, make_distillation(planner=PLANNER))
    remembered = []
    for is_time in (
        lambda ledger: any(trial.reports for trial in ledger.trials),
        lambda ledger: any(trial.status != "running" for trial in ledger.trials) and len(ledger.trials) > 2,
    ):
        left = kill_when(directory, is_time)
        remembered.append((left.trials, {trial.number: lasting_lines(left, trial.number) for trial in left.trials}))
    process = start(directory)
    assert process.wait(timeout=300) == 0, (directory / "output.txt").read_text()
    return directory, remembered


def test_both_kills_came_in_the_middle_of_trials(killed):
    _, remembered = killed
    assert all(any(trial.status == "running" for trial in trials) for trials, _ in remembered)
    assert any(lines for _, lasting in remembered for lines in lasting.values())


def test_there_are_exactly_as_many_trials_as_asked_for_and_each_has_ended(killed):
    ledger = ledger_of(killed[0])
    assert len(ledger.trials) == TUNING["num_trials"]
    assert {trial.status for trial in ledger.trials} <= {"finished", "stopped"}
    assert ledger.trials[0].status == "finished"


def test_no_trial_got_other_values_and_none_is_there_twice(killed):
    directory, remembered = killed
    trials = ledger_of(directory).trials
    for before, _ in remembered:
        assert [trial.values for trial in before] == [trial.values for trial in trials[: len(before)]]
    assert len({json.dumps(trial.values) for trial in trials}) == len(trials)


def test_what_had_ended_stays_as_it_was_and_no_saved_step_is_done_again(killed):
    directory, remembered = killed
    ledger = ledger_of(directory)
    for before, lasting in remembered:
        for trial in before:
            lines = log_lines(ledger, trial.number)
            assert lines[: len(lasting[trial.number])] == lasting[trial.number]
            assert trial.reports.items() <= ledger.trials[trial.number].reports.items()
            if trial.status != "running":
                assert trial == ledger.trials[trial.number]
                assert lines == lasting[trial.number]


def test_every_step_is_in_the_log_once_and_in_order(killed):
    ledger = ledger_of(killed[0])
    for trial in ledger.trials:
        steps = [json.loads(line)["step"] for line in log_lines(ledger, trial.number)]
        assert steps == list(range(len(steps)))
    table = sweep.trials_table(ledger)
    finished = table[table["status"] == "finished"]
    assert (finished["step"] == TUNING["num_steps"]).all()


def test_a_second_driver_of_the_same_sweep_is_refused(killed):
    ledger = ledger_of(killed[0])
    with exclusive(ledger.directory, "tunes"), pytest.raises(ValueError, match="another process tunes in"):
        run_sweep(killed[0], make_tuning(), make_distillation(planner=PLANNER))


def test_a_finished_sweep_is_told_again_without_training_or_ray(killed, monkeypatch):
    directory, _ = killed
    for name in ("launch", "run_trials"):
        monkeypatch.setattr(sweep, name, lambda *arguments: pytest.fail("something was started"))
    table = run_sweep(directory, make_tuning(), make_distillation(planner=PLANNER))
    assert len(table) == TUNING["num_trials"]

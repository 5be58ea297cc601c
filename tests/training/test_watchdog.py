"""Ranks in processes of their own that hang, leave a report out, end early or are stopped: the run ends and says so."""

import os
import re
import signal
import time

import pytest

from dima_pipeline.training.beats import beat_path
from dima_pipeline.training.verdict import clear_verdict, publish_verdict, read_verdict, stack_path
from dima_pipeline.training.watchdog import EXIT_CODE, LONG, Watchdog
from watchdog_ranks import LIMIT_S, NUM_STEPS, start

PATIENCE_S = 30
"""More than LIMIT_S, because processes start slowly on a busy machine."""


def run(folder, how, during=None):
    """Exit codes of both ranks, and the verdict."""
    processes = start(folder, how)
    try:
        if during:
            during(processes)
        codes = [process.wait(timeout=PATIENCE_S) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return codes, read_verdict(folder)


def test_a_run_in_which_nobody_hangs_is_left_alone_though_it_takes_longer_than_the_limit(tmp_path):
    assert NUM_STEPS * 0.3 > LIMIT_S
    assert run(tmp_path, "sleeps a little") == ([0, 0], None)


def test_a_rank_that_sleeps_ends_all_ranks_and_is_named_with_step_phase_and_stack(tmp_path):
    codes, verdict = run(tmp_path, "sleeps")
    assert codes == [EXIT_CODE, EXIT_CODE]
    assert "hangs at rank 1 of 2" in verdict
    assert re.search(r"rank 1 on \S+ has done nothing for \d+ s at step 3, phase data \(limit 1 s\)", verdict)
    assert "sleep_for_ever" in verdict and "time.sleep(1000)" in verdict
    assert "the others wait: rank 0 in step 3, phase exchange" in verdict
    assert "sleep_for_ever" in stack_path(tmp_path, 1).read_text().split("\n\n")[0]
    assert "in meet" in stack_path(tmp_path, 0).read_text().split("\n\n")[0]


def test_a_rank_that_leaves_a_report_out_is_named_though_it_is_ahead(tmp_path):
    codes, verdict = run(tmp_path, "skips")
    assert codes == [EXIT_CODE, EXIT_CODE]
    assert "hangs at rank 1 of 2" in verdict
    assert "took part in 5 of 5 exchanges and 3 of 4 reports and is at step 4, phase exchange" in verdict


@pytest.mark.parametrize(("how", "word"), [("ends", "ended"), ("fails", "failed")])
def test_a_rank_that_is_gone_while_another_waits_for_it_is_named(tmp_path, how, word):
    codes, verdict = run(tmp_path, how)
    assert codes[0] == EXIT_CODE and codes[1] == (0 if how == "ends" else 1)
    assert "hangs at rank 1 of 2" in verdict
    assert f"took part in 4 of 4 exchanges and 3 of 4 reports and has {word} after step 3" in verdict


def test_a_rank_whose_interpreter_is_kept_by_c_code_is_ended_and_named_too(tmp_path):
    codes, verdict = run(tmp_path, "keeps")
    assert codes[1] in (1, -signal.SIGKILL) and codes[0] == EXIT_CODE
    assert "hangs at rank 1" in verdict and "keep_the_interpreter" in verdict


def test_a_rank_whose_process_is_stopped_is_killed_by_the_other(tmp_path):
    def stop(processes):
        while not beat_path(tmp_path, 1).exists() or '"step": 1' not in beat_path(tmp_path, 1).read_text():
            time.sleep(0.01)
        os.kill(processes[1].pid, signal.SIGSTOP)

    codes, verdict = run(tmp_path, "sleeps a little", stop)
    assert codes == [EXIT_CODE, -signal.SIGKILL]
    assert "rank 1" in verdict and "does not run any more" in verdict


def test_a_verdict_stays_until_it_is_cleared(tmp_path):
    assert read_verdict(tmp_path) is None
    (tmp_path / "watchdog").mkdir()
    (tmp_path / "watchdog" / "verdict.txt").write_text("rank 0 hangs")
    assert read_verdict(tmp_path) == "rank 0 hangs"
    clear_verdict(tmp_path)
    clear_verdict(tmp_path)
    assert read_verdict(tmp_path) is None


def test_the_first_verdict_stays_also_where_files_cannot_be_linked(tmp_path, monkeypatch):
    def refuse(source, target):
        raise PermissionError("no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    for text in ("first", "second"):
        publish_verdict(tmp_path, text)
    assert read_verdict(tmp_path) == "first"
    assert [path.name for path in (tmp_path / "watchdog").iterdir()] == ["verdict.txt"]


def test_the_beginning_checkpoints_and_reports_may_take_longer(tmp_path):
    dog = Watchdog(tmp_path, 0, 1, 10.0)
    limits = []
    for step, phase in [(None, "start"), (7, "forward"), (8, "forward"), (8, "checkpoint"), (8, "report"), (9, "data")]:
        dog.beat(step, phase)
        limits.append(dog._limit_of(dog._now))
    assert limits == [10.0 * LONG, 10.0 * LONG, 10.0, 10.0 * LONG, 10.0 * LONG, 10.0]


def test_a_beat_costs_next_to_nothing_and_the_thread_ends_with_the_body(tmp_path):
    with Watchdog(tmp_path, 0, 1, 60.0) as dog:
        started_s = time.perf_counter()
        for step in range(10_000):
            dog.beat(step, "data")
        seconds = time.perf_counter() - started_s
    assert seconds < 0.5  # 50 us each, on a busy machine
    assert not dog._thread.is_alive()
    assert '"ended"' in beat_path(tmp_path, 0).read_text()

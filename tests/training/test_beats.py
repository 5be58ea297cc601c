"""Whose fault it is, from beats typed by hand."""

from dataclasses import replace

import pytest

from dima_pipeline.training import beats as beats_module
from dima_pipeline.training.beats import Beat, Observer, find_culprits, write_beat


def beat(rank, step, num_beats, since_s=0.0, num_reports=5, **options):
    facts = {"phase": "forward", "limit_s": 90.0, "host": "h", "pid": 10 + rank, "created_s": 0.0, "num_written": 1}
    facts |= {"rank": rank, "step": step, "num_beats": num_beats, "since_s": since_s}
    return Beat(**{**facts, "num_exchanges": {"exchange": 9, "report": num_reports}, **options})


def culprits(*beats):
    return [found.rank for found in find_culprits(beats)]


def test_nobody_is_overdue_and_nobody_is_blamed():
    assert culprits(beat(0, 5, 1, 89), beat(1, 5, 0, 80)) == []


def test_the_rank_with_the_fewest_beats_is_blamed_and_not_who_waits_for_it():
    assert culprits(beat(0, 5, 2, 100, phase="exchange"), beat(1, 5, 0, 101, phase="data")) == [1]
    assert culprits(beat(0, 5, 0, 100, phase="data"), beat(1, 4, 4, 101, phase="optimizer")) == [1]


def test_who_waits_for_a_rank_that_may_take_longer_is_patient():
    assert culprits(beat(0, 5, 4, 100, phase="checkpoint", limit_s=450), beat(1, 5, 5, 99, phase="report")) == []


def test_ranks_that_stand_at_the_same_place_are_blamed_together_but_not_one_that_has_just_come():
    assert culprits(beat(0, 5, 1, 91), beat(1, 5, 1, 89), beat(2, 5, 1, 3)) == [0, 1]


def test_a_rank_ahead_with_fewer_exchanges_has_left_one_out():
    waits = beat(0, 5, 4, 95, num_reports=6, phase="report", limit_s=450)
    assert culprits(waits, beat(1, 6, 2, 91, num_reports=5)) == [1]
    assert culprits(waits, beat(1, 6, 2, 30, num_reports=5)) == []


def test_a_rank_that_ended_with_fewer_exchanges_is_blamed_and_one_that_ended_with_as_many_is_not():
    waits = beat(0, 6, 2, 95, num_reports=6, phase="exchange")
    assert culprits(waits, beat(1, 5, 4, 100, num_reports=5, phase="ended")) == [1]
    assert culprits(waits, beat(1, 6, 2, 100, num_reports=6, phase="ended")) == [0]


def test_all_have_ended_and_nobody_is_blamed():
    assert culprits(beat(0, 5, 1, 500, phase="ended"), beat(1, 5, 1, 500, phase="ended")) == []


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(beats_module.time, "monotonic", lambda: now[0])
    return now


def test_a_file_that_is_not_rewritten_is_that_of_a_frozen_rank_and_its_time_goes_on(tmp_path, clock):
    (tmp_path / "watchdog").mkdir()
    observer = Observer(tmp_path, 2, limit_s=450.0, patience_s=10.0)
    alive, frozen = beat(0, 3, 0, 1.0), beat(1, 3, 0, 2.0)
    for found in (alive, frozen):
        write_beat(tmp_path, found)
    assert observer.beats() == [alive, frozen]
    clock[0] += 95
    write_beat(tmp_path, replace(alive, num_written=2, since_s=96.0))
    first, second = observer.beats()
    assert (first.since_s, first.is_frozen) == (96.0, False)
    assert (second.since_s, second.is_frozen) == (97.0, True)
    assert [found.rank for found in find_culprits([first, second])] == [0, 1]


def test_a_rank_that_never_begins_is_blamed_after_the_longer_limit(tmp_path, clock):
    (tmp_path / "watchdog").mkdir()
    observer = Observer(tmp_path, 2, limit_s=450.0, patience_s=10.0)
    for seconds, expected in ((100, []), (400, [1])):
        clock[0] += seconds
        write_beat(tmp_path, beat(0, 0, 1, 90.5, num_written=seconds, limit_s=450.0))
        assert [found.rank for found in find_culprits(observer.beats())] == expected

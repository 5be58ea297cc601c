"""Progress is read from the log as far as it is complete, and shown as it advances."""

import json
import time
from io import StringIO

import pytest
from rich.console import Console

from dima_pipeline.distributed import progress
from dima_pipeline.distributed.progress import StageProgress, Tail, _Lines, follow, read_progress
from dima_pipeline.training.config import dump_distillation, parse_distillation
from dima_pipeline.training.stages import StageSpec


def line(step, total=2.0):
    return json.dumps({"step": step, "terms": {"total": total}}) + "\n"


@pytest.fixture
def spec(tmp_path):
    config = parse_distillation({"planner": "doubles.fake_planner", "pretraining": {"num_steps": 40}})
    facts = {"tables_dir": "", "shards_dir": "", "parent_dir": None, "config": dump_distillation(config)}
    return StageSpec(stage="pretraining", name="pretraining-1", run_dir=str(tmp_path), **facts)


def test_before_the_first_line_nothing_is_done(tmp_path):
    path = tmp_path / "log.jsonl"
    assert read_progress("joint", path, 9) == StageProgress("joint", 0, 9, None)
    path.write_text('{"step": 0')
    assert read_progress("joint", path, 9).done == 0


def test_the_last_complete_line_counts(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(line(3) + line(4, 1.5) + '{"step": 5, "ter')
    assert read_progress("joint", path, 9) == StageProgress("joint", 5, 9, 1.5)


def test_a_long_log_is_read_from_its_end(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(line(step) for step in range(5000)))
    assert read_progress("joint", path, 5000).done == 5000


def test_a_stage_is_shown_when_it_advances_and_once_more_at_the_end(spec):
    seen = []
    with follow([spec], seen.append):
        spec.log_path.write_text(line(0))
        deadline = time.monotonic() + 5
        while not seen and time.monotonic() < deadline:
            time.sleep(0.05)
        spec.log_path.write_text(line(0) + line(39, 0.5))
    assert [(shown.done, shown.total, shown.loss) for shown in seen] == [(1, 40, 2.0), (40, 40, 0.5)]


def test_watching_ends_with_the_body_even_when_it_fails(spec):
    with pytest.raises(OSError), follow([spec], print):
        raise OSError
    import threading

    assert not [thread for thread in threading.enumerate() if thread.name == "training-progress"]


def test_away_from_a_terminal_every_tenth_is_a_line():
    out = StringIO()
    lines = _Lines(Console(file=out, width=100))
    for done in range(1, 41):
        lines(StageProgress("joint", done, 40, 1.25))
    text = out.getvalue().splitlines()
    assert len(text) == 10
    assert text[0].startswith("joint: step 4 of 40, loss 1.250") and text[-1].startswith("joint: step 40 of 40")


def test_what_is_left_is_said_in_seconds_once_something_is_measured(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    out = StringIO()
    lines = _Lines(Console(file=out, width=100))
    for done in (10, 20, 40):
        now[0] += 30
        lines(StageProgress("joint", done, 40, 1.0, 12.5))
    assert out.getvalue().splitlines() == [
        "joint: step 10 of 40, loss 1.000, 12.5 samples/s",
        "joint: step 20 of 40, loss 1.000, 12.5 samples/s, about 60 s left",
        "joint: step 40 of 40, loss 1.000, 12.5 samples/s",
    ]


def test_each_line_comes_once_though_a_resumed_run_writes_the_log_anew(tmp_path):
    path = tmp_path / "log.jsonl"
    tail = Tail(path)
    assert tail.read() == []
    path.write_text(line(0) + line(1) + '{"step": 2, "ter')
    assert [found["step"] for found in tail.read()] == [0, 1]
    assert tail.read() == []
    anew = tmp_path / "anew"
    anew.write_text(line(0))
    anew.replace(path)
    with path.open("a") as file:
        file.write(line(1) + line(2))
    assert [found["step"] for found in tail.read()] == [2]
    with path.open("a") as file:
        file.write(line(3))
    assert [found["step"] for found in tail.read()] == [3]


def test_every_line_of_the_log_is_passed_on_with_its_stage(spec):
    seen = []
    with follow([spec], lambda shown: None, lambda stage, found: seen.append((stage, found["step"]))):
        spec.log_path.write_text(line(0) + line(1))
    assert seen == [("pretraining", 0), ("pretraining", 1)]

"""What was answered once is never asked again: after another run, a failure, or a kill."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chat_server import chat_server
from dima_pipeline.language import Message, Reply
from dima_pipeline.language.asking import Asker, Prices
from dima_pipeline.language.generators import GENERATORS
from dima_pipeline.language.reply_store import ReplyStore, key_of, request_of

NO_PRICES = Prices()


class Scripted:
    """Answers in reverse order of asking; ``script`` gives the reply to a text."""

    name = "scripted"

    def __init__(self, script=lambda text: Reply(text=f"re {text}"), **identity):
        self.script, self.identity, self.asked = script, identity, []

    def replies(self, prompts):
        for at in reversed(range(len(prompts))):
            self.asked.append(prompts[at][-1].text)
            yield at, self.script(prompts[at][-1].text)


def prompts(*texts):
    return [(Message("user", text),) for text in texts]


def test_replies_come_in_the_order_of_the_prompts_and_equal_prompts_are_asked_once(tmp_path):
    generator = Scripted()
    replies = Asker(generator, tmp_path, NO_PRICES).ask(prompts("a", "b", "a", "c"))
    assert [reply.text for reply in replies] == ["re a", "re b", "re a", "re c"]
    assert sorted(generator.asked) == ["a", "b", "c"]


def test_another_run_asks_only_what_is_new(tmp_path):
    Asker(Scripted(), tmp_path, NO_PRICES).ask(prompts("a", "b"))
    again = Scripted(lambda text: Reply(text="other"))
    replies = Asker(again, tmp_path, NO_PRICES).ask(prompts("b", "c", "a"))
    assert [reply.text for reply in replies] == ["re b", "other", "re a"] and again.asked == ["c"]


@pytest.mark.parametrize(
    "identity", [{"model": "other"}, {"model": "m", "seed": 1}, {"model": "m", "temperature": 0.1}]
)
def test_another_model_or_setting_is_asked_anew(tmp_path, identity):
    Asker(Scripted(model="m"), tmp_path, NO_PRICES).ask(prompts("a"))
    other = Scripted(**identity)
    Asker(other, tmp_path, NO_PRICES).ask(prompts("a"))
    assert other.asked == ["a"]


def test_a_request_is_all_that_was_asked_and_whose_text_it_is_cannot_be_mistaken():
    prompt = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    assert json.loads(request_of({"model": "m"}, prompt)) == {
        "generator": {"model": "m"},
        "messages": [["user", "a"], ["assistant", "b"], ["user", "c"]],
    }
    joined = (Message("user", "a b"),)
    assert key_of(request_of({}, joined)) != key_of(request_of({}, (Message("user", "a"), Message("user", "b"))))


def test_what_came_before_a_failure_is_kept(tmp_path):
    def failing(text):
        if text == "a":
            raise ValueError("gone")
        return Reply(text="well")

    with pytest.raises(ValueError, match="gone"):
        Asker(Scripted(failing), tmp_path, NO_PRICES).ask(prompts("a", "b", "c"))
    again = Scripted()
    Asker(again, tmp_path, NO_PRICES).ask(prompts("a", "b", "c"))
    assert again.asked == ["a"]


@pytest.mark.parametrize(
    "text", ["", "\x00nul", "half \ud83d of a pair", "\U0001f600", "'; DROP TABLE replies; --", "x" * 10**6]
)
def test_any_text_is_kept(tmp_path, text):
    asker = Asker(Scripted(lambda _: Reply(text=text)), tmp_path, NO_PRICES)
    (first,), (second,) = asker.ask(prompts("a")), asker.ask(prompts("a"))
    assert first == second and first.text == text.encode("utf-8", "replace").decode()


class TestRejections:
    def test_a_rejected_prompt_is_counted_and_asked_again_next_time(self, tmp_path):
        def script(text):
            return Reply(text="too long", finish="rejected") if text == "a" else Reply(text="well")

        asker = Asker(Scripted(script), tmp_path, NO_PRICES)
        assert [reply.finish for reply in asker.ask(prompts("a", "b"))] == ["rejected", "stop"]
        assert dict(asker.run) == {"prompts": 2, "asked": 1, "known": 0, "rejected": 1}
        again = Scripted(script)
        assert Asker(again, tmp_path, NO_PRICES).ask(prompts("a", "b"))[0].finish == "rejected"
        assert again.asked == ["a"]

    def test_a_model_that_rejects_all_is_a_mistake_to_mend(self, tmp_path):
        asker = Asker(Scripted(lambda _: Reply(text="max_tokens", finish="rejected")), tmp_path, NO_PRICES)
        with pytest.raises(ValueError, match="scripted rejects every prompt: max_tokens"):
            asker.ask(prompts("a", "b"))


class TestStore:
    def test_the_first_answer_stands(self, tmp_path):
        store = ReplyStore(tmp_path)
        assert store.add("k", "m", "{}", Reply(text="first")).text == "first"
        assert ReplyStore(tmp_path).add("k", "m", "{}", Reply(text="second")).text == "first"

    def test_a_damaged_file_is_named(self, tmp_path):
        (tmp_path / "replies.sqlite").write_bytes(b"no database" * 1000)
        with pytest.raises(ValueError, match=r"replies\.sqlite cannot be used"):
            ReplyStore(tmp_path)

    def test_a_file_of_another_format_is_refused(self, tmp_path):
        ReplyStore(tmp_path)
        with sqlite3.connect(tmp_path / "replies.sqlite") as connection:
            connection.execute("PRAGMA user_version = 7")
        with pytest.raises(ValueError, match="format 7"):
            ReplyStore(tmp_path)

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(ValueError, match="file/sub cannot be made"):
            ReplyStore(tmp_path / "file" / "sub")


class TestUsage:
    def test_tokens_times_and_costs_are_those_of_all_stored_replies(self, tmp_path):
        def script(text):
            return Reply(text="x", tokens_in=1000 * int(text), tokens_out=100, seconds=float(text), attempts=2)

        asker = Asker(Scripted(script), tmp_path, Prices(per_million_in=2.0, per_million_out=10.0))
        asker.ask(prompts("1", "2", "3"))
        asker = Asker(Scripted(script), tmp_path, Prices(per_million_in=2.0, per_million_out=10.0))
        asker.ask(prompts("3", "5"))
        usage = asker.write_usage({"pairs": 4})
        assert usage["run"] == {"prompts": 2, "asked": 1, "known": 1, "rejected": 0, "pairs": 4}
        assert usage["stored"] == {
            **{"replies": 4, "requests": 8, "replies_without_token_counts": 0},
            **{"tokens_in": 11_000, "tokens_out": 400, "p50_s": 2.5, "p95_s": pytest.approx(4.7)},
            "cost": pytest.approx(0.026),
        }
        assert json.loads((tmp_path / "usage.json").read_text()) == {"scripted": usage}

    def test_without_counts_or_prices_it_says_so(self, tmp_path):
        asker = Asker(Scripted(), tmp_path, NO_PRICES)
        assert asker.write_usage()["stored"]["p50_s"] is None
        asker.ask(prompts("a"))
        stored = asker.write_usage()["stored"]
        assert stored["cost"] is None and stored["replies_without_token_counts"] == 1

    def test_models_stand_side_by_side_and_a_damaged_file_is_written_anew(self, tmp_path):
        (tmp_path / "usage.json").write_text('{"half')
        Asker(Scripted(), tmp_path, NO_PRICES).write_usage()
        other = Scripted()
        other.name = "other"
        Asker(other, tmp_path, NO_PRICES).write_usage()
        assert sorted(json.loads((tmp_path / "usage.json").read_text())) == ["other", "scripted"]


ASK = """
import sys
from pathlib import Path
from dima_pipeline.language import Message
from dima_pipeline.language.asking import Asker, Prices
from dima_pipeline.language.generators import GENERATORS
url, folder, number, concurrency = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
spec = {"name": "endpoint", "url": url, "model": "m", "concurrency": concurrency}
asker = Asker(GENERATORS.build(GENERATORS.parse(spec)), Path(folder), Prices())
replies = asker.ask([(Message("user", f"question {at}"),) for at in range(number)])
assert [reply.text for reply in replies] == [f"re question {at}" for at in range(number)]
print("whole")
"""


def start(url: str, folder: Path, number: int, concurrency: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", ASK, url, str(folder), str(number), str(concurrency)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)


@pytest.mark.parametrize("concurrency", [1, 6])
def test_runs_that_are_killed_ask_again_at_most_what_was_under_way(tmp_path, concurrency):
    def slowly(number, body):
        return {"pause_s": 0.02, "text": f"re {body['messages'][-1]['content']}"}

    num_prompts, num_kills = 60, 3
    with chat_server(slowly) as chat:
        for kill in range(num_kills):
            process = start(chat.url, tmp_path, num_prompts, concurrency)
            while len(chat.bodies) < (kill + 1) * 14 and process.poll() is None:
                time.sleep(0.005)
            assert process.poll() is None, process.communicate()
            process.send_signal(signal.SIGKILL)
            process.wait()
        killed_asked = chat.questions
        stored = set(ReplyStore(tmp_path).known([_key(at) for at in range(num_prompts)]))
        process = start(chat.url, tmp_path, num_prompts, concurrency)
        out, err = process.communicate(timeout=60)
        asked = chat.questions
    assert out.strip() == "whole", err
    assert 10 < len(stored) < num_prompts
    assert set(asked) == {f"question {at}" for at in range(num_prompts)}
    # Under way when killed: asked, and not yet durably stored.
    assert asked.total() - num_prompts <= num_kills * concurrency
    assert all(
        asked[f"question {at}"] == killed_asked[f"question {at}"] for at in range(num_prompts) if _key(at) in stored
    )


def test_processes_that_ask_at_once_end_with_the_same_answers(tmp_path):
    def numbered(number, body):
        return {"pause_s": 0.01, "text": f"re {body['messages'][-1]['content']}"}

    with chat_server(numbered) as chat:
        processes = [start(chat.url, tmp_path, 30, 4) for _ in range(3)]
        outs = [process.communicate(timeout=60) for process in processes]
    assert [out.strip() for out, _ in outs] == ["whole"] * 3, outs


def _key(at: int) -> str:
    spec = {"name": "endpoint", "url": "http://127.0.0.1:1/v1", "model": "m"}
    identity = GENERATORS.build(GENERATORS.parse(spec)).identity
    return key_of(request_of(identity, (Message("user", f"question {at}"),)))

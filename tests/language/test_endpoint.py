"""The endpoint: what it asks, what it tries again, what it gives up on, and that the key stays where it is."""

import json
import logging
import time

import pytest

from chat_server import chat_server, completion
from dima_pipeline.language import Message
from dima_pipeline.language.generators import GENERATORS

KEY = "sk-very-secret-0123456789"


def endpoint(chat, **options):
    quick = {"backoff_s": 0.01, "max_backoff_s": 0.05, "max_attempts": 4, "timeout_s": 5.0, "concurrency": 4}
    url = chat if isinstance(chat, str) else chat.url
    return GENERATORS.build(GENERATORS.parse({"name": "endpoint", "url": url, "model": "tiny", **quick, **options}))


def prompts(number):
    return [(Message("user", f"question {at}"),) for at in range(number)]


def echo(number, body):
    return f"answer to {body['messages'][-1]['content']}"


def answers(generator, asked):
    return {at: reply.text for at, reply in generator.replies(asked)}


def test_it_asks_in_the_form_of_the_api_and_gives_text_and_counts():
    with chat_server(echo) as chat:
        ((at, reply),) = endpoint(chat, max_tokens=7, extra_body={"top_p": 0.5}).replies(prompts(1))
    assert (at, reply.text, reply.finish) == (0, "answer to question 0", "stop")
    assert (reply.tokens_in, reply.tokens_out, reply.attempts) == (10, 3, 1) and 0 < reply.seconds < 5
    assert chat.paths == ["/v1/chat/completions"]
    assert chat.bodies[0] == {
        **{"model": "tiny", "max_tokens": 7, "temperature": 0.0, "seed": 0, "top_p": 0.5, "stream": False},
        "messages": [{"role": "user", "content": "question 0"}],
    }


def test_it_keeps_as_many_requests_under_way_as_it_is_told_and_no_more():
    def slowly(number, body):
        return {"pause_s": 0.05, "text": echo(number, body)}

    with chat_server(slowly) as chat:
        found = answers(endpoint(chat, concurrency=3), prompts(12))
    assert found == {at: f"answer to question {at}" for at in range(12)}
    assert chat.most_at_once == 3


@pytest.mark.parametrize(
    "failure",
    [
        {"status": 429, "headers": {"Retry-After": "0"}, "content": b"slow down"},
        {"status": 429, "headers": {"Retry-After": "soon"}, "content": b"slow down"},
        {"status": 500, "content": b"<html>oops</html>"},
        {"status": 503, "content": b""},
        {"content": b"<html>a proxy's page</html>"},
        {"content": b"[" * 100_000},
        {"content": b'{"choices": []}'},
        {"content": b'{"choices": [{"message": {"content": 5}}]}'},
        {"content": completion("cut")[:40], "length": 4000},
        {"content": b"\xff\xfe\x00"},
        {"content": completion("well, well") + b" " * (5 * 2**20)},
        {"pause_s": 1.0, "text": "too late"},
    ],
    ids=lambda failure: str(failure)[:45],
)
def test_what_may_pass_is_tried_again(failure):
    def behave(number, body):
        return failure if number <= 2 else "well"

    with chat_server(behave) as chat:
        ((_, reply),) = endpoint(chat, timeout_s=0.4).replies(prompts(1))
    assert reply.text == "well" and reply.attempts == 3


def test_waiting_that_the_endpoint_asks_for_is_granted_up_to_a_limit():
    def behave(number, body):
        return {"status": 429, "headers": {"Retry-After": "3600"}, "content": b""} if number == 1 else "well"

    with chat_server(behave) as chat:
        begun_s = time.monotonic()
        assert answers(endpoint(chat, max_backoff_s=1.0), prompts(1)) == {0: "well"}
    assert 0.9 < time.monotonic() - begun_s < 4


def test_after_the_last_try_it_says_who_did_not_answer_and_that_nothing_is_lost():
    with chat_server(lambda *_: {"status": 500, "content": b"oops"}) as chat:
        with pytest.raises(ValueError, match=r"/v1/chat/completions has not answered in 4 tries .*500.*run again"):
            list(endpoint(chat).replies(prompts(1)))
        assert len(chat.bodies) == 4
    with pytest.raises(ValueError, match="has not answered in 2 tries"):
        list(endpoint(chat.url, max_attempts=2).replies(prompts(1)))


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "api_key_env"), (404, "/v1"), (307, "no status"), (418, "no status")]
)
def test_what_cannot_pass_is_not_tried_again(status, hint):
    told = {"status": status, "headers": {"Location": "http://127.0.0.1:1/"}, "content": b"go away"}
    with chat_server(lambda *_: told) as chat:
        with pytest.raises(ValueError, match=rf"status {status} \(go away\).*{hint}"):
            list(endpoint(chat, concurrency=1).replies(prompts(5)))
        assert len(chat.bodies) == 1


def test_answers_that_were_under_way_when_another_failed_are_still_given():
    def behave(number, body):
        if "question 1" in body["messages"][-1]["content"]:
            return {"status": 401, "content": b""}
        return {"pause_s": 0.2, "text": "well"}

    found = {}
    with chat_server(behave) as chat:
        with pytest.raises(ValueError, match="401"):
            for at, reply in endpoint(chat, concurrency=3).replies(prompts(40)):
                found[at] = reply.text
        asked = len(chat.bodies)
    assert {0, 2} <= set(found) and len(found) == asked - 1 and asked < 10


def test_a_prompt_that_does_not_fit_is_rejected_by_itself():
    def behave(number, body):
        is_long = "question 1" in body["messages"][-1]["content"]
        return {"status": 400, "content": b"context\nlength"} if is_long else "well"

    with chat_server(behave) as chat:
        found = dict(endpoint(chat).replies(prompts(3)))
    assert [found[at].finish for at in range(3)] == ["stop", "rejected", "stop"]
    assert found[1].text == "context length"


class TestKey:
    def test_it_is_sent_in_the_header_and_stands_in_no_message_log_or_identity(self, monkeypatch, caplog, capfd):
        monkeypatch.setenv("MODEL_KEY", KEY)
        caplog.set_level(logging.DEBUG)

        def echoing(number, body):
            return {"status": 403, "content": f"key {KEY} is bad".encode()}

        with chat_server(echoing) as chat:
            generator = endpoint(chat, api_key_env="MODEL_KEY")
            with pytest.raises(ValueError, match=r"key \*\*\* is bad") as error:
                list(generator.replies(prompts(1)))
            assert chat.headers[0]["Authorization"] == f"Bearer {KEY}"
        said = "".join([str(error.value), caplog.text, *capfd.readouterr(), repr(generator), str(generator.config)])
        assert KEY not in said and KEY not in json.dumps(generator.identity)

    def test_none_is_sent_where_none_is_named(self):
        with chat_server(echo) as chat:
            list(endpoint(chat).replies(prompts(1)))
        assert "Authorization" not in chat.headers[0]

    @pytest.mark.parametrize(
        ("value", "says"), [(None, "is not set"), ("  ", "is not set"), ("a\nb", "more than a key")]
    )
    def test_a_bad_variable_is_named(self, monkeypatch, value, says):
        monkeypatch.delenv("MODEL_KEY", raising=False)
        if value is not None:
            monkeypatch.setenv("MODEL_KEY", value)
        with pytest.raises(ValueError, match=f"MODEL_KEY, named by 'api_key_env', .*{says}|MODEL_KEY.*{says}"):
            endpoint("http://127.0.0.1:1/v1", api_key_env="MODEL_KEY")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"url": "ftp://a/v1"}, "http://"),
        ({"url": "localhost:8000"}, "http"),
        ({"url": "http://me:secret@a/v1"}, "api_key_env"),
        ({"url": "http://a/v1?key=secret"}, "api_key_env"),
        ({"extra_body": {"messages": []}}, "messages"),
        ({"api_key": "sk"}, "did you mean 'api_key_env'"),
        ({"model": ""}, "model"),
    ],
)
def test_a_bad_configuration_is_refused_with_the_key_at_fault(options, says):
    with pytest.raises(ValueError, match=says):
        endpoint("http://a/v1", **options)


def test_the_identity_knows_model_and_settings_but_not_the_place():
    first = endpoint("http://a/v1").identity
    assert first == endpoint("http://b/v1", concurrency=9).identity
    others = [{"model": "other"}, {"revision": "2"}, {"temperature": 0.5}, {"seed": 1}, {"max_tokens": 9}]
    others.append({"extra_body": {"top_p": 0.5}})
    assert all(endpoint("http://a/v1", **other).identity != first for other in others)

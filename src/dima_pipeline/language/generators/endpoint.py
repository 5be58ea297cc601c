"""A model behind an OpenAI-compatible endpoint (``POST <url>/chat/completions``): vLLM, llama.cpp's server, and others.

What may pass is tried again (lost connections, time-outs, 408, 429, 5xx, garbled answers); what will not, is not. The
key comes from an environment variable and goes nowhere but into the request's header.
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any

import urllib3
from pydantic import Field, field_validator
from urllib3.exceptions import HTTPError, InvalidHeader, MaxRetryError, ResponseError
from urllib3.util import Retry, Timeout, parse_url

from dima_pipeline.language import REJECTED, Prompt, Reply
from dima_pipeline.plugins import config_dataclass

PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses that another try may get past."""
UNFIT = frozenset({400, 413, 422})
"""Statuses that say something about one prompt, as a rule that it is too long."""
HINTS = {
    401: "the endpoint wants a key: name the environment variable that holds it in 'api_key_env'",
    403: "the endpoint does not accept the key",
    404: "there is no such model or no such path: the url ends in /v1 as a rule",
}
MAX_REPLY_BYTES = 4 * 2**20
MAX_EXCERPT = 300
OWN_KEYS = ("model", "messages", "max_tokens", "temperature", "seed", "stream", "n")


@config_dataclass
class Config:
    """Where the model answers and how it is asked."""

    url: str
    """Up to ``/v1``. Not part of the model's identity: the same model may move."""
    model: str = Field(min_length=1)
    """As the endpoint calls it."""
    revision: str = ""
    """Of the model, where its name does not tell; another one is asked anew."""
    api_key_env: str | None = None
    """Name of the environment variable with the key; null where the endpoint asks for none."""
    max_tokens: int = Field(1024, ge=1)
    temperature: float = Field(0.0, ge=0)
    seed: int = 0
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """More fields of the request, as ``{chat_template_kwargs: {enable_thinking: false}}``; no secrets here."""
    concurrency: int = Field(8, ge=1, le=1024)
    timeout_s: float = Field(300.0, gt=0)
    """Of silence, not of the whole answer."""
    connect_timeout_s: float = Field(10.0, gt=0)
    max_attempts: int = Field(6, ge=1)
    backoff_s: float = Field(1.0, ge=0)
    """Doubled from try to try, up to ``max_backoff_s``, which also caps what the endpoint asks for (Retry-After)."""
    max_backoff_s: float = Field(60.0, ge=0)

    @field_validator("url")
    @classmethod
    def _is_plain(cls, url: str) -> str:
        parts = parse_url(url)
        if parts.scheme not in ("http", "https") or not parts.host:
            raise ValueError("must begin with http:// or https:// and name a host")
        if parts.auth or parts.query or parts.fragment:
            raise ValueError("must hold no user, password, query or fragment: a key is given by 'api_key_env'")
        return url.rstrip("/")

    @field_validator("extra_body")
    @classmethod
    def _leaves_the_rest_alone(cls, extra: dict[str, Any]) -> dict[str, Any]:
        if clash := sorted(set(extra) & set(OWN_KEYS)):
            raise ValueError(f"must not hold {clash}: these have options of their own or are fixed")
        return extra


class _GarbledError(HTTPError):
    """An answer that is none, though its status says so."""


class Endpoint:
    """The generator; see the module. Raises ``ValueError`` for a named environment variable that is not set."""

    def __init__(self, config: Config) -> None:
        self.config, self.name = config, config.model
        self._settings = {
            **{"model": config.model, "max_tokens": config.max_tokens, "temperature": config.temperature},
            **{"seed": config.seed, **config.extra_body},
        }
        self.identity = {"kind": "endpoint", "revision": config.revision, **self._settings}
        self._key = _key_of(config.api_key_env)
        self._url = f"{config.url}/chat/completions"
        self._pool = urllib3.PoolManager(num_pools=1, maxsize=config.concurrency)
        self._timeout = Timeout(connect=config.connect_timeout_s, read=config.timeout_s)
        self._retry = Retry(
            total=config.max_attempts - 1,
            allowed_methods=None,
            backoff_factor=config.backoff_s,
            backoff_max=config.max_backoff_s,
            backoff_jitter=config.backoff_s / 4,
            retry_after_max=int(config.max_backoff_s),
        )

    def replies(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Reply]]:
        """As ``TextGenerator.replies``. At most ``concurrency`` prompts are asked and not yet taken by the caller: so
        many are lost with a kill. After a failure no new one is asked, and what is under way is waited for."""
        failure: ValueError | None = None
        following = enumerate(prompts)
        pool = ThreadPoolExecutor(self.config.concurrency, thread_name_prefix="endpoint")
        try:
            first = list(islice(following, self.config.concurrency))
            under_way = {pool.submit(self._ask, prompt): at for at, prompt in first}
            while under_way:
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    asked = under_way.pop(future)
                    try:
                        reply = future.result()
                    except ValueError as error:
                        failure = failure or error
                        continue
                    yield asked, reply
                    if failure is None:
                        under_way |= {pool.submit(self._ask, prompt): at for at, prompt in islice(following, 1)}
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        if failure is not None:
            raise failure

    def _ask(self, prompt: Prompt) -> Reply:
        messages = [{"role": message.role, "content": message.text} for message in prompt]
        body = json.dumps({**self._settings, "messages": messages, "stream": False}).encode()
        retry, begun_s = self._retry, time.monotonic()
        while True:
            error: Exception | None = None
            response = None
            try:
                response = self._post(body)
                content = _read(response)
                if response.status == 200:
                    return _reply(content, time.monotonic() - begun_s, 1 + len(retry.history))
                self._refuse(response.status, content)
                if response.status in UNFIT:
                    return Reply(text=self._excerpt(content), finish=REJECTED, attempts=1 + len(retry.history))
            except HTTPError as problem:
                error = problem
            retry = self._next(retry, response, error)
            _wait(retry, response)

    def _post(self, body: bytes) -> urllib3.BaseHTTPResponse:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        # A redirect would carry the scene, and the key, to where nobody has sent them.
        options: dict[str, Any] = {"retries": False, "redirect": False, "preload_content": False}
        return self._pool.request("POST", self._url, body=body, headers=headers, timeout=self._timeout, **options)

    def _refuse(self, status: int, content: bytes) -> None:
        if status in PASSING or status in UNFIT:
            return
        hint = HINTS.get(status, "that is no status of an OpenAI-compatible endpoint")
        raise ValueError(f"{self._url} answers with status {status} ({self._excerpt(content)}): {hint}")

    def _next(self, retry: Retry, response: Any, error: Exception | None) -> Retry:
        try:
            return retry.increment("POST", self._url, response=response if error is None else None, error=error)
        except MaxRetryError as problem:
            reason = problem.reason or ResponseError("no answer")
            text = self._excerpt(str(reason).encode())
            raise ValueError(
                f"{self._url} has not answered in {self.config.max_attempts} tries ({type(reason).__name__}: {text}): "
                "is the server up? What was answered before is kept; run again to go on"
            ) from None

    def _excerpt(self, content: bytes) -> str:
        """What an endpoint said, fit for a log: short, printable, without the key that it may have echoed."""
        text = content.decode("utf-8", "replace")
        if self._key:
            text = text.replace(self._key, "***")
        text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
        return f"{text[:MAX_EXCERPT]} ..." if len(text) > MAX_EXCERPT else text


def _key_of(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ValueError(f"the environment variable {variable}, named by 'api_key_env', is not set")
    if not (key.isascii() and key.isprintable()):
        raise ValueError(f"the environment variable {variable}, named by 'api_key_env', holds more than a key")
    return key


def _wait(retry: Retry, response: urllib3.BaseHTTPResponse | None) -> None:
    try:
        retry.sleep(response)
    except InvalidHeader:  # A Retry-After that is neither seconds nor a date.
        retry.sleep(None)


def _read(response: urllib3.BaseHTTPResponse) -> bytes:
    content = response.read(MAX_REPLY_BYTES + 1)
    if len(content) > MAX_REPLY_BYTES:
        response.close()
        raise _GarbledError(f"more than {MAX_REPLY_BYTES} bytes")
    return content


def _reply(content: bytes, seconds: float, attempts: int) -> Reply:
    try:
        answer = json.loads(content)
        choice = answer["choices"][0]
        text, finish = choice["message"].get("content"), choice.get("finish_reason")
        usage = answer.get("usage") or {}
        counts = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise _GarbledError("status 200, but no chat completion in JSON") from None
    if not isinstance(text, str | None) or not isinstance(finish, str | None):
        raise _GarbledError("status 200, but the answer is no text")
    tokens_in, tokens_out = (count if isinstance(count, int) and 0 <= count < 2**40 else None for count in counts)
    finish = "stop" if finish in (None, REJECTED) else finish
    return Reply(
        text=text or "", finish=finish, tokens_in=tokens_in, tokens_out=tokens_out, seconds=seconds, attempts=attempts
    )


build = Endpoint

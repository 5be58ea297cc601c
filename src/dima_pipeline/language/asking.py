"""Asks a generator only what its store does not know, keeps each answer as it comes, and counts what it costs."""

import json
import logging
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dima_pipeline.language import REJECTED, Prompt, Reply, TextGenerator
from dima_pipeline.language.reply_store import ReplyStore, key_of, request_of
from dima_pipeline.plugins import config_dataclass
from dima_pipeline.storage.lock import exclusive
from dima_pipeline.storage.manifest import write_durably

log = logging.getLogger(__name__)
USAGE = "usage.json"


@config_dataclass
class Prices:
    """What a million tokens cost, in whatever currency; null: not counted."""

    per_million_in: float | None = None
    per_million_out: float | None = None


class Asker:
    """A generator with its store."""

    def __init__(self, generator: TextGenerator, directory: Path, prices: Prices) -> None:
        self.generator, self.store, self.prices = generator, ReplyStore(directory), prices
        self.run: Counter[str] = Counter(prompts=0, asked=0, known=0, rejected=0)
        """Of this run: prompts put, of these asked, known and rejected."""

    def ask(self, prompts: Sequence[Prompt]) -> list[Reply]:
        """A reply to every prompt, in their order; equal prompts are asked once.

        Raises ``ValueError`` where no answer can be had, or where the first prompts are all rejected.
        """
        requests = [request_of(self.generator.identity, prompt) for prompt in prompts]
        keys = [key_of(request) for request in requests]
        replies = self.store.known(list(dict.fromkeys(keys)))
        missing = {key: at for at, key in reversed(list(enumerate(keys))) if key not in replies}
        order = sorted(missing.values())
        self.run.update(prompts=len(prompts), known=len(prompts) - len(order))
        with _progress(f"asking {self.generator.name}", len(order)) as advance:
            for place, reply in self.generator.replies([prompts[at] for at in order]) if order else ():
                at = order[place]
                replies[keys[at]] = self._keep(keys[at], requests[at], reply)
                advance()
        self._refuse_if_none_fits([replies[keys[at]] for at in order])
        return [replies[key] for key in keys]

    def write_usage(self, facts: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """This run with ``facts``, and all that the store holds of the model; written by model to ``usage.json``."""
        usage = {"run": {**self.run, **(facts or {})}, "stored": self._stored()}
        directory = self.store.directory
        with exclusive(directory, "writes usage", patience_s=60.0):
            of_models = {**_read_usage(directory / USAGE), self.generator.name: usage}
            write_durably(directory / USAGE, json.dumps(of_models, indent=1, sort_keys=True).encode())
        return usage

    def _keep(self, key: str, request: str, reply: Reply) -> Reply:
        if reply.finish == REJECTED:
            self.run["rejected"] += 1
            log.warning("%s rejects a prompt: %s", self.generator.name, reply.text)
            return reply
        self.run["asked"] += 1
        return self.store.add(key, self.generator.name, request, reply)

    def _refuse_if_none_fits(self, asked: list[Reply]) -> None:
        is_none = bool(asked) and all(reply.finish == REJECTED for reply in asked)
        if is_none and not self.store.figures(self.generator.name):
            raise ValueError(f"{self.generator.name} rejects every prompt: {asked[0].text}")

    def _stored(self) -> dict[str, Any]:
        figures = self.store.figures(self.generator.name)
        tokens_in = sum(row[0] or 0 for row in figures)
        tokens_out = sum(row[1] or 0 for row in figures)
        seconds = [row[2] for row in figures]
        return {
            "replies": len(figures),
            "requests": sum(row[3] for row in figures),
            "replies_without_token_counts": sum(row[0] is None or row[1] is None for row in figures),
            **{"tokens_in": tokens_in, "tokens_out": tokens_out, "cost": self._cost(tokens_in, tokens_out)},
            **{"p50_s": _percentile(seconds, 50), "p95_s": _percentile(seconds, 95)},
        }

    def _cost(self, tokens_in: int, tokens_out: int) -> float | None:
        per_in, per_out = self.prices.per_million_in, self.prices.per_million_out
        if per_in is None or per_out is None:
            return None
        return (tokens_in * per_in + tokens_out * per_out) / 1e6


def _read_usage(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _percentile(values: Sequence[float], percent: int) -> float | None:
    if len(values) < 2:
        return values[0] if values else None
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


@contextmanager
def _progress(what: str, total: int) -> Iterator[Any]:
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = console.is_terminal and total > 0
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)

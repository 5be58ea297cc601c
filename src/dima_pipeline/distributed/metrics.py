"""Training as Ray metrics: gauges that Ray's agent hands to Prometheus with the prefix ``ray_``.

They say as it happens what the log of the stage says (``training.loop``). Each worker tells how long it waits for data
and what memory it holds; what is true of all of them is told by the first one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ray.util.metrics import Gauge

BY_TERM = {
    "dima_loss": "Loss term of the last logged step, mean over the workers; `total` is their weighted sum.",
    "dima_metric": "What the objective measures beside its losses, mean over the workers.",
    "dima_encoder_gradient_norm": "Norm of a term's gradient, unweighted, on the encoder that all terms share.",
    "dima_encoder_gradient_cosine": "Cosine of a term's gradient on the shared encoder to that of `total`.",
}
OF_ALL = {
    "dima_step": "The last logged optimiser step, counted from 0.",
    "dima_step_seconds": "Duration of the last logged step, its data being there.",
    "dima_samples_per_second": "Throughput of all workers together since the logged step before.",
    "dima_gradient_norm": "Norm of the gradient before it is clipped.",
    "dima_learning_rate": "Learning rate of the parts that have none of their own.",
}
BY_RANK = {
    "dima_data_wait_seconds": "Time a step of the worker waits for its data, mean since the logged step before.",
    "dima_data_stall_share": "Share of the worker's time in which it waited for data, since the logged step before.",
    "dima_resident_memory_bytes": "Memory of the worker's process.",
    "dima_device_memory_bytes": "Most memory that tensors of the worker have held on its GPU.",
}


@dataclass(frozen=True)
class Reading:
    """The value of a gauge."""

    gauge: str
    value: float
    tags: dict[str, str] = field(default_factory=dict)


class TrainingGauges:
    """The gauges of one worker in one stage; ``run`` is the name of the stage's run, and of its folder."""

    def __init__(self, stage: str, run: str, rank: int) -> None:
        self._rank = rank
        self._gauges = {
            name: Gauge(name, text, ("stage", "run", *keys)).set_default_tags({"stage": stage, "run": run})
            for texts, keys in ((BY_TERM, ["term"]), (OF_ALL, []), (BY_RANK, ["rank"]))
            for name, text in texts.items()
        }

    def show(self, line: Mapping[str, Any]) -> None:
        """Set what a line of the log says."""
        for reading in readings(line, self._rank):
            self._gauges[reading.gauge].set(reading.value, reading.tags)


def readings(line: Mapping[str, Any], rank: int) -> Iterator[Reading]:
    """What worker ``rank`` tells of a line of the log."""
    for name in BY_RANK:
        if (value := line.get(name.removeprefix("dima_"))) is not None:
            yield Reading(name, value, {"rank": str(rank)})
    if rank > 0:
        return
    yield Reading("dima_step", line["step"])
    yield Reading("dima_step_seconds", line["seconds"])
    yield Reading("dima_samples_per_second", line["samples_per_second"])
    for term, value in line["terms"].items():
        if f"dima_{term}" in OF_ALL:
            yield Reading(f"dima_{term}", value)
        elif term.startswith("metric/"):
            yield Reading("dima_metric", value, {"term": term.removeprefix("metric/")})
        else:
            yield Reading("dima_loss", value, {"term": term})
    for name, value in line.get("encoder", {}).items():
        kind, _, term = name.partition("/")
        yield Reading(f"dima_encoder_gradient_{kind}", value, {"term": term})

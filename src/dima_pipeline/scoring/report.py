"""Numbers of samples under protocols: as JSON, each with what it counts, and as a table for people."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dima_pipeline import __version__
from dima_pipeline.scoring.horizons import HORIZONS, WHOLE_SECONDS, HorizonRule, horizon_columns, horizon_means
from dima_pipeline.scoring.protocols import Protocol, protocol_named
from dima_pipeline.scoring.samples import OpenLoopSamples
from dima_pipeline.scoring.values import MetricValues

Report = dict[str, dict[str, Any]]
COLUMNS = {**WHOLE_SECONDS, **{name: HORIZONS.index(name) for name in ("avg", "avg_all")}}
"""Key of a number and its place in ``HORIZONS``."""
AT = " / ".join((*(f"{second} s" for second in WHOLE_SECONDS), "avg", "avg_all"))
NUMBERS = {"l2_m": "L2 (m)", "box_collision": "collisions (%)", "gt_box_collision": "ground-truth collisions (%)"}
"""Key of a metric and its title in a table."""
INCOMPLETE = {
    "drop_sample": "sample left out",
    "count_as_zero": "step counts as 0",
    "drop_step": "step left out",
}


def score_report(samples: OpenLoopSamples, protocols: Sequence[str], with_steps: bool = False) -> Report:
    """All numbers by protocol: L2 in m, collisions as fractions, None where nothing is counted.

    ``with_steps`` adds the values of each row and step of ``samples``, before any mean; ``counted`` says which of them
    stand in the denominator. Raises ``ValueError`` for an unknown protocol.
    """
    chosen = [protocol_named(name) for name in protocols]
    return {protocol.name: _scored(samples, protocol, with_steps) for protocol in chosen}


def _scored(samples: OpenLoopSamples, protocol: Protocol, with_steps: bool) -> dict[str, Any]:
    found = protocol.collisions(samples)
    counted = protocol.counted(samples.fut_mask)
    collision = protocol.box_collision(samples, found)
    scored = {
        "num_samples": int(counted.any(1).sum()),
        "l2_m": _numbers(protocol.l2(samples), protocol.l2_rule),
        "box_collision": _numbers(collision, protocol.collision_rule),
        "gt_box_collision": _numbers(protocol.gt_box_collision(samples, found), protocol.collision_rule),
        "num_rows": len(samples),
        "num_counted": _num_counted(collision, protocol.collision_rule),
        "classes": list(protocol.classes),
        "frame": protocol.frame or samples.frame,
        "footprint": protocol.footprint,
        "incomplete": protocol.incomplete,
        "horizon_rule": {"l2_m": protocol.l2_rule, "box_collision": protocol.collision_rule},
        "dima_pipeline_version": __version__,
    }
    if with_steps:
        steps = {
            "box_collision": found.planned & ~found.driven,
            "gt_box_collision": found.driven,
            "counted": counted,
        }
        scored["per_step"] = {name: values.astype(int).tolist() for name, values in steps.items()}
    return scored


def _numbers(values: MetricValues, rule: HorizonRule) -> dict[str, float | None]:
    sums, counts = (columns.sum(0) for columns in horizon_columns(values.value, values.valid, rule))
    means = horizon_means(sums, counts)
    return {key: None if np.isnan(means[place]) else float(means[place]) for key, place in COLUMNS.items()}


def _num_counted(values: MetricValues, rule: HorizonRule) -> dict[str, int]:
    counts = horizon_columns(values.value, values.valid, rule)[1].sum(0)
    return {second: int(counts[place]) for second, place in WHOLE_SECONDS.items()}


def empty_numbers(report: Report) -> list[str]:
    """A message for each protocol under which nothing is counted at some horizon."""
    found = []
    for name, scored in report.items():
        seconds = [second for second, number in scored["num_counted"].items() if not number]
        if seconds:
            where = f"at {', '.join(seconds)} s" if scored["num_samples"] else "at all"
            why = "a complete future" if scored["incomplete"] == "drop_sample" else "a known future there"
            found.append(f"{name} counts nothing {where}: no sample has {why}")
    return found


def table_rows(report: Report) -> list[dict[str, str]]:
    """One row a protocol, from title to text; a dash where nothing is counted."""
    return [
        {
            "protocol": name,
            "samples": f"{scored['num_samples']} of {scored['num_rows']}",
            "classes": " + ".join(scored["classes"]),
            **{title: _joined(scored[key], 1.0 if key == "l2_m" else 100.0) for key, title in NUMBERS.items()},
            "frame": scored["frame"],
            "footprint": scored["footprint"],
            "incomplete future": INCOMPLETE[scored["incomplete"]],
            "at h (L2, collisions)": ", ".join(scored["horizon_rule"].values()),
        }
        for name, scored in report.items()
    ]


def _joined(numbers: Mapping[str, float | None], scale: float) -> str:
    return " / ".join("-" if number is None else f"{scale * number:.2f}" for number in numbers.values())


def plain(rows: Sequence[Mapping[str, str]]) -> str:
    """A table for a terminal in two parts: the numbers, and what they count."""
    titles = list(rows[0])
    last = titles.index(NUMBERS["gt_box_collision"]) + 1
    parts = (titles[:last], [titles[0], *titles[last:]])
    return f"\n\nwhere numbers are at {AT}\n\n".join(_aligned(rows, part) for part in parts)


def _aligned(rows: Sequence[Mapping[str, str]], titles: Sequence[str]) -> str:
    cells = [list(titles), *([row[title] for title in titles] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)
    return "\n".join(lines)


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """The same as one markdown table."""
    titles = [f"{title} at {AT}" if title in NUMBERS.values() else title for title in rows[0]]
    lines = [titles, ["---"] * len(titles), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

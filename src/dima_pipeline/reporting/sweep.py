"""What the search for better settings found: ``SweepTrials`` in words, counts and changes."""

import json
import math
from typing import Any

import pandas as pd

from dima_pipeline.reporting.facts import ReportFacts
from dima_pipeline.reporting.wording import NO_BREAK, Verdict, listed, many, number, signed

ADOPT = "Train with the best settings of the sweep (copy its file, then run distillation) and compare the two pages."
STATUSES = {
    "finished": "trained to their end",
    "stopped": "ended early, as others were ahead at the same step",
    "failed": "broke off",
}


def flagged(trials: pd.DataFrame, flag: str) -> pd.Series | None:
    """The trial with ``is_default`` or ``is_best``, or None where there is none."""
    rows = trials[trials[flag].astype(bool)]
    return None if rows.empty else rows.iloc[0]


def status_rows(facts: ReportFacts) -> list[tuple[str, int, str]]:
    """How many trials ended in which way, and what that means."""
    counts = facts.sweep_trials["status"].value_counts()
    return [(name, int(counts[name]), what) for name, what in STATUSES.items() if name in counts]


def sweep_verdict(facts: ReportFacts) -> Verdict | None:
    """Whether the sweep found settings that are better than the default; None where no sweep was made."""
    trials = facts.sweep_trials
    if trials.empty:
        return None
    best, default = flagged(trials, "is_best"), flagged(trials, "is_default")
    numbers = f"{many(len(trials), 'trial')}: {listed([f'{num} {name}' for name, num, _ in status_rows(facts)])}."
    if best is None:
        return Verdict(
            "bad", "No trial of the sweep came to a result", numbers, "See why the trials failed in the log."
        )
    if default is None or not math.isfinite(default["objective"]):
        return Verdict("open", "The sweep does not know how good the default settings are", numbers)
    change = best["objective"] - default["objective"]
    values = (
        f"L2 on development scenes after {many(int(best['step']), 'joint step')}: "
        f"default {number(default['objective'])} m, best {number(best['objective'])} m"
    )
    if not change < 0:
        return Verdict("open", "The sweep found nothing better than the default settings", f"{values}. {numbers}")
    if default["step"] != best["step"]:
        steps = f"; the default was {default['status']} after {default['step']} steps, the best after {best['step']}"
        head = "The sweep found settings that may be better: the default was measured at another step"
        return Verdict("open", head, f"{values}{steps}. {numbers}", ADOPT)
    share = signed(100 * change / default["objective"], 0)
    return Verdict("good", "The sweep found better settings", f"{values} ({share}{NO_BREAK}%). {numbers}", ADOPT)


def changed_rows(facts: ReportFacts) -> list[dict[str, Any]]:
    """Every parameter of the sweep: its default and best value, and whether they differ; empty without a best trial."""
    best, default = (flagged(facts.sweep_trials, flag) for flag in ("is_best", "is_default"))
    if best is None:
        return []
    chosen = json.loads(best["config"])
    known = {} if default is None else json.loads(default["config"])
    rows = [{"name": name, "default": _value(known.get(name)), "best": _value(value)} for name, value in chosen.items()]
    return [{**row, "is_changed": row["default"] != row["best"]} for row in rows]


def _value(value: Any) -> str:
    """A parameter's value; numbers to four digits."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)

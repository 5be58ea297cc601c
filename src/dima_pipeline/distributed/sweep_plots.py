"""Pictures of a sweep: what each trial reached over its steps, and the objective against each parameter.

Colours are of the Okabe-Ito set, which colour-blind readers can tell apart.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dima_pipeline.distributed.sweep_config import Dimension, TuningConfig
from dima_pipeline.distributed.sweep_ledger import Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BY_STEP, BY_PARAMETER = "objective_by_step.png", "objective_by_parameter.png"
AXIS = "planning L2 on development scenes (m)"
DEFAULT, BEST, OTHER = "#D55E00", "#0072B2", "#8a97a6"
COLUMNS = 3
DPI = 120


def plot_sweep(trials: Sequence[Trial], best: int, tuning: TuningConfig, directory: Path) -> None:
    """Write both pictures; ``trials`` have ended, ``best`` is the number of one that finished."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    draw_steps(figure.add_subplot(), trials, best)
    figure.savefig(directory / BY_STEP, dpi=DPI)

    columns = min(COLUMNS, len(tuning.space))
    rows = math.ceil(len(tuning.space) / columns)
    figure = Figure(figsize=(0.8 + 3.2 * columns, 0.6 + 2.8 * rows), layout="constrained")
    for place, (path, dimension) in enumerate(tuning.space.items(), 1):
        draw_parameter(figure.add_subplot(rows, columns, place), trials, (path, dimension), best)
    figure.supylabel(AXIS, fontsize="medium")
    figure.legend(handles=_handles(best), loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(directory / BY_PARAMETER, dpi=DPI)


def draw_steps(axes: "Axes", trials: Sequence[Trial], best: int) -> None:
    """A line a trial; the number of the trial stands at its end, a cross where ASHA stopped it."""
    for trial in sorted(trials, key=lambda trial: trial.number in (0, best)):
        if not trial.reports:
            continue
        steps, values = zip(*sorted(trial.reports.items()), strict=True)
        is_marked = trial.number in (0, best)
        colour = _colour(trial, best)
        marker = "x" if trial.status == "stopped" else "o"
        axes.plot(steps, values, color=colour, lw=2.4 if is_marked else 1.2, zorder=3 if is_marked else 2)
        axes.plot(steps[-1], values[-1], marker, color=colour, ms=6, zorder=4)
        axes.annotate(str(trial.number), (steps[-1], values[-1]), (6, 0), textcoords="offset points", va="center")
    axes.set_xlabel("optimiser step of the joint stage")
    axes.set_ylabel(AXIS)
    axes.grid(color="#e5e8eb")
    axes.legend(handles=_handles(best), frameon=False)


def draw_parameter(axes: "Axes", trials: Sequence[Trial], parameter: tuple[str, Dimension], best: int) -> None:
    """A dot a trial at its last report; a cross where ASHA stopped it."""
    from matplotlib.ticker import LogLocator, NullFormatter

    path, dimension = parameter
    for trial in trials:
        if trial.objective is not None:
            at = trial.values[path]
            x = dimension.values.index(at) if dimension.kind == "choice" else at
            marker = "x" if trial.status == "stopped" else "o"
            axes.plot(x, trial.objective, marker, color=_colour(trial, best), ms=7, zorder=3)
    if dimension.kind == "choice":
        axes.set_xticks(range(len(dimension.values)), [str(value) for value in dimension.values])
        axes.set_xlim(-0.5, len(dimension.values) - 0.5)
    elif dimension.kind == "loguniform":
        axes.set_xscale("log")
        axes.set_xlim(dimension.low / 1.1, dimension.high * 1.1)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("\n.".join(path.rsplit(".", 1)))
    axes.grid(color="#e5e8eb")


def _colour(trial: Trial, best: int) -> str:
    return BEST if trial.number == best else DEFAULT if trial.number == 0 else OTHER


def _handles(best: int) -> list[Any]:
    """What colours and markers mean."""
    from matplotlib.lines import Line2D

    shown = {"best": (BEST, "o"), "present configuration": (DEFAULT, "o")}
    if best == 0:
        shown = {"present configuration, the best": (BEST, "o")}
    shown |= {"finished": (OTHER, "o"), "stopped by ASHA": (OTHER, "x")}
    return [Line2D([], [], color=colour, marker=marker, ls="", label=name) for name, (colour, marker) in shown.items()]

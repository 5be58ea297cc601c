"""Pictures of a sweep show every trial that reported, mark the two that matter, and those that were stopped."""

from matplotlib.figure import Figure

from dima_pipeline.distributed.sweep_config import ChoiceConfig, RangeConfig
from dima_pipeline.distributed.sweep_ledger import Trial
from dima_pipeline.distributed.sweep_plots import BEST, DEFAULT, OTHER, draw_parameter, draw_steps

TRIALS = [
    Trial(number=0, values={"rate": 0.1, "kind": "kl"}, reports={4: 5.0, 8: 4.0}, status="finished"),
    Trial(number=1, values={"rate": 0.2, "kind": "cosine"}, reports={4: 6.0}, status="stopped"),
    Trial(number=2, values={"rate": 0.3, "kind": "cosine"}, reports={8: 3.0, 4: 5.5}, status="finished"),
    Trial(number=3, values={"rate": 0.4, "kind": "kl"}, status="failed"),
]


def dots(axes):
    """x, y, colour and marker of all single dots."""
    lines = [line for line in axes.lines if len(line.get_xdata()) == 1]
    return {
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]), line.get_color(), line.get_marker()) for line in lines
    }


def test_each_trial_is_a_line_over_its_steps_in_order():
    axes = Figure().add_subplot()
    draw_steps(axes, TRIALS, best=2)
    lines = {line.get_color(): line.get_xydata().tolist() for line in axes.lines if len(line.get_xdata()) == 2}
    assert lines == {DEFAULT: [[4, 5.0], [8, 4.0]], BEST: [[4, 5.5], [8, 3.0]]}
    assert (4, 6.0, OTHER, "x") in dots(axes)
    assert sorted(text.get_text() for text in axes.texts) == ["0", "1", "2"]


def test_each_trial_is_a_dot_at_its_value():
    axes = Figure().add_subplot()
    draw_parameter(axes, TRIALS, ("rate", RangeConfig(kind="loguniform", low=0.1, high=1)), best=2)
    assert dots(axes) == {(0.1, 4.0, DEFAULT, "o"), (0.2, 6.0, OTHER, "x"), (0.3, 3.0, BEST, "o")}
    assert axes.get_xscale() == "log"


def test_choices_stand_side_by_side():
    axes = Figure().add_subplot()
    draw_parameter(axes, TRIALS, ("kind", ChoiceConfig(kind="choice", values=["kl", "cosine"])), best=2)
    assert {(x, y) for x, y, _, _ in dots(axes)} == {(0, 4.0), (1, 6.0), (1, 3.0)}
    assert [label.get_text() for label in axes.get_xticklabels()] == ["kl", "cosine"]


def test_the_legend_says_when_the_present_configuration_is_the_best():
    axes = Figure().add_subplot()
    draw_steps(axes, TRIALS[:2], best=0)
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert "present configuration, the best" in names and "best" not in names

"""Progress off a terminal: a line every tenth, with what remains."""

from rich.console import Console

from dima_pipeline.pipelines.progress import _Lines


def test_ten_lines_for_a_hundred_steps():
    console = Console(record=True, width=100, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    report = _Lines("Drawing", console)
    for done in range(101):
        report(done, 100)
    lines = console.export_text().splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("Drawing: 10 of 100, about ")

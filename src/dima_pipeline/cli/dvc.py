"""``dima dvc``: write ``dvc.yaml`` of every environment from Kedro's graph, or say which one is stale."""

import click

from dima_pipeline.cli.errors import clear_errors, kedro_errors
from dima_pipeline.cli.project import required_root


@click.command("dvc")
@click.option(
    "--check", "is_check", is_flag=True, help="Write nothing; fail where a file is not what would be written."
)
def dvc_command(is_check: bool) -> None:
    """Render dvc.yaml and dvc/ENVIRONMENT/dvc.yaml from the pipelines, the catalog and conf/."""
    clear_errors(_render, kedro_errors())(is_check)


def _render(is_check: bool) -> None:
    from dima_pipeline.pipelines.dvc_stages import render_project

    root = required_root()
    texts = render_project(root)
    stale = [path for path, text in texts.items() if not path.is_file() or path.read_text() != text]
    names = ", ".join(path.relative_to(root).as_posix() for path in stale)
    if stale and is_check:
        raise ValueError(f"stale: {names}; `make dvc` renders what the pipelines, the catalog and conf/ say now")
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(texts[path])
    click.echo(f"wrote {names}" if stale else f"{len(texts)} files are up to date")

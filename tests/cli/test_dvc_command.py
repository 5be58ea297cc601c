"""``dima dvc``: stale files are written, or named."""

import pytest
from click.testing import CliRunner

from dima_pipeline.cli import main
from dima_pipeline.pipelines import dvc_stages


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A Kedro project whose graph says ``stages: {}`` for two environments."""
    (tmp_path / "pyproject.toml").write_text("[tool.kedro]\n")
    texts = {tmp_path / "dvc.yaml": "stages: {}\n", tmp_path / "dvc" / "fleet" / "dvc.yaml": "stages: {}\n"}
    monkeypatch.setattr(dvc_stages, "render_project", lambda root: texts)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_is_missing_or_stale_is_written_and_the_rest_left_alone(project):
    (project / "dvc.yaml").write_text("old\n")
    assert CliRunner().invoke(main, ["dvc"]).output == "wrote dvc.yaml, dvc/fleet/dvc.yaml\n"
    assert (project / "dvc.yaml").read_text() == (project / "dvc/fleet/dvc.yaml").read_text() == "stages: {}\n"
    assert CliRunner().invoke(main, ["dvc"]).output == "2 files are up to date\n"


def test_a_check_names_what_is_stale_and_writes_nothing(project):
    assert CliRunner().invoke(main, ["dvc"]).exit_code == 0
    assert CliRunner().invoke(main, ["dvc", "--check"]).exit_code == 0
    (project / "dvc/fleet/dvc.yaml").write_text("old\n")
    result = CliRunner().invoke(main, ["dvc", "--check"])
    assert result.exit_code == 1
    assert "stale: dvc/fleet/dvc.yaml; `make dvc`" in result.output
    assert (project / "dvc/fleet/dvc.yaml").read_text() == "old\n"


def test_outside_of_a_project_it_says_where_to_go(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["dvc"])
    assert result.exit_code == 1
    assert "run this where pyproject.toml and conf/ are" in result.output

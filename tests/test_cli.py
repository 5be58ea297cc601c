"""The command line: what a user got wrong is one message, what we got wrong keeps its traceback."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from dima_pipeline.cli import clear_errors, main
from dima_pipeline.storage.manifest import write_manifest


def test_an_expected_error_is_a_message_and_exit_status_1(capsys):
    def fails():
        raise ValueError("table scene.json is cut short")

    with pytest.raises(SystemExit) as caught:
        clear_errors(fails, (ValueError,))()
    assert caught.value.code == 1
    text = capsys.readouterr().err
    assert "Error: table scene.json is cut short" in text
    assert "Traceback" not in text


def test_an_unexpected_error_is_not_hidden():
    def fails():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        clear_errors(fails, (ValueError,))()


def test_the_traceback_can_be_asked_for(monkeypatch):
    monkeypatch.setenv("DIMA_TRACEBACK", "1")

    def fails():
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        clear_errors(fails, (ValueError,))()


def test_verify_names_a_changed_file(tmp_path):
    (tmp_path / "w").write_text("1")
    write_manifest(tmp_path)
    assert "1 files are whole" in CliRunner().invoke(main, ["verify", str(tmp_path)]).output
    (tmp_path / "w").write_text("2")
    result = CliRunner().invoke(main, ["verify", str(tmp_path)])
    assert result.exit_code == 1
    assert "w is not what was written" in result.output


def test_dima_starts_without_kedro_and_pandas():
    code = (
        "import sys; sys.modules['kedro'] = None; sys.modules['pandas'] = None; sys.argv = ['dima', '--version'];"
        "from dima_pipeline.cli import main; main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "0.1.0" in result.stdout

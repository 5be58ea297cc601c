"""One process at a time: who comes second is told, who died holds nobody up."""

import subprocess
import sys

import pytest

from dima_pipeline.storage.lock import BusyError, exclusive

HOLD = "import sys, time; from dima_pipeline.storage.lock import exclusive; from pathlib import Path\n" + (
    "with exclusive(Path(sys.argv[1]), 'waits'): print('held', flush=True); time.sleep(60)"
)


def test_the_second_is_told_what_the_first_does_and_a_dead_one_holds_nothing(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with (
            pytest.raises(BusyError, match=r"another process sleeps in .*wait for it or end it"),
            exclusive(tmp_path, "sleeps"),
        ):
            pytest.fail("two at a time")
        other.kill()
    with exclusive(tmp_path, "sleeps", patience_s=5):
        pass


def test_a_folder_that_is_not_there_yet_is_made(tmp_path):
    with exclusive(tmp_path / "new" / "folder", "works"):
        assert (tmp_path / "new" / "folder").is_dir()

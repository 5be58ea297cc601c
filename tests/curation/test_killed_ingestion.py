"""``kill -9`` in the middle of an ingestion: the next run takes up what was finished, and ends with the same bytes."""

import random
import time
from pathlib import Path

import pytest

from ingestion_runs import SCENES, finished_steps, kill_after, published, start, until_first_step
from nuscenes_root import make_root

NUM_KILLS = 20


@pytest.fixture(scope="module")
def many_scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a dozen scenes."""
    return make_root(tmp_path_factory.mktemp("many") / "root", SCENES)


def unbroken(root: Path, folder: Path) -> tuple[dict[str, str], float]:
    """What an ingestion that nobody kills publishes, and how long it works after its first finished step (s)."""
    process = start(root, folder)
    started_s = until_first_step(folder)
    assert process.wait() == 0, process.stderr.read().decode()
    return published(folder), time.monotonic() - started_s


def check_resumed(root: Path, folder: Path, expected: dict[str, str]) -> None:
    """Run to the end: the bytes of the unbroken run, and nothing was done twice that had been finished."""
    before = finished_steps(folder)
    process = start(root, folder)
    assert process.wait() == 0, process.stderr.read().decode()
    assert published(folder) == expected
    after = finished_steps(folder)
    assert before.items() <= after.items(), "a finished step was done again"
    assert len(after) == 2 * len(SCENES)
    assert not list(folder.rglob("*.partial")), "what the killed run left half-written is still there"


def test_a_killed_ingestion_is_taken_up_where_it_ended(many_scenes: Path, tmp_path: Path) -> None:
    expected, seconds = unbroken(many_scenes, tmp_path / "unbroken")
    assert kill_after(many_scenes, tmp_path / "killed", 0.4 * seconds)
    assert 0 < len(finished_steps(tmp_path / "killed")) < 2 * len(SCENES)
    check_resumed(many_scenes, tmp_path / "killed", expected)


@pytest.mark.slow
def test_twenty_kills_at_random_points_change_nothing(many_scenes: Path, tmp_path: Path) -> None:
    expected, seconds = unbroken(many_scenes, tmp_path / "unbroken")
    rng = random.Random(0)
    num_at_work = 0
    for number in range(NUM_KILLS):
        folder = tmp_path / str(number)
        num_at_work += kill_after(many_scenes, folder, rng.uniform(0, seconds))
        check_resumed(many_scenes, folder, expected)
    assert num_at_work > NUM_KILLS / 2

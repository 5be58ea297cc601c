"""A bundle plans without torch, and refuses what it was not made for."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dima_pipeline.contracts.batch import SceneBatch, take
from dima_pipeline.serving.bundle import CARD, KIND, MODEL, PlannerBundle
from dima_pipeline.storage.manifest import write_manifest
from planner_bundles import IMAGE_SIZE, exported
from scene_batches import make_scene_batch

HEAVY = ("torch", "transformers", "peft", "ray", "kedro", "pandas", "pandera", "scipy", "safetensors", "onnx")

PLAN_WITHOUT = """
import sys
from pathlib import Path

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocker())
import numpy as np
from dima_pipeline.contracts.batch import SceneBatch
from dima_pipeline.serving.bundle import PlannerBundle

arrays = dict(np.load({batch!r}, allow_pickle=False))
bundle = PlannerBundle.load(Path({bundle!r}))
plan, memory = bundle.plan(SceneBatch(**arrays), None)
plan, memory = bundle.plan(SceneBatch(**arrays), memory)
np.save({out!r}, plan.trajectory, allow_pickle=False)
"""


@pytest.fixture
def bundle_dir(tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported("vad")[1], tmp_path / "bundle"))


@pytest.fixture(scope="module")
def bundle() -> PlannerBundle:
    return PlannerBundle.load(exported("vad")[1])


@pytest.fixture
def batch() -> SceneBatch:
    return make_scene_batch(np.random.default_rng(0), 3, IMAGE_SIZE)


def rewrite_card(directory: Path, **changes: object) -> None:
    card = json.loads((directory / CARD).read_text())
    (directory / CARD).write_text(json.dumps(card | changes))
    write_manifest(directory, kind=KIND)


def test_a_bundle_plans_with_every_heavy_library_blocked(
    bundle: PlannerBundle, batch: SceneBatch, tmp_path: Path
) -> None:
    np.savez(tmp_path / "batch.npz", **vars(batch))
    code = PLAN_WITHOUT.format(
        blocked=HEAVY,
        batch=str(tmp_path / "batch.npz"),
        bundle=str(exported("vad")[1]),
        out=str(tmp_path / "plan.npy"),
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _, memory = bundle.plan(batch, None)
    expected, _ = bundle.plan(batch, memory)
    np.testing.assert_allclose(np.load(tmp_path / "plan.npy"), expected.trajectory, atol=1e-5)


def test_the_batch_may_have_any_size(bundle: PlannerBundle, batch: SceneBatch) -> None:
    together, _ = bundle.plan(batch)
    for index in range(3):
        alone, memory = bundle.plan(take(batch, slice(index, index + 1)))
        np.testing.assert_allclose(alone.trajectory[0], together.trajectory[index], atol=1e-4)
        assert memory.is_valid.tolist() == [True]


def test_no_memory_is_a_reset_memory(bundle: PlannerBundle, batch: SceneBatch) -> None:
    first, memory = bundle.plan(batch, None)
    again, _ = bundle.plan(batch, bundle.reset(3))
    second, _ = bundle.plan(batch, memory)
    np.testing.assert_array_equal(first.trajectory, again.trajectory)
    assert np.abs(second.features - first.features).max() > 1e-4


def test_more_threads_plan_the_same(bundle: PlannerBundle, batch: SceneBatch) -> None:
    threaded = PlannerBundle.load(exported("vad")[1], num_threads=2)
    np.testing.assert_allclose(threaded.plan(batch)[0].trajectory, bundle.plan(batch)[0].trajectory, atol=1e-4)


def test_images_of_another_size_are_refused(bundle: PlannerBundle, batch: SceneBatch) -> None:
    with pytest.raises(ValueError, match=r"images of shape \(3, 6, 32, 48, 3\)"):
        bundle.plan(replace(batch, images=batch.images[:, :, :16]))


def test_the_memory_of_another_batch_is_refused(bundle: PlannerBundle, batch: SceneBatch) -> None:
    with pytest.raises(ValueError, match="memory of shape"):
        bundle.plan(batch, bundle.reset(2))


def test_an_unknown_command_is_refused(bundle: PlannerBundle, batch: SceneBatch) -> None:
    with pytest.raises(ValueError, match="no command"):
        bundle.plan(replace(batch, command=np.array([0, 1, 7])))


def test_an_altered_model_is_refused(bundle_dir: Path) -> None:
    content = bytearray((bundle_dir / MODEL).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle_dir / MODEL).write_bytes(content)
    with pytest.raises(ValueError, match=MODEL):
        PlannerBundle.load(bundle_dir)


def test_a_directory_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    write_manifest(tmp_path, kind="images")
    with pytest.raises(ValueError, match=r"'images'.*planner_bundle"):
        PlannerBundle.load(tmp_path)
    write_manifest(tmp_path, kind=KIND)
    with pytest.raises(ValueError, match=r"lacks card\.json"):
        PlannerBundle.load(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"), [("contract_version", 0), ("cameras", ["CAM_BACK"]), ("commands", ["straight", "left"])]
)
def test_a_card_with_other_conventions_is_refused(bundle_dir: Path, key: str, value: object) -> None:
    rewrite_card(bundle_dir, **{key: value})
    with pytest.raises(ValueError, match=key):
        PlannerBundle.load(bundle_dir)

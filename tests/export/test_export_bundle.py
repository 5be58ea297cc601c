"""What a bundle says of itself, and what must not be in it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from dima_pipeline.export.bundle import Provenance, check_parity, export_planner, load_planner
from dima_pipeline.export.graph import check_size, quiet, refuse_teacher
from dima_pipeline.planners import PLANNERS
from dima_pipeline.serving.bundle import CARD, MODEL, WEIGHTS
from dima_pipeline.storage.manifest import digest, verify
from planner_bundles import IMAGE_SIZE, exported, fresh_planner
from scene_batches import make_scene_batch


@pytest.fixture(scope="module")
def bundle_dir() -> Path:
    return exported("vad")[1]


def with_adapter(planner: Any) -> Any:
    """A planner that smuggles a module of an LLM adapter."""
    smuggled = type("LoraLayer", (nn.Linear,), {"__module__": "peft.tuners.lora"})
    planner.smuggled = smuggled(2, 2)
    return planner


def test_the_card_tells_what_a_user_must_keep_to(bundle_dir: Path) -> None:
    card = json.loads((bundle_dir / CARD).read_text())
    assert card["image_size"] == list(IMAGE_SIZE)
    assert card["cameras"][0] == "CAM_FRONT"
    assert card["commands"] == ["left", "right", "straight", "unknown"]
    assert card["planner"]["name"] == "vad"
    assert card["licence"] == "Apache-2.0"
    assert card["training"] == {"run": "untrained"}
    assert card["opset"] >= 18
    assert card["sha256"] == {name: digest(bundle_dir / name) for name in (MODEL, WEIGHTS)}
    assert verify(bundle_dir)["kind"] == "planner_bundle"


def test_the_onnx_file_names_no_source_file(bundle_dir: Path) -> None:
    content = (bundle_dir / MODEL).read_bytes()
    assert b"stack_trace" not in content
    assert b".py" not in content


def test_only_the_batch_is_dynamic(bundle_dir: Path) -> None:
    model = onnx.load(bundle_dir / MODEL)
    shapes = {
        node.name: [d.dim_param or d.dim_value for d in node.type.tensor_type.shape.dim] for node in model.graph.input
    }
    assert shapes["images"] == ["batch", 6, *IMAGE_SIZE, 3]
    assert shapes["command"] == ["batch"]
    assert not [node.op_type for node in model.graph.node if node.op_type in ("NonZero", "Loop", "If")]


def test_the_weights_rebuild_the_planner(bundle_dir: Path) -> None:
    planner, _ = exported("vad")
    rebuilt, config = load_planner(bundle_dir)
    assert config == PLANNERS.parse("vad")
    for name, tensor in planner.state_dict().items():
        torch.testing.assert_close(rebuilt.state_dict()[name], tensor, atol=0, rtol=0)


def test_parity_notices_a_planner_that_is_not_the_exported_one(bundle_dir: Path) -> None:
    frames = [make_scene_batch(np.random.default_rng(seed), 1, IMAGE_SIZE) for seed in range(2)]
    assert check_parity(fresh_planner("vad", seed=1), bundle_dir, frames) > 1e-2


def test_a_planner_with_a_piece_of_an_llm_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    planner = with_adapter(fresh_planner("vad"))
    provenance = Provenance(licence="Apache-2.0", training={})
    with pytest.raises(ValueError, match=r"'smuggled' is a peft\.tuners\.lora\.LoraLayer"):
        export_planner(
            planner, PLANNERS.parse("vad"), tmp_path / "bundle", image_size=IMAGE_SIZE, provenance=provenance
        )
    assert not list(tmp_path.iterdir())


def test_a_plain_planner_is_not_refused() -> None:
    refuse_teacher(fresh_planner("vad"))


def test_a_graph_with_more_numbers_than_its_planner_is_noticed(bundle_dir: Path, tmp_path: Path) -> None:
    planner, _ = exported("vad")
    check_size(planner, bundle_dir / MODEL)
    model = onnx.load(bundle_dir / MODEL)
    extra = onnx.numpy_helper.from_array(np.zeros(500_000, np.float32), "extra")
    model.graph.initializer.append(extra)
    onnx.save(model, tmp_path / MODEL)
    with pytest.raises(AssertionError, match="numbers"):
        check_size(planner, tmp_path / MODEL)


def test_exporter_logging_is_restored_even_after_an_error() -> None:
    import logging

    logger = logging.getLogger("torch.onnx")
    before = logger.level
    with pytest.raises(RuntimeError), quiet():
        assert logger.level == logging.ERROR
        raise RuntimeError
    assert logger.level == before

"""Gradient checkpointing: layers recomputed, questions packed behind their scene, and every number the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import modeling_utils

from dima_pipeline.teachers._language_model import pack
from teaching_cases import make_beam, make_pair, tiny_teacher
from tiny_vision_models import save_tiny

KINDS = ("llama", "llava", "qwen2_vl")


@pytest.fixture(scope="module", params=KINDS)
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param)
    save_tiny(request.param, path)
    return path


def loss_and_gradients(teacher: Any, pairs: list[Any]) -> tuple[Any, torch.Tensor, dict[str, torch.Tensor]]:
    """Outputs, and gradients of a loss that everything has a part in."""
    beam = make_beam()
    answer = teacher(beam, teacher.tokenize(pairs))
    features = [getattr(answer, name).sin().mean() for name in ("bev", "ego", "agent", "map")]
    loss = answer.language_loss + answer.trajectory.square().mean() + torch.stack(features).sum()
    loss.backward()
    gradients = {name: p.grad for name, p in teacher.named_parameters() if p.grad is not None}
    return answer, loss.detach(), {**gradients, "beam": beam.bev.grad}


def test_losses_features_and_gradients_are_those_without_it(directory: Path) -> None:
    # Two questions a scene of different lengths, one of them none.
    pairs = [make_pair(0), make_pair(1), None, make_pair(2), make_pair(1), make_pair(0)]
    options = {"checkpoint": str(directory), "lora_dropout": 0.0}
    plain, saving = (tiny_teacher(**options).train() for _ in range(2))
    saving.language_model.checkpoint_gradients()
    first, loss, gradients = loss_and_gradients(plain, pairs)
    second, same_loss, same_gradients = loss_and_gradients(saving, pairs)
    assert torch.allclose(loss, same_loss, atol=1e-5)
    for name in ("bev", "ego", "agent", "map", "trajectory", "ego_features", "language_loss"):
        assert torch.allclose(getattr(first, name), getattr(second, name), atol=1e-5), name
    assert first.language_accuracy == second.language_accuracy and gradients.keys() == same_gradients.keys()
    for name, gradient in gradients.items():
        error = (gradient - same_gradients[name]).abs().max()
        assert error <= 1e-5 * gradient.abs().max() + 1e-6, name


def test_layers_are_recomputed_in_training_and_only_there(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, beam = tiny_teacher(checkpoint=str(directory)), make_beam()
    calls, real = [], modeling_utils.checkpoint
    monkeypatch.setattr(modeling_utils, "checkpoint", lambda *a, **k: calls.append(1) or real(*a, **k))
    teacher.language_model.checkpoint_gradients()
    text = teacher.tokenize([make_pair(i) for i in range(3)])
    teacher.train()(beam, text)
    assert len(calls) == 3, "one a layer"
    teacher.eval()(beam, text)
    assert len(calls) == 3


@settings(max_examples=40, deadline=None)
@given(
    scene=st.integers(1, 4),
    lengths=st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=2), min_size=1, max_size=2),
)
def test_a_text_sees_its_scene_and_its_own_past(scene: int, lengths: list[list[int]]) -> None:
    longest = 3
    attended = torch.tensor([[[i < length for i in range(longest)] for length in row] for row in lengths])
    mask, positions = pack(scene, attended)
    for sample, row in enumerate(lengths):
        for i in range(scene + 2 * longest):
            place = i if i < scene else scene + (i - scene) % longest
            assert positions[sample, i] == place
            for j in range(scene + 2 * longest):
                is_word = j >= scene and (j - scene) % longest < row[(j - scene) // longest]
                is_same_text = i >= scene and j >= scene and (i - scene) // longest == (j - scene) // longest
                expected = j <= i and (j < scene or (is_same_text and is_word))
                assert bool(mask[sample, i, j]) == (expected or i == j), (sample, i, j)

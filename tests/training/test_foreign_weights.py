"""Weights into a module: what fits is copied, what differs is named, and a refused file changes nothing."""

import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from dima_pipeline.training.foreign_weights import load_weights


def model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def values(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def unchanged(module, before):
    return all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_all_is_copied_and_the_facts_come_along(tmp_path):
    path, source, target = tmp_path / "w.safetensors", model(1), model(2)
    save_file(values(source), path, metadata={"dima_import": json.dumps({"licence": "MIT"})})
    loaded = load_weights(target, path, strict=True)
    assert unchanged(target, values(source))
    assert loaded.facts == {"licence": "MIT"} and len(loaded.filled) == 7
    assert loaded.summary() == f"{path} fills 7 of 7 tensors"


def test_what_differs_is_named_and_what_fits_is_copied(tmp_path):
    path, target = tmp_path / "w.safetensors", model()
    before = values(target)
    file = {
        "0.weight": torch.full((3, 2), 2.0, dtype=torch.float16),
        "0.bias": torch.zeros(4),
        "1.num_batches_tracked": torch.tensor(1.0),
        "1.bias": torch.tensor([1.0, float("nan"), float("inf")]),
        "neck.weight": torch.zeros(1),
    }
    save_file(file, path)
    loaded = load_weights(target, path, strict=False)
    assert loaded.filled == ("0.weight", "1.bias")
    assert loaded.missing == ("1.running_mean", "1.running_var", "1.weight")
    assert loaded.unexpected == ("neck.weight",)
    assert loaded.differing == ("0.bias (shape [4] for [3])", "1.num_batches_tracked (torch.float32 for torch.int64)")
    assert loaded.not_finite == {"1.bias": 2} and loaded.facts == {}
    assert target[0].weight.dtype == torch.float32 and torch.equal(target[0].weight, torch.full((3, 2), 2.0))
    assert torch.equal(target[0].bias, before["0.bias"])
    for words in ("fills 2 of 7", "missing in the file: 1.running_mean", "neck.weight", "not finite: 1.bias"):
        assert words in loaded.summary()


@pytest.mark.parametrize("odd", ["missing", "unexpected", "shape"])
def test_strict_refuses_any_difference_and_leaves_the_module(tmp_path, odd):
    path, target = tmp_path / "w.safetensors", model(2)
    before, file = values(target), values(model(1))
    if odd == "missing":
        del file["1.bias"]
    else:
        file["extra" if odd == "unexpected" else "1.bias"] = torch.zeros(9)
    save_file(file, path)
    with pytest.raises(ValueError, match=r"extra|1\.bias") as caught:
        load_weights(target, path, strict=True)
    assert str(path) in str(caught.value) and unchanged(target, before)


def test_a_file_of_which_nothing_fits_is_refused_though_not_strict(tmp_path):
    path, target = tmp_path / "w.safetensors", model()
    save_file({"img_backbone.conv1.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="nothing of it fits this model"):
        load_weights(target, path, strict=False)


@pytest.mark.parametrize("content", [b"", b"\x80\x02}q\x00.", b"\xff" * 64, None])
def test_a_damaged_or_missing_file_is_named(tmp_path, content):
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="no safetensors file, or a damaged one") as caught:
        load_weights(model(), path, strict=False)
    assert str(path) in str(caught.value)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), st.integers(8, 200))
def test_a_file_cut_short_anywhere_or_with_a_broken_head_never_changes_the_module(tmp_path, place, keep):
    path, target = tmp_path / "w.safetensors", model(2)
    before = values(target)
    save_file(values(model(1)), path)
    content = path.read_bytes()
    path.write_bytes(content[: min(keep + place % 100, len(content) - 1)])
    with pytest.raises(ValueError, match="damaged"):
        load_weights(target, path, strict=False)
    assert unchanged(target, before)

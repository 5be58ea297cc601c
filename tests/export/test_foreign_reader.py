"""What the reading process does with a file, in this process and without its limits: our own files alone."""

import io
import json
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save
from torch import nn

from dima_pipeline.export.foreign_reader import FACTS, TENSORS, RefusedError, convert, limit, own_values
from foreign_files import same

MB = 10**6


def read(content, **options):
    """Tensors and facts of what ``torch.save`` makes of ``content``."""
    file = io.BytesIO()
    torch.save(content, file, **options)
    file.seek(0)
    convert(file, MB)
    return load_file(TENSORS), json.loads(Path(FACTS).read_text())


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


STATE = {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.bias": torch.tensor([1.0, 2.0])}


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (STATE, []),
        (OrderedDict(STATE), []),
        ({"state_dict": STATE, "meta": {"epoch": 3}}, ["state_dict"]),
        ({"epoch": 3, "model": STATE}, ["model"]),
        ({"model": {"state_dict": STATE}}, ["model", "state_dict"]),
        ({"model_state_dict": STATE, "loss": 0.5}, ["model_state_dict"]),
    ],
)
def test_the_weights_are_found_wherever_others_keep_them(content, path):
    tensors, facts = read(content)
    assert same(tensors, STATE)
    assert facts["path"] == path


def test_the_old_format_without_a_zip_is_read_too():
    assert same(read({"state_dict": STATE}, _use_new_zipfile_serialization=False)[0], STATE)


def test_safetensors_are_taken_as_they_are():
    convert(io.BytesIO(save(STATE)), MB)
    assert same(load_file(TENSORS), STATE)


def test_what_lies_beside_the_weights_is_named_with_the_reason():
    content = {
        "state_dict": STATE,
        "optimizer": {"state": {}},
        "meta": {"epoch": 1, "t": torch.zeros(1)},
        "epoch": 7,
        3: None,
    }
    assert read(content)[1]["skipped"] == [
        ["optimizer", "optimiser state: 1 entries, 0 of them tensors"],
        ["meta", "beside the weights: 2 entries, 1 of them tensors"],
        ["epoch", "beside the weights: int"],
        ["3", "beside the weights: NoneType"],
    ]


def test_a_prefix_of_all_names_that_wraps_the_model_is_taken_off_and_no_other():
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in STATE.items()}
    tensors, facts = read(wrapped)
    assert same(tensors, STATE)
    assert facts["wrapper"] == "module._orig_mod."
    half = {"module.a": torch.zeros(1), "b": torch.zeros(1)}
    assert list(read(half)[1]["order"]) == ["module.a", "b"]


def test_what_is_no_plain_tensor_is_skipped_with_the_reason():
    state = {
        **STATE,
        "version": "1.0",
        "steps": 4,
        7: torch.zeros(1),
        "bad\x1b[31mname": torch.zeros(1),
        "=cmd": torch.zeros(1),
        "sparse": torch.eye(2).to_sparse(),
        "meta": torch.zeros(2, device="meta"),
        "complex": torch.zeros(2, dtype=torch.complex64),
    }
    tensors, facts = read(state)
    assert same(tensors, STATE)
    reasons = dict(facts["skipped"])
    assert reasons["version"] == "no tensor: str" and reasons["steps"] == "no tensor: int"
    assert reasons["7"] == reasons["=cmd"] == "its name cannot be that of a tensor"
    assert "'bad\\x1b[31mname'" in reasons
    assert "sparse" in reasons["sparse"] and "meta" in reasons["meta"] and "complex64" in reasons["complex"]


def test_every_kind_of_number_keeps_its_bits():
    numbers = {
        str(dtype).removeprefix("torch."): torch.tensor([0, 1, 3]).to(dtype)
        for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.int64, torch.uint8, torch.bool)
    }
    odd = {
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "nan": torch.tensor([float("nan"), 1.0, float("inf")]),
        "parameter": nn.Parameter(torch.ones(2)),
    }
    tensors, _ = read({**numbers, **odd})
    assert same(tensors, {**numbers, **odd, "parameter": torch.ones(2)})


def test_tensors_that_share_memory_come_back_each_with_its_own():
    base = torch.arange(12.0).reshape(3, 4)
    state = {"all": base, "again": base, "row": base[1], "column": base[:, 1], "turned": base.T}
    assert same(read(state)[0], {name: tensor.clone() for name, tensor in state.items()})
    plain = own_values(state)
    assert len({tensor.untyped_storage().data_ptr() for tensor in plain.values()}) == 5
    assert all(tensor.untyped_storage().nbytes() == tensor.nbytes for tensor in plain.values())


def test_a_few_bytes_that_declare_terabytes_are_refused_by_name():
    with pytest.raises(RefusedError, match=r"'huge' of shape \[1000000, 1000000\] .* 4000\.0 GB"):
        read({"a": torch.zeros(1), "huge": torch.zeros(1).expand(10**6, 10**6)})


def test_many_tensors_that_are_too_large_together_are_refused():
    part = torch.zeros(1).expand(100_000)
    with pytest.raises(RefusedError, match="'part2'"):
        read({f"part{place}": part for place in range(4)})


@pytest.mark.parametrize(
    ("content", "held"), [([1, 2], "list"), ({"a": 1, "b": "x"}, "a, b"), ({}, "nothing"), (3, "int")]
)
def test_what_is_no_checkpoint_is_refused_with_what_it_holds(content, held):
    with pytest.raises(RefusedError, match=f"no mapping of names to tensors .* but {held}"):
        read(content)


def test_a_mapping_that_holds_itself_ends():
    circle: dict = {"a": 1}
    circle["state_dict"] = circle
    with pytest.raises(RefusedError, match="no checkpoint"):
        read(circle)


def test_limits_are_set_on_top_of_what_is_taken(monkeypatch):
    import resource

    wanted = {}
    monkeypatch.setattr(resource, "getrlimit", lambda which: (0, 300 * MB if which == resource.RLIMIT_FSIZE else -1))
    monkeypatch.setattr(resource, "setrlimit", wanted.__setitem__)
    limit(500 * MB, 9)
    soft, hard = wanted[resource.RLIMIT_CPU]
    assert 9 < soft < hard
    assert wanted[resource.RLIMIT_AS][0] > 500 * MB
    assert wanted[resource.RLIMIT_FSIZE] == (300 * MB, 300 * MB), "a lower limit of the machine stays"
    assert wanted[resource.RLIMIT_CORE] == (0, 0)


names = st.lists(st.text("abc_0", min_size=1, max_size=4), min_size=1, max_size=4).map(".".join)
dtypes = st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.float64])
shapes = st.lists(st.integers(0, 3), max_size=3)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names, st.tuples(shapes, dtypes), min_size=1, max_size=8), st.booleans(), st.booleans())
def test_any_state_dict_comes_back_as_it_was(described, is_zip, is_wrapped):
    state = {
        name: (torch.arange(int(torch.Size(shape).numel())) % 3).reshape(shape).to(dtype)
        for name, (shape, dtype) in described.items()
    }
    sent = {f"module.{name}": tensor for name, tensor in state.items()} if is_wrapped else state
    tensors, facts = read({"state_dict": sent}, _use_new_zipfile_serialization=is_zip)
    assert same(tensors, state)
    assert facts["order"] == list(state)

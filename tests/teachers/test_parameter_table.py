"""The table of parameters that ``benchmarks/parameters.py`` prints, against plain sums over the same models."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "parameters.py"


@pytest.fixture(scope="module")
def table() -> Any:
    spec = importlib.util.spec_from_file_location("parameters", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("size", "teacher"), [("tiny_cpu", "tiny"), ("vad_tiny", "llava-1.5-7b")])
def test_every_parameter_stands_in_one_row_and_none_has_memory(table: Any, size: str, teacher: str) -> None:
    parts = table.build_parts(size, teacher)
    everything = [p for module in parts.values() for p in module.parameters()]
    assert {p.device.type for p in everything} == {"meta"}
    trained = sum(p.numel() for p in everything if p.requires_grad)
    frozen = sum(p.numel() for p in everything if not p.requires_grad)
    rows = table.count(parts)
    assert table.totals(rows) == (trained, frozen)
    assert sum(table.totals(rows, owner)[0] for owner in parts) == trained
    text = "\n".join(table.lines("a x b", rows))
    assert f"| **everything** | {trained:,} | {frozen:,} |" in text


def test_of_a_pretrained_base_only_lora_and_what_reads_the_scene_train(table: Any) -> None:
    rows = table.count(table.build_parts("tiny_cpu", "llava-1.5-7b"))
    assert rows["teacher: language model"] == (0, 6_738_939_904), "Llama-2-7B with 64 words more"
    assert rows["teacher: LoRA"][1] == 0 < rows["teacher: LoRA"][0]
    assert all(rows[f"teacher: Q-Former {name}"][0] > 0 for name in ("bev", "ego", "agent", "map"))


def test_shared_weights_count_once_and_frozen_ones_apart(table: Any) -> None:
    with torch.device("meta"):
        first = nn.Linear(3, 2, bias=False)
        module = nn.Module()
        module.first, module.second, module.norm = first, first, nn.LayerNorm(5)
    module.norm.requires_grad_(False)
    assert table.count({"planner": module}) == {"planner: first": (6, 0), "planner: norm": (0, 10)}

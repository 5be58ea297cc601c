"""How many parameters each part has, trainable and frozen, for each size of the planner and each teacher.

``python benchmarks/parameters.py [--planner vad_tiny ...] [--teacher llava-1.5-7b ...]``. All is built on torch's
meta device: the table of a model of seven billion weights takes seconds and no memory.
"""

import argparse
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from dima_pipeline.planners import PLANNERS
from dima_pipeline.surrogates import SURROGATES
from dima_pipeline.teachers import TEACHERS

IMAGE_SIZES = {"tiny_cpu": (96, 160), "vad_tiny": (384, 640), "vad_base": (736, 1280)}
LARGE: dict[str, Any] = {
    "is_base_trained": False,
    "dtype": "bfloat16",
    "lora_rank": 128,
    "lora_dropout": 0.05,
    "num_bev_queries": 100,
    "num_agent_queries": 64,
    "num_map_queries": 32,
    "adapter_dim": 1024,
    "adapter_heads": 8,
    "ego_adapter": "qformer",
}
"""LLaVA's recipe of LoRA; the paper does not say how large its Q-Formers are."""
TEACHERS_BY_NAME: dict[str, dict[str, Any]] = {
    "tiny": {"num_layers": 2, "num_bev_queries": 16, "num_agent_queries": 8, "num_map_queries": 4, "adapter_depth": 1},
    "llava-1.5-7b": {
        **LARGE,
        "base": {
            "model_type": "llava",
            "text_config": {"model_type": "llama", "vocab_size": 32064, "max_position_embeddings": 4096},
        },
    },
    "qwen2.5-vl-3b": {
        **LARGE,
        "base": {
            "model_type": "qwen2_5_vl",
            "tie_word_embeddings": True,
            "hidden_size": 2048,
            "intermediate_size": 11008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "vocab_size": 151936,
            "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        },
    },
}
"""Shapes as in the published ``config.json`` files; the weights are never there."""
TEXTS = ("What should the ego do?", "keep going straight")


def build_parts(size: str, teacher: str) -> dict[str, nn.Module]:
    """Planner, teacher and surrogate tasks on the meta device."""
    with torch.device("meta"):
        planner = PLANNERS.build(PLANNERS.parse({"name": "vad", "size": size}), image_size=IMAGE_SIZES[size])
        config = TEACHERS.parse({"name": "causal_lm", **TEACHERS_BY_NAME[teacher]})
        made = TEACHERS.build(config, token_dim=planner.token_dim, feature_dim=planner.feature_dim, texts=TEXTS)
        shape = {"token_dim": planner.token_dim, "bev_shape": planner.bev_shape, "teacher_dim": made.hidden_dim}
        tasks = {name: SURROGATES.build(SURROGATES.parse(name), **shape) for name in SURROGATES.names()}
    return {"planner": planner, "teacher": made, "surrogates": nn.ModuleDict(tasks)}


def part_of(owner: str, name: str) -> str:
    """The row of the table that a parameter counts for."""
    if "lora_" in name:
        return "teacher: LoRA"
    if name.startswith("language_model."):
        return "teacher: language model"
    first, *rest = name.split(".")
    if owner == "teacher" and first == "adapters":
        return f"teacher: Q-Former {rest[0]}"
    return "teacher: markers and heads" if owner == "teacher" else f"{owner}: {first}"


def count(parts: dict[str, nn.Module]) -> dict[str, tuple[int, int]]:
    """Trainable and frozen parameters of each part; weights that two names share count once."""
    rows: dict[str, tuple[int, int]] = {}
    for owner, module in parts.items():
        for name, parameter in module.named_parameters():
            key = part_of(owner, name)
            trained, frozen = rows.get(key, (0, 0))
            number = parameter.numel()
            rows[key] = (trained + number, frozen) if parameter.requires_grad else (trained, frozen + number)
    return rows


def totals(rows: dict[str, tuple[int, int]], owner: str = "") -> tuple[int, int]:
    """Sums over the parts of ``owner``, or over all."""
    chosen = [counts for name, counts in rows.items() if name.startswith(owner)]
    return sum(trained for trained, _ in chosen), sum(frozen for _, frozen in chosen)


def lines(title: str, rows: dict[str, tuple[int, int]]) -> Iterable[str]:
    """The table in Markdown."""
    yield f"| {title} | trainable | frozen |"
    yield "| --- | ---: | ---: |"
    sums = {f"**all of {owner}**": totals(rows, owner) for owner in ("planner", "teacher", "surrogates")}
    for name, (trained, frozen) in {**rows, **sums, "**everything**": totals(rows)}.items():
        yield f"| {name} | {trained:,} | {frozen:,} |"
    yield ""


def main() -> None:
    """Print a table for each pair."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--planner", nargs="+", choices=list(IMAGE_SIZES), default=list(IMAGE_SIZES))
    parser.add_argument("--teacher", nargs="+", choices=list(TEACHERS_BY_NAME), default=list(TEACHERS_BY_NAME))
    options = parser.parse_args()
    for size in options.planner:
        for teacher in options.teacher:
            print("\n".join(lines(f"{size} x {teacher}", count(build_parts(size, teacher)))))


if __name__ == "__main__":
    main()

"""The frozen or random base inside a teacher: a causal LM from a local checkpoint, or of a given shape.

Of a LLaVA or Qwen-VL checkpoint only the language model is read: its tensors are renamed to those of the plain causal
LM that it is (Llama, Qwen2), and the vision tower never leaves the file. Nothing is fetched and no foreign code runs.
"""

import importlib.util
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
)

from dima_pipeline.plugins import unknown
from dima_pipeline.teachers._tokenizer import train_tokenizer

PLAIN_TEXT_TYPES = {"qwen2_vl_text": "qwen2", "qwen2_5_vl_text": "qwen2"}
"""Language models with positions in three axes, which are one and the same where there is no image."""
LANGUAGE_MODEL_NAMES = {
    r"^language_model\.model\.": "model.",
    r"^language_model\.lm_head\.": "lm_head.",
    r"^model\.language_model\.": "model.",
}
"""Names in LLaVA's published files, and those in memory (some files have them); Qwen-VL's are those of a plain LM."""


def open_tokenizer(checkpoint: str | None, texts: Sequence[str], vocab_size: int) -> Any:
    """The checkpoint's own tokenizer, or one trained on ``texts``."""
    if checkpoint is None:
        return train_tokenizer(texts, vocab_size)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            require_checkpoint(checkpoint), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise ValueError(f"the teacher's checkpoint {checkpoint} holds no tokenizer: {error}") from error
    if tokenizer.eos_token_id is None:
        raise ValueError(f"the tokenizer of {checkpoint} has no end-of-sequence token, so no answer would ever end")
    return tokenizer


def require_checkpoint(checkpoint: str) -> Path:
    """The directory of a model; ``ValueError`` where there is none (a hub id is never downloaded)."""
    path = Path(checkpoint).expanduser()
    if not (path / "config.json").is_file():
        raise ValueError(
            f"teacher.checkpoint '{checkpoint}' is no directory of a Hugging Face model: it has no config.json. "
            "Give the path of a local download (hub names are not fetched), or null for a tiny random model"
        )
    return path


def open_base(checkpoint: str, dtype: str, *, load_in_4bit: bool = False) -> nn.Module:
    """The causal language model at (or inside) ``checkpoint``, from safetensors only.

    Raises ``ValueError`` for a path without a model, another file format, a model that needs code of its own, an
    unknown class, weights that are missing, and for 4 bits without bitsandbytes.
    """
    path = require_checkpoint(checkpoint)
    config = language_config(read_config(path))
    _require_safetensors(path)
    options = {"quantization_config": _four_bits()} if load_in_4bit else {}
    try:
        with _without_load_report():
            found: Any = AutoModelForCausalLM.from_pretrained(
                path,
                config=config,
                key_mapping=LANGUAGE_MODEL_NAMES,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=getattr(torch, dtype),
                output_loading_info=True,
                **options,
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"the teacher's checkpoint {checkpoint} cannot be read: {error}") from error
    model, loading = found
    _check_loading(checkpoint, **{key: sorted(loading[key]) for key in ("missing_keys", "unexpected_keys")})
    return model


@contextmanager
def _without_load_report() -> Iterator[None]:
    """The library lists the vision tower as unexpected; what must not be missing is checked by ``_check_loading``."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _check_loading(checkpoint: str, missing_keys: list[str], unexpected_keys: list[str]) -> None:
    """``ValueError`` where a weight would stay random, or where the file has more layers than the configuration."""
    more = [key for key in unexpected_keys if key.startswith("model.layers.") and "rotary_emb" not in key]
    for keys, words in ((missing_keys, "lacks"), (more, "has, against its config.json,")):
        if keys:
            raise ValueError(f"the teacher's checkpoint {checkpoint} {words} {len(keys)} weights, such as {keys[:3]}")


def shaped_base(shape: str | Mapping[str, Any], dtype: str, *, vocab_size: int) -> nn.Module:
    """A random model of ``shape``: the mapping in a Hugging Face ``config.json``, or the path of one.

    Of a LLaVA or Qwen-VL shape the language model is built. On torch's meta device nothing is allocated. Raises
    ``ValueError`` where the model knows fewer words than the tokenizer's ``vocab_size``.
    """
    if isinstance(shape, str):
        path = Path(shape).expanduser()
        if not path.is_file():
            raise ValueError(f"teacher.base '{shape}' is no file: give the path of a config.json, or its content")
        options = json.loads(path.read_text())
    else:
        options = dict(shape)
    config = language_config(_parsed(options, "teacher.base"))
    if config.vocab_size < vocab_size:
        raise ValueError(
            f"teacher.base knows {config.vocab_size} words, the tokenizer has {vocab_size}: lower vocab_size"
        )
    return AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))


def tiny_llama(
    tokenizer: Any, *, hidden_dim: int, num_layers: int, num_heads: int, max_length: int
) -> LlamaForCausalLM:
    """A random Llama of the tokenizer's vocabulary; its feed-forward is 8/3 as wide as it is."""
    if hidden_dim % (2 * num_heads):
        raise ValueError(f"teacher hidden_dim {hidden_dim} must be an even multiple of num_heads {num_heads}")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_dim,
        intermediate_size=8 * math.ceil(hidden_dim / 3),
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        max_position_embeddings=max_length,
        # Llama's 0.02 suits a width of thousands; in a narrow model it leaves attention flat for hundreds of steps.
        initializer_range=hidden_dim**-0.5,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config)


def read_config(path: Path) -> Any:
    """The configuration in the directory of a model; ``ValueError`` for one that transformers itself cannot build."""
    return _parsed(json.loads((path / "config.json").read_text()), str(path))


def language_config(config: Any) -> Any:
    """The configuration of the causal language model that ``config`` is or contains."""
    text = config.get_text_config()
    plain = PLAIN_TEXT_TYPES.get(text.model_type)
    if plain is not None:
        options = {key: value for key, value in text.to_dict().items() if key != "model_type"}
        rope = dict(options.pop("rope_parameters"))
        for key in ("mrope_section", "type"):
            rope.pop(key, None)
        text = AutoConfig.for_model(plain, **options, rope_parameters=rope)
    if type(text) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(
            f"the teacher's model type '{config.model_type}' is (or holds) no causal language model that transformers "
            f"knows: '{text.model_type}' has no class for it"
        )
    text.tie_word_embeddings = config.tie_word_embeddings
    return text


def _parsed(options: dict[str, Any], where: str) -> Any:
    kind = options.pop("model_type", None)
    try:
        return AutoConfig.for_model(kind, **options)
    except ValueError as error:
        if "auto_map" in options:
            raise ValueError(
                f"{where} needs Python code that came with it (auto_map), which is never run; take a model whose "
                f"class is part of transformers, '{kind}' is not"
            ) from error
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING

        if kind in CONFIG_MAPPING:
            raise ValueError(f"{where} holds a wrong configuration of '{kind}': {error}") from error
        near = [name for name in CONFIG_MAPPING if str(kind)[:3] in name] or ["llama", "llava", "qwen2", "qwen2_5_vl"]
        raise ValueError(f"{where}: {unknown('model_type', str(kind), near, where='transformers')}") from error


def _require_safetensors(path: Path) -> None:
    if not any((path / name).is_file() for name in ("model.safetensors", "model.safetensors.index.json")):
        found = sorted(file.name for file in path.glob("*.bin"))
        raise ValueError(
            f"the teacher's checkpoint {path} holds no safetensors weights (no model.safetensors"
            f"{f', but {found[:2]}, which could run code' if found else ''}); save it as safetensors once"
        )


def _four_bits() -> Any:
    """QLoRA's base: normal floats of 4 bits, computed in bfloat16 (arXiv 2305.14314)."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ValueError(
            "teacher.load_in_4bit needs bitsandbytes, which is not installed: pip install 'dima_pipeline[quantization]'"
            ", or leave the base in bfloat16"
        )
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )

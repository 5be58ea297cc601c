"""Tiny random LLaVA, Qwen-VL and Llama checkpoints as anybody would have saved them: transformers writes them all."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)

from dima_pipeline.teachers._tokenizer import train_tokenizer
from teaching_cases import TEXTS

SIZES = {
    "vocab_size": 300,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
QWEN = {**SIZES, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]}}
PATCHES = {"hidden_size": 16, "num_heads": 2, "depth": 1}


def make_llava() -> Any:
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    text = LlamaConfig(**SIZES)
    return LlavaForConditionalGeneration(LlavaConfig(text_config=text, vision_config=vision, image_token_id=299))


def make_qwen2_vl() -> Any:
    vision = {**PATCHES, "embed_dim": 16, "mlp_ratio": 2}
    return Qwen2VLForConditionalGeneration(Qwen2VLConfig(text_config=QWEN, vision_config=vision, image_token_id=299))


def make_qwen2_5_vl() -> Any:
    vision = {**PATCHES, "intermediate_size": 32, "out_hidden_size": 16, "fullatt_block_indexes": [0]}
    config = Qwen2_5_VLConfig(text_config=QWEN, vision_config=vision, image_token_id=299, tie_word_embeddings=True)
    return Qwen2_5_VLForConditionalGeneration(config)


MAKERS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "llava": make_llava,
    "qwen2_vl": make_qwen2_vl,
    "qwen2_5_vl": make_qwen2_5_vl,
}


def save_tiny(kind: str, directory: Path, seed: int = 1) -> Any:
    """A model of ``kind`` (of ``MAKERS``) with a tokenizer in ``directory``; the model itself comes back."""
    torch.manual_seed(seed)
    model = MAKERS[kind]().eval()
    # Norms and biases start as ones and zeros: drawn, so that one that is left out shows.
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    model.save_pretrained(directory)
    train_tokenizer(TEXTS, 300).save_pretrained(directory)
    return model

"""Tiny random chat models as anybody would have saved them: transformers writes weights, tokenizer and template."""

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from dima_pipeline.teachers._tokenizer import train_tokenizer

TEXTS = ["The ego vehicle drives slowly.", "What is to the front left? A car and a pedestrian, 12 m away."] * 4
TURN, END = "<|im_start|>", "<|im_end|>"
TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if quiet %}<think></think>{% endif %}{% endif %}"
)
SIZES = {"vocab_size": 302, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 8192}
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, **HEADS, tie_word_embeddings=False)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES, **HEADS, tie_word_embeddings=True)),
}


def save_chat_model(kind: str, directory: Path, seed: int = 1, template: str | None = TEMPLATE) -> Path:
    """A model of ``kind`` (of ``MODELS``) in ``directory``."""
    tokenizer = train_tokenizer(TEXTS, 300)
    tokenizer.add_special_tokens({"additional_special_tokens": [TURN, END]})
    tokenizer.eos_token = END
    tokenizer.chat_template = template
    torch.manual_seed(seed)
    model = MODELS[kind]()
    # Greater weights: the words of a tiny model with the usual ones are all the same.
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4.0 if weight.ndim > 1 else 1.0)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id]
    model.generation_config.temperature, model.generation_config.do_sample = 0.7, True
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory

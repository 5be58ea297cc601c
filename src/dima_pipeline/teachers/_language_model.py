"""The causal language model inside a teacher: from a local checkpoint (frozen, LoRA trains) or tiny and random.

LoRA comes through peft in both cases; the weights of a random model train as well, for they hold nothing to keep.
"""

import inspect
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

from dima_pipeline.teachers._tokenizer import train_tokenizer


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


def open_base(checkpoint: str, dtype: str) -> nn.Module:
    """The causal language model at ``checkpoint``, from safetensors only."""
    try:
        return AutoModelForCausalLM.from_pretrained(
            require_checkpoint(checkpoint),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=getattr(torch, dtype),
        )
    except (OSError, ValueError) as error:
        raise ValueError(f"the teacher's checkpoint {checkpoint} cannot be read: {error}") from error


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


class LanguageModel(nn.Module):
    """A causal language model with LoRA that is fed embeddings, never token ids."""

    def __init__(self, base: nn.Module, lora: LoraConfig, *, is_base_trained: bool) -> None:
        super().__init__()
        self.peft: PeftModel = get_peft_model(base, lora)  # type: ignore[arg-type]
        self.is_base_trained = is_base_trained
        if is_base_trained:
            self.peft.requires_grad_(True)
        self.hidden_dim: int = self.embedding.weight.shape[1]
        accepted = inspect.signature(self.peft.get_base_model().forward).parameters
        self._can_keep_logits = "logits_to_keep" in accepted

    @property
    def embedding(self) -> nn.Embedding:
        """The table of word embeddings."""
        base: Any = self.peft.get_base_model()
        return base.get_input_embeddings()

    def forward(
        self,
        scene: Float[Tensor, "B S H"],
        words: Float[Tensor, "R L H"] | None = None,
        attended: Bool[Tensor, "R L"] | None = None,
    ) -> tuple[Float[Tensor, "B S H"], Float[Tensor, "R L V"] | None]:
        """Penultimate hidden states of the scene, and logits at ``words`` that follow it, both float32.

        ``words`` are the same number of texts for each scene, scene by scene: each reads the keys and values of its
        scene, which are computed once.
        """
        dtype, wants_words = self.embedding.weight.dtype, words is not None and words.shape[1] > 0
        options = {"logits_to_keep": 1} if self._can_keep_logits else {}
        seen = self.peft(inputs_embeds=scene.to(dtype), output_hidden_states=True, use_cache=wants_words, **options)
        hidden = seen.hidden_states[-2].float()
        if words is None or attended is None or not wants_words:
            return hidden, None
        cache = seen.past_key_values
        cache.batch_repeat_interleave(len(words) // len(scene))
        mask = torch.cat([attended.new_ones(len(words), scene.shape[1]), attended], 1)
        said = self.peft(
            inputs_embeds=words.to(dtype), attention_mask=mask.long(), past_key_values=cache, use_cache=True
        )
        return hidden, said.logits.float()

    @torch.no_grad()
    def generate(
        self, embeddings: Float[Tensor, "B S H"], attended: Bool[Tensor, "B S"], tokenizer: Any, max_new_tokens: int
    ) -> Int[Tensor, "B N"]:
        """Greedy continuation (left-padded prompts) up to the end token; only new tokens come back."""
        eos = tokenizer.eos_token_id
        pad = eos if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        # A config of its own: the one of a chat checkpoint would ask for sampling.
        plan = GenerationConfig(
            max_new_tokens=max_new_tokens, do_sample=False, num_beams=1, eos_token_id=eos, pad_token_id=pad
        )
        return self.peft.generate(
            inputs_embeds=embeddings.to(self.embedding.weight.dtype),
            attention_mask=attended.long(),
            generation_config=plan,
        )

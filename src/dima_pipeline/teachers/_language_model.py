"""The language model inside a teacher: a causal LM with LoRA (peft) that is fed embeddings, never token ids.

The scene is read once for all its questions: they share its keys and values, or, where layers are recomputed in the
backward pass and there is no cache, stand behind it in one sequence and cannot see each other.
"""

import inspect
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from torch import Tensor, nn
from transformers import GenerationConfig

LLAVA_RANK, LLAVA_DROPOUT = 128, 0.05
"""Of LLaVA's published recipe, with alpha twice the rank and all linear layers (the paper does not state its own)."""
RANDOM_RANK = 8
"""A random base trains itself: LoRA is there so that one code serves both."""


class LanguageModel(nn.Module):
    """See the module. The weights of the base train with LoRA where ``is_base_trained``, else they are frozen."""

    def __init__(self, base: nn.Module, lora: LoraConfig, *, is_base_trained: bool) -> None:
        super().__init__()
        self.peft: PeftModel = get_peft_model(base, lora)  # type: ignore[arg-type]
        self.is_base_trained = is_base_trained
        if is_base_trained:
            self.peft.requires_grad_(True)
        self.hidden_dim: int = self.embedding.weight.shape[1]
        accepted = inspect.signature(self.peft.get_base_model().forward).parameters
        self._can_keep_logits, self._can_place = "logits_to_keep" in accepted, "position_ids" in accepted
        self._is_packed = False

    @property
    def embedding(self) -> nn.Embedding:
        """The table of word embeddings."""
        base: Any = self.peft.get_base_model()
        return base.get_input_embeddings()

    def prepare_for_sharding(self) -> list[nn.Module]:
        """The blocks that transformers says are not to be split, e.g. Llama's decoder layers.

        They are passed without a cache from now on: a gradient must come to a shard through what it put out. Raises
        ``ValueError`` for a model that takes no positions.
        """
        base: Any = self.peft.get_base_model()
        self._pack(base)
        names = set(base._no_split_modules or ())
        return [module for module in base.modules() if type(module).__name__ in names]

    def checkpoint_gradients(self) -> None:
        """Recompute layers in the backward pass of training: less memory, about a third more time.

        A layer computed again would fill a cache twice, so there is none. Raises ``ValueError`` for a model that
        cannot, or that takes no positions.
        """
        base: Any = self.peft.get_base_model()
        if not base.supports_gradient_checkpointing:
            raise ValueError(f"the teacher's {type(base).__name__} cannot train with gradient checkpointing")
        self._pack(base)
        # The name until transformers 5.x; the newer one replaces it.
        enable = getattr(base, "activation_checkpointing_enable", None) or base.gradient_checkpointing_enable
        enable()

    def _pack(self, base: Any) -> None:
        if not self._can_place:
            raise ValueError(
                f"the teacher's {type(base).__name__} takes no position_ids, so a scene and its texts cannot be read "
                "in one pass: train it without runtime.gradient_checkpointing and with runtime.parallel: ddp"
            )
        self._is_packed = True

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
        if self._is_packed and self.training and words is not None and attended is not None and wants_words:
            return self._packed(scene, words, attended)
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

    def _packed(
        self, scene: Float[Tensor, "B S H"], words: Float[Tensor, "R L H"], attended: Bool[Tensor, "R L"]
    ) -> tuple[Float[Tensor, "B S H"], Float[Tensor, "R L V"]]:
        """As ``forward``, in one pass without a cache: scene and all its texts in one row."""
        dtype, (batch_size, length) = self.embedding.weight.dtype, scene.shape[:2]
        row = torch.cat([scene, words.reshape(batch_size, -1, words.shape[2])], 1).to(dtype)
        mask, positions = pack(length, attended.reshape(batch_size, -1, attended.shape[1]))
        bias = torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)[:, None]
        said = self.peft(
            inputs_embeds=row,
            attention_mask=bias,
            position_ids=positions,
            output_hidden_states=True,
            use_cache=False,
        )
        logits = said.logits[:, length:].reshape(*words.shape[:2], -1)
        return said.hidden_states[-2][:, :length].float(), logits.float()

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


def pack(scene_length: int, attended: Bool[Tensor, "B K L"]) -> tuple[Bool[Tensor, "B N N"], Int[Tensor, "B N"]]:
    """Who sees whom (row sees column) and positions, for a scene and K texts of L in a row of N = S + K * L.

    A text sees the scene and its own past; each starts at the position after the scene. Padding sees itself, for a
    softmax over nothing is NaN.
    """
    batch_size, num_texts, length = attended.shape
    device = attended.device
    owner = torch.arange(num_texts, device=device).repeat_interleave(length)
    owner = torch.cat([torch.full((scene_length,), -1, device=device), owner])
    order = torch.arange(len(owner), device=device)
    is_related = (owner[:, None] == owner) | (owner == -1)
    is_there = torch.cat([attended.new_ones(batch_size, scene_length), attended.flatten(1)], 1)
    mask = is_related & (order[:, None] >= order) & is_there[:, None]
    positions = torch.where(owner < 0, order, scene_length + (order - scene_length) % length)
    return mask | torch.eye(len(owner), dtype=torch.bool, device=device), positions.expand(batch_size, -1)


def lora_config(config: Any) -> LoraConfig:
    """peft's configuration of a teacher's ``config``: what is null follows LLaVA's recipe for a checkpoint.

    A frozen teacher has no dropout: it would only make its answers noisy.
    """
    is_pretrained = config.checkpoint is not None
    rank = config.lora_rank or (LLAVA_RANK if is_pretrained else RANDOM_RANK)
    dropout = (LLAVA_DROPOUT if is_pretrained else 0.0) if config.lora_dropout is None else config.lora_dropout
    return LoraConfig(
        r=rank,
        lora_alpha=config.lora_alpha or 2 * rank,
        lora_dropout=0.0 if config.is_frozen else dropout,
        target_modules="all-linear" if config.lora_targets is None else list(config.lora_targets),
        task_type=TaskType.CAUSAL_LM,
    )

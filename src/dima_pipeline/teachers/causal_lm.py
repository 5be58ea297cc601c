"""The teacher of DiMA: a causal LM with LoRA that reads BEV, ego, agent and map tokens through Q-Former adapters.

A prompt is ``[BOS] <bev> .. <agent> .. <map> .. <ego> e question answer EOS``. The mask is causal, so the scene comes
before the text, which it then cannot depend on, and the ego token comes last in the scene, where it sees the agents
and the map: its feature is what distillation compares (DiMA sections 3.2 and 3.4, arXiv 2501.09757).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from peft import LoraConfig, TaskType
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from dima_pipeline.contracts.batch import BeamTokens, VqaPair
from dima_pipeline.contracts.frames import NUM_FUTURE_STEPS
from dima_pipeline.models.qformer import QFormer
from dima_pipeline.models.task_heads import PathHead
from dima_pipeline.plugins import config_dataclass
from dima_pipeline.surrogates import TeacherOutput
from dima_pipeline.teachers import TextBatch, _storage
from dima_pipeline.teachers._language_model import LanguageModel, open_base, open_tokenizer, tiny_llama

NO_LABEL = -100
COMPONENTS = ("bev", "agent", "map", "ego")
"""In the order of the prompt."""


@config_dataclass
class Config:
    """``hidden_dim`` ... ``max_length`` shape the tiny model and are not used with a ``checkpoint``."""

    checkpoint: str | None = None
    """Directory of a Hugging Face causal LM; null builds a tiny random Llama, all of which trains."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the checkpoint's weights."""
    hidden_dim: int = Field(default=128, ge=8)
    num_layers: int = Field(default=4, ge=2)
    num_heads: int = Field(default=4, ge=1)
    vocab_size: int = Field(default=640, ge=260)
    max_length: int = Field(default=512, ge=64)
    lora_rank: int = Field(default=8, ge=1)
    lora_alpha: int = Field(default=16, ge=1)
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    lora_targets: tuple[str, ...] | None = None
    """Names of the linear layers that get LoRA; null: all but the output layer, as in LLaVA's recipe."""
    num_bev_queries: int = Field(default=32, ge=1)
    num_agent_queries: int = Field(default=16, ge=1)
    num_map_queries: int = Field(default=8, ge=1)
    adapter_dim: int = Field(default=64, ge=8)
    adapter_depth: int = Field(default=2, ge=1)
    adapter_heads: int = Field(default=4, ge=1)
    horizon: int = Field(default=NUM_FUTURE_STEPS, ge=1)
    """Steps of the teacher's own plan."""
    question_format: str = Field(default="{question} Answer:", pattern=r"\{question\}")
    max_text_tokens: int = Field(default=256, ge=8)
    """Longer pairs are refused, not cut."""


class CausalLmTeacher(nn.Module):
    """See the module; ``build`` makes one, ``load`` reads a saved one."""

    def __init__(self, config: Config, tokenizer: Any, *, token_dim: int, feature_dim: int) -> None:
        super().__init__()
        self.config, self.tokenizer = config, tokenizer
        self.token_dim, self.feature_dim = token_dim, feature_dim
        self.language_model = _language_model(config, tokenizer)
        hidden = self.hidden_dim = self.language_model.hidden_dim
        sizes = {"bev": config.num_bev_queries, "agent": config.num_agent_queries, "map": config.num_map_queries}
        shape = {"dim": config.adapter_dim, "depth": config.adapter_depth, "num_heads": config.adapter_heads}
        self.adapters = nn.ModuleDict(
            {
                name: QFormer(token_dim, hidden, num_queries=number, is_grid=name == "bev", **shape)
                for name, number in sizes.items()
            }
        )
        self.adapters["ego"] = nn.Sequential(
            nn.Linear(token_dim, config.adapter_dim),
            nn.GELU(),
            nn.Linear(config.adapter_dim, hidden),
            nn.LayerNorm(hidden),
        )
        self.markers = nn.Parameter(torch.randn(len(COMPONENTS), hidden))
        # Scene tokens as large as words: a pretrained model adds its layers' outputs to what it is fed.
        self.scale = nn.Parameter(self.language_model.embedding.weight.detach().float().square().mean().sqrt())
        self.feature_norm = nn.LayerNorm(hidden)
        self.to_ego_features = nn.Sequential(nn.Linear(hidden, feature_dim), nn.LayerNorm(feature_dim))
        self.planning_head = PathHead(feature_dim, feature_dim, config.horizon)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.markers.device

    def tokenize(self, pairs: Sequence[VqaPair | None]) -> TextBatch:
        """Right-padded questions and answers; the loss falls on answer and end tokens. None gives an empty row.

        Raises ``ValueError`` naming the sample for a pair longer than ``max_text_tokens``.
        """
        rows = [self._pair_ids(pair) for pair in pairs]
        length = max((len(question) + len(answer) for question, answer in rows), default=0)
        ids = torch.zeros(len(rows), length, dtype=torch.long)
        labels = torch.full((len(rows), length), NO_LABEL)
        attended = torch.zeros(len(rows), length, dtype=torch.bool)
        for row, (question, answer) in enumerate(rows):
            end = len(question) + len(answer)
            ids[row, :end] = torch.tensor(question + answer, dtype=torch.long)
            labels[row, len(question) : end] = torch.tensor(answer, dtype=torch.long)
            attended[row, :end] = True
        return TextBatch(
            input_ids=ids.to(self.device), labels=labels.to(self.device), attention_mask=attended.to(self.device)
        )

    def forward(self, beam: BeamTokens, text: TextBatch | None) -> TeacherOutput:
        """Features of the scene and the teacher's plan, and with ``text`` how well it answers.

        ``text`` holds the same number of pairs for every sample, sample by sample; the scene is read once for them all.
        """
        scene, places = self.embed_scene(beam)
        words = None if text is None else self.language_model.embedding(text.input_ids).float()
        hidden, logits = self.language_model(scene, words, None if text is None else text.attention_mask)
        features = {name: self.feature_norm(hidden[:, place]) for name, place in places.items()}
        ego_features = self.to_ego_features(features["ego"][:, 0])
        loss, accuracy = None, None
        if text is not None:
            # No label falls on the first word: it is part of the question.
            logits = hidden.new_zeros(len(text.labels), 0, 1) if logits is None else logits[:, :-1]
            loss, accuracy = _answer_loss(logits, text.labels[:, 1:])
        return TeacherOutput(
            **features,
            # The plan is read off the very features that are distilled, so they learn to carry it.
            trajectory=self.planning_head(ego_features),
            ego_features=ego_features,
            language_loss=loss,
            language_accuracy=accuracy,
        )

    def embed_scene(self, beam: BeamTokens) -> tuple[Float[Tensor, "B S H"], dict[str, slice]]:
        """The scene part of the prompt, the same length for every batch, and where each component lies in it."""
        tokens = {
            "bev": self.adapters["bev"](beam.bev),
            "agent": self.adapters["agent"](beam.agent, beam.agent_valid),
            "map": self.adapters["map"](beam.map, beam.map_valid),
            "ego": self.adapters["ego"](beam.ego),
        }
        batch_size = len(beam.ego)
        parts = [self._begin(batch_size)]
        places, position = {}, parts[0].shape[1]
        for marker, name in zip(self.markers, COMPONENTS, strict=True):
            parts += [(marker * self.scale).expand(batch_size, 1, -1), tokens[name] * self.scale]
            places[name] = slice(position + 1, position + 1 + tokens[name].shape[1])
            position = places[name].stop
        return torch.cat(parts, 1), places

    @torch.no_grad()
    def answer(self, beam: BeamTokens, questions: Sequence[str], max_new_tokens: int) -> list[str]:
        """Greedy answers, one a sample of ``beam``, without surrounding blanks."""
        assert len(questions) == len(beam.ego), (len(questions), len(beam.ego))
        was_training = self.training
        self.eval()
        scene, _ = self.embed_scene(beam)
        rows = [self._question_ids(question) for question in questions]
        prompt, attended = self._left_padded(scene, rows)
        new = self.language_model.generate(prompt, attended, self.tokenizer, max_new_tokens)
        self.train(was_training)
        return [text.strip() for text in self.tokenizer.batch_decode(new, skip_special_tokens=True)]

    def save_pretrained(self, directory: Path) -> None:
        """Write all trained weights, LoRA in peft's own files, the tokenizer and the configuration; see ``load``."""
        _storage.save(self, directory)

    def _begin(self, batch_size: int) -> Float[Tensor, "B n H"]:
        """The embedded BOS, or nothing for a tokenizer without one (Qwen)."""
        bos = self.tokenizer.bos_token_id
        ids = torch.full((batch_size, 0 if bos is None else 1), bos or 0, dtype=torch.long, device=self.device)
        return self.language_model.embedding(ids).float()

    def _left_padded(
        self, scene: Float[Tensor, "B S H"], rows: list[list[int]]
    ) -> tuple[Float[Tensor, "B N H"], Bool[Tensor, "B N"]]:
        """Scene and question with the padding in front, so that every answer starts at the same position."""
        longest = max(len(row) for row in rows)
        ids: Int[Tensor, "B L"] = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=self.device)
        prompt = torch.cat([scene, self.language_model.embedding(ids).float()], 1)
        padding = torch.tensor([longest - len(row) for row in rows], device=self.device)[:, None]
        order = torch.arange(prompt.shape[1], device=self.device)[None] - padding
        source = (order % prompt.shape[1])[..., None].expand(-1, -1, prompt.shape[2])
        return prompt.gather(1, source), order >= 0

    def _question_ids(self, question: str) -> list[int]:
        text = self.config.question_format.replace("{question}", question)
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _pair_ids(self, pair: VqaPair | None) -> tuple[list[int], list[int]]:
        if pair is None:
            return [], []
        question = self._question_ids(pair.question)
        # The blank in front makes its first word the token that it is elsewhere, for pretrained tokenizers too.
        answer = self.tokenizer(f" {pair.answer}", add_special_tokens=False)["input_ids"]
        answer = [*answer, self.tokenizer.eos_token_id]
        length, limit = len(question) + len(answer), self.config.max_text_tokens
        if length > limit:
            raise ValueError(
                f"sample {pair.sample_token}: the pair '{pair.question[:60]}' has {length} tokens, more than "
                f"max_text_tokens = {limit}; shorten it or raise the limit"
            )
        return question, answer


def build(config: Config, *, token_dim: int, feature_dim: int, texts: Sequence[str]) -> CausalLmTeacher:
    """A new teacher for a planner of ``token_dim``; ``texts`` train the tokenizer where there is no checkpoint."""
    # The words around a question are as frequent as questions, about half of all texts.
    around = [config.question_format.replace("{question}", " ")] * (len(texts) // 2)
    tokenizer = open_tokenizer(config.checkpoint, [*texts, *around], config.vocab_size)
    return CausalLmTeacher(config, tokenizer, token_dim=token_dim, feature_dim=feature_dim)


def load(directory: Path, checkpoint: str | None = None) -> CausalLmTeacher:
    """The teacher that ``save_pretrained`` wrote; ``checkpoint`` says where its base model lies now, if it moved.

    Raises ``ValueError`` that names the missing or foreign file.
    """
    return _storage.load(CausalLmTeacher, Config, directory, checkpoint)


def _language_model(config: Config, tokenizer: Any) -> LanguageModel:
    """Base model and LoRA as configured."""
    if config.checkpoint is None:
        base: nn.Module = tiny_llama(
            tokenizer,
            hidden_dim=config.hidden_dim,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            max_length=config.max_length,
        )
    else:
        base = open_base(config.checkpoint, config.dtype)
    lora = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules="all-linear" if config.lora_targets is None else list(config.lora_targets),
        task_type=TaskType.CAUSAL_LM,
    )
    return LanguageModel(base, lora, is_base_trained=config.checkpoint is None)


def _answer_loss(
    logits: Float[Tensor, "B L V"], labels: Int[Tensor, "B L"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Mean cross-entropy and accuracy over the labelled tokens; zero, with a zero gradient, where there is none."""
    is_asked = labels != NO_LABEL
    count = is_asked.sum().clamp(min=1)
    total = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=NO_LABEL, reduction="sum")
    right = (logits.detach().argmax(-1) == labels) & is_asked
    return total / count, right.sum() / count

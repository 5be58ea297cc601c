"""The teacher of DiMA: a causal LM with LoRA that reads BEV, ego, agent and map tokens through Q-Former adapters.

A prompt is ``[BOS] before <bev> .. <agent> .. <map> .. <ego> e question answer EOS``. The mask is causal, so the scene
comes before the question, which it then cannot depend on, and the ego token comes last in the scene, where it sees the
agents and the map: its feature is what distillation compares (DiMA sections 3.2 and 3.4, arXiv 2501.09757).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
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
from dima_pipeline.teachers._base_model import open_base, open_tokenizer, shaped_base, tiny_llama
from dima_pipeline.teachers._language_model import LanguageModel, lora_config
from dima_pipeline.teachers._prompt import CHAT, check_template, read_prompt

NO_LABEL = -100
COMPONENTS = ("bev", "agent", "map", "ego")
"""In the order of the prompt."""


@config_dataclass
class Config:
    """``hidden_dim`` ... ``max_length`` shape the tiny model and are not used with a ``checkpoint`` or a ``base``."""

    checkpoint: str | None = None
    """Directory of a Hugging Face causal LM, or of a LLaVA or Qwen-VL, whose language model is taken."""
    base: dict[str, Any] | str | None = None
    """Without a checkpoint: the content or path of a Hugging Face ``config.json``, for a random model of that shape.
    Null for both builds a tiny random Llama."""
    is_base_trained: bool | None = None
    """Whether the base's own weights train beside LoRA; null: those of a random model do, those of a checkpoint not."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the weights of a frozen base; LoRA, adapters and heads are float32."""
    start: str | None = None
    """Directory of a teacher of the same configuration that ``save_pretrained`` wrote: where training goes on."""
    is_frozen: bool = False
    """Nothing of a teacher that was trained before (``start``) trains on; its losses still teach the planner's encoder.
    It saves the optimiser's state and the gradients of all adapters, and gives up that the teacher learns to read an
    encoder that changes."""
    is_cached: bool = False
    """Of a frozen teacher: what it distils is written down before training, and it is not there while the planner
    trains (``training.recall``). Its own losses and the surrogate tasks must be off."""
    load_in_4bit: bool = False
    """The checkpoint's linear layers in 4 bits (QLoRA); needs bitsandbytes."""
    hidden_dim: int = Field(default=128, ge=8)
    num_layers: int = Field(default=4, ge=2)
    num_heads: int = Field(default=4, ge=1)
    vocab_size: int = Field(default=640, ge=260)
    """Of the tokenizer that is trained where there is no checkpoint."""
    max_length: int = Field(default=512, ge=64)
    lora_rank: int | None = Field(default=None, ge=1)
    """Null: 128 with a checkpoint (LLaVA's published recipe: rank 128, alpha 256, dropout 0.05), else 8."""
    lora_alpha: int | None = Field(default=None, ge=1)
    """Null: twice the rank."""
    lora_dropout: float | None = Field(default=None, ge=0, lt=1)
    """Null: 0.05 with a checkpoint, else 0."""
    lora_targets: tuple[str, ...] | None = None
    """Names of the linear layers that get LoRA; null: all but the output layer, as in LLaVA's recipe."""
    num_bev_queries: int = Field(default=32, ge=1)
    num_agent_queries: int = Field(default=16, ge=1)
    num_map_queries: int = Field(default=8, ge=1)
    adapter_dim: int = Field(default=64, ge=8)
    """Width of the Q-Formers, between the planner's tokens (256) and the language model (4096): 1024 at paper scale."""
    adapter_depth: int = Field(default=2, ge=1)
    adapter_heads: int = Field(default=4, ge=1)
    ego_adapter: Literal["mlp", "qformer"] = "mlp"
    """The one ego token becomes one token either way: two layers are enough, the paper speaks of four Q-Formers."""
    has_end_markers: bool = False
    """A learned end marker behind each component, as there is a start marker before it."""
    has_type_embeddings: bool = False
    """A learned vector per component that is added to its tokens."""
    encode_centers: bool = False
    """Whether agent and map tokens tell where they are; for planners that say so (``BeamTokens.agent_center``)."""
    horizon: int = Field(default=NUM_FUTURE_STEPS, ge=1)
    """Steps of the teacher's own plan."""
    prompt: str = "{scene}{question} Answer:"
    """Where scene and question stand, or ``chat`` for the chat template of the checkpoint. LLaVA-1.5 (Vicuna) was tuned
    on ``A chat between ... USER: {scene}\\n{question} ASSISTANT:``."""
    max_text_tokens: int = Field(default=256, ge=8)
    """Longer pairs are refused, not cut."""

    def __post_init__(self) -> None:
        """Refuse what does not go together; pydantic reports it under the plug-in's name."""
        check_template(self.prompt)
        if self.checkpoint is None and self.prompt == CHAT:
            raise ValueError("prompt 'chat' needs a checkpoint: a tokenizer trained here has no chat template")
        if self.checkpoint is not None and self.base is not None:
            raise ValueError("base shapes a random model; with a checkpoint leave it null")
        if self.is_frozen and (self.start is None or self.is_base_trained):
            raise ValueError("is_frozen needs the start of a trained teacher, and no base that trains")
        if self.is_cached and not self.is_frozen:
            raise ValueError("is_cached needs is_frozen: features that are written down follow no training")
        if self.load_in_4bit and (self.checkpoint is None or self.trains_base):
            raise ValueError("load_in_4bit needs a checkpoint whose weights stay frozen")
        if self.dtype != "float32" and self.trains_base:
            raise ValueError(f"dtype {self.dtype} is for a frozen base: small steps of a training one round to nothing")

    @property
    def trains_base(self) -> bool:
        """``is_base_trained``, decided."""
        if self.is_frozen:
            return False
        return self.checkpoint is None if self.is_base_trained is None else self.is_base_trained


class CausalLmTeacher(nn.Module):
    """See the module; ``build`` makes one, ``load`` reads a saved one."""

    def __init__(self, config: Config, tokenizer: Any, *, token_dim: int, feature_dim: int) -> None:
        super().__init__()
        self.config, self.tokenizer = config, tokenizer
        self.token_dim, self.feature_dim = token_dim, feature_dim
        self.prompt = read_prompt(config.prompt, tokenizer)
        self.language_model = _language_model(config, tokenizer)
        hidden = self.hidden_dim = self.language_model.hidden_dim
        sizes = {"bev": config.num_bev_queries, "agent": config.num_agent_queries, "map": config.num_map_queries}
        shape: dict[str, Any] = {
            "dim": config.adapter_dim,
            "depth": config.adapter_depth,
            "num_heads": config.adapter_heads,
        }
        self.adapters = nn.ModuleDict(
            {
                name: QFormer(
                    token_dim,
                    hidden,
                    num_queries=number,
                    is_grid=name == "bev",
                    is_placed=config.encode_centers and name != "bev",
                    **shape,
                )
                for name, number in sizes.items()
            }
        )
        if config.ego_adapter == "qformer":
            self.adapters["ego"] = QFormer(token_dim, hidden, num_queries=1, is_grid=False, **shape)
        else:
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
        number = len(COMPONENTS)
        self.end_markers = nn.Parameter(torch.randn(number, hidden)) if config.has_end_markers else None
        self.type_embeddings = nn.Parameter(0.1 * torch.randn(number, hidden)) if config.has_type_embeddings else None
        if config.is_frozen:
            self.requires_grad_(False)
        self._min_text_tokens = 0

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.markers.device

    def trajectory_of(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B T 2"]:
        """What the teacher's planning head makes of penultimate ego features, whoever they come from."""
        return self.planning_head(features)

    def prepare_for_sharding(self) -> list[nn.Module]:
        """The layers of the language model, to be sharded one by one.

        From now on a text is never empty: workers that put their shards together must pass each layer equally often.
        """
        self._min_text_tokens = 1
        return self.language_model.prepare_for_sharding()

    def tokenize(self, pairs: Sequence[VqaPair | None]) -> TextBatch:
        """Right-padded questions and answers; the loss falls on answer and end tokens. None gives an empty row.

        Raises ``ValueError`` naming the sample for a pair longer than ``max_text_tokens``.
        """
        rows = [self._pair_ids(pair) for pair in pairs]
        length = max((len(question) + len(answer) for question, answer in rows), default=0)
        length = max(length, self._min_text_tokens)
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
        if self.config.encode_centers and (beam.agent_center is None or beam.map_center is None):
            raise ValueError("teacher.encode_centers needs a planner that gives the centres of its agents and map")
        tokens = {
            "bev": self.adapters["bev"](beam.bev),
            "agent": self.adapters["agent"](beam.agent, beam.agent_valid, beam.agent_center),
            "map": self.adapters["map"](beam.map, beam.map_valid, beam.map_center),
            "ego": self.adapters["ego"](beam.ego),
        }
        parts = [self._begin(len(beam.ego))]
        places, position = {}, parts[0].shape[1]
        for index, name in enumerate(COMPONENTS):
            component = self._delimited(index, tokens[name])
            places[name] = slice(position + 1, position + 1 + tokens[name].shape[1])
            parts.append(component)
            position += component.shape[1]
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
        """BOS (Qwen's tokenizer has none) and what the prompt says before the scene, embedded."""
        bos = self.tokenizer.bos_token_id
        before = self.tokenizer(self.prompt.before, add_special_tokens=False)["input_ids"] if self.prompt.before else []
        row = [*([] if bos is None else [bos]), *before]
        ids = torch.tensor(row, dtype=torch.long, device=self.device).expand(batch_size, -1)
        return self.language_model.embedding(ids).float()

    def _delimited(self, index: int, tokens: Float[Tensor, "B K H"]) -> Float[Tensor, "B n H"]:
        """Start marker, tokens, and end marker where there is one, as large as words."""
        batch_size = len(tokens)
        if self.type_embeddings is not None:
            tokens = tokens + self.type_embeddings[index]
        parts = [(self.markers[index] * self.scale).expand(batch_size, 1, -1), tokens * self.scale]
        if self.end_markers is not None:
            parts.append((self.end_markers[index] * self.scale).expand(batch_size, 1, -1))
        return torch.cat(parts, 1)

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
        return self.tokenizer(self.prompt.question(question), add_special_tokens=False)["input_ids"]

    def _pair_ids(self, pair: VqaPair | None) -> tuple[list[int], list[int]]:
        if pair is None:
            return [], []
        question = self._question_ids(pair.question)
        answer = self.tokenizer(self.prompt.answer(pair.answer), add_special_tokens=False)["input_ids"]
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
    dims = {"token_dim": token_dim, "feature_dim": feature_dim}
    if config.start is not None:
        _storage.read_facts(Path(config.start))
        teacher = CausalLmTeacher(config, _storage.saved_tokenizer(Path(config.start)), **dims)
        _storage.read_into(teacher, Path(config.start))
        return teacher
    known = list(texts)
    if config.checkpoint is None:
        # The words around a question are as frequent as questions, about half of all texts.
        known += [read_prompt(config.prompt, None).question(" ")] * (len(texts) // 2)
    tokenizer = open_tokenizer(config.checkpoint, known, config.vocab_size)
    return CausalLmTeacher(config, tokenizer, **dims)


def load(directory: Path, checkpoint: str | None = None) -> CausalLmTeacher:
    """The teacher that ``save_pretrained`` wrote; ``checkpoint`` says where its base model lies now, if it moved.

    Raises ``ValueError`` that names the missing or foreign file.
    """
    return _storage.load(CausalLmTeacher, Config, directory, checkpoint)


def _language_model(config: Config, tokenizer: Any) -> LanguageModel:
    """Base model and LoRA as configured."""
    if config.checkpoint is not None:
        base = open_base(config.checkpoint, config.dtype, load_in_4bit=config.load_in_4bit)
    elif config.base is not None:
        base = shaped_base(config.base, config.dtype, vocab_size=len(tokenizer))
    else:
        base = tiny_llama(
            tokenizer,
            hidden_dim=config.hidden_dim,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            max_length=config.max_length,
        )
    return LanguageModel(base, lora_config(config), is_base_trained=config.trains_base)


def _answer_loss(
    logits: Float[Tensor, "B L V"], labels: Int[Tensor, "B L"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Mean cross-entropy and accuracy over the labelled tokens; zero, with a zero gradient, where there is none."""
    is_asked = labels != NO_LABEL
    count = is_asked.sum().clamp(min=1)
    total = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=NO_LABEL, reduction="sum")
    right = (logits.detach().argmax(-1) == labels) & is_asked
    return total / count, right.sum() / count

"""An instruction-tuned causal LM at a local path, through transformers: any family that it knows by itself.

Only safetensors are read, code that comes with a model never runs, and nothing is fetched. The model is loaded with
the first prompt that nobody has answered yet: a run whose answers are all stored needs its path only.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from dima_pipeline.language import REJECTED, Prompt, Reply
from dima_pipeline.plugins import config_dataclass

NUM_BLOCKS, BLOCK_BYTES = 64, 2**16


@config_dataclass
class Config:
    """Which model, and how it answers."""

    path: str = Field(min_length=1)
    """Directory of a Hugging Face model with a chat template."""
    label: str | None = None
    """Name of the model in the source of its pairs; null: of its directory."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """``auto``: as saved."""
    device: str = "auto"
    """``auto``: the first GPU where there is one, else the CPU; or as torch calls it."""
    batch_size: int = Field(8, ge=1)
    max_tokens: int = Field(1024, ge=1)
    temperature: float = Field(0.0, ge=0)
    seed: int = 0
    """With a temperature; an answer then also depends on what else is in its batch."""
    template_options: dict[str, Any] = Field(default_factory=dict)
    """Variables of the chat template, as ``{enable_thinking: false}``."""


class LocalModel:
    """The generator; see the module. Raises ``ValueError`` for a path without a model."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._folder = _require_model(config.path)
        self.name = config.label or self._folder.name
        self._loaded: tuple[Any, Any] | None = None
        self.identity = {
            **{"kind": "local_model", "files": fingerprint(self._folder), "dtype": config.dtype},
            **{"max_tokens": config.max_tokens, "temperature": config.temperature, "seed": config.seed},
            **{"template_options": config.template_options},
        }

    def replies(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Reply]]:
        """As ``TextGenerator.replies``, batch by batch. Prompts of similar length go together: less padding."""
        tokenizer, model = self._load()
        ids = [self._token_ids(tokenizer, prompt) for prompt in prompts]
        room = getattr(model.config, "max_position_embeddings", None)
        fits = [at for at in range(len(ids)) if room is None or len(ids[at]) + self.config.max_tokens <= room]
        for at in sorted(set(range(len(ids))) - set(fits)):
            text = f"{len(ids[at])} tokens and {self.config.max_tokens} to answer are more than the model's {room}"
            yield at, Reply(text=text, finish=REJECTED)
        fits.sort(key=lambda at: len(ids[at]))
        for first in range(0, len(fits), self.config.batch_size):
            batch = fits[first : first + self.config.batch_size]
            yield from zip(batch, self._answer([ids[at] for at in batch]), strict=True)

    def _token_ids(self, tokenizer: Any, prompt: Prompt) -> list[int]:
        from jinja2 import TemplateError

        turns = [{"role": message.role, "content": message.text} for message in prompt]
        options = {"add_generation_prompt": True, "tokenize": True, "return_dict": True}
        try:
            # Sanitised: "<|im_end|>" in what is told about a scene is text, and ends no turn.
            encoded = tokenizer.apply_chat_template(
                turns, **options, sanitize_control_tokens=True, **self.config.template_options
            )
        except TemplateError as error:
            raise ValueError(f"the chat template of {self._folder} does not take the prompt: {error}") from error
        return list(encoded["input_ids"])

    def _answer(self, rows: list[list[int]]) -> list[Reply]:
        import torch

        tokenizer, model = self._load()
        begun_s = time.monotonic()
        # On the left: an answer begins right behind its prompt.
        padded = tokenizer.pad({"input_ids": rows}, padding_side="left", return_tensors="pt").to(model.device)
        devices = [model.device] if model.device.type == "cuda" else []
        with torch.inference_mode(), torch.random.fork_rng(devices):
            torch.manual_seed(self.config.seed)
            output = model.generate(**padded, **self._sampling(tokenizer))
        answers = output[:, padded["input_ids"].shape[1] :].tolist()
        seconds = time.monotonic() - begun_s
        ends = _end_tokens(tokenizer, model)
        return [self._reply(row, answer, ends, seconds) for row, answer in zip(rows, answers, strict=True)]

    def _sampling(self, tokenizer: Any) -> dict[str, Any]:
        warm = {"temperature": self.config.temperature} if self.config.temperature else {}
        return {
            **{"do_sample": bool(warm), "num_beams": 1, "num_return_sequences": 1, **warm},
            **{"max_new_tokens": self.config.max_tokens, "pad_token_id": tokenizer.pad_token_id},
        }

    def _reply(self, row: list[int], answer: list[int], ends: set[int], seconds: float) -> Reply:
        assert self._loaded is not None
        end = next((at for at, token in enumerate(answer) if token in ends), None)
        said = answer if end is None else answer[:end]
        text = self._loaded[0].decode(said, skip_special_tokens=True)
        finish = "length" if end is None else "stop"
        num_out = len(said) + (end is not None)
        return Reply(text=text, finish=finish, tokens_in=len(row), tokens_out=num_out, seconds=seconds)

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            self._loaded = _open_tokenizer(self._folder), self._open_model()
        return self._loaded

    def _open_model(self) -> Any:
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM

        wanted = self.config.device
        device = ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted
        options = {"local_files_only": True, "trust_remote_code": False, "use_safetensors": True}
        try:
            opened: Any = AutoModelForCausalLM.from_pretrained(
                self._folder, dtype=self.config.dtype, output_loading_info=True, **options
            )
            model, report = opened
            model = model.to(device).eval()
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ValueError(f"the model at {self._folder} cannot be opened on {device}: {error}") from error
        if missing := sorted(report["missing_keys"]):
            raise ValueError(f"the weights at {self._folder} lack {len(missing)} tensors of the model, as {missing[0]}")
        return model


def fingerprint(folder: Path) -> str:
    """Of a model's files: small ones and the head of each weight file in whole, of the weights evenly spread blocks.

    Training changes a tensor all over, so blocks tell two models apart; 140 GB are not read for it.
    """
    whole = hashlib.sha256()
    for path in sorted(folder.glob("*")):
        if path.suffix in (".json", ".jinja", ".model", ".txt", ".safetensors") and path.is_file():
            size = path.stat().st_size
            whole.update(json.dumps([path.name, size]).encode())
            with path.open("rb") as file:
                if size <= NUM_BLOCKS * BLOCK_BYTES:
                    whole.update(file.read())
                    continue
                for block in range(NUM_BLOCKS):
                    file.seek((size - BLOCK_BYTES) * block // (NUM_BLOCKS - 1))
                    whole.update(file.read(BLOCK_BYTES))
    return whole.hexdigest()


def _require_model(path: str) -> Path:
    folder = Path(path).expanduser().resolve()
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"'{path}' is no directory of a Hugging Face model: it has no config.json. Give the path of a local "
            "download; names of the hub are not fetched"
        )
    if not any(folder.glob("*.safetensors")):
        raise ValueError(f"'{path}' holds no *.safetensors: other weights are not read, convert them")
    return folder


def _open_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} holds no tokenizer: {error}") from error
    if tokenizer.chat_template is None:
        raise ValueError(f"the tokenizer of {folder} has no chat template: take the instruction-tuned model")
    if tokenizer.eos_token_id is None:
        raise ValueError(f"the tokenizer of {folder} has no end-of-sequence token, so no answer would ever end")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _end_tokens(tokenizer: Any, model: Any) -> set[int]:
    named = model.generation_config.eos_token_id
    return {tokenizer.eos_token_id, *([named] if isinstance(named, int) else named or [])}


build = LocalModel

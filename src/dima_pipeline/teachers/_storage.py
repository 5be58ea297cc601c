"""Teachers on disk: safetensors, peft's adapter files and JSON; nothing pickled.

The base weights of a checkpoint are named by its path and never copied; those of a random base are weights like others.
"""

import json
from pathlib import Path
from typing import Any

from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer

from dima_pipeline.teachers import TEACHERS

CONFIG_FILE = "teacher.json"
WEIGHTS_FILE = "weights.safetensors"
ADAPTER_FILE = "adapter_model.safetensors"
TOKENIZER_FOLDER = "tokenizer"


def save(teacher: Any, directory: Path) -> None:
    """Write ``teacher`` (a ``CausalLmTeacher``) into ``directory``, made here if need be."""
    directory.mkdir(parents=True, exist_ok=True)
    facts = {
        "teacher": TEACHERS.dump(teacher.config),
        "token_dim": teacher.token_dim,
        "feature_dim": teacher.feature_dim,
    }
    (directory / CONFIG_FILE).write_text(json.dumps(facts, indent=2) + "\n")
    peft = teacher.language_model.peft
    save_file(_contiguous(trained_weights(teacher)), directory / WEIGHTS_FILE)
    save_file(_contiguous(get_peft_model_state_dict(peft)), directory / ADAPTER_FILE)
    _save_adapter_config(peft.peft_config["default"], directory)
    teacher.tokenizer.save_pretrained(str(directory / TOKENIZER_FOLDER))


def _save_adapter_config(config: Any, directory: Path) -> None:
    config.save_pretrained(str(directory))
    path = directory / "adapter_config.json"
    facts = json.loads(path.read_text())
    # peft keeps the targets in a set, whose order differs from process to process.
    facts["target_modules"] = sorted(facts["target_modules"])
    path.write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")


def trained_weights(teacher: Any) -> dict[str, Tensor]:
    """Everything that trains, but for LoRA, which has files of its own."""
    is_base_trained = teacher.language_model.is_base_trained
    return {
        name: weight
        for name, weight in teacher.state_dict().items()
        if "lora_" not in name and (is_base_trained or not name.startswith("language_model."))
    }


def load(teacher_class: Any, config_class: type, directory: Path, checkpoint: str | None) -> Any:
    """The saved teacher, in evaluation mode."""
    for name in (CONFIG_FILE, WEIGHTS_FILE, ADAPTER_FILE, f"{TOKENIZER_FOLDER}/tokenizer.json"):
        if not (directory / name).is_file():
            raise ValueError(f"{directory} holds no saved teacher: {name} is missing")
    facts = json.loads((directory / CONFIG_FILE).read_text())
    options = dict(facts["teacher"])
    if checkpoint is not None:
        options["checkpoint"] = checkpoint
    config = TEACHERS.parse(options)
    if not isinstance(config, config_class):
        raise ValueError(f"{directory / CONFIG_FILE} is of the teacher '{options['name']}', not of this one")
    tokenizer = AutoTokenizer.from_pretrained(str(directory / TOKENIZER_FOLDER), local_files_only=True)
    teacher = teacher_class(config, tokenizer, token_dim=facts["token_dim"], feature_dim=facts["feature_dim"])
    expected = set(trained_weights(teacher))
    weights = read_weights(directory / WEIGHTS_FILE)
    if set(weights) != expected:
        odd = sorted(set(weights) ^ expected)
        raise ValueError(f"{directory / WEIGHTS_FILE} does not fit its {CONFIG_FILE}: {odd[:4]}")
    teacher.load_state_dict(weights, strict=False)
    set_peft_model_state_dict(teacher.language_model.peft, read_weights(directory / ADAPTER_FILE))
    return teacher.eval()


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; ``ValueError`` naming it where it is broken."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is no complete safetensors file: {error}") from error


def _contiguous(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}

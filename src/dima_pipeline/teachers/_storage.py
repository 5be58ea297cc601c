"""Teachers on disk: safetensors, peft's adapter files and JSON; nothing pickled.

The base weights of a checkpoint are named by its path and never copied; those of a random base are weights like others.
"""

import json
from pathlib import Path
from typing import Any

import torch
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
    save_file(_contiguous(own_weights(teacher)), directory / WEIGHTS_FILE)
    save_file(_contiguous(get_peft_model_state_dict(peft, save_embedding_layers=False)), directory / ADAPTER_FILE)
    _save_adapter_config(peft.peft_config["default"], directory)
    teacher.tokenizer.save_pretrained(str(directory / TOKENIZER_FOLDER))


def _save_adapter_config(config: Any, directory: Path) -> None:
    config.save_pretrained(str(directory))
    path = directory / "adapter_config.json"
    facts = json.loads(path.read_text())
    # peft keeps the targets in a set, whose order differs from process to process.
    facts["target_modules"] = sorted(facts["target_modules"])
    path.write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")


def own_weights(teacher: Any) -> dict[str, Tensor]:
    """Everything that no other file holds: not LoRA, nor the frozen weights of a checkpoint."""
    is_named = teacher.config.checkpoint is not None and not teacher.config.trains_base
    return {
        name: weight
        for name, weight in teacher.state_dict().items()
        if "lora_" not in name and not (is_named and name.startswith("language_model."))
    }


def load(teacher_class: Any, config_class: type, directory: Path, checkpoint: str | None) -> Any:
    """The saved teacher, in evaluation mode."""
    facts = read_facts(directory)
    options = dict(facts["teacher"])
    if checkpoint is not None:
        options["checkpoint"] = checkpoint
    config = TEACHERS.parse(options)
    if not isinstance(config, config_class):
        raise ValueError(f"{directory / CONFIG_FILE} is of the teacher '{options['name']}', not of this one")
    teacher = teacher_class(
        config, saved_tokenizer(directory), token_dim=facts["token_dim"], feature_dim=facts["feature_dim"]
    )
    read_into(teacher, directory)
    return teacher.eval()


def read_facts(directory: Path) -> dict[str, Any]:
    """Configuration and widths of the teacher saved in ``directory``; ``ValueError`` where a file is missing."""
    for name in (CONFIG_FILE, WEIGHTS_FILE, ADAPTER_FILE, f"{TOKENIZER_FOLDER}/tokenizer.json"):
        if not (directory / name).is_file():
            raise ValueError(f"{directory} holds no saved teacher: {name} is missing")
    return json.loads((directory / CONFIG_FILE).read_text())


def saved_tokenizer(directory: Path) -> Any:
    """The tokenizer of a saved teacher."""
    return AutoTokenizer.from_pretrained(str(directory / TOKENIZER_FOLDER), local_files_only=True)


def read_into(teacher: Any, directory: Path) -> None:
    """Give ``teacher`` the saved weights; ``ValueError`` where names or shapes are not its own."""
    peft = teacher.language_model.peft
    wanted = {
        WEIGHTS_FILE: own_weights(teacher),
        ADAPTER_FILE: get_peft_model_state_dict(peft, save_embedding_layers=False),
    }
    found = {name: read_weights(directory / name) for name in wanted}
    for name, expected in wanted.items():
        shapes = [{key: value.shape for key, value in table.items()} for table in (found[name], expected)]
        odd = sorted({key for key, _ in shapes[0].items() ^ shapes[1].items()})
        if odd:
            raise ValueError(f"{directory / name} does not fit the teacher's configuration: {odd[:4]}")
    teacher.load_state_dict(found[WEIGHTS_FILE], strict=False)
    set_peft_model_state_dict(peft, found[ADAPTER_FILE])


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; ``ValueError`` naming it where it is broken."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is no complete safetensors file: {error}") from error


def _contiguous(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    # Cloned: the tied embeddings of a random base share their memory, which safetensors refuses.
    return {
        name: weight.detach().cpu().clone(memory_format=torch.contiguous_format) for name, weight in weights.items()
    }

"""Names of runs: the digest of all that decides the result, or the user's own name, held to its configuration."""

import hashlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import dima_pipeline
from dima_pipeline.storage.manifest import digest, write_durably
from dima_pipeline.training.config import DistillationConfig, digest_of, dump_distillation

StageName = Literal["pretraining", "joint", "control"]
RUN = "run.json"
"""Beside the checkpoints of a run: all that decides its result."""
SOURCES = ("contracts", "geometry.py", "models", "planners", "storage", "surrogates", "teachers", "training")
"""Packages whose code decides what a stage results in."""
EXECUTION = ("checkpoint_every", "keep_last", "best", "gradient_norms_every")
"""Settings of a stage that change no result."""
LOCAL_WEIGHTS = ("backbone_weights", "start", "checkpoint", "base")
"""Options of a planner or teacher that name a local file or folder, of which the content counts."""
NONE = "(nothing)"
DIGESTS = {
    "data": "the tables or images",
    "weights": f"the files of its options {', '.join(LOCAL_WEIGHTS)}",
    "code": "the code of models and training",
    "parent": "what it starts from",
}


def run_name(stage: StageName, config: DistillationConfig, data_digest: str, parent: str | None) -> str:
    """``<stage>-<digest>`` of ``run_content``."""
    return f"{stage}-{digest_of(run_content(stage, config, data_digest, parent))[:16]}"


def run_content(stage: StageName, config: DistillationConfig, data_digest: str, parent: str | None) -> dict[str, Any]:
    """All that decides the result, as JSON values: what a stage does not use is left out."""
    facts = dump_distillation(config)
    used = {key: facts[key] for key in ("seed", "planner", "objective", "window")}
    used |= {key: facts[key] for key in ("teacher", "surrogates") if stage == "joint"}
    if stage != "joint":
        weights = facts["objective"]["weights"]
        planning = {name: weights[name] for name in weights if name.split("/")[0] == "planning"}
        used["objective"] = {"weights": planning}
    settings = "pretraining" if stage == "pretraining" else "joint"
    used[settings] = {key: value for key, value in facts[settings].items() if key not in EXECUTION}
    if files := weights_digests(config.planner, config.teacher if stage == "joint" else None):
        used["weights"] = digest_of(files)
    return {**used, "stage": stage, "data": data_digest, "parent": parent, "code": code_digest(config)}


def weights_digests(*plugins: Any) -> dict[str, str]:
    """Of all files below what ``LOCAL_WEIGHTS`` of the plug-ins name; what is not there is refused elsewhere."""
    named = [getattr(plugin, option, None) for plugin in plugins for option in LOCAL_WEIGHTS]
    roots = [Path(value).expanduser() for value in named if isinstance(value, str)]
    paths = [path for root in roots for path in [root, *sorted(root.rglob("*"))] if path.is_file()]
    return {str(path): digest(path) for path in paths}


def code_digest(config: DistillationConfig) -> str:
    """Digest of the source of the models and of training, plug-ins from elsewhere among them."""
    root = Path(dima_pipeline.__file__).parent
    paths = [path for name in SOURCES for path in [root / name, *(root / name).glob("*.py")] if path.is_file()]
    for plugin in (config.planner, config.teacher, *config.surrogates):
        if plugin is not None and (spec := importlib.util.find_spec(type(plugin).__module__)) and spec.origin:
            paths.append(Path(spec.origin))
    content = hashlib.sha256()
    for path in sorted(set(paths)):
        content.update(path.name.encode() + path.read_bytes())
    return content.hexdigest()


def keep_contents(contents: Mapping[Path, Mapping[str, Any]], *, is_change_allowed: bool) -> None:
    """Leave in each folder of a run what decides its result; nothing is written where one of them is refused.

    Raises ``ValueError`` that names the keys in which a folder's own content differs, unless ``is_change_allowed``.
    """
    refused = [text for folder, content in contents.items() if (text := _refusal(folder, content))]
    if refused and not is_change_allowed:
        raise ValueError(
            f"{'; '.join(refused)}. Choose another runtime.run_name, undo the change, or set runtime.resume_changed to "
            "true to go on from the newest checkpoint with the new values"
        )
    for folder, content in contents.items():
        folder.mkdir(parents=True, exist_ok=True)
        written = json.dumps(content, indent=1, sort_keys=True).encode()
        if not (folder / RUN).is_file() or (folder / RUN).read_bytes() != written:
            write_durably(folder / RUN, written)


def _refusal(folder: Path, content: Mapping[str, Any]) -> str:
    """In words how a folder's run differs from ``content``; empty where it does not."""
    path = folder / RUN
    if not path.is_file():
        has_run = (folder / "checkpoints").exists() or (folder / "model").exists()
        return f"{folder} holds a run but no {RUN} that says of what" if has_run else ""
    try:
        before = json.loads(path.read_text())
    except ValueError as error:
        return f"{path} is damaged ({error})"
    changed = changes(before, content)
    return f"the run {folder.name} has begun with something else: {', '.join(changed)}" if changed else ""


def changes(before: Any, now: Any, keys: Sequence[str] = ()) -> list[str]:
    """``key: before -> now`` for every leaf that differs, sorted by key; those of digests in words."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = sorted({*before, *now})
        return [
            text for name in names for text in changes(before.get(name, NONE), now.get(name, NONE), (*keys, str(name)))
        ]
    if before == now:
        return []
    if len(keys) == 1 and keys[0] in DIGESTS:
        return [DIGESTS[keys[0]]]
    return [f"{'.'.join(('distillation', *keys))}: {json.dumps(before)} -> {json.dumps(now)}"]

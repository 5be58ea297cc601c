"""The space of a sweep: dotted parameters of ``distillation``, checked against the real configuration before anything
starts, and written back as the parameters file of the best trial.

``surrogates.masked_reconstruction.max_ratio`` names a member of a list by its ``name``.
"""

import copy
from collections.abc import Mapping
from typing import Any

import yaml

from dima_pipeline.distributed.sweep_config import Dimension, TuningConfig
from dima_pipeline.plugins import unknown
from dima_pipeline.training.config import DistillationConfig, dump_distillation, parse_distillation
from dima_pipeline.training.stages import run_name

PLUGINS = ("planner", "teacher", "surrogates")
"""Written whole: a list replaces the one below it, and options mean nothing without their plug-in."""
FILE = "parameters_distillation.yml"


def value_at(facts: Mapping[str, Any], path: str) -> Any:
    """The value of a dotted parameter in ``dump_distillation``'s mapping; ``ValueError`` names the nearest one."""
    node, key = _place(facts, path)
    return node[key]


def with_values(facts: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of ``facts`` with dotted parameters set; raises ``ValueError`` as ``value_at`` does."""
    changed = copy.deepcopy(dict(facts))
    for path, value in values.items():
        node, key = _place(changed, path)
        node[key] = value
    return changed


def present_values(tuning: TuningConfig, config: DistillationConfig) -> dict[str, Any]:
    """The values that the parameters of the space have now: the first trial.

    Raises ``ValueError`` where ``config`` cannot be tuned, for a parameter that does not exist, for one whose present
    value the space leaves out, for values that ``distillation`` refuses, and for parameters that would not change what
    a trial learns.
    """
    facts = dump_distillation(config)
    if config.teacher is None:
        raise ValueError("distillation.teacher is null: a trial is a joint stage, which needs a teacher")
    if not config.num_development_scenes:
        raise ValueError("distillation.num_development_scenes is 0: trials are compared on scenes that none trains on")
    if tuning.num_steps > config.joint.num_steps:
        raise ValueError(
            f"tuning.num_steps {tuning.num_steps} is above distillation.joint.num_steps {config.joint.num_steps}: "
            "a trial is a shortened joint stage"
        )
    present = {path: value_at(facts, path) for path in tuning.space}
    for path, dimension in tuning.space.items():
        if not dimension.holds(present[path]):
            kind = "; a whole number needs kind integer or choice" if type(present[path]) is int else ""
            raise ValueError(
                f"tuning.space.{path}: the present value {present[path]!r} is not in {dimension.kind} "
                f"{dimension.ends()}: widen it, or the sweep cannot start from the present configuration{kind}"
            )
        for end in dimension.ends():
            if end != present[path]:
                _refuse_unused(path, config, parse_distillation(with_values(facts, {path: end})))
    return present


def _refuse_unused(path: str, config: DistillationConfig, changed: DistillationConfig) -> None:
    if run_name("pretraining", changed, "", None) != run_name("pretraining", config, "", None):
        raise ValueError(
            f"tuning.space.{path}: it changes pretraining, whose planner all trials start from: "
            "tune what the joint stage alone uses"
        )
    is_used = run_name("joint", changed, "", None) != run_name("joint", config, "", None)
    if path == "joint.num_steps" or not is_used:
        raise ValueError(f"tuning.space.{path}: it does not change what a trial of tuning.num_steps steps learns")


def _place(facts: Mapping[str, Any], path: str) -> tuple[dict[str, Any], str]:
    """The mapping that holds a dotted parameter, and its key there."""
    *parents, last = path.split(".")
    node: Any = facts
    where = "distillation"
    for part in parents:
        node, where = _child(node, part, path, where), f"{where}.{part}"
    if isinstance(_child(node, last, path, where), dict | list):
        raise ValueError(f"tuning.space.{path}: {where}.{last} is a group of parameters: name one of them")
    return node, last


def _child(node: Any, part: str, path: str, where: str) -> Any:
    options = {item["name"]: item for item in node} if isinstance(node, list) else node
    if not isinstance(options, Mapping):
        raise ValueError(f"tuning.space.{path}: {where} is one value, it has no '{part}'")
    if part not in options:
        raise ValueError(f"tuning.space.{path}: {unknown('parameter', part, sorted(options), where=where)}")
    return options[part]


def distributions(space: Mapping[str, Dimension]) -> dict[str, Any]:
    """Optuna's distribution of every parameter."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, Any] = {}
    for path, dimension in space.items():
        if dimension.kind == "choice":
            found[path] = CategoricalDistribution(dimension.values)
        elif dimension.kind == "integer":
            found[path] = IntDistribution(int(dimension.low), int(dimension.high))
        else:
            found[path] = FloatDistribution(dimension.low, dimension.high, log=dimension.kind == "loguniform")
    return found


def parameters_file(values: Mapping[str, Any], config: DistillationConfig, headline: str) -> str:
    """YAML for ``conf/<environment>``: the ``values`` of the best trial and the development scenes it was chosen on.

    All parameters of the space stand in it, also where the present value won: put in place, it loses nothing that an
    earlier sweep found. ``headline`` becomes comments.
    """
    facts = with_values(dump_distillation(config), values)
    nested: dict[str, Any] = {"num_development_scenes": config.num_development_scenes} if values else {}
    for path, value in values.items():
        *parents, last = path.split(".")
        if parents and parents[0] in PLUGINS:
            nested[parents[0]] = facts[parents[0]]
            continue
        node = nested
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = value
    comments = "".join(f"# {line}\n" for line in headline.splitlines())
    return comments + yaml.safe_dump({"distillation": nested}, sort_keys=False)

"""``dvc.yaml`` from Kedro's graph: one stage a pipeline, with the files, parameters and source that decide its result.

Kedro stays the only graph. DVC owns what a pipeline hands on: the files of the catalog are outs, and its
``metadata: {dvc: ...}`` says which of them are metrics, plots or models. How a run is executed is tracked nowhere.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml
from kedro.pipeline import Pipeline

PACKAGE = "dima_pipeline"
PARAMETERS = "params:"
EXECUTION = "runtime"
"""The one parameter file that changes no result."""
HEADER = "# Rendered from Kedro's graph by `make dvc`: change pipelines, catalog or conf/, then render it again.\n"

Content = Mapping[str, Any]
SourceOf = Callable[[str], list[str]]
"""Paths of the source that decides what the pipeline of a name results in."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What ``conf/base`` and ``conf/<name>`` say together; paths are relative to the project."""

    name: str
    dvc_file: str
    catalog: Mapping[str, Content]
    """Entries by name, every reference resolved."""
    written: Mapping[str, Content]
    """The same entries with their references, as ``${globals:licence}``."""
    parameters: Mapping[str, Content]
    """Content of the parameter files by path, those of ``conf/base`` first."""
    globals: Mapping[str, Content]
    """Content of each ``globals.yml`` by path, that of ``conf/base`` first."""

    def path_of(self, dataset: str) -> str | None:
        """The file or directory of a data set; None for one in memory or outside of the project."""
        return self.catalog.get(dataset, {}).get("filepath")

    def facts(self, dataset: str, kind: str) -> Any:
        """What the catalog tells DVC about a data set: ``metrics``, ``plot``, ``artifact`` or ``constant`` (no file,
        and it can never change); None for nothing."""
        return self.catalog[dataset].get("metadata", {}).get("dvc", {}).get(kind)


def render(pipelines: Mapping[str, Pipeline], environment: Environment, source_of: SourceOf) -> str:
    """The text of ``dvc.yaml``; raises ``ValueError`` for what two pipelines share without a file."""
    maker = {dataset: name for name, pipeline in pipelines.items() for dataset in pipeline.all_outputs()}
    needs = {name: {maker[read] for read in pipelines[name].inputs() if read in maker} for name in sorted(pipelines)}
    for dataset in sorted(maker.keys() & set().union(*(pipeline.inputs() for pipeline in pipelines.values()))):
        if environment.path_of(dataset) is None:
            raise ValueError(f"'{dataset}' goes from pipeline to pipeline, but no catalog entry gives it a filepath")
    stages = {
        name: _stage(name, pipelines[name], environment, source_of(name))
        for name in TopologicalSorter(needs).static_order()
    }
    made = [dataset for dataset in environment.catalog if dataset in maker]
    shown = {"plots": _plots(made, environment), "artifacts": _artifacts(made, environment)}
    content = {"stages": stages, **{key: value for key, value in shown.items() if value}}
    return HEADER + yaml.safe_dump(content, sort_keys=False, width=100, default_flow_style=None)


def _stage(name: str, pipeline: Pipeline, environment: Environment, sources: list[str]) -> dict[str, Any]:
    """One stage, its paths relative to the project."""
    read = [dataset for dataset in environment.catalog if dataset in pipeline.inputs()]
    made = [dataset for dataset in environment.catalog if dataset in pipeline.all_outputs()]
    stage: dict[str, Any] = {}
    if outside := [one for one in read if not environment.path_of(one) and not environment.facts(one, "constant")]:
        stage["desc"] = (
            f"DVC does not track {', '.join(outside)}: after a change there, run "
            f"`dvc repro --force --single-item {environment.dvc_file}:{name}`, then `dvc repro {environment.dvc_file}`."
        )
    stage["cmd"] = f"kedro run --pipelines {name} --env {environment.name}"
    if up := _to_project(environment):
        stage["wdir"] = up
    stage["deps"] = [path for dataset in read if (path := environment.path_of(dataset))] + sources
    stage["deps"] += _parameter_files(pipeline, environment)
    stage["params"] = _parameters(pipeline, made, environment)
    stage["outs"] = [_out(dataset, environment) for dataset in made if not environment.facts(dataset, "metrics")]
    stage["metrics"] = [_out(dataset, environment) for dataset in made if environment.facts(dataset, "metrics")]
    return {key: value for key, value in stage.items() if value}


def _out(dataset: str, environment: Environment) -> Any:
    """An out; numbers that are compared are small and stay in git."""
    is_in_git = environment.facts(dataset, "metrics") or environment.facts(dataset, "plot")
    path = environment.path_of(dataset)
    return {path: {"cache": False}} if is_in_git else path


def _asked(pipeline: Pipeline) -> list[str]:
    """The parameter keys that decide the result of a pipeline."""
    asked = {read.removeprefix(PARAMETERS).split(".")[0] for read in pipeline.inputs() if read.startswith(PARAMETERS)}
    return sorted(asked - {EXECUTION})


def _parameter_files(pipeline: Pipeline, environment: Environment) -> list[str]:
    """The files that parameters name: their content decides the result too. Such a parameter is called ``..._file``."""
    found: dict[str, list[str]] = {}
    for name in _asked(pipeline):
        for content in environment.parameters.values():
            found |= {f"{name}.{key}": _named_files(key, value) for key, value in content.get(name, {}).items()}
    return sorted({path for paths in found.values() for path in paths})


def _named_files(key: str, value: Any) -> list[str]:
    """The files that a parameter names, or what lies in it: an annotator of a list has parameters of its own."""
    if isinstance(value, Mapping):
        return [path for inner, content in value.items() for path in _named_files(inner, content)]
    if isinstance(value, list):
        return [path for content in value for path in _named_files(key, content)]
    return [value] if value and key.endswith("_file") else []


def _parameters(pipeline: Pipeline, made: list[str], environment: Environment) -> list[dict[str, list[str]]]:
    """Keys by file: the pipeline's own parameters, and the globals that these and its outs refer to."""
    tracked: dict[str, list[str]] = {}
    written: list[Any] = [environment.written[dataset] for dataset in made]
    for name in _asked(pipeline):
        for path, content in environment.parameters.items():
            if name in content:
                tracked.setdefault(path, []).append(name)
                written.append(content[name])
    for key in sorted(set(re.findall(r"\$\{globals:(\w+)\}", json.dumps(written, default=str)))):
        # Where files lie is seen in the outs.
        if not key.endswith("_dir"):
            path = [path for path, content in environment.globals.items() if key in content][-1]
            tracked.setdefault(path, []).append(key)
    return [{path: keys} for path, keys in tracked.items()]


def _to_project(environment: Environment) -> str:
    """The way from the folder of the rendered file to the project; empty where they are the same."""
    up = os.path.relpath(".", Path(environment.dvc_file).parent)
    return "" if up == "." else up


def _from_file(dataset: str, environment: Environment) -> str:
    """The path of a data set from the folder of the rendered file: plots and artifacts know no ``wdir``."""
    return Path(_to_project(environment), str(environment.path_of(dataset))).as_posix()


def _plots(made: list[str], environment: Environment) -> list[dict[str, Any]]:
    found = [(dataset, facts) for dataset in made if (facts := environment.facts(dataset, "plot"))]
    return [{dataset: facts | {"y": {_from_file(dataset, environment): facts["y"]}}} for dataset, facts in found]


def _artifacts(made: list[str], environment: Environment) -> dict[str, Any]:
    found = [(dataset, facts) for dataset in made if (facts := environment.facts(dataset, "artifact"))]
    return {dataset.replace("_", "-"): {"path": _from_file(dataset, environment)} | facts for dataset, facts in found}


def read_environment(project: Path, name: str) -> Environment:
    """The configuration of an environment of a Kedro project that is bootstrapped."""
    from kedro.config import OmegaConfigLoader
    from kedro.framework.project import settings

    conf = project / "conf"
    loader = OmegaConfigLoader(conf_source=str(conf), env=name, **settings.CONFIG_LOADER_ARGS)

    def read(pattern: str) -> dict[str, Content]:
        paths = [*sorted((conf / "base").glob(pattern)), *sorted((conf / name).glob(pattern))]
        return {path.relative_to(project).as_posix(): yaml.safe_load(path.read_text()) or {} for path in paths}

    is_default = name == settings.CONFIG_LOADER_ARGS["default_run_env"]
    return Environment(
        name=name,
        dvc_file="dvc.yaml" if is_default else f"dvc/{name}/dvc.yaml",
        catalog={dataset: entry for dataset, entry in loader["catalog"].items() if not dataset.startswith("_")},
        written={dataset: entry for content in read("catalog*.yml").values() for dataset, entry in content.items()},
        parameters=read("parameters*.yml"),
        globals=read("globals.yml"),
    )


def imported_source(project: Path) -> SourceOf:
    """What the nodes of a pipeline import, near and far. Whole packages: plug-ins are imported by their name."""
    import grimp

    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    root = Path("src", PACKAGE)

    def source_of(name: str) -> list[str]:
        modules = graph.find_upstream_modules(f"{PACKAGE}.pipelines.{name}.nodes")
        parts = {module.split(".")[1] for module in modules if "." in module} - {"pipelines"}
        found = [root / part if (project / root / part).is_dir() else root / f"{part}.py" for part in parts]
        found += [root / "pipelines" / name, root / "pipelines" / "datasets.py"]
        return sorted(path.as_posix() for path in found)

    return source_of


def render_project(project: Path) -> dict[Path, str]:
    """The text of every ``dvc.yaml`` of the project by path: one for each environment under ``conf/``."""
    from kedro.framework.project import pipelines
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(project)
    source_of = imported_source(project)
    texts = {}
    for path in sorted((project / "conf").glob("*/globals.yml")):
        if path.parent.name not in ("base", "local"):
            environment = read_environment(project, path.parent.name)
            facts = {key: value for content in environment.globals.values() for key, value in content.items()}
            left_out = {"__default__"} if facts["generates_world"] else {"__default__", "world"}
            stages = {name: pipeline for name, pipeline in pipelines.items() if name not in left_out}
            texts[project / environment.dvc_file] = render(stages, environment, source_of)
    return texts

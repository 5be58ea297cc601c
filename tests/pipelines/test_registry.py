"""The registry: quick to import, and every parameter of every node is checked by Kedro."""

import json
import subprocess
import sys

import pytest
from kedro.config import OmegaConfigLoader
from kedro.framework.project import pipelines, settings
from kedro.framework.startup import bootstrap_project
from kedro.io import DataCatalog
from kedro.validation.type_extractor import TypeExtractor

from project_folder import PROJECT

HEAVY = (
    *("torch", "ray", "evidently", "transformers", "peft", "matplotlib", "onnxruntime", "panda3d", "nuscenes"),
    *("pandas", "pandera", "pyarrow", "scipy", "shapely", "numpy"),
)


def test_all_pipelines_are_made_without_a_heavy_library():
    code = (
        "import json, sys; from pathlib import Path; from kedro.framework.startup import bootstrap_project;"
        f"bootstrap_project(Path({str(PROJECT)!r}));"
        "from kedro.framework.project import pipelines;"
        "print(json.dumps([len(pipelines), sorted(sys.modules)]))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    number, modules = json.loads(result.stdout.splitlines()[-1])
    assert number >= 8  # world ... report, and __default__
    assert [name for name in HEAVY if name in modules] == []


def test_every_parameter_of_a_node_has_a_config_class_that_kedro_finds():
    # Where a hint cannot be evaluated, Kedro warns and checks nothing at all.
    bootstrap_project(PROJECT)
    asked = {name for pipeline in pipelines.values() for name in pipeline.inputs() if name.startswith("params:")}
    typed = TypeExtractor(dict(pipelines)).extract_types_from_pipelines()
    assert {f"params:{name}" for name in typed} == asked
    assert typed["distillation"].__name__ == "DistillationConfig"


@pytest.mark.parametrize("environment", ["synthetic", "nuscenes_mini", "nuscenes"])
def test_every_pipeline_finds_its_files_in_the_catalog(environment):
    bootstrap_project(PROJECT)
    loader = OmegaConfigLoader(str(PROJECT / "conf"), env=environment, **settings.CONFIG_LOADER_ARGS)
    entries = {name: entry for name, entry in loader["catalog"].items() if not name.startswith("_")}
    catalog = DataCatalog.from_config(entries)
    for name in entries:
        assert catalog.get(name) is not None
    wanted = {dataset for pipeline in pipelines.values() for dataset in pipeline.datasets()}
    missing = {dataset for dataset in wanted - set(entries) if not dataset.startswith("params:")}
    assert not missing

"""The report through Kedro: what the catalog holds becomes a page; what an environment says reaches it."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml

from dima_pipeline.contracts.frames import CAMERAS, COMMANDS, CONTRACT_VERSION
from dima_pipeline.contracts.result_tables import GroundingRates
from dima_pipeline.pipelines.datasets import JsonDataset, TableDataset
from dima_pipeline.pipelines.report.pipeline import INPUTS
from dima_pipeline.storage.manifest import verify, write_manifest
from report_facts import make_facts

PROJECT = Path(__file__).parents[2]
RATES = GroundingRates.validate(
    pd.DataFrame([("rules", "count", 9, 1, 0, "How many? Two.")], columns=list(GroundingRates.to_schema().columns))
)
HEAVY = {"torch", "ray", "evidently", "matplotlib", "transformers", "pandas", "jinja2", "PIL"}


def write_bundle(directory: Path) -> None:
    """What the report reads of a planner bundle: its card."""
    directory.mkdir(parents=True)
    card = {"contract_version": CONTRACT_VERSION, "cameras": CAMERAS, "commands": COMMANDS, "num_parameters": 4321}
    card |= {"image_size": [2, 3], "bev_shape": [1, 1], "token_dim": 1, "feature_dim": 1, "planner": {"name": "vad"}}
    card["training"] = {"run": "joint-77"}
    for name, content in {"card.json": json.dumps(card), "planner.onnx": "o", "planner.safetensors": "s"}.items():
        (directory / name).write_text(content)
    write_manifest(directory, kind="planner_bundle")


def write_inputs(data: Path, metrics: Path) -> None:
    """Everything that the node reads, where the catalog says."""
    facts = make_facts(grounding=RATES)
    catalog = yaml.safe_load((PROJECT / "conf/base/catalog.yml").read_text())
    folders = {"${globals:data_dir}": str(data), "${globals:metrics_dir}": str(metrics)}

    def path_of(dataset: str) -> Path:
        text = catalog[dataset]["filepath"]
        for name, folder in folders.items():
            text = text.replace(name, folder)
        return Path(text)

    for field, dataset in INPUTS.items():
        if catalog.get(dataset, {}).get("type", "").endswith("TableDataset"):
            TableDataset(filepath=str(path_of(dataset)), licence="CC BY-NC 4.0").save(getattr(facts, field))
    JsonDataset(filepath=str(path_of("drift_verdict"))).save(dict(facts.drift_verdict))
    write_bundle(path_of("planner_bundle"))
    for dataset, name, content in (("pictures", "pictures.json", []), ("joint_model", "config.json", {})):
        path_of(dataset).mkdir(parents=True)
        text = json.dumps(content if name == "pictures.json" else {"config": dict(facts.training)})
        (path_of(dataset) / name).write_text(text)
        write_manifest(path_of(dataset))


def test_the_page_of_a_run_knows_its_data_its_licence_and_its_environment(kedro_run, tmp_path: Path):
    write_inputs(tmp_path / "data", tmp_path / "metrics")
    assert kedro_run("--pipelines", "report", changes={"evaluation": {"min_samples": 33}}) == 0
    directory = tmp_path / "data/08_reporting/report"
    assert verify(directory)["licence"] == "CC BY-NC 4.0"
    text = (directory / "index.html").read_text(encoding="utf-8")
    assert "Not for commercial use" in text and "hand-made" in text and "joint-77" in text and "4,321 weights" in text
    assert f"{tmp_path}/data/06_models/planner_bundle" in text and "below 33 scored keyframes" in text
    assert "DIMA_DATAROOT=/path/to/recordings dvc repro" in text, "this environment does not generate its data"


def test_a_misspelt_setting_of_the_report_stops_the_run(kedro_run, capsys):
    assert kedro_run("--pipelines", "report", changes={"report": {"datset": "x"}}) == 1
    assert "datset" in capsys.readouterr().err


def test_naming_the_pipeline_loads_nothing_heavy():
    code = "import sys, dima_pipeline.pipelines.report.nodes; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert HEAVY & set(loaded) == set()

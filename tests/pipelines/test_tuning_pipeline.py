"""The ``tuning`` pipeline: wired to the catalog, off where it was not asked for, strict about its parameters."""

import pytest
import yaml

from dima_pipeline.contracts.result_tables import SweepTrials
from dima_pipeline.pipelines.tuning.nodes import tune_distillation
from dima_pipeline.pipelines.tuning.pipeline import create_pipeline
from dima_pipeline.storage.manifest import verify
from dima_pipeline.storage.runtime import RuntimeConfig
from project_folder import PROJECT
from sweep_cases import make_data, make_distillation, make_tuning


def test_everything_it_reads_and_writes_is_in_the_catalog_and_distillation_does_not_wait_for_it():
    catalog = yaml.safe_load((PROJECT / "conf" / "base" / "catalog.yml").read_text())
    pipeline = create_pipeline()
    assert {name for name in pipeline.inputs() if not name.startswith("params:")} <= set(catalog)
    assert pipeline.outputs() == {"sweep_trials", "sweep"} <= set(catalog)
    assert {"params:tuning", "params:distillation", "params:runtime"} <= pipeline.inputs()


def test_without_a_number_of_trials_the_node_gives_an_empty_table_and_a_finished_directory(tmp_path):
    tables, shards = make_data(tmp_path)
    runtime = RuntimeConfig(work_dir=str(tmp_path / "work"))
    trials, directory = tune_distillation(
        make_tuning(num_trials=0), make_distillation(), runtime, shards, **vars(tables)
    )
    assert SweepTrials.validate(trials).empty
    assert verify(directory)["num_trials"] == 0


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        ({"num_trails": 3}, "num_trails"),
        ({"space": {"joint.learning_rate": {"kind": "gauss"}}}, "kind"),
        ({"num_trials": -1}, "greater than or equal to 0"),
    ],
)
def test_wrong_parameters_end_the_run_before_it_starts(kedro_run, capsys, tuning, message):
    assert kedro_run("--pipelines", "tuning", changes={"tuning": tuning}) == 1
    text = capsys.readouterr().err
    assert text.count("Error:") == 1 and "Traceback" not in text and message in text

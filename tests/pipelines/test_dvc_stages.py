"""``dvc.yaml`` rendered from a graph: a hand-made one whose stages are known by eye, and the project's own files."""

from dataclasses import replace

import pytest
import yaml
from kedro.pipeline import Pipeline, node

from dima_pipeline.pipelines.dvc_stages import Environment, imported_source, render, render_project
from project_folder import PROJECT


def bake(*ingredients):
    """A node function; never called."""


def pipeline(inputs: list[str], outputs: list[str]) -> Pipeline:
    """A pipeline of one node."""
    return Pipeline([node(bake, inputs, outputs, name=outputs[0])])


PIPELINES = {
    # Alphabetically the last comes first: the order must be that of the data.
    "zero": pipeline(["params:zero", "params:runtime"], ["dough"]),
    "heat": pipeline(["dough", "oven", "params:heat"], ["bread", "warmth"]),
    "taste": pipeline(["bread", "params:taste.salt", "params:heat"], ["verdict", "curve", "note"]),
}
ENVIRONMENT = Environment(
    name="toy",
    dvc_file="dvc.yaml",
    catalog={
        "oven": {"type": "Oven"},
        "dough": {"filepath": "data/dough.txt"},
        "bread": {
            "filepath": "data/bread",
            "metadata": {"dvc": {"artifact": {"type": "model", "desc": "Fresh", "labels": ["warm"]}}},
        },
        "unused": {"filepath": "data/unused"},
        "verdict": {"filepath": "metrics/verdict.json", "metadata": {"dvc": {"metrics": True}}},
        "curve": {
            "filepath": "metrics/curve.json",
            "metadata": {"dvc": {"plot": {"x": "minute", "y": ["crust", "crumb"]}}},
        },
    },
    written={
        "dough": {"filepath": "${globals:data_dir}/dough.txt", "licence": "${globals:licence}"},
        "bread": {"filepath": "${globals:data_dir}/bread"},
        "verdict": {"filepath": "${globals:metrics_dir}/verdict.json"},
        "curve": {"filepath": "${globals:metrics_dir}/curve.json"},
    },
    parameters={
        "conf/base/parameters_heat.yml": {"heat": {"degrees": 200}},
        "conf/base/parameters_taste.yml": {"taste": {"salt": 1, "who": "${globals:judge}"}},
        "conf/base/parameters_zero.yml": {"zero": {"flour": 500}},
        "conf/base/parameters_runtime.yml": {"runtime": {"device": "cpu"}},
        "conf/toy/parameters_heat.yml": {"heat": {"degrees": 180}},
    },
    globals={
        "conf/base/globals.yml": {"licence": "unknown", "judge": "nobody", "data_dir": "data"},
        "conf/toy/globals.yml": {"licence": "free"},
    },
)


def stages(environment: Environment = ENVIRONMENT, pipelines: dict[str, Pipeline] = PIPELINES) -> dict:
    """The rendered file, read back."""
    return yaml.safe_load(render(pipelines, environment, lambda name: [f"src/{name}.py"]))


def test_stages_stand_in_the_order_of_their_data():
    assert list(stages()["stages"]) == ["zero", "heat", "taste"]


def test_a_stage_depends_on_what_others_made_its_source_and_its_parameters_in_both_places():
    assert stages()["stages"]["heat"] == {
        "desc": "DVC does not track oven: after a change there, run `dvc repro --force --single-item dvc.yaml:heat`, "
        "then `dvc repro dvc.yaml`.",
        "cmd": "kedro run --pipelines heat --env toy",
        "deps": ["data/dough.txt", "src/heat.py"],
        "params": [{"conf/base/parameters_heat.yml": ["heat"]}, {"conf/toy/parameters_heat.yml": ["heat"]}],
        "outs": ["data/bread"],
    }


def test_a_stage_depends_on_the_globals_it_is_written_with_where_they_are_decided_and_never_on_runtime():
    found = stages()["stages"]
    assert found["zero"]["params"] == [
        {"conf/base/parameters_zero.yml": ["zero"]},
        {"conf/toy/globals.yml": ["licence"]},
    ]
    assert {"conf/base/globals.yml": ["judge"]} in found["taste"]["params"]


def test_a_stage_depends_on_the_content_of_files_that_its_parameters_name():
    parameters = dict(ENVIRONMENT.parameters)

    def deps() -> list[str]:
        return stages(replace(ENVIRONMENT, parameters=parameters))["stages"]["heat"]["deps"]

    parameters["conf/base/parameters_heat.yml"] = {"heat": {"curve_file": None, "log_file": "a"}}
    assert deps() == ["data/dough.txt", "src/heat.py", "a"]
    parameters["conf/toy/parameters_heat.yml"] = {"heat": {"curve_file": "curve.txt", "log_file": None}}
    assert deps() == ["data/dough.txt", "src/heat.py", "curve.txt"]


def test_files_are_found_in_lists_that_an_environment_may_replace():
    parameters = dict(ENVIRONMENT.parameters)
    parameters["conf/base/parameters_heat.yml"] = {"heat": {"cooks": [{"name": "a", "book_file": "a.txt"}, {"b": 1}]}}
    found = stages(replace(ENVIRONMENT, parameters=parameters))
    assert found["stages"]["heat"]["deps"][-1] == "a.txt"
    parameters["conf/toy/parameters_heat.yml"] = {"heat": {"cooks": [{"name": "b", "book_file": "b.txt"}]}}
    found = stages(replace(ENVIRONMENT, parameters=parameters))
    deps = found["stages"]["heat"]["deps"]
    assert "a.txt" not in deps and deps[-1] == "b.txt"


def test_what_never_changes_is_not_said_to_be_untracked():
    catalog = {**ENVIRONMENT.catalog, "oven": {"type": "Oven", "metadata": {"dvc": {"constant": True}}}}
    assert "oven" in stages(ENVIRONMENT)["stages"]["heat"]["desc"]
    assert "desc" not in stages(replace(ENVIRONMENT, catalog=catalog))["stages"]["heat"]


def test_numbers_and_plots_stay_in_git_and_what_has_no_file_is_nobodys_out():
    taste = stages()["stages"]["taste"]
    assert taste["metrics"] == [{"metrics/verdict.json": {"cache": False}}]
    assert taste["outs"] == [{"metrics/curve.json": {"cache": False}}]


def test_plots_and_models_are_shown():
    found = stages()
    assert found["plots"] == [{"curve": {"x": "minute", "y": {"metrics/curve.json": ["crust", "crumb"]}}}]
    assert found["artifacts"] == {"bread": {"path": "data/bread", "type": "model", "desc": "Fresh", "labels": ["warm"]}}


def test_a_file_in_a_folder_of_its_own_finds_the_project():
    found = stages(replace(ENVIRONMENT, dvc_file="dvc/toy/dvc.yaml"))
    assert {stage["wdir"] for stage in found["stages"].values()} == {"../.."}
    assert found["stages"]["zero"]["outs"] == ["data/dough.txt"]
    assert found["artifacts"]["bread"]["path"] == "../../data/bread"
    assert list(found["plots"][0]["curve"]["y"]) == ["../../metrics/curve.json"]


def test_what_goes_between_pipelines_must_have_a_file():
    with pytest.raises(ValueError, match="'note' goes from pipeline to pipeline"):
        stages(pipelines=PIPELINES | {"frame": pipeline(["note"], ["picture"])})


def test_the_source_of_a_pipeline_is_what_its_nodes_import_and_nothing_else():
    source_of = imported_source(PROJECT)
    annotation = source_of("annotation")
    names = {path.removeprefix("src/dima_pipeline/") for path in annotation}
    assert {"annotations", "slices", "plugins.py", "pipelines/annotation", "pipelines/datasets.py"} <= names
    assert names.isdisjoint({"world", "training", "reporting", "cli", "pipelines/ingestion"})
    assert {"src/dima_pipeline/planners", "src/dima_pipeline/teachers"} <= set(source_of("distillation"))
    for path in annotation:
        assert (PROJECT / path).exists()


def test_the_committed_files_are_what_the_graph_says_now():
    texts = render_project(PROJECT)
    committed = {PROJECT / "dvc.yaml", *PROJECT.glob("dvc/*/dvc.yaml")}
    assert set(texts) == committed
    for path, text in texts.items():
        assert path.read_text() == text, f"{path} is stale: run `make dvc`"


def test_only_the_generated_world_has_a_stage_that_makes_recordings():
    texts = {path.parent.name: yaml.safe_load(text) for path, text in render_project(PROJECT).items()}
    assert "world" in texts[PROJECT.name]["stages"]
    assert "world" not in texts["nuscenes"]["stages"]
    assert "DVC does not track dataroot" in texts["nuscenes"]["stages"]["ingestion"]["desc"]

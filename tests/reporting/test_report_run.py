"""What was trained on what, and the command lines that fit the environment."""

import re
from pathlib import Path

import pytest

from dima_pipeline import pipelines
from dima_pipeline.reporting import commands, run
from dima_pipeline.reporting.config import ReportConfig
from dima_pipeline.reporting.wording import interval, listed, many, number, percent, quantity, short, signed
from report_facts import make_bare_facts, make_facts, make_findings, make_overlap

OWN = ReportConfig(dataset="my fleet", data_dir="data/fleet", generates_world=False)


def with_sources(**sources: str):
    """The samples with the images of some cameras from elsewhere."""
    return make_facts().samples.assign(**{f"{camera}_source": source for camera, source in sources.items()})


def test_images_are_counted_by_source_and_split():
    train, val = run.data_rows(make_facts(samples=with_sources(cam_back="missing", cam_front="rendered")))
    assert (train["split"], train["scenes"], train["keyframes"]) == ("train", 2, 12)
    assert (val["recorded"], val["rendered"], val["missing"]) == (4 * 48, 48, 48)


def test_drawings_of_a_generated_world_are_not_called_recordings():
    facts = make_facts()
    assert run.images_in_words(facts, facts.samples) == "360 images, all drawn by the generator"


def test_recordings_say_what_is_recorded_rendered_and_missing():
    samples = with_sources(cam_back="missing", cam_front="rendered")
    words = run.images_in_words(make_facts(run=OWN), samples)
    assert words == "240 images recorded, 60 rendered from the log; 60 are missing"


def test_the_opening_says_what_was_trained_on_and_scored_on_what():
    assert run.opening(make_facts()) == (
        "It was trained on 2 training scenes of a made-up world (12 keyframes; 72 images, all drawn by the generator; "
        "licence Apache-2.0) and scored on 10 scenes of the split “val” (240 keyframes) that it had never seen."
    )


def test_scenes_held_out_of_training_are_not_counted_as_trained_on():
    facts = make_facts(training={**make_facts().training, "num_development_scenes": 1})
    assert "trained on 1 of 2 training scenes of a made-up world (12 keyframes in all;" in run.opening(facts)


def test_scores_on_training_scenes_are_said_to_be_such():
    assert run.opening(make_facts(split="train")).endswith("scenes that it was trained on.")


@pytest.mark.parametrize(
    ("checkpoint", "words"), [(None, "from scratch"), ("/m/llama", "from the checkpoint /m/llama")]
)
def test_the_teacher_is_named_with_where_it_comes_from(checkpoint: str | None, words: str):
    teacher = {"name": "causal_lm", "checkpoint": checkpoint}
    facts = make_facts(training={"teacher": teacher})
    assert run.models_in_words(facts) == f"Planner “vad” (123,456 weights); teacher “causal_lm”, trained {words}."


def test_stages_show_their_steps_and_loss():
    planner, joint = run.stage_rows(make_facts())
    assert (planner["name"], planner["steps"], planner["loss"]) == ("planner", 299, "4.30 → 0.70")
    assert joint["what"].startswith("planner and teacher together")


def test_every_pipeline_leaves_a_number():
    shown = {station.pipeline: (station.number, station.words) for station in run.stations(make_facts())}
    assert shown == {
        "world": ("10 scenes", "2 train and 8 val; 1 place"),
        "ingestion": ("60 keyframes", "360 images, all drawn by the generator"),
        "annotation": ("5 rare events", "in 3 slices"),
        "tuning": ("3 trials", "of other settings"),
        "distillation": ("598 steps", "299 planner and 299 joint"),
        "export": ("123,456 weights", "in one ONNX file, no LLM inside"),
        "evaluation": ("L2 0.93 m", "0.9\u00a0% collisions; means of 1, 2 and 3 s"),
        "drift": ("2 of 4 features", "drifted"),
    }


def test_pipelines_that_did_nothing_say_so():
    shown = {station.pipeline: (station.number, station.words) for station in run.stations(make_bare_facts())}
    assert shown["tuning"] == ("0 trials", "no sweep was made") and shown["annotation"][0] == "0 rare events"
    assert shown["drift"][0] == "0 of 0 features"
    assert run.stations(make_facts(run=OWN))[0].pipeline == "recordings"


def test_every_command_names_the_environment_and_its_folder():
    lines = [item.lines for items in commands.command_groups(OWN).values() for item in items]
    text = "\n".join(lines)
    assert "--env fleet" in text and "data/fleet/06_models/planner_bundle" in text and "synthetic" not in text
    assert "cp data/fleet/06_models/sweep/parameters_distillation.yml conf/fleet/" in text
    assert "DIMA_DATAROOT=/path/to/recordings dvc repro dvc/fleet/dvc.yaml" in text


def test_a_generated_world_needs_no_dataroot_and_the_default_stages():
    here = ReportConfig(data_dir="data/synthetic")
    lines = [item.lines for items in commands.command_groups(here).values() for item in items]
    assert "dvc repro" in lines and "PlannerBundle.load" in lines[-1]
    assert all("DIMA_DATAROOT" in line for line in lines if "--env nuscenes" in line)


def test_every_pipeline_of_a_command_exists():
    known = {path.parent.name for path in Path(pipelines.__file__).parent.glob("*/pipeline.py")}
    text = "\n".join(item.lines for items in commands.command_groups(OWN).values() for item in items)
    asked = {name for names in re.findall(r"--pipelines=(\S+)", text) for name in names.split(",")}
    assert {"tuning", "distillation", "drift", "report"} <= asked <= known


@pytest.mark.parametrize(
    ("value", "shown"), [(1.005, "1.00"), (-0.5, "−0.50"), (-0.001, "0.00"), (float("nan"), "–"), (float("inf"), "–")]
)
def test_numbers_have_a_true_minus_and_unknown_ones_a_dash(value: float, shown: str):
    assert number(value) == shown


def test_words_and_numbers_are_written_as_people_do():
    assert (signed(0.25), signed(-0.25), signed(0.001), signed(0.0)) == ("+0.25", "−0.25", "0.00", "0.00")
    assert (percent(0.125), percent(float("nan")), short(0.012345), short(float("nan"))) == (
        "12.5\u00a0%", "–", "0.0123", "–",
    )  # fmt: skip
    assert (many(1, "scene"), many(1200, "scene")) == ("1 scene", "1,200 scenes")
    assert (listed([]), listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])) == (
        "",
        "a",
        "a and b",
        "a, b and c",
    )
    assert (quantity("speed_mps"), quantity("num_agents"), quantity("m")) == ("speed, m/s", "num agents", "m")
    assert interval(float("nan"), 1.0) == "–"


def test_odd_things_in_the_recordings_are_counted_by_kind():
    first, second = run.finding_rows(make_findings())
    assert first == {"check": "box size", "records": "5", "scenes": 2, "example": "a car of 40 m"}
    assert second == {"check": "no can bus", "records": "1", "scenes": 0, "example": "there is none"}
    assert run.finding_rows(make_findings().iloc[:0]) == []


def test_places_that_training_knows_are_named_and_none_is_said_plainly():
    assert run.overlap_in_words(make_overlap(0, 3)) == (
        "Of 48 keyframes of “val” 3 were recorded within 5 m of a training keyframe (singapore-onenorth 12\u00a0%)."
    )
    none = "None of the 24 keyframes of “val” was recorded within 5 m of a training keyframe."
    assert run.overlap_in_words(make_overlap(0)) == none
    assert run.overlap_in_words(make_overlap(0).iloc[:0]) == ""

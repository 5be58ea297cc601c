"""``dima review``: a folder that Label Studio can take, and its export back into decisions."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from kedro.io import DatasetError
from PIL import Image

from dima_pipeline.cli import main, review
from dima_pipeline.cli.tables import Environment, open_environment
from dima_pipeline.curation.annotation_config import AnnotationConfig
from dima_pipeline.curation.review import read_decisions
from dima_pipeline.curation.review_tasks import PICTURES
from dima_pipeline.evaluation.drawing import MARK_COLOUR
from dima_pipeline.storage.manifest import verify
from evaluation_scenes import make_fleet, write_shards
from project_folder import PROJECT
from review_cases import NO_SLICES, annotation, exported, pair_row, pairs_of, result, write_json

TOKEN = "scene-0001-002"
MARKED = pair_row("Two.", sample=TOKEN, check="failed", reason="count: said two, tables hold 1", objects=["car-1"])
PLAIN = pair_row("Yes.", sample=TOKEN, objects=[])
ELSEWHERE = pair_row("<b>No.</b>", sample="scene-0002-003", objects=["car-2"])


class Catalog(dict):
    """Entries by name, as a Kedro catalog."""

    def load(self, name):
        if name not in self:
            raise DatasetError(f"{name} is not there")
        return self[name]

    def exists(self, name):
        return name in self


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """An environment of three scenes with three pairs and image shards, without recordings."""
    tables = {name: getattr(make_fleet(), name) for name in review.TABLES[:6]}
    write_shards(tmp_path / "shards", tables["samples"])
    rest = {"vqa_pairs": pairs_of(MARKED, PLAIN, ELSEWHERE), "slice_members": NO_SLICES}
    catalog = Catalog(tables | rest | {"image_shards": tmp_path / "shards"})
    parameters = {"annotation": AnnotationConfig()}
    found = Environment(
        name="synthetic", data_dir=tmp_path / "data", licence="test", parameters=parameters, catalog=catalog
    )
    monkeypatch.setattr(review, "open_environment", lambda name: Environment(**{**vars(found), "name": name}))
    monkeypatch.setenv("COLUMNS", "160")
    return found


def run(*arguments):
    return CliRunner().invoke(main, ["review", *map(str, arguments)])


def export(out, *options):
    done = run("export", "--out", out, *options)
    assert done.exit_code == 0, done.output
    return json.loads((out / "tasks.json").read_text(encoding="utf-8"))


def picture(out, task, key):
    """The picture that Label Studio would serve with the folder above ``out`` as its document root."""
    address = task["data"][key]
    assert address.startswith("/data/local-files/?d=")
    with Image.open(out.parent / address.partition("?d=")[2]) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def has_colour(pixels, colour):
    wanted = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
    return bool((np.abs(pixels - wanted).max(-1) < 12).any())


def test_tasks_come_with_six_images_from_shards_alone_and_a_view_from_above(environment, tmp_path):
    out = tmp_path / "out"
    tasks = export(out, "--num", 10)
    assert tasks[0]["data"]["answer"] == "Two."
    assert {task["data"]["tier"] for task in tasks} == {"failed", "audit"}
    row = environment.catalog["samples"]["sample_token"].tolist().index(TOKEN)
    for key in PICTURES[:6]:
        pixels = picture(out, tasks[0], key)
        assert pixels.shape == (24, 40, 3) and abs(pixels.mean() - row) < 2
    assert has_colour(picture(out, tasks[0], "above"), MARK_COLOUR)
    plain = next(task for task in tasks if task["data"]["pair_id"] == PLAIN["pair_id"])
    assert not has_colour(picture(out, plain, "above"), MARK_COLOUR)
    assert plain["data"]["cam_front"] == tasks[0]["data"]["cam_front"]
    assert verify(out)["licence"] == tasks[0]["data"]["licence"] == "test"
    assert "<View>" in (out / "labeling_config.xml").read_text()


def test_recorded_files_are_taken_as_they_are_and_missing_cameras_say_so(environment, tmp_path):
    samples = environment.catalog["samples"]
    samples["cam_front_file"], samples["cam_back_source"] = "front.png", "missing"
    environment.catalog["dataroot"] = tmp_path / "recorded"
    (tmp_path / "recorded").mkdir()
    Image.new("RGB", (80, 45), "#123456").save(tmp_path / "recorded" / "front.png")
    tasks = export(tmp_path / "out", "--num", 1)
    assert picture(tmp_path / "out", tasks[0], "cam_front").shape == (45, 80, 3)
    assert picture(tmp_path / "out", tasks[0], "cam_front_left").shape == (24, 40, 3)
    assert tasks[0]["data"]["cam_back"].endswith("/missing.png")


def test_the_same_export_has_the_same_bytes(environment, tmp_path):
    for name in ("a", "b"):
        export(tmp_path / name / "out")
    assert verify(tmp_path / "a" / "out") == verify(tmp_path / "b" / "out")


def test_markup_is_kept_verbatim(environment, tmp_path):
    answers = [task["data"]["answer"] for task in export(tmp_path / "out")]
    assert "<b>No.</b>" in answers


def test_an_object_far_behind_is_in_the_picture(environment, tmp_path):
    agents = environment.catalog["agents"]
    agents.loc[agents["sample_token"] == TOKEN, "x_m"] = -27.0
    tasks = export(tmp_path / "out", "--num", 1)
    assert has_colour(picture(tmp_path / "out", tasks[0], "above"), MARK_COLOUR)


def decide(tmp_path, tasks, *results, by=1):
    """What Label Studio exports after one annotator decided about all tasks."""
    content = [exported(task, annotation(*results, by=by), number=at) for at, task in enumerate(tasks)]
    return write_json(tmp_path / f"export-{by}.json", content)


def test_decisions_go_round_and_a_second_import_adds_nothing(environment, tmp_path):
    tasks = export(tmp_path / "out")
    file = decide(tmp_path, tasks, result("decision", "fix"), result("fixed_answer", "1 car."))
    done = run("import", file)
    assert done.exit_code == 0, done.output
    assert "3 decisions added, 0 were there already" in done.output
    assert "3 pairs are decided upon: 0 accept, 3 fix, 0 reject, 0 disputed" in done.output
    assert "0 of them are stale" in done.output and "set annotation.decisions_file to" in done.output
    path = tmp_path / "data" / "review" / "decisions.jsonl"
    assert read_decisions(path)["fixed_answer"].tolist() == ["1 car."] * 3
    again = run("import", file)
    assert "0 decisions added, 3 were there already" in again.output
    left = run("export", "--out", tmp_path / "left")
    assert left.exit_code == 1 and "no pair is left to review" in left.output
    assert not (tmp_path / "left").exists()


def test_after_another_annotation_decisions_without_a_pair_are_reported_and_kept(environment, tmp_path):
    run("import", decide(tmp_path, export(tmp_path / "out"), result("decision", "reject")))
    environment.catalog["vqa_pairs"] = pairs_of(MARKED)
    done = run("import", decide(tmp_path, [], result("decision", "accept"), by=2))
    assert "2 of them are stale" in done.output
    assert len(read_decisions(tmp_path / "data" / "review" / "decisions.jsonl")) == 3


def test_agreement_is_printed_and_written(environment, tmp_path):
    tasks = export(tmp_path / "out")
    run("import", decide(tmp_path, tasks, result("decision", "accept"), by=1))
    run("import", decide(tmp_path, tasks[1:], result("decision", "accept"), by=2))
    run("import", decide(tmp_path, tasks[:1], result("decision", "reject"), by=2))
    done = run("agreement", "--json", tmp_path / "agreement.json")
    assert done.exit_code == 0, done.output
    (row,) = json.loads((tmp_path / "agreement.json").read_text())["agreement"]
    assert row == {"first": "1", "second": "2", "num_shared": 3, "observed": pytest.approx(2 / 3), "kappa": 0.0}
    assert "2 accept, 0 fix, 0 reject, 1 disputed" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "--out", "{tmp}"], "is there and not empty: name a new folder"),
        (["export", "--out", "{tmp}/out", "--share", "faild=1"], "did you mean 'failed'"),
        (["export", "--out", "{tmp}/out", "--share", "failed"], "write failed=0.5"),
        (
            ["export", "--out", "{tmp}/out", "--share", "failed=much"],
            "--share failed=much: Input should be a valid number",
        ),
        (["export", "--out", "{tmp}/out", "--share", "audit=-1"], "--share audit=-1: Input should be greater than"),
        (["export", "--out", "{tmp}/out", "--decisions", "{tmp}/none"], "none does not exist: `dima review import`"),
        (["import", "{tmp}/none.json"], "none.json is no file"),
        (["import", "{tmp}/mine.txt"], "mine.txt is no JSON"),
        (["agreement"], "decisions.jsonl does not exist: `dima review import` makes it"),
    ],
)
def test_what_a_user_gets_wrong_is_one_message_and_nothing_is_written(environment, tmp_path, arguments, message):
    (tmp_path / "mine.txt").write_text("mine")
    done = run(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert done.exit_code == 1 and message in done.stderr and "Traceback" not in done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt", "shards"]


def test_tasks_of_another_environment_are_refused_and_the_decisions_stay(environment, tmp_path):
    tasks = export(tmp_path / "out")
    file = decide(tmp_path, tasks, result("decision", "accept"))
    run("import", file)
    path = tmp_path / "data" / "review" / "decisions.jsonl"
    before = path.read_bytes()
    done = run("import", file, "--env", "nuscenes")
    assert done.exit_code == 1 and "data.environment is 'synthetic': of another project" in done.stderr
    assert path.read_bytes() == before


def test_a_pair_of_no_keyframe_stops_the_export_and_leaves_nothing(environment, tmp_path):
    environment.catalog["vqa_pairs"] = pairs_of(pair_row("Two.", sample="gone"))
    done = run("export", "--out", tmp_path / "out")
    assert done.exit_code == 1 and "sample_token 'gone' is not in samples: run annotation again" in done.stderr
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))


def test_an_environment_of_this_project_says_where_its_tables_lie(monkeypatch):
    monkeypatch.chdir(PROJECT)
    found = open_environment("synthetic")
    assert found.data_dir == PROJECT / "data" / "synthetic" and found.licence == "Apache-2.0"
    assert set(review.TABLES) | {"image_shards", "dataroot"} <= set(found.catalog.keys())
    assert found.parameters["annotation"].decisions_file is None
    with pytest.raises(ValueError, match="did you mean 'synthetic'"):
        open_environment("syntetic")

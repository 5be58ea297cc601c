"""Tasks for Label Studio and decisions from it, against the documented formats (labelstud.io/guide/tasks, /export)."""

import json
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline.curation.review import COLUMNS, LABELS, add_decisions
from dima_pipeline.curation.review_import import read_export
from dima_pipeline.curation.review_queue import review_queue
from dima_pipeline.curation.review_tasks import PICTURES, labeling_config, review_tasks
from hand_scenes import HandScene, make_tables, straight
from review_cases import NO_SLICES, annotation, exported, pair_row, pairs_of, result, task_of, write_json

PAIR = pair_row("Two.", sample="scene-0001-001")
TASK = task_of(PAIR)
SCALARS = (str, int, float, bool)


def tasks_of(*rows):
    tables = make_tables(HandScene(straight(3, 5.0)))
    queue = review_queue(pairs_of(*rows), NO_SLICES)
    pictures = {row["pair_id"]: {key: f"out/images/a b_{key}.jpg" for key in PICTURES} for row in rows}
    facts = {"environment": "synthetic", "licence": "Apache-2.0"}
    return review_tasks(queue, tables.samples, tables.scenes, pictures, facts=facts)


def variables(config):
    """Names of task data that a labelling interface asks for."""
    values = [element.get("value", "") for element in Xml.fromstring(config).iter()]
    return {value[1:] for value in values if value.startswith("$")}


def test_a_task_has_the_documented_form_and_all_that_the_interface_shows():
    (task,) = json.loads(json.dumps(tasks_of(PAIR), allow_nan=False))
    assert set(task) == {"data", "meta"}
    assert all(isinstance(value, SCALARS) for value in task["data"].values())
    assert variables(labeling_config()) <= set(task["data"])
    assert task["data"]["cam_front"] == "/data/local-files/?d=out/images/a%20b_cam_front.jpg"
    assert task["data"]["scene"] == "scene-0001, keyframe 1: Sunny, straight road"
    assert task["data"]["pair_id"] == PAIR["pair_id"] and task["data"]["rank"] == 1


def test_the_interface_has_unique_names_and_every_control_labels_an_object():
    root = Xml.fromstring(labeling_config())
    names = [element.get("name") for element in root.iter() if element.get("name")]
    objects = {element.get("name") for element in root.iter() if element.tag in ("Text", "Image")}
    controls = [element for element in root.iter() if element.get("toName")]
    assert len(set(names)) == len(names)
    assert [element.get("name") for element in controls] == ["decision", "fixed_question", "fixed_answer", "note"]
    assert all(element.get("toName") in objects for element in controls)
    assert tuple(choice.get("value") for choice in root.iter("Choice")) == LABELS
    assert {element.get("name") for element in root.iter("Image")} == set(PICTURES)


def test_markup_stays_as_it_is_and_is_only_ever_shown_as_text():
    odd = pair_row('<img src=x onerror="alert(1)"> $answer\x00\u202e', "http://10.0.0.1/?", sample="scene-0001-001")
    data = tasks_of(odd)[0]["data"]
    assert (data["question"], data["answer"]) == (odd["question"], odd["answer"])
    root = Xml.fromstring(labeling_config())
    assert {element.tag for element in root.iter()} == {
        *("View", "Header", "Text", "Choices", "Choice", "TextArea", "Image")
    }
    assert all(element.get("valueType") == "text" for element in root.iter("Text"))
    assert not any("$" in element.get("value") for element in root.iter("Header"))


def test_decisions_come_with_annotator_time_and_what_was_shown(tmp_path):
    tasks = [
        exported(TASK, annotation(result("decision", "accept"))),
        exported(TASK, annotation(result("decision", "fix"), result("fixed_answer", "Three."), by={"id": 2})),
        exported(TASK, annotation(result("decision", "reject"), result("note", "blurred"), by="ann@fleet.org")),
    ]
    export = read_export(write_json(tmp_path / "export.json", tasks), "synthetic")
    rows = export.decisions.to_dict("records")
    assert list(export.decisions.columns) == list(COLUMNS)
    assert [row["decision"] for row in rows] == ["accept", "fix", "reject"]
    assert [row["annotator"] for row in rows] == ["1", "2", "ann@fleet.org"]
    assert [row["fixed_answer"] for row in rows] == [None, "Three.", None]
    assert rows[1]["fixed_question"] == PAIR["question"]
    assert rows[2]["note"] == "blurred"
    assert {row["decided_at"] for row in rows} == {"2025-03-09T21:52:49.000000+00:00"}
    assert rows[0]["origin"] == "project 83, task 7, annotation 1001"
    assert add_decisions(tmp_path / "decisions.jsonl", export.decisions) == 3


def test_open_tasks_and_skipped_annotations_are_counted_and_no_decisions(tmp_path):
    skipped = annotation() | {"was_cancelled": True}
    export = read_export(write_json(tmp_path / "e.json", [exported(TASK), exported(TASK, skipped)]), "synthetic")
    assert (len(export.decisions), export.num_tasks, export.num_open, export.num_skipped) == (0, 2, 2, 1)


def test_texts_of_fields_that_came_filled_in_are_no_correction(tmp_path):
    # Some versions of Label Studio add the text that a field began with to the edited one.
    fix = annotation(result("decision", "fix"), result("fixed_answer", "Three.", "Two."))
    left = annotation(result("decision", "accept"), result("fixed_answer", "Two."))
    export = read_export(write_json(tmp_path / "e.json", [exported(TASK, fix, left)]), "synthetic")
    assert export.decisions["fixed_answer"].tolist() == ["Three.", None]


ACCEPT = result("decision", "accept")
CHANGED = {"data": {**TASK["data"], "answer": "Nine."}}
FOREIGN = {"data": {"image": "https://example.com/1.jpg"}}


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (exported(TASK, annotation(result("decision", "acept"))), "no decision 'acept' .* did you mean 'accept'"),
        (exported(TASK, annotation(result("decision", "accept", "fix"))), "'accept, fix' are chosen at once"),
        (exported(TASK, annotation()), "annotation 1001: result: no decision was chosen"),
        (exported(TASK, annotation(ACCEPT, by=None)), "annotation 1001: completed_by is missing"),
        (exported(TASK, annotation(ACCEPT, by={"name": "Ann"})), "completed_by is missing"),
        (
            exported(TASK, annotation(ACCEPT, by=True)),
            r"Expected `.*`, got `bool` - at `\$.annotations\[0\].completed_by`",
        ),
        (exported(TASK, annotation(ACCEPT, at="yesterday")), "updated_at is 'yesterday' instead of a time"),
        (exported(TASK, annotation(ACCEPT, at="2025-03-09T21:52:49")), "updated_at is .* time with its zone"),
        (exported(TASK, annotation(result("decision", "fix"))), "neither fixed_question nor fixed_answer was changed"),
        (exported(TASK, annotation(result("decision", "fix"), result("fixed_answer", " "))), "neither fixed_question"),
        (exported(TASK, annotation(result("decision", "fix"), result("fixed_answer", "a", "b"))), "2 texts, one is"),
        (exported(TASK, annotation(result("decision", "fix"), result("fixed_answer", 7))), "value.text is .7. instead"),
        (exported(TASK, annotation(ACCEPT, result("note", "x" * 1_000_000))), "note: 1,000,000 characters, 10,000 are"),
        (exported(TASK, annotation(result("decision", "y" * 1_000_000))), r"no decision 'y{60}\.\.\. \(1,000,000"),
        (exported(FOREIGN, annotation(ACCEPT)), "data.dima_review is missing: .* another project"),
        (exported(task_of(PAIR, "nuscenes"), annotation(ACCEPT)), "environment is 'nuscenes': of another project"),
        (
            exported(CHANGED, annotation(ACCEPT)),
            "pair_id '[0-9a-f]{16}' is not that of its texts: the task was changed",
        ),
        ({"id": 7, "image": "1.jpg", "decision": "accept"}, "export as JSON, not as JSON-MIN"),
        ({"id": 7, "data": [], "annotations": []}, r"Expected `object`, got `array` - at `\$.data`"),
        ({"id": 7, "data": TASK["data"]}, "missing required field `annotations`"),
    ],
)
def test_what_is_wrong_is_named_with_file_task_and_key_and_nothing_is_imported(tmp_path, task, message):
    path = write_json(tmp_path / "export.json", [exported(TASK, annotation(ACCEPT), number=3), task])
    with pytest.raises(
        ValueError, match=rf"export.json: nothing was imported, 1 of 2 tasks are wrong:\n  task 7: .*{message}"
    ) as error:
        read_export(path, "synthetic")
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no JSON"),
        (b"[{]", "is no JSON"),
        (b"\xff\xfe[]", "is no JSON"),
        (b'[{"id": NaN}]', "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b'{"data": {}}', "holds no list of tasks but an object"),
        (b"7", "holds no list of tasks but a number"),
        (b"[7, null]", "2 of 2 tasks are wrong:\n  task at place 1: Expected `object`, got `int`"),
    ],
)
def test_a_file_that_is_no_export_is_refused(tmp_path, content, message):
    (tmp_path / "export.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_export(tmp_path / "export.json", "synthetic")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.json is no file"):
        read_export(tmp_path / "none.json", "synthetic")


def test_of_many_faults_ten_are_shown(tmp_path):
    tasks = [exported(FOREIGN, annotation(ACCEPT), number=number) for number in range(30)]
    with pytest.raises(ValueError, match="30 of 30 tasks are wrong") as error:
        read_export(write_json(tmp_path / "e.json", tasks), "synthetic")
    assert str(error.value).count("\n") == 11 and "and 20 more" in str(error.value)


def test_commands_to_a_terminal_do_not_reach_it(tmp_path):
    bad = exported(TASK, annotation(result("decision", "\x1b[2Jacc\n")), number="\x1b[31m")
    with pytest.raises(ValueError, match="tasks are wrong") as error:
        read_export(write_json(tmp_path / "e.json", [bad]), "synthetic")
    assert "\x1b" not in str(error.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from([*exported(TASK), *annotation(), *TASK["data"]])


@settings(max_examples=150, deadline=None)
@given(KEYS, JSON)
def test_any_value_at_any_key_gives_decisions_or_a_clear_error(tmp_path_factory, key, value):
    task = exported(TASK, annotation(result("decision", "fix"), result("fixed_answer", "Three.")))
    for part in (task, task["annotations"][0], data := dict(task["data"])):
        if key in part:
            part[key] = value
    task = {**task, "data": data} if key != "data" else task
    path = write_json(tmp_path_factory.mktemp("any") / "e.json", [task])
    try:
        export = read_export(path, "synthetic")
    except ValueError as error:
        assert "e.json" in str(error)
    else:
        add_decisions(path.with_name("decisions.jsonl"), export.decisions)

"""Pairs out in DriveLM's form: a strict reader takes them, and a file that came in goes out again as it was."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dima_pipeline.annotations._drivelm_tags import boxes_of, tags_of
from dima_pipeline.annotations.drivelm import scene_pairs
from dima_pipeline.contracts.batch import VqaPair
from dima_pipeline.contracts.tables import VqaPairs
from dima_pipeline.curation import drivelm
from dima_pipeline.curation.annotate import annotate
from dima_pipeline.curation.annotation_config import AnnotationConfig
from dima_pipeline.datasets import SceneTables
from drivelm_files import files, frame, in_order, read_strictly, record, write
from hand_scenes import Actor, HandScene, make_tables, straight

ACTORS = {
    "lead": Actor("car", straight(3, 5.0, 20), "vehicle.moving"),
    "parked": Actor("truck", (30, -4, 0), "vehicle.parked"),
    "walker": Actor("pedestrian", (12, 4, 0)),
    "cone": Actor("traffic_cone", (10, -3, 0)),
}
SCENES = [HandScene(ego=straight(3, 5.0), actors=ACTORS, name=name) for name in ("one", "two")]
TABLES = SceneTables(**vars(make_tables(*SCENES)))
KEYFRAMES = {f"token-{scene.name}": [f"{scene.name}-{at:03d}" for at in range(3)] for scene in SCENES}


def annotated(*annotators):
    return annotate(AnnotationConfig(annotators=list(annotators), slices=[]), TABLES)[0]


def table_of(*pairs):
    rows = [{"pair_id": pair.pair_id, **vars(pair), "objects": list(pair.objects), "check": "passed"} for pair in pairs]
    return VqaPairs.validate(pd.DataFrame(rows))


def exported(vqa_pairs, folder, original=None):
    written = drivelm.Written()
    scenes = drivelm.export(drivelm.fleet_of(TABLES, vqa_pairs), original, written)
    texts = [drivelm.scene_text(token, content, written) for token, content in scenes]
    return write(Path(folder) / "out.json", "{" + ",\n".join(text for text in texts if text) + "}"), written


def test_our_pairs_are_taken_by_a_strict_reader_of_the_documented_form(tmp_path):
    pairs = annotated("rules")
    path, written = exported(pairs, tmp_path)
    read = read_strictly(path)
    assert list(read) == ["token-one", "token-two"]
    assert [list(scene.key_frames) for scene in read.values()] == list(KEYFRAMES.values())
    found = [
        (token, category, one.Q, one.A)
        for scene in read.values()
        for token, frame_ in scene.key_frames.items()
        for category in ("perception", "prediction", "planning", "behavior")
        for one in getattr(frame_.QA, category)
    ]
    wanted = pairs[["sample_token", "category", "question", "answer"]].itertuples(index=False, name=None)
    assert sorted(found) == sorted(wanted)
    assert (written.num_scenes, written.num_frames, written.num_pairs) == (2, 6, len(pairs))
    assert read["token-one"].key_frames["one-000"].image_paths.CAM_BACK == "../nuscenes/cam_back.jpg"
    assert read["token-one"].scene_description == "Sunny, straight road"


def test_the_same_export_is_written_twice(tmp_path):
    pairs = annotated("rules")
    assert exported(pairs, tmp_path)[0].read_bytes() == exported(pairs, tmp_path)[0].read_bytes()


def test_tagged_objects_are_described_by_kind_status_and_box(tmp_path):
    boxes = boxes_of(next(TABLES.samples.itertuples(index=False)), TABLES.agents.iloc[:4])
    x, y = boxes.drawn("CAM_FRONT").centre[0]
    tag = f"<c4,CAM_FRONT,{x:.1f},{y:.1f}>"
    pair = VqaPair("one-000", "perception", f"What is {tag}?", "A car.", ("lead",))
    untagged = VqaPair(
        "one-000", "planning", "What stands still?", "A truck, a walker, a cone.", ("parked", "walker", "cone")
    )
    path, _ = exported(table_of(pair, untagged), tmp_path)
    infos = read_strictly(path)["token-one"].key_frames["one-000"].key_object_infos
    assert next(iter(infos)) == tag and [key.split(",")[0] for key in infos] == ["<c4", "<c5", "<c6", "<c7"]
    said = [(info.Category, info.Status, info.Visual_description) for info in infos.values()]
    assert said == [
        ("Vehicle", "Moving", "Car."),
        ("Vehicle", "Stationary", "Truck."),
        ("Pedestrian", "Stationary", "Pedestrian."),
        ("Traffic element", None, "Traffic cone."),
    ]
    left, top, right, bottom = infos[tag].bbox
    assert left < x < right and top < y < bottom


def test_what_we_export_is_imported_with_the_same_objects(tmp_path):
    pairs = annotated("rules")
    path, _ = exported(pairs, tmp_path)
    back = (
        annotated({"name": "drivelm", "qa_file": str(path)}).set_index(["sample_token", "question", "answer"]).objects
    )
    named = 0
    for row in pairs.itertuples():
        texts = f"{row.answer} {row.question}"
        if any(tags_of(texts)):
            found = back[row.sample_token, row.question, row.answer]
            named += 1
            assert len(found) and set(found) <= set(row.objects)
            assert len(found) == len({tag.text for tag in tags_of(texts)})
    assert named > 20


def test_answers_that_a_check_refuted_are_not_exported_but_for_those_of_drivelm(tmp_path):
    ours = VqaPair("one-000", "perception", "Q?", "Ours.")
    theirs = replace(ours, answer="Theirs.", source="drivelm")
    table = table_of(ours, theirs).assign(check="failed")
    path, _ = exported(table, tmp_path)
    assert [one.A for one in read_strictly(path)["token-one"].key_frames["one-000"].QA.perception] == ["Theirs."]


ORIGINAL = {
    "token-one": {
        "scene_description": "A drive.",
        "key_frames": {
            "one-001": frame(record("First?", "1."), record("Empty?", ""), record("Second?", "2.", C=["why"]))
        },
    }
}


def imported(folder, content=ORIGINAL):
    """The file, and its pairs as a table; what is said twice is kept once, as in an annotation."""
    original = write(Path(folder) / "original.json", content)
    pairs = {pair.pair_id: pair for pair in scene_pairs(original, TABLES, lambda fault: None)}
    return original, table_of(*pairs.values())


def test_a_rejected_answer_is_left_out_of_the_export_and_counted(tmp_path):
    original, pairs = imported(tmp_path)
    path, written = exported(pairs[pairs.question != "First?"], tmp_path, original)
    (scene,) = json.loads(path.read_text()).values()
    assert [one["Q"] for one in scene["key_frames"]["one-001"]["QA"]["perception"]] == ["Empty?", "Second?"]
    assert (written.num_pairs, written.num_left_out) == (1, 1)


def test_pairs_of_other_sources_follow_those_of_the_original(tmp_path):
    original, pairs = imported(tmp_path)
    fixed = VqaPair("one-001", "planning", "Which?", "That.", ("lead",), "human")
    new = VqaPair("two-000", "behavior", "What?", "Straight.", (), "rules")
    path, _ = exported(pd.concat([pairs, table_of(fixed, new)], ignore_index=True), tmp_path, original)
    scenes = json.loads(path.read_text())
    merged = scenes["token-one"]["key_frames"]["one-001"]
    assert [one["Q"] for one in merged["QA"]["perception"]] == ["First?", "Empty?", "Second?"]
    assert merged["QA"]["planning"] == [record("Which?", "That.")]
    assert len(merged["key_object_infos"]) == 1
    assert scenes["token-two"]["key_frames"]["two-000"]["QA"]["behavior"] == [record("What?", "Straight.")]


def test_the_language_comes_from_the_table_and_the_rest_from_the_original(tmp_path):
    original, pairs = imported(tmp_path)
    spoken = pairs.assign(answer=pairs.answer.str.replace("2.", "Two.", regex=False))
    path, _ = exported(spoken, tmp_path, original)
    (scene,) = json.loads(path.read_text()).values()
    assert scene["key_frames"]["one-001"]["QA"]["perception"][2] == record("Second?", "Two.", C=["why"])


def test_an_original_that_no_pair_is_from_is_refused_and_so_are_pairs_of_other_recordings(tmp_path):
    original, _ = imported(tmp_path)
    with pytest.raises(ValueError, match="they were not annotated with"):
        exported(annotated("rules"), tmp_path, original)
    stranger = table_of(VqaPair("nobody's", "perception", "Q?", "A."))
    with pytest.raises(ValueError, match="sample_token 'nobody's' is not in samples: they are of other recordings"):
        exported(stranger, tmp_path)


def test_numbers_that_json_does_not_have_become_null_and_a_frame_too_deep_is_told(tmp_path):
    bad = frame(record("First?", "1."), infos={"<c1,CAM_FRONT,1.0,1.0>": {"2d_bbox": [1.5, float("nan"), 3, 4]}})
    deep = {"x": json.loads("[" * 60 + "]" * 60)}
    frames = {"one-001": bad, "one-002": deep, "others": "no object"}
    original, pairs = imported(tmp_path, {"token-one": {"key_frames": frames}, "scene of others": 5})
    path, written = exported(pairs, tmp_path, original)
    scenes = json.loads(path.read_text())
    assert list(scenes["token-one"]["key_frames"]) == ["one-001", "others"] and scenes["scene of others"] == 5
    (info,) = scenes["token-one"]["key_frames"]["one-001"]["key_object_infos"].values()
    assert info["2d_bbox"] == [1.5, None, 3, 4]
    assert sum(written.faults.numbers.values()) == 4


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(files(KEYFRAMES))
def test_a_drivelm_file_that_came_in_goes_out_as_it_was(tmp_path, content):
    """Every key, value, order of keys, number type and character; through the parquet table of a run."""
    original, pairs = imported(tmp_path, content)
    pairs.to_parquet(tmp_path / "pairs.parquet")
    path, written = exported(pd.read_parquet(tmp_path / "pairs.parquet"), tmp_path, original)
    assert in_order(json.loads(path.read_text())) == in_order(content)
    assert written.num_left_out == 0


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files(KEYFRAMES), st.data())
def test_only_the_pairs_that_are_gone_are_missing(tmp_path, content, data):
    original, pairs = imported(tmp_path, content)
    kept = pairs[[data.draw(st.booleans()) for _ in range(len(pairs))]] if len(pairs) else pairs
    if kept.empty:
        return
    path, _ = exported(kept, tmp_path, original)
    gone = {
        (row.sample_token, row.category, row.question, row.answer)
        for row in pairs[~pairs.index.isin(kept.index)].itertuples()
    }
    for scene in content.values():
        for token, frame_ in scene["key_frames"].items():
            for category, records in (frame_.get("QA") or {}).items():
                is_gone = [(token, category, one["Q"], one["A"]) in gone for one in records or []]
                if records is not None:
                    frame_["QA"][category] = [one for one, out in zip(records, is_gone, strict=True) if not out]
    assert in_order(json.loads(path.read_text())) == in_order(content)

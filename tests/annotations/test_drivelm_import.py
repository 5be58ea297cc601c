"""DriveLM's answers as pairs: what becomes one, what is flagged, what is left aside; and files that are broken."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dima_pipeline.annotations import ANNOTATORS
from dima_pipeline.annotations import drivelm as annotator_module
from dima_pipeline.annotations._drivelm_file import Fault, faults, members, open_file, shown
from dima_pipeline.annotations._drivelm_tags import boxes_of
from drivelm_files import ANYTHING, frame, record, write
from hand_scenes import Actor, HandScene, make_tables, straight

SCENE = HandScene(
    ego=straight(3, 0.0), actors={"lead": Actor("car", (20, 0, 0)), "walker": Actor("pedestrian", (12, 4, 0))}
)
TABLES = make_tables(SCENE)
SCENE_TOKEN, TOKEN = "token-scene-0001", "scene-0001-000"
BOXES = boxes_of(next(TABLES.samples.itertuples(index=False)), TABLES.agents.iloc[:2])


def tag_of(row, number=1):
    x, y = BOXES.drawn("CAM_FRONT").centre[row]
    return f"<c{number},CAM_FRONT,{x:.1f},{y:.1f}>"


LEAD, WALKER = tag_of(0), tag_of(1, 2)


def a_file(folder, *perception, token=TOKEN, **others):
    frames = {token: frame(*perception, **others)}
    return write(Path(folder) / "qa.json", {SCENE_TOKEN: {"scene_description": "Straight on.", "key_frames": frames}})


def read(path, tables=TABLES):
    told = []
    return list(annotator_module.scene_pairs(path, tables, told.append)), told


def test_questions_become_pairs_with_the_agents_that_answer_and_question_name(tmp_path):
    path = a_file(
        tmp_path, record(f"Where is {LEAD}?", f"Beside {WALKER}."), behavior=[record("And the ego?", "Slow.")]
    )
    pairs, told = read(path)
    assert [(pair.category, pair.objects, pair.reason) for pair in pairs] == [
        ("perception", ("walker", "lead"), None),
        ("behavior", (), None),
    ]
    assert pairs[0].question == f"Where is {LEAD}?" and pairs[0].source == "drivelm" and not told


def test_a_tag_that_means_no_agent_stays_in_the_text_and_is_flagged(tmp_path):
    lost = "<c3,CAM_FRONT,20.0,20.0>"
    (pair,), told = read(a_file(tmp_path, record(f"What is {lost}?", f"Like {LEAD} or <c4,CAM_ROOF,1.0,1.0>.")))
    assert pair.question == f"What is {lost}?" and pair.objects == ("lead",) and not told
    assert pair.reason == (
        "tag '<c4,CAM_ROOF,1.0,1.0>': no camera 'CAM_ROOF'; tag '<c3,CAM_FRONT,20.0,20.0>': no agent within 16 px"
    )


def test_many_flags_are_cut_short(tmp_path):
    (pair,), _ = read(a_file(tmp_path, record("?", " ".join(f"<c{n},CAM_ROOF,1.0,1.0>" for n in range(9)))))
    assert pair.reason.count("tag '") == 3 and pair.reason.endswith("; and 6 more")


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ("<script>alert(1)</script>", "text: markup"),
        ("<img src=x onerror=alert(1)>", "text: markup"),
        ("a &lt; b", "text: markup"),
        ("bell \x07", "text: control characters"),
        ("\x1b[2J", "text: control characters"),
        ("turned \u202e round", "text: control characters"),
        ("5 < 6 > 4 & more, line\nbreak and tab\t", None),
        ("<c1>", "text: markup"),
    ],
)
def test_markup_and_control_characters_are_flagged_and_not_changed(tmp_path, text, flag):
    (pair,), _ = read(a_file(tmp_path, record("What does it say?", text)))
    assert (pair.answer, pair.reason) == (text, flag)


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (record("Q?", ""), "no answer: left aside, not trained on"),
        (record("Q?", " \n"), "no answer: left aside, not trained on"),
        (record("Q?", None), "no answer: left aside, not trained on"),
        ({"Q": "Q?"}, "no answer: left aside, not trained on"),
        (record("Q?", 5), "a question or answer that is no text: left aside"),
        (record(["Q?"], "A."), "a question or answer that is no text: left aside"),
        ("Q?", "a question that is no object: left aside"),
        (record("Q?", "\ud83d"), "half a character (a lone surrogate): left aside"),
        (record("Q?", "A" * 10**6), "a text of more than 10000 characters: left aside"),
    ],
)
def test_a_question_that_cannot_be_trained_on_is_left_aside_with_its_place(tmp_path, bad, kind):
    (pair,), (fault,) = read(a_file(tmp_path, record("What?", "That."), bad))
    assert pair.answer == "That."
    assert fault.kind == kind
    assert str(fault).startswith(f"scene '{SCENE_TOKEN}', frame '{TOKEN}', key 'QA.perception[1]")
    assert len(str(fault)) < 300


@pytest.mark.parametrize(
    ("part", "kind", "key"),
    [
        ({"QA": []}, "QA is no object", "QA"),
        ({"QA": {"perception": {}}}, "questions that are no list", "QA.perception"),
        ({"QA": {"weather": [record("Q?", "A.")]}}, "a category that is not ours: left aside", "QA.weather"),
        ({"key_object_infos": 5, "QA": {}}, "key_object_infos are no object", "key_object_infos"),
        ({"x": [1, [float("nan")]]}, "a number that JSON does not have, or too large", "x[1][0]"),
    ],
)
def test_a_frame_of_another_form_is_told_with_scene_frame_and_key(tmp_path, part, kind, key):
    frames = {TOKEN: part, "scene-0001-001": frame(record("What?", "That."))}
    pairs, (fault,) = read(write(tmp_path / "qa.json", {SCENE_TOKEN: {"key_frames": frames}}))
    assert [pair.sample_token for pair in pairs] == ["scene-0001-001"]
    assert str(fault).startswith(f"scene '{SCENE_TOKEN}', frame '{TOKEN}', key '{key}': {kind}")


@pytest.mark.parametrize(
    "scene", [None, 5, [], {"key_frames": []}, {"key_frames": {TOKEN: []}}, {}, {"key_frames": None}]
)
def test_a_scene_of_another_form_gives_no_pair_and_no_traceback(tmp_path, scene):
    good = {"key_frames": {TOKEN: frame(record("What?", "That."))}}
    pairs, _ = read(write(tmp_path / "qa.json", {"other": scene, SCENE_TOKEN: good}))
    assert [pair.answer for pair in pairs] == ["That."]


def test_a_frame_that_the_tables_do_not_have_is_told_and_the_others_are_kept(tmp_path):
    frames = {"nobody's": frame(record("Q?", "A.")), TOKEN: frame(record("What?", "That."))}
    pairs, (fault,) = read(write(tmp_path / "qa.json", {SCENE_TOKEN: {"key_frames": frames}}))
    assert [pair.sample_token for pair in pairs] == [TOKEN]
    assert str(fault) == (
        f"scene '{SCENE_TOKEN}', frame \"nobody's\": a frame whose sample token is not in the tables of its scene"
    )


def test_frames_are_joined_by_sample_token_also_under_another_scene(tmp_path):
    scenes = {"renamed": {"key_frames": {TOKEN: frame(record("What?", "That."))}}}
    assert len(read(write(tmp_path / "qa.json", scenes))[0]) == 1


def test_a_key_that_stands_twice_is_told(tmp_path):
    twice = json.dumps(frame(record("What?", "That."))).replace('"Q": "What?"', '"Q": "Who?", "Q": "What?"')
    pairs, (fault,) = read(
        write(tmp_path / "qa.json", f'{{"{SCENE_TOKEN}": {{"key_frames": {{"{TOKEN}": {twice}}}}}}}')
    )
    assert pairs[0].question == "What?"
    assert str(fault) == (
        f"scene '{SCENE_TOKEN}', frame '{TOKEN}', key 'QA.perception[0]': "
        "a key that stands twice: the last one counts ('Q')"
    )


def test_a_scene_that_stands_twice_is_read_twice_and_told(tmp_path):
    one = json.dumps({"key_frames": {TOKEN: frame(record("One?", "1."))}})
    two = json.dumps({"key_frames": {TOKEN: frame(record("Two?", "2."))}})
    path = write(tmp_path / "qa.json", f'{{"{SCENE_TOKEN}": {one}, "{SCENE_TOKEN}": {two}}}')
    assert [pair.answer for pair in read(path)[0]] == ["1.", "2."]
    assert [fault.path for fault in open_file(path).twice()] == [(SCENE_TOKEN,)]


def test_a_frame_that_is_nested_too_deep_is_left_out_alone(tmp_path):
    frames = {TOKEN: {"x": json.loads("[" * 60 + "]" * 60)}, "scene-0001-001": frame(record("What?", "That."))}
    pairs, (fault,) = read(write(tmp_path / "qa.json", {SCENE_TOKEN: {"key_frames": frames}}))
    assert len(pairs) == 1 and fault.kind == "nested too deep" and fault.path[:3] == (SCENE_TOKEN, "key_frames", TOKEN)


GOOD = json.dumps({SCENE_TOKEN: {"key_frames": {TOKEN: frame(record("What?", "That."))}}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "the root is a list, not an object of scenes by scene token"),
        ('"text"', "the root is a str"),
        ("null", "the root is a NoneType"),
        ("", "is no JSON or cut short: root: Expecting value at line 1, column 1"),
        ("<html>", "is no JSON or cut short: root"),
        ("{,}", "a scene token is missing"),
        ('{"a" 5}', "':' is missing"),
        ('{"a": 5 "b": 6}', "',' is missing"),
        ('{"a": 5,}', "a scene token is missing at line 1, column 9"),
        (GOOD + "x", "something follows the last scene"),
        (GOOD[: GOOD.index("That")], f"scene '{SCENE_TOKEN}', frame '{TOKEN}', key 'QA.perception[0].A': Unterminated"),
        (GOOD[: GOOD.index(', "A"')], f"frame '{TOKEN}', key 'QA.perception[0].Q': "),
        (GOOD[:-1], "',' is missing"),
        (GOOD.replace('"That."', "That"), f"frame '{TOKEN}', key 'QA.perception[0].A': Expecting value"),
        ('{"a": {"key_frames": {"b": ' + "[" * 10**5, "scene 'a', frame 'b', key '[0][0]"),
        ('{"a": ' + '{"x":' * 10**5, "nested too deep to be read"),
    ],
)
def test_what_is_no_json_is_refused_with_the_place(tmp_path, text, message):
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        read(write(tmp_path / "qa.json", text))
    assert str(tmp_path / "qa.json") in str(raised.value) and len(str(raised.value)) < 600


@pytest.mark.parametrize("cut", range(1, len(GOOD) - 1, 7))
def test_a_file_cut_anywhere_is_refused(tmp_path, cut):
    with pytest.raises(ValueError, match="is no JSON or cut short"):
        read(write(tmp_path / "qa.json", GOOD[:cut]))


def test_a_folder_a_missing_file_other_encodings_and_a_huge_file_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="is no file: name DriveLM's"):
        read(tmp_path)
    with pytest.raises(ValueError, match=r"qa\.json cannot be read: No such file"):
        read(tmp_path / "qa.json")
    (tmp_path / "qa.json").write_bytes('{"scène": {}}'.encode("latin-1"))
    with pytest.raises(ValueError, match="is no UTF-8 text: byte 4"):
        read(tmp_path / "qa.json")
    monkeypatch.setattr("dima_pipeline.annotations._drivelm_file.MAX_BYTES", 5)
    with pytest.raises(ValueError, match="at most 5 are read"):
        read(write(tmp_path / "qa.json", GOOD))


def test_a_mark_of_byte_order_and_raw_control_characters_are_read(tmp_path):
    (tmp_path / "qa.json").write_bytes(b"\xef\xbb\xbf" + GOOD.replace("That.", "a\x01b").encode())
    assert [pair.answer for pair in read(tmp_path / "qa.json")[0]] == ["a\x01b"]


def test_huge_numbers_are_told_or_kept_whole():
    text = f'{{"a": {{"big": {"9" * 5000}, "inf": 1e999, "exact": {"7" * 300}}}}}'
    (member,) = members(text, Path("f"))
    assert member.content["exact"] == int("7" * 300)
    assert sorted(fault.path[-1] for fault in faults(member.content, ("a",))) == ["big", "inf"]


def test_a_changed_file_is_read_again(tmp_path):
    assert len(read(a_file(tmp_path, record("What?", "That.")))[0]) == 1
    assert len(read(a_file(tmp_path, record("What?", "That."), record("Who?", "She.")))[0]) == 2


def test_the_annotator_reads_the_file_that_the_configuration_names_and_warns_in_few_lines(tmp_path, caplog):
    path = a_file(tmp_path, record("What?", "That."), *[record("Q?", 5)] * 9, record("Empty?", ""))
    annotator = ANNOTATORS.build(ANNOTATORS.parse({"name": "drivelm", "qa_file": str(path)}))
    assert [pair.answer for pair in annotator.pairs(TABLES, np.random.default_rng(0))] == ["That."]
    assert len(caplog.messages) == 4 and "6 more of this scene: see dima drivelm check" in caplog.messages[-1]


def test_the_configuration_needs_the_file():
    with pytest.raises(ValueError, match="qa_file"):
        ANNOTATORS.parse({"name": "drivelm"})
    with pytest.raises(ValueError, match="did you mean 'qa_file'"):
        ANNOTATORS.parse({"name": "drivelm", "qa_flie": "a.json"})


def test_messages_hold_nothing_that_a_terminal_acts_on():
    fault = Fault("odd", ("\x1b[2J" * 50, "key_frames", "\u202e", "QA", "\x07", 3))
    assert str(fault).isascii() and str(fault).isprintable() and len(str(fault)) < 400
    assert shown("a" * 10**6).endswith("... (1000000 characters)")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=ANYTHING, text=st.text(alphabet='{}[]",:0aQ\\ ', max_size=40))
def test_whatever_stands_in_a_file_it_is_read_or_refused_in_words(tmp_path, content, text):
    for held in (text, {SCENE_TOKEN: content}, {SCENE_TOKEN: {"key_frames": {TOKEN: content}}}):
        path = write(tmp_path / "any.json", held)
        try:
            pairs, told = read(path)
        except ValueError as error:
            assert str(path) in str(error)
        else:
            assert all(pair.answer for pair in pairs) and all(str(fault) for fault in told)

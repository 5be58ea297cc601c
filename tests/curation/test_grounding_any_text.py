"""Text of any kind neither raises nor takes long, and what cannot be read is unchecked."""

import gc
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline.contracts.batch import VqaPair
from dima_pipeline.curation.grounding import Evidences, check_pairs, claims_of, tolerances, verdict_of
from dima_pipeline.curation.grounding.lexicon import entries
from dima_pipeline.curation.grounding.reading import sentences
from dima_pipeline.curation.grounding.statements import read_text
from hand_scenes import Actor, HandScene, make_tables, straight

TABLES = make_tables(
    HandScene(
        ego=straight(8, 5.0),
        actors={"car": Actor("car", (12, 1, 0)), "walker": Actor("pedestrian", (8, 9, 0), "pedestrian.moving")},
        lines=[("divider", [(-20, 2), (40, 2)])],
    )
)
EVIDENCES = Evidences(TABLES)
WORDS = [
    *sorted({phrase for phrase, _, _ in entries()}),
    *("12", "3.5", "0", "<c1,CAM_FRONT,800.0,450.0>", "<c2,CAM_NOWHERE,1.0,2.0>", "٣", "９", "½", ",", ".", "?", "-"),
]
SOURCES = ("rules", "human", "drivelm", "llm:tiny")


def check(question: str, answer: str, source: str = "llm:tiny", objects: tuple[str, ...] = ()):
    pair = VqaPair("scene-0001-000", "planning", question, answer, objects, source)
    return verdict_of(claims_of(pair, EVIDENCES))


@given(st.text(max_size=300), st.text(max_size=300), st.sampled_from(SOURCES))
@settings(max_examples=300, deadline=None)
def test_any_text_gets_a_verdict(question, answer, source):
    assert check(question, answer, source).check in ("passed", "failed", "unchecked")


@given(
    st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join),
    st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join),
    st.sampled_from(SOURCES),
    st.lists(st.sampled_from(["car", "walker", "nobody"]), max_size=3).map(tuple),
)
@settings(max_examples=600, deadline=None)
def test_any_jumble_of_known_words_gets_a_verdict_and_a_reason_where_it_fails(question, answer, source, objects):
    found = check(question, answer, source, objects)
    assert found.check in ("passed", "failed", "unchecked")
    assert (found.reason is not None) == (found.check == "failed")
    assert (found.claim != "") == (found.check != "unchecked")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\x00\x07\x1b[0m",
        "<script>alert(1)</script>",
        "Ⅻ ½ ᛞ 🚗",
        "!!!???...,,,",
        "\ud800",
        "a" * 19_000,
        "<c1,CAM_",
    ],
)
def test_unreadable_text_is_unchecked(text):
    assert check("Describe the scene.", text).check == "unchecked"
    assert check(text, text).check == "unchecked"


def test_digits_of_any_script_are_numbers():
    tokens = sentences("There are ٣ cars and １２ buses.")[0]
    assert [token.value for token in tokens if token.kind == "number"] == [3.0, 12.0]


@pytest.mark.parametrize("number", ["9" * 400, "1" + "0" * 30, "0." + "1" * 50, "1e999", "-5", "1.2.3.4"])
def test_odd_numbers_do_no_harm(number):
    for text in (f"There are {number} cars.", f"The car is {number} m away.", f"The ego drives at {number} km/h."):
        assert check("Describe the scene.", text).check in ("failed", "unchecked", "passed")


ADVERSARIAL = {
    "letters": "a",
    "digits": "1",
    "dotted numbers": "1.",
    "open tags": "<c1,cam_front,",
    "tags": "<c1,CAM_FRONT,8.0,4.5>",
    "apostrophes": "a'",
    "hyphens": "a-b-",
    "commas": ", ",
    "numbers": "3 ",
    "ranges": "3 to ",
    "nots": "not ",
    "phrase beginnings": "keep at the same ",
    "directions": "in front of ",
    "statuses": "moving and ",
    "cars": "two moving cars ahead, 12 m away, and ",
    "sentences": "The car is moving. ",
    "wide digits": "１",
    "new lines": "\n",
}


@pytest.mark.parametrize("piece", ADVERSARIAL.values(), ids=ADVERSARIAL.keys())
def test_reading_takes_time_in_proportion_to_the_length(piece):
    def seconds(length: int) -> float:
        text = piece * (length // len(piece))
        spent = []
        gc.disable()
        for _ in range(3):
            read_text.cache_clear()
            begin = time.process_time()
            read_text(text)
            spent.append(time.process_time() - begin)
        gc.enable()
        return min(spent)

    short, long = seconds(20_000), seconds(160_000)
    # Eight times the text; quadratic time would be 64 times as long.
    assert long < 24 * max(short, 0.002)


@pytest.mark.parametrize("piece", ADVERSARIAL.values(), ids=ADVERSARIAL.keys())
def test_a_megabyte_is_passed_over_at_once(piece):
    begin = time.process_time()
    assert check("Describe the scene.", piece * (10**6 // len(piece))).check == "unchecked"
    assert time.process_time() - begin < 0.5


@pytest.mark.parametrize("piece", ADVERSARIAL.values(), ids=ADVERSARIAL.keys())
def test_the_longest_text_that_is_read_is_weighed_in_seconds(piece):
    begin = time.process_time()
    check("Describe the scene.", piece * ((tolerances.MAX_CHARACTERS - 100) // len(piece)))
    assert time.process_time() - begin < 3.0


@given(st.text(max_size=200))
def test_what_was_read_before_does_not_change_a_verdict(text):
    pair = VqaPair("scene-0001-000", "perception", "How many cars are there?", "One.", (), "rules")
    check(text, text)
    assert [one.check for one in check_pairs([pair], TABLES)] == ["passed"]

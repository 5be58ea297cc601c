"""What a model writes, in all the ways that models write it: good pairs are read, all else is counted."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dima_pipeline.annotations._llm_answer import CATEGORIES, MAX_ANSWER, MAX_QUESTION, Item, parse

PAIR = {"category": "perception", "question": "What is ahead?", "answer": "A car, 12 m away.", "objects": ["o1"]}
OTHER = {"of": "q1", "question": "Which thing is ahead?", "answer": "A car."}
LINES = "\n".join(map(json.dumps, (PAIR, OTHER)))
READ = [
    Item("perception", None, "What is ahead?", "A car, 12 m away.", ("o1",)),
    Item(None, "q1", "Which thing is ahead?", "A car.", ()),
]


def dropped(text):
    found = parse(text, 10)
    assert found.items == []
    return dict(found.dropped)


def with_pair(**changes):
    return json.dumps({**PAIR, **changes})


@pytest.mark.parametrize(
    "text",
    [
        LINES,
        f"```json\n{LINES}\n```",
        f"```\n{LINES}\n```\n",
        json.dumps([PAIR, OTHER]),
        json.dumps([PAIR, OTHER], indent=2),
        json.dumps({"pairs": [PAIR, OTHER]}, indent=2),
        f"[\n{json.dumps(PAIR)},\n{json.dumps(OTHER)}\n]",
        f"  {json.dumps(PAIR)}\r\n\r\n\t{json.dumps(OTHER)},",
        f"<think>{json.dumps(PAIR)}? no, maybe\nnot</think>\n{LINES}",
    ],
    ids=["lines", "fence", "bare fence", "array", "indented", "named", "array by line", "blanks", "thought"],
)
def test_every_usual_form_is_read(text):
    found = parse(text, 10)
    assert found.items == READ and not found.dropped


def test_talk_around_the_lines_is_counted_and_does_no_harm():
    found = parse(f"Sure, here you are:\n{LINES}\nI hope this helps!", 10)
    assert found.items == READ and dict(found.dropped) == {"no JSON": 2}


def test_one_object_alone_is_one_pair():
    assert parse(json.dumps(PAIR, indent=1), 10).items == READ[:1]


def test_a_line_cut_in_the_middle_is_dropped_and_the_whole_ones_stay():
    found = parse(LINES[:-9], 10)
    assert found.items == READ[:1] and dict(found.dropped) == {"no JSON": 1}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("<think>it never ends", "empty"),
        ("I'm sorry, but I can't help with that.", "refusal"),
        ("{'category': 'perception'}", "no JSON"),
        ("[1]", "no object"),
        ("null", "no JSON"),
        (with_pair(answer=None), "no question or answer"),
        (with_pair(question=["a"]), "no question or answer"),
        (with_pair(category="behavior"), "unknown category"),
        (with_pair(category=["perception"]), "unknown category"),
        (with_pair(category=None), "unknown category"),
        (with_pair(answer=" \n "), "empty"),
        (with_pair(answer="a" * (MAX_ANSWER + 1)), "too long"),
        (with_pair(question="a" * (MAX_QUESTION + 1)), "too long"),
        (with_pair(answer="a \x07 car"), "control characters"),
        (with_pair(answer="a \u202erac\u202c"), "control characters"),
        (with_pair(answer="a\u200bcar"), "control characters"),
        (with_pair(answer="\ud800"), "control characters"),
        (with_pair(answer="A <b>car</b>."), "markup"),
        (with_pair(answer="<script>alert(1)</script>"), "markup"),
        (with_pair(answer="<img src=x onerror=alert(1)"), "markup"),
        (with_pair(answer="A &lt;car&gt;."), "markup"),
        (with_pair(answer="See [this](http://a)."), "markup"),
        (with_pair(answer="A car.<|im_end|>"), "markup"),
        (with_pair(answer="I'm sorry, I cannot see pictures."), "refusal"),
        (with_pair(answer="As a language model I do not drive."), "refusal"),
        (with_pair(answer="There is not enough information."), "refusal"),
        (with_pair(answer="o1 is ahead."), "names an object by its number"),
        (with_pair(question="What is said in q2?"), "names an object by its number"),
        (with_pair(answer="the car is near " * 5), "repeated text"),
    ],
)
def test_what_is_no_pair_is_dropped_with_its_reason(text, reason):
    assert dropped(text) == {reason: 1}


@pytest.mark.parametrize(
    "answer", ["Less than 5 m: < 5 m.", "It can't pass; it stops.", "Zwei Fußgänger, 5 m.", "12 m & 5 m/s"]
)
def test_plain_answers_pass_whatever_marks_they_hold(answer):
    assert [item.answer for item in parse(with_pair(answer=answer), 10).items] == [answer]


def test_the_same_question_comes_once_and_no_more_than_asked_for():
    again = with_pair(question="what IS  ahead?", answer="A bus.")
    found = parse("\n".join([LINES, again, with_pair(question="Third?"), with_pair(question="Fourth?")]), 3)
    assert [item.question for item in found.items] == ["What is ahead?", "Which thing is ahead?", "Third?"]
    assert dict(found.dropped) == {"repeated question": 1, "more than asked for": 1}


def test_objects_that_are_no_list_of_words_are_passed_over():
    assert parse(with_pair(objects=["o2", 3, None, "o1", "o2"]), 10).items[0].objects == ("o2", "o1")
    assert parse(with_pair(objects="o1"), 10).items[0].objects == ()


@pytest.mark.parametrize(
    "text",
    [
        *("[" * 10**6, "{" * 10**6, '{"a":' * 10**5, "<" * 10**6, "```\n" * 10**5, "[a](" * 10**5, "9" * 10**6),
        *(
            "\\" * 10**6,
            with_pair(answer="[" * 40_000),
            with_pair(answer="as a " * 9_000),
            "<think>" * 10**5,
            "\n" * 10**6,
        ),
    ],
    ids=range(12),
)
def test_text_made_to_be_slow_is_not(text):
    begun_s = time.process_time()
    assert parse(text, 10).items == []
    assert time.process_time() - begun_s < 2


@given(st.text(max_size=300))
def test_no_text_breaks_the_reader(text):
    assert all(item.question and item.answer for item in parse(text, 5).items)


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20) | st.sampled_from(CATEGORIES),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["category", "question", "answer", "of", "objects", "x"]), inner, max_size=6)
    ),
    max_leaves=12,
)


@given(st.lists(VALUES, max_size=6), st.booleans())
def test_no_json_breaks_the_reader_and_what_it_gives_is_plain(values, is_by_line):
    text = "\n".join(map(json.dumps, values)) if is_by_line else json.dumps(values)
    found = parse(text, 3)
    assert len(found.items) <= 3
    for item in found.items:
        assert item.question.isprintable() and item.answer.isprintable() and "<script" not in item.answer
        assert (item.category in CATEGORIES) != (item.of is not None)


@given(
    st.lists(
        st.tuples(st.sampled_from(CATEGORIES), st.from_regex(r"\A[a-z][a-z ]{0,20}\?\Z")),
        unique_by=lambda x: " ".join(x[1].split()),
        max_size=6,
    )
)
def test_good_pairs_all_come_back_in_order(asked):
    lines = [
        json.dumps({"category": category, "question": question, "answer": "12 m."}) for category, question in asked
    ]
    found = parse("\n".join(lines), 10)
    expected = [(category, " ".join(question.split())) for category, question in asked]
    assert [(item.category, item.question) for item in found.items] == expected or not asked

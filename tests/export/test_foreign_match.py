"""Names and shapes typed by hand against a model typed by hand: every status, and why."""

import pytest
import torch

from dima_pipeline.export.foreign_map import KeyMap, Rule
from dima_pipeline.export.foreign_match import Spec, can_cast, counts, match, planner_specs, unfilled
from dima_pipeline.planners import PLANNERS

MODEL = {
    "a": Spec((2, 3), "float32"),
    "b": Spec((4,), "float32"),
    "c": Spec((), "int64"),
    "d": Spec((1,), "float32"),
    "e": Spec((5,), "float32"),
}
NONE = KeyMap(name="none")


def test_every_tensor_has_a_line_and_a_reason():
    file = {
        "a": Spec((2, 3), "float32"),
        "b": Spec((4,), "float16"),
        "c": Spec((), "float32"),
        "d": Spec((1, 1), "float32"),
        "z": Spec((9,), "float32"),
    }
    rows = match(file, MODEL, "", NONE)
    assert [(row.status, row.source, row.target, row.reason) for row in rows] == [
        ("filled", "a", "a", ""),
        ("cast", "b", "b", "float16 in the file, float32 in the model"),
        ("dtype", "c", "c", "float32 in the file, int64 in the model"),
        ("shape", "d", "d", "[1, 1] in the file, [1] in the model"),
        ("unknown", "z", "z", "not of the model"),
        ("missing", None, "e", "no tensor of the file has this name"),
    ]
    assert unfilled(rows) == ["c", "d", "e"]
    assert list(counts(rows)) == ["filled", "cast", "missing", "shape", "dtype", "unknown"]


def test_without_a_model_all_is_taken_as_it_is():
    rows = match({"x": Spec((2,), "bfloat16")}, None, "", NONE)
    assert [(row.status, row.target, row.target_spec) for row in rows] == [("written", "x", Spec((2,), "bfloat16"))]


def test_only_names_below_the_prefix_count_and_it_is_taken_off_before_the_map():
    drop = KeyMap(name="hand", rules=(Rule("fc.", None), Rule("old", "a")))
    file = dict.fromkeys(("img.old", "img.fc.bias", "head.old", "img."), MODEL["a"])
    rows = match(file, MODEL, "img.", drop)
    assert [(row.status, row.source, row.target) for row in rows[:4]] == [
        ("filled", "img.old", "a"),
        ("skipped", "img.fc.bias", None),
        ("skipped", "head.old", None),
        ("skipped", "img.", None),
    ]
    assert [row.reason for row in rows[1:3]] == ["left out by map hand", "not below the prefix 'img.'"]


@pytest.mark.parametrize(
    ("given", "wanted", "is_fine"),
    [
        ("float16", "float32", True),
        ("bfloat16", "float32", True),
        ("float64", "float32", True),
        ("int32", "int64", True),
        ("int64", "int32", False),
        ("uint8", "int16", True),
        ("bool", "int64", False),
        ("int64", "bool", False),
        ("int64", "float32", False),
        ("float32", "int64", False),
    ],
)
def test_floats_become_floats_and_whole_numbers_wider_ones(given, wanted, is_fine):
    assert can_cast(given, wanted) is is_fine


def test_the_planner_of_the_meta_device_has_the_names_and_shapes_of_a_real_one():
    config = PLANNERS.parse("vad")
    real = PLANNERS.build(config, image_size=(32, 64)).state_dict()
    assert planner_specs(config, (32, 64)) == {name: Spec.of(tensor) for name, tensor in real.items()}


def test_building_it_leaves_the_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    planner_specs(PLANNERS.parse("vad"), (32, 64))
    assert torch.equal(torch.rand(2), expected)

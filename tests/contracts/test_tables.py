"""Table contracts: the right rows pass, each kind of wrong row is refused by column."""

import pandas as pd
import pytest
from pandera.errors import SchemaError, SchemaErrors

from dima_pipeline.contracts import tables
from dima_pipeline.contracts.frames import CAMERAS


def sample_row() -> dict[str, object]:
    """A valid row of ``samples``."""
    row: dict[str, object] = {
        "sample_token": "a",
        "scene_token": "s",
        "index": 0,
        "timestamp_us": 1,
        "prev": None,
        "next": "b",
        "speed_mps": None,
        "acceleration_mps2": 0.0,
        "yaw_rate_radps": 0.0,
        "steering_rad": 0.0,
        "command_driven": "left",
        "command_route": "unknown",
    }
    row |= {f"ego_{name}": 0.0 for name in ("x_m", "y_m", "z_m", "qx", "qy", "qz")} | {"ego_qw": 1.0}
    for camera in CAMERAS:
        name = camera.lower()
        row |= {f"{name}_file": "f.jpg", f"{name}_source": "recorded", f"{name}_width": 1600, f"{name}_height": 900}
        row |= {f"{name}_intrinsics": [1.0] * 9, f"{name}_camera_from_ego": [0.0] * 16}
    return row


def test_a_complete_sample_passes_and_unknown_speed_is_null():
    checked = tables.Samples.validate(pd.DataFrame([sample_row()]))
    assert checked["speed_mps"].isna().all()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("command_route", "uturn"),
        ("cam_front_source", "drawn"),
        ("cam_back_intrinsics", [1.0] * 8),
        ("cam_back_left_camera_from_ego", [float("nan")] * 16),
        ("index", -1),
    ],
)
def test_a_wrong_value_is_refused_by_column(column, value):
    row = sample_row()
    row[column] = value
    with pytest.raises(SchemaErrors, match=column):
        tables.Samples.validate(pd.DataFrame([row]))


def test_a_missing_and_an_extra_column_are_refused():
    frame = pd.DataFrame([sample_row()])
    with pytest.raises(SchemaErrors, match="command_driven"):
        tables.Samples.validate(frame.drop(columns="command_driven"))
    with pytest.raises(SchemaErrors, match="colour"):
        tables.Samples.validate(frame.assign(colour="red"))


def test_a_polyline_has_twenty_points():
    row = {"sample_token": "a", "kind": "divider", "points": [0.0] * 40}
    tables.MapElements.validate(pd.DataFrame([row]))
    with pytest.raises(SchemaError):
        tables.MapElements.validate(pd.DataFrame([row | {"points": [0.0] * 38}]))


def test_two_scenes_with_one_token_are_refused():
    row = {"scene_token": "s", "name": "scene-0001", "log_token": "l", "location": "x", "description": ""}
    row |= {"split": "train", "num_samples": 2, "first_timestamp_us": 0, "last_timestamp_us": 1}
    tables.Scenes.validate(pd.DataFrame([row]))
    with pytest.raises(SchemaError, match=r"scene_token.*duplicate"):
        tables.Scenes.validate(pd.DataFrame([row, row | {"name": "scene-0002"}]))

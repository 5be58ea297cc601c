"""The reader of files: what is sound is read as it is, and whatever is wrong is named before anything is computed."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dima_pipeline.scoring.files import SHAPES, read_samples
from dima_pipeline.scoring.report import score_report
from dima_pipeline.scoring.samples import held
from score_files import EVERY_PROTOCOL, hand_arrays, in_ego_frame, save

SAME_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


class Dangerous:
    """Whoever unpickles it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.mkdir, (self.path,)


def changed(name: str, index: object, value: float) -> dict[str, np.ndarray]:
    """One array with some values replaced, as a change of the hand-made file."""
    array = hand_arrays()[name]
    array = array.astype(float) if isinstance(value, float) else array
    array[index] = value
    return {name: array}


def bytes_of(**changes: object) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **(hand_arrays() | changes))
    return buffer.getvalue()


@pytest.mark.parametrize("number", [np.float32, np.float64, np.int64, np.int16])
@pytest.mark.parametrize("mask", [bool, np.uint8, np.float32])
def test_numbers_and_masks_may_be_of_any_type(tmp_path, number, mask):
    arrays = hand_arrays()
    kinds = {name: mask if "mask" in name else number for name in arrays}
    # Whole metres and right angles are the same in every type but for pi.
    arrays["boxes"] = np.round(arrays["boxes"])
    arrays["fut_mask"][:] = True
    samples = read_samples(
        save(tmp_path / "f.npz", {name: arrays[name].astype(kinds[name]) for name in arrays}), "lidar"
    )
    for name, array in arrays.items():
        np.testing.assert_array_equal(getattr(samples, name), array)
    assert samples.pred.dtype == samples.boxes.dtype == np.float64
    assert samples.fut_mask.dtype == samples.box_mask.dtype == bool


def test_frame_and_place_of_the_lidar_go_along(tmp_path):
    samples = read_samples(save(tmp_path / "f.npz", in_ego_frame(hand_arrays())), "ego", 1.2)
    assert (samples.frame, samples.lidar_ahead_m) == ("ego", 1.2)


def test_a_file_may_hold_more_and_no_agents_and_no_future(tmp_path):
    arrays = hand_arrays()
    none = {name: arrays[name][:, :, :0] for name in ("boxes", "box_mask")} | {"kind": arrays["kind"][:, :0]}
    more = {"tokens": np.array([b"x", None], object), "fut_mask": np.zeros_like(arrays["fut_mask"])}
    samples = read_samples(save(tmp_path / "f.npz", **none, **more), "lidar")
    assert samples.boxes.shape == (4, 6, 0, 5)


BAD_FILES = {
    "text": (b"pred = 1", "is no .npz file: save 'pred', 'gt'"),
    "empty": (b"", "is no .npz file"),
    "pickle": (pickle.dumps(hand_arrays()), "is no .npz file"),
    "npy": (b"\x93NUMPY\x01\x00" + bytes(80), "is a single .npy array"),
    "half a zip": (bytes_of()[:2000], "is a broken .npz file"),
    "zip of nothing": (b"PK\x05\x06" + bytes(18), "has no array 'pred', 'gt', .*; it has none"),
    "object array": (
        bytes_of(boxes=np.array([None, 1], object)),
        "'boxes' holds Python objects, which are never loaded",
    ),
    "text array": (bytes_of(pred=np.full((4, 6, 2), "1.0")), "'pred' is of type <U3: expected numbers"),
    "complex array": (bytes_of(gt=hand_arrays()["gt"] + 0j), "'gt' is of type complex128: expected numbers"),
    "boolean path": (bytes_of(gt=hand_arrays()["gt"] > 0), "'gt' is of type bool: expected numbers"),
    "records": (bytes_of(kind=np.zeros((4, 2), [("k", int)])), "'kind' is of type .*: expected numbers"),
    "text mask": (bytes_of(fut_mask=np.full((4, 6), "y")), "'fut_mask' is of type <U1: expected booleans or 0 and 1"),
}


@pytest.mark.parametrize(("content", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_what_is_no_file_of_arrays_is_refused(tmp_path, content, message):
    (tmp_path / "f.npz").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_samples(tmp_path / "f.npz", "lidar")


def test_what_is_not_there_or_a_folder_is_refused(tmp_path):
    for path in (tmp_path / "f.npz", tmp_path):
        with pytest.raises(ValueError, match="there is no file"):
            read_samples(path, "lidar")


def test_a_member_that_is_no_array_is_refused(tmp_path):
    save(tmp_path / "f.npz", kind=None)
    with zipfile.ZipFile(tmp_path / "f.npz", "a") as file:
        file.writestr("kind", b"0 0 1")
    with pytest.raises(ValueError, match=r"'kind' in .* is no array"):
        read_samples(tmp_path / "f.npz", "lidar")


@pytest.mark.parametrize("name", SHAPES)
def test_a_missing_array_is_named_with_what_there_is(tmp_path, name):
    save(tmp_path / "f.npz", **{name: None}, trajectory=np.zeros(3))
    with pytest.raises(ValueError, match=f"has no array '{name}'; it has .*'trajectory'"):
        read_samples(tmp_path / "f.npz", "lidar")


SHAPE_CHANGES = {
    "a column more": ("pred", np.zeros((4, 6, 3)), r"'pred' has shape \(4, 6, 3\), expected \(N, 6, 2\); steps"),
    "a number": ("pred", np.float64(1), r"'pred' has shape \(\), expected \(N, 6, 2\)"),
    "offsets at 0.25 s": ("pred", np.zeros((4, 12, 2)), r"\(4, 12, 2\), expected \(N, 6, 2\).* 0.5, 1.0 ... 3.0 s"),
    "another N": ("gt", np.zeros((3, 6, 2)), r"'gt' has shape \(3, 6, 2\), expected \(N, 6, 2\); N = 4"),
    "mask of coordinates": ("fut_mask", np.ones((4, 6, 2)), r"'fut_mask' has shape \(4, 6, 2\), expected \(N, 6\)"),
    "steps behind agents": ("boxes", np.zeros((4, 2, 6, 5)), r"\(4, 2, 6, 5\), expected \(N, 6, A, 5\)"),
    "another A": (
        "box_mask",
        np.ones((4, 6, 3)),
        r"'box_mask' has .* expected \(N, 6, A\); N = 4 as in 'pred'; A = 2 as in 'boxes'",
    ),
    "kind of each step": ("kind", np.zeros((4, 6, 2)), r"'kind' has shape \(4, 6, 2\), expected \(N, A\)"),
}


@pytest.mark.parametrize(("name", "array", "message"), SHAPE_CHANGES.values(), ids=SHAPE_CHANGES)
def test_a_wrong_shape_is_named_with_the_right_one(tmp_path, name, array, message):
    with pytest.raises(ValueError, match=message):
        read_samples(save(tmp_path / "f.npz", **{name: array}), "lidar")


def test_no_samples_are_refused(tmp_path):
    arrays = {name: array[:0] for name, array in hand_arrays().items()}
    with pytest.raises(ValueError, match="no samples"):
        read_samples(save(tmp_path / "f.npz", arrays), "lidar")


VALUES = {
    "nan plan": (changed("pred", (1, 2, 0), np.nan), r"'pred' is nan at \[1, 2, 0\]: fut_mask says that it is known"),
    "infinite path": (changed("gt", (3, 3, 1), -np.inf), r"'gt' is -inf at \[3, 3, 1\]: fut_mask"),
    "nan box": (changed("boxes", (2, 5, 0, 2), np.nan), r"'boxes' is nan at \[2, 5, 0, 2\]: box_mask says"),
    "path in millimetres": (changed("pred", (0, 0, 1), 5e9), r"'pred' is 5000000000.0 at \[0, 0, 1\]: expected metres"),
    "no length": (changed("boxes", (1, 0, 0, 3), 0.0), r"'boxes' is 0.0 at \[1, 0, 0, 3\]: length and width"),
    "no width": (changed("boxes", (1, 0, 0, 4), -2.0), r"'boxes' is -2.0 at \[1, 0, 0, 4\]: length and width"),
    "long as a street": (changed("boxes", (3, 3, 1, 3), 100.5), r"'boxes' is 100.5 at \[3, 3, 1, 3\]"),
    "half a mask": (changed("box_mask", (0, 1, 1), 0.5), r"'box_mask' is 0.5 at \[0, 1, 1\]: expected booleans or 0"),
    "nan mask": (changed("fut_mask", (2, 5), np.nan), r"'fut_mask' is nan at \[2, 5\]"),
    "kind 3": (changed("kind", (1, 0), 3), r"'kind' is 3.0 at \[1, 0\]: expected 0 vehicle, 1 pedestrian, 2 other"),
    "kind between": (changed("kind", (2, 0), 0.5), r"'kind' is 0.5 at \[2, 0\]"),
}


@pytest.mark.parametrize(("change", "message"), VALUES.values(), ids=VALUES)
def test_a_value_that_cannot_be_is_named_with_its_place(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        read_samples(save(tmp_path / "f.npz", **change), "lidar")


@pytest.mark.parametrize("ahead_m", [np.nan, np.inf, -11.0])
def test_a_lidar_far_from_the_car_is_refused(tmp_path, ahead_m):
    with pytest.raises(ValueError, match="lidar_ahead_m"):
        read_samples(save(tmp_path / "f.npz"), "lidar", ahead_m)


def test_no_pickle_is_ever_loaded(tmp_path):
    dangerous = Dangerous(tmp_path / "made")
    np.savez(tmp_path / "array.npz", **(hand_arrays() | {"boxes": np.array([dangerous], object)}))
    (tmp_path / "whole.npz").write_bytes(pickle.dumps(dangerous))
    for name in ("array", "whole"):
        with pytest.raises(ValueError, match=r"never loaded|is no \.npz"):
            read_samples(tmp_path / f"{name}.npz", "lidar")
    assert not (tmp_path / "made").exists()
    np.load(tmp_path / "array.npz", allow_pickle=True)["boxes"]
    assert (tmp_path / "made").exists()


@SAME_FOLDER
@given(padding=st.sampled_from([np.nan, np.inf, -1e300, -1.0, 7.5, 1e9]), unknown=st.integers(0, 2**24 - 1))
def test_what_masks_hide_changes_no_number(tmp_path, padding, unknown):
    arrays = hand_arrays()
    arrays["fut_mask"] = (unknown >> np.arange(24) & 1).reshape(4, 6).astype(bool)
    expected = score_report(read_samples(save(tmp_path / "f.npz", arrays), "lidar"), EVERY_PROTOCOL, True)
    arrays["gt"][~arrays["fut_mask"]] = padding
    arrays["boxes"][~arrays["box_mask"]] = padding
    arrays["kind"] = np.where(arrays["box_mask"].any(1), arrays["kind"], padding)
    samples = read_samples(save(tmp_path / "f.npz", arrays), "lidar")
    assert score_report(samples, EVERY_PROTOCOL, True) == expected
    assert not samples.boxes[~arrays["box_mask"]].any()


def test_a_plan_may_be_unknown_where_the_future_is(tmp_path):
    change = changed("pred", (3, slice(4, None)), np.nan)
    samples = read_samples(save(tmp_path / "f.npz", **change), "lidar")
    assert samples.pred[3, 4:].tolist() == [[4, 20], [4, 20]]


def test_a_path_is_held_over_a_gap_and_starts_at_the_origin():
    path = np.arange(1.0, 7)[None, :, None] * [1, 10]
    known = np.array([[False, True, False, False, True, False]])
    assert held(path, known)[0].tolist() == [[0, 0], [2, 20], [2, 20], [2, 20], [5, 50], [5, 50]]


def test_the_wrong_frame_is_refused_with_the_right_one(tmp_path):
    in_lidar, in_ego = save(tmp_path / "l.npz"), save(tmp_path / "e.npz", in_ego_frame(hand_arrays()))
    with pytest.raises(
        ValueError, match=r"sideways in 4 of 4 samples .* 'ego' x is forward: --frame lidar looks right"
    ):
        read_samples(in_lidar, "ego")
    with pytest.raises(ValueError, match=r"'lidar' y is forward: --frame ego looks right; --no-frame-check"):
        read_samples(in_ego, "lidar")
    assert read_samples(in_ego, "lidar", check_frame=False).frame == "lidar"


def test_paths_that_fit_no_frame_are_refused_without_a_guess(tmp_path):
    arrays = hand_arrays()
    to_the_left = arrays["gt"][..., ::-1] * [-1, 1]
    with pytest.raises(ValueError, match=r"sideways .* --frame ego does not fit either"):
        read_samples(save(tmp_path / "f.npz", gt=to_the_left), "lidar")
    many = {name: np.concatenate([array] * 3) for name, array in arrays.items()}
    with pytest.raises(ValueError, match=r"backwards in 12 of 12 .* --frame ego does not fit either"):
        read_samples(save(tmp_path / "f.npz", many, gt=-many["gt"]), "lidar")


def test_one_that_reverses_and_one_that_turns_are_no_wrong_frame(tmp_path):
    arrays = hand_arrays()
    arrays["gt"][0] *= -1
    arrays["gt"][1] = arrays["gt"][1][:, ::-1]
    assert len(read_samples(save(tmp_path / "f.npz", gt=arrays["gt"]), "lidar")) == 4
    one = {name: array[:1] for name, array in arrays.items()}
    assert len(read_samples(save(tmp_path / "f.npz", one), "lidar")) == 1


def test_the_frame_is_not_judged_by_short_or_unknown_paths(tmp_path):
    sideways = hand_arrays()["gt"][..., ::-1]
    read_samples(save(tmp_path / "f.npz", gt=sideways / 15.1), "lidar")
    read_samples(save(tmp_path / "f.npz", gt=sideways, fut_mask=np.zeros((4, 6), bool)), "lidar")
    with pytest.raises(ValueError, match="sideways in 3 of 3"):
        # 30 m become 2.07 m after six steps, 1.38 m after four: row 3 says nothing.
        read_samples(save(tmp_path / "f.npz", gt=sideways / 14.5), "lidar")


@SAME_FOLDER
@given(data=st.data())
def test_a_file_with_changed_bytes_is_read_or_refused(tmp_path, data):
    content = bytearray(bytes_of())
    for _ in range(data.draw(st.integers(1, 4))):
        # Directory and headers of a zip are at its end, those of an array at its start.
        place = data.draw(st.one_of(st.integers(-700, -1), st.integers(0, 200), st.integers(0, len(content) - 1)))
        content[place] = data.draw(st.integers(0, 255))
    (tmp_path / "f.npz").write_bytes(
        content[: data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))]
    )
    try:
        read_samples(tmp_path / "f.npz", "lidar")
    except ValueError as error:
        assert str(error).count("\n") == 0


@SAME_FOLDER
@given(data=st.data())
def test_an_array_with_a_changed_header_is_read_or_refused(tmp_path, data):
    name = data.draw(st.sampled_from(sorted(SHAPES)))
    with zipfile.ZipFile(tmp_path / "f.npz", "w") as file:
        for key, array in hand_arrays().items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            content = bytearray(buffer.getvalue())
            if key == name:
                content[data.draw(st.integers(0, 90))] = data.draw(
                    st.sampled_from(b"'\"(){},:<>|0129fiuOTF\\ \n\x00\xff")
                )
            file.writestr(f"{key}.npy", bytes(content))
    try:
        read_samples(tmp_path / "f.npz", "lidar")
    except ValueError as error:
        assert str(error)


def test_boxes_after_the_end_of_a_recording_may_be_anything(tmp_path):
    boxes = hand_arrays()["boxes"]
    boxes[3, 4:] = np.nan
    samples = read_samples(save(tmp_path / "plans.npz", boxes=boxes), "lidar")
    assert not samples.box_mask[3, 4:].any() and np.isfinite(samples.boxes).all()


def test_a_car_that_turns_round_is_not_taken_for_another_frame(tmp_path):
    # 4 m/s on a circle of 5 m: it leaves forward and comes back beside where it began.
    angle = 4 / 5 * 0.5 * np.arange(1, 7)
    path = np.stack([5 - 5 * np.cos(angle), 5 * np.sin(angle)], -1)[None]
    one = {name: array[:1] for name, array in hand_arrays().items()}
    file = save(tmp_path / "plans.npz", {**one, "gt": path, "pred": path})
    assert len(read_samples(file, "lidar")) == 1
    with pytest.raises(ValueError, match="sideways"):
        read_samples(file, "ego")

"""Image shards: what was stored comes back, in any order and from any process, and every damage is named."""

import json
import os
import pickle
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.storage import image_shards, scene_images
from dima_pipeline.storage.image_shards import INDEX, ImageShards, ImageShardWriter
from dima_pipeline.storage.manifest import verify
from dima_pipeline.storage.scene_images import (
    SCHEMA,
    ImageSource,
    KeyframeImages,
    ShardFormat,
    parquet_bytes,
    read_scene,
    read_table,
    write_scene,
)

SIZE = (16, 24)
RAW = ShardFormat(SIZE, "raw", None)
JPEG = ShardFormat(SIZE, "jpeg", 95)
SOURCE = ImageSource("samples/CAM_FRONT/a.jpg", 3, "ab" * 32)


def ramps(*levels: int) -> np.ndarray:
    """Keyframes of smooth images: brighter to the right, the first column at the level plus the camera's number."""
    first = np.array(levels)[:, None] + np.arange(6)
    images = np.zeros((len(levels), 6, *SIZE, 3), np.uint8)
    images[:] = (first[..., None] + 2 * np.arange(SIZE[1]))[:, :, None, :, None]
    return images


def write_two_scenes(directory: Path, encoding: str = "raw") -> ImageShards:
    """Scene s with keyframes a (level 10) and b (50), scene t with keyframe c (90)."""
    writer = ImageShardWriter(directory, SIZE, encoding=encoding)
    writer.add_scene("s", ["a", "b"], ramps(10, 50))
    writer.add_scene("t", ["c"], ramps(90))
    writer.finish(note="typed by hand")
    return ImageShards(directory)


def contents(directory: Path) -> dict[str, bytes]:
    """Every file."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize(("encoding", "tolerance"), [("raw", 0), ("jpeg", 3)])
def test_every_keyframe_comes_back_in_any_order(tmp_path, encoding, tolerance):
    shards = write_two_scenes(tmp_path, encoding)
    for token, level in (("c", 90), ("a", 10), ("b", 50), ("a", 10)):
        images = shards.read(token)
        assert images.dtype == np.uint8 and not images.flags.writeable
        assert np.abs(images.astype(int) - ramps(level)[0]).max() <= tolerance
    assert shards.image_size == SIZE
    assert verify(tmp_path)["note"] == "typed by hand"


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 3), max_size=4))
def test_raw_pixels_come_back_to_the_bit_whatever_the_scenes(tmp_path_factory, seed, lengths):
    directory = tmp_path_factory.mktemp("shards")
    rng = np.random.default_rng(seed)
    scenes = [rng.integers(0, 256, (length, 6, 3, 5, 3), np.uint8) for length in lengths]
    writer = ImageShardWriter(directory, (3, 5), encoding="raw")
    for scene, images in enumerate(scenes):
        writer.add_scene(f"scene{scene}", [f"{scene}-{row}" for row in range(len(images))], images)
    writer.finish()
    shards = ImageShards(directory)
    for scene, images in enumerate(scenes):
        assert all((shards.read(f"{scene}-{row}") == image).all() for row, image in enumerate(images))


def test_a_file_of_raw_pixels_is_one_that_numpy_loads(tmp_path):
    write_two_scenes(tmp_path)
    assert (np.load(tmp_path / "s.npy", allow_pickle=False) == ramps(10, 50)).all()


def test_small_images_are_kept_raw_and_large_ones_as_jpeg():
    assert ShardFormat.choose((96, 160)).encoding == "raw"
    assert ShardFormat.choose((384, 640)) == ShardFormat((384, 640), "jpeg", 95)
    assert ShardFormat.choose((384, 640), "raw", 80) == ShardFormat((384, 640), "raw", None)
    assert ShardFormat.choose((96, 160), "jpeg", 80).jpeg_quality == 80


@pytest.mark.parametrize(("choice", "message"), [({"encoding": "png"}, "'png'"), ({"jpeg_quality": 101}, "101")])
def test_an_unknown_choice_is_named(choice, message):
    with pytest.raises(ValueError, match=message):
        ShardFormat.choose((96, 160), **choice)


def test_a_missing_camera_takes_no_bytes_and_comes_back_black(tmp_path):
    images = ramps(10, 50)
    images[1, 2] = 0
    images[0] = 0
    writer = ImageShardWriter(tmp_path, SIZE, encoding="jpeg")
    writer.add_scene("s", ["a", "b"], images)
    writer.add_scene("dark", ["c"], np.zeros_like(images[:1]))
    writer.finish()
    shards = ImageShards(tmp_path)
    assert (tmp_path / "dark.jpegs").stat().st_size == 0
    assert not shards.read("a").any() and not shards.read("c").any() and not shards.read("b")[2].any()
    assert shards.read("b")[3].any()
    assert (pd.read_parquet(tmp_path / INDEX)["length"] == 0).tolist() == [
        *[True] * 6,
        *[n == 2 for n in range(6)],
        *[True] * 6,
    ]


def test_the_index_says_where_an_image_lies_and_what_it_was_made_from(tmp_path):
    sources = (SOURCE, None, None, None, None, None)
    sidecar = write_scene(tmp_path, JPEG, "s", ["a", "b"], [KeyframeImages(i, sources) for i in ramps(10, 50)])
    writer = ImageShardWriter(tmp_path / "all", SIZE, encoding="jpeg")
    writer.adopt_scene(sidecar)
    writer.finish()
    index = pd.read_parquet(tmp_path / "all" / INDEX)
    assert index["camera"].tolist() == 2 * list(CAMERAS)
    assert index["sample_token"].tolist() == 6 * ["a"] + 6 * ["b"]
    assert index.loc[6, ["source", "source_bytes", "source_sha256"]].tolist() == list(SOURCE)
    assert index.loc[[1, 7], ["source", "source_bytes", "source_sha256"]].isna().all(axis=None)
    content = (tmp_path / "all" / "s.jpegs").read_bytes()
    begin, length = index.loc[7, ["offset", "length"]]
    assert (JPEG.decode(content[begin : begin + length]) == ImageShards(tmp_path / "all").read("b")[1]).all()


def test_a_source_is_described_by_size_and_digest(tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # SHA-256 of abc
    assert ImageSource.of(tmp_path, "x.jpg") == ("x.jpg", 3, digest)


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_scenes_that_were_written_apart_give_the_same_directory_byte_for_byte(tmp_path, encoding):
    write_two_scenes(tmp_path / "added", encoding)
    work = tmp_path / "work"
    work.mkdir()
    form = ShardFormat.choose(SIZE, encoding)
    late = write_scene(work, form, "t", ["c"], [KeyframeImages(ramps(90)[0])])
    early = write_scene(work, form, "s", ["a", "b"], map(KeyframeImages, ramps(10, 50)))
    writer = ImageShardWriter(tmp_path / "adopted", SIZE, encoding=encoding)
    writer.adopt_scene(early)
    writer.adopt_scene(late)
    writer.finish(note="typed by hand")
    assert contents(tmp_path / "adopted") == contents(tmp_path / "added")
    name = f"s{'.npy' if encoding == 'raw' else '.jpegs'}"
    assert (work / name).samefile(tmp_path / "adopted" / name)


def test_a_scene_is_copied_where_it_cannot_be_linked(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("another filesystem")

    monkeypatch.setattr(os, "link", refuse)
    sidecar = write_scene(tmp_path, RAW, "s", ["a"], [KeyframeImages(ramps(10)[0])])
    writer = ImageShardWriter(tmp_path / "all", SIZE, encoding="raw")
    writer.adopt_scene(sidecar)
    writer.finish()
    assert (ImageShards(tmp_path / "all").read("a") == ramps(10)[0]).all()
    assert not (tmp_path / "s.npy").samefile(tmp_path / "all" / "s.npy")


def test_finishing_reads_no_image(tmp_path):
    sidecar = write_scene(tmp_path, RAW, "s", ["a"], [KeyframeImages(ramps(10)[0])])
    writer = ImageShardWriter(tmp_path / "all", SIZE, encoding="raw")
    writer.adopt_scene(sidecar)
    size = (tmp_path / "s.npy").stat().st_size
    (tmp_path / "all" / "s.npy").write_bytes(bytes(size))
    writer.finish()
    with pytest.raises(ValueError, match=r"s\.npy is not what was written"):
        verify(tmp_path / "all")


def test_a_scene_that_is_broken_off_is_not_there_and_can_be_written_again(tmp_path):
    def broken_off():
        yield KeyframeImages(ramps(10)[0])
        raise KeyboardInterrupt

    whole = write_scene(tmp_path, RAW, "s", ["a", "b"], map(KeyframeImages, ramps(10, 50)))
    before = whole.read_bytes(), (tmp_path / "s.npy").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        write_scene(tmp_path, RAW, "s", ["a", "b"], broken_off())
    assert not whole.exists() and not (tmp_path / "s.npy").exists()
    with pytest.raises(ValueError, match=r"s\.scene\.parquet is missing"):
        read_scene(whole)
    write_scene(tmp_path, RAW, "s", ["a", "b"], map(KeyframeImages, ramps(10, 50)))
    assert (whole.read_bytes(), (tmp_path / "s.npy").read_bytes()) == before
    assert sorted(contents(tmp_path)) == ["s.npy", "s.scene.parquet"]


def test_a_scene_that_was_stored_otherwise_is_replaced(tmp_path):
    write_scene(tmp_path, RAW, "s", ["a"], [KeyframeImages(ramps(10)[0])])
    write_scene(tmp_path, JPEG, "s", ["a"], [KeyframeImages(ramps(10)[0])])
    assert sorted(contents(tmp_path)) == ["s.jpegs", "s.scene.parquet"]


def swap_version(sidecar: Path) -> None:
    """As if an older version had written it."""
    table = read_table(sidecar)
    stamp = json.loads(table.schema.metadata[b"image_shards"]) | {"contract_version": 0}
    sidecar.write_bytes(parquet_bytes(table.replace_schema_metadata({b"image_shards": json.dumps(stamp)})))


def flip_byte(path: Path, at: int = 200) -> None:
    """One bit of the file differs afterwards."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "s.scene.parquet").write_bytes(b""), r"s\.scene\.parquet is damaged"),
        (lambda d: (d / "s.scene.parquet").write_bytes(b"PAR1" + bytes(99)), r"s\.scene\.parquet is damaged"),
        (lambda d: (d / "s.scene.parquet").write_bytes(parquet_bytes(SCHEMA.empty_table())), "is not the sidecar"),
        (lambda d: (d / "s.scene.parquet").write_bytes(parquet_bytes(pa.table({"x": [1]}))), "the columns"),
        (lambda d: swap_version(d / "s.scene.parquet"), "contract version 0"),
        (lambda d: (d / "s.npy").unlink(), r"s\.npy is missing"),
        (lambda d: (d / "s.npy").write_bytes(b"abc"), r"s\.npy has 3 bytes instead of 7040, cut short"),
        (lambda d: flip_byte(d / "s.npy"), r"s\.npy is not what was written"),
    ],
)
def test_a_damaged_scene_is_not_taken_for_finished(tmp_path, damage, message):
    sidecar = write_scene(tmp_path, RAW, "s", ["a"], [KeyframeImages(ramps(10)[0])])
    assert read_scene(sidecar, check_digest=True).num_bytes == 128 + 6 * 16 * 24 * 3
    damage(tmp_path)
    with pytest.raises(ValueError, match=message):
        read_scene(sidecar, check_digest=True)


def test_no_changed_byte_of_a_sidecar_changes_what_it_says_of_an_image(tmp_path):
    sidecar = write_scene(tmp_path, RAW, "s", ["a"], [KeyframeImages(ramps(10)[0], [SOURCE] * 6)])
    said, content = read_scene(sidecar).images, sidecar.read_bytes()
    num_refused = 0
    for at in range(0, content.index(b"image_shards"), 5):
        sidecar.write_bytes(content)
        flip_byte(sidecar, at)
        try:
            assert read_scene(sidecar).images.equals(said), at
        except ValueError:
            num_refused += 1
    assert num_refused > 50


def test_a_scene_of_another_format_is_not_adopted(tmp_path):
    sidecar = write_scene(tmp_path, JPEG, "s", ["a"], [KeyframeImages(ramps(10)[0])])
    writer = ImageShardWriter(tmp_path / "all", SIZE, encoding="jpeg", jpeg_quality=90)
    with pytest.raises(ValueError, match="jpeg_quality=95"):
        writer.adopt_scene(sidecar)


@pytest.mark.parametrize("token", ["", ".", "..", "../up", "a/b", "/root", ".hidden", "nul\0", "new\n", "x" * 129])
def test_a_scene_token_that_cannot_name_a_file_is_refused_before_anything_is_written(tmp_path, token):
    with pytest.raises(ValueError, match="cannot name a file"):
        write_scene(tmp_path / "work", RAW, token, [], [])
    assert not contents(tmp_path)


def test_tokens_that_are_there_twice_are_named(tmp_path):
    writer = ImageShardWriter(tmp_path, SIZE)
    writer.add_scene("s", ["a"], ramps(10))
    with pytest.raises(ValueError, match="scene_token s is there twice"):
        writer.add_scene("s", ["b"], ramps(10))
    writer.add_scene("t", ["a"], ramps(10))
    with pytest.raises(ValueError, match="sample_token a is there twice"):
        writer.finish()


def change_index(directory: Path, **changed: int | str) -> None:
    """Another value in the fourth row, which a writer would never write."""
    rows = read_table(directory / INDEX).to_pylist()
    rows[3] |= changed
    (directory / INDEX).write_bytes(parquet_bytes(pa.Table.from_pylist(rows, SCHEMA)))


def change_manifest(directory: Path, **changed: object) -> None:
    """Other facts."""
    path = directory / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "t.npy").unlink(), r"t\.npy is missing"),
        (lambda d: (d / "t.npy").write_bytes((d / "t.npy").read_bytes()[:-1]), r"t\.npy has 7039 bytes instead"),
        (lambda d: (d / INDEX).unlink(), r"index\.parquet is missing"),
        (lambda d: (d / INDEX).write_bytes((d / INDEX).read_bytes()[:-9]), r"index\.parquet is damaged"),
        (lambda d: (d / INDEX).write_bytes(parquet_bytes(SCHEMA.empty_table())), "0 rows instead of 18"),
        (lambda d: change_index(d, offset=-1), "no image of their file"),
        (lambda d: change_index(d, offset=2**62), "no image of their file"),
        (lambda d: change_index(d, offset=2**63 - 1, length=2**63 - 1), "no image of their file"),
        (lambda d: change_index(d, length=7), "no image of their file"),
        (lambda d: change_index(d, camera="CAM_FRONT"), "not keyframes of 6 cameras"),
        (lambda d: change_index(d, sample_token="c"), "not keyframes of 6 cameras"),
        (lambda d: change_index(d, scene_token="t"), "not keyframes of 6 cameras"),
        (lambda d: change_manifest(d, contract_version=0), "contract version 0"),
        (lambda d: change_manifest(d, kind="bundle"), "does not describe image shards"),
        (lambda d: change_manifest(d, encoding="png"), "does not describe image shards"),
        (lambda d: change_manifest(d, image_size=None), "does not describe image shards"),
        (lambda d: change_manifest(d, image_size=[16, 25]), "no image of their file"),
        (lambda d: change_manifest(d, files={}), r"does not list s\.npy"),
    ],
)
def test_damage_is_named_when_shards_are_opened(tmp_path, damage, message):
    write_two_scenes(tmp_path)
    damage(tmp_path)
    with pytest.raises(ValueError, match=message):
        ImageShards(tmp_path)


@pytest.mark.parametrize("changed", [{"offset": -1}, {"offset": 2**63 - 1}, {"length": -1}, {"length": 2**63 - 1}])
def test_a_jpeg_that_lies_outside_its_file_is_refused(tmp_path, changed):
    write_two_scenes(tmp_path, "jpeg")
    change_index(tmp_path, **changed)
    with pytest.raises(ValueError, match="no image of their file"):
        ImageShards(tmp_path)


def test_an_index_that_leads_out_of_the_directory_is_refused(tmp_path):
    write_two_scenes(tmp_path)
    rows = [row | {"scene_token": "../secret"} for row in read_table(tmp_path / INDEX).to_pylist()]
    (tmp_path / INDEX).write_bytes(parquet_bytes(pa.Table.from_pylist(rows, SCHEMA)))
    with pytest.raises(ValueError, match="cannot name a file"):
        ImageShards(tmp_path)


@pytest.mark.parametrize("content", [bytes(9), b"GIF89a", JPEG.encode(ramps(9)[0, 0])[:-40]])
def test_a_damaged_jpeg_is_named_by_file_camera_and_keyframe(tmp_path, content):
    write_two_scenes(tmp_path, "jpeg")
    begin, length = pd.read_parquet(tmp_path / INDEX).loc[4, ["offset", "length"]]
    with (tmp_path / "s.jpegs").open("r+b") as file:
        file.seek(begin)
        file.write(content.ljust(length, b"\0")[:length])
    shards = ImageShards(tmp_path)
    with pytest.raises(ValueError, match=r"s\.jpegs: CAM_BACK_LEFT of sample_token a is damaged"):
        shards.read("a")
    assert shards.read("b").any()


def test_a_jpeg_of_another_size_is_not_taken(tmp_path):
    other = ShardFormat((16, 25), "jpeg", 95).encode(np.full((16, 25, 3), 9, np.uint8))
    with pytest.raises(ValueError, match=r"\(25, 16\) instead of"):
        JPEG.decode(other)


def test_no_more_files_are_open_than_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr(image_shards, "MAX_OPEN_SCENES", 1)
    shards = write_two_scenes(tmp_path)
    first = shards.read("a")
    assert (shards.read("c") == ramps(90)[0]).all() and (shards.read("b") == ramps(50)[0]).all()
    assert len(shards._maps) == 1
    assert (first == ramps(10)[0]).all()


def test_shards_travel_to_another_process_without_their_pixels(tmp_path):
    shards = write_two_scenes(tmp_path)
    shards.read("a")
    sent = pickle.dumps(shards)
    assert len(sent) < 7040
    assert (pickle.loads(sent).read("a") == ramps(10)[0]).all()


def test_one_keyframe_is_held_at_a_time(tmp_path):
    held = []

    def keyframes():
        for _ in range(4):
            assert sum(images() is not None for images in held) <= 1
            images = ramps(10)[0]
            held.append(weakref.ref(images.base))
            yield KeyframeImages(images)
            del images

    write_scene(tmp_path, RAW, "s", ["a", "b", "c", "d"], keyframes())


def test_raw_is_chosen_where_trainval_fits_in_sixteen_gigabytes():
    largest = scene_images.RAW_UP_TO_PIXELS * 3 * 6 * 34_149
    assert 15e9 < largest < 16e9

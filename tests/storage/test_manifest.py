"""Finished directories: whole or not there, and every damage is named."""

import json

import pytest

from dima_pipeline.storage import manifest
from dima_pipeline.storage.manifest import make_once, publish, read_manifest, verify, write_manifest


@pytest.fixture
def finished(tmp_path):
    """A finished directory with two files."""
    directory = tmp_path / "thing"
    (directory / "deep").mkdir(parents=True)
    (directory / "a.txt").write_text("abc")
    (directory / "deep" / "b.bin").write_bytes(b"\x00\x01")
    write_manifest(directory, kind="test")
    return directory


def test_a_whole_directory_verifies_and_keeps_its_facts(finished):
    manifest = verify(finished)
    assert manifest["kind"] == "test"
    assert sorted(manifest["files"]) == ["a.txt", "deep/b.bin"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "a.txt").write_text("abd"), "a.txt is not what was written"),
        (lambda d: (d / "a.txt").write_text("ab"), "a.txt has 2 bytes instead of 3"),
        (lambda d: (d / "deep" / "b.bin").unlink(), "b.bin is missing"),
        (lambda d: (d / "manifest.json").unlink(), "is unfinished"),
        (lambda d: (d / "manifest.json").write_text('{"fil'), "manifest.json is damaged"),
        (lambda d: (d / "manifest.json").write_text(json.dumps({"contract_version": 0})), "contract version 0"),
    ],
)
def test_every_damage_is_named(finished, damage, message):
    damage(finished)
    with pytest.raises(ValueError, match=message):
        verify(finished)


def test_publishing_replaces_the_old_directory_as_a_whole(finished, tmp_path):
    target = tmp_path / "published"
    publish(finished, target)
    assert not finished.exists()
    second = tmp_path / "second"
    second.mkdir()
    (second / "c.txt").write_text("new")
    write_manifest(second)
    publish(second, target)
    assert sorted(path.name for path in target.iterdir()) == ["c.txt", "manifest.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["published"]


def test_an_unfinished_directory_is_not_published_and_the_old_one_stays(finished, tmp_path):
    target = tmp_path / "published"
    publish(finished, target)
    half = tmp_path / "half"
    half.mkdir()
    (half / "a.txt").write_text("x")
    with pytest.raises(ValueError, match="unfinished"):
        publish(half, target)
    assert verify(target)["kind"] == "test"


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere does not exist"):
        read_manifest(tmp_path / "nowhere")


@pytest.mark.parametrize("is_there", [True, False])
def test_whoever_is_second_takes_what_the_first_has_published(tmp_path, monkeypatch, is_there):
    target = tmp_path / "made"

    def late(staged, directory):
        if is_there:
            publish(staged, directory)
        raise OSError("the disk says no")

    def make(staged):
        (staged / "table.txt").write_text("rows")
        return {"kind": "test"}

    monkeypatch.setattr(manifest, "publish", late)
    if is_there:
        assert make_once(target, make)["kind"] == "test"
    else:
        with pytest.raises(OSError, match="the disk says no"):
            make_once(target, make)
    assert not list(tmp_path.glob(".made.*"))

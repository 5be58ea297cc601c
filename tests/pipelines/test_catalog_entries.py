"""Catalog entries: stamped tables, whole directories, recordings that are only read."""

import pandas as pd
import pytest
from kedro.io import DatasetError

from dima_pipeline.cli.errors import message_of
from dima_pipeline.contracts.tables import WorldTruth
from dima_pipeline.pipelines.datasets import DirectoryDataset, EmptyTable, JsonDataset, RecordedRoot, TableDataset
from dima_pipeline.storage.manifest import write_manifest


@pytest.fixture
def table(tmp_path):
    """A saved table of two rows."""
    dataset = TableDataset(filepath=str(tmp_path / "t.parquet"), licence="non-commercial")
    dataset.save(pd.DataFrame({"a": [1, 2], "points": [[1.0, 2.0], [3.0, 4.0]]}))
    return dataset, tmp_path / "t.parquet"


def refused(action) -> str:
    """The message a user sees for a failing load or save."""
    with pytest.raises(DatasetError) as caught:
        action()
    return message_of(caught.value)


def test_a_table_carries_its_licence_and_contract_version(table):
    frame = table[0].load()
    assert frame.attrs == {"licence": "non-commercial", "contract_version": 1}
    assert list(frame["points"][1]) == [3.0, 4.0]


def test_a_truncated_table_is_named(table):
    dataset, path = table
    path.write_bytes(path.read_bytes()[:-20])
    assert "t.parquet is damaged" in refused(dataset.load)


def test_a_missing_and_a_foreign_table_are_named(table, tmp_path):
    assert "does not exist" in refused(TableDataset(filepath=str(tmp_path / "no.parquet"), licence="x").load)
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "foreign.parquet")
    foreign = TableDataset(filepath=str(tmp_path / "foreign.parquet"), licence="x")
    assert "contract version None" in refused(foreign.load)


def test_what_an_environment_cannot_have_is_an_empty_table_of_its_contract():
    dataset = EmptyTable(contract="dima_pipeline.contracts.tables.WorldTruth")
    found = WorldTruth.validate(dataset.load())
    assert len(found) == 0 and list(found.columns) == list(WorldTruth.to_schema().columns)
    assert "no table" in refused(lambda: dataset.save(found))


def test_a_directory_is_published_only_when_finished(tmp_path):
    dataset = DirectoryDataset(filepath=str(tmp_path / "out" / "model"))
    staged = tmp_path / "staged"
    staged.mkdir()
    (staged / "w").write_text("1")
    assert "unfinished" in refused(lambda: dataset.save(staged))
    assert not dataset.exists()
    write_manifest(staged)
    dataset.save(staged)
    assert (dataset.load() / "w").read_text() == "1"


def test_recordings_are_never_written_and_a_missing_root_says_what_to_set(tmp_path):
    assert "DIMA_DATAROOT is not set" in refused(RecordedRoot(dataroot="").load)
    assert "is no directory" in refused(RecordedRoot(dataroot=str(tmp_path / "nowhere")).load)
    root = RecordedRoot(dataroot=str(tmp_path))
    assert root.load() == tmp_path
    with pytest.raises(DatasetError, match=r"never written|None"):
        root.save(tmp_path)


def test_json_comes_back_and_a_cut_file_is_named(tmp_path):
    dataset = JsonDataset(filepath=str(tmp_path / "a" / "s.json"))
    dataset.save({"b": 1, "a": {"c": 0.5}})
    assert dataset.load() == {"a": {"c": 0.5}, "b": 1}
    (tmp_path / "a" / "s.json").write_text('{"a"')
    assert "s.json is damaged" in refused(dataset.load)

"""Catalog entries: tables with their contract and licence, finished directories, and recordings that are never written.

Every save is atomic: a file or directory is either the old one or the whole new one.
"""

import importlib
import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from kedro.io import AbstractDataset

from dima_pipeline.contracts.frames import CONTRACT_VERSION
from dima_pipeline.storage.manifest import durably_open, publish, read_manifest, write_durably

LICENCE = "licence"
VERSION = "contract_version"
Json = dict[str, Any] | list[Any]
Metadata = dict[str, Any] | None
"""What a catalog entry tells other tools (``dvc``: see ``dvc_stages``); it changes nothing here."""


class TableDataset(AbstractDataset[pd.DataFrame, pd.DataFrame]):
    """A parquet table stamped with the contract version and the licence of the data it was made from.

    A loaded table carries both in ``frame.attrs``.
    """

    def __init__(self, *, filepath: str, licence: str, metadata: Metadata = None) -> None:
        self._path = Path(filepath)
        self._licence = licence
        self.metadata = metadata

    def save(self, data: pd.DataFrame) -> None:
        """Write ``data`` whole or not at all."""
        table = pa.Table.from_pandas(data, preserve_index=False)
        stamps = {VERSION: str(CONTRACT_VERSION), LICENCE: self._licence}
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), **stamps})
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with durably_open(self._path) as file:
            pq.write_table(table, file)

    def load(self) -> pd.DataFrame:
        """Read the table; raises ``ValueError`` for a missing, damaged or foreign file."""
        if not self._path.is_file():
            raise ValueError(f"{self._path} does not exist: run the pipeline that makes it")
        try:
            table = pq.read_table(self._path)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{self._path} is damaged ({error}); run the pipeline that makes it again") from None
        stamps = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        if stamps.get(VERSION) != str(CONTRACT_VERSION):
            raise ValueError(
                f"{self._path} has contract version {stamps.get(VERSION)}, this code reads {CONTRACT_VERSION}: "
                "run the pipeline that makes it again"
            )
        frame = table.to_pandas()
        frame.attrs = {LICENCE: stamps[LICENCE], VERSION: CONTRACT_VERSION}
        return frame

    def _exists(self) -> bool:
        return self._path.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": PurePosixPath(self._path), "licence": self._licence}


class EmptyTable(AbstractDataset[None, pd.DataFrame]):
    """A table that the environment's data cannot have, as the truth of recordings: always empty, never written."""

    def __init__(self, *, contract: str, metadata: Metadata = None) -> None:
        self._contract = contract
        self.metadata = metadata

    def save(self, data: None) -> None:
        """Refused: there is nothing to keep."""
        raise ValueError(f"no table {self._contract} is made in this environment")

    def load(self) -> pd.DataFrame:
        """No rows, the columns of the contract."""
        module, _, name = self._contract.rpartition(".")
        columns = getattr(importlib.import_module(module), name).to_schema().columns
        return pd.DataFrame({column: pd.Series(dtype=object) for column in columns})

    def _describe(self) -> dict[str, Any]:
        return {"contract": self._contract}


class DirectoryDataset(AbstractDataset[Path, Path]):
    """A finished directory (``storage.manifest``): saving publishes a staged one by renames, loading gives its path."""

    def __init__(self, *, filepath: str, metadata: Metadata = None) -> None:
        self._path = Path(filepath)
        self.metadata = metadata

    def save(self, data: Path) -> None:
        """Move the staged directory ``data`` into place; it must have its manifest."""
        publish(data, self._path)

    def load(self) -> Path:
        """The path; raises ``ValueError`` where the directory is missing or unfinished."""
        read_manifest(self._path)
        return self._path

    def _exists(self) -> bool:
        return self._path.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": PurePosixPath(self._path)}


class RecordedRoot(AbstractDataset[None, Path]):
    """The dataroot of recordings, named by ``DIMA_DATAROOT``: read, never written."""

    def __init__(self, *, dataroot: str) -> None:
        self._dataroot = dataroot

    def save(self, data: None) -> None:
        """Refused: recordings are never an output."""
        raise ValueError(f"the recordings in {self._dataroot} are never written")

    def load(self) -> Path:
        """The path; raises ``ValueError`` where it is not set or is no directory."""
        if not self._dataroot:
            raise ValueError("DIMA_DATAROOT is not set: export it as the folder that holds v1.0-*, samples/ and maps/")
        path = Path(os.path.expandvars(self._dataroot)).expanduser()
        if not path.is_dir():
            raise ValueError(f"DIMA_DATAROOT={self._dataroot} is no directory; it must hold v1.0-*, samples/ and maps/")
        return path

    def _describe(self) -> dict[str, Any]:
        return {"dataroot": self._dataroot}


class JsonDataset(AbstractDataset[Json, Json]):
    """A small JSON file for people and for metric tools."""

    def __init__(self, *, filepath: str, metadata: Metadata = None) -> None:
        self._path = Path(filepath)
        self.metadata = metadata

    def save(self, data: Json) -> None:
        """Write ``data`` whole or not at all."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(self._path, (json.dumps(data, indent=1, sort_keys=True) + "\n").encode())

    def load(self) -> Json:
        """Read it; raises ``ValueError`` for a missing or damaged file."""
        if not self._path.is_file():
            raise ValueError(f"{self._path} does not exist: run the pipeline that makes it")
        try:
            content: Json = json.loads(self._path.read_text())
        except json.JSONDecodeError as error:
            raise ValueError(f"{self._path} is damaged ({error}); run the pipeline that makes it again") from None
        return content

    def _exists(self) -> bool:
        return self._path.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": PurePosixPath(self._path)}

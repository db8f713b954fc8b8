"""A normalized task as files: one parquet file per split, and what happened to the rows."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict

from sensibert.data.tables import IN_MEMORY, gather, open_parquet
from sensibert.errors import ArtifactError
from sensibert.io import hash_file, read_json, replacing, write_json


@dataclass(frozen=True)
class SplitAudit:
    """What happened to the rows of one split; `read` is `kept` plus all that were dropped."""

    read: int
    kept: int
    dropped: dict[str, int]
    """Reason -> rows."""
    labels: dict[str, int]
    """Class -> rows kept. Real labels count by nearest whole number, or in ten equal bins if their range is open."""


@dataclass(frozen=True)
class Audit:
    """What happened to the rows of a task."""

    task: str
    source: str
    splits: dict[str, SplitAudit]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return asdict(self)


def save_task(dataset: DatasetDict, audit: Audit, folder: Path) -> None:
    """Write one parquet file per split and audit.json; the folder appears whole or not at all."""
    with replacing(folder) as beside:
        beside.mkdir()
        for split, rows in dataset.items():
            _write_split(rows, beside / f"{split}.parquet")
        write_json(beside / "audit.json", audit.to_dict())


def _write_split(rows: Dataset, path: Path) -> None:
    """Write groups of rows: each is what writing takes of the memory, and reading."""
    # The features' own schema: the table's may hold more metadata, which would change the bytes.
    schema, as_tables = rows.features.arrow_schema, rows.with_format("arrow")
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        for start in range(0, len(rows), IN_MEMORY):
            # In one piece: how a table came together in memory would change the bytes.
            group = as_tables[start : start + IN_MEMORY].combine_chunks().cast(schema)
            file.write_table(group, row_group_size=IN_MEMORY)


def load_task(folder: Path) -> DatasetDict:
    """Read what `save_task` wrote, into memory; a large split is mapped from a temporary file.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    try:
        splits = list(read_json(folder / "audit.json")["splits"])
    except (KeyError, TypeError):
        raise ArtifactError(f"{folder / 'audit.json'} names no splits; delete {folder} and run `dvc repro`") from None
    return DatasetDict({split: _load_split(folder / f"{split}.parquet") for split in splits})


def data_hash(folder: Path) -> str:
    """The sha256 over the names and bytes of a saved task's parquet files, in hexadecimal.

    Raises:
        ArtifactError: there is none.
    """
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise ArtifactError(f"{folder} holds no parquet file; run `dvc repro` to make it")
    total = hashlib.sha256()
    for path in files:
        total.update(path.name.encode())
        total.update(bytes.fromhex(hash_file(path)))
    return total.hexdigest()


def as_dataset(table: pa.Table) -> Dataset:
    """A data set of a table under a name that is drawn; by itself it would take one from a copy of all the rows."""
    return Dataset(table, fingerprint=uuid4().hex)


def _load_split(path: Path) -> Dataset:
    try:
        with open_parquet(path) as file:
            return as_dataset(gather(file.iter_batches(), file.schema_arrow))
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing; run `dvc repro` to make it") from None
    except (OSError, ValueError) as error:  # pyarrow's errors are both
        raise ArtifactError(f"{path} is damaged ({error}); delete it and run `dvc repro`") from error

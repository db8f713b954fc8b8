"""A normalized task as files: one parquet file per split, and what happened to the rows."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict

from sensibert.errors import ArtifactError
from sensibert.io import hash_file, read_json, replacing, write_json

IN_MEMORY = 100_000
"""Rows up to which a split is kept in memory, and its examples; those of a larger one lie in a temporary file."""


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
            # The features' own schema: the table's may hold more metadata, which would change the bytes.
            table = rows.with_format("arrow")[:].cast(rows.features.arrow_schema)
            # A group of rows is read at once, so that its size is what reading takes of the memory.
            pq.write_table(table, beside / f"{split}.parquet", compression="zstd", row_group_size=IN_MEMORY)
        write_json(beside / "audit.json", audit.to_dict())


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


def _mapped(file: pq.ParquetFile) -> pa.Table:
    """A table whose columns lie in a temporary file, which goes when nothing reads it any more."""
    with TemporaryDirectory(prefix="sensibert-", ignore_cleanup_errors=True) as folder:
        place = str(Path(folder, "rows.arrow"))
        with pa.OSFile(place, "wb") as sink, pa.ipc.new_stream(sink, file.schema_arrow) as writer:
            for batch in file.iter_batches():
                writer.write_batch(batch)
        return pa.ipc.open_stream(pa.memory_map(place)).read_all()


def _load_split(path: Path) -> Dataset:
    try:
        file = pq.ParquetFile(path)
        return Dataset(file.read() if file.metadata.num_rows <= IN_MEMORY else _mapped(file))
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing; run `dvc repro` to make it") from None
    except (OSError, ValueError) as error:  # pyarrow's errors are both
        raise ArtifactError(f"{path} is damaged ({error}); delete it and run `dvc repro`") from error

"""Tables that may be larger than memory."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

IN_MEMORY = 100_000
"""Rows up to which a split is kept in memory, and its examples; those of a larger one lie in a temporary file. So
many are cleaned and written at once."""


def gather(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """A table of some batches: in memory, or where it has more than `IN_MEMORY` rows mapped from a temporary file.

    The file goes when nothing reads it any more.
    """
    batches = iter(batches)
    first, rows = [], 0
    for batch in batches:
        first.append(batch)
        rows += batch.num_rows
        if rows > IN_MEMORY:
            break
    else:
        return pa.Table.from_batches(first, schema)
    with TemporaryDirectory(prefix="sensibert-", ignore_cleanup_errors=True) as folder:
        place = str(Path(folder, "rows.arrow"))
        with pa.OSFile(place, "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            for batch in chain(first, batches):
                writer.write_batch(batch)
        del first
        return pa.ipc.open_stream(pa.memory_map(place)).read_all()


def open_parquet(file: Path | IO[bytes]) -> pq.ParquetFile:
    """Open a parquet file to read some of its rows at a time; by itself the reader would keep the whole file."""
    return pq.ParquetFile(file, pre_buffer=False)

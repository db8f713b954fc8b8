"""Tables of texts, read and written piece by piece, so that a file may be larger than memory."""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from sensibert.errors import DataError, ParamsError
from sensibert.io import replacing
from sensibert.sources.public import json_records

STDIN = "-"
"""The place that stands for standard input, and for standard output."""

Row = dict[str, Any]
Write = Callable[[Sequence[Row]], None]
"""Appends rows that have the same columns."""

_SEPARATORS = {"csv": ",", "tsv": "\t"}
FORMATS = (*_SEPARATORS, "jsonl", "parquet", "txt")
"""How rows may be written down; `txt` has one text in each line and no column names."""
TXT_COLUMN = "text"
"""The column that the lines of a `txt` are in."""


def format_of(place: str, given: str | None, option: str) -> str:
    """The format of a place: the one that was given, else that of its name.

    Raises:
        ParamsError: it is unknown.
    """
    suffix = Path(place.removesuffix(".gz")).suffix.removeprefix(".")
    found = given or (suffix if place != STDIN else "txt")
    if found not in FORMATS:
        raise ParamsError(f"{place}: unknown format {found!r}; allowed: {', '.join(FORMATS)} ({option} says which)")
    if found == "parquet" and place == STDIN:
        raise ParamsError(f"{option} parquet: such a file is read from its end, so it cannot be streamed; name a file")
    return found


def read_rows(place: str, kind: str, size: int) -> Iterator[list[Row]]:
    """The rows of a table in pieces; cells of csv and tsv files are texts.

    Args:
        place: A file, which may be compressed (`.gz`), or `STDIN`.
        kind: One of `FORMATS`.
        size: The largest number of rows of a piece.

    Raises:
        DataError: the file is missing, damaged or of another kind.
    """
    try:
        if kind == "parquet":
            with pq.ParquetFile(place) as file:
                for batch in file.iter_batches(size):
                    yield batch.to_pylist()
            return
        with nullcontext(sys.stdin) if place == STDIN else _opened(place) as lines:
            yield from _pieces(_rows_of(lines, kind, place), size)
    except FileNotFoundError:
        raise DataError(f"{place}: there is no such file") from None
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, csv.Error, pa.ArrowInvalid) as error:
        raise DataError(f"{place} cannot be read as {kind}: {error}") from None


def types_of(place: str, kind: str) -> pa.Schema | None:
    """The types of the columns; None where the format has none, or the file cannot be read."""
    try:
        return pq.read_schema(place) if kind == "parquet" else None
    except (OSError, pa.ArrowInvalid):  # `read_rows` says what is wrong
        return None


@contextmanager
def writing_rows(place: str, kind: str, types: pa.Schema | None = None) -> Iterator[Write]:
    """Within the block, rows can be appended; a file appears when it is complete, or not at all.

    Args:
        place: A file, or `STDIN` for standard output.
        kind: One of `FORMATS`, except `txt`.
        types: Of the columns that are known to have some; those of others follow from the first rows.
    """
    if place == STDIN:
        yield _text_writer(sys.stdout, kind)
        sys.stdout.flush()
        return
    with replacing(Path(place)) as beside:
        if kind == "parquet":
            with _ParquetFile(beside, types) as parquet:
                yield parquet.append
            return
        with (
            gzip.open(beside, "wt", encoding="utf-8")
            if place.endswith(".gz")
            else beside.open("w", encoding="utf-8", newline="") as file
        ):
            yield _text_writer(file, kind)  # type: ignore[arg-type]


def _opened(place: str) -> TextIO:
    if place.endswith(".gz"):
        return gzip.open(place, "rt", encoding="utf-8-sig", newline="")  # type: ignore[return-value]
    return Path(place).open(encoding="utf-8-sig", newline="")


def _rows_of(lines: TextIO, kind: str, place: str) -> Iterator[Row]:
    if kind == "txt":
        yield from ({TXT_COLUMN: line.rstrip("\r\n")} for line in lines)
    elif kind == "jsonl":
        yield from json_records(Path(place), lines)
    else:
        reader = csv.DictReader(lines, delimiter=_SEPARATORS[kind], strict=True)
        for row in reader:
            if None in row or None in row.values():
                raise DataError(
                    f"{place}, line {reader.line_num}: the row has another number of cells than the header, which has "
                    f"{len(reader.fieldnames or ())}"
                )
            yield row


def _pieces(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    piece: list[Row] = []
    for row in rows:
        piece.append(row)
        if len(piece) == size:
            yield piece
            piece = []
    if piece:
        yield piece


def _text_writer(file: TextIO, kind: str) -> Write:
    writers: list[csv.DictWriter[str]] = []

    def append(rows: Sequence[Row]) -> None:
        if kind == "jsonl":
            file.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
        else:
            if not writers:
                names = list(rows[0])
                writers.append(csv.DictWriter(file, names, delimiter=_SEPARATORS[kind], lineterminator="\n"))
                writers[0].writeheader()
            writers[0].writerows(rows)
        file.flush()

    return append


class _ParquetFile:
    """A parquet file whose columns are those of the first rows."""

    def __init__(self, path: Path, types: pa.Schema | None) -> None:
        self.path = path
        self.known = types or pa.schema([])
        self.writer: pq.ParquetWriter | None = None

    def append(self, rows: Sequence[Row]) -> None:
        """Append rows."""
        if self.writer is None:
            self.writer = pq.ParquetWriter(self.path, self._schema(rows))
        self.writer.write_table(pa.Table.from_pylist(list(rows), schema=self.writer.schema))

    def _schema(self, rows: Sequence[Row]) -> pa.Schema:
        found = pa.Table.from_pylist(list(rows)).schema
        known = [self.known.field(name) if name in self.known.names else found.field(name) for name in found.names]
        return pa.schema(known, self.known.metadata)

    def __enter__(self) -> _ParquetFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self.writer:
            self.writer.close()

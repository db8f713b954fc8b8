"""Tables of texts, read and written piece by piece, so that a file may be larger than memory."""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from sensibert.data.tables import open_parquet
from sensibert.errors import DataError, ParamsError
from sensibert.io import replacing
from sensibert.sources.public import json_records, refuse_twins

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


_LONGEST_CELL = 2**31 - 1
"""Characters of a cell of csv and tsv files; Python's own limit of 131,072 is less than a long report has."""


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
            with open_parquet(Path(place)) as file:
                refuse_twins(Path(place), file.schema_arrow.names)
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
        for number, record in enumerate(json_records(Path(place), lines), 1):
            _refuse_half_characters(record, place, number)
            yield record
    else:
        csv.field_size_limit(_LONGEST_CELL)
        reader = csv.DictReader(lines, delimiter=_SEPARATORS[kind], strict=True)
        columns = reader.fieldnames or ()
        refuse_twins(Path(place), columns)
        for row in reader:
            if None in row or None in row.values():
                raise DataError(
                    f"{place}, line {reader.line_num}: the row has another number of cells than the header, which has "
                    f"{len(columns)}"
                )
            yield row


def _refuse_half_characters(record: Row, place: str, number: int) -> None:
    """JSON can hold one half of a character that takes two, which no file of text can hold."""
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):x}"
        raise DataError(f"{place}, object {number} holds {half}, one half of a character; it is no text") from None


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
            names = _names_of(rows)
            if not writers:
                writers.append(csv.DictWriter(file, names, delimiter=_SEPARATORS[kind], lineterminator="\n"))
                writers[0].writeheader()
            if late := [name for name in names if name not in writers[0].fieldnames]:
                raise DataError(
                    f"a row has the field {late[0]!r}, which no row had before the header of the {kind} was written; "
                    "write jsonl or parquet instead"
                )
            writers[0].writerows(rows)
        file.flush()

    return append


def _names_of(rows: Sequence[Row]) -> list[str]:
    """The columns of all rows, in the order in which they come up."""
    return list(dict.fromkeys(name for row in rows for name in row))


class _ParquetFile:
    """A parquet file whose columns are those of all rows, of types that hold all their values.

    Rows that do not fit the columns so far begin another file; in the end all are put together.
    """

    def __init__(self, path: Path, types: pa.Schema | None) -> None:
        self.path = path
        self.known = types or pa.schema([])
        self.files: list[BinaryIO] = []
        self.writer: pq.ParquetWriter | None = None
        self.schema = pa.schema([])

    def append(self, rows: Sequence[Row]) -> None:
        """Append rows.

        Raises:
            DataError: a column holds values of unlike types, or of one that such a file cannot hold.
        """
        with _explained("the rows"):
            table = self._table(rows)
            together = pa.unify_schemas([self.schema, table.schema], promote_options="permissive")
            if self.writer is None or together != self.schema:
                self._begin(together.with_metadata(self.known.metadata))
            assert self.writer is not None
            self.writer.write_table(_fitted(table, self.schema))

    def _table(self, rows: Sequence[Row]) -> pa.Table:
        columns = {}
        for name in _names_of(rows):
            known = self.known.field(name).type if name in self.known.names else None
            with _explained(f"the column {name!r}"):
                columns[name] = pa.array([row.get(name) for row in rows], type=known)
        return pa.table(columns)

    def _begin(self, schema: pa.Schema) -> None:
        self._close()
        self.schema = schema
        # Those after the first have no name, so that a kill leaves none of them.
        file = TemporaryFile(dir=self.path.parent) if self.files else self.path.open("w+b")  # noqa: SIM115
        self.files.append(file)  # type: ignore[arg-type]
        self.writer = pq.ParquetWriter(file, schema)

    def _close(self) -> None:
        if self.writer:
            self.writer.close()

    def _put_together(self) -> None:
        self.path.unlink()
        with pq.ParquetWriter(self.path, self.schema) as whole:
            for file in self.files:
                for batch in open_parquet(file).iter_batches():
                    whole.write_table(_fitted(pa.Table.from_batches([batch]), self.schema))

    def __enter__(self) -> _ParquetFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self.writer is None:
            self._begin(self.known)  # no rows
        self._close()
        if kind is None and len(self.files) > 1:
            with _explained("the rows"):
                self._put_together()
        for file in self.files:
            file.close()


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OverflowError) as error:
        raise DataError(f"no parquet file can hold {what}: {error}; write jsonl instead") from None


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table in the columns and types of a schema that holds all of its own; a column that it lacks is null."""
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)

"""Quotation marks in csv and tsv files that take lines of other rows into one cell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sensibert.errors import DataError

_TO_THE_CLOSING_MARK = re.compile(r'[^"]*(?:""[^"]*)*"(?!")')
_HOW_TO_QUOTE = (
    'if it is part of the text, put the whole cell in quotation marks and double those within: """So"" it is"'
)


@dataclass
class _LongCell:
    """A cell in quotation marks that goes over several lines."""

    opens: int
    """Number of the line where it begins."""
    like_rows: bool
    """Whether each of its lines has as many separators as the header, and that is any."""
    closes: int | None = None
    """Number of the line where it ends; None if it never does."""
    after: str = ""
    """What follows on that line."""


def refuse_stray_quotes(path: Path, lines: Iterable[str], separator: str) -> None:
    """Refuse a quotation mark that is part of a text but begins its cell: readers take the next lines into that cell.

    In a good file nothing but a separator or the end of the line follows the mark that closes a cell of several lines.
    Texts hardly hold tabs: if each line of such a cell in a tsv file has as many as the header, they are rows.

    Args:
        path: For the message.
        lines: Of the file.
        separator: A comma or a tab.

    Raises:
        DataError: a cell is damaged; the message names the line where it begins.
    """
    for cell in _long_cells(lines, separator):
        if problem := _problem(cell, separator):
            raise DataError(
                f"{path}, line {cell.opens}: a quotation mark at the start of a cell {problem}; {_HOW_TO_QUOTE}"
            )


def _problem(cell: _LongCell, separator: str) -> str | None:
    if cell.closes is None:
        return "is opened and never closed"
    after = cell.after.strip(" ")
    if after and not after.startswith(separator):
        return f"takes all to line {cell.closes} into it, where {after[:20]!r} follows the next quotation mark"
    if separator == "\t" and cell.like_rows:
        return f"takes all to line {cell.closes} into it, and each of these lines has the tabs of a row"
    return None


def _long_cells(lines: Iterable[str], separator: str) -> Iterator[_LongCell]:
    """The cells over several lines, found as pandas finds them."""
    open_at_the_end = re.compile(
        rf'(?:(?:"(?:[^"]|"")*+"[^{separator}]*|[^{separator}"][^{separator}]*|){separator})*+"'
    )
    cell, of_header = None, 0
    for number, line in enumerate((line.rstrip("\r\n") for line in lines), 1):
        of_header = of_header or line.count(separator)
        like_a_row = 0 < of_header == line.count(separator)
        if cell is not None:
            cell.like_rows &= like_a_row
            closing = _TO_THE_CLOSING_MARK.match(line)
            if closing is None:
                continue
            cell.closes, cell.after = number, line[closing.end() :]
            yield cell
            line, cell = cell.after.partition(separator)[2], None
        if '"' in line and _ends_open(open_at_the_end, line):
            cell = _LongCell(number, like_a_row)
    if cell is not None:
        yield cell


def _ends_open(cells_before: re.Pattern[str], line: str) -> bool:
    """Whether the last cell of a line begins with a quotation mark that this line does not close."""
    found = cells_before.match(line)
    return found is not None and _TO_THE_CLOSING_MARK.match(line, found.end()) is None

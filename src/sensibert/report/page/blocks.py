"""What a page is made of: plain records, which the template turns into HTML.

All texts are plain texts; the template escapes them. Only the drawings of `charts` are markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from markupsafe import Markup

from sensibert.report.labels import NOTHING


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    value: float | str | None = None
    """What it sorts by; None sorts behind all others, in both directions."""
    share: float | None = None
    """Length of the bar below the text, from 0 to 1; None for no bar."""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    title: str
    is_number: bool = True
    """Whether it is set to the right and sorts by size."""
    best: str = "low"
    """`low` or `high`: what the first click on its title puts on top."""
    is_filter: bool = False
    """Whether a menu above the table chooses among its texts."""
    hint: str = ""
    """What it means, for a reader who does not know."""


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    cells: Sequence[Cell]
    tag: str = ""
    """A word behind the name, such as `chosen`; such rows stand out."""


@dataclass(frozen=True)
class Table:
    """A table; readers can sort it by each column, and look for rows."""

    kind: ClassVar = "table"
    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    note: str = ""
    is_sortable: bool = True
    is_searchable: bool = False


@dataclass(frozen=True)
class Matrix:
    """A table of numbers whose cells are shaded."""

    kind: ClassVar = "matrix"
    title: str
    corner: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    """Names and cells; `share` is the shade."""
    note: str = ""


@dataclass(frozen=True)
class Drawing:
    """A drawing, its title, and below it what its colours mean."""

    title: str
    svg: Markup
    legend: Sequence[tuple[str, str]] = ()
    """Names and the classes of style.css that colour them."""


@dataclass(frozen=True)
class Charts:
    """Drawings side by side, as many as there is room for."""

    kind: ClassVar = "charts"
    drawings: Sequence[Drawing]
    is_small: bool = False
    """Whether they are so simple that more of them fit in a row."""


@dataclass(frozen=True)
class Facts:
    """Terms and what they are."""

    kind: ClassVar = "facts"
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Note:
    """A paragraph."""

    kind: ClassVar = "note"
    text: str


@dataclass(frozen=True)
class Fold:
    """Blocks behind a title that opens them."""

    kind: ClassVar = "fold"
    title: str
    blocks: Sequence[Block]
    is_open: bool = False


Block = Table | Matrix | Charts | Facts | Note | Fold


@dataclass(frozen=True)
class Tile:
    """One figure that a reader shall see first."""

    label: str
    value: str
    was: str = ""
    """The same of what it is compared with."""
    change: str = ""


@dataclass(frozen=True)
class Section:
    """A part of a page."""

    key: str
    """Its anchor."""
    title: str
    lead: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A whole page."""

    title: str
    """Of the window."""
    kicker: str
    """What kind of page it is; above the headline."""
    headline: str
    lead: str
    sections: Sequence[Section]
    warning: str = ""
    tiles: Sequence[Tile] = field(default_factory=tuple)
    files: Sequence[tuple[str, str]] = ()
    """What else is beside it: relative path and what it is."""


def number(value: float | None, form: str = "{:.1f}", *, share: float | None = None) -> Cell:
    """A cell with a number; an empty one if there is none."""
    if value is None or value != value:
        return Cell(NOTHING)
    return Cell(form.format(value), value, share)


def text(value: str) -> Cell:
    """A cell with words, which sort without regard to case."""
    return Cell(value, value.casefold())

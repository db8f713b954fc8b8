"""What the pictures of the report share: their style, looks that nobody mixes up, panels, heat maps, and their files.

Every picture is drawn from one csv file, as an svg with real text and as a png; equal tables give equal bytes.
Everything is drawn with matplotlib's objects and never with pyplot: no window, no global state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sensibert.io import replacing

# The palette of Okabe and Ito (2008), which colour-blind readers can tell apart, and a grey.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#767676")
MARKERS = {"o": "\u25cf", "s": "\u25a0", "^": "\u25b2", "D": "\u25c6", "v": "\u25bc", "P": "\u271a", "X": "\u2716"}
"""Marker -> the letter that looks like it, for names."""
INK = "#222222"
MUTED = "#666666"

_PIXELS_PER_INCH = 160
_WIDEST = 11.0
"""Inches of a row of panels, if it has more than one."""
_TITLE_LETTER = 0.082
"""Inches of a letter of a title."""

_STYLE: list[str | dict[str, Any]] = [
    # The reader's own matplotlibrc must have no effect.
    "default",
    {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelcolor": INK,
        "axes.edgecolor": MUTED,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "grid.color": "#E4E4E4",
        "grid.linewidth": 0.8,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "text.color": INK,
        "figure.constrained_layout.w_pad": 0.08,
        "figure.constrained_layout.h_pad": 0.08,
        "svg.fonttype": "none",
        "svg.hashsalt": "sensibert",
    },
]


class Picture(NamedTuple):
    """A picture of the report."""

    name: str
    """Of the files that show it, without a suffix."""
    table: str
    """Name of the csv file with the numbers behind it, without the suffix."""
    draw: Callable[[pd.DataFrame], Figure]


class Look(NamedTuple):
    """How a series looks."""

    colour: str
    marker: str


def look(place: int) -> Look:
    """The look of the series at a place: no two alike among the first 49, no two of a colour among the first seven."""
    rounds, colour = divmod(place, len(COLOURS))
    return Look(COLOURS[colour], tuple(MARKERS)[(colour + rounds) % len(MARKERS)])


def write_picture(picture: Picture, table: pd.DataFrame, folder: Path) -> None:
    """Write a table and its picture into a folder; a table without rows removes what was there of both."""
    file = folder / f"{picture.table}.csv"
    if table.empty:
        for path in (file, *_files(picture, folder)):
            path.unlink(missing_ok=True)
        return
    with replacing(file) as beside:
        table.to_csv(beside, index=False, lineterminator="\n")
    draw_picture(picture, folder)


def draw_picture(picture: Picture, folder: Path) -> None:
    """Draw a picture as svg and png from the table in a folder."""
    # From the file, always: whoever draws it again later has nothing else.
    table = pd.read_csv(folder / f"{picture.table}.csv")
    vector, pixels = _files(picture, folder)
    with style.context(_STYLE):
        figure = picture.draw(table)
        settle(figure)
        # Without its date and creator the same figure is the same file.
        _save(figure, vector, format="svg", metadata={"Date": None, "Creator": None})
        _save(figure, pixels, format="png", metadata={"Software": None}, dpi=_PIXELS_PER_INCH)


def _files(picture: Picture, folder: Path) -> tuple[Path, Path]:
    return folder / f"{picture.name}.svg", folder / f"{picture.name}.png"


def _save(figure: Figure, path: Path, **options: Any) -> None:
    with replacing(path) as beside:
        # The page is as large as what is drawn on it, so that nothing is cut off.
        figure.savefig(beside, bbox_inches="tight", pad_inches=0.1, **options)


def fitting(count: int, width: float, margin: float = 0.0) -> int:
    """How many panels of a width, in inches, go beside each other, so that the rows are as even as possible."""
    most = max(1, int((_WIDEST - margin) / width))
    return math.ceil(count / math.ceil(count / most))


def panels_of(
    count: int, columns: int, size: tuple[float, float], margin: float = 0.0, **sharing: Any
) -> tuple[Figure, list[Axes]]:
    """A figure with panels in rows.

    Args:
        count: How many panels.
        columns: How many of them stand beside each other.
        size: Width and height of each, in inches, with its own labels.
        margin: Inches to the left of all of them, for labels that they share.
        sharing: `sharex` and `sharey` of the panels.
    """
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(margin + size[0] * columns, size[1] * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **sharing).ravel().tolist()
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def settle(figure: Figure) -> None:
    """Find the layout of a figure, and keep it: to draw it again would find it again."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def title(panel: Axes, text: str, width: float) -> None:
    """Write a title above a panel that is so many inches wide, in as many lines as that takes."""
    panel.set_title(fill(text, max(12, int(width / _TITLE_LETTER)), break_on_hyphens=False))


def headline(figure: Figure, text: str) -> None:
    """Say above the panels what they show."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=10, color=MUTED)


def heat_map(panel: Axes, values: np.ndarray, highest: float, text: str) -> None:
    """Draw a matrix as cells that are coloured from 0 to `highest` and show their numbers; none where it is NaN."""
    # A mesh, because svg files carry images as blurred pixels.
    rows, columns = (np.arange(length + 1) - 0.5 for length in values.shape)
    panel.pcolormesh(columns, rows, values, cmap="YlGnBu", vmin=0, vmax=highest, edgecolors="white", linewidth=1.2)
    panel.set_ylim(rows[-1], rows[0])
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            ink = "white" if value > 0.6 * highest else INK
            panel.text(
                column,
                row,
                text.format(value).replace("-0.00", "0.00"),
                ha="center",
                va="center",
                color=ink,
                fontsize=8,
            )
    panel.spines[:].set_visible(False)
    panel.tick_params(length=0)


def in_order(values: Iterable[Any]) -> list[Any]:
    """Each value once, in the order of first occurrence."""
    return list(dict.fromkeys(values))


def measured(curve: pd.DataFrame) -> str:
    """How many seeds stand behind every mean, as the end of a headline."""
    seeds = curve["seed"].nunique()
    return f", mean ± standard deviation of {seeds} seeds" if seeds > 1 else ", one seed"

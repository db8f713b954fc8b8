"""Names of series, to the right of a panel: by the height of what they name, and never on top of each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from scipy.optimize import isotonic_regression

from sensibert.report.figures import settle

_OFFSET = 14
"""Points between a panel and its names."""
_GAP = 11.5
"""Points from one name to the next."""
_LETTER = 0.075
"""Inches of a letter, at most."""


def room_for_names(names: Sequence[str]) -> tuple[float, float]:
    """The width beside a panel, and the height of it, that some names need, in inches."""
    return 0.4 + _LETTER * max(map(len, names)), _GAP / 72 * (len(names) + 1)


def name_beside(panel: Axes, name: str, height: float, colour: str, weight: str = "normal") -> None:
    """Name a series at the right of the panel, in its colour, and join the two; `spread_names` ends it."""
    panel.annotate(
        name,
        xy=(1, height),
        xycoords=panel.get_yaxis_transform(),
        xytext=(_OFFSET, 0),
        textcoords="offset points",
        va="center",
        color=colour,
        weight=weight,
        fontsize=8.5,
        annotation_clip=False,
        arrowprops={
            "arrowstyle": "-",
            "color": colour,
            "linewidth": 0.7,
            "relpos": (0, 0.5),
            "shrinkA": 0,
            "shrinkB": 0,
        },
    )


def spread_names(figure: Figure) -> None:
    """Give the names beside all panels their places; the layout of the figure is final then."""
    settle(figure)
    for panel in figure.axes:
        _spread(panel, points=72 / figure.dpi)


def _spread(panel: Axes, points: float) -> None:
    """Move the names beside a panel up and down until none overlap; `points` is the size of a pixel in points."""
    annotations = [text for text in panel.texts if isinstance(text, Annotation)]
    names = sorted((name for name in annotations if name.arrow_patch is not None), key=lambda name: name.xy[1])
    heights = [float(panel.transData.transform((0, name.xy[1]))[1]) * points for name in names]
    box = panel.get_window_extent()
    free = spaced(heights, _GAP, box.y0 * points, box.y1 * points)
    for name, height, place in zip(names, heights, free, strict=True):
        name.set_position((_OFFSET, place - height))


def spaced(heights: Sequence[float], gap: float, lowest: float, highest: float) -> list[float]:
    """The nearest heights (least squares) within bounds and with at least `gap` between neighbours.

    Args:
        heights: in ascending order.
        gap: the smallest distance allowed.
        lowest: Lower bound of all heights.
        highest: Upper bound of all heights; it gives way if the gaps need more room.
    """
    # With k gaps taken off the k-th height, "a gap apart" is "ascending": isotonic regression.
    gaps = gap * np.arange(len(heights))
    flat = isotonic_regression(np.asarray(heights) - gaps).x if len(heights) else gaps
    room = max(lowest, highest - gap * (len(heights) - 1))
    return list(map(float, np.clip(flat, lowest, room) + gaps))

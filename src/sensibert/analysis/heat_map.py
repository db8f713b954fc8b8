"""A matrix as a picture: coloured squares with their numbers, in SVG.

Written as text, since a run has two of them and matplotlib takes a fifth of a second for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

import numpy as np

from sensibert.models.mask import Mask

_SQUARE = 34
_LETTER = 6.2
"""Pixels: the side of a square, and the width of a letter on average."""
_LIGHT, _DARK = np.array([247, 251, 255]), np.array([8, 69, 148])
_INK = "#222222"


def heat_map(values: np.ndarray, shades: np.ndarray, rows: Sequence[str], columns: Sequence[str], *, title: str) -> str:
    """An SVG picture of a matrix.

    Args:
        values: [rows, columns]; shown as whole numbers, NaN as nothing.
        shades: [rows, columns], how dark each square is, from 0 to 1.
        rows: their names, from above.
        columns: their names.
        title: stands above.
    """
    left, top = (20 + _LETTER * max(map(len, names)) for names in (rows, columns))
    top += 20  # of the title
    width = max(left + _SQUARE * len(columns) + 20, _LETTER * len(title) * 1.2 + 20)
    height = top + _SQUARE * len(rows) + 20
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'font-family="sans-serif" font-size="11" fill="{_INK}">',
            '<rect width="100%" height="100%" fill="white"/>',
            _text(10, 18, title, 'font-size="13" font-weight="bold"'),
            *_names(rows, columns, left, top),
            *_squares(values, shades, left, top),
            "</svg>\n",
        ]
    )


def kept_dimensions(mask: Mask, title: str) -> str:
    """Percent of the dimensions that a mask keeps of each head and each feed-forward module, layer by layer."""
    layers = sorted({key.layer for key in mask.keep})
    units = {key.group: keep.shape[0] for key, keep in mask.keep.items()}
    columns = [(group, unit) for group, count in units.items() for unit in range(count)]
    percent = np.full((len(layers), len(columns)), np.nan)
    for key, keep in mask.keep.items():
        for unit, share in enumerate(keep.mean(axis=1)):
            percent[layers.index(key.layer), columns.index((key.group, unit))] = 100 * share
    names = [
        f"head {unit}" if units[group] > 1 else group.replace("_", "-") for group, unit in columns
    ]  # one unit is the whole module
    heading = f"{title}: kept dimensions in percent"
    return heat_map(percent, percent / 100, [f"layer {layer}" for layer in layers], names, title=heading)


def _names(rows: Sequence[str], columns: Sequence[str], left: float, top: float) -> Iterator[str]:
    for place, name in enumerate(rows):
        yield _text(left - 6, top + _SQUARE * (place + 0.5) + 4, name, 'text-anchor="end"')
    for place, name in enumerate(columns):
        x, y = left + _SQUARE * (place + 0.5) + 4, top - 6
        yield _text(x, y, name, f'transform="rotate(-90 {x:.0f} {y:.0f})"')


def _squares(values: np.ndarray, shades: np.ndarray, left: float, top: float) -> Iterator[str]:
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
        x, y, shade = left + _SQUARE * column, top + _SQUARE * row, shades[row, column]
        colour = ",".join(f"{part:.0f}" for part in _LIGHT + shade * (_DARK - _LIGHT))
        side = _SQUARE - 1  # a white line between two squares
        yield f'<rect x="{x:.0f}" y="{y:.0f}" width="{side}" height="{side}" fill="rgb({colour})"/>'
        ink = "white" if shade > 0.5 else _INK
        yield _text(x + _SQUARE / 2, y + _SQUARE / 2 + 4, f"{value:.0f}", f'text-anchor="middle" fill="{ink}"')


def _text(x: float, y: float, text: str, attributes: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" {attributes}>{escape(text)}</text>'

"""What all drawings share: scales, ticks, and the frame that a drawing goes into.

Colours and fonts are in style.css, so that a drawing is readable on a light page, a dark one and paper.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from xml.etree.ElementTree import Element, SubElement, tostring

from markupsafe import Markup

from sensibert.report.page.blocks import Drawing
from sensibert.report.page.words import printable

WIDTH = 400
"""Of every drawing, in its own units: about a pixel on a phone."""
SIZE, SMALL = (WIDTH, 250), (240, 150)
"""Width and height of drawings."""
CHARACTER = 6.5
"""About the width of a character of the labels."""


@dataclass(frozen=True)
class Axis:
    """What one direction of a drawing means."""

    label: str
    low: float
    high: float
    is_log: bool = False
    form: Callable[[float], str] = "{:g}".format
    """How a tick is written."""
    at: Sequence[float] = ()
    """Where ticks are; empty for round numbers."""


@dataclass(frozen=True)
class Scale:
    """Where the values of an axis are in a drawing."""

    axis: Axis
    start: float
    """Place of the lowest value."""
    end: float

    def __call__(self, value: float) -> float:
        """The place of a value."""
        low, high = self.axis.low, self.axis.high
        if self.axis.is_log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)


@dataclass(frozen=True)
class Frame:
    """A drawing with its axes, ready for marks."""

    title: str
    root: Element
    x: Scale
    y: Scale

    def finished(self, legend: Sequence[tuple[str, str]] = ()) -> Drawing:
        """The drawing as a part of a page."""
        return finished(self.title, self.root, legend)


def add(parent: Element, tag: str, words: str | None = None, /, **attributes: float | str) -> Element:
    """Add an element; `_` in an attribute stands for `-`, and `class_` for `class`."""
    shown = {name.rstrip("_").replace("_", "-"): _written(value) for name, value in attributes.items()}
    element = SubElement(parent, tag, shown)
    element.text = None if words is None else printable(words)
    return element


def _written(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")


def drawing(title: str, description: str, width: float, height: float) -> Element:
    """An empty drawing that says what it shows to who cannot see it."""
    key = "c" + hashlib.sha256(printable(f"{title}\n{description}").encode()).hexdigest()[:8]
    box = f"0 0 {_written(width)} {_written(height)}"
    names = {"role": "img", "aria-labelledby": f"{key}t {key}d", "viewBox": box, "class": "chart"}
    root = Element("svg", names)
    add(root, "title", title, id=f"{key}t")
    add(root, "desc", description, id=f"{key}d")
    return root


def finished(title: str, root: Element, legend: Sequence[tuple[str, str]] = ()) -> Drawing:
    """A drawing as a part of a page; ElementTree escapes all names in it."""
    return Drawing(title, Markup(tostring(root, encoding="unicode")), legend)


def frame(title: str, description: str, x: Axis, y: Axis, size: tuple[float, float] = SIZE) -> Frame:
    """A drawing with a grid, ticks and the names of both axes."""
    width, height = size
    root = drawing(title, description, width, height)
    left, right = 46, width - 12
    across, up = Scale(x, left, right), Scale(y, height - 42, 30)
    grid = add(root, "g", class_="grid")
    for value in ticks(y, most=5 if height >= SIZE[1] else 3):
        add(grid, "line", x1=left, x2=right, y1=up(value), y2=up(value))
        add(root, "text", y.form(value), x=left - 6, y=up(value) + 4, class_="tick end")
    for value in ticks(x, most=6 if width >= WIDTH else 3):
        add(grid, "line", x1=across(value), x2=across(value), y1=up.start, y2=up.start + 4, class_="stub")
        add(root, "text", x.form(value), x=across(value), y=height - 24, class_="tick middle")
    add(root, "line", x1=left, x2=right, y1=up.start, y2=up.start, class_="axis")
    add(root, "text", y.label, x=0, y=12, class_="name")
    add(root, "text", x.label, x=right, y=height - 6, class_="name end")
    return Frame(title, root, across, up)


def ticks(axis: Axis, most: int = 5) -> list[float]:
    """Where an axis says so, or round values on it, `most` of them at most."""
    if axis.at:
        return list(axis.at)
    low, high = axis.low, axis.high
    if axis.is_log:
        found = [
            base * 10.0**power
            for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            for base in (1, 2, 5)
        ]
        inside = [value for value in found if low * 0.999 <= value <= high * 1.001]
        if len(inside) < 2:
            return ticks(replace(axis, is_log=False), most)
        decades = [value for value in inside if math.isclose(math.log10(value) % 1, 0, abs_tol=1e-9)]
        return inside if len(inside) <= most or len(decades) < 2 else decades[:: 1 + len(decades) // (most + 1)]
    step = _step(high - low, most)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [float(f"{place * step:.9g}") for place in range(first, last + 1)]


def _step(span: float, most: int) -> float:
    """The smallest distance of the form 1, 2 or 5 times a power of ten that gives no more than so many ticks."""
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(base * power for base in (1, 2, 5, 10, 20) if span / (base * power) <= most)


def axis(
    label: str, values: Sequence[float], form: Callable[[float], str] = "{:g}".format, *, is_log: bool = False
) -> Axis:
    """An axis with room around the values."""
    low, high = min(values), max(values)
    if is_log and low > 0:
        margin = max((high / low) ** 0.06, 1.08)
        return Axis(label, low / margin, high * margin, True, form)
    margin = 0.07 * (high - low)
    if margin <= 1e-9 * abs(high):
        margin = 0.05 * abs(high) or 1.0
    return Axis(label, low - margin, high + margin, False, form)

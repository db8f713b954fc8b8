"""The drawings of the pages: small, of pure data, and the same bytes for the same data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from sensibert.report.page.blocks import Drawing
from sensibert.report.page.svg import (
    CHARACTER,
    SIZE,
    WIDTH,
    Axis,
    Frame,
    Scale,
    add,
    axis,
    drawing,
    finished,
    frame,
    ticks,
)

COLOURS = 7
"""Series that style.css has colours for."""
_LONGEST = 30
"""Characters of a name beside a mark."""


@dataclass(frozen=True)
class Dot:
    """One model in a scatter plot."""

    name: str
    x: float
    y: float
    tip: str
    """What a reader sees who points at it."""
    shape: int = 0
    """0 is a circle, 1 a square, 2 a triangle."""
    is_best: bool = False
    is_chosen: bool = False
    low: float | None = None
    """Lower end of the interval of `y`."""
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """One curve."""

    name: str
    points: Sequence[tuple[float, float]]
    spread: Sequence[float] = ()
    """Half the length of the bar around each point; none if empty."""
    ringed: float | None = None
    """The x of the point that was chosen."""
    is_reference: bool = False
    """Whether it is what the others are compared with."""

    def colour(self, place: int) -> str:
        """Its class among several; the colours begin anew, dashed, when they are used up."""
        if self.is_reference:
            return "reference"
        return f"s{place % COLOURS}" + (" again" if place >= COLOURS else "")


@dataclass(frozen=True)
class Measured:
    """One row of an interval plot."""

    name: str
    value: float
    spread: float
    """Half the length of the bar; NaN for none."""
    colour: int = 0
    is_reference: bool = False


def scatter(title: str, dots: Sequence[Dot], x: Axis, y: Axis) -> Drawing:
    """Models by what they cost, to the right, and how good they are, upwards; a stair joins those on the front.

    The best and the chosen are named where there is room; pointing at any of them says the rest.
    """
    named = ", ".join(dot.name for dot in dots if dot.is_best)
    chosen = ", ".join(dot.name for dot in dots if dot.is_chosen)
    said = f"{len(dots)} models. Nothing is better in every way than: {named or 'none is marked'}."
    drawn = frame(title, f"{said} Chosen: {chosen}." if chosen else said, x, y)
    _stair(drawn, front(dots))
    for dot in sorted(dots, key=lambda dot: (dot.is_chosen, dot.is_best)):  # the chosen one lies on top
        _dot(drawn, dot)
    _names(drawn, dots)
    return drawn.finished()


def front(dots: Sequence[Dot]) -> list[Dot]:
    """Those that no other one beats in cost and in quality, from the cheapest on."""
    best: list[Dot] = []
    for dot in sorted(dots, key=lambda dot: (dot.x, -dot.y)):
        if not best or dot.y > best[-1].y:
            best.append(dot)
    return best


def _stair(drawn: Frame, best: Sequence[Dot]) -> None:
    if len(best) < 2:
        return
    x, y = drawn.x, drawn.y
    steps = [f"M{x(best[0].x):.1f} {y(best[0].y):.1f}"]
    steps += [f"H{x(dot.x):.1f}V{y(dot.y):.1f}" for dot in best[1:]]
    add(drawn.root, "path", d="".join(steps), class_="front")


def _dot(drawn: Frame, dot: Dot) -> None:
    x, y = drawn.x(dot.x), drawn.y(dot.y)
    role = "chosen" if dot.is_chosen else "best" if dot.is_best else "other"
    group = add(drawn.root, "g", class_=f"dot {role}")
    add(group, "title", dot.tip)
    if dot.low is not None and dot.high is not None:
        ends = (drawn.y(min(max(end, drawn.y.axis.low), drawn.y.axis.high)) for end in (dot.low, dot.high))
        low, high = ends
        add(group, "line", x1=x, x2=x, y1=low, y2=high, class_="bar")
    if dot.is_chosen:
        add(group, "circle", cx=x, cy=y, r=9, class_="ring")
    _shape(group, x, y, dot.shape)


def _shape(parent: Element, x: float, y: float, shape: int) -> None:
    if shape == 1:
        add(parent, "rect", x=x - 4.2, y=y - 4.2, width=8.4, height=8.4, class_="mark")
    elif shape == 2:
        add(parent, "path", d=f"M{x:.1f} {y - 5.6:.1f}l5.2 9.4h-10.4z", class_="mark")
    else:
        add(parent, "circle", cx=x, cy=y, r=4.8, class_="mark")


def _names(drawn: Frame, dots: Sequence[Dot]) -> None:
    """Name the chosen, then the best, each where no other name or mark is; who finds no place stays unnamed."""
    taken = [_box(drawn.x(dot.x) - 6, drawn.y(dot.y) - 6, 12, 12) for dot in dots]
    for dot in sorted(dots, key=lambda dot: (not dot.is_chosen, -dot.y)):
        if not (dot.is_best or dot.is_chosen):
            continue
        name = _short(dot.name)
        width = CHARACTER * len(name)
        x, y = drawn.x(dot.x), drawn.y(dot.y)
        gap = 14 if dot.is_chosen else 9
        places = ((x + gap, y - 6), (x - gap - width, y - 6), (x - width / 2, y - gap - 12), (x - width / 2, y + gap))
        for left, top in places:
            box = _box(left, top, width, 12)
            inside = left > drawn.x.start and left + width < WIDTH and top > 14 and top + 12 < drawn.y.start
            if inside and not any(_overlap(box, other) for other in taken):
                weight = "label strong" if dot.is_chosen else "label"
                add(drawn.root, "text", name, x=left, y=top + 10, class_=weight)
                taken.append(box)
                break


_Box = tuple[float, float, float, float]


def _box(left: float, top: float, width: float, height: float) -> _Box:
    return left, top, left + width, top + height


def _overlap(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def lines(
    title: str,
    curves: Sequence[Line],
    x: Axis,
    y: Axis,
    *,
    has_marks: bool = False,
    size: tuple[float, float] = SIZE,
) -> Drawing:
    """Curves; a legend names them if there are several, and they are of different kinds."""
    said = "; ".join(f"{curve.name}: {curve.points[0][1]:.3g} to {curve.points[-1][1]:.3g}" for curve in curves)
    drawn = frame(title, f"From the first to the last point, {said}.", x, y, size)
    named = [(curve.name, curve.colour(place)) for place, curve in enumerate(curves)]
    for curve, (_, colour) in zip(curves, named, strict=True):
        _curve(drawn, curve, colour, has_marks and not curve.is_reference)
    return drawn.finished(named if len(curves) > 1 and size == SIZE else ())


def _curve(drawn: Frame, curve: Line, colour: str, has_marks: bool) -> None:
    group = add(drawn.root, "g", class_=f"line {colour}")
    places = [(drawn.x(x), drawn.y(y)) for x, y in curve.points]
    add(group, "polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places))
    if curve.spread:
        for (x, _), (value, half) in zip(
            places, zip((y for _, y in curve.points), curve.spread, strict=True), strict=True
        ):
            if half == half:
                add(group, "line", x1=x, x2=x, y1=drawn.y(value - half), y2=drawn.y(value + half), class_="bar")
    for (x, y), (value, reached) in zip(places, curve.points, strict=True):
        if has_marks:
            mark = add(group, "circle", cx=x, cy=y, r=3.4, class_="mark")
            add(mark, "title", f"{curve.name}: {drawn.y.axis.form(reached)} at {drawn.x.axis.form(value)}")
        if curve.ringed == value:
            add(group, "circle", cx=x, cy=y, r=7.5, class_="ring")


def intervals(title: str, rows: Sequence[Measured], label: str, legend: Sequence[tuple[str, str]] = ()) -> Drawing:
    """One row per model: a point, and a bar for its spread. The reference is a line through all rows."""
    left = 16 + CHARACTER * min(_LONGEST, max(len(row.name) for row in rows))
    height = 22.0 * len(rows) + 46
    ends = [row.value + sign * _or_zero(row.spread) for row in rows for sign in (-1, 1)]
    x = axis(label, ends)
    said = "; ".join(f"{row.name} {row.value:.1f}" for row in rows)
    root = drawing(title, f"{said}.", WIDTH, height)
    across = Scale(x, left, WIDTH - 12)
    bottom = height - 40
    grid = add(root, "g", class_="grid")
    for value in ticks(x):
        add(grid, "line", x1=across(value), x2=across(value), y1=4, y2=bottom)
        add(root, "text", x.form(value), x=across(value), y=bottom + 16, class_="tick middle")
    for place, row in enumerate(rows):
        y = 15 + 22.0 * place
        group = add(root, "g", class_=f"line s{row.colour % COLOURS}" + (" reference" if row.is_reference else ""))
        add(
            group,
            "title",
            f"{row.name}: {row.value:.1f}" + (f" ± {row.spread:.1f}" if row.spread == row.spread else ""),
        )
        if row.is_reference:
            add(group, "line", x1=across(row.value), x2=across(row.value), y1=4, y2=bottom, class_="through")
        short = _short(row.name)
        add(root, "text", short, x=left - 10, y=y + 4, class_="label end")
        if row.spread == row.spread:
            add(
                group,
                "line",
                x1=across(row.value - row.spread),
                x2=across(row.value + row.spread),
                y1=y,
                y2=y,
                class_="bar",
            )
        add(group, "circle", cx=across(row.value), cy=y, r=4.4, class_="mark")
    add(root, "text", label, x=WIDTH - 12, y=height - 6, class_="name end")
    return finished(title, root, legend)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def histogram(title: str, edges: Sequence[float], kept: Sequence[int], dropped: Sequence[int], x: Axis) -> Drawing:
    """How many dimensions have a score, kept ones above dropped ones.

    Args:
        title: What it shows.
        edges: Of the bins, one more than there are bins.
        kept: In each bin.
        dropped: In each bin.
        x: Covers all edges.
    """
    highest = max(above + below for above, below in zip(kept, dropped, strict=True))
    said = f"{sum(kept):,} kept, {sum(dropped):,} dropped, in {len(kept)} bins from {edges[0]:.2g} to {edges[-1]:.2g}."
    drawn = frame(title, said, x, Axis("dimensions", 0, highest * 1.05, form="{:,.0f}".format))
    for place, (above, below) in enumerate(zip(kept, dropped, strict=True)):
        left, right = drawn.x(edges[place]), drawn.x(edges[place + 1])
        base = 0
        for count, role in ((below, "dropped"), (above, "kept")):
            if count:
                top, bottom = drawn.y(base + count), drawn.y(base)
                shape = {"x": left + 0.4, "width": right - left - 0.8, "y": top, "height": bottom - top}
                bar = add(drawn.root, "rect", **shape, class_=role)
                add(bar, "title", f"{count:,} {role}")
                base += count
    return drawn.finished([("kept", "kept"), ("dropped", "dropped")])


def agreement(title: str, true: Sequence[float], predicted: Sequence[float]) -> Drawing:
    """Predicted against true numbers; on the line they are equal."""
    both = [*true, *predicted]
    x = axis("true", both)
    drawn = frame(title, f"{len(true):,} rows.", x, Axis("predicted", x.low, x.high))
    ends = {"x1": drawn.x(x.low), "y1": drawn.y(x.low), "x2": drawn.x(x.high), "y2": drawn.y(x.high)}
    add(drawn.root, "line", **ends, class_="front")
    cloud = add(drawn.root, "g", class_="cloud")
    for value, answer in zip(true, predicted, strict=True):
        add(cloud, "circle", cx=drawn.x(value), cy=drawn.y(answer), r=2.4)
    return drawn.finished()

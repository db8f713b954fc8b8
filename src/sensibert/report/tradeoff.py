"""What a model is worth against what it takes: a table of models that could be deployed, and a picture of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sensibert.report.plots import COLOURS, INK, write_figure


class Spot(NamedTuple):
    """A model that could be deployed."""

    name: str
    metric: float
    """The primary metric, in percent."""
    latency: float
    """Seconds for one text."""
    file_bytes: int
    is_chosen: bool = False


_COSTS: tuple[tuple[str, Callable[[Spot], float]], ...] = (
    ("latency of one text (ms)", lambda spot: 1e3 * spot.latency),
    ("size of the file (MB)", lambda spot: spot.file_bytes / 1e6),
)


def best_of(spots: Sequence[Spot]) -> set[str]:
    """The names of those that no other beats: none is at once as good, as fast and as small, and better in one."""

    def beats(other: Spot, one: Spot) -> bool:
        pairs = (
            (other.metric, one.metric),
            (-other.latency, -one.latency),
            (-other.file_bytes, -one.file_bytes),
        )
        return all(theirs >= own for theirs, own in pairs) and any(theirs > own for theirs, own in pairs)

    return {one.name for one in spots if not any(beats(other, one) for other in spots)}


def write_tradeoff(spots: Sequence[Spot], metric: str, path: Path) -> None:
    """Draw the metric against latency and against size.

    Args:
        spots: The models.
        metric: The label of the metric.
        path: The svg file.
    """
    write_figure(lambda drawn: _figure(drawn, metric), spots, path)


def _figure(spots: Sequence[Spot], metric: str) -> Figure:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, len(_COSTS), sharey=True)
    for panel, (label, cost) in zip(panels, _COSTS, strict=True):
        _draw(panel, spots, cost)
        panel.set_xlabel(label)
    panels[0].set_ylabel(metric)
    return figure


def _draw(panel: Axes, spots: Sequence[Spot], cost: Callable[[Spot], float]) -> None:
    panel.grid(visible=True)
    panel.set_xlim(0, 1.25 * max(map(cost, spots)))
    front = _front(spots, cost)
    panel.plot(
        *zip(*((cost(spot), spot.metric) for spot in front), strict=True), color=COLOURS[4], linewidth=1, zorder=1
    )
    for spot in spots:
        colour = COLOURS[0] if spot.is_chosen else COLOURS[1]
        size = 90 if spot.is_chosen else 36
        panel.scatter([cost(spot)], [spot.metric], s=size, color=colour, zorder=2, edgecolors="white")
        weight = "bold" if spot.is_chosen else "normal"
        panel.annotate(
            spot.name,
            (cost(spot), spot.metric),
            xytext=(7, -3),
            textcoords="offset points",
            color=INK,
            fontsize=8,
            weight=weight,
        )


def _front(spots: Sequence[Spot], cost: Callable[[Spot], float]) -> list[Spot]:
    """Those that no cheaper one reaches, from the cheapest to the best."""
    front: list[Spot] = []
    for spot in sorted(spots, key=lambda spot: (cost(spot), -spot.metric)):
        if not front or spot.metric > front[-1].metric:
            front.append(spot)
    return front

"""What a model is worth against what it takes: which models no other beats, and a picture of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, fromstring, tostring

from sensibert.report.formats import write_text
from sensibert.report.page.blocks import Drawing
from sensibert.report.page.charts import Dot, scatter
from sensibert.report.page.render import asset
from sensibert.report.page.svg import SIZE, axis


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


def tradeoff_drawings(spots: Sequence[Spot], metric: str) -> list[Drawing]:
    """The metric against latency and against size.

    Args:
        spots: The models.
        metric: The label of the metric.
    """
    best, heights = best_of(spots), axis(metric, [spot.metric for spot in spots])

    def dot(spot: Spot, x: float, label: str) -> Dot:
        tip = f"{spot.name}: {spot.metric:.1f}; {label} {x:.3g}"
        return Dot(spot.name, x, spot.metric, tip, is_best=spot.name in best, is_chosen=spot.is_chosen)

    drawings = []
    for label, cost in _COSTS:
        costs = list(map(cost, spots))
        dots = [dot(spot, x, label) for spot, x in zip(spots, costs, strict=True)]
        drawings.append(scatter(f"{metric} against {label}", dots, axis(label, costs), heights))
    return drawings


def write_tradeoff(spots: Sequence[Spot], metric: str, path: Path) -> None:
    """Draw both side by side into one svg file, for pages in Markdown.

    Args:
        spots: The models.
        metric: The label of the metric.
        path: The svg file.
    """
    width, height = SIZE
    drawings = tradeoff_drawings(spots, metric)
    size = {"width": f"{len(drawings) * width:g}", "height": f"{height:g}"}
    root = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "class": "chart", **size})
    SubElement(root, "style").text = str(asset("style.css"))
    SubElement(root, "rect", {"width": "100%", "height": "100%", "fill": "var(--paper)"})
    for place, drawing in enumerate(drawings):
        panel = fromstring(str(drawing.svg))
        panel.attrib |= {"x": f"{place * width:g}", "width": f"{width:g}", "height": f"{height:g}"}
        root.append(panel)
    write_text(tostring(root, encoding="unicode") + "\n", path)

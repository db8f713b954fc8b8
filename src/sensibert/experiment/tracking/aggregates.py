"""One run for the seeds of a point of the grid: means, sample standard deviations and 95 % intervals. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from scipy.special import stdtrit  # scipy.stats, which names it t.ppf, takes a second to import

from sensibert.config.grid import Point
from sensibert.experiment.tracking.contents import Content, Times, hash_of, title_of


def aggregate(contents: Iterable[Content]) -> list[Content]:
    """One run for each task, method and budget among the cells, in their order."""
    of_point: dict[Point, list[Content]] = {}
    for content in contents:
        if content.cell is not None:
            of_point.setdefault(content.cell.point, []).append(content)
    return [_of_seeds(point, cells) for point, cells in of_point.items()]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean of at least two values, by Student's t distribution."""
    margin = float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / len(values) ** 0.5
    return fmean(values) - margin, fmean(values) + margin


def _of_seeds(point: Point, cells: Sequence[Content]) -> Content:
    first, seeds = cells[0], [cell.tags["seed"] for cell in cells]
    times = [cell.times for cell in cells if cell.times is not None]
    scores = {name: [cell.scores[name] for cell in cells] for name in first.scores}
    return Content(
        kind="aggregate",
        key=point.name,
        title=title_of(point),
        task=point.task,
        tags={**_without_seed(first.tags), "seeds": ", ".join(seeds), "stage": "aggregate"},
        params=_without_seed(first.params),
        scores={"seeds": len(seeds)} | {name: value for key in scores for name, value in _summary(key, scores[key])},
        measured=_means([cell.measured for cell in cells]),
        times=Times(min(found.start for found in times), sum(found.seconds for found in times)) if times else None,
        hash=hash_of(part for cell in cells for part in cell.identity),
        costs=_means([cell.costs for cell in cells]),
        commit=first.commit,
        point=point,
    )


def _summary(name: str, values: Sequence[float]) -> list[tuple[str, float]]:
    """The metrics that sum up a score; for one seed, of which there is no spread, the score."""
    if len(values) == 1:
        return [(name, values[0])]
    low, high = interval(values)
    return [(name, fmean(values)), (f"{name}_std", stdev(values)), (f"{name}_low", low), (f"{name}_high", high)]


def _means(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of every metric, over the cells that have it."""
    names = dict.fromkeys(name for of_cell in values for name in of_cell)
    return {name: fmean(of_cell[name] for of_cell in values if name in of_cell) for name in names}


def _without_seed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "seed"}

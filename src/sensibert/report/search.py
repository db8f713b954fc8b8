"""How the budget of a model was found, for its card and the console."""

from __future__ import annotations

from pathlib import Path

from tabulate import tabulate

from sensibert.report.evidence import Evidence, Point, Search
from sensibert.report.labels import NOTHING, TIMES, metric_label
from sensibert.report.tradeoff import Spot, write_tradeoff

PICTURE = "tradeoff.svg"
"""File in the evidence that shows the budgets that were tried."""


def search_section(evidence: Evidence) -> str:
    """The part of a model card that says how the budget was found; empty if it was given."""
    search = evidence.search
    if search is None:
        return ""
    judged = f", judged by {search.dev_examples:,} of the training rows" if search.dev_examples else ""
    seen = f"\n\n![Metric against latency and size](evidence/{PICTURE})" if judged_spots(search) else ""
    return (
        f"Its budget is the one of these that keeps within the limits ({_limits(search)}){judged}. The figures are\n"
        f"those of the deployed file ({search.limits['deploy_as']}), one text at a time on one thread:\n\n"
        f"{search_table(search, 'github')}{seen}\n\n"
    )


def _limits(search: Search) -> str:
    limits, said = search.limits, []
    if limits["max_drop"] is not None:
        said.append(f"at most {limits['max_drop']:g} points lost, with a one-sided confidence of 95 %")
    if limits["max_latency"] is not None:
        said.append(f"at most {1e3 * limits['max_latency']:g} ms")
    if limits["max_size"] is not None:
        said.append(f"at most {limits['max_size'] / 1e6:g} MB")
    return ", ".join(said)


def search_table(search: Search, tablefmt: str) -> str:
    """What was measured at each budget that was tried."""

    def row(point: Point) -> list[str]:
        return [
            point_name(point),
            NOTHING if point.metric is None else f"{point.metric:.1f}",
            NOTHING if point.drop is None else f"{point.drop.points:.1f}",
            NOTHING if point.drop is None else f"{point.drop.high:.1f}",
            f"{1e3 * point.latency:.2f} ms",
            f"{point.file_bytes / 1e6:.1f} MB",
            "chosen" if point.budget == search.chosen else "",
        ]

    headers = ["budget", "dev metric", "points lost", "at most (95 %)", "latency", "file", ""]
    rows = [row(point) for point in search.points]
    return tabulate(
        rows, headers=headers, tablefmt=tablefmt, colalign=("left", *["right"] * 5, "left"), disable_numparse=True
    )


def write_search_picture(search: Search, metric: str, folder: Path) -> None:
    """Draw the budgets whose models were judged.

    Args:
        search: What was measured.
        metric: Name of the primary metric.
        folder: Of the evidence.
    """
    if spots := judged_spots(search):
        write_tradeoff(spots, metric_label(metric), folder / PICTURE)


def judged_spots(search: Search) -> list[Spot]:
    """The budgets whose models were judged."""
    return [
        Spot(point_name(point), point.metric, point.latency, point.file_bytes, point.budget == search.chosen)
        for point in search.points
        if point.metric is not None
    ]


def point_name(point: Point) -> str:
    """How a budget is called; nothing is cut from the dense model."""
    return f"{point.budget:g}{TIMES}" if point.budget < 1 else "dense"

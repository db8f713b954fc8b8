"""What else could be deployed, as a table, and what to deploy in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tabulate import tabulate

from sensibert.report.evidence import Alternative
from sensibert.report.labels import TIMES
from sensibert.report.tradeoff import Spot, best_of

TOLERATED = 1.0
"""Points below the best model that a faster one may be."""


def choose(found: Sequence[Alternative]) -> list[Alternative]:
    """Mark those that no other beats, and the one to deploy: the fastest that is at most a point below the best."""
    best = best_of([Spot(one.name, one.metric, one.latency, one.file_bytes) for one in found])
    enough = max(one.metric for one in found) - TOLERATED
    chosen = min((one for one in found if one.metric >= enough), key=lambda one: one.latency)
    return [replace(one, is_best=one.name in best, is_chosen=one is chosen) for one in found]


def verdict(found: Sequence[Alternative], rows: int) -> str:
    """What to deploy and why, in a sentence or two."""
    chosen = next(one for one in found if one.is_chosen)
    top, dense = max(found, key=lambda one: one.metric), found[0]
    below = f"{top.metric - chosen.metric:.1f} points below the best ({top.name})"
    faster = (
        f"; it answers {dense.latency / chosen.latency:.1f} times as fast as {dense.name} in PyTorch and takes "
        f"{chosen.file_bytes / 1e6:.1f} MB instead of {dense.file_bytes / 1e6:.1f}"
    )
    said = f"Deploy {chosen.name}: {chosen.metric:.1f}, {'the best of all' if chosen is top else below}"
    said += "." if chosen is dense else f"{faster}."
    if chosen.budget is None:
        is_dense = chosen.name.startswith(dense.name)
        said += " Pruning is not worth it here." if is_dense else " No tuned network is needed."
    margin = (chosen.high - chosen.low) / 2
    return f"{said} On {rows:,} rows a model's figure is good to about {margin:.1f} points."


def alternatives_table(found: Sequence[Alternative], metric: str, *, tablefmt: str = "simple") -> str:
    """A line per model; ratios of latency are to the first one, the dense model in PyTorch."""
    first = found[0]

    def row(one: Alternative) -> list[str]:
        return [
            one.name,
            f"{one.metric:.1f}",
            f"{one.low:.1f} to {one.high:.1f}",
            f"{1e3 * one.latency:.2f} ms",
            f"{first.latency / one.latency:.1f}{TIMES}",
            f"{1e3 * one.batch_latency:.1f} ms",
            f"{one.file_bytes / 1e6:.1f} MB",
            f"{one.training_minutes:.1f}",
            one.needs,
            "deploy" if one.is_chosen else "on the front" if one.is_best else "",
        ]

    headers = ["model", metric, "95 % interval", "one text", "speed", "32 texts", "size", "minutes", "needs", ""]
    align = ("left", *["right"] * 7, "left", "left")
    return tabulate(list(map(row, found)), headers=headers, tablefmt=tablefmt, colalign=align, disable_numparse=True)

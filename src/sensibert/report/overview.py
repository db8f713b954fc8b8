"""Several budgets of one model, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from sensibert.io import replacing
from sensibert.report.card import warning
from sensibert.report.evidence import Evidence
from sensibert.report.labels import MINUS, NOTHING, TIMES, metric_label, short_name
from sensibert.report.markdown import code
from sensibert.report.tradeoff import Spot, write_tradeoff

PICTURE = "tradeoff.svg"


def overview(found: Sequence[Evidence], *, tablefmt: str = "simple") -> str:
    """A table of the dense model and the slim models of several budgets; with the warnings below it."""
    metric = metric_label(found[0].task["primary_metric"])
    headers = ["budget", metric, "vs dense", "95 % interval", "parameters", "file", "latency"]
    rows = [_dense_row(found[0]), *map(_row, found)]
    table = tabulate(
        rows,
        headers=headers,
        tablefmt=tablefmt,
        colalign=("left", *["right"] * (len(headers) - 1)),
        disable_numparse=True,
    )
    warnings = [f"warning, {_name(one)}: {text}" for one in found if (text := warning(one))]
    return "\n\n".join([table, *warnings])


def write_overview(found: Sequence[Evidence], folders: Sequence[str], folder: Path) -> None:
    """Write README.md and the picture that compare the results in some folders.

    Args:
        found: The evidence of each budget, from the largest to the smallest.
        folders: Where each is.
        folder: The one that holds them all.
    """
    first = found[0]
    primary = first.task["primary_metric"]
    spots = [Spot(_name(one), one.after.metrics[primary], _latency(one, "after"), _bytes(one)) for one in found]
    if primary in first.before.metrics:
        size = first.before.cost.model_bytes
        spots.insert(0, Spot("dense", first.before.metrics[primary], _latency(first, "before"), size))
    write_tradeoff(spots, metric_label(primary), folder / PICTURE)
    links = "\n".join(f"- [{name}]({name}/README.md)" for name in folders)
    backbone, task = code(short_name(first.recipe["model"]["backbone"])), code(first.task["name"])
    text = (
        f"# {backbone}, made smaller for {task}\n\n{overview(found, tablefmt='github')}\n\n"
        f"![Metric against latency and size]({PICTURE})\n\n"
        f"On {first.after.examples:,} held-out rows, in PyTorch fp32. Each budget has its model, card and evidence:\n\n"
        f"{links}\n"
    )
    with replacing(folder / "README.md") as beside:
        beside.write_text(text, encoding="utf-8")


def _signed(points: float) -> str:
    return f"{round(points, 1) + 0.0:+.1f}".replace("-", MINUS)


def _name(evidence: Evidence) -> str:
    return f"{evidence.recipe['budget']:g}{TIMES}"


def _latency(evidence: Evidence, model: str) -> float:
    return next(entry.seconds for entry in evidence.latency if (entry.model, entry.batch_size) == (model, 1))


def _bytes(evidence: Evidence) -> int:
    return evidence.after.cost.model_bytes


def _dense_row(evidence: Evidence) -> list[str]:
    before = evidence.before
    metric = before.metrics.get(evidence.task["primary_metric"])
    return [
        "dense",
        NOTHING if metric is None else f"{metric:.1f}",
        NOTHING,
        NOTHING,
        f"{before.cost.total_parameters / 1e6:.2f} M",
        f"{before.cost.model_bytes / 1e6:.1f} MB",
        f"{1e3 * _latency(evidence, 'before'):.2f} ms",
    ]


def _row(evidence: Evidence) -> list[str]:
    after, drop = evidence.after, evidence.drop
    return [
        _name(evidence),
        f"{after.metrics[evidence.task['primary_metric']]:.1f}",
        NOTHING if drop is None else _signed(-drop.points),
        NOTHING if drop is None else f"{_signed(-drop.high)} to {_signed(-drop.low)}",
        f"{after.cost.total_parameters / 1e6:.2f} M",
        f"{after.cost.model_bytes / 1e6:.1f} MB",
        f"{1e3 * _latency(evidence, 'after'):.2f} ms",
    ]

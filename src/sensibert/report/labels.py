"""How the tables and plots name metrics, methods, budgets and groups."""

from __future__ import annotations

from pathlib import Path

from sensibert.config.methods import METHODS
from sensibert.report.markdown import visible

TIMES = "\N{MULTIPLICATION SIGN}"
MINUS = "\N{MINUS SIGN}"
NOTHING = "\N{EN DASH}"
"""What a table shows if a number does not apply."""

_METRICS = {
    "accuracy": "Accuracy (%)",
    "f1": "F1 (%)",
    "macro_f1": "Macro F1 (%)",
    "matthews_correlation": f"Matthews correlation ({TIMES}100)",
    "pearson": f"Pearson correlation ({TIMES}100)",
    "spearman": f"Spearman correlation ({TIMES}100)",
}


def metric_label(metric: str) -> str:
    """Name and unit of a metric."""
    return _METRICS.get(metric, metric)


def metric_title(metric: str) -> str:
    """Name of a metric, without its unit."""
    return metric_label(metric).partition(" (")[0]


def budget_label(method: str, budget: float) -> str:
    """A budget as a reader writes it: what is kept with a times sign, what trains in percent, or `dense`."""
    match METHODS[method].budget:
        case "kept":
            return f"{budget}{TIMES}"
        case "trained":
            return f"{budget:.2%}"
        case _:
            return "dense"


def point_label(method: str, budget: float) -> str:
    """A method with its budget: `magnitude 0.4×`, `LoRA 0.25%`, `dense, BitFit`."""  # noqa: RUF002
    title = METHODS[method].title
    return f"dense, {title}" if METHODS[method].budget is None else f"{title} {budget_label(method, budget)}"


def words(name: str) -> str:
    """An identifier as a reader writes it: `feed_forward` is `feed-forward`."""
    return name.replace("_", "-")


def short_name(backbone: str) -> str:
    """The name of a backbone to show; of a local directory only the last part, since its path is private."""
    return visible((Path(backbone).name or backbone) if Path(backbone).exists() else backbone)

"""How the tables and plots name metrics, methods and groups."""

from __future__ import annotations

from pathlib import Path

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


def words(name: str) -> str:
    """An identifier as a reader writes it: `feed_forward` is `feed-forward`."""
    return name.replace("_", "-")


def short_name(backbone: str) -> str:
    """The name of a backbone to show; of a local directory only the last part, since its path is private."""
    return visible((Path(backbone).name or backbone) if Path(backbone).exists() else backbone)

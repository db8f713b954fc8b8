"""The figures of a model before and after it was made smaller, in words."""

from __future__ import annotations

from dataclasses import dataclass

from sensibert.report.evidence import Evidence
from sensibert.report.labels import MINUS, NOTHING, TIMES, metric_label


@dataclass(frozen=True)
class Compared:
    """One figure of both models."""

    name: str
    before: str
    after: str
    change: str
    share: float | None
    """What is left of a cost, as a fraction; None of a metric."""


def before_after(evidence: Evidence) -> list[Compared]:
    """The metrics, the sizes and the latencies, in this order."""
    before, after = evidence.before, evidence.after
    rows = [_metric(name, before.metrics.get(name), value) for name, value in after.metrics.items()]
    rows += [
        _ratio("parameters", before.cost.total_parameters, after.cost.total_parameters, 1e6, "M"),
        _ratio("prunable parameters", before.cost.prunable_parameters, after.cost.prunable_parameters, 1e6, "M"),
        _ratio(f"MACs at {after.cost.tokens} tokens", before.cost.macs, after.cost.macs, 1e6, "M"),
        _ratio("file size", before.cost.model_bytes, after.cost.model_bytes, 1e6, "MB"),
    ]
    seconds = {(entry.model, entry.batch_size): entry.seconds for entry in evidence.latency}
    for batch_size in dict.fromkeys(entry.batch_size for entry in evidence.latency):
        pair = seconds["before", batch_size], seconds["after", batch_size]
        rows.append(_ratio(f"latency, batch {batch_size}", *pair, 1e-3, "ms"))
    return rows


def _metric(name: str, before: float | None, after: float) -> Compared:
    if before is None:
        return Compared(metric_label(name), NOTHING, f"{after:.1f}", "", None)
    change = f"{after - before:+.1f}".replace("-", MINUS)
    return Compared(metric_label(name), f"{before:.1f}", f"{after:.1f}", change, None)


def _ratio(name: str, before: float, after: float, unit: float, unit_name: str) -> Compared:
    old, new = (f"{value / unit:.2f} {unit_name}" for value in (before, after))
    return Compared(name, old, new, f"{after / before:.2f}{TIMES}", after / before)

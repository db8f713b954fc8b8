"""Latencies as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from sensibert.report.labels import TIMES
from sensibert.results import Latency


def latency_table(found: Sequence[Latency]) -> str:
    """One line per model and runtime; per batch size and length, the time and the speed relative to the first."""
    models = list(dict.fromkeys((entry.model, entry.runtime) for entry in found))
    settings = list(dict.fromkeys((entry.batch_size, entry.tokens) for entry in found))
    seconds = {(entry.model, entry.runtime, entry.batch_size, entry.tokens): entry.seconds for entry in found}

    def cell(model: tuple[str, str], setting: tuple[int, int]) -> str:
        own, first = seconds[*model, *setting], seconds[*models[0], *setting]
        return f"{1000 * own:.2f} ms ({first / own:.2f}{TIMES})"

    headers = ["model", "runtime", *(f"batch {batch}, {tokens} tokens" for batch, tokens in settings)]
    rows = [[*model, *(cell(model, setting) for setting in settings)] for model in models]
    return tabulate(rows, headers=headers, colalign=("left", "left", *["right"] * len(settings)))

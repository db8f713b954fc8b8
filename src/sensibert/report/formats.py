"""How tables are written: csv for programs, Markdown for readers."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sensibert.io import replacing

_DECIMALS = {
    "mean": 4, "std": 4, "vs_magnitude": 4, "vs_full": 4, "difference": 4,
    "prunable_kept": 6, "relative_time": 4, "relative_fine_tuning_time": 4, "p_value": 6,
    "min": 4, "random": 4, "spearman": 4, "spearman_previous_epoch": 4,
    "extra_passes": 4, "peak_memory": 0,
    "model_bytes": 0, "latency_ms": 3, "int8_bytes": 0, "int8_latency_ms": 3, "int8_mean": 4,
}  # fmt: skip


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table with as many decimals as each of its columns deserves; one without rows removes an earlier file."""
    if table.empty:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as beside:
        table.round(_DECIMALS).to_csv(beside, index=False, lineterminator="\n")


def write_text(text: str, path: Path) -> None:
    """Write a text as UTF-8, whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def markdown_table(readable: pd.DataFrame) -> str:
    """The first column to the left, the others to the right."""
    alignment = ["left", *["right"] * (len(readable.columns) - 1)]
    return readable.to_markdown(index=False, disable_numparse=True, colalign=alignment)

"""The stability of the scores and of the layer ranking: csv, and Markdown with the verdicts first."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from sensibert.analysis.stability import ALL_LAYERS, verdicts
from sensibert.report.formats import markdown_table, write_csv, write_text
from sensibert.report.labels import NOTHING, TIMES


def write_stability(table: pd.DataFrame, layers: pd.DataFrame, folder: Path) -> None:
    """Write a stability table and that of the layer ranking as csv, and both as stability.md, verdicts first."""
    write_csv(table, folder / "stability.csv")
    write_csv(layers, folder / "layer_ranking.csv")
    write_text(_stability_markdown(table) + _layers_markdown(layers), folder / "stability.md")


def _stability_markdown(table: pd.DataFrame) -> str:
    parts = ["# Stability of the scores"]
    parts.append("\n".join(f"- **{task}, {criterion}**: {text}" for (task, criterion), text in verdicts(table).items()))
    for (task, criterion), rows in table.groupby(["task", "criterion"], sort=False):
        parts += [f"## {task}, {criterion}", markdown_table(_readable_stability(rows))]
    parts.append(_STABILITY_NOTES)
    return "\n\n".join(parts) + "\n"


_STABILITY_NOTES = (
    "Means over the pairs of scoring passes; in brackets the lowest pair. Seeds: passes with different seeds after "
    "the same number of epochs. Epochs: passes with the same seed after different numbers of epochs. Jaccard: kept "
    "dimensions that two masks share, as a fraction of those that either keeps. Chance: what random masks that keep "
    "as many dimensions of each module would share, and how scores shuffled within each module would correlate: what "
    "layer and group alone give (expected values in closed form). The columns with a number are the layers; within one "
    "of them the two groups are left."
)


def _layers_markdown(layers: pd.DataFrame) -> str:
    """The section on the ranking of whole layers; empty if it was not checked."""
    if layers.empty:
        return ""
    readable = pd.DataFrame(
        {
            "Task": layers["task"],
            "Seed": layers["seed"],
            "After epoch": layers["epoch"],
            "Samples": layers["samples"],
            "Layers, most information first": layers["ranking"],
            "Spearman": [f"{value:.2f}" for value in layers["spearman"]],
            "With the epoch before": [
                NOTHING if math.isnan(value) else f"{value:.2f}" for value in layers["spearman_previous_epoch"]
            ],
            "Shared": [f"{row.shared_layers} of {row.of}" for row in layers.itertuples()],
        }
    )
    notes = (
        "Spearman: rank correlation with the ranking by the largest sample before fine-tuning (epoch 0). Shared: how "
        "many of the layers that surgical fine-tuning would train are those of that ranking."
    )
    return "\n\n".join(["\n## Ranking of whole layers by Fisher information", markdown_table(readable), notes]) + "\n"


def _readable_stability(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per comparison and statistic; all layers with the lowest pair and chance, then layer by layer."""
    lines = []
    for _, of_line in rows.groupby(["comparison", "statistic", "budget"], sort=False, dropna=False):
        overall = of_line[of_line["layer"] == ALL_LAYERS].iloc[0]
        layers = of_line[of_line["layer"] != ALL_LAYERS]
        lines.append(
            {
                "Between": overall["comparison"],
                "Statistic": overall["statistic"].capitalize() + _at(overall["budget"]),
                "All layers": f"{overall['mean']:.2f} ({overall['min']:.2f})",
                "Chance": f"{overall['random']:.2f}",
                **{layer: f"{mean:.2f}" for layer, mean in zip(layers["layer"], layers["mean"], strict=True)},
            }
        )
    return pd.DataFrame(lines)


def _at(budget: float) -> str:
    return "" if math.isnan(budget) else f" at {budget}{TIMES}"

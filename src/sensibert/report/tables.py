"""The comparison table, its tests, and the stability table: csv for programs, Markdown and LaTeX for readers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from sensibert.artifacts import replacing
from sensibert.importance import CRITERIA
from sensibert.params import DENSE_BUDGET, Cell, SearchedCell
from sensibert.pruning import PRUNING_METHODS
from sensibert.report.labels import MINUS, NOTHING, TIMES, metric_label
from sensibert.results import Deployed, Effort, Result, Transferred, Trial
from sensibert.stability import ALL_LAYERS, verdicts
from sensibert.statistics import mcnemar, paired_difference, spread
from sensibert.tasks import TASKS
from sensibert.tuning import PEFT_METHODS

COLUMNS = (
    "task", "method", "budget", "metric", "mean", "std", "n", "vs_magnitude", "vs_full",
    "prunable_kept", "trainable_parameters", "stored_parameters", "total_parameters",
    "extra_passes", "relative_time", "peak_memory",
    "model_bytes", "latency_ms", "int8_bytes", "int8_latency_ms", "int8_mean",
)  # fmt: skip
"""Columns of the comparison table.

`method` is a criterion or a tuning method, `metric` the task's primary metric; `mean` and `std` are over
the `n` seeds; `vs_magnitude` and `vs_full` are mean differences over shared seeds, to the criterion
`magnitude` at the same budget and to dense `full` fine-tuning; `stored_parameters` are those a task needs beside
a backbone that others share; `extra_passes` over the training data come before fine-tuning; `relative_time` is
fine-tuning time relative to `full` on the same task, `peak_memory` its most bytes at once. Latencies are of one
text of the task's mean length; `int8_mean` is the primary metric of the INT8 export. Costs are means over the
seeds, latencies and exports over the deployed ones. What does not apply is empty.
"""

TEST_COLUMNS = ("task", "method", "budget", "versus", "difference", "n", "test", "p_value")
"""Columns of the table of tests; `p_value` is not corrected for the number of comparisons."""

BASELINE_CRITERION = "magnitude"
REFERENCE_TUNING = "full"

_DECIMALS = {
    "mean": 4, "std": 4, "vs_magnitude": 4, "vs_full": 4, "difference": 4,
    "prunable_kept": 6, "relative_time": 4, "p_value": 6,
    "min": 4, "random": 4,
    "extra_passes": 4, "peak_memory": 0,
    "model_bytes": 0, "latency_ms": 3, "int8_bytes": 0, "int8_latency_ms": 3, "int8_mean": 4,
}  # fmt: skip


class Point(NamedTuple):
    """The cells that differ in their seed alone: one row of the comparison table."""

    task: str
    method: str
    budget: float


Points = Mapping[Point, Mapping[int, Result]]
"""The results of each point by seed, in the order of the rows."""


def comparison_table(
    results: Sequence[Result], efforts: Mapping[Cell, Effort], deployed: Sequence[Deployed] = ()
) -> pd.DataFrame:
    """Primary metric and cost of every method at every budget.

    Args:
        results: the outcome of every cell of the grid, in grid order.
        efforts: what the fine-tuning of each of these cells took.
        deployed: how the deployed ones of these cells do in each runtime.

    Returns:
        One row per task, method and budget with the columns `COLUMNS`: per task the dense methods, then the
        criteria from the largest budget to the smallest.
    """
    points = _points(results)
    rows = [_row(point, points, efforts) | _deployment(point, points, deployed) for point in points]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def significance_table(results: Sequence[Result], correct: Mapping[Cell, np.ndarray]) -> pd.DataFrame:
    """Test every difference that the comparison table shows.

    Over several seeds by a paired t-test; for one seed by an exact McNemar test on the examples.

    Args:
        results: the outcome of every cell of the grid, in grid order.
        correct: cell -> [examples], whether each example is answered correctly. Read for one seed only;
            a cell that is not in it (a regression task has no right or wrong) is not tested.

    Returns:
        One row per difference with the columns `TEST_COLUMNS`.
    """
    points = _points(results)
    rows = []
    for point in points:
        for versus in (_baseline(point), _reference(point)):
            if versus is None or versus == point or versus not in points:
                continue
            difference = paired_difference(_primary(points[point]), _primary(points[versus]))
            test, p_value = "paired t-test", difference.p_value
            if difference.n == 1:
                test, p_value = "exact McNemar", _mcnemar(points[point], points[versus], correct)
            rows.append((*point, versus.method, difference.mean, difference.n, test, p_value))
    return pd.DataFrame(rows, columns=list(TEST_COLUMNS))


def _points(results: Sequence[Result]) -> Points:
    grouped: dict[Point, dict[int, Result]] = {}
    for result in results:
        grouped.setdefault(Point(result.task, result.method, result.budget), {})[result.seed] = result
    tasks = list(dict.fromkeys(point.task for point in grouped))

    def place(point: Point) -> tuple[int, bool, float]:
        return tasks.index(point.task), _is_pruned(point), -point.budget

    # The sort is stable: methods stay in the order of the grid.
    return {point: grouped[point] for point in sorted(grouped, key=place)}


def _is_pruned(point: Point) -> bool:
    return Cell(*point, seed=0).is_pruned


def _baseline(point: Point) -> Point | None:
    return point._replace(method=BASELINE_CRITERION) if _is_pruned(point) else None


def _reference(point: Point) -> Point:
    return Point(point.task, REFERENCE_TUNING, DENSE_BUDGET)


def _row(point: Point, points: Points, efforts: Mapping[Cell, Effort]) -> dict[str, object]:
    of_seed = points[point]
    measured = spread(list(_primary(of_seed).values()))
    costs = [result.cost for result in of_seed.values()]
    reference = points.get(_reference(point))
    return {
        **point._asdict(),
        "metric": next(iter(of_seed.values())).primary_metric,
        **measured._asdict(),
        "vs_magnitude": _difference(point, _baseline(point), points),
        "vs_full": _difference(point, _reference(point), points),
        "prunable_kept": _mean(cost.prunable_kept for cost in costs),
        "trainable_parameters": round(_mean(cost.trainable_parameters for cost in costs)),
        "stored_parameters": round(_mean(cost.stored_parameters for cost in costs)),
        "total_parameters": round(_mean(cost.total_parameters for cost in costs)),
        "extra_passes": _mean(cost.extra_passes for cost in costs),
        "relative_time": _seconds(of_seed, efforts) / _seconds(reference, efforts) if reference else math.nan,
        "peak_memory": _mean(efforts[result.cell].peak_memory or math.nan for result in of_seed.values()),
    }


def _deployment(point: Point, points: Points, deployed: Sequence[Deployed]) -> dict[str, float]:
    """Size, latency, and what INT8 makes of them."""
    results = points[point].values()
    own = [entry for entry in deployed if Point(entry.task, entry.method, entry.budget) == point]
    torch = [entry for entry in own if entry.runtime == "torch"]
    int8 = [entry for entry in own if entry.runtime == "onnx-int8"]
    metric = next(iter(results)).primary_metric
    return {
        "model_bytes": _mean(result.cost.model_bytes for result in results),
        "latency_ms": _mean(1000 * entry.seconds["1"] for entry in torch),
        "int8_bytes": _mean(entry.file_bytes for entry in int8),
        "int8_latency_ms": _mean(1000 * entry.seconds["1"] for entry in int8),
        "int8_mean": _mean(entry.metrics[metric] for entry in int8),
    }


def _mean(values: Iterable[float]) -> float:
    """Not a number where there is no value."""
    found = list(values)
    return float(np.mean(found)) if found else math.nan


def _primary(of_seed: Mapping[int, Result]) -> dict[int, float]:
    return {seed: result.primary for seed, result in of_seed.items()}


def _seconds(of_seed: Mapping[int, Result], efforts: Mapping[Cell, Effort]) -> float:
    return _mean(efforts[result.cell].seconds for result in of_seed.values())


def _difference(point: Point, versus: Point | None, points: Points) -> float:
    if versus is None or versus not in points:
        return math.nan
    return paired_difference(_primary(points[point]), _primary(points[versus])).mean


def _mcnemar(ours: Mapping[int, Result], theirs: Mapping[int, Result], correct: Mapping[Cell, np.ndarray]) -> float:
    (seed,) = ours.keys() & theirs.keys()
    cells = ours[seed].cell, theirs[seed].cell
    return mcnemar(*(correct[cell] for cell in cells)) if all(cell in correct for cell in cells) else math.nan


def write_tables(table: pd.DataFrame, folder: Path) -> None:
    """Write a comparison table as table.csv, table.md and table.tex."""
    _write_csv(table, folder / "table.csv")
    _write_text(_markdown(table), folder / "table.md")
    _write_text(_latex(table), folder / "table.tex")


def write_significance(table: pd.DataFrame, folder: Path) -> None:
    """Write a table of tests as significance.csv."""
    _write_csv(table, folder / "significance.csv")


def write_stability(table: pd.DataFrame, layers: pd.DataFrame, folder: Path) -> None:
    """Write a stability table, and that of the layers' ranking, as csv, and both as stability.md with the verdicts
    first.
    """
    _write_csv(table, folder / "stability.csv")
    _write_csv(layers, folder / "layer_ranking.csv")
    _write_text(_stability_markdown(table) + _layers_markdown(layers), folder / "stability.md")


def write_searches(searches: Mapping[SearchedCell, tuple[Sequence[Trial], Mapping[str, float]]], folder: Path) -> None:
    """Write the trials of every search as search.csv, the best first.

    `dev_1`, `dev_2`, ... are the primary metric on the dev split after each epoch; `validation` is that of the best
    trial's model on the validation split, which no other trial has seen.
    """
    rows = [
        {
            **cell._asdict(),
            **_trial(trial),
            "validation": metrics[TASKS[cell.task].primary_metric] if first else math.nan,
        }
        for cell, (trials, metrics) in searches.items()
        for first, trial in _best_first(trials)
    ]
    columns = [*SearchedCell._fields, "batch_size", "learning_rate", "state", "validation"]
    epochs = max((len(trial.dev) for trials, _ in searches.values() for trial in trials), default=0)
    table = pd.DataFrame(rows, columns=[*columns, *(f"dev_{epoch + 1}" for epoch in range(epochs))])
    with replacing(folder / "search.csv") as beside:
        table.to_csv(beside, index=False, lineterminator="\n", float_format="%.6g")


def write_transfers(transferred: Sequence[Transferred], folder: Path) -> None:
    """Write how every method does on tasks that it was not tuned on as transfer.csv, mean and spread over the seeds."""
    grouped: dict[tuple[str, str, str, float], list[float]] = {}
    for entry in transferred:
        grouped.setdefault((entry.task, entry.to, entry.method, entry.budget), []).append(entry.value)
    rows = [(*point, *spread(values)) for point, values in grouped.items()]
    _write_csv(
        pd.DataFrame(rows, columns=["task", "to", "method", "budget", "mean", "std", "n"]), folder / "transfer.csv"
    )


def _best_first(trials: Sequence[Trial]) -> list[tuple[bool, Trial]]:
    """The trials, each with whether it is the best one."""
    ordered = sorted(trials, key=lambda trial: (trial.state == "pruned", -trial.dev[-1], trial.number))
    return [(place == 0, trial) for place, trial in enumerate(ordered)]


def _trial(trial: Trial) -> dict[str, object]:
    return {
        "batch_size": trial.batch_size,
        "learning_rate": trial.learning_rate,
        "state": trial.state,
        **{f"dev_{epoch}": value for epoch, value in enumerate(trial.dev, start=1)},
    }


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    with replacing(path) as beside:
        table.round(_DECIMALS).to_csv(beside, index=False, lineterminator="\n")


def _write_text(text: str, path: Path) -> None:
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def _markdown(table: pd.DataFrame) -> str:
    parts = ["# Comparison"]
    if table["task"].nunique() > 1:
        parts += ["## All tasks", _markdown_table(_overview(table, bold="**{}**")), _OVERVIEW_NOTES]
    for task, rows in table.groupby("task", sort=False):
        parts += [f"## {task}", _markdown_table(_readable(rows, bold="**{}**")), f"{_seeds(rows)} {_DENOMINATORS}"]
        parts += ["What the training took:", _markdown_table(_readable_effort(rows))]
    return "\n\n".join([*parts, "## How to read it", _NOTES]) + "\n"


_DENOMINATORS = (
    f"A budget with {TIMES} and kept are fractions of the prunable parameters (those of the attention and feed-forward "
    "dimensions), a budget with % of the backbone's, which train; total counts the whole model, embeddings included."
)
_OVERVIEW_NOTES = (
    f"Mean, difference to dense `{REFERENCE_TUNING}` fine-tuning and what the training took are averages over the "
    "tasks. More of each task stands below."
)
_NOTES = (
    f"Differences are in points of the metric: to `{BASELINE_CRITERION}` at the same budget, and to dense "
    f"`{REFERENCE_TUNING}` fine-tuning. Kept is what a mask really kept under its budget. Size is that of the weights "
    "file; latency is the median forward pass over one text of mean length on one thread, in PyTorch fp32 and, for the "
    "INT8 export, in ONNX Runtime; the models took turns. Bold is the best mean at its budget.\n\n"
    "Trainable counts the parameters that trained, the new classifier's included. Stored is what each further task "
    "adds where the pre-trained backbone is there already. Passes go over the training data before fine-tuning, to "
    "score the dimensions or to choose what trains. Time is fine-tuning time relative to dense "
    f"`{REFERENCE_TUNING}` on the same task; memory is the most that its process held at once."
)


def _seeds(rows: pd.DataFrame) -> str:
    if (rows["n"] == 1).all():
        return "One seed."
    fewest, most = rows["n"].min(), rows["n"].max()
    return f"Mean ± sample standard deviation over {fewest if fewest == most else f'{fewest} to {most}'} seeds."


def _readable(rows: pd.DataFrame, bold: str) -> pd.DataFrame:
    """The rows of one task as a reader wants to see them; `bold` wraps the best mean at each budget."""
    label = metric_label(rows["metric"].iloc[0])
    readable = pd.DataFrame(
        {
            **_names(rows),
            label: _metric(rows, bold),
            f"vs {BASELINE_CRITERION}": [
                NOTHING if method == BASELINE_CRITERION else _signed(value)
                for method, value in zip(rows["method"], rows["vs_magnitude"], strict=True)
            ],
            f"vs {REFERENCE_TUNING}": _vs_reference(rows),
            "Kept": [f"{kept:.1%}" for kept in rows["prunable_kept"]],
            "Total": [_count(count) for count in rows["total_parameters"]],
            "Size": [_megabytes(size) for size in rows["model_bytes"]],
        }
    )
    if rows["latency_ms"].isna().all():  # nothing of this task was deployed
        return readable
    return readable.assign(
        **{
            "Latency": [_number(time, "{:.1f} ms") for time in rows["latency_ms"]],
            "INT8 size": [_megabytes(size) for size in rows["int8_bytes"]],
            "INT8 latency": [_number(time, "{:.1f} ms") for time in rows["int8_latency_ms"]],
            f"INT8 {_lower(label)}": [_number(value, "{:.1f}") for value in rows["int8_mean"]],
        }
    )


def _overview(table: pd.DataFrame, bold: str) -> pd.DataFrame:
    """One row per method and budget with the metric of every task; `bold` wraps the best of a task at each budget."""
    points = table.groupby(["method", "budget"], sort=False)
    means = points[["mean", "vs_full", "stored_parameters", "extra_passes", "relative_time"]].mean().reset_index()
    metrics = {
        f"{task}, {_lower(metric_label(rows['metric'].iloc[0]))}": _metric(rows, bold)
        for task, rows in table.groupby("task", sort=False)
    }
    return pd.DataFrame(
        {
            **_names(means),
            **metrics,
            "Mean": [f"{mean:.1f}" for mean in means["mean"]],
            f"vs {REFERENCE_TUNING}": _vs_reference(means),
            "Stored": [_count(round(count)) for count in means["stored_parameters"]],
            "Passes": [f"{passes:.2g}" for passes in means["extra_passes"]],
            "Time": [_number(time, f"{{:.2f}}{TIMES}") for time in means["relative_time"]],
        }
    )


def _metric(rows: pd.DataFrame, bold: str) -> list[str]:
    """The primary metric of the rows of one task; `bold` wraps the best mean at each budget."""
    kinds = rows["method"].map(_budget_kind)
    rivals = rows.groupby([kinds, rows["budget"]])["mean"]
    best = (kinds != "") & (rows["mean"] == rivals.transform("max")) & (rivals.transform("size") > 1)
    texts = [_mean_and_std(mean, std) for mean, std in zip(rows["mean"], rows["std"], strict=True)]
    return [bold.format(text) if is_best else text for text, is_best in zip(texts, best, strict=True)]


def _vs_reference(rows: pd.DataFrame) -> list[str]:
    return [
        NOTHING if method == REFERENCE_TUNING else _signed(value)
        for method, value in zip(rows["method"], rows["vs_full"], strict=True)
    ]


def _lower(label: str) -> str:
    return label[0].lower() + label[1:]


def _readable_effort(rows: pd.DataFrame) -> pd.DataFrame:
    """What the methods of one task cost to train and to keep."""
    return pd.DataFrame(
        {
            **_names(rows),
            "Trainable": [_count(count) for count in rows["trainable_parameters"]],
            "Stored": [_count(count) for count in rows["stored_parameters"]],
            "Passes": [f"{passes:.2g}" for passes in rows["extra_passes"]],
            "Time": [_number(time, f"{{:.2f}}{TIMES}") for time in rows["relative_time"]],
            "Memory": [_number(memory / 1e9, "{:.2f} GB") for memory in rows["peak_memory"]],
        }
    )


def _names(rows: pd.DataFrame) -> dict[str, Sequence[str]]:
    budgets = [_budget(method, budget) for method, budget in zip(rows["method"], rows["budget"], strict=True)]
    return {"Method": rows["method"].tolist(), "Budget": budgets}


def _budget_kind(method: str) -> str:
    """What the budget of a method limits: what is `kept`, what is `trained`, or nothing."""
    return "kept" if method in (*CRITERIA, *PRUNING_METHODS) else "trained" if method in PEFT_METHODS else ""


def _budget(method: str, budget: float) -> str:
    return {"kept": f"{budget}{TIMES}", "trained": f"{budget:.2%}", "": "dense"}[_budget_kind(method)]


def _number(value: float, form: str) -> str:
    return NOTHING if math.isnan(value) else form.format(value)


def _megabytes(size: float) -> str:
    return _number(size / 1e6, "{:.1f} MB")


def _mean_and_std(mean: float, std: float) -> str:
    return f"{mean:.1f}" if math.isnan(std) else f"{mean:.1f} ± {std:.1f}"


def _signed(value: float) -> str:
    if math.isnan(value):
        return NOTHING
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return f"{round(value, 1) + 0.0:+.1f}".replace("-", MINUS)


def _count(parameters: int) -> str:
    return f"{parameters / 1e6:.2f} M" if parameters >= 1_000_000 else f"{parameters:,}"


def _markdown_table(readable: pd.DataFrame) -> str:
    alignment = ["left", *["right"] * (len(readable.columns) - 1)]
    return readable.to_markdown(index=False, disable_numparse=True, colalign=alignment)


def _latex(table: pd.DataFrame) -> str:
    """A booktabs table of all tasks and two of each; needs the LaTeX package booktabs."""
    parts = []
    if table["task"].nunique() > 1:
        parts.append(_latex_table(_overview(table, bold="\\textbf{{{}}}"), caption="All tasks.", label="tab:all"))
    for task, rows in table.groupby("task", sort=False):
        quality = _readable(rows, bold="\\textbf{{{}}}")
        parts.append(_latex_table(quality, caption=f"{task}. {_seeds(rows)}", label=f"tab:{task}"))
        parts.append(_latex_table(_readable_effort(rows), f"{task}: the training.", label=f"tab:{task}-training"))
    return "\n".join(parts)


def _latex_table(readable: pd.DataFrame, caption: str, label: str) -> str:
    escaped = readable.map(_escape)
    escaped.columns = pd.Index([_escape(column) for column in readable.columns])
    text: str = escaped.style.hide(axis="index").to_latex(
        environment="table",
        position="t",
        position_float="centering",
        column_format="l" + "r" * (len(readable.columns) - 1),
        hrules=True,
        caption=_escape(caption),
        label=label,
    )
    return text


_ESCAPES = str.maketrans(
    {"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "±": r"$\pm$", TIMES: r"$\times$", MINUS: "$-$", NOTHING: "--"}
)


def _escape(text: str) -> str:
    return text.translate(_ESCAPES)


def _stability_markdown(table: pd.DataFrame) -> str:
    parts = ["# Stability of the scores"]
    parts.append("\n".join(f"- **{task}, {criterion}**: {text}" for (task, criterion), text in verdicts(table).items()))
    for (task, criterion), rows in table.groupby(["task", "criterion"], sort=False):
        parts += [f"## {task}, {criterion}", _markdown_table(_readable_stability(rows))]
    parts.append(_STABILITY_NOTES)
    return "\n\n".join(parts) + "\n"


_STABILITY_NOTES = (
    "Means over the pairs of scoring passes; in brackets the lowest pair. Seeds: passes with different seeds after "
    "the same number of epochs. Epochs: passes with the same seed after different numbers of epochs. Jaccard: kept "
    "dimensions that two masks share, as a fraction of those that either keeps. Chance: what random masks that keep "
    "as many dimensions of each module would share (expected value in closed form); for a correlation it is 0. The "
    "columns with a number are the layers."
)


def _layers_markdown(layers: pd.DataFrame) -> str:
    """The section on the ranking of whole layers; nothing where it was not checked."""
    if layers.empty:
        return ""
    readable = pd.DataFrame(
        {
            "Task": layers["task"],
            "Seed": layers["seed"],
            "Ranking": [
                f"after epoch {row.epoch}" if row.comparison == "epochs" else f"by {row.samples} samples"
                for row in layers.itertuples()
            ],
            "Spearman": [f"{value:.2f}" for value in layers["spearman"]],
            "Shared": [f"{row.shared_layers} of {row.of}" for row in layers.itertuples()],
        }
    )
    notes = (
        "Compared with the ranking by the largest sample before fine-tuning. Shared: how many of the layers that "
        "surgical fine-tuning would train are the same."
    )
    return "\n\n".join(["\n## Ranking of whole layers by Fisher information", _markdown_table(readable), notes]) + "\n"


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

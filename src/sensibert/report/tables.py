"""The comparison table in words that a reader knows: csv, Markdown and LaTeX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sensibert.config.methods import METHODS
from sensibert.config.settings import BudgetKind
from sensibert.config.simple_models import SIMPLE_MODELS
from sensibert.report.comparison import BASELINE_CRITERION, REFERENCE_TUNING
from sensibert.report.formats import markdown_table, write_csv, write_text
from sensibert.report.labels import MINUS, NOTHING, TIMES, budget_label, metric_label
from sensibert.scoring.budgets import KINDS


def write_tables(
    table: pd.DataFrame,
    searches: pd.DataFrame,
    transfers: pd.DataFrame,
    simple: pd.DataFrame,
    folder: Path,
    kind: BudgetKind = "params",
) -> None:
    """Write a comparison table as table.csv, and the essentials of all of them as table.md and table.tex.

    Args:
        table: The comparison (`comparison.COLUMNS`).
        searches: The trials of the searches (`trials.search_table`), possibly none.
        transfers: The results on other tasks (`trials.TRANSFER_COLUMNS`), possibly none.
        simple: The simple models (`trials.SIMPLE_COLUMNS`), possibly none.
        folder: Where to write.
        kind: What a budget of a pruning method is a fraction of.
    """
    write_csv(table, folder / "table.csv")
    write_text(_markdown(table, searches, transfers, simple, kind), folder / "table.md")
    write_text(_latex(table, searches, transfers, simple), folder / "table.tex")


def _markdown(
    table: pd.DataFrame, searches: pd.DataFrame, transfers: pd.DataFrame, simple: pd.DataFrame, kind: BudgetKind
) -> str:
    parts = ["# Comparison"]
    if table["task"].nunique() > 1:
        parts += ["## All tasks", markdown_table(_overview(table, bold="**{}**")), _OVERVIEW_NOTES]
    for task, rows in table.groupby("task", sort=False):
        parts += [f"## {task}", markdown_table(_readable(rows, bold="**{}**")), f"{_seeds(rows)} {_denominators(kind)}"]
        parts += ["What the training took:", markdown_table(_readable_effort(rows))]
    if len(searches):
        parts += ["## Searched hyper-parameters", markdown_table(_readable_searches(searches, table)), _SEARCH_NOTES]
    if len(transfers):
        parts += ["## On tasks not tuned on", markdown_table(_readable_transfers(transfers)), _TRANSFER_NOTES]
    if len(simple):
        parts += ["## Simple models", markdown_table(_readable_simple(simple)), _SIMPLE_NOTES]
    return "\n\n".join([*parts, "## How to read it", _NOTES]) + "\n"


def _denominators(kind: BudgetKind) -> str:
    """What the columns are fractions of."""
    prunable = f"{KINDS['params']} (those of the attention and feed-forward dimensions)"
    kept = f"and kept are fractions of {prunable}"
    if kind != "params":
        kept = f"is a fraction of {KINDS[kind]}, and kept one of {prunable}"
    return (
        f"A budget with {TIMES} {kept}, a budget with % of the backbone's, which train; total counts the whole model, "
        "embeddings included."
    )


_OVERVIEW_NOTES = (
    f"Mean, difference to dense `{REFERENCE_TUNING}` fine-tuning and what the training took are averages over the "
    "tasks. More of each task stands below."
)
_SEARCH_NOTES = (
    "The point of each search that did best on the dev split, which is carved from the training data, and what its "
    "model reaches on the validation split. Where `search.max_train` gave the trials a sample of the training data, "
    "that model is a further one, tuned on all of them. All trials: `search.csv`."
)
_TRANSFER_NOTES = "The models of one task, answering the texts of another one that has the same labels."
_SIMPLE_NOTES = (
    "What one would pick instead: nothing of an encoder trains. Size is what it takes on disk, the backbone included "
    "where it needs one. `sensibert compress --compare` also times such models, from text to answer."
)
_NOTES = (
    f"Differences are in points of the metric: to `{BASELINE_CRITERION}` at the same budget, and to dense "
    f"`{REFERENCE_TUNING}` fine-tuning. Kept is what a mask really kept under its budget. Size is that of the weights "
    "file; latency is the median forward pass over one text of mean length on one thread, in PyTorch fp32 and, for the "
    "INT8 export, in ONNX Runtime; the models took turns. Latencies and INT8 metrics are of the seeds of `deployment` "
    "alone: what INT8 costs is the difference between the rows of `deployed.csv`. Bold is the best mean at its "
    "budget.\n\n"
    "Trainable counts the parameters that trained, the new classifier's included. Stored is what each further task "
    "adds where the pre-trained backbone is there already. Passes go over the training data before the fine-tuning: "
    "to score the dimensions, to choose what trains, or to fine-tune the dense model that a method begins with. Time "
    "is all that a model took from the pre-trained weights on, scoring and a tuned dense model included, relative to "
    f"dense `{REFERENCE_TUNING}` on the same task; fine-tuning is the last step alone, with all rounds of a "
    "procedure. Searches of a rate are not counted. Memory is the most that the fine-tuning's process held at once."
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
            f"vs {BASELINE_CRITERION}": _versus(rows, BASELINE_CRITERION),
            f"vs {REFERENCE_TUNING}": _versus(rows, REFERENCE_TUNING),
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


_TIMES = ["relative_time", "relative_fine_tuning_time"]


def _overview(table: pd.DataFrame, bold: str) -> pd.DataFrame:
    """One row per method and budget with the metric of every task; `bold` wraps the best of a task at each budget."""
    points = table.groupby(["method", "budget"], sort=False)
    means = points[["mean", "vs_full", "stored_parameters", "extra_passes", *_TIMES]].mean().reset_index()
    metrics = {
        f"{task}, {_lower(metric_label(rows['metric'].iloc[0]))}": _metric(rows, bold)
        for task, rows in table.groupby("task", sort=False)
    }
    return pd.DataFrame(
        {
            **_names(means),
            **metrics,
            "Mean": [f"{mean:.1f}" for mean in means["mean"]],
            f"vs {REFERENCE_TUNING}": _versus(means, REFERENCE_TUNING),
            **_price(means),
        }
    )


def _readable_searches(searches: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """One row per search: its best trial, and what its method trains if the comparison knows that."""
    search = ["task", "method", "seed"]
    best = searches.drop_duplicates(search)  # the best trial comes first
    trainable = table[table["method"].map(_budget_kind).isna()].set_index(["task", "method"])["trainable_parameters"]
    points = zip(best["task"], best["method"], strict=True)
    last_epoch = [column for column in searches.columns if column.startswith("dev_")][-1]
    return pd.DataFrame(
        {
            "Task": best["task"],
            "Method": [METHODS[method].title for method in best["method"]],
            "Seed": best["seed"].map(str),
            "Trainable": [_count(trainable[point]) if point in trainable else NOTHING for point in points],
            "Trials": searches.groupby(search, sort=False).size().map(str).to_numpy(),
            "Batch": best["batch_size"].map(str),
            "Rate": best["learning_rate"].map("{:g}".format),
            "Dev": best[last_epoch].map("{:.1f}".format),
            "Validation": best["validation"].map("{:.1f}".format),
        }
    )


def _readable_transfers(transfers: pd.DataFrame) -> pd.DataFrame:
    """One row per method and budget, one column per task and the other task that its models answer."""
    labels = transfers["task"] + " on " + transfers["to"] + ", " + transfers["metric"].map(metric_label).map(_lower)
    texts = [_mean_and_std(mean, std) for mean, std in zip(transfers["mean"], transfers["std"], strict=True)]
    readable = transfers.assign(label=labels, text=texts)
    answers = readable.pivot(index=["method", "budget"], columns="label", values="text")[labels.unique()]
    rows = answers.reindex(transfers.set_index(["method", "budget"]).index.unique()).fillna(NOTHING).reset_index()
    return pd.concat([pd.DataFrame(_names(rows)), rows[labels.unique()]], axis="columns")


def _readable_simple(simple: pd.DataFrame) -> pd.DataFrame:
    """One row per task and simple model."""
    return pd.DataFrame(
        {
            "Model": [SIMPLE_MODELS[name].title for name in simple["model"]],
            "Task": simple["task"],
            "Metric": [_lower(metric_label(name)) for name in simple["metric"]],
            "Value": simple["mean"].map("{:.1f}".format),
            f"vs {REFERENCE_TUNING}": simple["vs_full"].map(_signed),
            "Size": simple["model_bytes"].map(_megabytes),
            "Needs": simple["needs"],
        }
    )


def _metric(rows: pd.DataFrame, bold: str) -> list[str]:
    """The primary metric of the rows of one task; `bold` wraps the best mean at each budget."""
    kinds = rows["method"].map(_budget_kind)
    rivals = rows.groupby([kinds, rows["budget"]])["mean"]
    best = kinds.notna() & (rows["mean"] == rivals.transform("max")) & (rivals.transform("size") > 1)
    texts = [_mean_and_std(mean, std) for mean, std in zip(rows["mean"], rows["std"], strict=True)]
    return [bold.format(text) if is_best else text for text, is_best in zip(texts, best, strict=True)]


def _versus(rows: pd.DataFrame, reference: str) -> list[str]:
    """The differences from a reference method; none for the reference itself."""
    return [
        NOTHING if method == reference else _signed(value)
        for method, value in zip(rows["method"], rows[f"vs_{reference}"], strict=True)
    ]


def _price(rows: pd.DataFrame) -> dict[str, list[str]]:
    """What must be stored for a task, and what the training took."""
    return {
        "Stored": [_count(round(count)) for count in rows["stored_parameters"]],
        "Passes": [f"{passes:.2g}" for passes in rows["extra_passes"]],
        "Time": [_number(time, f"{{:.2f}}{TIMES}") for time in rows["relative_time"]],
        "Fine-tuning": [_number(time, f"{{:.2f}}{TIMES}") for time in rows["relative_fine_tuning_time"]],
    }


def _lower(label: str) -> str:
    return label[0].lower() + label[1:]


def _readable_effort(rows: pd.DataFrame) -> pd.DataFrame:
    """What the methods of one task cost to train and to keep."""
    return pd.DataFrame(
        {
            **_names(rows),
            "Trainable": [_count(count) for count in rows["trainable_parameters"]],
            **_price(rows),
            "Memory": [_number(memory / 1e9, "{:.2f} GB") for memory in rows["peak_memory"]],
        }
    )


def _names(rows: pd.DataFrame) -> dict[str, Sequence[str]]:
    budgets = [budget_label(method, budget) for method, budget in zip(rows["method"], rows["budget"], strict=True)]
    return {"Method": [METHODS[method].title for method in rows["method"]], "Budget": budgets}


def _budget_kind(method: str) -> str | None:
    """What the budget of a method limits: what is `kept`, what is `trained`, or nothing."""
    return METHODS[method].budget


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


def _latex(table: pd.DataFrame, searches: pd.DataFrame, transfers: pd.DataFrame, simple: pd.DataFrame) -> str:
    """A booktabs table of all tasks, two of each, the searches and the transfers; needs the LaTeX package booktabs."""
    parts = []
    if table["task"].nunique() > 1:
        parts.append(_latex_table(_overview(table, bold="\\textbf{{{}}}"), caption="All tasks.", label="tab:all"))
    for task, rows in table.groupby("task", sort=False):
        quality = _readable(rows, bold="\\textbf{{{}}}")
        parts.append(_latex_table(quality, caption=f"{task}. {_seeds(rows)}", label=f"tab:{task}"))
        parts.append(_latex_table(_readable_effort(rows), f"{task}: the training.", label=f"tab:{task}-training"))
    if len(searches):
        parts.append(_latex_table(_readable_searches(searches, table), "Searched hyper-parameters.", "tab:search"))
    if len(transfers):
        parts.append(_latex_table(_readable_transfers(transfers), "On tasks not tuned on.", "tab:transfer"))
    if len(simple):
        parts.append(_latex_table(_readable_simple(simple), "Simple models.", "tab:simple"))
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

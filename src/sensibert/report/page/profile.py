"""The page of a profile: every method of an experiment beside the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pandas as pd

from sensibert.config.methods import METHODS
from sensibert.config.params import Params
from sensibert.config.paths import Paths
from sensibert.data.tasks import TASKS
from sensibert.report.comparison import BASELINE_CRITERION
from sensibert.report.labels import TIMES, metric_label, point_label, words
from sensibert.report.page.answers import answers
from sensibert.report.page.blocks import (
    Block,
    Cell,
    Charts,
    Column,
    Drawing,
    Facts,
    Fold,
    Matrix,
    Note,
    Page,
    Section,
    Tile,
    number,
    text,
)
from sensibert.report.page.charts import Line, lines
from sensibert.report.page.profile_data import ProfileData, best_of, read_profile, reference_of
from sensibert.report.page.profile_deployed import deployment
from sensibert.report.page.profile_results import (
    each,
    made_of,
    mean_and_spread,
    result_charts,
    result_table,
    simple_models_table,
    task_column,
)
from sensibert.report.page.render import write_page
from sensibert.report.page.svg import SMALL, axis
from sensibert.report.page.words import (
    code_version,
    count,
    counted,
    flat,
    machine,
    megabytes,
    metric_name,
    milliseconds,
    plain,
    public,
    signed,
    unit_of,
)
from sensibert.scoring.budgets import KINDS

REPORT = "report.html"
"""The page, beside the tables."""

_MOST_CURVES, _MOST_STEPS = 24, 60
"""Drawings of training curves for each task, and points of each curve."""


def write_profile_page(paths: Paths, params: Params) -> None:
    """Write the page of a profile beside its tables, which must be there already.

    Raises:
        ArtifactError: a file that it shows is missing or damaged.
    """
    write_page(profile_page(read_profile(paths, params)), paths.reports / REPORT)


def profile_page(data: ProfileData) -> Page:
    """What the page says."""
    sections = [
        Section("results", "Results", _RESULTS, [Charts(result_charts(data.table)), result_table(data)]),
        Section("simple", "What one would pick instead", _SIMPLE, _simple(data.simple)),
        deployment(data.deployed),
        Section("kept", "What was kept", _KEPT, _kept(data.kept)),
        Section("answers", "How they answer", _ANSWERS, _answers(data)),
        Section("training", "Training", _TRAINING, _training(data)),
        Section("stability", "Stability of the masks", _STABILITY, _stability(data.overlaps)),
        Section("origin", "Where it comes from", "", _origin(data)),
    ]
    return Page(
        title=f"{data.profile}: methods compared",
        kicker=f"Experiment {data.profile}",
        headline=headline(data),
        lead=_lead(data),
        tiles=_tiles(data),
        sections=[section for section in sections if section.blocks],
        files=_files(data),
    )


def _files(data: ProfileData) -> list[tuple[str, str]]:
    """What lies beside the page, and what it holds; a table without rows is not written."""
    files = [("table.md", "the comparison in words"), ("table.csv", "its figures")]
    if len(data.tests):
        files.append(("significance.csv", "the tests"))
    if len(data.simple):
        files.append(("simple_models.csv", "the simple models"))
    return [*files, ("provenance.json", "where all comes from")]


_RESULTS = (
    "Mean and sample standard deviation over the seeds. Differences are in points of the metric, to the dense model "
    f"tuned in full and to pruning by {BASELINE_CRITERION} at the same budget; p is that of a paired t-test over the "
    "seeds, or of an exact McNemar test where there is one seed, not corrected for the number of comparisons."
)
_SIMPLE = "Models that cost seconds: if one of them is good enough, no network has to be tuned, pruned or served."
_KEPT = "Percent of the dimensions of each layer, mean over the seeds."
_ANSWERS = "The held-out rows, answered by the dense model and by the best small one, of the first seed."
_TRAINING = (
    "Loss against steps, one line per seed. A method that learns from another model's answers too has a loss of its "
    "own kind."
)
_STABILITY = (
    "Whether another seed keeps the same dimensions: those that two masks share, as a part of those that either keeps. "
    "Chance is what random masks would share that keep as many of each module. Whether scoring again gives the same "
    "ranking stands in stability.md, where it was checked."
)


def headline(data: ProfileData) -> str:
    """What the experiment found, in one sentence."""
    best = [row for _, rows in data.table.groupby("task", sort=False) if (row := best_of(rows)) is not None]
    backbone = public(data.backbone)
    if not best:
        return f"{backbone}, tuned in full on {', '.join(data.table['task'].unique())}."
    if len(best) == 1:
        return _of_one_task(backbone, best[0])
    return _of_several_tasks(backbone, data.table)


def _of_one_task(backbone: str, row: pd.Series) -> str:
    reached = f"reaches {plain(row['mean'])}{unit_of(row['metric'])} {metric_name(row['metric'])} on {row['task']}"
    below = "" if math.isnan(row["vs_full"]) else f", {_beside_dense(row['vs_full'])}"
    return f"{backbone}, {_made(row)}, {reached}{below}."


def _of_several_tasks(backbone: str, table: pd.DataFrame) -> str:
    """By the mean over the tasks of the difference to the dense model, or of the metric."""
    what = "mean" if table["vs_full"].isna().all() else "vs_full"
    means = table.groupby(["method", "budget"], sort=False)[["mean", "vs_full"]].mean().reset_index()
    best = best_of(means.assign(mean=means[what]))
    assert best is not None
    over = f"on average over {table['task'].nunique()} tasks"
    if what == "mean":
        return f"{backbone} does best {over} if it is {_made(best)}."
    return f"{backbone}, {_made(best)}, does best: {_beside_dense(best['vs_full'])}, {over}."


def _made(row: pd.Series) -> str:
    """What was done to the backbone."""
    title = METHODS[row["method"]].title
    if METHODS[row["method"]].budget == "kept":
        return f"pruned by {title} to {row['budget']:g}{TIMES}"
    return f"tuned by {title}"


def _beside_dense(difference: float) -> str:
    if abs(difference) < 0.05:
        return "as good as the dense model"
    return f"{plain(abs(difference))} points {'below' if difference < 0 else 'above'} the dense model"


def _lead(data: ProfileData) -> str:
    table, seeds = data.table, data.curve["seed"].nunique()
    parts = [
        counted(table["method"].nunique(), "method"),
        counted(table["task"].nunique(), "task"),
        counted(seeds, "seed"),
    ]
    models = f"{', '.join(parts)}: {counted(len(data.curve), 'model')} of {public(data.backbone)}."
    return f"{models} A budget with {TIMES} is a fraction of {KINDS[data.budget_kind]}."


def _tiles(data: ProfileData) -> list[Tile]:
    """Of an experiment with one task: the best small model beside the dense one."""
    if data.table["task"].nunique() > 1:
        return []
    best, dense = best_of(data.table), reference_of(data.table)
    if best is None or dense is None:
        return []
    tiles = [
        Tile(
            metric_label(best["metric"]),
            mean_and_spread(best),
            plain(dense["mean"]),
            f"{signed(best['vs_full'])} points",
        )
    ]
    costs: list[tuple[str, str, Callable[[float], str]]] = [
        ("Size of the weights", "model_bytes", megabytes),
        ("Latency, PyTorch", "latency_ms", lambda time: milliseconds(time / 1e3)),
        ("Latency, ONNX INT8", "int8_latency_ms", lambda time: milliseconds(time / 1e3)),
        ("Parameters", "total_parameters", count),
    ]
    for label, column, form in costs:
        old, new = dense[column], best[column]
        if not math.isnan(old) and not math.isnan(new):
            tiles.append(Tile(label, form(new), form(old), f"{new / old:.2f}{TIMES}"))
    return tiles[:4]


# Simple models, what was kept, answers, training, stability, origin


def _simple(found: pd.DataFrame) -> list[Block]:
    return [] if found.empty else [simple_models_table(found)]


def _kept(kept: pd.DataFrame) -> list[Block]:
    matrices = {str(task): _kept_matrix(str(task), rows) for task, rows in kept.groupby("task", sort=False)}
    if len(matrices) == 1:
        return list(matrices.values())
    return [Fold(task, [matrix], is_open=place == 0) for place, (task, matrix) in enumerate(matrices.items())]


def _kept_matrix(task: str, rows: pd.DataFrame) -> Matrix:
    """One row per method, budget and kind of module, from the largest budget on; one column per layer."""
    layers = sorted(rows["layer"].unique())
    ordered = rows.sort_values("budget", ascending=False, kind="stable")
    names = [
        f"{point_label(method, budget)}, {words(group)}"
        for method, budget, group in zip(ordered["criterion"], ordered["budget"], ordered["group"], strict=True)
    ]
    shown = []
    for name, of_point in ordered.groupby(names, sort=False):
        share_of = dict(zip(of_point["layer"], of_point["kept"], strict=True))
        cells = [Cell(f"{100 * share_of[layer]:.0f}", share=share_of[layer]) for layer in layers]
        shown.append((str(name), cells))
    return Matrix(f"{task}: kept dimensions (%)", "layer →", [str(layer) for layer in layers], shown)


def _answers(data: ProfileData) -> list[Block]:
    blocks: list[Block] = []
    for cell, predictions in data.predictions.items():
        title = f"{cell.task}: {point_label(cell.method, cell.budget)}"
        matrix, *more = answers(predictions, TASKS[cell.task].label_names, title)
        blocks += [matrix, *([Fold("Class by class", more)] if more else [])]
    return blocks


def _training(data: ProfileData) -> list[Block]:
    blocks: list[Block] = []
    tasks = list(dict.fromkeys(cell.task for cell in data.histories))
    for place, task in enumerate(tasks):
        points: dict[str, list[Line]] = {}
        for cell, history in data.histories.items():
            if cell.task == task and len(history.log) > 1:
                log = history.log[:: -(-len(history.log) // _MOST_STEPS)]
                line = Line(f"seed {cell.seed}", [(point.step, point.loss) for point in log])
                points.setdefault(point_label(cell.method, cell.budget), []).append(line)
        drawings = [_loss(f"{task}: {name}", curves) for name, curves in list(points.items())[:_MOST_CURVES]]
        charts = Charts(drawings, is_small=True)
        if drawings:
            blocks.append(charts if len(tasks) == 1 else Fold(task, [charts], is_open=place == 0))
    return blocks


def _loss(title: str, curves: Sequence[Line]) -> Drawing:
    steps = axis("step", [0, *(step for curve in curves for step, _ in curve.points)], "{:,.0f}".format)
    losses = axis("loss", [0, *(loss for curve in curves for _, loss in curve.points)])
    return lines(title, curves, steps, losses, size=SMALL)


def _stability(overlaps: pd.DataFrame) -> list[Block]:
    if overlaps.empty:
        return []
    points = zip(overlaps["method"], overlaps["budget"], strict=True)
    columns = [
        (Column("Method", is_number=False), [text(point_label(method, budget)) for method, budget in points]),
        task_column(overlaps["task"]),
        (Column("Shared, mean", best="high"), [number(mean, "{:.0%}", share=mean) for mean in overlaps["mean"]]),
        (Column("Lowest pair", best="high"), each(overlaps["min"], "{:.0%}".format)),
        (Column("Chance", best="high"), each(overlaps["random"], "{:.0%}".format)),
        (Column("Pairs of seeds", best="high"), each(overlaps["pairs"], "{:.0f}".format)),
    ]
    return [made_of(columns, "Kept dimensions that two seeds share")]


def _origin(data: ProfileData) -> list[Block]:
    made = data.provenance
    hashes = [
        f"{task} {' and '.join(str(value)[:12] for value in values)}" for task, values in made["data_hash"].items()
    ]
    facts = [
        ("Backbone", public(data.backbone)),
        ("Code", "; ".join(map(code_version, made["git"]))),
        ("Machine", "; ".join(map(machine, made["hardware"]))),
        ("Number format of training", ", ".join(map(str, made["precision"]))),
        ("Python", ", ".join(map(str, made["python"]))),
        ("Data, SHA-256", ", ".join(hashes)),
    ]
    software = [
        Note(", ".join(f"{name} {version}" for name, version in packages.items() if version) + ".")
        for packages in made["packages"]
    ]
    return [Facts(facts), Fold("All settings", [Facts(flat(dict(made["params"])))]), Fold("Software", software)]

"""The page of a compressed model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from sensibert.io import read_record
from sensibert.models.mask import Mask, ModuleKey, read_mask
from sensibert.report.before_after import before_after
from sensibert.report.card import HOW, warning
from sensibert.report.evidence import Alternative, ChosenRate, Evidence
from sensibert.report.labels import NOTHING, TIMES, metric_label, metric_title, words
from sensibert.report.page.answers import answers
from sensibert.report.page.blocks import (
    Block,
    Cell,
    Charts,
    Column,
    Drawing,
    Facts,
    Fold,
    Note,
    Page,
    Row,
    Section,
    Table,
    Tile,
    number,
    text,
)
from sensibert.report.page.budgets import budgets
from sensibert.report.page.charts import Dot, Line, histogram, lines, scatter
from sensibert.report.page.render import write_page
from sensibert.report.page.svg import axis
from sensibert.report.page.words import (
    INTERVAL,
    code_version,
    count,
    counted,
    duration,
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
from sensibert.results import WORST_METRIC, History
from sensibert.scoring.budgets import KINDS
from sensibert.scoring.files import ScoreFile, read_scores

REPORT = "report.html"
"""The page, inside the folder of a model."""

_BINS = 40
_RARE = 0.001
"""The part of the scores that may be smaller than a logarithmic axis begins."""
_MOST_STEPS = 200
"""Points of a training curve; of a longer one every second, third, ... is shown."""


def write_model_page(evidence: Evidence, folder: Path, dense: History | None = None) -> None:
    """Write the page of a compressed model next to it.

    Args:
        evidence: What its compression cost and saved.
        folder: Of the model, with the other files of the evidence.
        dense: How the model that it is compared with was trained, if that is known.
    """
    files = folder / "evidence"
    scores = files / "scores.safetensors"
    page = model_page(
        evidence,
        read_mask(files / "mask.safetensors"),
        pd.read_parquet(files / "predictions.parquet"),
        {"dense": dense, "slim": read_record(files / "training.json", History)},
        read_scores(scores) if scores.exists() else None,
    )
    write_page(page, folder / REPORT)


def model_page(
    evidence: Evidence,
    mask: Mask,
    predictions: pd.DataFrame,
    histories: dict[str, History | None],
    scores: ScoreFile | None,
) -> Page:
    """What the page says.

    Args:
        evidence: What the compression cost and saved.
        mask: What was kept.
        predictions: Of the small model on the held-out rows.
        histories: How the models `dense` and `slim` were trained.
        scores: What the mask was cut from; None if it was given.
    """
    sections = [
        _sizes(evidence),
        budgets(evidence),
        _alternatives(evidence),
        _kept(evidence, mask, scores),
        _answers(evidence, predictions),
        _training(evidence, histories),
        _origin(evidence),
    ]
    name = public(evidence.recipe["model"]["backbone"])
    return Page(
        title=f"{name}, made smaller for {evidence.task['name']}",
        kicker="Compressed model",
        headline=headline(evidence),
        lead=_lead(evidence),
        warning=warning(evidence) or "",
        tiles=_tiles(evidence),
        sections=[section for section in sections if section.blocks],
        files=[
            ("README.md", "the model card"),
            ("evidence/report.json", "all figures"),
            ("evidence/predictions.parquet", "the answer to each held-out row"),
        ],
    )


def headline(evidence: Evidence) -> str:
    """What became how small and how fast at what cost, in one sentence."""
    before, after = evidence.before, evidence.after
    size = _times(before.cost.model_bytes / after.cost.model_bytes, "smaller", "larger")
    seconds = _seconds(evidence, 1)
    speed = _times(seconds["before"] / seconds["after"], "faster", "slower")
    return f"{public(evidence.recipe['model']['backbone'])} became {size} and {speed}{_price(evidence)}."


def _times(ratio: float, more: str, less: str) -> str:
    if 0.95 < ratio < 1.05:
        return f"hardly {more}"
    return f"{ratio:.1f}{TIMES} {more}" if ratio > 1 else f"{1 / ratio:.1f}{TIMES} {less}"


def _price(evidence: Evidence) -> str:
    metric, drop = evidence.task["primary_metric"], evidence.drop
    name = metric_name(metric)
    if drop is None:
        return f"; it reaches {plain(evidence.after.primary)}{unit_of(metric)} {name}"
    if drop.points != drop.points:
        return f"; what that costs in {name} cannot be told"
    lost, low, high = drop.points, drop.low, drop.high
    if lost < 0:
        return f" and gained {plain(-lost)} points of {name} ({INTERVAL} {plain(-high)} to {plain(-low)})"
    return f" at a cost of {plain(lost)} points of {name} ({INTERVAL} {plain(low)} to {plain(high)})"


def _seconds(evidence: Evidence, batch_size: int) -> dict[str, float]:
    """Latencies by the name of the model."""
    return {entry.model: entry.seconds for entry in evidence.latency if entry.batch_size == batch_size}


def _lead(evidence: Evidence) -> str:
    before, after, hardware = evidence.before.cost, evidence.after.cost, evidence.provenance["hardware"]
    seconds = _seconds(evidence, 1)
    judged = f"judged on {evidence.after.examples:,} held-out rows of {evidence.task['name']}"
    against = judged if evidence.drop else f"{judged}; the dense model was not judged"
    return (
        f"From {megabytes(before.model_bytes)} to {megabytes(after.model_bytes)}, and from "
        f"{milliseconds(seconds['before'])} to {milliseconds(seconds['after'])} for one text of {after.tokens} tokens "
        f"on {hardware['gpu'] or hardware['cpu']} with {counted(hardware['torch_threads'], 'thread')}; {against}."
    )


def _tiles(evidence: Evidence) -> list[Tile]:
    before, after = evidence.before, evidence.after
    metric, drop, seconds = evidence.task["primary_metric"], evidence.drop, _seconds(evidence, 1)
    reached = Tile(metric_label(metric), plain(after.primary))
    if drop is not None:
        change = f"{signed(-drop.points)} points ({signed(-drop.high)} to {signed(-drop.low)})"
        reached = Tile(metric_label(metric), plain(after.primary), plain(before.primary), change)
    pairs: list[tuple[str, float, float, Callable[[float], str]]] = [
        ("Size of the weights", before.cost.model_bytes, after.cost.model_bytes, megabytes),
        ("Latency, one text", seconds["before"], seconds["after"], milliseconds),
        (f"MACs at {after.cost.tokens} tokens", before.cost.macs, after.cost.macs, count),
    ]
    return [reached] + [Tile(name, form(new), form(old), f"{new / old:.2f}{TIMES}") for name, old, new, form in pairs]


def _sizes(evidence: Evidence) -> Section:
    rows = [
        Row(
            [
                Cell(row.name[0].upper() + row.name[1:]),
                Cell(row.before),
                Cell(row.after),
                Cell(row.change, share=row.share and min(row.share, 1)),
            ]
        )
        for row in before_after(evidence)
    ]
    columns = [Column("", is_number=False), Column("Before"), Column("After"), Column("Change")]
    note = (
        "Latency is the median forward pass in fp32; both models took turns. A bar shows what is left. Prunable are "
        "the parameters of the attention and feed-forward dimensions, which a mask can remove."
    )
    table = Table("The dense model and the small one", columns, rows, note, is_sortable=False)
    return Section("sizes", "Before and after", "", [table])


# What else could be deployed


def _alternatives(evidence: Evidence) -> Section:
    found, metric = evidence.alternatives, evidence.task["primary_metric"]
    lead = (
        "Models that were measured on the same rows and the same machine. The dotted stair joins those that no other "
        "one beats in both directions of a drawing; filled marks are beaten by none in quality, speed and size at once."
    )
    if not found:
        return Section("alternatives", "Alternatives", "", [])
    drawings = [
        _tradeoff("latency", "latency of one text (ms)", [1e3 * entry.latency for entry in found], found, metric),
        _tradeoff("size", "size of the file (MB)", [entry.file_bytes / 1e6 for entry in found], found, metric),
    ]
    return Section("alternatives", "Alternatives", lead, [Charts(drawings), _alternatives_table(found, metric)])


def _tradeoff(what: str, label: str, costs: list[float], found: Sequence[Alternative], metric: str) -> Drawing:
    dots = [
        Dot(
            entry.name,
            cost,
            entry.metric,
            f"{entry.name}: {entry.metric:.1f} ({entry.low:.1f} to {entry.high:.1f}), {milliseconds(entry.latency)}, "
            f"{megabytes(entry.file_bytes)}",
            is_best=entry.is_best,
            is_chosen=entry.is_chosen,
            low=entry.low,
            high=entry.high,
        )
        for entry, cost in zip(found, costs, strict=True)
    ]
    name = metric_title(metric)
    is_log = max(costs) > 8 * min(costs) > 0
    heights = axis(metric_label(metric), [end for entry in found for end in (entry.low, entry.high)])
    return scatter(f"{name} against {what}", dots, axis(label, costs, is_log=is_log), heights)


def _alternatives_table(found: Sequence[Alternative], metric: str) -> Table:
    columns = [
        Column("Model", is_number=False),
        Column("Budget", hint="Kept part of the prunable parameters"),
        Column(metric_label(metric), best="high"),
        Column(INTERVAL, best="high", hint="Of a bootstrap over the rows"),
        Column("Latency, one text", hint="Of mean length"),
        Column("Latency, 32 texts"),
        Column("File"),
        Column("Training", hint="From the pre-trained weights on"),
        Column("Needs", is_number=False, is_filter=True),
        Column("Beaten", is_number=False, is_filter=True, hint="Whether another is as good, as fast and as small"),
    ]
    rows = [
        Row(
            [
                text(entry.name),
                number(entry.budget, f"{{:g}}{TIMES}"),
                number(entry.metric),
                Cell(f"{plain(entry.low)} to {plain(entry.high)}", entry.low),
                Cell(milliseconds(entry.latency), entry.latency),
                Cell(milliseconds(entry.batch_latency), entry.batch_latency),
                Cell(megabytes(entry.file_bytes), entry.file_bytes),
                Cell(duration(60 * entry.training_minutes), entry.training_minutes),
                text(entry.needs),
                text("no" if entry.is_best else "yes"),
            ],
            "chosen" if entry.is_chosen else "",
        )
        for entry in found
    ]
    return Table("All of them", columns, rows, is_searchable=True)


# What was kept


def _kept(evidence: Evidence, mask: Mask, scores: ScoreFile | None) -> Section:
    recipe = evidence.recipe
    unit = KINDS[recipe["budget_kind"]]
    lead = (
        f"Of its prunable parameters the model kept {mask.kept_fraction:.1%} (the budget was "
        f"{recipe['budget']:g}{TIMES} of {unit}), chosen by {recipe['criterion']}. What was dropped is "
        "gone from the files."
    )
    drawings = _score_charts(mask, scores, recipe["criterion"])
    return Section("kept", "What was kept", lead, [_layers(mask), *([Charts(drawings)] if drawings else [])])


def _layers(mask: Mask) -> Table:
    layers = sorted({key.layer for key in mask.keep})
    rows = []
    for layer in layers:
        heads, inner = (mask.keep.get(ModuleKey(layer, group)) for group in ("attention", "feed_forward"))
        rows.append(Row([number(layer, "{}"), *_heads(heads), _dimensions(inner), _left(mask, layer)]))
    columns = [
        Column("Layer"),
        Column("Attention heads", best="high"),
        Column("Dimensions of a head", best="high"),
        Column("Feed-forward dimensions", best="high"),
        Column("Parameters left", best="high", hint="Of the prunable ones of the layer"),
    ]
    return Table("Layer by layer", columns, rows)


def _heads(keep: np.ndarray | None) -> tuple[Cell, Cell]:
    if keep is None:
        return Cell(NOTHING), Cell(NOTHING)
    of_head = keep.sum(axis=1)
    kept = int((of_head > 0).sum())
    return _part(kept, keep.shape[0]), _part(int(of_head.max()), keep.shape[1])


def _dimensions(keep: np.ndarray | None) -> Cell:
    return Cell(NOTHING) if keep is None else _part(int(keep.sum()), keep.size)


def _part(kept: int, of: int) -> Cell:
    return Cell(f"{kept:,} of {of:,}", kept, kept / of)


def _left(mask: Mask, layer: int) -> Cell:
    keys = [key for key in mask.keep if key.layer == layer]
    kept = sum(mask.costs[key] * int(mask.keep[key].sum()) for key in keys)
    share = kept / sum(mask.costs[key] * mask.keep[key].size for key in keys)
    return number(share, "{:.0%}", share=share)


def _score_charts(mask: Mask, scores: ScoreFile | None, criterion: str) -> list[Drawing]:
    """The scores of what was kept and of what was dropped, one drawing per kind of module."""
    if scores is None or criterion not in scores.scores:
        return []
    drawings = []
    for group in dict.fromkeys(key.group for key in mask.keep):
        keys = [key for key in mask.keep if key.group == group and key in scores.scores[criterion]]
        if keys:
            values = np.concatenate([scores.scores[criterion][key].ravel() for key in keys]).astype(float)
            stays = np.concatenate([mask.keep[key].ravel() for key in keys])
            is_finite = np.isfinite(values)
            if is_finite.any():
                title = f"Scores, {words(group)}"
                drawings.append(_scores(title, values[is_finite], stays[is_finite], criterion))
    return drawings


def _scores(title: str, values: np.ndarray, stays: np.ndarray, criterion: str) -> Drawing:
    """How many dimensions have which score."""
    low, high, is_log = _range(values)
    edges = np.geomspace(low, high, _BINS + 1) if is_log else np.linspace(low, high, _BINS + 1)
    edges[0], edges[-1] = low, high  # both are rounded
    inside = np.clip(values, low, high)
    of_kept, of_dropped = (np.histogram(inside[chosen], edges)[0].tolist() for chosen in (stays, ~stays))
    return histogram(title, edges.tolist(), of_kept, of_dropped, axis(criterion, [low, high], is_log=is_log))


def _range(values: np.ndarray) -> tuple[float, float, bool]:
    """The ends of an axis for scores, and whether it is logarithmic: where they are of very different sizes.

    Zeros have no place on such an axis, and a few that are much smaller than the rest would take most of it.
    """
    low, high = float(values.min()), float(values.max())
    if low == high:
        return low - 0.5, high + 0.5, False
    least = float(np.quantile(values[values > 0], _RARE)) if low >= 0 else high
    return (least, high, True) if high > 20 * least else (low, high, False)


# Answers, training, origin


def _answers(evidence: Evidence, predictions: pd.DataFrame) -> Section:
    after = evidence.after
    lead = f"The {after.examples:,} held-out rows, answered by the small model."
    labels = evidence.task["labels"]
    title = "Classes" if labels else "Predicted and true"
    return Section("answers", "How it answers", lead, answers(predictions, labels, title))


def _training(evidence: Evidence, histories: dict[str, History | None]) -> Section:
    drawings = [
        _loss(name, history) for name, history in histories.items() if history is not None and len(history.log) > 1
    ]
    lead = " ".join(map(_trained, evidence.rates.items()))
    if evidence.recipe["method"] == "recipe" and len(drawings) > 1:
        lead += " The slim model learns from the dense one's answers too, so that the two losses differ in kind."
    drawings += _rates(evidence)
    return Section("training", "Training", lead, [Charts(drawings)] if drawings else [])


def _trained(named: tuple[str, ChosenRate]) -> str:
    name, rate = named
    found = f", found by {len(rate.tried)} trials of {rate.trial_steps:,} steps" if rate.tried else ""
    return f"The {name} model trained {rate.steps:,} steps at a peak rate of {rate.learning_rate:g}{found}."


def _loss(name: str, history: History) -> Drawing:
    log = history.log[:: -(-len(history.log) // _MOST_STEPS)]
    curve = Line(name, [(point.step, point.loss) for point in log])
    steps = axis("step", [0, log[-1].step], "{:,.0f}".format)
    return lines(f"Loss of the {name} model", [curve], steps, axis("loss", [0, *(loss for _, loss in curve.points)]))


def _rates(evidence: Evidence) -> list[Drawing]:
    """What the trials of each model reached."""
    curves = []
    for name, rate in evidence.rates.items():
        reached = [(tried.learning_rate, tried.mean) for tried in rate.tried if WORST_METRIC not in tried.dev]
        if len(reached) > 1:
            curves.append(Line(name, reached, ringed=rate.learning_rate))
    if not curves:
        return []
    x = axis("peak learning rate", [rate for curve in curves for rate, _ in curve.points], is_log=True)
    metric = metric_label(evidence.task["primary_metric"])
    y = axis(f"{metric} in trials", [value for curve in curves for _, value in curve.points])
    return [lines("Trials of learning rates", curves, x, y, has_marks=True)]


def _origin(evidence: Evidence) -> Section:
    recipe, made = evidence.recipe, evidence.provenance
    packages = ", ".join(f"{name} {version}" for name, version in made["packages"].items() if version)
    facts = [
        ("Backbone", public(recipe["model"]["backbone"])),
        ("Method", f"{recipe['method'].replace('_', ' ')}: {' '.join(HOW[recipe['method']].split())}"),
        ("Criterion", recipe["criterion"]),
        ("Seed", str(recipe["seed"])),
        ("Made", f"{made['finished'][:16].replace('T', ' ')} UTC, in {duration(made['seconds'])}"),
        ("Machine", machine(made["hardware"])),
        ("Code", code_version(made["git"])),
        ("Number format of training", str(made["precision"])),
    ]
    blocks: list[Block] = [
        Facts(facts),
        _rows_table(evidence),
        Fold("All settings", [Facts(flat(recipe))]),
        Fold("Software", [Note(f"Python {made['python']}; {packages}.")]),
    ]
    return Section("origin", "Where it comes from", "", blocks)


def _rows_table(evidence: Evidence) -> Table:
    rows = []
    for name, split in evidence.data["splits"].items():
        dropped = ", ".join(f"{rows:,} {reason.replace('_', ' ')}" for reason, rows in split["dropped"].items())
        cells = [text(name), *(number(split[what], "{:,}") for what in ("read", "kept")), Cell(dropped or "none")]
        rows.append(Row(cells))
    columns = [Column("Rows", is_number=False), Column("Read"), Column("Kept"), Column("Dropped", is_number=False)]
    return Table("Data", columns, rows, is_sortable=False)

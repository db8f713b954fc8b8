"""One result: the flow from scores to evidence, and the folder that it becomes."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from sensibert.analysis.heat_map import kept_dimensions
from sensibert.compress.identity import data_hash
from sensibert.compress.job import HISTORY, Job, MadeModel, paid_elsewhere
from sensibert.compress.origin import origin_of
from sensibert.compress.verdict import drop_of
from sensibert.config.grid import DENSE_BUDGET
from sensibert.data.task_files import Audit
from sensibert.deploy.bench import BATCH_SIZES, compare_latency, torch_candidate
from sensibert.experiment.provenance import Timer, collect
from sensibert.io import mark, read_record, write_record
from sensibert.models.mask import Mask, write_mask
from sensibert.report.card import KEPT_PICTURE, write_card
from sensibert.report.evidence import Alternative, Evidence
from sensibert.report.page.model import write_model_page
from sensibert.scoring.files import ScoreFile, write_scores

EVIDENCE = "evidence"
"""Folder inside the saved model that holds the evidence for its numbers."""

DENSE = "dense"
"""Folder inside the saved model that holds the dense one, if it was to be kept."""


@dataclass(frozen=True)
class Made:
    """What a run made."""

    evidence: Evidence
    small: MadeModel
    dense: MadeModel
    scores: ScoreFile | None
    """None if a mask was given."""
    mask: Mask
    predictions: pd.DataFrame
    """Of the small model."""


def make(job: Job, audit: Audit, scores: ScoreFile | None = None, mask: Mask | None = None) -> Made:
    """Score, mask, tune the dense model, slim it, fine-tune, evaluate, time.

    Args:
        job: The steps.
        audit: What happened to the rows; recorded.
        scores: Given, instead of a pass.
        mask: Given, instead of a budget.
    """
    recipe, task, say = job.recipe, job.subject.task, job.say
    with Timer() as timer:
        here = mask is None and scores is None
        if mask is None:
            scores = scores or job.scores()
            mask = job.mask(scores)
        say(f"mask: keeps {mask.kept_fraction:.1%} of the prunable parameters")
        dense = job.dense_model()
        small = job.slim_model(mask if here else paid_elsewhere(mask), dense)
        before, predictions_before = job.result(dense, "full", DENSE_BUDGET, judged=recipe.baseline != "none")
        after, predictions = job.result(small, recipe.criterion, recipe.budget)
        vocabulary = None
        if recipe.trim_vocabulary:
            small, vocabulary = job.trimmed(small)
            vocabulary["metrics_before"] = after.metrics
            after, predictions = job.result(small, recipe.criterion, recipe.budget)
        drop = drop_of(predictions_before, predictions, task)
        say("bench: the models take turns")
        models = [torch_candidate("before", dense.model), torch_candidate("after", small.model)]
        latency = compare_latency(models, BATCH_SIZES, [after.cost.tokens])
        alternatives = _alternatives(job, mask, scores, dense, small) if recipe.compare else []
    evidence = Evidence(
        recipe=recipe.model_dump(mode="json"),
        task={"name": task.name, "labels": list(task.label_names), "primary_metric": task.primary_metric},
        data=audit.to_dict(),
        before=before,
        after=after,
        mask=asdict(mask.origin) if mask.origin else {},
        vocabulary=vocabulary,
        rates=job.rates(),
        drop=drop,
        latency=latency,
        alternatives=alternatives,
        origin=origin_of(recipe.model.backbone, audit.source),
        provenance=collect(timer, recipe.model_dump(mode="json"), data_hash(job.subject.dataset), job.precision),
    )
    return Made(evidence, small, dense, scores, mask, predictions)


def _alternatives(
    job: Job, mask: Mask, scores: ScoreFile | None, dense: MadeModel, small: MadeModel
) -> list[Alternative]:
    from sensibert.compress.contenders import compare  # it exports, which is an extra

    return compare(job, mask, scores, dense, small)


def write_result(made: Made, folder: Path, *, keep_dense: bool) -> None:
    """Write the model, its tokenizer, its card and the evidence into a new folder."""
    shutil.copytree(made.small.folder, folder)
    (folder / EVIDENCE).mkdir()
    (folder / HISTORY).rename(folder / EVIDENCE / HISTORY)
    if made.scores is not None:
        write_scores(folder / EVIDENCE / "scores.safetensors", made.scores)
    write_mask(folder / EVIDENCE / "mask.safetensors", made.mask)
    picture = kept_dimensions(made.mask, made.evidence.task["name"])
    (folder / EVIDENCE / KEPT_PICTURE).write_text(picture, encoding="utf-8")
    write_record(folder / EVIDENCE / "report.json", made.evidence)
    made.predictions.to_parquet(folder / EVIDENCE / "predictions.parquet", index=False)
    if keep_dense:
        shutil.copytree(made.dense.folder, folder / DENSE, ignore=shutil.ignore_patterns(HISTORY))
        mark(folder / DENSE, "compress")
    write_card(made.evidence, folder)
    write_model_page(made.evidence, folder, made.dense.history)


def evidence_of(folder: Path) -> Evidence:
    """The evidence inside a result."""
    return read_record(folder / EVIDENCE / "report.json", Evidence)

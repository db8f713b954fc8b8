"""What happens: score, mask, tune the dense model, slim it, fine-tune, evaluate.

The flow is that of the pipeline. The output of each step is kept in a work folder next to the result, so that a run
that was killed resumes where it was.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd
from datasets import DatasetDict

from sensibert.compress.job import HISTORY, Job, MadeModel, Say
from sensibert.compress.recipe import Recipe
from sensibert.compress.verdict import drop_of
from sensibert.config.grid import DENSE_BUDGET
from sensibert.data.encoding import hash_rows
from sensibert.data.task_files import Audit
from sensibert.data.tasks import Task
from sensibert.deploy.bench import BATCH_SIZES, compare_latency, torch_candidate
from sensibert.errors import MaskError, SensibertError
from sensibert.experiment.provenance import Timer, collect
from sensibert.io import (
    beside_it,
    claim_scratch,
    files_below,
    mark,
    read_record,
    release_scratch,
    replacing,
    write_record,
)
from sensibert.models.mask import Mask, write_mask
from sensibert.models.subject import Subject
from sensibert.places import mark_of
from sensibert.report.card import write_card
from sensibert.report.evidence import Evidence
from sensibert.scoring.files import ScoreFile, write_scores

EVIDENCE = "evidence"
"""Folder inside the saved model that holds the evidence for its numbers."""

DENSE = "dense"
"""Folder inside the saved model that holds the dense one, if it was to be kept."""


def compress_model(
    task: Task,
    dataset: DatasetDict,
    audit: Audit,
    recipe: Recipe,
    out: Path,
    *,
    scores: ScoreFile | None = None,
    mask: Mask | None = None,
    say: Say = print,
) -> Evidence:
    """Make a model smaller and prove what it cost.

    Args:
        task: What the labels mean.
        dataset: The splits `train` and `validation`; no choice looks at the second.
        audit: What happened to the rows; recorded.
        recipe: What to do.
        out: Folder of the result: the model, its tokenizer, a model card and the evidence. It appears whole or not
            at all.
        scores: From an earlier pass with this backbone and task, instead of a new pass.
        mask: Made earlier for this backbone, instead of a new one; its budget and criterion replace the recipe's.
        say: Called with a line about each step.

    Returns:
        The evidence, which is also in `out`.

    Raises:
        SensibertError: the backbone, the data, the budget, the scores or the mask do not fit.
    """
    if mask is not None:
        recipe = _recipe_of(mask, recipe)
    if not recipe.any_origin:
        _refuse_foreign(Subject(task, dataset, recipe.model, recipe.trust_remote_code), recipe.seed, scores, mask)
    run, work = run_of(recipe, dataset, scores, mask), _work_folder(out)
    claim_scratch(work, run)
    try:
        made = _compressed(task, dataset, audit, recipe, work, scores, mask, say)
    except SensibertError:
        release_scratch(work)  # the same command would fail again, and another one would not use it
        raise
    with replacing(out) as folder:
        shutil.copytree(made.small.folder, folder)
        (folder / EVIDENCE).mkdir()
        (folder / HISTORY).rename(folder / EVIDENCE / HISTORY)
        if made.scores is not None:
            write_scores(folder / EVIDENCE / "scores.safetensors", made.scores)
        write_mask(folder / EVIDENCE / "mask.safetensors", made.mask)
        write_record(folder / EVIDENCE / "report.json", made.evidence)
        made.predictions.to_parquet(folder / EVIDENCE / "predictions.parquet", index=False)
        if recipe.keep_dense:
            shutil.copytree(made.dense.folder, folder / DENSE, ignore=shutil.ignore_patterns(HISTORY))
        write_card(made.evidence, folder)
        mark(folder, "compress", run=run)
    release_scratch(work)
    return made.evidence


def finished(out: Path, run: str) -> Evidence | None:
    """The evidence of a result, if it was made by this very run; removes what was left by one killed after that.

    Args:
        out: Folder of the result.
        run: From `run_of`.
    """
    found = mark_of(out, "compress") or {}
    listed = found.get("files")
    is_whole = isinstance(listed, list) and set(listed) <= set(files_below(out))
    if found.get("run") != run or not is_whole:
        return None
    release_scratch(_work_folder(out))
    return read_record(out / EVIDENCE / "report.json", Evidence)


@dataclass(frozen=True)
class _Made:
    """What a run made."""

    evidence: Evidence
    small: MadeModel
    dense: MadeModel
    scores: ScoreFile | None
    """None if a mask was given."""
    mask: Mask
    predictions: pd.DataFrame
    """Of the small model."""


def _compressed(
    task: Task,
    dataset: DatasetDict,
    audit: Audit,
    recipe: Recipe,
    work: Path,
    scores: ScoreFile | None,
    mask: Mask | None,
    say: Say,
) -> _Made:
    """The flow."""
    job = Job(Subject(task, dataset, recipe.model, recipe.trust_remote_code), recipe, work, say)
    with Timer() as timer:
        here = mask is None and scores is None
        if mask is None:
            scores = scores or job.scores()
            mask = job.mask(scores)
        say(f"mask: keeps {mask.kept_fraction:.1%} of the prunable parameters")
        dense = job.dense_model()
        small = job.slim_model(mask if here else _paid_elsewhere(mask), dense)
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
        provenance=collect(timer, recipe.model_dump(mode="json"), _data_hash(dataset), job.precision),
    )
    return _Made(evidence, small, dense, scores, mask, predictions)


def _recipe_of(mask: Mask, recipe: Recipe) -> Recipe:
    """The recipe that a given mask stands for."""
    origin = mask.origin
    if origin is None:
        return recipe.model_copy(update={"budget": round(mask.kept_fraction, 4), "budget_kind": "params"})
    said = {"budget": origin.budget, "budget_kind": origin.budget_kind, "criterion": origin.method}
    return recipe.model_copy(update=said)


def _refuse_foreign(subject: Subject, seed: int, scores: ScoreFile | None, mask: Mask | None) -> None:
    """Refuse scores and masks that say they were made for something else; shapes alone would fit many models."""
    origins = {"--scores": scores.origin if scores else None, "--mask": mask.origin if mask else None}
    given = {option: origin.made_for for option, origin in origins.items() if origin is not None}
    if not given:
        return
    here = subject.made_for(subject.new_model(seed))
    for option, made_for in given.items():
        if difference := made_for.difference(here):
            raise MaskError(f"{option}: made for {difference}. If you want it all the same, give --any-origin")


def _paid_elsewhere(mask: Mask) -> Mask:
    """The mask, marked as one whose scores took no pass in this run."""
    return replace(mask, origin=replace(mask.origin, scoring_passes=0)) if mask.origin else mask


def _work_folder(out: Path) -> Path:
    return beside_it(out, "work")


def run_of(recipe: Recipe, dataset: DatasetDict, scores: ScoreFile | None = None, mask: Mask | None = None) -> str:
    """Identity of a run, hexadecimal: its recipe, its data, the files of its backbone, and what it was given."""
    backbone = Path(recipe.model.backbone)
    given = [scores.of(recipe.criterion) if scores else {}, mask.keep if mask else {}]
    from_elsewhere = [{str(key): values.tolist() for key, values in modules.items()} for modules in given]
    read = [_data_hash(dataset), _files_hash(backbone) if backbone.is_dir() else "", from_elsewhere]
    run = json.dumps([recipe.model_dump(mode="json"), read], sort_keys=True)
    return hashlib.sha256(run.encode()).hexdigest()


def _files_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _data_hash(dataset: DatasetDict) -> str:
    digest = hashlib.sha256()
    for split in sorted(dataset):
        digest.update(f"{split} {hash_rows(dataset[split])}".encode())
    return digest.hexdigest()

"""What `sensibert compress` does: one budget, each of several, or the smallest one that keeps within limits.

The flow is that of the pipeline. The output of each step is kept in a work folder next to the result, so that a run
that was killed resumes where it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

from datasets import DatasetDict

from sensibert.compress.identity import run_of
from sensibert.compress.job import Job, Say
from sensibert.compress.limits import BUDGETS, Limits, LimitsError
from sensibert.compress.made import EVIDENCE, evidence_of, make, write_result
from sensibert.compress.recipe import Recipe
from sensibert.data.task_files import Audit
from sensibert.data.tasks import Task
from sensibert.errors import MaskError, ParamsError, SensibertError
from sensibert.io import beside_it, claim_scratch, files_below, mark, release_scratch, replacing
from sensibert.models.mask import Mask
from sensibert.models.subject import Subject
from sensibert.places import mark_of
from sensibert.report.evidence import Evidence, Search
from sensibert.report.overview import write_overview
from sensibert.report.search import write_search_picture
from sensibert.scoring.files import ScoreFile

DEPLOYED = "onnx"
"""Folder inside a model that was found within limits: its export, which kept within them."""


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
    subject = _subject_of(task, dataset, recipe, scores, mask)
    run = run_of(recipe, dataset, scores, mask)
    with _work_folder(out, run) as work:
        made = make(Job(subject, recipe, work, say), audit, scores, mask)
        with replacing(out) as folder:
            write_result(made, folder, keep_dense=recipe.keep_dense)
            mark(folder, "compress", run=run)
    return made.evidence


def compress_to_each(
    task: Task,
    dataset: DatasetDict,
    audit: Audit,
    recipe: Recipe,
    budgets: Sequence[float],
    out: Path,
    *,
    scores: ScoreFile | None = None,
    say: Say = print,
) -> list[Evidence]:
    """Make a model for each of several budgets, with one scoring pass and one dense model.

    Args:
        task: What the labels mean.
        dataset: The splits `train` and `validation`.
        audit: What happened to the rows.
        recipe: What to do; its budget is replaced.
        budgets: From the largest to the smallest.
        out: Folder of the results: one like that of `compress_model` for each budget, and a page that compares them.
        scores: From an earlier pass.
        say: Called with a line about each step.

    Returns:
        The evidence of each budget.
    """
    subject = _subject_of(task, dataset, recipe, scores, None)
    run = run_of(recipe, dataset, scores, **wishes(budgets))
    with _work_folder(out, run) as work, replacing(out) as folder:
        folder.mkdir()
        Job(subject, _at(recipe, budgets[-1]), work, say).refuse_small_budget()  # before anything is trained
        found = []
        for budget in budgets:
            say(f"budget {budget:g}")
            made = make(Job(subject, _at(recipe, budget), work, say), audit, scores)
            write_result(made, folder / folder_name(budget), keep_dense=recipe.keep_dense)
            mark(folder / folder_name(budget), "compress")
            found.append(made.evidence)
        write_overview(found, [folder_name(budget) for budget in budgets], folder)
        mark(folder, "compress", run=run)
    return found


def compress_within(
    task: Task,
    dataset: DatasetDict,
    audit: Audit,
    recipe: Recipe,
    limits: Limits,
    out: Path,
    *,
    budgets: Sequence[float] = BUDGETS,
    scores: ScoreFile | None = None,
    say: Say = print,
) -> Evidence:
    """Find the smallest model that keeps within limits: one scoring pass, one dense model, a slim one per trial.

    Args:
        task: What the labels mean.
        dataset: The splits `train` and `validation`. What a model loses is judged by rows that are held back from the
            first, which nothing trains on; the second is for the numbers of the result alone.
        audit: What happened to the rows.
        recipe: What to do; its budget is replaced by the one that is found.
        limits: What the deployed model may lose and cost.
        out: Folder of the result, as of `compress_model`; the export that kept within the limits is in it too.
        budgets: To choose from, from the largest to the smallest.
        scores: From an earlier pass.
        say: Called with a line about each step.

    Raises:
        LimitsError: no budget keeps within them. What was trained stays in the work folder, for other limits.
    """
    from sensibert.compress.walk import DEV, Walk, hold_back, nothing_meets  # it exports, which is an extra

    _refuse_without_dense(recipe, limits)
    run = run_of(recipe, dataset, scores, **wishes(budgets, limits))
    if limits.max_drop is not None:
        dataset, audit = hold_back(dataset, audit, task, recipe.seed)
    subject = _subject_of(task, dataset, recipe, scores, None)
    with _work_folder(out, run_of(recipe, dataset, scores, walked=True)) as work:
        jobs = {budget: Job(subject, _at(recipe, budget), work, say) for budget in budgets}
        walk = Walk(jobs, scores or jobs[budgets[-1]].scores(), scores is None, limits)
        budget, dev_rows = walk.chosen(), len(dataset[DEV]) if DEV in dataset else 0
        if budget is None:
            raise nothing_meets(limits, walk.points(), dev_rows)
        say(f"budget {budget:g} keeps within the limits")
        made = make(jobs[budget], audit, scores)
        search = Search(limits.model_dump(mode="json"), dev_rows, walk.points(), budget)
        made = replace(made, evidence=replace(made.evidence, search=search))
        with replacing(out) as folder:
            write_result(made, folder, keep_dense=recipe.keep_dense)
            if export := walk.deployed(budget, made.small):
                copytree(export, folder / DEPLOYED)
            write_search_picture(search, task.primary_metric, folder / EVIDENCE)
            mark(folder, "compress", run=run)
    return made.evidence


def wishes(budgets: Sequence[float], limits: Limits | None = None) -> dict[str, Any]:
    """What shapes a run beside its recipe, for `run_of`: several budgets, or limits."""
    if limits is not None and limits.are_there:
        return {"budgets": list(budgets or BUDGETS), "limits": limits.model_dump(mode="json")}
    return {"budgets": list(budgets)} if len(budgets) > 1 else {}


def folder_name(budget: float) -> str:
    """Where `compress_to_each` puts the model of a budget."""
    return f"{budget:g}x"


def is_finished(out: Path, run: str) -> bool:
    """Whether a result was made by this very run; removes what was left by one killed after that.

    Args:
        out: Folder of the result.
        run: From `run_of`.
    """
    found = mark_of(out, "compress") or {}
    listed = found.get("files")
    is_whole = isinstance(listed, list) and set(listed) <= set(files_below(out))
    if found.get("run") != run or not is_whole:
        return False
    release_scratch(beside_it(out, "work"))
    return True


def finished(out: Path, run: str) -> Evidence | None:
    """The evidence of a result, if it was made by this very run: see `is_finished`."""
    return evidence_of(out) if is_finished(out, run) else None


@contextmanager
def _work_folder(out: Path, run: str) -> Iterator[Path]:
    """What the steps of a run leave, beside its result; gone when that is there, or when it cannot be."""
    work = beside_it(out, "work")
    claim_scratch(work, run)
    try:
        yield work
    except LimitsError:
        raise  # what was trained serves other limits
    except SensibertError:
        release_scratch(work)  # the same command would fail again, and another one would not use it
        raise
    release_scratch(work)


def _at(recipe: Recipe, budget: float) -> Recipe:
    return recipe.model_copy(update={"budget": budget})


def _subject_of(
    task: Task, dataset: DatasetDict, recipe: Recipe, scores: ScoreFile | None, mask: Mask | None
) -> Subject:
    """The backbone and the data, which what was given must fit."""
    subject = Subject(task, dataset, recipe.model, recipe.trust_remote_code)
    if not recipe.any_origin:
        _refuse_foreign(subject, recipe.seed, scores, mask)
    return subject


def _recipe_of(mask: Mask, recipe: Recipe) -> Recipe:
    """The recipe that a given mask stands for."""
    origin = mask.origin
    if origin is None:
        return recipe.model_copy(update={"budget": round(mask.kept_fraction, 4), "budget_kind": "params"})
    said = {"budget": origin.budget, "budget_kind": origin.budget_kind, "criterion": origin.method}
    return recipe.model_copy(update=said)


def _refuse_without_dense(recipe: Recipe, limits: Limits) -> None:
    if limits.max_drop is not None and recipe.baseline == "none":
        raise ParamsError("--max-drop is measured from the dense model: --baseline none leaves that out")


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

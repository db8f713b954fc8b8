"""The best slim models as models of MLflow that load, in the registry of their task.

One for each task and budget: the first seed of the method with the highest mean of the primary metric. That choice is
made on the validation split, the only one that cells are judged on, and the registry says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from sensibert.config.grid import Cell
from sensibert.config.methods import METHODS
from sensibert.config.paths import Paths
from sensibert.data.tasks import TASKS
from sensibert.experiment.tracking.contents import Content, flatten
from sensibert.experiment.tracking.model_folder import TASK_OF_PIPELINE, lay_out
from sensibert.experiment.tracking.runs import TAG_CELL, TAG_HASH, datasets_of, metrics_of
from sensibert.experiment.tracking.store import Store
from sensibert.models.config_file import CONFIG

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion

BEST, SMALLEST = "best", "smallest"
"""Aliases: the slim model of a task with the highest mean, and the one with the smallest budget."""

_SLIM = ("criterion", "procedure")
"""The kinds of methods whose models are meant for use; controls are there to be compared with."""
_REGISTERED_AS = "mlflow.modelVersions"
"""The tag of a logged model that the UI finds its versions by."""


@dataclass(frozen=True)
class Choice:
    """The slim model of one task and budget."""

    mean: Content
    """Of all seeds."""
    content: Content
    """Of the first seed, whose model it is."""

    @property
    def cell(self) -> Cell:
        """The point of the grid."""
        assert self.content.cell is not None
        return self.content.cell


def choose(contents: Sequence[Content]) -> list[Choice]:
    """The best slim model of each task and budget, by the mean of the primary metric; of equal ones, the first."""
    found: dict[tuple[str, float], Choice] = {}
    for mean in contents:
        if mean.kind != "aggregate" or mean.point is None or METHODS[mean.point.method].kind not in _SLIM:
            continue
        seeds = [content for content in contents if content.cell is not None and content.point == mean.point]
        choice = Choice(mean, min(seeds, key=lambda content: content.cell.seed if content.cell else 0))
        key = (mean.point.task, mean.point.budget)
        if key not in found or mean.scores["primary"] > found[key].mean.scores["primary"]:
            found[key] = choice
    return list(found.values())


def aliases_of(choices: Sequence[Choice]) -> dict[str, Choice]:
    """The models of one task that have a name of their own; of equally good ones, the smaller is the best."""
    best = min(choices, key=lambda choice: (-choice.mean.scores["primary"], choice.cell.budget))
    return {BEST: best, SMALLEST: min(choices, key=lambda choice: choice.cell.budget)}


def register(
    store: Store, paths: Paths, contents: Sequence[Content], runs: Mapping[tuple[str, str], str]
) -> dict[str, str]:
    """Log and register the chosen models that are there; what is logged or registered already stays as it is.

    Args:
        store: has the runs of the cells.
        paths: where the models are.
        contents: of all runs.
        runs: identity of a content -> the id of its run.

    Returns:
        The registered models and their aliases, for people.
    """
    choices = [choice for choice in choose(contents) if (paths.model(choice.cell) / CONFIG).exists()]
    logged = _logged_models(store) if choices else {}
    named = {}
    for task in dict.fromkeys(choice.cell.task for choice in choices):
        of_task = [choice for choice in choices if choice.cell.task == task]
        name = f"sensibert-{paths.profile}-{task}"
        versions = {}
        _make_registered_model(store, name, of_task[0])
        for choice in of_task:
            run = store.client.get_run(runs[choice.content.identity])
            model = logged.get(run.info.run_id) or _log_model(store, paths, choice, run)
            _link(store, model, choice, run)
            versions[choice.cell] = _version_of(store, name, model, choice)
        wanted = {alias: versions[choice.cell] for alias, choice in aliases_of(of_task).items()}
        _set_aliases(store, name, wanted)
        named[name] = ", ".join(f"{alias} is version {version}" for alias, version in wanted.items())
    return named


# ── logged models ────────────────────────────────────────────────────────────────────────────────


def _logged_models(store: Store) -> dict[str, LoggedModel]:
    """Run id -> its model; what a killed sync left half logged is deleted."""
    from mlflow.entities import LoggedModelStatus

    found: dict[str, LoggedModel] = {}
    token: str | None = None
    while True:
        page = store.client.search_logged_models([store.id], page_token=token)
        for model in page:
            if TAG_CELL not in model.tags or model.source_run_id is None:
                continue  # somebody else's
            if model.status == LoggedModelStatus.READY:
                found[model.source_run_id] = model
            else:
                store.client.delete_logged_model(model.model_id)
                store.remove(model.artifact_location)
        token = page.token
        if not token:
            return found


def _log_model(store: Store, paths: Paths, choice: Choice, run: Run) -> LoggedModel:
    cell, content = choice.cell, choice.content
    model = store.client.create_logged_model(
        store.id,
        name=f"{cell.task}-{cell.method}",
        source_run_id=run.info.run_id,
        tags={TAG_CELL: content.key, TAG_HASH: content.hash, **content.tags},
        params=flatten(content.params),
        model_type=TASK_OF_PIPELINE,
    )
    with TemporaryDirectory() as scratch:
        folder = Path(scratch, "model")  # for everybody to read, unlike the other
        lay_out(paths.model(cell), folder, TASKS[cell.task], model.model_id)
        store.client.log_model_artifacts(model.model_id, str(folder))
    return store.client.finalize_logged_model(model.model_id, "READY")


def _link(store: Store, model: LoggedModel, choice: Choice, run: Run) -> None:
    """Give a model the metrics of its run, on the data of its run, and name it there."""
    from mlflow.entities import LoggedModelOutput, Metric

    if run.outputs and any(output.model_id == model.model_id for output in run.outputs.model_outputs):
        return
    run_id, inputs = run.info.run_id, datasets_of(run)
    on = {"dataset_name": inputs[0].dataset.name, "dataset_digest": inputs[0].dataset.digest} if inputs else {}
    metrics = [
        Metric(name, value, run.info.end_time, 0, model_id=model.model_id, run_id=run_id, **on)
        for name, value in metrics_of(choice.content).items()
    ]
    store.client.log_batch(run_id, metrics=metrics, synchronous=True)
    store.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])


# ── the registry ─────────────────────────────────────────────────────────────────────────────────


def _make_registered_model(store: Store, name: str, choice: Choice) -> None:
    if store.client.search_registered_models(f"name = '{name}'"):
        return
    task, profile = choice.cell.task, choice.content.tags["profile"]
    store.client.create_registered_model(
        name,
        tags={"task": task, "profile": profile},
        description=(
            f"Slim models for {task}, made by the profile {profile}. There is one for each budget: the first seed of "
            f"the method with the highest mean of {TASKS[task].primary_metric} over its seeds. `{BEST}` has the "
            f"highest of these means, `{SMALLEST}` the smallest budget. The means are those of the tables, on the "
            "validation split: as the choice is made there, too, the figure of a chosen model is a little too good. "
            "Judge it on rows of your own."
        ),
    )


def _version_of(store: Store, name: str, model: LoggedModel, choice: Choice) -> str:
    """The version of a registered model that a logged model is; it becomes one if it is none."""
    versions = store.client.search_model_versions(f"name = '{name}'")
    found = next((version for version in versions if version.source == model.artifact_location), None)
    version = str((found or _new_version(store, name, model, choice)).version)
    registered = json.dumps([{"name": name, "version": version}])
    if model.tags.get(_REGISTERED_AS) != registered:
        store.client.set_logged_model_tags(model.model_id, {_REGISTERED_AS: registered})
    return version


def _new_version(store: Store, name: str, model: LoggedModel, choice: Choice) -> ModelVersion:
    mean, tags = choice.mean.scores, choice.content.tags
    return store.client.create_model_version(
        name,
        source=model.artifact_location,
        run_id=model.source_run_id,
        model_id=model.model_id,
        tags={key: tags[key] for key in ("task", "method", "budget", "seed", "profile")},
        description=(
            f"{choice.content.title}. {TASKS[choice.cell.task].primary_metric} on the validation split: "
            f"{choice.content.scores['primary']:.2f}; mean over the seeds {choice.mean.tags['seeds']}: "
            f"{mean['primary']:.2f}, the highest at this budget."
        ),
    )


def _set_aliases(store: Store, name: str, wanted: Mapping[str, str]) -> None:
    current = store.client.get_registered_model(name).aliases
    for alias, version in wanted.items():
        if str(current.get(alias)) != version:
            store.client.set_registered_model_alias(name, alias, version)

"""The tables that the MLflow UI opens with, and the link to the one of the cells.

The UI keeps a saved view in a tag of its experiment (`mlflow.sharedViewState.KEY`): filter, order and columns as JSON.
A link names the key, and the part of the UI that is for the training of models: it opens with the one for GenAI.
Without a view, MLflow lists every run below its parent, in the order they were made in.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sensibert.config.params import Params
from sensibert.experiment.tracking.places import ARTIFACTS_FOLDER, STORE, sqlite_file, without_password, workspace
from sensibert.experiment.tracking.runs import TAG_CURRENT, TAG_KIND
from sensibert.experiment.tracking.store import Store

_VIEW = "mlflow.sharedViewState."
_NOTE = "mlflow.note.content"

_RUN_NAME, _DURATION, _CREATED = "attributes.`Run Name`", "duration", "runDateAndNestInfo"
"""Columns that are always there, as the table calls them."""
_WIDTHS = {_RUN_NAME: 230, _DURATION: 90, _CREATED: 120}
"""In pixels."""


@dataclass(frozen=True)
class View:
    """A table of runs."""

    key: str
    name: str
    kind: str
    order: str
    """Column; its highest value comes first."""
    columns: tuple[str, ...]
    """Tags and metrics from the left, after the name of the run."""


_OF_CELLS = ("size_mb", "latency_ms", "int8_primary", "int8_latency_ms", "int8_size_mb", "peak_memory_gb")
_METHOD = ("tags.method", "tags.budget")


def _metrics(*names: str) -> tuple[str, ...]:
    return tuple(f"metrics.{name}" for name in names)


CELLS = View("cells", "Cells", "cell", "primary", (*_metrics("primary", *_OF_CELLS), *_METHOD, "tags.seed"))
MEANS = View(
    "means",
    "Means over seeds",
    "aggregate",
    "primary",
    (*_metrics("primary", "primary_std", "primary_low", "primary_high", *_OF_CELLS), *_METHOD, "tags.seeds"),
)
TRIALS = View(
    "trials",
    "Trials",
    "trial",
    "dev",
    (*_metrics("dev", "validation"), "params.batch_size", "params.learning_rate", "tags.method", "tags.seed"),
)
SIMPLE = View("simple", "Simple models", "simple", "primary", (*_metrics("primary", "size_mb"), "tags.needs"))


def write_views(store: Store, params: Params) -> None:
    """Give the experiment its tables, and what it is for; what is there already stays as it is."""
    views = [CELLS, MEANS, *([SIMPLE] if params.simple_models else []), *([TRIALS] if params.searched_cells() else [])]
    created = store.experiment.creation_time or 0
    wanted = {f"{_VIEW}{view.key}": _saved(view, len(params.tasks) > 1, created) for view in views}
    found = store.experiment.tags
    if _NOTE not in found:  # people may edit it
        wanted[_NOTE] = _note(params)
    for key, value in wanted.items():
        if found.get(key) != value:
            store.client.set_experiment_tag(store.id, key, value)


def _saved(view: View, several_tasks: bool, created: int) -> str:
    """A view as MLflow saves it."""
    names = ("tags.task", *view.columns) if several_tasks else view.columns
    columns = [_quoted(name) for name in names]
    state = {
        "searchFilter": f"tags.`{TAG_KIND}` = '{view.kind}' AND tags.`{TAG_CURRENT}` = 'true'",
        "orderByKey": _quoted(f"metrics.{view.order}"),
        "orderByAsc": False,
        "selectedColumns": columns,
        "columnOrder": [_RUN_NAME, *columns, _DURATION, _CREATED],
        "columnWidths": {name: _width(name) for name in columns} | _WIDTHS,
    }
    times = {"createdAt": created, "updatedAt": created}
    return json.dumps({"name": view.name, **times, "state": json.dumps(state)})


def _quoted(column: str) -> str:
    group, _, name = column.partition(".")
    return f"{group}.`{name}`"


def _width(column: str) -> int:
    """Pixels that show the heading of a column, and six digits."""
    _, _, name = column.partition(".")
    return max(85, 8 * len(name) + 15)


def _note(params: Params) -> str:
    return (
        f"The profile `{params.profile}` of sensibert: one run for each cell of the grid (task, method, budget, seed), "
        "and one for the mean of its seeds. They follow from the files of `dvc repro`; `sensibert track` brings them "
        f"here. The saved views *{CELLS.name}* and *{MEANS.name}* are the tables to begin with."
    )


# ── the way there ────────────────────────────────────────────────────────────────────────────────


def how_to_open(uri: str, experiment_id: str | None = None, root: Path = Path()) -> str:
    """The address of the table of the cells, and the command that serves it where no server does.

    Args:
        uri: the tracking URI of the store.
        experiment_id: of the profile; None if it is not there yet.
        root: the repository.
    """
    if uri.startswith("databricks"):
        return uri
    if uri.startswith(("http:", "https:")):
        return _table(without_password(uri), experiment_id)
    return f"{_table(_local_address(), experiment_id)} (served by `{shlex.join(_server(uri, root))}`)"


def _table(base: str, experiment_id: str | None) -> str:
    if experiment_id is None:
        return base
    place = f"/#/experiments/{experiment_id}/runs?viewStateShareKey={CELLS.key}&workflowType=machine_learning"
    return base.rstrip("/") + place


def _local_address() -> str:
    """Where `mlflow ui` answers."""
    return f"http://{os.environ.get('MLFLOW_HOST') or '127.0.0.1'}:{os.environ.get('MLFLOW_PORT') or 5000}"


def _server(uri: str, root: Path) -> Sequence[str]:
    database = sqlite_file(uri)
    if database is not None and database.resolve() == (workspace(root) / STORE).resolve():
        return ["make", "ui"]
    command = ["mlflow", "ui", "--backend-store-uri", without_password(uri)]
    if database is not None:
        command += ["--artifacts-destination", str(database.parent / ARTIFACTS_FOLDER)]
    return command

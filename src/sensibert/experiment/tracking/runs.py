"""Make the runs that are not there yet, and mark the current ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING

from sensibert.config.params import Params
from sensibert.config.paths import Paths
from sensibert.experiment.provenance import git_state, params_hash
from sensibert.experiment.tracking.attachments import Attachments, attachments_of, texts_of
from sensibert.experiment.tracking.contents import Content, flatten
from sensibert.experiment.tracking.datasets import input_of
from sensibert.experiment.tracking.places import dvc_experiment
from sensibert.experiment.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Run

TAG_KIND = "sensibert.kind"
"""`cell`, `aggregate`, `trial`, `simple`, or `experiment` for a parent of these."""
TAG_CELL = "sensibert.cell"
TAG_HASH = "sensibert.artifact_hash"
TAG_CURRENT = "sensibert.current"
"""`true` for the runs of what is in the work tree now."""
TAG_DVC = "sensibert.dvc_experiment"
"""The experiment of DVC that ran elsewhere; none in the workspace."""
TAG_PARAMS_HASH = "sensibert.params_hash"
TAG_PARENT = "mlflow.parentRunId"
TAG_COMMIT = "mlflow.source.git.commit"

PREDICTIONS = "predictions.json"
PICTURES = "pictures"

Inputs = Callable[[str], "DatasetInput | None"]
"""Task -> its data."""


@dataclass(frozen=True)
class Projected:
    """The runs of what is there."""

    runs: dict[tuple[str, str], str]
    """Identity of a content -> the id of its run."""
    created: frozenset[tuple[str, str]]
    """What got a new run."""


def project(store: Store, params: Params, paths: Paths, contents: Sequence[Content]) -> Projected:
    """Create the missing runs, refresh what was measured again, and mark the current runs."""
    runs = _active_runs(store)
    of_contents = {run.info.run_id: run for run in runs if TAG_CELL in run.data.tags}
    finished = {key: run for key, run in of_contents.items() if TAG_HASH in run.data.tags}
    for run_id in of_contents.keys() - finished.keys():
        _discard(store, of_contents[run_id])
    known = {(run.data.tags[TAG_CELL], run.data.tags[TAG_HASH]): run for run in finished.values()}
    inputs = cache(partial(input_of, paths))

    new = [content for content in contents if content.identity not in known]
    unfinished = [run for run in runs if TAG_PARAMS_HASH in run.data.tags and run.info.status == "RUNNING"]
    created, parent = _create_runs(store, params, paths, new, unfinished, inputs) if new else ({}, None)
    _close_parents(store, {run.info.run_id: run for run in unfinished if run.info.run_id != parent}, finished.values())

    kept = {content.identity: known[content.identity] for content in contents if content.identity in known}
    for content in contents:
        if content.identity in kept:
            _refresh(store, kept[content.identity], content, inputs)
    _mark_current(store, finished.values(), {run.info.run_id for run in kept.values()}, dvc_experiment(paths.root))
    ids = {identity: run.info.run_id for identity, run in kept.items()}
    return Projected(ids | created, frozenset(created))


def _active_runs(store: Store) -> list[Run]:
    runs: list[Run] = []
    token: str | None = None
    while True:
        page = store.client.search_runs([store.id], max_results=1000, page_token=token)
        runs.extend(page)
        token = page.token
        if not token:
            return runs


def _discard(store: Store, run: Run) -> None:
    """Delete what a killed sync left, with its files where no server keeps them."""
    store.client.delete_run(run.info.run_id)
    store.remove(run.info.artifact_uri)


# ── new runs ─────────────────────────────────────────────────────────────────────────────────────


def _create_runs(
    store: Store, params: Params, paths: Paths, new: Sequence[Content], unfinished: Iterable[Run], inputs: Inputs
) -> tuple[dict[tuple[str, str], str], str]:
    """Create one parent run with a child for each new content; returns their ids, and the parent's."""
    parent, start = _open_parent(store, params, paths, new, unfinished)
    texts = cache(partial(texts_of, paths))
    created = {}
    for content in new:
        run_id = _begin(store, content, parent, dvc_experiment(paths.root))
        if dataset := inputs(content.task):
            store.client.log_inputs(run_id, datasets=[dataset])
        if content.cell is not None:
            _attach(store, run_id, attachments_of(paths, content.cell, texts(content.task)))
        _end(store, run_id, content)
        created[content.identity] = run_id
    lasted = sum(content.times.milliseconds for content in new if content.cell and content.times)
    store.client.set_terminated(parent, end_time=start + lasted)
    return created, parent


def _open_parent(
    store: Store, params: Params, paths: Paths, new: Sequence[Content], unfinished: Iterable[Run]
) -> tuple[str, int]:
    """The parent of the new runs: one that a killed sync left with the same parameters, or a new one; and its start."""
    from mlflow.entities import Param

    content = params.model_dump(mode="json")
    digest, experiment = params_hash(content), dvc_experiment(paths.root)
    left = next((run for run in unfinished if run.data.tags[TAG_PARAMS_HASH] == digest), None)
    start = min((content.times.start for content in new if content.times), default=_now())
    tags = {TAG_KIND: "experiment", "stage": "pipeline", "profile": params.profile, TAG_PARAMS_HASH: digest}
    moment = f"{datetime.fromtimestamp(start / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    parent = left or store.client.create_run(
        store.id,
        start_time=start,
        run_name=" ".join(filter(None, [params.profile, experiment, moment])),
        tags=tags | _origin(git_state(paths.root)["revision"], experiment),
    )
    run_id: str = parent.info.run_id
    store.client.log_batch(
        run_id, params=[Param(key, text) for key, text in flatten(content).items()], synchronous=True
    )
    for file, folder in _reports(paths).items():
        store.client.log_artifact(run_id, str(file), folder)
    return run_id, parent.info.start_time


def _begin(store: Store, content: Content, parent: str, experiment: str | None) -> str:
    """Create a run with everything that is a number or a text."""
    from mlflow.entities import Metric, Param

    start, end = (content.times.start, content.times.end) if content.times else (_now(), _now())
    about = {TAG_KIND: content.kind, TAG_CELL: content.key, TAG_PARENT: parent}
    run_id: str = store.client.create_run(
        store.id,
        start_time=start,
        tags=about | content.tags | _origin(content.commit, experiment),
        run_name=f"{content.title} ({experiment})" if experiment else content.title,
    ).info.run_id
    curve = [Metric(key, value, end, step) for key, value, step in content.curve]
    last = {name: value for name, value in metrics_of(content).items() if name not in {point.key for point in curve}}
    store.client.log_batch(
        run_id,
        metrics=[*(Metric(key, value, end, 0) for key, value in last.items()), *curve],
        params=[Param(key, text) for key, text in flatten(content.params).items()],
        synchronous=True,
    )
    return run_id


def metrics_of(content: Content) -> Mapping[str, float]:
    """Every metric of a run but its curve."""
    return {**content.scores, **content.costs, **content.measured}


def datasets_of(run: Run) -> list[DatasetInput]:
    """The data that a run names."""
    return run.inputs.dataset_inputs if run.inputs else []


def _attach(store: Store, run_id: str, attachments: Attachments) -> None:
    if attachments.predictions is not None:
        store.client.log_table(run_id, attachments.predictions, PREDICTIONS)
    for name, picture in attachments.pictures.items():
        store.client.log_text(run_id, picture, f"{PICTURES}/{name}")


def _end(store: Store, run_id: str, content: Content) -> None:
    """Finish a run; the hash comes last, and says that it is whole."""
    from mlflow.entities import RunTag

    store.client.set_terminated(run_id, end_time=content.times.end if content.times else None)
    tags = [RunTag(TAG_CURRENT, "true"), RunTag(TAG_HASH, content.hash)]
    store.client.log_batch(run_id, tags=tags, synchronous=True)


def _origin(commit: str | None, experiment: str | None) -> dict[str, str]:
    """Tags that say who made a run, from which commit, and in which experiment of DVC."""
    found = {TAG_COMMIT: commit, TAG_DVC: experiment, "mlflow.user": _user()}
    return {key: value for key, value in found.items() if value}


def _user() -> str | None:
    try:
        return getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return None


def _reports(paths: Paths) -> dict[Path, str | None]:
    """The parameter file and the files of the report, and the folder that each goes to."""
    files: dict[Path, str | None] = {path: None for path in [paths.root / "params.yaml"] if path.is_file()}
    for path in sorted(paths.reports.rglob("*")):
        if path.is_file():
            files[path] = (Path("reports") / path.relative_to(paths.reports).parent).as_posix()
    return files


def _close_parents(store: Store, left: Mapping[str, Run], children: Iterable[Run]) -> None:
    """Finish what a killed sync left open; a parent without children is deleted."""
    with_children = {run.data.tags.get(TAG_PARENT) for run in children}
    for run_id, run in left.items():
        if run_id in with_children:
            store.client.set_terminated(run_id)
        else:
            _discard(store, run)


# ── runs that are there ──────────────────────────────────────────────────────────────────────────


def _refresh(store: Store, run: Run, content: Content, inputs: Inputs) -> None:
    """Bring what was measured again, and data that were not there, into a run that holds the same results."""
    from mlflow.entities import Metric

    changed = {name: value for name, value in content.measured.items() if run.data.metrics.get(name) != value}
    if changed:
        moment = _now()
        metrics = [Metric(name, value, moment, 0) for name, value in changed.items()]
        store.client.log_batch(run.info.run_id, metrics=metrics, synchronous=True)
    lasted = content.times and content.times.milliseconds
    if lasted is not None and run.info.end_time - run.info.start_time != lasted:
        store.client.set_terminated(run.info.run_id, end_time=run.info.start_time + lasted)
    if not datasets_of(run) and (dataset := inputs(content.task)):
        store.client.log_inputs(run.info.run_id, datasets=[dataset])


def _mark_current(store: Store, finished: Iterable[Run], current: set[str], experiment: str | None) -> None:
    """Say of every earlier run whether it belongs to what is there now.

    An experiment of DVC that runs elsewhere leaves the runs of others alone; the workspace takes over its runs when
    their results come there.
    """
    for run in finished:
        made_in, run_id = run.data.tags.get(TAG_DVC), run.info.run_id
        if experiment is None and made_in is not None and run_id in current:
            store.client.delete_tag(run_id, TAG_DVC)
        elif made_in != experiment:
            continue
        flag = str(run_id in current).lower()
        if run.data.tags.get(TAG_CURRENT) != flag:
            store.client.set_tag(run_id, TAG_CURRENT, flag)


def _now() -> int:
    return int(1000 * time.time())

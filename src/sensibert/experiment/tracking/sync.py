"""Bring an MLflow store up to date with the artifacts of the grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sensibert.config.params import Params
from sensibert.config.paths import Paths
from sensibert.experiment.tracking.aggregates import aggregate
from sensibert.experiment.tracking.contents import read_contents
from sensibert.experiment.tracking.models import register
from sensibert.experiment.tracking.places import dvc_experiment, tracking_uri, without_password
from sensibert.experiment.tracking.runs import project
from sensibert.experiment.tracking.store import experiment_name, opened
from sensibert.experiment.tracking.view import how_to_open, write_views


@dataclass(frozen=True)
class SyncReport:
    """What a sync did."""

    store: str
    """Tracking URI, without a password."""
    experiment: str
    created: int
    """Cells, simple models and trials that got a new run."""
    kept: int
    """Those that already had a run."""
    missing: tuple[str, ...]
    """Cells of the grid that are not computed yet."""
    models: Mapping[str, str]
    """Registered model -> its aliases, for people."""
    how_to_open: str
    """The address of the table, and what serves it."""


def sync(params: Params, paths: Paths, uri: str | None = None) -> SyncReport:
    """Bring the MLflow store up to date with the artifacts of the grid.

    A lock makes the syncs on one machine wait for each other. Several machines that write to one server at the same
    time should use profiles of different names. What an experiment of DVC computed in a temporary work tree goes to the
    store of the workspace; its models are gone with the tree, and are registered when the workspace has them.

    Args:
        params: the active profile.
        paths: where its artifacts are.
        uri: the tracking URI; by default what `tracking_uri` says.

    Raises:
        TrackingError: the store cannot be reached or written.
        ArtifactError: an artifact is damaged.
    """
    uri = uri or tracking_uri(paths.root)
    found = read_contents(params, paths)
    contents = [*found, *aggregate(found)]
    with opened(uri, params.profile, paths.root) as store:
        projected = project(store, params, paths, contents)
        models = {} if dvc_experiment(paths.root) else register(store, paths, contents, projected.runs)
        write_views(store, params)
        experiment_id = store.id
    created = sum(content.identity in projected.created for content in found)
    computed = {content.cell for content in found}
    return SyncReport(
        store=without_password(uri),
        experiment=experiment_name(params.profile),
        created=created,
        kept=len(found) - created,
        missing=tuple(cell.name for cell in params.cells() if cell not in computed),
        models=models,
        how_to_open=how_to_open(uri, experiment_id, paths.root),
    )

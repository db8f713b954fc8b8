"""Where the runs are kept: the tracking URI, and the workspace that a work tree of `dvc exp` belongs to."""

from __future__ import annotations

import os
from pathlib import Path

from sensibert.errors import TrackingError

STORE = "mlflow.db"
"""In the repository root, unless `MLFLOW_TRACKING_URI` names another store."""

ARTIFACTS_FOLDER = "mlartifacts"
"""Next to a SQLite store; where `mlflow ui` looks by default."""

_EXPERIMENTS = (".dvc", "tmp", "exps")
"""Where, in a workspace, `dvc exp` checks out what it does not run in the workspace itself."""


def workspace(root: Path = Path()) -> Path:
    """The repository root, also for a work tree that `dvc exp run --temp` or `dvc queue start` made and will remove."""
    place = root.resolve()
    for folder in place.parents:
        if folder.parts[-len(_EXPERIMENTS) :] == _EXPERIMENTS:
            return folder.parents[len(_EXPERIMENTS) - 1]
    return root


def dvc_experiment(root: Path = Path()) -> str | None:
    """The name of the experiment of DVC that a temporary work tree belongs to; None in a workspace."""
    return None if workspace(root) == root else os.environ.get("DVC_EXP_NAME") or root.resolve().name


def tracking_uri(root: Path = Path()) -> str:
    """`MLFLOW_TRACKING_URI`, or the SQLite store in the repository root; from there a relative one, too."""
    home = workspace(root)
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        return f"sqlite:///{(home / STORE).resolve()}"
    file = None if home == root else sqlite_file(uri)
    if file is None or str(file) == ":memory:":
        return uri
    from sqlalchemy.engine import make_url

    return make_url(uri).set(database=str(home / file)).render_as_string(hide_password=False)


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite store; None for any other store, and for one in memory that has no name.

    Raises:
        TrackingError: the URI is none.
    """
    if not uri.startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        database = make_url(uri).database
    except ArgumentError:
        raise TrackingError(f"MLFLOW_TRACKING_URI: {uri!r} is no store; allowed for SQLite: sqlite:///FILE") from None
    return Path(database) if database else None


def without_password(uri: str) -> str:
    """A URI for messages: without user and password."""
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(uri)
    except ArgumentError:  # not a URL but a keyword of MLflow such as `databricks`
        return uri
    return URL.create(url.drivername, None, None, url.host, url.port, url.database, url.query).render_as_string()

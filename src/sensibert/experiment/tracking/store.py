"""The MLflow store: built whole or not at all, one sync at a time, plain errors; and its artifacts without a server."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sensibert.errors import TrackingError, is_no_room
from sensibert.experiment.tracking.places import ARTIFACTS_FOLDER, STORE, sqlite_file, without_password, workspace
from sensibert.io import replacing

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

_ARTIFACTS_SCHEME = "mlflow-artifacts"
_LOCK_SECONDS = 120
_SQLITE = b"SQLite format 3\x00"
"""What a SQLite database begins with, unless it is empty."""
_MLFLOW_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # by default it retries an unreachable server for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines for every run
}
"""Used unless the user has set them."""


@dataclass(frozen=True)
class Store:
    """The MLflow experiment of one profile, in an open store."""

    client: MlflowClient
    experiment: Experiment
    artifacts: Path | None
    """The folder of `mlflow-artifacts:` if no server keeps it."""

    @property
    def id(self) -> str:
        """Of the experiment."""
        found: str = self.experiment.experiment_id
        return found

    def remove(self, artifact_uri: str) -> None:
        """Remove the artifacts of a deleted run or model, `.../ID/artifacts`, unless a server keeps them."""
        scheme, _, place = artifact_uri.partition(":")
        if self.artifacts is not None and scheme == _ARTIFACTS_SCHEME:
            shutil.rmtree((self.artifacts / place.lstrip("/")).parent, ignore_errors=True)


def experiment_name(profile: str) -> str:
    """What a profile's experiment is called in MLflow."""
    return f"sensibert/{profile}"


@contextmanager
def opened(uri: str, profile: str, root: Path) -> Iterator[Store]:
    """Within the block, no other sync of this machine writes to the store; what is not there yet is made.

    Raises:
        TrackingError: the store cannot be reached or written; also for whatever MLflow raises within the block.
    """
    with _plain_errors(uri), _defaults(_MLFLOW_SETTINGS), quiet(), lock(uri, root), _artifacts_beside(uri):
        yield _open(uri, experiment_name(profile))


def experiment_id(uri: str, profile: str) -> str | None:
    """The id of a profile's experiment; None if it, or the store, is not there or cannot be read. Makes nothing."""
    database = sqlite_file(uri)
    if database is None:
        return _id_on_server(uri, experiment_name(profile))
    query = "SELECT experiment_id FROM experiments WHERE name = ? AND lifecycle_stage = 'active'"
    try:  # without MLflow, whose import takes seconds
        with closing(_read_only(database)) as connection:
            found = connection.execute(query, [experiment_name(profile)]).fetchone()
    except sqlite3.Error:
        return None
    return str(found[0]) if found else None


def _id_on_server(uri: str, name: str) -> str | None:
    try:
        with _plain_errors(uri), _defaults(_MLFLOW_SETTINGS), quiet():
            from mlflow import MlflowClient

            _check_database(uri)
            found = MlflowClient(tracking_uri=uri).get_experiment_by_name(name)
    except TrackingError:
        return None
    return None if found is None else str(found.experiment_id)


def _open(uri: str, name: str) -> Store:
    _check_database(uri)
    build_store(sqlite_file(uri))
    from mlflow import MlflowClient
    from mlflow.entities import LifecycleStage

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    database = sqlite_file(uri)
    found = client.get_experiment_by_name(name)
    if found is None:
        # MLflow turns a local folder into an absolute path, which breaks when the repository moves. Its own
        # scheme `mlflow-artifacts:` is resolved by the UI instead, to mlartifacts in the directory where it starts.
        location = None if database is None else f"{_ARTIFACTS_SCHEME}:/{name}"
        found = client.get_experiment(client.create_experiment(name, artifact_location=location))
    if found.lifecycle_stage != LifecycleStage.ACTIVE:
        raise TrackingError(
            f"the MLflow experiment {name} was deleted; "
            f"bring it back with `mlflow experiments restore --experiment-id {found.experiment_id}`"
        )
    return Store(client, found, database and database.parent / ARTIFACTS_FOLDER)


@contextmanager
def _artifacts_beside(uri: str) -> Iterator[None]:
    """Within the block, MLflow writes the `mlflow-artifacts:` of a SQLite store where the UI's server looks for them.

    Without a server it would refuse them.
    """
    database = sqlite_file(uri)
    if database is None:
        yield
        return
    from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry as registry
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    folder = database.parent.resolve() / ARTIFACTS_FOLDER

    class Beside(LocalArtifactRepository):
        """The folder next to the store."""

        def __init__(self, artifact_uri: str, **_: Any) -> None:
            place = artifact_uri.removeprefix(f"{_ARTIFACTS_SCHEME}:").lstrip("/")
            super().__init__((folder / place).as_uri())

        def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
            """Take a folder in, such as a model, without a second copy of its files where the disk can do that."""
            target = Path(self.artifact_dir, artifact_path or "")
            shutil.copytree(local_dir, target, copy_function=_link_or_copy, dirs_exist_ok=True)

    served = registry.get_registered_artifact_repositories()[_ARTIFACTS_SCHEME]
    registry.register(_ARTIFACTS_SCHEME, Beside)
    try:
        yield
    finally:
        registry.register(_ARTIFACTS_SCHEME, served)


def _link_or_copy(source: str, target: str) -> None:
    """A second name for a file: DVC and this project replace files, and never write into them."""
    Path(target).unlink(missing_ok=True)
    try:
        os.link(Path(source).resolve(), target)
    except OSError:  # another disk, or one that has no links
        shutil.copyfile(source, target)


def build_store(database: Path | None) -> None:
    """Make a SQLite store that is not there, whole or not at all.

    MLflow takes seconds to create its tables, and a store in which that was interrupted stays broken. So it is built
    beside its place, and one that was left half made is built again: it holds no run.
    """
    if database is None or (database.exists() and not is_half_made(database)):
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with replacing(database) as beside:
        store = SqlAlchemyStore(f"sqlite:///{beside}", str(database.parent / ARTIFACTS_FOLDER))
        store.engine.dispose()


def is_half_made(database: Path) -> bool:
    """Whether a SQLite file has only tables of MLflow, and not even the experiment that MLflow begins with."""
    from mlflow.store.db.base_sql_model import Base
    from mlflow.store.tracking.dbmodels import initial_models

    known = {*Base.metadata.tables, *initial_models.Base.metadata.tables, "alembic_version"}
    try:
        with closing(_read_only(database)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            own = all(name in known or name.startswith(("_alembic_tmp_", "sqlite_")) for name in tables)
            begun = "experiments" in tables and connection.execute("SELECT count(*) FROM experiments").fetchone()[0]
    except sqlite3.Error:  # not a database, or in use: MLflow says what is wrong
        return False
    return own and not begun


def _read_only(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)


def _check_database(uri: str) -> None:
    """Connect once: MLflow would try a database that does not answer for minutes."""
    from mlflow.store.db.db_types import DATABASE_ENGINES
    from sqlalchemy import create_engine, inspect

    if not uri.startswith(tuple(DATABASE_ENGINES)):
        return
    engine = create_engine(uri)
    try:
        inspect(engine).get_table_names()
    finally:
        engine.dispose()


@contextmanager
def lock(uri: str, root: Path) -> Iterator[None]:
    """One sync at a time: a fresh SQLite store breaks when two processes initialize it at once."""
    from filelock import FileLock, Timeout

    database = sqlite_file(uri)
    if uri.startswith("sqlite"):
        _check_file(uri, database)
    database = database or workspace(root) / STORE
    try:
        with FileLock(database.with_name(f"{database.name}.lock"), timeout=_LOCK_SECONDS):
            yield
    except Timeout:
        raise TrackingError(f"another sync has been running for {_LOCK_SECONDS} s; try again when it is done") from None


def _check_file(uri: str, database: Path | None) -> None:
    """Refuse a SQLite store that cannot be one before a lock is left beside it, or waited for.

    Where there are no locks, filelock and SQLite would try for minutes.
    """
    from sqlalchemy.engine import make_url

    make_url(uri).get_dialect()  # raises for a driver that is not there
    problem = None
    if database is None or database.name == ":memory:":
        problem = "it is in memory alone, and would be gone with this command"
    elif not database.parent.is_dir():
        problem = f"there is no folder {database.parent}"
    elif database.exists() and not database.is_file():
        problem = f"{database} is no file"
    elif database.exists() and not _may_be_sqlite(database):
        problem = f"{database} is no SQLite database"
    else:
        problem = _no_locks(database.parent)
    if problem is not None:
        raise TrackingError(f"cannot use the MLflow store {without_password(uri)}: {problem}")


def _may_be_sqlite(database: Path) -> bool:
    with database.open("rb") as file:
        return file.read(len(_SQLITE)) in (_SQLITE, b"")


def _no_locks(folder: Path) -> str | None:
    """Why the files of a folder cannot be locked; tried on one that has no name."""
    try:
        import fcntl
    except ImportError:  # Windows, whose files can
        return None
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # what filelock does
            fcntl.flock(file, fcntl.LOCK_UN)
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # what SQLite does
    except OSError as error:
        return f"no file can be written and locked in {folder} ({error.strerror or error})"
    return None


@contextmanager
def _plain_errors(uri: str) -> Iterator[None]:
    """Turn what MLflow and SQLAlchemy raise into one `TrackingError` without secrets."""
    try:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError:
        raise TrackingError("MLflow is not installed; install it with `pip install 'sensibert[pipeline]'`") from None
    try:
        yield
    except (MlflowException, SQLAlchemyError, ImportError, OSError) as error:
        if is_no_room(error):
            raise  # another store would not help
        store = without_password(uri)
        reason = str(error).strip().replace(uri, store).splitlines()[0]
        raise TrackingError(
            f"cannot use the MLflow store {store} ({reason}); "
            "set MLFLOW_TRACKING_URI to another one, or unset it for the one in mlflow.db"
        ) from error


@contextmanager
def _defaults(settings: Mapping[str, str]) -> Iterator[None]:
    """Within the block, environment variables that the user has not set are set."""
    added = {key: value for key, value in settings.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            del os.environ[key]


@contextmanager
def quiet() -> Iterator[None]:
    """Hide progress notes, warnings and retries, and the traceback that MLflow logs of each error that it raises."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic", "urllib3")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

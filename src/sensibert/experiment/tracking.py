"""MLflow as an idempotent projection of the DVC artifacts.

A stage that DVC restores from its cache does not run, so runs are not logged during training: they
are derived from the artifacts afterwards. A cell's run is identified by the cell and the hash of its
artifacts. Syncing the same artifacts again changes nothing; new or changed cells become child runs
of one new parent run. A run gets its hash last, so a run without one belongs to a sync that was
killed, and the next sync replaces it.

A lock makes the syncs on one machine wait for each other. Several machines that write to one server at
the same time should use profiles of different names.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shlex
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sensibert.config.grid import Cell, SearchedCell
from sensibert.config.methods import METHODS
from sensibert.config.params import Params
from sensibert.config.paths import Paths
from sensibert.data.tasks import TASKS
from sensibert.errors import TrackingError, is_no_room
from sensibert.experiment.provenance import git_state, params_hash
from sensibert.io import read_json, read_record, replacing
from sensibert.results import CurvePoint, History, RateCurve, Result, Trial, best_first

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

CELL_STAGES = ("finetune", "evaluate")
"""The DVC stages whose artifacts make up a cell's run."""

TAG_CELL = "sensibert.cell"
TAG_HASH = "sensibert.artifact_hash"
TAG_CURRENT = "sensibert.current"
TAG_PARAMS_HASH = "sensibert.params_hash"
TAG_PARENT = "mlflow.parentRunId"
TAG_COMMIT = "mlflow.source.git.commit"

ARTIFACTS_FOLDER = "mlartifacts"
"""Next to a SQLite store; where `mlflow ui` looks by default."""

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
class SyncReport:
    """What a sync did."""

    store: str
    """Tracking URI, without a password."""
    experiment: str
    created: int
    """Cells and trials that got a new run."""
    kept: int
    """Cells and trials that already had a run."""
    missing: tuple[str, ...]
    """Cells of the grid that are not computed yet."""


@dataclass(frozen=True)
class _CellRun:
    """What the stages wrote for one cell, or for one trial of a search."""

    name: str
    tags: dict[str, str]
    params: dict[str, Any]
    metrics: dict[str, float]
    curve: list[tuple[str, float, int]]
    """Name, value and step."""
    provenance: dict[str, dict[str, Any]]
    """DVC stage -> its provenance, if there is one."""
    hash: str

    @property
    def identity(self) -> tuple[str, str]:
        return self.name, self.hash

    @property
    def times(self) -> tuple[int, int]:
        """Start and end in milliseconds since 1970."""
        moments = [
            datetime.fromisoformat(about[key]) for about in self.provenance.values() for key in ("started", "finished")
        ] or [datetime.now(UTC)]
        return int(min(moments).timestamp() * 1000), int(max(moments).timestamp() * 1000)


@dataclass(frozen=True)
class _Experiment:
    client: MlflowClient
    id: str
    artifacts: Path | None
    """Where the files of `mlflow-artifacts:` are if no server stores them."""


def tracking_uri(root: Path = Path()) -> str:
    """`MLFLOW_TRACKING_URI`, or the SQLite store in the repository root."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(root / 'mlflow.db').resolve()}"


def how_to_open(uri: str, root: Path = Path()) -> str:
    """The command or address that opens the MLflow UI of a store."""
    if uri.startswith(("http:", "https:", "databricks")):
        return _without_password(uri)
    database = _sqlite_file(uri)
    if database is not None and database.resolve() == (root / "mlflow.db").resolve():
        return "make ui"
    command = ["mlflow", "ui", "--backend-store-uri", _without_password(uri)]
    if database is not None:
        command += ["--artifacts-destination", str(database.parent / ARTIFACTS_FOLDER)]
    return shlex.join(command)


def sync(params: Params, paths: Paths, uri: str | None = None) -> SyncReport:
    """Bring the MLflow store up to date with the artifacts of the grid.

    Args:
        params: the active profile.
        paths: where its artifacts are.
        uri: the tracking URI; by default what `tracking_uri` says.

    Raises:
        TrackingError: the store cannot be reached or written.
        ArtifactError: an artifact is damaged.
    """
    uri = uri or tracking_uri(paths.root)
    complete = [cell for cell in params.cells() if paths.metrics(cell).exists()]
    searched = [cell for cell in params.searched_cells() if paths.search(cell).exists()]
    evidence = [_of_cell(params, paths, cell) for cell in complete]
    evidence += [trial for cell in searched for trial in _of_trials(params, paths, cell)]
    with _plain_errors(uri), _defaults(_MLFLOW_SETTINGS), _quiet(), _lock(uri, paths.root):
        experiment = _open_experiment(uri, f"sensibert/{params.profile}")
        created = _project(experiment, params, paths, evidence)
    return SyncReport(
        store=_without_password(uri),
        experiment=f"sensibert/{params.profile}",
        created=created,
        kept=len(evidence) - created,
        missing=tuple(cell.name for cell in params.cells() if cell not in complete),
    )


def _of_cell(params: Params, paths: Paths, cell: Cell) -> _CellRun:
    history, metrics = paths.history(cell), paths.metrics(cell)
    provenance = _read_provenance(paths, CELL_STAGES, cell.name)
    result = read_record(metrics, Result)
    return _CellRun(
        name=cell.name,
        tags={"budget": str(cell.budget)} | _tags(params, cell, CELL_STAGES[0]),
        params=_cell_params(_at_found_rate(params, paths, cell), cell),
        metrics=_final_metrics(result, provenance),
        curve=_curve_metrics(read_record(history, History).log) if history.exists() else [],
        provenance=provenance,
        hash=_hash_files(metrics, history),
    )


def _of_trials(params: Params, paths: Paths, cell: SearchedCell) -> list[_CellRun]:
    files = [paths.search(cell) / name for name in ("trials.json", "metrics.json")]
    trials = read_record(files[0], list[Trial])
    best = best_first(trials)[0]
    reached = {"validation": read_json(files[1])[TASKS[cell.task].primary_metric]}
    shared = params.model_dump(mode="json", include={"data", "model", "training"})
    return [
        _CellRun(
            name=f"search-{cell.name}-{trial.number}",
            tags={"state": trial.state} | _tags(params, cell, "search"),
            params=shared
            | {"task": cell.task, "method": cell.method, "seed": cell.seed}
            | {"batch_size": trial.batch_size, "learning_rate": trial.learning_rate},
            metrics={"dev": trial.dev[-1]} | (reached if trial == best else {}),
            curve=[("dev", value, epoch) for epoch, value in enumerate(trial.dev, start=1)],
            provenance=_read_provenance(paths, ("search",), cell.name),
            hash=_hash_files(*files),
        )
        for trial in trials
    ]


def _tags(params: Params, cell: Cell | SearchedCell, stage: str) -> dict[str, str]:
    about = {"task": cell.task, "method": cell.method, "seed": str(cell.seed)}
    return about | {"stage": stage, "profile": params.profile}


def _read_provenance(paths: Paths, stages: Iterable[str], name: str) -> dict[str, dict[str, Any]]:
    files = {stage: paths.provenance(stage, name) for stage in stages}
    return {stage: read_json(file) for stage, file in files.items() if file.exists()}


def _hash_files(*files: Path) -> str:
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else "" for file in files]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


# ── the store ────────────────────────────────────────────────────────────────────────────────────


def _open_experiment(uri: str, name: str) -> _Experiment:
    _check_database(uri)
    _build_store(_sqlite_file(uri))
    from mlflow import MlflowClient
    from mlflow.entities import LifecycleStage

    client = MlflowClient(tracking_uri=uri)
    database = _sqlite_file(uri)
    found = client.get_experiment_by_name(name)
    if found is None:
        # MLflow turns a local folder into an absolute path, which breaks when the repository moves. Its own
        # scheme `mlflow-artifacts:` is resolved by the UI instead, to mlartifacts in the directory where it starts.
        location = None if database is None else f"mlflow-artifacts:/{name}"
        found = client.get_experiment(client.create_experiment(name, artifact_location=location))
    if found.lifecycle_stage != LifecycleStage.ACTIVE:
        raise TrackingError(
            f"the MLflow experiment {name} was deleted; "
            f"bring it back with `mlflow experiments restore --experiment-id {found.experiment_id}`"
        )
    return _Experiment(client, found.experiment_id, database and database.parent / ARTIFACTS_FOLDER)


def _build_store(database: Path | None) -> None:
    """Make a SQLite store that is not there, whole or not at all.

    MLflow takes seconds to create its tables, and a store in which that was interrupted stays broken. So it is built
    beside its place, and one that was left half made is built again: it holds no run.
    """
    if database is None or (database.exists() and not _is_half_made(database)):
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with replacing(database) as beside:
        store = SqlAlchemyStore(f"sqlite:///{beside}", str(database.parent / ARTIFACTS_FOLDER))
        store.engine.dispose()


def _is_half_made(database: Path) -> bool:
    """Whether a SQLite file has only tables of MLflow, and not even the experiment that MLflow begins with."""
    from mlflow.store.db.base_sql_model import Base
    from mlflow.store.tracking.dbmodels import initial_models

    known = {*Base.metadata.tables, *initial_models.Base.metadata.tables, "alembic_version"}
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            own = all(name in known or name.startswith(("_alembic_tmp_", "sqlite_")) for name in tables)
            begun = "experiments" in tables and connection.execute("SELECT count(*) FROM experiments").fetchone()[0]
    except sqlite3.Error:  # not a database, or in use: MLflow says what is wrong
        return False
    return own and not begun


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


def _sqlite_file(uri: str) -> Path | None:
    if not uri.startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        database = make_url(uri).database
    except ArgumentError:
        raise TrackingError(f"MLFLOW_TRACKING_URI: {uri!r} is no store; allowed for SQLite: sqlite:///FILE") from None
    return Path(database) if database else None


def _without_password(uri: str) -> str:
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(uri)
    except ArgumentError:  # not a URL but a keyword of MLflow such as `databricks`
        return uri
    return URL.create(url.drivername, None, None, url.host, url.port, url.database, url.query).render_as_string()


@contextmanager
def _lock(uri: str, root: Path) -> Iterator[None]:
    """One sync at a time: a fresh SQLite store breaks when two processes initialize it at once."""
    from filelock import FileLock, Timeout

    database = _sqlite_file(uri)
    if uri.startswith("sqlite"):
        _check_file(uri, database)
    database = database or root / "mlflow.db"
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
        raise TrackingError(f"cannot use the MLflow store {_without_password(uri)}: {problem}")


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
        store = _without_password(uri)
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
def _quiet() -> Iterator[None]:
    """Hide progress notes and retries, and the traceback that MLflow logs of each error that it raises."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic", "urllib3")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


# ── the projection ───────────────────────────────────────────────────────────────────────────────


def _project(experiment: _Experiment, params: Params, paths: Paths, evidence: list[_CellRun]) -> int:
    """Create the missing runs and mark the current ones; returns the number of new runs."""
    client = experiment.client
    runs = _active_runs(experiment)
    cell_runs = {run.info.run_id: run for run in runs if TAG_CELL in run.data.tags}
    finished = {key: run for key, run in cell_runs.items() if TAG_HASH in run.data.tags}
    for run_id in cell_runs.keys() - finished.keys():
        client.delete_run(run_id)
    known = {(run.data.tags[TAG_CELL], run.data.tags[TAG_HASH]): key for key, run in finished.items()}

    new = [item for item in evidence if item.identity not in known]
    unfinished = [run for run in runs if TAG_PARAMS_HASH in run.data.tags and run.info.status == "RUNNING"]
    parent = _create_runs(experiment, params, paths, new, unfinished) if new else None
    _close_parents(client, {run.info.run_id for run in unfinished} - {parent}, finished.values())

    current = {known[item.identity] for item in evidence if item.identity in known}
    for run_id, run in finished.items():
        flag = str(run_id in current).lower()
        if run.data.tags.get(TAG_CURRENT) != flag:
            client.set_tag(run_id, TAG_CURRENT, flag)
    return len(new)


def _active_runs(experiment: _Experiment) -> list[Run]:
    runs: list[Run] = []
    token: str | None = None
    while True:
        page = experiment.client.search_runs([experiment.id], max_results=1000, page_token=token)
        runs.extend(page)
        token = page.token
        if not token:
            return runs


def _create_runs(
    experiment: _Experiment, params: Params, paths: Paths, new: list[_CellRun], unfinished: list[Run]
) -> str:
    """Create one parent run with a child for each new cell; returns the parent's id."""
    parent = _open_parent(experiment, params, paths, new, unfinished)
    for item in new:
        _create_child_run(experiment, item, parent)
    experiment.client.set_terminated(parent, end_time=max(item.times[1] for item in new))
    return parent


def _open_parent(
    experiment: _Experiment, params: Params, paths: Paths, new: list[_CellRun], unfinished: list[Run]
) -> str:
    """The parent of the new cells: one that a killed sync left with the same parameters, or a new one."""
    from mlflow.entities import Param

    content = params.model_dump(mode="json")
    digest = params_hash(content)
    left = next((run for run in unfinished if run.data.tags[TAG_PARAMS_HASH] == digest), None)
    start = min(item.times[0] for item in new)
    tags = {"stage": "pipeline", "profile": params.profile, TAG_PARAMS_HASH: digest}
    parent = left or experiment.client.create_run(
        experiment.id,
        start_time=start,
        run_name=f"{params.profile} {datetime.fromtimestamp(start / 1000, UTC):%Y-%m-%d %H:%M:%S}",
        tags=tags | _commit_tag(git_state(paths.root)),
    )
    run_id: str = parent.info.run_id
    experiment.client.log_batch(
        run_id, params=[Param(key, text) for key, text in _flatten(content).items()], synchronous=True
    )
    _store_files(experiment, parent, paths)
    return run_id


def _close_parents(client: MlflowClient, left: set[str], cell_runs: Iterable[Run]) -> None:
    """Finish what a killed sync left open; a parent without children is deleted."""
    with_children = {run.data.tags.get(TAG_PARENT) for run in cell_runs}
    for run_id in left:
        if run_id in with_children:
            client.set_terminated(run_id)
        else:
            client.delete_run(run_id)


def _create_child_run(experiment: _Experiment, item: _CellRun, parent: str) -> None:
    from mlflow.entities import Metric, Param, RunTag

    client = experiment.client
    start, end = item.times
    (git, *_) = (about.get("git", {}) for about in (*item.provenance.values(), {}))
    tags = {TAG_CELL: item.name, TAG_PARENT: parent, **item.tags, **_commit_tag(git)}
    run_id = client.create_run(experiment.id, start_time=start, tags=tags, run_name=item.name).info.run_id
    metrics = [
        *(Metric(key, value, end, 0) for key, value in item.metrics.items() if key not in {k for k, *_ in item.curve}),
        *(Metric(key, value, end, step) for key, value, step in item.curve),
    ]
    texts = [Param(key, text) for key, text in _flatten(item.params).items()]
    client.log_batch(run_id, metrics=metrics, params=texts, synchronous=True)
    client.set_terminated(run_id, end_time=end)
    client.log_batch(run_id, tags=[RunTag(TAG_CURRENT, "true"), RunTag(TAG_HASH, item.hash)], synchronous=True)


def _at_found_rate(params: Params, paths: Paths, cell: Cell) -> Params:
    """The parameters with the rate that was searched for a cell, if one was."""
    settings, file = params.settings_of(cell.method), paths.rate(cell.point)
    if getattr(settings, "learning_rate", None) != "searched" or not file.exists():
        return params
    return params.at_rate(cell.method, read_record(file, RateCurve).rate)


def _cell_params(params: Params, cell: Cell) -> dict[str, Any]:
    """Everything in the parameters that shapes this cell."""
    sections = params.model_dump(mode="json", include={"data", "model", "training"})
    if cell.is_pruned:
        sections |= params.model_dump(mode="json", include={"scoring", "masking"})
        if criterion := METHODS[cell.method].criterion:
            sections["masking"] = {"budget_kind": params.masking.budget_kind, **params.masking.options(criterion)}
    return {**cell._asdict(), **params.settings_of(cell.method).model_dump(), **sections}


def _flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested keys joined by dots; text as is, everything else as JSON."""
    flat: dict[str, str] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return flat


def _final_metrics(result: Result, provenance: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    seconds = {f"{stage}_seconds": about["seconds"] for stage, about in provenance.items()}
    return {
        **result.metrics,
        "primary": result.primary,
        "examples": result.examples,
        **asdict(result.cost),
        **seconds,
    }


def _curve_metrics(curve: list[CurvePoint]) -> list[tuple[str, float, int]]:
    """Name, value and step of every number in the training curve."""
    return [
        (f"train/{name}", getattr(point, name), int(point.step))
        for point in curve
        for name in ("loss", "learning_rate")
    ]


def _commit_tag(git: Mapping[str, Any]) -> dict[str, str]:
    return {TAG_COMMIT: git["revision"]} if git.get("revision") else {}


def _store_files(experiment: _Experiment, run: Run, paths: Paths) -> None:
    """Attach the parameter file and the report to a run."""
    files = {path: "" for path in [paths.root / "params.yaml"] if path.is_file()}
    for path in sorted(paths.reports.rglob("*")):
        if path.is_file():
            files[path] = (Path("reports") / path.relative_to(paths.reports).parent).as_posix()
    for path, folder in files.items():
        _store_file(experiment, run, path, folder)


def _store_file(experiment: _Experiment, run: Run, path: Path, folder: str) -> None:
    scheme, _, place = run.info.artifact_uri.partition(":")
    if scheme == "mlflow-artifacts" and experiment.artifacts is not None:
        target = experiment.artifacts / place.lstrip("/") / folder
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / path.name)
    else:
        experiment.client.log_artifact(run.info.run_id, str(path), folder or None)

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from typer.testing import CliRunner

from sensibert.cli import app
from sensibert.config.params import Params, load_params, parse_params
from sensibert.config.paths import Paths
from sensibert.errors import ArtifactError, TrackingError
from sensibert.experiment import tracking
from sensibert.experiment.tracking import TAG_CELL, TAG_CURRENT, TAG_HASH, TAG_PARENT, sync
from sensibert.io import write_json, write_record
from sensibert.results import Cost, CurvePoint, History, RateCurve, Result, Trial

ROOT = Path(__file__).parents[2]
POINTS = 20


@pytest.fixture(scope="module")
def initialized(tmp_path_factory) -> Path:
    """A store with tables and nothing else: to make them takes MLflow seconds."""
    database = tmp_path_factory.mktemp("store") / "mlflow.db"
    with tracking._quiet():
        MlflowClient(tracking_uri=f"sqlite:///{database}").search_experiments()
    return database


@pytest.fixture(autouse=True)
def _without_inherited_settings(monkeypatch):
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)


def some_params() -> Params:
    """The profile tiny with a second criterion and a second tuning method."""
    content = yaml.safe_load((ROOT / "profiles" / "tiny.yaml").read_text(encoding="utf-8"))
    content |= {"criteria": ["sensitivity", "magnitude"], "tuning": ["full", "bitfit"]}
    content["methods"]["magnitude"] = {"learning_rate": 1.0e-3}
    return parse_params(content)


@pytest.fixture
def params() -> Params:
    return some_params()


@pytest.fixture
def three_cells(params) -> Params:
    """A part of the grid."""
    small = params.model_copy(update={"pruning": [], "peft": [], "peft_budgets": [], "tuning": ["full"]})
    assert len(small.cells()) == 3
    return small


@pytest.fixture
def paths(tmp_path, params, initialized) -> Paths:
    shutil.copyfile(initialized, tmp_path / "mlflow.db")
    paths = Paths(params.profile, tmp_path)
    make_artifacts(paths, params)
    return paths


def make_artifacts(paths: Paths, params: Params, accuracy: float = 87.5) -> None:
    for cell in params.cells():
        write_metrics(paths, cell, accuracy)
        log = [CurvePoint(10.0 * i, 0.1 * i, 1 / i, 1e-4) for i in range(1, POINTS + 1)]
        write_record(paths.rate(cell.point), RateCurve(1e-3, []))
        write_record(paths.history(cell), History(300, 300, 0, log=log, steps=10 * POINTS, chosen={}, tokens=12))
        for stage, start, end in (("finetune", "00:00:00", "00:01:00"), ("evaluate", "00:01:00", "00:01:10")):
            about = {
                "seconds": 12.5,
                "started": f"2025-01-02T{start}.000+00:00",
                "finished": f"2025-01-02T{end}.000+00:00",
                "git": {"revision": "c0ffee", "dirty": False},
            }
            write_json(paths.provenance(stage, cell.name), about)


def write_metrics(paths: Paths, cell, accuracy: float) -> None:
    cost = Cost(
        trainable_parameters=300,
        stored_parameters=300,
        extra_passes=0.0,
        prunable_parameters=100,
        prunable_kept=cell.budget,
        encoder_parameters=200,
        total_parameters=300,
        macs=4000,
        tokens=12,
        model_bytes=1200,
    )
    metrics = {"accuracy": accuracy, "f1": 80.0}
    write_record(paths.metrics(cell), Result(*cell, metrics, primary_metric="accuracy", examples=50, cost=cost))


def client_of(paths: Paths) -> MlflowClient:
    return MlflowClient(tracking_uri=tracking.tracking_uri(paths.root))


def runs_of(paths: Paths):
    client = client_of(paths)
    experiment = client.get_experiment_by_name(f"sensibert/{paths.profile}")
    runs = client.search_runs([experiment.experiment_id])
    cells = [run for run in runs if TAG_CELL in run.data.tags]
    return cells, [run for run in runs if TAG_CELL not in run.data.tags]


@pytest.fixture(scope="module")
def synced(tmp_path_factory, initialized):
    """The paths of a store that a sync has brought up to date, and what the sync reported; for reading alone."""
    paths = Paths("tiny", tmp_path_factory.mktemp("synced"))
    params = some_params()
    shutil.copyfile(initialized, paths.root / "mlflow.db")
    make_artifacts(paths, params)
    (searched,) = params.searched_cells()
    trials = [Trial(0, 8, 1e-3, "complete", [75.0, 80.0]), Trial(1, 8, 1e-2, "pruned", [60.0])]
    write_json(paths.search(searched) / "trials.json", [asdict(trial) for trial in trials])
    write_json(paths.search(searched) / "metrics.json", {"accuracy": 79.0, "dev": 80.0})
    (paths.root / "params.yaml").write_text("profile: tiny\n")
    paths.reports.mkdir(parents=True)
    (paths.reports / "table.md").write_text("| table |\n")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
            patch.delenv(name)
        return paths, sync(params, paths)


def test_one_child_run_per_cell_and_trial_under_one_parent(params, synced):
    paths, report = synced
    (searched,) = params.searched_cells()
    assert (report.created, report.kept, report.missing) == (len(params.cells()) + 2, 0, ())
    cells, (parent,) = runs_of(paths)
    names = [*(cell.name for cell in params.cells()), *(f"search-{searched.name}-{number}" for number in (0, 1))]
    assert sorted(run.info.run_name for run in cells) == sorted(names)
    assert {run.data.tags[TAG_PARENT] for run in cells} == {parent.info.run_id}
    assert {run.info.status for run in [*cells, parent]} == {"FINISHED"}
    assert json.loads(parent.data.params["budgets"]) == params.budgets
    assert parent.data.params["training.batch_size"] == "8"


def test_the_best_trial_of_a_search_knows_its_validation_metric(params, synced):
    (searched,) = params.searched_cells()
    found = {run.info.run_name: run.data for run in runs_of(synced[0])[0] if run.data.tags["stage"] == "search"}
    assert {name: data.metrics for name, data in found.items()} == {
        f"search-{searched.name}-0": {"dev": 80.0, "validation": 79.0},
        f"search-{searched.name}-1": {"dev": 60.0},
    }
    assert found[f"search-{searched.name}-1"].params["learning_rate"] == "0.01"


def test_a_cell_run_tells_what_it_was(synced):
    paths, _ = synced
    run = next(run for run in runs_of(paths)[0] if run.info.run_name == "sst2-sensitivity-0.5-0")
    tags = run.data.tags
    assert [tags[key] for key in ("task", "method", "budget", "seed", "stage", "profile")] == [
        "sst2", "sensitivity", "0.5", "0", "finetune", "tiny",
    ]  # fmt: skip
    assert tags["mlflow.source.git.commit"] == "c0ffee"
    assert tags[TAG_CURRENT] == "true"
    assert run.data.params["learning_rate"] == "0.001"
    assert run.data.params["model.backbone"] == "tiny-bert"
    assert run.data.params["scoring.mask_learning_rate"] == "0.01"
    assert run.data.params["masking.rank_by"] == "score"
    metrics = run.data.metrics
    assert (metrics["accuracy"], metrics["primary"], metrics["f1"]) == (87.5, 87.5, 80.0)
    assert (metrics["prunable_kept"], metrics["total_parameters"]) == (0.5, 300)
    assert (metrics["finetune_seconds"], metrics["evaluate_seconds"]) == (12.5, 12.5)
    assert (run.info.end_time - run.info.start_time) == 70_000
    history = client_of(paths).get_metric_history(run.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(10 * i, 1 / i) for i in range(1, POINTS + 1)]


def test_a_dense_cell_has_no_scoring_parameters(synced):
    run = next(run for run in runs_of(synced[0])[0] if run.info.run_name == "sst2-full-0")
    assert not [key for key in run.data.params if key.startswith(("scoring", "masking"))]


def test_the_parent_carries_params_and_report_beside_the_store(synced):
    paths, _ = synced
    _, (parent,) = runs_of(paths)
    assert parent.info.artifact_uri == f"mlflow-artifacts:/sensibert/tiny/{parent.info.run_id}/artifacts"
    folder = paths.root / "mlartifacts" / "sensibert" / "tiny" / parent.info.run_id / "artifacts"
    assert (folder / "params.yaml").read_text() == "profile: tiny\n"
    assert (folder / "reports" / "table.md").read_text() == "| table |\n"


def test_the_same_artifacts_create_nothing_again(three_cells, paths):
    sync(three_cells, paths)
    before = [run.to_dictionary() for runs in runs_of(paths) for run in runs]
    for _ in range(2):
        report = sync(three_cells, paths)
        assert (report.created, report.kept) == (0, len(three_cells.cells()))
    assert [run.to_dictionary() for runs in runs_of(paths) for run in runs] == before


def test_new_times_alone_are_no_new_run(three_cells, paths):
    sync(three_cells, paths)
    shutil.rmtree(paths.data / "provenance")
    assert sync(three_cells, paths).created == 0


def test_a_changed_cell_gets_one_new_run_and_the_old_one_is_no_longer_current(three_cells, paths):
    sync(three_cells, paths)
    cell = three_cells.cells()[0]
    write_metrics(paths, cell, 90.0)
    report = sync(three_cells, paths)
    assert (report.created, report.kept) == (1, len(three_cells.cells()) - 1)
    cells, parents = runs_of(paths)
    assert (len(cells), len(parents)) == (len(three_cells.cells()) + 1, 2)
    of_cell = {run.data.metrics["accuracy"]: run for run in cells if run.data.tags[TAG_CELL] == cell.name}
    assert {accuracy: run.data.tags[TAG_CURRENT] for accuracy, run in of_cell.items()} == {87.5: "false", 90.0: "true"}
    assert of_cell[87.5].data.tags[TAG_PARENT] != of_cell[90.0].data.tags[TAG_PARENT]
    assert sum(run.data.tags[TAG_CURRENT] == "true" for run in cells) == len(three_cells.cells())

    write_metrics(paths, cell, 87.5)
    assert sync(three_cells, paths).created == 0
    current = {run.info.run_id for run in runs_of(paths)[0] if run.data.tags[TAG_CURRENT] == "true"}
    assert of_cell[87.5].info.run_id in current
    assert of_cell[90.0].info.run_id not in current


def test_cells_that_left_the_grid_are_no_longer_current(params, paths):
    sync(params, paths)
    smaller = params.model_copy(update={"criteria": ["magnitude"]})
    assert sync(smaller, paths).created == 0
    flags = {run.data.tags["method"]: run.data.tags[TAG_CURRENT] for run in runs_of(paths)[0]}
    assert flags.pop("sensitivity") == "false"
    assert flags == dict.fromkeys((cell.method for cell in smaller.cells()), "true")


def test_missing_cells_are_named_and_come_later(three_cells, paths):
    absent, *_ = three_cells.cells()
    result = paths.metrics(absent)
    aside = result.rename(result.with_suffix(".aside"))
    report = sync(three_cells, paths)
    assert (report.created, report.missing) == (len(three_cells.cells()) - 1, (absent.name,))
    aside.rename(result)
    assert sync(three_cells, paths).created == 1


def test_a_damaged_artifact_is_named(params, paths):
    path = paths.metrics(params.cells()[0])
    path.write_text("{")
    with pytest.raises(ArtifactError, match=r"metrics\.json is damaged"):
        sync(params, paths)


def test_an_inherited_run_id_does_no_harm(three_cells, paths, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another")
    assert sync(three_cells, paths).created == len(three_cells.cells())
    assert sync(three_cells, paths).kept == len(three_cells.cells())


def test_artifacts_go_through_mlflow_where_the_experiment_says_so(three_cells, paths):
    (paths.root / "params.yaml").write_text("profile: tiny\n")
    folder = paths.root / "elsewhere"
    client_of(paths).create_experiment("sensibert/tiny", artifact_location=folder.as_uri())
    sync(three_cells, paths)
    assert [path.read_text() for path in folder.rglob("params.yaml")] == ["profile: tiny\n"]


class Killed(BaseException):
    """What no handler catches, as a kill."""


@pytest.mark.parametrize(
    ("method", "survived"),
    [
        ("create_run", 0),  # there is nothing
        ("log_batch", 0),  # the parent has no params
        ("create_run", 1),  # the parent has no children
        ("log_batch", 1),  # the first child has neither metrics nor params,
        ("set_terminated", 0),  # is still running,
        ("log_batch", 2),  # has no hash
        ("create_run", 2),  # one child is whole
        ("log_batch", 4),  # the second child has no hash
        ("set_terminated", 3),  # all children are whole
    ],
)
def test_a_killed_sync_is_completed_by_the_next(three_cells, paths, monkeypatch, method, survived):
    calls = []
    real = getattr(MlflowClient, method)

    def killed_later(*arguments, **settings):
        calls.append(method)
        if len(calls) > survived:
            raise Killed
        return real(*arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, method, killed_later)
        with pytest.raises(Killed):
            sync(three_cells, paths)

    sync(three_cells, paths)
    cells, parents = runs_of(paths)
    assert sorted(run.info.run_name for run in cells) == sorted(cell.name for cell in three_cells.cells())
    assert len(parents) == 1
    assert {run.data.tags[TAG_PARENT] for run in cells} == {parents[0].info.run_id}
    assert {run.info.status for run in [*cells, *parents]} == {"FINISHED"}
    assert all(len(run.data.tags[TAG_HASH]) == 64 for run in cells)
    assert sync(three_cells, paths).created == 0


def test_what_a_killed_sync_with_other_params_left_is_closed(three_cells, paths, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(tracking, "_create_child_run", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            sync(three_cells, paths)
    other = three_cells.model_copy(update={"criteria": ["magnitude"]})
    sync(other, paths)
    cells, parents = runs_of(paths)
    assert (len(cells), len(parents)) == (len(other.cells()), 1)


def test_two_first_syncs_at_once_make_no_duplicates(three_cells, tmp_path):
    paths = Paths("tiny", tmp_path)
    make_artifacts(paths, three_cells)
    params_file = tmp_path / "params.yaml"
    params_file.write_text(json.dumps(three_cells.model_dump(mode="json")))
    code = (
        "import sys; from pathlib import Path; from sensibert.config.paths import Paths;"
        "from sensibert.config.params import load_params; from sensibert.experiment.tracking import sync;"
        "print(sync(load_params(sys.argv[1]), Paths('tiny', Path(sys.argv[2]))).created)"
    )
    command = [sys.executable, "-c", code, str(params_file), str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert sorted(int(stdout) for stdout, _ in outputs) == [0, len(three_cells.cells())]
    assert [stderr for _, stderr in outputs] == ["", ""], "no migration noise"
    cells, parents = runs_of(paths)
    assert (len(cells), len(parents)) == (len(three_cells.cells()), 1)


def test_a_whole_grid_takes_seconds(params, paths):
    bigger = params.model_copy(update={"seeds": [0, 1, 2, 3, 4, 5]})
    make_artifacts(paths, bigger)
    start = time.perf_counter()
    assert sync(bigger, paths).created == len(bigger.cells()) >= 36
    assert time.perf_counter() - start < 30


def test_log_levels_and_settings_are_as_before(three_cells, paths):
    logging.getLogger("alembic").setLevel(logging.DEBUG)
    environment = dict(os.environ)
    sync(three_cells, paths)
    assert logging.getLogger("alembic").level == logging.DEBUG
    assert dict(os.environ) == environment


def test_the_environment_chooses_the_store(three_cells, paths, tmp_path, monkeypatch, initialized):
    (tmp_path / "other").mkdir()
    shutil.copyfile(initialized, tmp_path / "other" / "runs.db")
    uri = f"sqlite:///{tmp_path}/other/runs.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert sync(three_cells, paths).store == uri
    assert client_of(paths).get_experiment_by_name("sensibert/tiny") is not None
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert client_of(paths).get_experiment_by_name("sensibert/tiny") is None


def test_an_unreachable_server_fails_soon_and_keeps_the_password(params, paths):
    start = time.perf_counter()
    with pytest.raises(TrackingError, match=r"http://127\.0\.0\.1:9 .*MLFLOW_TRACKING_URI") as caught:
        sync(params, paths, "http://user:secret@127.0.0.1:9")
    assert time.perf_counter() - start < 30
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("uri", ["no-such-scheme://x", "postgresql://user:secret@127.0.0.1:9/x", "./mlruns"])
def test_a_store_that_does_not_answer_is_named_at_once(params, paths, uri):
    start = time.perf_counter()
    with pytest.raises(TrackingError, match="cannot use the MLflow store") as caught:
        sync(params, paths, uri)
    assert time.perf_counter() - start < 30
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_named_at_once(params, paths):
    (paths.root / "mlflow.db").write_text("no database " * 1000)
    with pytest.raises(TrackingError, match=r"mlflow\.db.*is no SQLite database"):
        sync(params, paths)


def test_a_deleted_experiment_says_how_to_restore_it(three_cells, paths):
    sync(three_cells, paths)
    client = client_of(paths)
    identity = client.get_experiment_by_name("sensibert/tiny").experiment_id
    client.delete_experiment(identity)
    with pytest.raises(TrackingError, match=f"restore --experiment-id {identity}"):
        sync(three_cells, paths)


def test_how_to_open(tmp_path):
    assert tracking.how_to_open(tracking.tracking_uri(tmp_path), tmp_path) == "make ui"
    assert tracking.how_to_open("https://user:secret@runs.example.org/x") == "https://runs.example.org/x"
    assert tracking.how_to_open("sqlite:////srv/runs.db") == (
        "mlflow ui --backend-store-uri sqlite:////srv/runs.db --artifacts-destination /srv/mlartifacts"
    )
    assert tracking.how_to_open("postgresql://db/x") == "mlflow ui --backend-store-uri postgresql://db/x"


@pytest.fixture
def workspace(paths, monkeypatch):
    """The repository root of a user whose store has its tables and nothing else."""
    shutil.rmtree(paths.data)
    (paths.root / "profiles").mkdir()
    for place in ("params.yaml", "profiles/tiny.yaml"):
        shutil.copyfile(ROOT / "profiles" / "tiny.yaml", paths.root / place)
    monkeypatch.chdir(paths.root)
    return paths.root


def test_track_says_where_the_runs_are(workspace):
    result = CliRunner().invoke(app, ["track"])
    assert result.exit_code == 0, result.output
    assert "mlflow.db" in result.output
    assert "sensibert/tiny" in result.output
    assert "0 created, 0 kept" in result.output
    assert f"{len(load_params().cells())} cells are not computed yet" in result.output
    assert "make ui" in result.output


def test_track_without_a_server_fails_with_a_message(workspace, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    result = CliRunner().invoke(app, ["track"])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: cannot use the MLflow store http://127.0.0.1:9 (")
    assert "secret" not in result.output

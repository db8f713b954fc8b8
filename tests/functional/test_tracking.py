import json
import logging
import os
import shutil
import sqlite3
import time
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from typer.testing import CliRunner

from sensibert.cli import app
from sensibert.config.params import Params, load_params, parse_params
from sensibert.config.paths import Paths
from sensibert.errors import ArtifactError, TrackingError
from sensibert.experiment.tracking.datasets import dvc_hash
from sensibert.experiment.tracking.places import tracking_uri
from sensibert.experiment.tracking.runs import TAG_CELL, TAG_CURRENT, TAG_HASH, TAG_KIND, TAG_PARENT
from sensibert.experiment.tracking.store import quiet
from sensibert.experiment.tracking.sync import sync
from sensibert.experiment.tracking.view import how_to_open
from sensibert.io import write_json, write_record
from sensibert.models.mask import Mask, ModuleKey, write_mask
from sensibert.results import Cost, CurvePoint, Deployed, History, RateCurve, Result, SimpleResult, Trial

ROOT = Path(__file__).parents[2]
POINTS = 20
KINDS = ("cell", "aggregate", "trial", "simple", "experiment")


@pytest.fixture(scope="module")
def initialized(tmp_path_factory) -> Path:
    """A store with tables and nothing else: to make them takes MLflow seconds."""
    database = tmp_path_factory.mktemp("store") / "mlflow.db"
    with quiet():
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


LABELS = [0, 1, 1, 0, 1]
LOGITS = [[2.0, 0.0], [0.0, 1.0], [1.5, 0.5], [0.1, 0.0], [-3.0, 3.0]]
"""Of the examples with these labels; the third is answered wrongly."""


def make_everything(paths: Paths, params: Params) -> None:
    """The artifacts of the grid with data, predictions, masks, models, latencies, a search and a report."""
    make_artifacts(paths, params)
    make_predictions(paths, params)
    for cell in params.cells():
        if cell.is_pruned:
            keep = {ModuleKey(0, "attention"): np.eye(2, 4, dtype=bool), ModuleKey(0, "feed_forward"): np.eye(1, 4) > 0}
            write_mask(paths.mask(cell), Mask(keep, dict.fromkeys(keep, 1)))
            make_model(paths, cell)
    write_json(paths.bench, [asdict(entry) for cell in params.deployed_cells() for entry in timed(cell, 0.01)])
    (searched,) = params.searched_cells()
    trials = [Trial(0, 8, 1e-3, "complete", [75.0, 80.0]), Trial(1, 8, 1e-2, "pruned", [60.0])]
    write_json(paths.search(searched) / "trials.json", [asdict(trial) for trial in trials])
    write_json(paths.search(searched) / "metrics.json", {"accuracy": 79.0, "dev": 80.0})
    simple = SimpleResult("sst2", "words", {"accuracy": 70.0, "f1": 60.0}, "accuracy", 50, 2_000_000, "scikit-learn")
    write_record(paths.simple("sst2", "words"), simple)
    write_json(paths.provenance("simple", "sst2-words"), {"seconds": 2.5, "started": "2025-01-02T00:00:00.000+00:00"})
    (paths.root / "params.yaml").write_text("profile: tiny\n")
    paths.reports.mkdir(parents=True)
    (paths.reports / "table.md").write_text("| table |\n")


def make_predictions(paths: Paths, params: Params) -> None:
    """The normalized data, and how each cell answers."""
    texts = [f"a text of {'many words, ' * 100}" if idx == 0 else f"text {idx}" for idx in range(len(LABELS))]
    rows = pd.DataFrame({"text": texts, "label": LABELS, "idx": range(len(LABELS))})
    paths.raw("sst2").mkdir(parents=True)
    for split in ("train", "dev", "validation"):
        rows.to_parquet(paths.raw("sst2") / f"{split}.parquet")
    logits = np.array(LOGITS, dtype=np.float32)
    answers = {"prediction": logits.argmax(axis=1), "logit_negative": logits[:, 0], "logit_positive": logits[:, 1]}
    for cell in params.cells():
        rows[["idx", "label"]].assign(**answers).to_parquet(paths.predictions(cell))


def make_model(paths: Paths, cell) -> None:
    """A folder with the files of a saved model; test_reload.py loads real ones."""
    write_json(paths.model(cell) / "config.json", {"architectures": ["SlimBertForSequenceClassification"]})
    write_json(paths.model(cell) / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})
    (paths.model(cell) / "model.safetensors").write_bytes(cell.name.encode())


def timed(cell, seconds: float) -> list[Deployed]:
    """A cell in two runtimes."""
    return [
        Deployed(*cell, "torch", 1200, {"accuracy": 87.5}, {"1": seconds, "32": 10 * seconds}),
        Deployed(*cell, "onnx-int8", 400_000, {"accuracy": 86.0}, {"1": seconds / 4, "32": seconds}),
    ]


def make_artifacts(paths: Paths, params: Params, accuracy: float = 87.5) -> None:
    for cell in params.cells():
        write_metrics(paths, cell, accuracy)
        log = [CurvePoint(10.0 * i, 0.1 * i, 1 / i, 1e-4) for i in range(1, POINTS + 1)]
        write_record(paths.rate(cell.point), RateCurve(1e-3, []))
        write_record(paths.history(cell), History(300, 300, 0, log=log, steps=10 * POINTS, chosen={}, tokens=12))
        for stage, start, end in (("finetune", "00:00:00", "00:01:00"), ("evaluate", "00:01:00", "00:01:10")):
            about = {
                "seconds": 12.5,
                "peak_memory": 1_500_000_000,
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
    return MlflowClient(tracking_uri=tracking_uri(paths.root))


def kinds_of(paths: Paths):
    """Kind -> its runs."""
    client = client_of(paths)
    experiment = client.get_experiment_by_name(f"sensibert/{paths.profile}")
    runs = client.search_runs([experiment.experiment_id])
    kinds = {kind: [run for run in runs if run.data.tags[TAG_KIND] == kind] for kind in KINDS}
    assert sum(map(len, kinds.values())) == len(runs)
    return kinds


def named(paths: Paths, cell: str):
    """The run of a cell, of the mean of its seeds, or of a trial."""
    (run,) = (run for runs in kinds_of(paths).values() for run in runs if run.data.tags.get(TAG_CELL) == cell)
    return run


def everything_in(paths: Paths) -> tuple[list[str], dict[str, bytes]]:
    """Every row of the store, and every artifact."""
    with closing(sqlite3.connect(paths.root / "mlflow.db")) as connection:
        rows = list(connection.iterdump())
    files = (path for path in (paths.root / "mlartifacts").rglob("*") if path.is_file())
    return rows, {str(path): path.read_bytes() for path in files}


def artifacts_of(paths: Paths, run) -> Path:
    """Where the files of a run are."""
    return paths.root / "mlartifacts" / run.info.artifact_uri.removeprefix("mlflow-artifacts:/")


def runs_of(paths: Paths):
    """The runs of cells and trials, and their parents."""
    kinds = kinds_of(paths)
    return [*kinds["cell"], *kinds["trial"]], kinds["experiment"]


@pytest.fixture(scope="module")
def synced(tmp_path_factory, initialized):
    """The paths of a store that a sync has brought up to date, and what the sync reported; for reading alone."""
    paths = Paths("tiny", tmp_path_factory.mktemp("synced"))
    params = some_params()
    shutil.copyfile(initialized, paths.root / "mlflow.db")
    make_everything(paths, params)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
            patch.delenv(name)
        return paths, sync(params, paths)


def test_one_child_run_per_cell_and_trial_under_one_parent(params, synced):
    paths, report = synced
    (searched,) = params.searched_cells()
    assert (report.created, report.kept, report.missing) == (len(params.cells()) + 1 + 2, 0, ())
    cells, (parent,) = runs_of(paths)
    names = [*(cell.name for cell in params.cells()), *(f"search-{searched.name}-{number}" for number in (0, 1))]
    assert sorted(run.data.tags[TAG_CELL] for run in cells) == sorted(names)
    assert sorted(run.info.run_name for run in cells) == [
        "bitfit s0", "bitfit s0 trial 0", "bitfit s0 trial 1", "full s0", "kwon 0.5x s0", "magnitude 0.5x s0",
        "sensitivity 0.5x s0", "spt_lora 10% s0",
    ]  # fmt: skip
    assert {run.data.tags[TAG_PARENT] for run in cells} == {parent.info.run_id}
    assert {run.info.status for run in [*cells, parent]} == {"FINISHED"}
    assert json.loads(parent.data.params["budgets"]) == params.budgets
    assert parent.data.params["training.batch_size"] == "8"


def test_the_best_trial_of_a_search_knows_its_validation_metric(params, synced):
    (searched,) = params.searched_cells()
    found = {run.data.tags[TAG_CELL]: run.data for run in kinds_of(synced[0])["trial"]}
    assert {name: data.metrics for name, data in found.items()} == {
        f"search-{searched.name}-0": {"dev": 80.0, "validation": 79.0},
        f"search-{searched.name}-1": {"dev": 60.0},
    }
    logged = found[f"search-{searched.name}-1"].params
    assert logged["learning_rate"] == "0.01"
    own = {"training.epochs": float(params.search.epochs), "training.batch_size": 8, "training.min_steps": 0}
    assert {name: logged[name] for name in own} == {name: str(value) for name, value in own.items()}


def test_a_cell_run_tells_what_it_was(synced):
    paths, _ = synced
    run = named(paths, "sst2-sensitivity-0.5-0")
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
    assert (run.info.end_time - run.info.start_time) == 25_000, "the sum of the stages"
    history = client_of(paths).get_metric_history(run.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(10 * i, 1 / i) for i in range(1, POINTS + 1)]


def test_a_cell_run_tells_what_it_takes_to_deploy_it(synced):
    metrics = named(synced[0], "sst2-sensitivity-0.5-0").data.metrics
    assert (metrics["latency_ms"], metrics["int8_latency_ms"], metrics["int8_latency_ms_batch_32"]) == (10.0, 2.5, 10.0)
    assert (metrics["int8_primary"], metrics["int8_size_mb"], metrics["size_mb"]) == (86.0, 0.4, 0.0012)
    assert metrics["peak_memory_gb"] == 1.5
    assert "latency_ms" not in named(synced[0], "sst2-magnitude-0.5-0").data.metrics, "it is not deployed"


def test_a_run_knows_its_data_by_the_hash_of_dvc(synced):
    for name in ("sst2-full-0", "sst2-full", "search-sst2-bitfit-0-0"):
        (found,) = named(synced[0], name).inputs.dataset_inputs
        assert (found.dataset.name, found.dataset.digest) == ("sst2", dvc_hash(synced[0].raw("sst2")))
        assert json.loads(found.dataset.source) == {"uri": "data/tiny/raw/sst2"}
        assert json.loads(found.dataset.profile)["num_rows"] == len(LABELS)


def test_a_cell_run_shows_predictions_and_pictures(synced):
    paths, _ = synced
    run = named(paths, "sst2-sensitivity-0.5-0")
    assert json.loads(run.data.tags["mlflow.loggedArtifacts"]) == [{"path": "predictions.json", "type": "table"}]
    table = pd.read_json(artifacts_of(paths, run) / "predictions.json", orient="split")
    assert table["label"].tolist() == ["negative", "positive", "positive", "negative", "positive"]
    assert table["prediction"].tolist() == ["negative", "positive", "negative", "negative", "positive"]
    assert table["correct"].tolist() == [True, True, False, True, True]
    assert table["confidence"].tolist() == pytest.approx([0.8808, 0.7311, 0.7311, 0.525, 0.9975])
    assert (table["text"][1], len(table["text"][0])) == ("text 1", 300)

    written = {path.name: texts_in(path) for path in (artifacts_of(paths, run) / "pictures").iterdir()}
    heading = "sst2, sensitivity 0.5x, seed 0"
    assert written == {
        "confusion_matrix.svg": [
            f"{heading}: examples by true class (rows) and predicted class",
            *("negative", "positive", "negative", "positive", "2", "0", "1", "2"),
        ],
        "mask.svg": [
            f"{heading}: kept dimensions in percent",
            *("layer 0", "head 0", "head 1", "feed-forward", "25", "25", "25"),
        ],
    }
    dense = artifacts_of(paths, named(paths, "sst2-full-0")) / "pictures"
    assert [path.name for path in dense.iterdir()] == ["confusion_matrix.svg"], "it has no mask"


def texts_in(picture: Path) -> list[str]:
    return [element.text for element in ElementTree.parse(picture).iter("{http://www.w3.org/2000/svg}text")]


def test_a_dense_cell_has_no_scoring_parameters(synced):
    run = named(synced[0], "sst2-full-0")
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
    before = everything_in(paths)
    for _ in range(2):
        report = sync(three_cells, paths)
        assert (report.created, report.kept) == (0, len(three_cells.cells()))
    assert everything_in(paths) == before


def test_new_times_alone_are_no_new_run(three_cells, paths):
    sync(three_cells, paths)
    shutil.rmtree(paths.data / "provenance")
    assert sync(three_cells, paths).created == 0


def test_what_was_measured_again_comes_into_the_same_run(three_cells, paths):
    sync(three_cells, paths)
    cell, *_ = three_cells.cells()
    about = json.loads(paths.provenance("finetune", cell.name).read_text())
    write_json(paths.provenance("finetune", cell.name), about | {"seconds": 2.5})
    write_json(paths.bench, [asdict(entry) for entry in timed(cell, 0.02)])
    for _ in range(2):
        assert sync(three_cells, paths).created == 0
        for run in (named(paths, cell.name), named(paths, cell.point.name)):
            assert (run.data.metrics["latency_ms"], run.data.metrics["finetune_seconds"]) == (20.0, 2.5)
            assert run.info.end_time - run.info.start_time == 15_000
        before = everything_in(paths)
    assert everything_in(paths) == before


def test_data_that_come_later_are_named_in_the_same_run(three_cells, paths):
    sync(three_cells, paths)
    paths.raw("sst2").mkdir(parents=True)
    pd.DataFrame({"text": ["a"], "label": [0]}).to_parquet(paths.raw("sst2") / "train.parquet")
    assert sync(three_cells, paths).created == 0
    assert all(run.inputs.dataset_inputs for run in runs_of(paths)[0])


def test_the_mean_of_other_seeds_is_another_run(three_cells, paths):
    one = three_cells.model_copy(update={"criteria": ["sensitivity"]})
    sync(one, paths)
    two = one.model_copy(update={"seeds": [0, 1]})
    make_artifacts(paths, two)
    for seeds, params in (("0, 1", two), ("0", one)):
        sync(params, paths)
        means = [run for run in kinds_of(paths)["aggregate"] if run.data.tags[TAG_CURRENT] == "true"]
        assert {run.info.run_name: run.data.tags["seeds"] for run in means} == {
            "full": seeds,
            "sensitivity 0.5x": seeds,
        }
    assert {
        run.data.metrics["primary_std"] for run in kinds_of(paths)["aggregate"] if run.data.tags["seeds"] == "0, 1"
    } == {0}


def test_the_saved_view_lists_the_cells_alone_and_the_best_first(three_cells, paths):
    cells = three_cells.cells()
    for place, cell in enumerate(cells):
        write_metrics(paths, cell, 80.0 + place)
    sync(three_cells, paths)
    write_metrics(paths, cells[0], 90.0)
    sync(three_cells, paths)
    client = client_of(paths)
    experiment = client.get_experiment_by_name("sensibert/tiny")
    saved = json.loads(experiment.tags["mlflow.sharedViewState.cells"])
    state = json.loads(saved["state"])
    assert (saved["name"], saved["createdAt"]) == ("Cells", experiment.creation_time)
    order = f"{state['orderByKey']} {'ASC' if state['orderByAsc'] else 'DESC'}"
    found = client.search_runs([experiment.experiment_id], state["searchFilter"], order_by=[order])
    assert [run.data.tags[TAG_CELL] for run in found] == [cells[place].name for place in (0, 2, 1)]
    assert [run.data.metrics["primary"] for run in found] == [90.0, 82.0, 81.0]
    groups = {"metrics": found[0].data.metrics, "tags": found[0].data.tags}
    columns = [column.partition(".") for column in state["selectedColumns"]]
    assert {"primary", "size_mb"} <= {name.strip("`") for group, _, name in columns if name.strip("`") in groups[group]}
    assert set(state["selectedColumns"]) < set(state["columnOrder"])


def test_a_simple_model_has_a_run_in_a_table_of_its_own(synced):
    paths, _ = synced
    (run,) = kinds_of(paths)["simple"]
    assert (run.info.run_name, run.data.tags["method"], run.data.tags["needs"]) == (
        "TF-IDF, linear",
        "words",
        "scikit-learn",
    )
    assert run.data.metrics == {
        "accuracy": 70.0, "f1": 60.0, "primary": 70.0, "simple_seconds": 2.5, "examples": 50.0, "size_mb": 2.0,
    }  # fmt: skip
    assert run.info.end_time - run.info.start_time == 2500
    client = client_of(paths)
    experiment = client.get_experiment_by_name("sensibert/tiny")
    state = json.loads(json.loads(experiment.tags["mlflow.sharedViewState.simple"])["state"])
    (found,) = client.search_runs([experiment.experiment_id], state["searchFilter"])
    assert found.info.run_id == run.info.run_id


# ── models ───────────────────────────────────────────────────────────────────────────────────────


def registered(paths: Paths) -> dict[str, tuple[str, str]]:
    """Alias -> the version and the cell of its model, of the registered model of the task."""
    client = MlflowClient(tracking_uri(paths.root), registry_uri=tracking_uri(paths.root))
    model = client.get_registered_model("sensibert-tiny-sst2")
    assert all(version.status == "READY" for version in client.search_model_versions(f"name = '{model.name}'"))
    found = {alias: client.get_model_version(model.name, version) for alias, version in model.aliases.items()}
    runs = {alias: client.get_run(version.run_id) for alias, version in found.items()}
    return {alias: (str(version.version), runs[alias].data.tags[TAG_CELL]) for alias, version in found.items()}


def logged_models(paths: Paths):
    client = client_of(paths)
    return client.search_logged_models([client.get_experiment_by_name("sensibert/tiny").experiment_id])


@pytest.fixture
def two_budgets(three_cells, paths) -> Params:
    """Slim models of two methods at two budgets, better ones at the larger budget."""
    several = three_cells.model_copy(update={"budgets": [0.5, 0.25]})
    make_artifacts(paths, several)
    for cell in several.cells():
        if cell.is_pruned:
            write_metrics(paths, cell, 60 + 40 * cell.budget + (cell.method == "magnitude"))
            make_model(paths, cell)
    return several


def test_the_best_slim_model_of_each_budget_is_registered(two_budgets, paths):
    report = sync(two_budgets, paths)
    assert registered(paths) == {"best": ("1", "sst2-magnitude-0.5-0"), "smallest": ("2", "sst2-magnitude-0.25-0")}
    assert report.models == {"sensibert-tiny-sst2": "best is version 1, smallest is version 2"}
    before = everything_in(paths)
    assert sync(two_budgets, paths).models == report.models
    assert everything_in(paths) == before

    for cell in two_budgets.cells():
        if (cell.method, cell.budget) == ("sensitivity", 0.25):
            write_metrics(paths, cell, 90.0)
    sync(two_budgets, paths)
    expected = ("3", "sst2-sensitivity-0.25-0")
    assert registered(paths) == {"best": expected, "smallest": expected}


def test_a_logged_model_has_the_files_of_the_folder_and_the_metrics_of_its_run(two_budgets, paths):
    sync(two_budgets, paths)
    model = next(model for model in logged_models(paths) if model.tags[TAG_CELL] == "sst2-magnitude-0.5-0")
    cell = next(cell for cell in two_budgets.cells() if cell.name == model.tags[TAG_CELL])
    folder = paths.root / "mlartifacts" / model.artifact_location.removeprefix("mlflow-artifacts:/")
    weights = folder / "model" / "model.safetensors"
    assert weights.samefile(paths.model(cell) / "model.safetensors"), "there is no second copy"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        *("MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt"),
        *("model/config.json", "model/model.safetensors", "components/tokenizer/tokenizer_config.json"),
    }
    run = named(paths, cell.name)
    assert (model.source_run_id, [output.model_id for output in run.outputs.model_outputs]) == (
        run.info.run_id, [model.model_id]
    )  # fmt: skip
    metrics = {metric.key: metric.value for metric in model.metrics}
    assert metrics == {name: value for name, value in run.data.metrics.items() if not name.startswith("train/")}
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "sensibert-tiny-sst2", "version": "1"}]
    shutil.rmtree(paths.data)
    assert weights.read_bytes() == cell.name.encode(), "it stays when the folder goes"


@pytest.mark.parametrize("method", ["log_model_artifacts", "log_outputs", "set_registered_model_alias"])
def test_a_sync_that_was_killed_while_it_registered_models_is_completed(three_cells, paths, monkeypatch, method):
    for cell in three_cells.cells():
        make_model(paths, cell)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, method, lambda *_, **__: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            sync(three_cells, paths)
    sync(three_cells, paths)
    expected = ("1", "sst2-sensitivity-0.5-0")
    assert registered(paths) == {"best": expected, "smallest": expected}
    (model,) = logged_models(paths)
    run = client_of(paths).get_run(model.source_run_id)
    assert (str(model.status), run.outputs.model_outputs[0].model_id) == ("READY", model.model_id)
    (folder,) = (paths.root / "mlartifacts/sensibert/tiny/models").iterdir()
    assert folder.name == model.model_id, "of what was begun in vain, nothing is left"


def test_without_its_folder_a_model_is_not_logged(three_cells, paths):
    assert sync(three_cells, paths).models == {}
    assert not logged_models(paths)


# ── experiments of DVC ───────────────────────────────────────────────────────────────────────────


@pytest.fixture
def elsewhere(three_cells, paths, monkeypatch) -> tuple[Params, Paths]:
    """What `dvc queue start` runs in a work tree of its own: the same cells, one of which comes out better."""
    tree = Paths(paths.profile, paths.root / ".dvc" / "tmp" / "exps" / "standalone" / "tmp1")
    make_artifacts(tree, three_cells)
    write_metrics(tree, three_cells.cells()[0], 90.0)
    make_model(tree, three_cells.cells()[-1])
    monkeypatch.setenv("DVC_EXP_NAME", "lucky-try")
    return three_cells, tree


def test_an_experiment_of_dvc_comes_into_the_store_of_the_workspace(elsewhere, paths):
    params, tree = elsewhere
    sync(params, paths)
    report = sync(params, tree)
    assert (report.created, report.kept, report.models) == (1, 2, {})
    assert report.store == tracking_uri(paths.root) == tracking_uri(tree.root)
    assert not list(tree.root.glob("ml*"))
    cell = params.cells()[0]
    of_cell = {run.info.run_name: run for run in kinds_of(paths)["cell"] if run.data.tags[TAG_CELL] == cell.name}
    assert {name: (run.data.metrics["primary"], run.data.tags[TAG_CURRENT]) for name, run in of_cell.items()} == {
        "full s0": (87.5, "true"), "full s0 (lucky-try)": (90.0, "true")
    }  # fmt: skip
    assert of_cell["full s0 (lucky-try)"].data.tags["sensibert.dvc_experiment"] == "lucky-try"

    before = everything_in(paths)
    sync(params, paths)
    sync(params, tree)
    assert everything_in(paths) == before, "neither takes the other's runs for outdated"


def test_an_applied_experiment_belongs_to_the_workspace(elsewhere, paths):
    params, tree = elsewhere
    sync(params, paths)
    sync(params, tree)
    write_metrics(paths, params.cells()[0], 90.0)
    assert sync(params, paths).created == 0
    flags = {run.info.run_name: run.data.tags[TAG_CURRENT] for run in kinds_of(paths)["cell"]}
    assert (flags["full s0"], flags["full s0 (lucky-try)"]) == ("false", "true")
    write_metrics(paths, params.cells()[0], 87.5)
    sync(params, paths)
    flags = {run.info.run_name: run.data.tags[TAG_CURRENT] for run in kinds_of(paths)["cell"]}
    assert (flags["full s0"], flags["full s0 (lucky-try)"]) == ("true", "false")


def test_a_relative_store_is_that_of_the_workspace(elsewhere, paths, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs/own.db")
    assert tracking_uri(paths.root) == "sqlite:///runs/own.db"
    assert tracking_uri(elsewhere[1].root) == f"sqlite:///{paths.root}/runs/own.db"


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
        ("log_batch", 0),  # the parent has no params
        ("create_run", 1),  # the parent has no children
        ("log_batch", 1),  # the first child has neither metrics nor params,
        ("log_inputs", 0),  # no data,
        ("log_table", 0),  # no predictions,
        ("log_text", 0),  # no picture,
        ("set_terminated", 0),  # is still running,
        ("log_batch", 2),  # has no hash
        ("create_run", 2),  # one child is whole
        ("create_run", 4),  # all cells are whole, and no mean is there
        ("set_terminated", 6),  # all children are whole
    ],
)
def test_a_killed_sync_is_completed_by_the_next(three_cells, paths, monkeypatch, method, survived):
    make_predictions(paths, three_cells)
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
    kinds = kinds_of(paths)
    (parent,) = kinds["experiment"]
    children = [*kinds["cell"], *kinds["aggregate"]]
    assert sorted(run.data.tags[TAG_CELL] for run in kinds["cell"]) == sorted(cell.name for cell in three_cells.cells())
    assert len(kinds["aggregate"]) == 3
    assert {run.data.tags[TAG_PARENT] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in [*children, parent]} == {"FINISHED"}
    assert all(len(run.data.tags[TAG_HASH]) == 64 for run in children)
    kept = {path.name for path in (paths.root / "mlartifacts" / "sensibert" / "tiny").iterdir()}
    assert kept == {run.info.run_id for run in kinds["cell"]}, "of what was begun in vain, nothing is left"
    assert all((artifacts_of(paths, run) / "predictions.json").exists() for run in kinds["cell"])
    assert sync(three_cells, paths).created == 0


def test_what_a_killed_sync_with_other_params_left_is_closed(three_cells, paths, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("sensibert.experiment.tracking.runs._begin", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            sync(three_cells, paths)
    other = three_cells.model_copy(update={"criteria": ["magnitude"]})
    sync(other, paths)
    cells, parents = runs_of(paths)
    assert (len(cells), len(parents)) == (len(other.cells()), 1)


def test_two_first_syncs_at_once_make_no_duplicates(three_cells, tmp_path):
    paths = Paths("tiny", tmp_path)
    make_artifacts(paths, three_cells)
    logs = [tmp_path / f"{number}.log" for number in range(2)]
    processes = [get_context("fork").Process(target=logged_sync, args=(three_cells, paths, log)) for log in logs]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(log.read_text() for log in logs) == ["0", f"{len(three_cells.cells())}"], "no migration noise"
    cells, parents = runs_of(paths)
    assert (len(cells), len(parents)) == (len(three_cells.cells()), 1)


def logged_sync(params, paths, log):
    """Sync in a process of its own; all that it prints, and how many runs it made, go to a file."""
    with log.open("w") as file, redirect_stdout(file), redirect_stderr(file):
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        print(sync(params, paths).created, end="", flush=True)


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


def test_how_to_open(tmp_path, monkeypatch):
    table = "/#/experiments/1/runs?viewStateShareKey=cells&workflowType=machine_learning"
    assert how_to_open(tracking_uri(tmp_path), "1", tmp_path) == f"http://127.0.0.1:5000{table} (served by `make ui`)"
    assert how_to_open("https://user:secret@runs.example.org/x") == "https://runs.example.org/x"
    assert how_to_open("https://user:secret@runs.example.org/", "1") == f"https://runs.example.org{table}"
    monkeypatch.setenv("MLFLOW_PORT", "8080")
    assert how_to_open("sqlite:////srv/runs.db") == (
        "http://127.0.0.1:8080 (served by "
        "`mlflow ui --backend-store-uri sqlite:////srv/runs.db --artifacts-destination /srv/mlartifacts`)"
    )
    assert how_to_open("postgresql://db/x").endswith("(served by `mlflow ui --backend-store-uri postgresql://db/x`)")


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

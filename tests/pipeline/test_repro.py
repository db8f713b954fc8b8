"""The real `dvc repro` of the profile `tiny`, once for the whole file.

Every test leaves a work tree that is up to date, so the order matters only for the time.
"""

import json
import re
import shutil
import tempfile
from pathlib import Path

import pandas as pd
import pytest

from sensibert.report.comparison import COLUMNS

METHODS = ("sensitivity",)
PROCEDURES = ("kwon",)
CELLS = {
    "sst2-full-0",
    "sst2-spt_lora-0.1-0",
    "sst2-kwon-0.5-0",
    "sst2-sensitivity-0.5-0",
}
TRIALS = {"search-sst2-bitfit-0-0", "search-sst2-bitfit-0-1"}
SIMPLE = {"simple-sst2-words"}
ALL_STAGES = {
    "download@sst2",
    "download_transferred@mrpc",
    "score@sst2-0",
    "mask@sst2-sensitivity-0.5-0",
    "rates",
    "finetune@sst2-sensitivity-0.5-0",
    "finetune_dense@sst2-full-0",
    "finetune_peft@sst2-spt_lora-0.1-0",
    "evaluate@sst2-sensitivity-0.5-0",
    "evaluate_dense@sst2-full-0",
    "evaluate_peft@sst2-spt_lora-0.1-0",
    "prune@sst2-kwon-0.5-0",
    "evaluate_pruned@sst2-kwon-0.5-0",
    "search@sst2-bitfit-0",
    "fit_simple@sst2-words",
    "transfer@sst2-sensitivity-0.5-0-mrpc",
    "transfer_dense@sst2-full-0-mrpc",
    "transfer_peft@sst2-spt_lora-0.1-0-mrpc",
    "transfer_pruned@sst2-kwon-0.5-0-mrpc",
    "export@sst2-sensitivity-0.5-0",
    "export_dense@sst2-full-0",
    "bench",
    "compare",
    "rank_layers@sst2-0",
    "rescore@sst2-0",
    "stability",
    "track",
}
SUMMARIES = {"bench", "compare", "stability", "track"}
"""The stages that read the whole grid and train nothing."""


@pytest.fixture(scope="module")
def tree(new_work_tree, warm_python):
    tree = new_work_tree()
    tree.find_first(warm_python)
    assert tree.repro() == ALL_STAGES
    tree.commit()
    return tree


@pytest.fixture(scope="module")
def first_lock(tree):
    """The hashes as the first run left them; requested before a test that changes the grid."""
    return tree.lock()


def table_of(tree):
    return pd.read_csv(tree.reports / "table.csv")


def runs_of(tree):
    """Run id -> (key, artifact hash) of every run of a cell, simple model or trial, and the ids of the parent runs."""
    tags = {run.info.run_id: run.data.tags for run in tracked(tree)}
    parents = {key for key, of_run in tags.items() if of_run["sensibert.kind"] == "experiment"}
    assert {of_run["mlflow.parentRunId"] for key, of_run in tags.items() if key not in parents} == parents
    cells = {key: of_run for key, of_run in tags.items() if of_run["sensibert.kind"] in ("cell", "simple", "trial")}
    return {
        key: (of_run["sensibert.cell"], of_run["sensibert.artifact_hash"]) for key, of_run in cells.items()
    }, parents


def tracked(tree):
    """Every run in the store."""
    client = client_of(tree)
    return client.search_runs([client.get_experiment_by_name("sensibert/tiny").experiment_id])


def client_of(tree):
    """A client of the store as it is now: MLflow keeps a connection to each file, even to one that was deleted."""
    from mlflow import MlflowClient

    copy = Path(tempfile.mkdtemp(), "mlflow.db")
    shutil.copyfile(tree.root / "mlflow.db", copy)
    return MlflowClient(tracking_uri=f"sqlite:///{copy}", registry_uri=f"sqlite:///{copy}")


def test_it_leaves_every_file(tree, first_lock):
    for cell in CELLS:
        assert (tree.data / "models" / cell / "model.safetensors").is_file()
        assert (tree.data / "models" / cell / "tokenizer.json").is_file()
        assert json.loads((tree.data / "history" / f"{cell}.json").read_text())["log"] or "kwon" in cell
        result = json.loads((tree.data / "results" / cell / "metrics.json").read_text())
        assert 0 <= result["metrics"]["accuracy"] <= 100
        predictions = pd.read_parquet(tree.data / "results" / cell / "predictions.parquet")
        assert len(predictions) == result["examples"] == 30
        for stage in ("finetune", "evaluate"):
            assert json.loads((tree.data / "provenance" / stage / f"{cell}.json").read_text())["seconds"] > 0
    names = {path.relative_to(tree.data).as_posix() for path in tree.data.rglob("*.safetensors")}
    assert names >= {"scores/sst2-0.safetensors", "rescored/sst2-0/epoch-2.safetensors"}
    assert names >= {f"masks/{cell}.safetensors" for cell in CELLS if "0.5" in cell}
    assert not any((tree.data / "checkpoints").iterdir())
    assert not list(tree.data.rglob("*.sensibert-*"))

    trials = pd.read_csv(tree.reports / "search.csv")
    assert sorted(trials["learning_rate"]) == [1e-3, 1e-2]
    found = json.loads((tree.data / "results" / "search-sst2-bitfit-0" / "metrics.json").read_text())
    assert trials["dev_2"][0] == trials["dev_2"].max() == pytest.approx(found["dev"], rel=1e-4)
    assert trials["validation"][0] == pytest.approx(found["accuracy"], rel=1e-4)
    assert trials["validation"][1:].isna().all()

    curve = json.loads((tree.data / "rates" / "sst2-sensitivity-0.5.json").read_text())
    tried = [point["learning_rate"] for point in curve["tried"]]
    assert tried == sorted(tried)
    assert len(tried) >= 3
    assert tried[0] < curve["learning_rate"] < tried[-1]
    assert json.loads((tree.data / "rates" / "sst2-full.json").read_text()) == {"learning_rate": 1e-3, "tried": []}
    reported = pd.read_csv(tree.reports / "rates.csv")
    assert reported["learning_rate"].tolist() == tried

    (simple,) = pd.read_csv(tree.reports / "simple_models.csv").to_dict("records")
    assert simple["model"] == "words"
    assert 50 < simple["mean"] <= 100, "adjectives say the label"

    transferred = pd.read_csv(tree.reports / "transfer.csv")
    assert set(transferred["to"]) == {"mrpc"}
    assert len(transferred) == len(CELLS)
    assert transferred["mean"].between(0, 100).all()

    table = table_of(tree)
    assert tuple(table.columns) == COLUMNS
    assert (table["peak_memory"] > 1e8).all()
    assert table["extra_passes"].round(2).tolist() == [0, 0.22, 1, 1.33]
    assert list(table["method"]) == ["full", "spt_lora", *METHODS, *PROCEDURES]
    assert (table["prunable_kept"][2:] <= 0.5).all()
    assert (table["prunable_kept"][2:] > 0.35).all()  # whole heads of a tiny model
    written = {path.name for path in tree.reports.iterdir()}
    pictures = ("budget_curve", "deployed", "kept_dimensions", "rates", "stability")
    assert written >= {f"{name}.{suffix}" for name in pictures for suffix in ("svg", "png")}
    assert written >= {"table.md", "table.tex", "summary.json", "significance.csv", "stability.md", "layer_ranking.csv"}
    assert "report.html" in written
    assert all(len(pd.read_csv(path)) for path in tree.reports.glob("*.csv")), "no empty table"


def test_a_second_run_does_nothing(tree):
    output = tree.run("dvc", "repro")
    assert "Running stage" not in output
    assert "up to date" in output


def test_dvc_shows_what_there_is(tree):
    (shown,) = json.loads(tree.run("dvc", "metrics", "show", "--json"))[""]["data"].values()
    assert set(shown["data"]) == set(table_of(tree)["method"])
    assert shown["data"]["full"] == pytest.approx(table_of(tree)["mean"][0], abs=0.01)
    assert max(map(len, tree.run("dvc", "metrics", "show").splitlines())) <= 120

    output = tree.run("dvc", "plots", "show")
    assert "failed" not in output
    page = (tree.root / "dvc_plots" / "index.html").read_text()
    assert all(name in page for name in ("budget_curve.svg", "kept_dimensions.svg", "stability.svg"))
    assert "http" not in page, "no network"

    graph = tree.run("dvc", "dag", "--dot")
    assert re.search(r"score@sst2-0.* -> .*mask@sst2-sensitivity", graph)
    assert re.search(r"evaluate@sst2-sensitivity.* -> .*compare", graph)


def test_two_work_trees_give_the_same_bytes(tree, first_lock, new_work_tree, new_warm_python):
    other = new_work_tree()
    other.find_first(new_warm_python("training"))  # another process, whose hashes are seeded in another way
    other.repro("finetune@sst2-sensitivity-0.5-0")
    deterministic = {path: md5 for path, md5 in other.lock().items() if "/provenance/" not in path}
    assert len(deterministic) == 6
    assert deterministic == {path: first_lock[path] for path in deterministic}


def test_a_lost_mlflow_store_comes_back_from_the_files(tree):
    cells, parents = runs_of(tree)
    assert {cell for cell, _ in cells.values()} == CELLS | SIMPLE | TRIALS
    assert len(cells) == 7
    assert len(parents) == 1

    for file in (tree.root / "mlflow.db", *tree.root.glob("mlartifacts")):
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    assert "7 created, 0 kept" in tree.run("sensibert", "track")
    again, parents = runs_of(tree)
    assert sorted(again.values()) == sorted(cells.values())
    assert len(parents) == 1

    assert "0 created, 7 kept" in tree.run("sensibert", "track")
    assert runs_of(tree) == (again, parents)


def test_a_run_names_the_hash_of_its_data_in_dvc_lock_and_shows_what_its_model_answers(tree):
    (run,) = (run for run in tracked(tree) if run.data.tags.get("sensibert.cell") == "sst2-kwon-0.5-0")
    (data,) = run.inputs.dataset_inputs
    assert data.dataset.digest == tree.lock()["data/tiny/raw/sst2"]
    folder = tree.root / "mlartifacts" / run.info.artifact_uri.removeprefix("mlflow-artifacts:/")
    answered = pd.read_json(folder / "predictions.json", orient="split")
    metrics = json.loads((tree.data / "results" / "sst2-kwon-0.5-0" / "metrics.json").read_text())["metrics"]
    assert 100 * answered["correct"].mean() == pytest.approx(metrics["accuracy"])
    assert (folder / "pictures" / "mask.svg").is_file()


def test_the_best_slim_model_is_registered(tree):
    model = client_of(tree).get_registered_model("sensibert-tiny-sst2")
    version = client_of(tree).get_model_version_by_alias(model.name, "best")
    folder = tree.root / "mlartifacts" / version.source.removeprefix("mlflow-artifacts:/")
    name = f"sst2-{version.tags['method']}-0.5-0"
    assert name in CELLS
    assert (folder / "model" / "model.safetensors").samefile(tree.data / "models" / name / "model.safetensors")


def test_a_changed_plot_repeats_only_the_summaries(tree):
    path = tree.root / "src/sensibert/report/plots.py"
    before = table_of(tree)
    path.write_text(path.read_text() + "\n# a change\n")
    ran = tree.repro()
    assert "compare" in ran
    assert ran <= SUMMARIES
    assert table_of(tree).equals(before)


def test_deployed_models_are_exported_and_timed(tree):
    table = table_of(tree)
    deployed = table["method"].isin(["full", "sensitivity"])
    assert (table["latency_ms"].notna() == deployed).all()
    table = table[deployed]
    assert (table[["latency_ms", "int8_latency_ms"]] > 0).all(axis=None)
    assert (table["int8_bytes"] < table["model_bytes"]).all()
    assert table["int8_mean"].between(0, 100).all()
    for cell in ("sst2-full-0", "sst2-sensitivity-0.5-0"):
        names = {path.name for path in (tree.data / "results" / f"export-{cell}").iterdir()}
        assert names >= {"model.onnx", "model.int8.onnx", "tokenizer.json", "predict.py", "export.json"}


def test_the_grid_grows_and_shrinks(tree):
    nothing = {"tasks": [], "criteria": [], "pruning": [], "tuning": [], "seeds": []}
    tree.set_params(pruning=[], deployment=nothing)
    tree.commit()
    added = {f"{stage}@sst2-{method}-0.33-0" for stage in ("mask", "finetune", "evaluate") for method in METHODS}
    added |= {f"transfer@sst2-{method}-0.33-0-mrpc" for method in METHODS}
    ran = tree.stages_run_by("dvc", "exp", "run", "--name", "a-third-too", "-S", "budgets=[0.5,0.33]")
    assert ran == added | SUMMARIES | {"rates"}
    table = table_of(tree)
    assert set(table["budget"]) == {1.0, 0.5, 0.33, 0.1}
    assert set(table["method"]) == {"full", "spt_lora", *METHODS}
    assert table["latency_ms"].isna().all(), "nothing is deployed"
    assert not list(tree.reports.glob("deployed.*")), "not any more"

    _, head = json.loads(tree.run("dvc", "exp", "show", "--json"))
    (experiment,) = (revision for group in head["experiments"] for revision in group["revs"])
    assert experiment["name"] == "a-third-too"
    assert experiment["data"]["params"]["params.yaml"]["data"]["budgets"] == [0.5, 0.33]
    changes = json.loads(tree.run("dvc", "metrics", "diff", "--json"))
    added_budget = changes["reports/tiny/summary.json"]["sensitivity.0.33"]
    assert added_budget["old"] is None
    assert 0 <= added_budget["new"] <= 100


def test_lost_files_are_restored_without_training(tree):
    shutil.rmtree(tree.data)
    (tree.root / "dvc.lock").unlink()
    before = runs_of(tree)
    assert tree.repro() <= SUMMARIES
    assert "0 created" in tree.run("sensibert", "track")
    assert runs_of(tree) == before

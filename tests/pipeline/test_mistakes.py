"""What a user can get wrong and what can happen to a run: a plain message, nothing half-written, and it goes on."""

import json
import os
import resource
import shutil
import signal
import time
from contextlib import contextmanager

import numpy as np
import pytest

from sensibert.models.mask import Mask, read_mask, write_mask

MASK = "mask@sst2-sensitivity-0.5-0"
FINETUNE = "finetune@sst2-sensitivity-0.5-0"
CELL = ("--task", "sst2", "--method", "sensitivity", "--budget", "0.5", "--seed", "0")


@pytest.fixture(scope="module")
def tree(new_work_tree, warm_python):
    tree = new_work_tree()
    tree.find_first(warm_python)
    tree.repro(MASK, "rates")
    return tree


@pytest.fixture
def cold(tree, warm_python):
    """A block in which every stage is a process of its own: a limit or a signal shall reach it, and nothing else."""

    @contextmanager
    def block():
        before = tree.environment["PATH"]
        tree.environment["PATH"] = before.removeprefix(f"{warm_python}{os.pathsep}")
        yield
        tree.environment["PATH"] = before

    return block


@pytest.fixture(autouse=True)
def _same_params(tree):
    path = tree.root / "params.yaml"
    content = path.read_bytes()
    yield
    path.write_bytes(content)


def stage(name, *arguments):
    return ("python", "-m", f"pipeline.{name}", *(arguments or CELL))


def files(tree):
    return {path: path.read_bytes() for path in (tree.root / "data").rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bugdets": [0.5]}, "params.yaml: bugdets: unknown key; allowed: profile, tasks, "),
        ({"training": {"epoch": 1}}, "params.yaml: training.epoch: unknown key; allowed: epochs, "),
        ({"budgets": [1.5]}, "params.yaml: budgets.0: a budget is the fraction that is kept: above 0.0, at most 1.0"),
        ({"budgets": [0.0]}, "params.yaml: budgets.0: a budget is the fraction that is kept: above 0.0, at most 1.0"),
        ({"criteria": ["sensitivty"]}, "unknown criterion 'sensitivty'; allowed: sensitivity, mask, fisher, "),
        ({"tasks": ["sst"]}, "unknown task 'sst'; allowed: cola, sst2, "),
    ],
)
def test_a_wrong_parameter_is_named(tree, changes, message):
    before = files(tree)
    tree.set_params(**changes)
    assert message in tree.fail(*stage("mask"))
    assert files(tree) == before


def test_the_pipeline_stops_at_a_wrong_parameter_and_goes_on_when_it_is_mended(tree):
    tree.set_params(budgets=[0.5, 1.5])
    assert "found 1.5" in tree.fail("dvc", "repro")
    tree.set_params(budgets=[0.5])
    assert tree.repro(MASK) == set()

    path = tree.root / "params.yaml"
    path.write_text(path.read_text().replace("budgets:", "bugdets:"))
    assert "Could not find 'budgets'" in tree.fail("dvc", "repro"), "DVC finds this one"


def test_no_parameter_reaches_a_shell(tree):
    for changes in ({"tasks": ["sst2; touch x"]}, {"tasks": ["$(touch x)"]}, {"criteria": ["`touch x`"]}):
        tree.set_params(**changes)
        tree.fail("dvc", "repro")
        assert not (tree.root / "x").exists()
        tree.set_params(tasks=["sst2"], criteria=["sensitivity"])


def test_a_cell_outside_the_grid_is_refused(tree):
    output = tree.fail(*stage("finetune", "--task", "sst2", "--method", "fisher", "--budget", "0.5", "--seed", "0"))
    assert "sst2-fisher-0.5-0 is not in the grid of params.yaml, which has sst2-full-0, " in output
    assert "no scores of 'full', only of " in tree.fail(
        *stage("mask", "--task", "sst2", "--method", "full", "--seed", "0")
    )
    assert "invalid choice: 'sst'" in tree.fail(*stage("download", "--task", "sst"))


def test_data_that_cannot_be_read(tree):
    before = files(tree)
    data = tree.root / "profiles" / "tiny-glue"

    (data / "sst2").mkdir()
    (data / "sst2" / "train.parquet").write_bytes(b"PAR1")
    output = tree.fail(*stage("download", "--task", "sst2"))
    assert "profiles/tiny-glue/sst2/train.parquet is not a readable parquet file" in output
    shutil.rmtree(data / "sst2")

    data.rename(tree.root / "profiles" / "elsewhere")
    assert "tiny-glue" in tree.fail("dvc", "repro", MASK)
    output = tree.fail(*stage("download", "--task", "sst2"))
    assert "there is no folder profiles/tiny-glue; expected one with sst2/train.parquet, " in output
    (tree.root / "profiles" / "elsewhere").rename(data)

    assert tree.repro(MASK) == set()
    assert files(tree) == before


def test_a_damaged_score_file(tree):
    path = tree.data / "scores" / "sst2-0.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "data/tiny/scores/sst2-0.safetensors is damaged or of another kind" in tree.fail(*stage("mask"))
    assert tree.repro(MASK) == set(), "DVC restores it"
    assert path.read_bytes() == content


def test_a_mask_that_does_not_fit(tree):
    path = tree.data / "masks" / "sst2-sensitivity-0.5-0.safetensors"
    before = files(tree)
    mask = read_mask(path)
    write_mask(path, Mask({key: np.ones((2, 5), bool) for key in mask.keep}, mask.costs))
    output = tree.fail(*stage("finetune"))
    assert "the mask does not fit the model: layer 0, attention, has shape (4, 8) in the model and (2, 5)" in output

    path.write_bytes((tree.data / "scores" / "sst2-0.safetensors").read_bytes())
    assert f"{path.relative_to(tree.root)} is damaged or of another kind" in tree.fail(*stage("finetune"))
    path.write_bytes(before[path])
    assert files(tree) == before


def test_a_backbone_or_tokenizer_that_is_not_there(tree):
    before = files(tree)
    tree.set_params(model={"backbone": "backbone", "max_length": 32})
    output = tree.fail(*stage("finetune"))
    assert "cannot load 'backbone': " in output
    assert "Allowed: minilm-l6, tiny-bert, " in output
    assert files(tree) == before


def test_a_model_that_is_not_whole(tree):
    tree.repro(FINETUNE)
    folder = tree.data / "models" / "sst2-sensitivity-0.5-0"
    (folder / "model.safetensors").unlink()
    assert "sst2-sensitivity-0.5-0 holds no weights" in tree.fail(*stage("evaluate"))
    assert not (tree.data / "results").exists()
    assert tree.repro(FINETUNE) == set(), "DVC restores it"


def test_a_full_disk(tree, cold):
    def small_files_only(size):
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    before = files(tree)
    with cold():
        output = tree.fail(*stage("mask"), preexec_fn=small_files_only(100))
    assert "the disk is full" in output
    assert files(tree) == before

    tree.repro(FINETUNE)
    before = files(tree)
    with cold():
        output = tree.fail(*stage("finetune"), preexec_fn=small_files_only(60_000))
    assert "the disk is full" in output
    left = {path: content for path, content in files(tree).items() if "checkpoints" not in path.parts}
    assert left == before, "the earlier model is whole"
    assert tree.repro(FINETUNE) == set()


def test_a_killed_run_goes_on_to_the_same_model(tree, cold):
    rates = {name: {"learning_rate": 1e-3} for name in ("full", "sensitivity", "spt_lora", "kwon", "bitfit")}
    rates["kwon"] = {"samples": 24}
    training = {"epochs": 16, "batch_size": 8, "precision": "fp32", "checkpoint_steps": 2, "min_steps": 0}
    tree.set_params(training=training, methods=rates)
    checkpoints = tree.data / "checkpoints" / "sst2-sensitivity-0.5-0"
    with cold():
        process = tree.start("dvc", "repro", FINETUNE, start_new_session=True)
    while not (checkpoints / "checkpoint-4").exists():  # begun when the one of step 2 is whole
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tree.data / "models" / "sst2-sensitivity-0.5-0").exists()
    (checkpoints / "checkpoint-999").mkdir()  # as if it was killed while it wrote this one

    def resumed_at_step():
        path = tree.data / "provenance" / "finetune" / "sst2-sensitivity-0.5-0.json"
        return json.loads(path.read_text())["resumed_at_step"]

    def outputs():
        return {path: md5 for path, md5 in tree.lock().items() if "/models/" in path or "/history/" in path}

    assert tree.repro(FINETUNE) == {FINETUNE}, "the rates are there"
    assert 0 < resumed_at_step() < 999
    resumed = outputs()
    assert not list(checkpoints.parent.iterdir())

    assert tree.repro("--force", "--single-item", FINETUNE) == {FINETUNE}
    assert resumed_at_step() == 0
    assert outputs() == resumed

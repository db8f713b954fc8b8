"""What launchers and clusters leave in the environment: a training is one process all the same."""

import json
import os
import subprocess
import sys

import pytest

TRAINING = """
import json
import os
import sys
from hashlib import sha256
from pathlib import Path

from sensibert.config.method_settings import MethodParams
from sensibert.config.settings import TrainingParams
from sensibert.data.tasks import TASKS
from sensibert.models.backbones import load_backbone, load_tokenizer
from sensibert.training.fine_tune import fine_tune


def train(folder):
    model, tokenizer = load_backbone("tiny-bert", TASKS["sst2"], 0), load_tokenizer("tiny-bert")
    encoded = [tokenizer(f"text {row}")["input_ids"] for row in range(8)]
    examples = [{"input_ids": ids, "labels": row % 2, "idx": row} for row, ids in enumerate(encoded)]
    settings = TrainingParams(epochs=1, batch_size=4, precision="fp32", min_steps=0)
    options = MethodParams(learning_rate=1e-3)
    how = {"method": "full", "options": options, "seed": 0, "checkpoints": folder / "checkpoints"}
    fine_tune(model, examples, tokenizer, settings, **how)
    return sha256(b"".join(values.numpy().tobytes() for values in model.state_dict().values())).hexdigest()


for name, environment in json.loads(sys.argv[2]).items():
    if child := os.fork():  # each has the libraries as they are after import
        assert os.waitpid(child, 0)[1] == 0, name
        continue
    os.environ.update(environment)
    print(name, train(Path(sys.argv[1]) / name), sep="=", flush=True)
    os._exit(0)
"""
RANK = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}
ENVIRONMENTS = {
    "of torchrun": RANK,
    "with a master": RANK | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"},
    "of MPI": {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "1", "PMI_SIZE": "4"},
    "no number": {"WORLD_SIZE": "two", "LOCAL_RANK": "x"},
    "deepspeed": {"ACCELERATE_USE_DEEPSPEED": "true"},
    "fsdp": {"ACCELERATE_USE_FSDP": "true"},
    "another precision": {"ACCELERATE_MIXED_PRECISION": "bf16"},
}


def weights_after_training(folder, environments, from_the_start=None):
    """The hash of the weights by name of the environment; one may be there before anything is imported."""
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, folder, json.dumps(environments)],
        env=os.environ | (from_the_start or {}),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return dict(line.rsplit("=", 1) for line in done.stdout.split("\n") if line)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return weights_after_training(tmp_path_factory.mktemp("weights"), {"plain": {}, **ENVIRONMENTS})


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_environment_of_a_cluster_changes_no_training(weights, environment):
    assert weights[environment] == weights["plain"]


def test_nor_does_one_that_was_there_before_the_libraries_were_imported(tmp_path, weights):
    everything = {name: value for environment in ENVIRONMENTS.values() for name, value in environment.items()}
    assert weights_after_training(tmp_path, {"plain": {}}, from_the_start=everything) == {"plain": weights["plain"]}


def test_the_environment_is_whole_again_afterwards(monkeypatch):
    from sensibert.compute.hardware import alone

    monkeypatch.setenv("WORLD_SIZE", "2")
    with alone():
        assert "WORLD_SIZE" not in os.environ
        os.environ["ACCELERATE_USE_FSDP"] = "true"
    assert os.environ["WORLD_SIZE"] == "2"
    assert "ACCELERATE_USE_FSDP" not in os.environ

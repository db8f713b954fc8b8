"""What launchers and clusters leave in the environment: a training is one process all the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cluster_training import train

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


EVERYTHING = {name: value for environment in ENVIRONMENTS.values() for name, value in environment.items()}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The hash of the weights by name of the environment, in a process that had all of them before it imported."""
    environments = ENVIRONMENTS | {"all of them": EVERYTHING}
    script = Path(__file__).with_name("cluster_training.py")
    done = subprocess.run(
        [sys.executable, script, tmp_path_factory.mktemp("weights"), json.dumps(environments)],
        env=os.environ | EVERYTHING,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return dict(line.rsplit("=", 1) for line in done.stdout.split("\n") if line)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The hash of the weights after a training in this process, which knows of no cluster."""
    return train(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("environment", [*ENVIRONMENTS, "all of them"])
def test_the_environment_of_a_cluster_changes_no_training(weights, plain, environment):
    assert weights[environment] == plain


def test_the_environment_is_whole_again_afterwards(monkeypatch):
    from sensibert.compute.hardware import alone

    monkeypatch.setenv("WORLD_SIZE", "2")
    with alone():
        assert "WORLD_SIZE" not in os.environ
        os.environ["ACCELERATE_USE_FSDP"] = "true"
    assert os.environ["WORLD_SIZE"] == "2"
    assert "ACCELERATE_USE_FSDP" not in os.environ

"""`sensibert grid` on a Ray cluster of two nodes: real DVC, real clones, cells that are stand-ins."""

import secrets
import shutil
import subprocess
import sys
from importlib.util import find_spec

import psutil
import pytest

import stand_ins

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is missing: pip install 'sensibert[ray]'")

ON_LOOPBACK = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(16),
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


@pytest.fixture
def killed(tmp_path):
    """A file that the first cell writes its process to before it kills its worker."""
    return tmp_path / "killed"


@pytest.fixture
def address(tmp_path, killed):
    """Of a cluster of two nodes."""
    environment = stand_ins.environment(tmp_path, STAND_IN_KILLED=str(killed), **ON_LOOPBACK)
    command = [sys.executable, str(stand_ins.ROOT / "tests" / "two_nodes.py")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as cluster:
        yield cluster.stdout.readline().strip()
        cluster.stdin.close()


def test_a_cluster_that_loses_a_worker_leaves_the_lock_of_a_serial_run(tmp_path, address, killed):
    serial, head = tmp_path / "serial", tmp_path / "head"
    stand_ins.make(serial, budgets=[0.5, 0.25], seeds=[0])
    shutil.copytree(serial, head)
    stand_ins.run(serial, "dvc", "repro", "--quiet")

    output = stand_ins.run(head, "sensibert", "grid", "--address", address, **ON_LOOPBACK)
    assert "2 nodes with 2 CPUs" in output
    assert "3 computed by workers; 2 computed here" in output
    assert not psutil.pid_exists(int(killed.read_text())), "the command of the killed worker is ended too"
    assert stand_ins.lock(head) == stand_ins.lock(serial)
    table = "reports/tiny/table.md"
    assert (head / table).read_text() == (serial / table).read_text()
    assert "up to date" in stand_ins.run(head, "dvc", "status")
    assert not list((head / ".dvc" / "cache").glob(".sensibert-*"))

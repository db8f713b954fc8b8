"""`sensibert grid` on a Ray cluster of two nodes, and its workers without Ray: real DVC and clones, stand-in cells."""

import shutil
import sys
from importlib.util import find_spec
from ipaddress import ip_address

import psutil
import pytest

import stand_ins
from sensibert.errors import ParamsError
from sensibert.grid.clones import Order, compute
from sensibert.grid.pinned import pin, snapshot
from sensibert.grid.workspace import adopt, fetch_back, lock_for, outdated, read_stages, shared_cache

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is missing: pip install 'sensibert[ray]'")

ON_LOOPBACK = stand_ins.on_loopback()


@pytest.fixture
def killed(tmp_path):
    """A file that the first cell writes its process to before it kills its worker."""
    return tmp_path / "killed"


@pytest.fixture
def address(tmp_path, killed):
    """Of a cluster of two nodes."""
    with stand_ins.two_nodes(tmp_path, STAND_IN_KILLED=str(killed), **ON_LOOPBACK) as cluster:
        yield cluster.stdout.readline().strip()
        cluster.stdin.close()


@needs_ray
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


LISTENING = """
import psutil
from sensibert.grid.cluster import connected

with connected(None):
    for process in psutil.Process().children(recursive=True):
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                print(connection.laddr.ip)
"""


@needs_ray
def test_a_cluster_of_this_machine_alone_listens_on_loopback_and_leaves_no_token(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    output = stand_ins.run(tmp_path, sys.executable, "-c", LISTENING, HOME=str(home))
    addresses = {ip_address(line.removeprefix("::ffff:")) for line in output.splitlines()}
    assert addresses
    assert all(address.is_loopback for address in addresses), output
    assert not list(home.rglob("*"))


@pytest.fixture
def head(tmp_path, monkeypatch):
    """A repository whose score is there, and whose one model is not."""
    root = tmp_path / "head"
    stand_ins.make(root, budgets=[0.5], seeds=[0])
    stand_ins.run(root, "dvc", "repro", "--quiet", "score@0")
    for name, value in stand_ins.environment(root).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(root)
    return root


def tuned(head, cache, scratch):
    """The report of a worker with clones of its own."""
    pinned = pin(head, frozenset())
    order = Order("tune@0.5-0", ("score@0",), lock_for(head, {"score@0"}))
    return compute(order, pinned, cache, scratch, 1, lambda: snapshot(head, pinned.commit))


def test_of_two_hosts_with_other_bytes_one_is_kept_and_named_and_nothing_runs_again(head, tmp_path, monkeypatch):
    stages, _ = read_stages(head)
    assert {name for name, stage in stages.items() if stage.travels} == {"score@0", "tune@0.5-0"}
    runs = head / ".dvc" / "cache" / "runs"
    with shared_cache(head, None) as cache:
        monkeypatch.setenv("STAND_IN_HOST", "first")
        assert tuned(head, cache, tmp_path / "first").ran
        runs.rename(tmp_path / "runs")  # both were at it at once, so neither found what the other made
        monkeypatch.setenv("STAND_IN_HOST", "second")
        second = tuned(head, cache, tmp_path / "second")
        shutil.copytree(tmp_path / "runs", runs, dirs_exist_ok=True)
    remarks = adopt(head, {second.stage: second.entry}, remote=None)
    assert remarks == {"tune@0.5-0": "other bytes are known for the same inputs: data/tiny/models/0.5-0"}
    assert (head / "data/tiny/models/0.5-0").read_text().endswith("second")
    assert outdated(head, ["download", "score@0", "tune@0.5-0"]) == []
    assert "Running stage 'tune" not in stand_ins.run(head, "dvc", "repro")


def test_a_cell_that_fails_or_a_cache_that_is_not_there_is_reported(head, tmp_path, monkeypatch):
    monkeypatch.setenv("STAND_IN_FAILS", "0.5-0")
    with shared_cache(head, None) as cache:
        report = tuned(head, cache, tmp_path)
        assert report.entry is None
        assert report.problem.endswith("error: it cannot be tuned")
    report = tuned(head, cache, tmp_path)  # the token is gone: to this host the folder is another one
    assert "does not see the cache" in report.problem


def test_a_remote_that_is_another_folder_for_each_clone_is_refused(head):
    stand_ins.run(head, "dvc", "remote", "add", "near", "../store")
    with pytest.raises(ParamsError, match=r"dvc remote modify near url .*/store"), shared_cache(head, "near"):
        pass


def test_what_a_killed_run_left_in_the_cache_goes(head):
    cache = head / ".dvc" / "cache"
    with shared_cache(head, None) as first:
        aside = (cache / first.token).rename(cache / "aside")
    left = aside.rename(cache / first.token)
    with shared_cache(head, None):
        assert not left.exists()


def test_what_is_only_missing_comes_back_from_the_cache(head):
    shutil.rmtree(head / "data")
    missing = ["download", "score@0"]
    assert outdated(head, missing) == missing
    assert fetch_back(head, [*missing, "tune@0.5-0"]) == ["tune@0.5-0"]
    assert (head / "data/tiny/scores/0").is_file()
    assert outdated(head, missing) == []

"""Which stages a grid run computes and in which order, what a lock says, and what a work tree must be like."""

import os
import subprocess
import sys
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensibert.cli.grid import _check_backbone
from sensibert.errors import GridError, ParamsError
from sensibert.grid.clones import Report
from sensibert.grid.lock import adopted, differing, is_measured, restricted, same_inputs
from sensibert.grid.pinned import Pinned, check_out, git, has_commit, pin, snapshot, unpack
from sensibert.grid.plan import Stage, blocked, levels, select, with_needs
from sensibert.grid.progress import line
from sensibert.grid.reaper import reap


def stage(name, *needs, travels=True):
    return Stage(name, frozenset(needs), travels)


STAGES = {
    each.name: each
    for each in (
        stage("download@sst2", travels=False),
        stage("score@sst2-0", "download@sst2"),
        stage("finetune@sst2-full-0", "download@sst2"),
        stage("finetune@sst2-kwon-0.5-0", "finetune@sst2-full-0", "score@sst2-0"),
        stage("evaluate@sst2-kwon-0.5-0", "finetune@sst2-kwon-0.5-0"),
        stage("evaluate@sst2-full-0", "finetune@sst2-full-0"),
        stage("compare", "evaluate@sst2-kwon-0.5-0", "evaluate@sst2-full-0", travels=False),
    )
}


@pytest.mark.parametrize("pattern", ["sst2-kwon-*", "evaluate@*kwon*", "evaluate@sst2-kwon-0.5-0"])
def test_a_pattern_names_cells_or_stages_and_brings_what_they_need(pattern):
    assert select(STAGES, pattern) == {
        "download@sst2",
        "score@sst2-0",
        "finetune@sst2-full-0",
        "finetune@sst2-kwon-0.5-0",
        "evaluate@sst2-kwon-0.5-0",
    }


def test_without_a_pattern_everything_is_wanted():
    assert select(STAGES, None) == set(STAGES)


@pytest.mark.parametrize("pattern", ["mrpc-*", "compare", ""])
def test_a_pattern_that_is_no_cell_is_refused_with_those_that_there_are(pattern):
    with pytest.raises(GridError, match=r"no cell of the grid, which has .*sst2-kwon-0\.5-0"):
        select(STAGES, pattern)


def test_what_most_others_need_comes_first_in_its_level():
    assert levels(STAGES, select(STAGES, None)) == [
        ["download@sst2"],
        ["finetune@sst2-full-0", "score@sst2-0"],
        ["finetune@sst2-kwon-0.5-0", "evaluate@sst2-full-0"],
        ["evaluate@sst2-kwon-0.5-0"],
        ["compare"],
    ]


@st.composite
def graphs(draw):
    """Stages, each of which needs some of those before it."""
    count = draw(st.integers(1, 12))
    needs = [draw(st.sets(st.integers(0, number - 1))) if number else set() for number in range(count)]
    return {
        f"s{number}": stage(f"s{number}", *(f"s{each}" for each in each_of)) for number, each_of in enumerate(needs)
    }


@given(graphs(), st.data())
def test_levels_hold_each_wanted_stage_once_and_after_all_that_it_needs(stages, data):
    wanted = with_needs(stages, data.draw(st.sets(st.sampled_from(sorted(stages)), min_size=1)))
    plan = levels(stages, wanted)
    flat = [name for level in plan for name in level]
    assert sorted(flat) == sorted(wanted)
    done = set()
    for level in plan:
        assert all(stages[name].needs <= done for name in level)
        done |= set(level)


def test_what_needs_a_lost_stage_cannot_run():
    assert blocked(STAGES, ["compare", "score@sst2-0"], {"evaluate@sst2-full-0"}) == {"compare"}


def entry(md5, path="data/tiny/models/a", **more):
    return {"cmd": "make", "deps": [{"path": "x", "md5": "1"}], "outs": [{"path": path, "md5": md5}], **more}


def test_other_bytes_are_named_unless_they_are_measurements():
    assert differing(entry("1"), entry("2")) == ["data/tiny/models/a"]
    assert differing(entry("1"), entry("1")) == []
    for measured in ("data/tiny/provenance/evaluate/a.json", "data/tiny/bench.json"):
        assert is_measured(measured)
        assert differing(entry("1", measured), entry("2", measured)) == []
    assert same_inputs(entry("1"), entry("2"))
    assert not same_inputs(entry("1"), entry("1", params={"params.yaml": {"seed": 1}}))


def test_a_lock_keeps_what_is_not_replaced():
    lock = {"schema": "2.0", "stages": {"a": entry("1"), "b": entry("2")}}
    assert adopted(lock, {"b": entry("3"), "c": entry("4")})["stages"] == {
        "a": entry("1"),
        "b": entry("3"),
        "c": entry("4"),
    }
    assert restricted(lock, {"b", "d"})["stages"] == {"b": entry("2")}
    assert adopted({}, {"a": entry("1")}) == {"schema": "2.0", "stages": {"a": entry("1")}}


def test_a_report_says_what_happened():
    assert line(Report("score@a", "h1", 12.34, entry("1"), True, None)) == "computed  score@a on h1 in 12.3 s"
    assert line(Report("score@a", "h1", 0.5, entry("1"), False, None)).startswith("restored  score@a")
    assert line(Report("score@a", "h1", 0.5, None, True, "why\nlast line")).endswith("why\n    last line")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "test")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "test@example.org")
    root = tmp_path / "repository"
    (root / "src").mkdir(parents=True)
    for file in ("params.yaml", "dvc.lock", "src/code.py"):
        (root / file).write_text("first\n")
    git(root, "init", "--quiet")
    commit(root)
    return root


def commit(root):
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "State")


def test_a_clone_has_the_commit_and_the_parameters_as_they_are(repository, tmp_path):
    (repository / "src" / "code.py").write_text("second\n")
    commit(repository)
    (repository / "params.yaml").write_text("edited\n")
    pinned = pin(repository, frozenset({"src"}))
    clone = tmp_path / "clone"
    assert not has_commit(clone, pinned.commit)
    unpack(clone, pinned.commit, snapshot(repository, pinned.commit))
    assert has_commit(clone, pinned.commit)
    check_out(clone, pinned)
    (clone / "src" / "code.py").write_text("broken\n")
    (clone / "left").write_text("over\n")
    check_out(clone, pinned)
    assert (clone / "src" / "code.py").read_text() == "second\n"
    assert (clone / "params.yaml").read_text() == "edited\n"
    assert not (clone / "left").exists()
    assert git(clone, "rev-parse", "HEAD").decode().strip() == pinned.commit


@pytest.mark.parametrize("file", ["src/code.py", "src/new.py"])
def test_code_that_is_not_committed_is_refused(repository, file):
    (repository / file).write_text("an edit\n")
    with pytest.raises(GridError, match=rf"commit or stash these:\n  (\?\?| M) {file}"):
        pin(repository, frozenset({"src"}))


def test_files_that_no_stage_reads_and_those_that_runs_write_do_no_harm(repository):
    (repository / "notes.txt").write_text("mine\n")
    (repository / "dvc.lock").write_text("later\n")
    assert isinstance(pin(repository, frozenset({"src"})), Pinned)


def test_a_folder_without_git_is_named(tmp_path):
    with pytest.raises(GridError, match="git rev-parse failed"):
        pin(tmp_path, frozenset())


def test_the_commands_in_a_clone_are_ended_and_no_others(tmp_path):
    with ExitStack() as stack:

        def sleeping(root):
            environment = os.environ | {"DVC_ROOT": str(root), "DVC_STAGE": "finetune"}
            process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env=environment)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        mine, other = sleeping(tmp_path / "one"), sleeping(tmp_path / "other")
        assert reap(tmp_path / "one") == 1
        assert mine.poll() is not None
        assert other.poll() is None


def test_a_backbone_in_a_relative_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bert").mkdir()
    _check_backbone("minilm-l6")
    _check_backbone(str(tmp_path / "bert"))
    with pytest.raises(ParamsError, match="bert is relative"):
        _check_backbone("bert")

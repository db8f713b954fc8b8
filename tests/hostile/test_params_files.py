"""params.yaml as an attacker, or a tired user, writes it."""

import re
import shutil
from pathlib import Path

import pytest
from hostile import run

ROOT = Path(__file__).parents[2]
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.fixture
def params(tmp_path, monkeypatch):
    shutil.copyfile(ROOT / "profiles" / "pydocs.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "params.yaml"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("tasks: [docs_origin] ", "tasks: sst2 ", "tasks: Input should be a valid list (found 'sst2')"),
        ("tasks: [docs_origin] ", "tasks: null ", "tasks: Input should be a valid list (found None)"),
        ("tasks: [docs_origin] ", "tasks: [] ", "tasks: "),
        ("tasks: [docs_origin] ", 'tasks: ["sst2; touch x"] ', "tasks.0: unknown task 'sst2; touch x'; allowed: "),
        ("tasks: [docs_origin] ", "tasks: [[docs_origin]] ", "tasks.0: Input should be a valid string"),
        ("seeds: [0, 1]", "seeds: abc", "seeds: Input should be a valid list (found 'abc')"),
        ("seeds: [0, 1]", "seeds: [-1]", "seeds.0: "),
        ("seeds: [0, 1]", "seeds: [0.5]", "seeds.0: "),
        ("seeds: [0, 1]", "seeds: [true]", "seeds.0: "),
        ("seeds: [0, 1]", "seeds: [0, 0]", "seeds: [0] stands in the list more than once"),
        ("seeds: [0, 1]", f"seeds: [{'9' * 5000}]", "params.yaml is not valid YAML"),
        ("budgets: [0.2]", "budgets: [.nan]", "budgets.0: "),
        ("budgets: [0.2]", "budgets: [.inf]", "budgets.0: "),
        ("budgets: [0.2]", "budgets: [1]", "budgets.0: write it with a decimal point: 1.0"),
        ("profile: pydocs", "profile: ../../etc", "profile: "),
        ("profile: pydocs", "profile: $(touch x)", "profile: "),
        ("profile: pydocs", "profile: pydocs\nprofile: tiny", "key 'profile' is there twice"),
        ("  epochs: 3\n", "  epochs: 3\n  epochs: 4\n", "key 'epochs' is there twice"),
        ("profile: pydocs", "profile: &x pydocs\nagain: *x", "alias *x: write it out"),
        ("profile: pydocs", "profile: !!python/object/apply:os.system [touch x]", "params.yaml is not valid YAML"),
        ("profile: pydocs", "profile: [", "params.yaml is not valid YAML"),
        ("profile: pydocs", "profile: " + "[" * 2000, "params.yaml is not valid YAML"),
        ("profile: pydocs", "\ud800", "params.yaml is not valid YAML"),
        ("training:", "trainings:", "trainings: unknown key; allowed: profile, tasks, "),
        ("  l1: 1.0e-5", "  l1: much", "scoring.l1: "),
        ("  l1: 1.0e-5", "  l1: -1", "scoring.l1: "),
        ("full: {learning_rate: 4.0e-4}", "full: {learning_rate: 0}", "methods.full.learning_rate: "),
        ("full: {learning_rate: 4.0e-4}", "full: 4.0e-4", "methods.full: must be a mapping"),
        ("full: {learning_rate: 4.0e-4}", "fool: {learning_rate: 4.0e-4}", "methods.fool: unknown key; allowed: "),
    ],
)
def test_check_names_the_key(params, old, new, says):
    content = params.read_text()
    assert old in content
    params.write_bytes(content.replace(old, new, 1).encode("utf-8", "surrogatepass"))
    result = run("check")
    assert result.exit_code == 1, result.output
    assert says in result.stderr
    assert "Traceback" not in result.output
    assert [path.name for path in params.parent.iterdir()] == ["params.yaml"]


def test_a_bomb_of_aliases_is_refused_at_once(params):
    params.write_text(BOMB)
    result = run("check")
    assert result.exit_code == 1
    assert "alias *a: write it out" in result.stderr


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"text", b"\x00", b"\xff\xfe", b"- 1\n- 2\n"])
def test_check_takes_nothing_but_a_mapping(params, content):
    params.write_bytes(content)
    result = run("check")
    assert result.exit_code == 1
    assert "params.yaml" in result.stderr


def test_check_says_what_is_good(params):
    result = run("check")
    assert result.exit_code == 0
    assert "params.yaml is good: profile pydocs, 10 cells" in result.output


def test_check_and_the_grid_name_a_stage_that_would_fail_at_the_end(params):
    text = params.read_text(encoding="utf-8")
    params.write_text(text.replace("stability:\n  tasks: [docs_origin]", "stability:\n  tasks: []"), encoding="utf-8")
    for command in ("check", "grid"):
        result = run(command)
        assert result.exit_code == 1
        assert "stability.tasks: names no task" in result.stderr
    params.write_text(re.sub(r"(?m)^backbone_files: .*\n", "", text), encoding="utf-8")
    for command in ("check", "grid"):
        assert "backbone_files: is missing, and dvc.yaml names it; add the line" in run(command).stderr
    assert "--address is empty" in run("grid", "--address", "").stderr


def test_check_without_a_file(params):
    params.unlink()
    assert "params.yaml does not exist; run from the repository root" in run("check").stderr
    params.mkdir()
    assert "params.yaml cannot be read" in run("check").stderr

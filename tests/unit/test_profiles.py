import re
import shutil
import threading
from pathlib import Path

import pytest
import yaml

from sensibert.config import profiles
from sensibert.config.methods import METHODS
from sensibert.config.params import load_params
from sensibert.errors import ParamsError
from sensibert.models.fit import check_backbone
from tiny_glue import write_release

ROOT = Path(__file__).parents[2]
NAMES = ("bert-tiny-imdb", "glue-small", "methods", "methods-small", "paper", "pydocs", "sst2", "tiny")


@pytest.fixture
def workspace(tmp_path):
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    shutil.copyfile(tmp_path / "profiles" / "pydocs.yaml", tmp_path / "params.yaml")
    (tmp_path / "dvc.lock").write_text("lock of pydocs\n")
    return tmp_path


def test_the_committed_params_are_the_default_profile():
    assert (ROOT / "params.yaml").read_bytes() == (ROOT / "profiles" / "pydocs.yaml").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_is_valid_and_named_after_its_file(name):
    path = profiles.available(ROOT)[name]
    params = check_backbone(load_params(path))
    assert params.profile == name
    assert profiles.summary(path)


def keys_of(content: dict, section: str = "") -> set[str]:
    """Every key below a section, dotted; which criteria are ranked in a way of their own is no setting of its own."""
    found: set[str] = set()
    for key, value in content.items():
        name = f"{section}{key}"
        found |= {name}
        if isinstance(value, dict) and name != "masking.rank_by":
            found |= keys_of(value, f"{name}.")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_writes_out_every_default_so_that_dvc_sees_a_change_of_one(name):
    path = profiles.available(ROOT)[name]
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert keys_of(written) == keys_of(load_params(path).model_dump())


def test_every_profile_of_the_project_is_there():
    assert set(NAMES) <= set(profiles.available(ROOT))  # a contributor may have more


def test_the_profiles_cover_the_grids_they_promise():
    params = {name: load_params(path) for name, path in profiles.available(ROOT).items()}
    assert params["paper"].tasks == ["mnli", "qqp", "qnli", "sst2"]
    assert sorted(params["paper"].budgets) == [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    assert params["glue-small"].tasks == ["sst2", "mrpc", "rte", "cola"]
    assert params["sst2"].data.max_train is None
    every, small = ({cell.method for cell in params[name].cells()} for name in ("methods", "methods-small"))
    assert every == small <= METHODS.keys()
    assert len(every) >= 23
    assert len(params["tiny"].cells()) == 4


def test_the_profile_tiny_has_its_data_beside_it(tmp_path):
    write_release(tmp_path)
    directory = load_params(ROOT / "profiles" / "tiny.yaml").data.directory
    made, there = (
        {path.relative_to(place): path.read_bytes() for path in place.rglob("*.tsv")}
        for place in (tmp_path, ROOT / directory)
    )
    assert len(made) == 4
    assert there == made


def test_activate_replaces_the_params_and_puts_the_lock_away(workspace):
    profiles.activate("tiny", workspace)
    assert profiles.active(workspace) == "tiny"
    assert not (workspace / "dvc.lock").exists()
    assert (workspace / "reports" / "pydocs" / "dvc.lock").read_text() == "lock of pydocs\n"


def test_every_profile_gets_its_own_lock_back(workspace):
    profiles.activate("tiny", workspace)
    (workspace / "dvc.lock").write_text("lock of tiny\n")
    profiles.activate("pydocs", workspace)
    assert (workspace / "dvc.lock").read_text() == "lock of pydocs\n"
    profiles.activate("tiny", workspace)
    assert (workspace / "dvc.lock").read_text() == "lock of tiny\n"


def test_activating_the_active_profile_changes_nothing(workspace):
    before = sorted(workspace.rglob("*"))
    profiles.activate("pydocs", workspace)
    assert sorted(workspace.rglob("*")) == before
    assert (workspace / "dvc.lock").read_text() == "lock of pydocs\n"


def test_a_fresh_workspace_without_params_or_lock_is_fine(workspace):
    (workspace / "params.yaml").unlink()
    (workspace / "dvc.lock").unlink()
    profiles.activate("tiny", workspace)
    assert profiles.active(workspace) == "tiny"


def edit(workspace: Path) -> bytes:
    params = workspace / "params.yaml"
    params.write_text(params.read_text() + "# an edit\n")
    return params.read_bytes()


@pytest.mark.parametrize("name", ["tiny", "pydocs"])
def test_edits_are_refused_with_the_way_to_keep_them(workspace, name):
    edited = edit(workspace)
    with pytest.raises(ParamsError, match=r"edits of the profile pydocs.*profiles/NEW\.yaml.*--force"):
        profiles.activate(name, workspace)
    assert (workspace / "params.yaml").read_bytes() == edited
    assert (workspace / "dvc.lock").read_text() == "lock of pydocs\n"
    assert not (workspace / "reports").exists()


def test_edits_that_were_saved_as_a_profile_are_not_lost(workspace):
    params = workspace / "params.yaml"
    params.write_text(params.read_text().replace("profile: pydocs", "profile: mine"))
    shutil.copyfile(params, workspace / "profiles" / "mine.yaml")
    profiles.activate("tiny", workspace)
    assert (workspace / "reports" / "mine" / "dvc.lock").read_text() == "lock of pydocs\n"
    profiles.activate("mine", workspace)
    assert profiles.active(workspace) == "mine"


def test_force_throws_the_edits_away_but_not_the_lock(workspace):
    edit(workspace)
    profiles.activate("tiny", workspace, force=True)
    assert profiles.active(workspace) == "tiny"
    assert (workspace / "reports" / "pydocs" / "dvc.lock").read_text() == "lock of pydocs\n"


def test_force_on_the_active_profile_resets_it_and_keeps_its_lock(workspace):
    edit(workspace)
    profiles.activate("pydocs", workspace, force=True)
    assert profiles.active(workspace) == "pydocs"
    assert (workspace / "dvc.lock").read_text() == "lock of pydocs\n"


def test_of_two_swaps_at_once_one_waits_for_the_other(workspace):
    both = threading.Barrier(2)

    def activate():
        both.wait()
        profiles.activate("tiny", workspace, force=True)

    edit(workspace)
    threads = [threading.Thread(target=activate) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert profiles.active(workspace) == "tiny"
    assert (workspace / "reports" / "pydocs" / "dvc.lock").read_text() == "lock of pydocs\n"
    assert not (workspace / ".params.yaml.lock").exists()


@pytest.mark.parametrize("content", ["profile: ../../escape\n", "profile: [1]\n", "}{", "- 1\n"])
def test_force_survives_params_that_name_no_profile(workspace, content):
    (workspace / "params.yaml").write_text(content)
    with pytest.raises(ParamsError, match="no profile"):
        profiles.activate("tiny", workspace)
    profiles.activate("tiny", workspace, force=True)
    assert profiles.active(workspace) == "tiny"
    assert (workspace / "reports" / "unknown" / "dvc.lock").exists()


def test_an_unknown_profile_lists_the_known_ones(workspace):
    with pytest.raises(ParamsError, match=f"unknown profile 'huge'; allowed: {', '.join(profiles.available(ROOT))}"):
        profiles.activate("huge", workspace)


def test_a_wrong_profile_changes_nothing(workspace):
    path = workspace / "profiles" / "wrong.yaml"
    path.write_text(re.sub("(?m)^budgets: .*$", "budgets: [1.4]", (workspace / "params.yaml").read_text()))
    with pytest.raises(ParamsError, match="budgets"):
        profiles.activate("wrong", workspace)
    assert profiles.active(workspace) == "pydocs"


def test_a_profile_must_carry_the_name_of_its_file(workspace):
    shutil.copyfile(workspace / "params.yaml", workspace / "profiles" / "copied.yaml")
    with pytest.raises(ParamsError, match=r"must be copied.*found 'pydocs'"):
        profiles.activate("copied", workspace)


def test_a_lock_goes_to_the_profile_that_it_is_about(workspace):
    lock = "schema: '2.0'\nstages:\n  score@a:\n    outs:\n    - path: data/pydocs/scores/a.safetensors\n"
    (workspace / "dvc.lock").write_text(lock)
    shutil.copyfile(workspace / "profiles" / "sst2.yaml", workspace / "params.yaml")  # by hand
    resting = workspace / "reports" / "sst2" / "dvc.lock"
    resting.parent.mkdir(parents=True)
    resting.write_text("of sst2")
    profiles.activate("pydocs", workspace)
    assert (workspace / "dvc.lock").read_text() == lock
    assert resting.read_text() == "of sst2"


def test_what_an_editor_leaves_is_no_profile(workspace):
    known = profiles.available(workspace)
    (workspace / "profiles" / ".#sst2.yaml").symlink_to("me@host.1")
    (workspace / "profiles" / "gone.yaml").symlink_to("nowhere")
    (workspace / "profiles" / "folder.yaml").mkdir()
    assert profiles.available(workspace) == known
    assert profiles.active(workspace) == "pydocs"


def test_a_profile_that_is_no_text_is_listed_and_refused(workspace):
    (workspace / "profiles" / "odd.yaml").write_bytes(b"# caf\xe9\n")
    assert "not UTF-8 text" in profiles.summary(profiles.available(workspace)["odd"])
    with pytest.raises(ParamsError, match=r"odd.yaml is not valid YAML: 'utf-8' codec"):
        profiles.activate("odd", workspace)

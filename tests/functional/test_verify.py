"""Damage that DVC does not see: `sensibert verify` names it, and `dvc repro` makes the same files again."""

import pytest
import yaml
from damaged import cut, flip_a_bit

import stand_ins

MODEL = "data/tiny/models/0.5-0"


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """A repository whose outputs are all there, and its lock."""
    root = tmp_path_factory.mktemp("verify") / "repository"
    stand_ins.make(root, budgets=[0.5], seeds=[0])
    stand_ins.run(root, "dvc", "repro", "--quiet")
    return root, stand_ins.lock(root)


def in_cache(root, path):
    stages = yaml.safe_load((root / "dvc.lock").read_text())["stages"].values()
    (md5,) = {out["md5"] for stage in stages for out in stage["outs"] if out["path"] == path}
    return root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


def test_a_flipped_bit_that_dvc_restores_is_named_and_computed_again(computed):
    root, lock = computed
    assert "no file is damaged" in stand_ins.run(root, "sensibert", "verify")
    flip_a_bit(in_cache(root, MODEL))
    (root / MODEL).unlink()
    stand_ins.run(root, "dvc", "checkout", "--quiet")
    assert "up to date" in stand_ins.run(root, "dvc", "status")  # DVC sees nothing

    output = stand_ins.run(root, "sensibert", "verify", fails=True)
    assert f"damaged  {in_cache(root, MODEL)} ({MODEL}, made by tune@0.5-0)" in output
    assert f"damaged  {MODEL} (made by tune@0.5-0)" in output
    assert output.count("damaged  ") == 2

    assert stand_ins.run(root, "sensibert", "verify", "--remove").count("removed  ") == 2
    assert "Running stage 'tune@0.5-0'" in stand_ins.run(root, "dvc", "repro")
    assert stand_ins.lock(root) == lock
    assert "no file is damaged" in stand_ins.run(root, "sensibert", "verify")


def test_a_file_that_was_cut_in_the_work_tree_comes_back_from_the_cache(computed):
    root, lock = computed
    cut(root / MODEL, 3)
    assert f"removed  {MODEL}" in stand_ins.run(root, "sensibert", "verify", "--remove")
    assert "Running stage" not in stand_ins.run(root, "dvc", "repro")
    assert stand_ins.lock(root) == lock


def test_it_says_where_it_wants_to_run(tmp_path):
    assert "error: there is no dvc.lock here" in stand_ins.run(tmp_path, "sensibert", "verify", fails=True)

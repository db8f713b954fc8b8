"""What a free trial by somebody else found, each as it was reported."""

import json
import shutil
import subprocess
from dataclasses import replace

import pytest
from hostile import COMMANDS, DATA, QUICK, run

from sensibert.io import MARK, claim_scratch

SMALL = ("--baseline", "none", "--out", "small")


def compress(*more, model="tiny-bert", train="rows.csv"):
    return ("compress", "--model", model, "--train", train, *DATA, *QUICK, *more)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_loaded_as_fp32(here, dtype):
    import torch
    from transformers import AutoModelForSequenceClassification

    half = AutoModelForSequenceClassification.from_pretrained("model").to(getattr(torch, dtype))
    half.save_pretrained("half")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(here / "model" / name, here / "half" / name)
    assert run(*compress("--budget", "0.5", *SMALL, model="half")).exit_code == 0
    assert run("score", "--model", "half", "--train", "rows.csv", *DATA, "--out", "s.safetensors").exit_code == 0
    saved = AutoModelForSequenceClassification.from_pretrained("small", trust_remote_code=True, dtype="auto")
    assert {parameter.dtype for parameter in saved.parameters()} == {torch.float32}


@pytest.mark.parametrize("purpose", ["work", "part", "old", "lock", "holder"])
def test_what_is_unfinished_is_no_input(refused, here, purpose):
    place = here / f".small.sensibert-{purpose}"
    place.mkdir()
    shutil.copyfile(here / "rows.csv", place / "rows.csv")
    refused(*compress(*SMALL, train=f"{place.name}/rows.csv"), says="copy it to another place first")


@pytest.mark.parametrize("suffix", ["work", "part", "old", "lock", "holder"])
def test_hidden_files_of_the_users_own_stay(here, suffix):
    mine = here / f".metrics.{suffix}"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    assert run(*COMMANDS.evaluate, "--out", "metrics").exit_code == 0
    assert (mine / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize(
    "option", [("--budget", "0.1"), ("--criterion", "random"), ("--budget-kind", "size"), ("--round-to", "4")]
)
def test_options_that_a_mask_would_overrule_are_refused(refused, here, option):
    assert run("mask", "scores.safetensors", "--budget", "0.9", "--out", "mask.safetensors").exit_code == 0
    refused(*compress("--mask", "mask.safetensors", *option, *SMALL), says=f"{option[0]} cannot be given with it")
    refused(
        *compress("--mask", "mask.safetensors", "--scores", "scores.safetensors", *SMALL), says="--scores cannot be"
    )


def test_the_card_says_what_the_mask_is(here):
    arguments = ("--budget", "0.9", "--criterion", "magnitude", "--out", "mask.safetensors")
    assert run("mask", "scores.safetensors", *arguments).exit_code == 0
    assert run(*compress("--mask", "mask.safetensors", *SMALL)).exit_code == 0
    card = (here / "small" / "README.md").read_text()
    assert "0.9× params" in card  # noqa: RUF001
    assert "chosen by `magnitude`" in card
    recipe = json.loads((here / "small" / "evidence" / "report.json").read_text())["recipe"]
    assert (recipe["budget"], recipe["criterion"]) == (0.9, "magnitude")


def test_scores_that_saw_the_held_out_rows_are_refused(refused, here):
    assert run("score", "--model", "model", "--train", "rows.csv", *DATA, "--out", "s.safetensors").exit_code == 0
    given = ("--scores", "s.safetensors", *SMALL)
    refused(*compress("--seed", "1", *given, model="model"), says="may hold rows that this model is judged on")
    taken = run(*compress("--seed", "1", "--any-origin", *given, model="model"))
    assert taken.exit_code == 0
    assert "made elsewhere and may have seen them" in " ".join((here / "small" / "README.md").read_text().split())


def test_a_result_that_lost_a_file_is_not_done(here):
    assert run(*compress(*SMALL)).exit_code == 0
    assert "already done" in run(*compress(*SMALL)).output
    (here / "small" / "model.safetensors").unlink()
    again = run(*compress(*SMALL))
    assert again.exit_code == 1
    assert "is already there" in again.stderr


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[", b"null", b'"another run"'])
def test_a_damaged_claim_of_a_scratch_folder_is_no_claim(tmp_path, content):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "run.json").write_bytes(content)
    (tmp_path / "work" / "left").touch()
    claim_scratch(tmp_path / "work", "this run")
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["run.json"]


def test_a_repository_runs_nothing(here, tmp_path):
    from sensibert.experiment.provenance import git_state

    def git(*arguments):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments], check=True, cwd=here)

    git("init", "--quiet")
    git("add", "rows.csv")
    git("commit", "--quiet", "--message", "rows")
    git("config", "core.fsmonitor", f"touch {tmp_path / 'ran'}; false")
    assert git_state(here)["dirty"] is False
    assert not (tmp_path / "ran").exists()


def test_overwrite_leaves_what_the_user_put_into_a_result(refused, here):
    assert run(*COMMANDS.evaluate, "--out", "metrics").exit_code == 0
    (here / "metrics" / "project").mkdir()
    (here / "metrics" / "project" / "thesis.tex").write_text("years of work")
    refused(*COMMANDS.evaluate, "--out", "metrics", "--overwrite", says="metrics holds project/thesis.tex, which")


def test_overwrite_leaves_the_result_of_another_command(refused, here):
    assert run(*compress(*SMALL)).exit_code == 0
    refused(*COMMANDS.evaluate, "--out", "small", "--overwrite", says="is a result of `sensibert compress`, not of")
    (here / "small" / MARK).write_text(json.dumps({"made_by": "sensibert evaluate"}))
    refused(*COMMANDS.evaluate, "--out", "small", "--overwrite", says="which sensibert did not put there")


def test_a_baseline_that_was_never_trained_is_refused(refused):
    refused(*compress("--baseline", "given", "--out", "small"), says="'tiny-bert' does not classify bad, good yet")


def test_a_latency_of_another_model_is_refused(refused, here):
    from sensibert.scoring.files import read_scores, write_scores

    scores = read_scores(here / "scores.safetensors")
    made_for = replace(scores.origin.made_for, weights="0a")
    write_scores(here / "scores.safetensors", replace(scores, origin=replace(scores.origin, made_for=made_for)))
    latency = ("--budget-kind", "latency", "--out", "mask.safetensors")
    refused(*COMMANDS.mask, *latency, says="'tiny-bert' is not the model that was scored")

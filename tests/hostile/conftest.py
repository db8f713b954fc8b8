"""A model, data and scores that hostile input is made of."""

import json
import shutil

import pandas as pd
import pytest
from hostile import LONG, files_below, run
from hypothesis import settings

settings.register_profile("hostile", max_examples=2000 if LONG else 25, deadline=None, derandomize=not LONG)


@pytest.fixture(scope="package", autouse=True)
def _profile():
    """Other tests keep their own number of examples."""
    settings.load_profile("hostile")
    yield
    settings.load_profile("default")


@pytest.fixture(scope="session")
def originals(glue_data, tmp_path_factory):
    """A folder with rows.csv, a small saved classifier and the scores of its backbone; for copies alone."""
    from sensibert.data.tasks import TASKS
    from sensibert.models.backbones import load_backbone, load_tokenizer
    from sensibert.training.cell import save_model

    folder = tmp_path_factory.mktemp("originals")
    rows = pd.read_parquet(glue_data / "sst2" / "train.parquet")
    frame = pd.DataFrame({"text": rows["sentence"], "label": rows["label"].map({0: "bad", 1: "good"})})
    frame.to_csv(folder / "rows.csv", index=False)
    (folder / "notes.txt").write_text("mine")
    save_model(
        load_backbone("tiny-bert", TASKS["sst2"], seed=0, pooling="pooler"),
        load_tokenizer("tiny-bert"),
        folder / "model",
    )
    config = json.loads((folder / "model" / "config.json").read_text())
    config |= {"id2label": {"0": "bad", "1": "good"}, "label2id": {"bad": 0, "good": 1}}
    (folder / "model" / "config.json").write_text(json.dumps(config))
    data = ["--train", folder / "rows.csv", "--text", "text", "--label", "label", "--max-length", "32"]
    result = run("score", "--model", "tiny-bert", *data, "--out", folder / "scores.safetensors")
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def here(originals, tmp_path, monkeypatch):
    """A working folder of the test's own with copies of all of them."""
    folder = tmp_path / "work"
    shutil.copytree(originals, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def refused(here):
    """Runs a command that must fail with one plain line that says something, and must leave every file as it was."""

    def check(*arguments, says, stdin=""):
        before = files_below(here.parent)
        result = run(*arguments, stdin=stdin)
        assert result.exit_code != 0, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        message = result.stderr.strip().splitlines()[-1] if "error: " in result.stderr else result.stderr
        assert says in message, result.stderr
        assert files_below(here.parent) == before
        return result

    return check

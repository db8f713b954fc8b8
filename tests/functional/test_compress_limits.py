"""Several budgets at once, and the smallest one within limits."""

import pandas as pd
import pytest
from typer.testing import CliRunner

from sensibert.cli import app
from sensibert.compress import evidence_of
from sensibert.models.backbones import load_model
from sensibert.models.cost import count
from sensibert.report.labels import TIMES

LABELS = ("dull", "warm")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Training and held-out rows that a model learns in a few steps."""
    words = ["plot", "actor", "scene", "story", "music"]
    found = [{"text": f"a {LABELS[row % 2]} {words[row % 5]} {row}", "label": LABELS[row % 2]} for row in range(220)]
    folder = tmp_path_factory.mktemp("rows")
    pd.DataFrame(found[:180]).to_csv(folder / "train.csv", index=False)
    pd.DataFrame(found[180:]).to_csv(folder / "validation.csv", index=False)
    return folder


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def compress(rows, out, *more):
    data = (
        "--train",
        rows / "train.csv",
        "--validation",
        rows / "validation.csv",
        "--text",
        "text",
        "--label",
        "label",
    )
    quick = ("--epochs", "1", "--batch-size", "16", "--max-length", "16", "--learning-rate", "1e-3")
    return run("compress", "--model", "tiny-bert", *data, *quick, "--out", out, *more)


def test_several_budgets_share_the_scores_and_the_dense_model(rows, tmp_path):
    out = tmp_path / "several"
    result = compress(rows, out, "--budget", "0.4", "0.6")
    assert result.exit_code == 0, result.output
    assert result.output.count("score:") == result.output.count("fine-tune: the dense model") == 1
    assert result.output.count("fine-tune: the slim model") == 2
    large, small = (evidence_of(out / name) for name in ("0.6x", "0.4x"))
    assert large.before == small.before
    for evidence, name in ((large, "0.6x"), (small, "0.4x")):
        assert count(load_model(out / name)) == evidence.after.cost.total_parameters
        assert f"{evidence.recipe['budget']}{TIMES}" in result.output
        assert f"]({name}/README.md)" in (out / "README.md").read_text()
    assert large.after.cost.total_parameters > small.after.cost.total_parameters
    assert "<svg" in (out / "tradeoff.svg").read_text()
    again = compress(rows, out, "--budget", "0.6", "--budget", "0.4")
    assert "already done" in again.output
    assert f"0.6{TIMES}" in again.output


def test_a_budget_that_cannot_be_met_is_refused_before_anything_is_scored_or_trained(rows, tmp_path):
    result = compress(rows, tmp_path / "several", "--budget", "0.9", "0.001")
    assert result.exit_code == 1
    assert "budget 0.001 is too small" in result.stderr
    assert "score:" not in result.output


def test_other_names_of_the_classes_are_another_run(rows, tmp_path):
    out = tmp_path / "small"
    assert compress(rows, out, "--baseline", "none").exit_code == 0
    (tmp_path / "renamed").mkdir()
    for file in rows.iterdir():
        renamed = pd.read_csv(file).replace({"label": {"dull": "bad", "warm": "good"}})
        renamed.to_csv(tmp_path / "renamed" / file.name, index=False)
    again = compress(tmp_path / "renamed", out, "--baseline", "none", "--overwrite")
    assert again.exit_code == 0
    assert "already done" not in again.output
    assert load_model(out).config.label2id == {"bad": 0, "good": 1}


def test_the_smallest_that_loses_little_is_found_on_rows_that_nothing_trains_on(rows, tmp_path, monkeypatch):
    from sensibert.training import cell

    trained = set()
    fine_tune = cell.fine_tune

    def watched(model, examples, *given, **how):
        trained.update(example["idx"] for example in examples)
        return fine_tune(model, examples, *given, **how)

    monkeypatch.setattr(cell, "fine_tune", watched)
    out = tmp_path / "small"
    result = compress(rows, out, "--max-drop", "99", "--deploy-as", "torch", "--budget", "1", "0.6", "0.4")
    assert result.exit_code == 0, result.output
    search = evidence_of(out).search
    assert (search.chosen, search.dev_examples) == (0.4, 45)
    assert [point.budget for point in search.points] == [1.0, 0.6, 0.4]
    assert len(trained) == 180 - 45
    dense = search.points[0]
    assert (dense.drop.points, dense.drop.high) == (0, 0), "the dense model in PyTorch loses nothing to itself"
    card = (out / "README.md").read_text()
    assert "chosen" in card
    assert (out / "evidence" / "tradeoff.svg").exists()
    assert evidence_of(out).data["splits"]["dev"]["kept"] == 45


def test_what_is_deployed_keeps_within_the_size_and_answers(rows, tmp_path):
    options = ("--budget", "0.6", "--deploy-as", "onnx", "--max-size")
    refused = compress(rows, tmp_path / "small", *options, "1kB")
    assert refused.exit_code == 1
    assert "no model keeps within the limits: the smallest has 0.1 MB, of 0.001 MB allowed" in refused.output
    assert not (tmp_path / "small").exists()
    result = compress(rows, tmp_path / "small", *options, "1MB")
    assert result.exit_code == 0, result.output
    assert "score:" not in result.output, "what was computed for other limits is there"
    export = tmp_path / "small" / "onnx"
    assert (export / "model.onnx").stat().st_size <= 1_000_000
    answered = run("predict", export, rows / "validation.csv", "--out", tmp_path / "answers.csv")
    assert answered.exit_code == 0, answered.output
    judged = pd.read_parquet(tmp_path / "small" / "evidence" / "predictions.parquet")["prediction"]
    assert list(pd.read_csv(tmp_path / "answers.csv")["predicted_label"]) == [LABELS[found] for found in judged]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--max-drop", "1", "--baseline", "none"), "--max-drop is measured from the dense model"),
        (("--max-drop", "1", "--max-train", "60"), "60 training rows are too few for --max-drop"),
        (("--budget", "0.6", "1.5"), "found 1.5"),
        (("--max-latency", "5"), "max_latency: must be a time with its unit, such as 5ms"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_computed(rows, tmp_path, options, message):
    result = compress(rows, tmp_path / "small", *options)
    assert result.exit_code == 1
    assert message in result.output
    assert "score:" not in result.output
    assert list(tmp_path.iterdir()) == []

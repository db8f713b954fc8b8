"""`sensibert compress --compare`: what else could be deployed, on the same rows."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from sensibert.alternatives import setfit
from sensibert.alternatives.base import Given
from sensibert.cli import app
from sensibert.compress import evidence_of
from sensibert.data.tasks import TASKS
from sensibert.models.backbones import load_backbone, load_tokenizer


def compress(folder, *more):
    data = ("--train", folder / "train.csv", "--validation", folder / "validation.csv", "--label", "label")
    quick = ("--epochs", "1", "--batch-size", "16", "--max-length", "16", "--learning-rate", "1e-3", "--budget", "0.6")
    command = ("compress", "--model", "tiny-bert", *data, *quick, "--out", folder / "small", "--compare", *more)
    return CliRunner().invoke(app, [str(word) for word in command])


@pytest.fixture
def pairs(tmp_path):
    """Pairs of texts whose label says whether their first words are equal: words alone can tell."""
    nouns = ["plot", "actor", "scene", "story"]
    found = [
        {"first": f"{nouns[row % 4]} {row}", "second": f"{nouns[(row + row % 2) % 4]} {row}", "label": "ny"[row % 2]}
        for row in range(120)
    ]
    pd.DataFrame(found[:90]).to_csv(tmp_path / "train.csv", index=False)
    pd.DataFrame(found[90:]).to_csv(tmp_path / "validation.csv", index=False)
    return tmp_path


def test_everything_that_could_be_deployed_is_measured_on_the_same_rows(pairs):
    result = compress(pairs, "--text", "first", "--text-pair", "second")
    assert result.exit_code == 0, result.output
    evidence = evidence_of(pairs / "small")
    found = {one.name: one for one in evidence.alternatives}
    networks = [f"{name}{suffix}" for name in ("dense", "slim 0.6×") for suffix in ("", ", ONNX", ", INT8")]  # noqa: RUF001
    simple = ["TF-IDF, linear", "frozen embeddings, linear", "static embeddings, linear"]
    assert list(found) == [*networks, "first layers 0.6×", *simple]  # noqa: RUF001
    for before, name in ((evidence.before, "dense"), (evidence.after, "slim 0.6×")):  # noqa: RUF001
        assert found[name].metric == found[f"{name}, ONNX"].metric == pytest.approx(before.metrics["accuracy"])
        assert found[name].file_bytes == before.cost.model_bytes > found[f"{name}, INT8"].file_bytes
    for one in found.values():
        assert 0 <= one.low <= one.metric <= one.high <= 100
        assert min(one.latency, one.batch_latency, one.file_bytes, one.training_minutes) > 0
    chosen = [one for one in found.values() if one.is_chosen]
    assert len(chosen) == 1
    assert chosen[0].is_best
    assert f"Deploy {chosen[0].name}: " in result.output
    assert f"Deploy {chosen[0].name}: " in (pairs / "small" / "README.md").read_text()


def test_a_comparison_needs_the_dense_model(pairs):
    result = compress(pairs, "--text", "first", "--baseline", "none")
    assert result.exit_code == 1
    assert "--compare measures the dense model too" in result.output


def test_setfit_learns_classes_of_single_texts(pairs):
    texts = pd.read_csv(pairs / "train.csv")["first"].tolist()
    labels = np.array([text.split()[0] in {"plot", "actor"} for text in texts]).astype(int)
    model, tokenizer = load_backbone("tiny-bert", TASKS["sst2"], 0, pooling="pooler"), load_tokenizer("tiny-bert")
    before = [weights.clone() for weights in model.parameters()]
    given = Given(lambda: model, tokenizer, texts, labels, max_length=16, seed=0)
    assert setfit.suits(given)
    assert setfit.knows(model)
    simple = setfit.fit(given)
    assert (simple.answer(texts) == labels).mean() > 0.9
    assert simple.file_bytes > sum(4 * weights.numel() for weights in model.base_model.parameters())
    assert all((weights == old).all() for weights, old in zip(model.parameters(), before, strict=True))
    assert not setfit.suits(replace(given, texts=[("a", "pair")]))
    assert not setfit.suits(replace(given, labels=labels.astype(float)))

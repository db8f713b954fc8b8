"""Rankings of layers: when and by how many examples they are made, and how they are compared."""

import numpy as np
import pandas as pd
import pytest

from sensibert.encoding import draw
from sensibert.layer_agreement import AGREEMENT_COLUMNS, agreement, layer_agreements
from sensibert.layer_ranking import COLUMNS, layer_scores
from sensibert.models.backbones import load_backbone, load_tokenizer
from sensibert.params import MethodParams, TrainingParams
from sensibert.report.stability import write_stability
from sensibert.stability import COLUMNS as STABILITY_COLUMNS
from sensibert.tasks import TASKS
from sensibert.tuning.surgical import layer_fisher

TOKENIZER = load_tokenizer("tiny-bert")
EXAMPLES = [{"input_ids": [2, 10 + row % 2, 20 + row % 5, 3], "labels": row % 2} for row in range(24)]


def table(scores):
    """(epoch, samples) -> scores of the layers, as a table."""
    rows = [(*moment, layer, value) for moment, values in scores.items() for layer, value in enumerate(values)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def test_scores_are_taken_before_and_after_each_epoch(tmp_path):
    model = load_backbone("tiny-bert", TASKS["sst2"], 0)
    before = layer_fisher(model, draw(EXAMPLES, 5, 0), TOKENIZER)
    training = TrainingParams(epochs=2, batch_size=8, precision="fp32")
    options = MethodParams(learning_rate=1e-3)
    found = layer_scores(model, EXAMPLES, TOKENIZER, training, options, 0, [5, 10], tmp_path / "checkpoints")
    moments = found[["epoch", "samples"]].drop_duplicates().to_numpy().tolist()
    assert moments == [[0, 5], [0, 10], [1, 10], [2, 10]]
    np.testing.assert_allclose(found[found["samples"] == 5]["score"], before, rtol=1e-6)
    after = layer_fisher(model, draw(EXAMPLES, 10, 0), TOKENIZER)
    np.testing.assert_allclose(found[found["epoch"] == 2]["score"], after, rtol=1e-4)
    assert not list(tmp_path.iterdir())


def test_agreement_is_with_the_largest_sample_before_fine_tuning():
    scores = table({(0, 10): [1, 2, 3, 4], (0, 50): [4, 3, 2, 1], (1, 50): [4, 3, 1, 2], (2, 50): [1, 2, 3, 4]})
    found = agreement(scores, layers=2)
    assert tuple(found.columns) == AGREEMENT_COLUMNS
    assert found[["epoch", "samples"]].to_numpy().tolist() == [[0, 10], [0, 50], [1, 50], [2, 50]]
    assert found["ranking"].tolist() == ["3 2 1 0", "0 1 2 3", "0 1 3 2", "3 2 1 0"]
    assert found["spearman"].tolist() == pytest.approx([-1.0, 1.0, 0.8, -1.0])
    assert found["spearman_previous_epoch"].tolist() == pytest.approx([np.nan, np.nan, 0.8, -0.8], nan_ok=True)
    assert found["shared_layers"].tolist() == [0, 2, 2, 0]
    assert agreement(scores, layers=9)["of"].unique() == [4]


def test_the_report_has_a_section_where_something_was_checked(tmp_path):
    layers = layer_agreements({("sst2", 3): table({(0, 50): [2, 1], (1, 50): [1, 2]})}, layers=1)
    rows = [("sst2", "mask", "seeds", "all", "spearman", np.nan, 0.9, 0.8, 1, 0.0)]
    write_stability(pd.DataFrame(rows, columns=list(STABILITY_COLUMNS)), layers, tmp_path)
    lines = (tmp_path / "stability.md").read_text().splitlines()
    assert "## Ranking of whole layers by Fisher information" in lines
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| sst2")]
    assert cells == [
        ["sst2", "3", "0", "50", "0 1", "1.00", "–", "1 of 1"],  # noqa: RUF001
        ["sst2", "3", "1", "50", "1 0", "-1.00", "-1.00", "0 of 1"],
    ]
    assert pd.read_csv(tmp_path / "layer_ranking.csv")["ranking"].tolist() == ["0 1", "1 0"]

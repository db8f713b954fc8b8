"""Rankings of layers in the course of a real fine-tuning: when and by how many examples they are made."""

import numpy as np

from sensibert.analysis.layer_ranking import COLUMNS, layer_scores
from sensibert.config.method_settings import MethodParams
from sensibert.config.settings import TrainingParams
from sensibert.data.encoding import draw
from sensibert.data.tasks import TASKS
from sensibert.models.backbones import load_backbone, load_tokenizer
from sensibert.tuning.parts.layer_fisher import layer_fisher

TOKENIZER = load_tokenizer("tiny-bert")
EXAMPLES = [{"input_ids": [2, 10 + row % 2, 20 + row % 5, 3], "labels": row % 2} for row in range(24)]


def test_scores_are_taken_before_and_after_each_epoch(tmp_path):
    model = load_backbone("tiny-bert", TASKS["sst2"], 0)
    before = layer_fisher(model, draw(EXAMPLES, 5, 0), TOKENIZER)
    training = TrainingParams(epochs=2, batch_size=8, precision="fp32", min_steps=0)
    options = MethodParams(learning_rate=1e-3)
    given = {"options": options, "seed": 0, "samples": [5, 10], "checkpoints": tmp_path / "checkpoints"}
    found = layer_scores(model, EXAMPLES, TOKENIZER, training, **given)
    assert tuple(found.columns) == COLUMNS
    moments = found[["epoch", "samples"]].drop_duplicates().to_numpy().tolist()
    assert moments == [[0, 5], [0, 10], [1, 10], [2, 10]]
    np.testing.assert_allclose(found[found["samples"] == 5]["score"], before, rtol=1e-6)
    after = layer_fisher(model, draw(EXAMPLES, 10, 0), TOKENIZER)
    np.testing.assert_allclose(found[found["epoch"] == 2]["score"], after, rtol=1e-4)
    assert not list(tmp_path.iterdir())

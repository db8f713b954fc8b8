from dataclasses import asdict

import numpy as np
import pytest
import torch

from sensibert.config.grid import Cell
from sensibert.data.tasks import TASKS
from sensibert.evaluation.cell import evaluate_cell
from sensibert.evaluation.evaluate import evaluate
from sensibert.models.anatomy import costs_of, prunable_modules
from sensibert.models.backbones import load_backbone, load_tokenizer
from sensibert.models.cost import measure_size
from sensibert.models.slim import slim
from sensibert.results import CurvePoint, History
from sensibert.scoring.ranking import make_mask

TOKENIZER = load_tokenizer("tiny-bert")
CELL = Cell("mnli", "sensitivity", 0.5, 3)
HISTORY = History(
    trainable_parameters=11,
    stored_parameters=22,
    extra_passes=1.5,
    log=[CurvePoint(1, 0.5, 0.7, 1e-3)],
    steps=1,
    chosen={"layers": [0]},
    tokens=7,
)


def examples_of(count):
    return [{"input_ids": [2, 10 + row, 20, 3], "labels": row % 3, "idx": 50 + row} for row in range(count)]


@pytest.fixture
def slim_model():
    model = load_backbone("tiny-bert", TASKS["mnli"], seed=0)
    generator = np.random.default_rng(0)
    scores = {key: generator.random(module.shape) for key, module in prunable_modules(model).items()}
    return slim(model, make_mask(scores, costs_of(model), 0.5))


@pytest.fixture
def folder(slim_model, tmp_path):
    slim_model.save_pretrained(tmp_path)
    return tmp_path


SPLITS = {"validation_matched": examples_of(12), "validation_mismatched": examples_of(5)}


def evaluated(model, folder, **changes):
    given = {"cell": CELL, "history": HISTORY, "folder": folder} | changes
    return evaluate_cell(model, SPLITS, TOKENIZER, TASKS["mnli"], **given)


def test_a_result_has_the_metrics_the_size_and_what_the_training_took(slim_model, folder):
    result, predictions = evaluated(slim_model, folder)
    expected = evaluate(slim_model, SPLITS, TOKENIZER, TASKS["mnli"])
    assert result.cell == CELL
    assert result.metrics == expected.metrics
    assert result.metrics.keys() == {"accuracy", "accuracy_mismatched"}
    assert (result.primary_metric, result.primary) == ("accuracy", expected.metrics["accuracy"])
    assert result.examples == 12
    assert predictions.equals(expected.predictions)
    training = {"trainable_parameters": 11, "stored_parameters": 22, "extra_passes": 1.5}
    assert asdict(result.cost) == training | asdict(measure_size(slim_model, folder, tokens=7))
    assert 0.3 < result.cost.prunable_kept <= 0.5
    assert result.cost.model_bytes == (folder / "model.safetensors").stat().st_size


def test_a_model_that_is_not_judged_has_a_size_and_no_predictions(slim_model, folder):
    judged, _ = evaluated(slim_model, folder)
    result, predictions = evaluated(slim_model, folder, judged=False)
    assert result.metrics == {}
    assert predictions.empty
    assert (result.cost, result.examples, result.cell) == (judged.cost, judged.examples, judged.cell)


def test_the_result_does_not_hang_on_the_random_state(slim_model, folder):
    first, _ = evaluated(slim_model.train(), folder)
    torch.manual_seed(99)
    assert evaluated(slim_model.train(), folder)[0] == first

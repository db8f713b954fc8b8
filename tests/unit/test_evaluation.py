from dataclasses import replace

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict

from sensibert.encoding import encode
from sensibert.evaluation import evaluate, predict, prediction_of, prediction_table
from sensibert.metrics import compute_metrics
from sensibert.models.backbones import load_backbone, load_tokenizer
from sensibert.tasks import TASKS

TOKENIZER = load_tokenizer("tiny-bert")
GENERATOR = np.random.default_rng(0)
TEXTS = ["".join(GENERATOR.choice(list("abcdef"), size)) for size in GENERATOR.integers(1, 40, 30)]


def split(task, texts=TEXTS):
    size = len(texts)
    labels = np.linspace(0, 5, size) if task.is_regression else np.arange(size) % len(task.label_names)
    pair = {"text_pair": texts[::-1]} if task.is_pair else {}
    return Dataset.from_dict({"text": texts, **pair, "label": labels.tolist(), "idx": list(range(100, 100 + size))})


def random_model(task):
    model = load_backbone("tiny-bert", task, seed=0)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape), alpha=0.2)
    return model


@pytest.mark.parametrize("name", ["sst2", "mnli", "stsb"])
def test_the_logits_are_those_of_each_text_alone(name):
    task = TASKS[name]
    model, examples = random_model(task), encode(split(task), TOKENIZER, 64)
    logits = predict(model, examples, TOKENIZER, batch_size=8)
    assert logits.shape == (30, max(1, len(task.label_names)))
    assert logits.dtype == np.float32
    for row, example in enumerate(examples):
        inputs = {key: torch.tensor([value]) for key, value in example.items() if key != "labels"}
        with torch.no_grad():
            alone = model(**inputs).logits[0].numpy()
        assert np.abs(logits[row] - alone).max() < 1e-5
    assert np.ptp(logits, axis=0).min() > 0.1  # the texts are told apart, so the order of the rows was tested


def test_evaluation_switches_dropout_off():
    task = TASKS["sst2"]
    model, examples = random_model(task).train(), encode(split(task), TOKENIZER, 64)
    assert np.array_equal(predict(model, examples, TOKENIZER), predict(model, examples, TOKENIZER))


@pytest.mark.parametrize("name", ["sst2", "mrpc", "stsb", "cb", "imdb"])
def test_the_metrics_are_those_of_the_predictions(name):
    task = TASKS[name]
    data = split(task)
    splits = DatasetDict({task.validation_splits[0]: data})
    metrics, table = evaluate(random_model(task), TOKENIZER, task, splits, max_length=64)
    assert metrics == compute_metrics(task, table["prediction"].to_numpy(), np.asarray(data["label"]))
    assert metrics.keys() == set(task.metrics)
    assert table["idx"].tolist() == list(data["idx"])
    assert table["label"].tolist() == list(data["label"])


def test_the_second_split_of_mnli_has_metrics_of_its_own():
    task = TASKS["mnli"]
    data = DatasetDict(validation_matched=split(task), validation_mismatched=split(task, TEXTS[:10]))
    model = random_model(task)
    metrics, table = evaluate(model, TOKENIZER, task, data, max_length=64)
    assert metrics.keys() == {"accuracy", "accuracy_mismatched"}
    assert len(table) == 30
    of_second = replace(task, validation_splits=("validation_mismatched",))
    assert evaluate(model, TOKENIZER, of_second, data, 64)[0] == {"accuracy": metrics["accuracy_mismatched"]}


def test_the_table_names_the_classes():
    logits = np.array([[0.1, 0.9], [2.0, -1.0]], dtype=np.float32)
    table = prediction_table(TASKS["sst2"], [7, 9], np.array([1, 1]), logits)
    assert list(table) == ["idx", "label", "prediction", "logit_negative", "logit_positive"]
    assert table["prediction"].tolist() == [1, 0]
    assert np.array_equal(table[["logit_negative", "logit_positive"]].to_numpy(), logits)


def test_a_regression_predicts_its_number():
    logits = np.array([[0.5], [4.5]], dtype=np.float32)
    assert prediction_of(TASKS["stsb"], logits).tolist() == [0.5, 4.5]
    table = prediction_table(TASKS["stsb"], [0, 1], np.array([1.0, 5.0]), logits)
    assert list(table) == ["idx", "label", "prediction", "logit_score"]

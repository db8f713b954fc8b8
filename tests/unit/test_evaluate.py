import numpy as np
import pytest
import torch
from datasets import Dataset

from sensibert.data.encoding import encode
from sensibert.data.tasks import TASKS
from sensibert.evaluation.evaluate import evaluate, judge, metrics_of, predict, prediction_of, prediction_table
from sensibert.evaluation.metrics import compute_metrics
from sensibert.models.backbones import load_backbone, load_tokenizer

TOKENIZER = load_tokenizer("tiny-bert")
GENERATOR = np.random.default_rng(0)
TEXTS = ["".join(GENERATOR.choice(list("abcdef"), size)) for size in GENERATOR.integers(1, 40, 30)]


def examples_of(task, texts=TEXTS):
    size = len(texts)
    labels = np.linspace(0, 5, size) if task.is_regression else np.arange(size) % len(task.label_names)
    pair = {"text_pair": texts[::-1]} if task.is_pair else {}
    rows = Dataset.from_dict({"text": texts, **pair, "label": labels.tolist(), "idx": list(range(100, 100 + size))})
    return encode(rows, TOKENIZER, max_length=64)


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
    model, examples = random_model(task), examples_of(task)
    logits = predict(model, examples, TOKENIZER, batch_size=8)
    assert logits.shape == (30, max(1, len(task.label_names)))
    assert logits.dtype == np.float32
    for row, example in enumerate(examples):
        inputs = {key: torch.tensor([value]) for key, value in example.items() if key not in ("labels", "idx")}
        with torch.no_grad():
            alone = model(**inputs).logits[0].numpy()
        assert np.abs(logits[row] - alone).max() < 1e-5
    assert np.ptp(logits, axis=0).min() > 0.1  # the texts are told apart, so the order of the rows was tested


def test_evaluation_switches_dropout_off():
    task = TASKS["sst2"]
    model, examples = random_model(task).train(), examples_of(task)
    assert np.array_equal(predict(model, examples, TOKENIZER), predict(model, examples, TOKENIZER))


@pytest.mark.parametrize("name", ["sst2", "mrpc", "stsb", "cb", "imdb"])
def test_the_metrics_are_those_of_the_predictions(name):
    task, model = TASKS[name], random_model(TASKS[name])
    examples = examples_of(task)
    found = evaluate(model, {task.validation_splits[0]: examples}, TOKENIZER, task)
    table, labels = found.predictions, np.array([example["labels"] for example in examples])
    assert found.metrics == compute_metrics(task, table["prediction"].to_numpy(), labels)
    assert found.metrics == metrics_of(task, predict(model, examples, TOKENIZER), examples)
    assert found.metrics.keys() == set(task.metrics)
    assert judge(model, examples, TOKENIZER, task) == found.metrics[task.primary_metric]
    assert table["idx"].tolist() == list(range(100, 130))
    assert table["label"].tolist() == labels.tolist()


def test_the_second_split_of_mnli_has_metrics_of_its_own():
    task, model = TASKS["mnli"], random_model(TASKS["mnli"])
    splits = {"validation_matched": examples_of(task), "validation_mismatched": examples_of(task, TEXTS[:10])}
    found = evaluate(model, splits, TOKENIZER, task)
    assert found.metrics.keys() == {"accuracy", "accuracy_mismatched"}
    assert len(found.predictions) == 30
    alone = evaluate(model, {"validation_mismatched": splits["validation_mismatched"]}, TOKENIZER, task)
    assert alone.metrics == {"accuracy": found.metrics["accuracy_mismatched"]}
    assert found.metrics["accuracy"] != found.metrics["accuracy_mismatched"]


def test_the_table_names_the_classes():
    logits = np.array([[0.1, 0.9], [2.0, -1.0]], dtype=np.float32)
    table = prediction_table(TASKS["sst2"], [{"idx": 7, "labels": 1}, {"idx": 9, "labels": 1}], logits)
    assert list(table) == ["idx", "label", "prediction", "logit_negative", "logit_positive"]
    assert table["idx"].tolist() == [7, 9]
    assert table["label"].tolist() == [1, 1]
    assert table["prediction"].tolist() == [1, 0]
    assert np.array_equal(table[["logit_negative", "logit_positive"]].to_numpy(), logits)


def test_a_regression_predicts_its_number():
    logits = np.array([[0.5], [4.5]], dtype=np.float32)
    assert prediction_of(TASKS["stsb"], logits).tolist() == [0.5, 4.5]
    table = prediction_table(TASKS["stsb"], [{"idx": 0, "labels": 1.0}, {"idx": 1, "labels": 5.0}], logits)
    assert list(table) == ["idx", "label", "prediction", "logit_score"]

"""Labels that are real numbers of any size: what trains on them answers in their units."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, GPT2Config, GPT2ForSequenceClassification

from sensibert.config.method_settings import MethodParams
from sensibert.config.settings import ScoringParams, TrainingParams
from sensibert.data.encoding import EncodedTexts, TaughtExamples, labels_of
from sensibert.data.tasks import TASKS
from sensibert.evaluation.evaluate import predict
from sensibert.models.backbones import class_names, classifies, load_backbone, load_tokenizer
from sensibert.models.targets import begin_training, end_training
from sensibert.scoring.scoring_pass import score
from sensibert.training.cell import save_model
from sensibert.training.fine_tune import fine_tune

TOKENIZER = load_tokenizer("tiny-bert")
GOOD, BAD = 30, 31
SETTINGS = TrainingParams(epochs=30, batch_size=8, precision="fp32", min_steps=0)


def examples_of(mean, std):
    """Texts of which half hold a token that makes them dear; the labels have this mean and standard deviation."""
    tokens = {"input_ids": np.array([[2, 10 + row % 7, GOOD if row % 2 else BAD, 3] for row in range(32)]).ravel()}
    labels = np.array([mean + std * (1 if row % 2 else -1) for row in range(32)], dtype=float)
    return EncodedTexts(tokens, np.arange(4, 132, 4), labels, np.arange(32))


PRICES = examples_of(250_000, 40_000)


def bert():
    return load_backbone("tiny-bert", TASKS["stsb"], seed=0)


def gpt():
    """Its last layer has no bias."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 200, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 16, "pad_token_id": 0}
    return GPT2ForSequenceClassification(GPT2Config(**sizes, num_labels=1, problem_type="regression"))


def tuned(model, examples, folder, **changes):
    how = {"method": "full", "options": MethodParams(learning_rate=2e-3), "seed": 0} | changes
    fine_tune(model, examples, TOKENIZER, SETTINGS, checkpoints=folder / "checkpoints", **how)
    return model


@pytest.fixture(scope="module")
def regressor(tmp_path_factory):
    """The folder of a model that was tuned on `PRICES`."""
    folder = tmp_path_factory.mktemp("regressor")
    save_model(tuned(bert(), PRICES, folder), TOKENIZER, folder / "model")
    return folder / "model"


def explained(model, examples):
    """Part of the labels' variance that the answers explain."""
    labels, answers = labels_of(examples), predict(model.eval(), examples, TOKENIZER)[:, 0]
    return 1 - np.square(answers - labels).mean() / labels.var()


@pytest.mark.parametrize("make", [bert, gpt])
@pytest.mark.parametrize(("mean", "std"), [(250_000, 40_000), (-3e-5, 1e-6)])
def test_labels_of_any_size_are_learned(make, mean, std, tmp_path):
    if make is gpt:
        mean = std  # without a bias the answers spread around 0
    examples = examples_of(mean, std)
    assert explained(tuned(make(), examples, tmp_path), examples) > 0.9


def test_the_saved_model_answers_in_their_units(regressor):
    loaded = AutoModelForSequenceClassification.from_pretrained(regressor).eval()
    ids = torch.tensor([PRICES[1]["input_ids"]])
    assert loaded(ids).logits.item() == pytest.approx(290_000, rel=0.05)


def test_what_peft_trained_does_too(tmp_path):
    options = MethodParams(learning_rate=1e-2)
    assert explained(tuned(bert(), PRICES, tmp_path, method="lora", options=options, budget=0.05), PRICES) > 0.8


def goes_on_where_it_was(folder, pooling):
    again = load_backbone(str(folder), TASKS["stsb"], seed=1, pooling=pooling)
    before = explained(again, PRICES)
    assert before > 0.9
    tuned(again, PRICES, folder, options=MethodParams(learning_rate=1e-9))
    assert explained(again, PRICES) == pytest.approx(before, abs=1e-4)


def test_a_trained_regressor_goes_on_where_it_was(regressor):
    goes_on_where_it_was(regressor, "auto")


def test_one_that_was_trained_with_its_pooler_does_too(tmp_path):
    model = tuned(load_backbone("tiny-bert", TASKS["stsb"], seed=0, pooling="pooler"), PRICES, tmp_path)
    save_model(model, TOKENIZER, tmp_path / "model")
    goes_on_where_it_was(tmp_path / "model", "pooler")


def test_a_new_classifier_on_a_trained_regressor_starts_anew(regressor, tmp_path):
    other = load_backbone(str(regressor), TASKS["stsb"], seed=1, pooling="cls")
    assert explained(tuned(other, PRICES, tmp_path), PRICES) > 0.9


def test_a_teacher_answers_in_the_same_units():
    taught = TaughtExamples(PRICES, labels_of(PRICES)[:, None] + 40_000)
    for examples in (taught, list(taught)):
        standardized, _ = begin_training(bert(), examples)
        assert [example["labels"] for example in standardized[:2]] == pytest.approx([-1, 1])
        assert [example["teacher_logits"][0] for example in standardized[:2]] == pytest.approx([0, 2])


def test_there_and_back_changes_nothing():
    model = tuned_like(bert())
    before = predict(model.eval(), PRICES, TOKENIZER)
    _, scale = begin_training(model, PRICES)
    assert abs(predict(model, PRICES, TOKENIZER)).max() < 10
    end_training(model, scale)
    np.testing.assert_allclose(predict(model, PRICES, TOKENIZER), before, rtol=1e-5)


def tuned_like(model):
    """A model that answers in prices."""
    _, scale = begin_training(model, PRICES)
    end_training(model, scale)
    return model


def test_scores_do_not_depend_on_the_units():
    found = [
        next(score(bert(), examples, TOKENIZER, ScoringParams(), seed=0, precision="fp32"))
        for examples in (examples_of(0, 1), PRICES)
    ]
    for key, scores in found[0].scores["sensitivity"].items():
        np.testing.assert_allclose(found[1].scores["sensitivity"][key], scores, rtol=1e-2, atol=1e-7)


def test_classes_are_left_alone():
    model, examples = load_backbone("tiny-bert", TASKS["sst2"], seed=0), [PRICES[0] | {"labels": 1}]
    assert begin_training(model, examples) == (examples, None)


@pytest.mark.parametrize("problem_type", ["regression", None])
def test_a_model_of_one_label_is_a_regressor(tmp_path, problem_type):
    """A cross-encoder has one, and no type."""
    model = bert()
    model.config.problem_type = problem_type
    save_model(model, TOKENIZER, tmp_path / "model")
    assert class_names(tmp_path / "model") == ()
    assert classifies(str(tmp_path / "model"), TASKS["stsb"])
    assert not classifies(str(tmp_path / "model"), TASKS["sst2"])

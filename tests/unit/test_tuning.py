import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig

from sensibert.models.backbones import load_backbone, load_tokenizer
from sensibert.params import TrainingParams
from sensibert.tasks import TASKS
from sensibert.training import fine_tune
from sensibert.tuning import TUNING_METHODS, freeze_all_but


@pytest.fixture(scope="module")
def bert_tiny():
    """The shape of google/bert_uncased_L-2_H-128_A-2."""
    config = BertConfig(hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=512)
    with torch.device("meta"):
        return AutoModelForSequenceClassification.from_config(config)


def trained(model):
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(
    ("method", "expected"), [("full", 4_386_178), ("bitfit_frozen_classifier", 3_074), ("bitfit", 3_330)]
)
def test_the_trained_parameters_of_bert_tiny_are_those_of_the_papers(bert_tiny, method, expected):
    freeze_all_but(bert_tiny, method)
    assert sum(parameter.numel() for parameter in trained(bert_tiny).values()) == expected


def test_bitfit_trains_all_biases_and_the_classifier(bert_tiny):
    biases = {name for name, _ in bert_tiny.named_parameters() if name.endswith(".bias")}
    assert len(biases) == 1 + 2 * 8 + 2  # embeddings; six linears and two norms per layer; pooler and classifier
    freeze_all_but(bert_tiny, "bitfit_frozen_classifier")
    assert trained(bert_tiny).keys() == biases
    freeze_all_but(bert_tiny, "bitfit")
    assert trained(bert_tiny).keys() == biases | {"classifier.weight"}


def test_the_choice_of_a_method_does_not_depend_on_an_earlier_one(bert_tiny):
    freeze_all_but(bert_tiny, "bitfit")
    freeze_all_but(bert_tiny, "full")
    assert trained(bert_tiny).keys() == dict(bert_tiny.named_parameters()).keys()


@pytest.mark.parametrize("method", TUNING_METHODS)
def test_what_trains_changes_and_the_rest_keeps_its_bits(method, tmp_path):
    model = load_backbone("tiny-bert", TASKS["sst2"], seed=0)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    examples = [{"input_ids": [2, 10 + row % 7, 3], "labels": row % 2} for row in range(32)]
    settings = TrainingParams(epochs=2, batch_size=8, precision="fp32")
    arguments = {"method": method, "learning_rate": 1e-2, "seed": 0, "checkpoints": tmp_path / "checkpoints"}
    result = fine_tune(model, examples, load_tokenizer("tiny-bert"), settings, **arguments)
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == trained(model).keys()
    assert result.trainable_parameters == sum(parameter.numel() for parameter in trained(model).values())

"""Which pooling a new classifier gets, and that a pooled model of every architecture is a model like any other."""

import json

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, BertModel

from sensibert.data.tasks import TASKS
from sensibert.errors import BackboneError
from sensibert.models.anatomy import costs_of, grains_of, is_classifier, prunable_modules
from sensibert.models.backbones import load_backbone, load_model, load_tokenizer
from sensibert.models.cost import count, dense_skeleton, prunable_parameters
from sensibert.models.gates import masked
from sensibert.models.heads import HeadPooling, give_head
from sensibert.models.slim import slim
from sensibert.scoring.ranking import make_mask
from sensibert.training.cell import save_model

SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20}
SST2 = TASKS["sst2"]


def logits_of(model, batch):
    with torch.no_grad():
        return model.eval()(**batch).logits


@pytest.fixture(params=["mean", "cls"])
def pooled(request, tiny_model):
    give_head(tiny_model, HeadPooling(request.param, "asked for"), seed=3)
    return tiny_model


def mask_of(model):
    scores = {
        key: torch.rand(module.shape, generator=torch.Generator().manual_seed(0)).numpy()
        for key, module in prunable_modules(model).items()
    }
    return make_mask(scores, costs_of(model), 0.5, grains=grains_of(model))


def test_the_classifier_sees_the_mean_over_the_tokens_or_the_first_one(pooled, batch):
    inputs = {name: values for name, values in batch.items() if name != "labels"}
    with torch.no_grad():
        hidden = pooled.eval().base_model(**inputs).last_hidden_state
    rows = []
    for row, states in enumerate(hidden):
        real = states[batch["attention_mask"][row].bool()] if "attention_mask" in batch else states
        rows.append(real.mean(0) if pooled.config.head_pooling["kind"] == "mean" else real[0])
    assert torch.allclose(logits_of(pooled, batch), pooled.classifier(torch.stack(rows)), atol=1e-6)


def test_padding_and_the_other_texts_do_not_matter(pooled, batch, examples):
    together = logits_of(pooled, batch)
    alone = torch.cat([logits_of(pooled, example) for example in examples])
    assert torch.allclose(together, alone, atol=1e-4)


def test_it_is_slimmed_saved_and_loaded_like_any_other(pooled, batch, tmp_path):
    mask = mask_of(pooled)
    small = slim(pooled, mask)
    with masked(pooled, mask):
        expected = logits_of(pooled, batch)
    assert torch.allclose(logits_of(small, batch), expected, atol=1e-5)
    assert prunable_parameters(dense_skeleton(small)) == prunable_parameters(pooled)
    assert count(dense_skeleton(small)) == count(pooled)
    for name, model in (("small", small), ("dense", pooled)):
        model.save_pretrained(tmp_path / name)
        loaded = load_model(tmp_path / name)
        assert torch.allclose(logits_of(loaded, batch), logits_of(model, batch), atol=1e-6)
        assert loaded.config.head_pooling == pooled.config.head_pooling


def test_nothing_but_the_classifier_is_new_and_everything_trains(pooled, batch):
    assert {name for name, _ in pooled.named_parameters() if is_classifier(pooled, name)} == {
        "classifier.weight",
        "classifier.bias",
    }
    pooled.train()(**batch).loss.backward()
    unused = {name for name, parameter in pooled.named_parameters() if parameter.grad is None}
    assert not unused


def test_the_seed_draws_the_classifier():
    def drawn(seed):
        return load_backbone("tiny-bert", SST2, seed, pooling="mean").classifier.weight

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def saved(model, folder):
    save_model(model, load_tokenizer("tiny-bert"), folder)
    return str(folder)


def config(**more):
    return BertConfig(vocab_size=len(load_tokenizer("tiny-bert")), **SIZES, **more)


def trained(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    return model


@pytest.mark.parametrize(
    ("make", "kind", "reason"),
    [
        (lambda: trained(BertModel(config())), "pooler", "the stock head of the architecture"),
        (lambda: BertModel(config()), "mean", "never trained: its bias is exactly 0"),
        (lambda: trained(BertForMaskedLM(config())), "mean", "hold no pooler"),
    ],
    ids=["trained pooler", "untrained pooler", "no pooler"],
)
def test_auto_takes_what_the_backbone_was_trained_for(tmp_path, make, kind, reason):
    model = load_backbone(saved(make(), tmp_path / "backbone"), SST2, 0)
    assert model.config.head_pooling["kind"] == kind
    assert reason in model.config.head_pooling["reason"]


def test_a_backbone_from_a_folder_is_slimmed_twice_saved_and_loaded(tmp_path):
    model = load_backbone(saved(BertModel(config()), tmp_path / "backbone"), SST2, 0)
    for round in (1, 2):
        model = slim(model, mask_of(model))
        save_model(model, load_tokenizer("tiny-bert"), tmp_path / f"small-{round}")
        model = load_model(tmp_path / f"small-{round}")
        assert model.config.model_type == "slim_bert"
        assert type(model).__name__ == "SlimBertForSequenceClassification"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_max_tokens": True}, "pooler"),
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": "max"}, "pooler"),
        ({"pooling_mode": ["mean", "max"]}, "pooler"),
        ([], "pooler"),
    ],
)
def test_auto_believes_a_folder_of_sentence_transformers(tmp_path, content, kind):
    folder = saved(trained(BertModel(config())), tmp_path / "backbone")
    (tmp_path / "backbone" / "1_Pooling").mkdir()
    (tmp_path / "backbone" / "1_Pooling" / "config.json").write_text(json.dumps(content))
    assert load_backbone(folder, SST2, 0).config.head_pooling["kind"] == kind
    assert load_backbone(folder, SST2, 0, pooling="pooler").config.head_pooling["kind"] == "pooler"


def test_a_pooled_model_stays_pooled_as_the_backbone_of_another_task(tmp_path):
    model = load_backbone("tiny-bert", SST2, 0, pooling="cls")
    save_model(model, load_tokenizer("tiny-bert"), tmp_path / "model")
    other = load_backbone(str(tmp_path / "model"), TASKS["mnli"], 0)
    assert other.config.head_pooling["kind"] == "cls"
    assert other.classifier.out_features == 3
    same = load_backbone(str(tmp_path / "model"), SST2, 5)
    assert torch.equal(same.classifier.weight, model.classifier.weight), "it already classifies these labels"


def test_a_classifier_of_these_labels_keeps_its_head_unless_another_is_asked_for(tmp_path):
    names = dict(enumerate(SST2.label_names))
    labels = {"id2label": names, "label2id": {name: index for index, name in names.items()}}
    folder = saved(BertForSequenceClassification(config(**labels)), tmp_path / "model")
    assert type(load_backbone(folder, SST2, 0)) is BertForSequenceClassification
    assert load_backbone(folder, SST2, 0, pooling="mean").config.head_pooling["kind"] == "mean"


def test_a_pooler_that_is_missing_and_asked_for_counts_as_new(tmp_path):
    folder = saved(trained(BertForMaskedLM(config())), tmp_path / "backbone")
    model = load_backbone(folder, SST2, 0, pooling="pooler")
    new = {name for name, _ in model.named_parameters() if is_classifier(model, name)}
    assert new == {"classifier.weight", "classifier.bias", "bert.pooler.dense.weight", "bert.pooler.dense.bias"}


def test_weights_that_are_missing_elsewhere_are_still_refused(tmp_path):
    model = trained(BertModel(config()))
    state = {name: value for name, value in model.state_dict().items() if "layer.1." not in name}
    model.save_pretrained(tmp_path / "backbone", state_dict=state)
    with pytest.raises(BackboneError, match="no fitting weights"):
        load_backbone(str(tmp_path / "backbone"), SST2, 0)

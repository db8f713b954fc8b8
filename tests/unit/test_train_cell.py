import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from sensibert.config.method_settings import LayerParams, MethodParams
from sensibert.config.settings import TrainingParams
from sensibert.data.tasks import TASKS
from sensibert.errors import MaskError, TuningError
from sensibert.models.anatomy import costs_of, prunable_modules
from sensibert.models.backbones import load_backbone, load_model, load_tokenizer
from sensibert.models.cost import count
from sensibert.models.mask import MadeFor, MaskOrigin
from sensibert.models.slim import is_slim, slim
from sensibert.scoring.ranking import make_mask
from sensibert.training.attach import classifier_parameters
from sensibert.training.cell import save_model, train_cell
from sensibert.training.fine_tune import fine_tune

TOKENIZER = load_tokenizer("tiny-bert")
EXAMPLES = [{"input_ids": [2, 10 + row, 20, 3], "labels": row % 2, "idx": row} for row in range(8)]
ONE_STEP = TrainingParams(epochs=1, batch_size=8, precision="fp32", min_steps=0, warmup_fraction=0.0)
OPTIONS = MethodParams(learning_rate=1e-3)
ORIGIN = MaskOrigin(MadeFor(task="sst2"), "sensitivity", 0.5, 0, "params", {}, scoring_passes=1.5)


def new_model():
    return load_backbone("tiny-bert", TASKS["sst2"], seed=0)


def mask_of(model, origin=ORIGIN):
    generator = np.random.default_rng(0)
    scores = {key: generator.random(module.shape) for key, module in prunable_modules(model).items()}
    return replace(make_mask(scores, costs_of(model), 0.5), origin=origin)


def cell(model, tmp_path, **changes):
    how = {"options": OPTIONS, "seed": 0, "checkpoints": tmp_path / "checkpoints"} | changes
    return train_cell(model, EXAMPLES, TOKENIZER, ONE_STEP, **how)


def same_weights(one, other):
    others = other.state_dict()
    return one.state_dict().keys() == others.keys() and all(
        torch.equal(value, others[name]) for name, value in one.state_dict().items()
    )


def test_under_a_mask_it_slims_and_tunes_what_is_left(tmp_path):
    model = new_model()
    before, mask = copy.deepcopy(model), mask_of(model)
    trained = cell(model, tmp_path, mask=mask)
    by_hand = slim(before, mask)
    start = copy.deepcopy(by_hand)
    how = {"method": "full", "options": OPTIONS, "seed": 0, "checkpoints": tmp_path / "by hand"}
    training = fine_tune(by_hand, EXAMPLES, TOKENIZER, ONE_STEP, **how)
    assert is_slim(trained.model)
    assert {key: module.shape for key, module in prunable_modules(trained.model).items()} == mask.shapes()
    assert same_weights(trained.model, by_hand)
    assert not same_weights(trained.model, start)
    assert same_weights(model, before)  # the model that came in stays dense, and as it was
    expected = replace(training.history, extra_passes=1.5)
    assert trained.training == replace(training, history=expected)


@pytest.mark.parametrize(("origin", "passes"), [(ORIGIN, 1.5), (replace(ORIGIN, scoring_passes=0), 0), (None, 0)])
def test_the_passes_of_a_slim_model_are_those_of_its_scores(origin, passes, tmp_path):
    model = new_model()
    history = cell(model, tmp_path, mask=mask_of(model, origin)).training.history
    assert history.extra_passes == passes
    assert history.steps == 1


def test_a_slim_model_is_stored_whole_although_not_all_of_it_trained(tmp_path):
    """It shares no parameter with the backbone of other tasks."""
    model = new_model()
    trained = cell(model, tmp_path, mask=mask_of(model), method="head_only")
    head = sum(trained.model.get_parameter(name).numel() for name in classifier_parameters(trained.model))
    history = trained.training.history
    assert (history.trainable_parameters, history.stored_parameters) == (head, count(trained.model))
    assert head < count(trained.model) < count(model)


@pytest.mark.parametrize(
    ("method", "options"), [("full", OPTIONS), ("random_layers", LayerParams(learning_rate=1e-3, layers=1))]
)
def test_without_a_mask_it_is_fine_tune(method, options, tmp_path):
    models = new_model(), new_model()
    trained = cell(models[0], tmp_path, method=method, options=options, seed=3)
    how = {"method": method, "options": options, "seed": 3, "checkpoints": tmp_path / "by hand"}
    assert trained.training == fine_tune(models[1], EXAMPLES, TOKENIZER, ONE_STEP, **how)
    assert trained.model is models[0]
    assert same_weights(*models)


def test_it_tunes_in_full_unless_told_otherwise(tmp_path):
    model = new_model()
    history = cell(model, tmp_path).training.history
    assert history.trainable_parameters == history.stored_parameters == count(model)


def test_a_budget_reaches_the_method(tmp_path):
    with pytest.raises(TuningError, match="rank 1 would train"):
        cell(new_model(), tmp_path, method="lora", budget=1e-6)


def test_a_mask_of_another_model_is_refused(tmp_path):
    mask = mask_of(new_model())
    keep = {key: values[:, :-1] for key, values in mask.keep.items()}
    with pytest.raises(MaskError):
        cell(new_model(), tmp_path, mask=replace(mask, keep=keep))


def test_a_saved_model_comes_back_with_its_tokenizer(tmp_path):
    model = new_model()
    small = slim(model, mask_of(model))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "of an earlier run").touch()
    save_model(small, TOKENIZER, tmp_path / "model")
    assert same_weights(load_model(tmp_path / "model"), small)
    assert load_tokenizer(str(tmp_path / "model"))("a film")["input_ids"] == TOKENIZER("a film")["input_ids"]
    assert not (tmp_path / "model" / "of an earlier run").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("offline", [False, True])
def test_a_saved_tokenizer_does_not_say_whether_a_hub_could_be_reached(tmp_path, offline):
    tokenizer = load_tokenizer("tiny-bert")
    tokenizer.init_kwargs["local_files_only"] = offline  # as `from_pretrained` does
    save_model(new_model(), tokenizer, tmp_path / "model")
    assert "local_files_only" not in (tmp_path / "model" / "tokenizer_config.json").read_text()

import numpy as np
import pytest
import torch

from sensibert.cost import (
    count,
    dense_skeleton,
    macs,
    macs_costs,
    measure_cost,
    prunable_parameters,
    size_costs,
    unit_costs,
    weights_bytes,
)
from sensibert.masks import make_mask
from sensibert.models.anatomy import costs_of, grains_of, layers_of, prunable_modules
from sensibert.models.slim import slim


@pytest.fixture
def mask(tiny_model):
    generator = np.random.default_rng(0)
    scores = {key: generator.random(module.shape) for key, module in prunable_modules(tiny_model).items()}
    return make_mask(scores, costs_of(tiny_model), 0.45, grains=grains_of(tiny_model))


def analytic_macs(model, tokens):
    """Matrix products of a BERT classifier: the projections, the two of attention, pooler and classifier."""
    hidden = model.config.hidden_size
    total = hidden * hidden + hidden * model.config.num_labels
    for key, module in prunable_modules(model).items():
        matrices = 4 if key.group == "attention" else 2
        total += matrices * tokens * hidden * module.shape.dimensions
        total += 2 * tokens * tokens * module.shape.dimensions if key.group == "attention" else 0
    return total


@pytest.mark.parametrize("tokens", [1, 7, 32])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("tiny_model", ["bert"], indirect=True)
def test_the_macs_are_those_of_the_formula(tiny_model, mask, tokens, training):
    for model in (tiny_model, slim(tiny_model, mask)):
        model.train(training)
        assert macs(model, tokens) == analytic_macs(model, tokens)


def test_the_dense_model_of_a_slim_one_is_known_without_its_weights(tiny_model, mask):
    small = slim(tiny_model, mask)
    skeleton = dense_skeleton(small)
    assert {parameter.device.type for parameter in skeleton.parameters()} == {"meta"}
    assert count(skeleton) == count(tiny_model) > count(small)
    assert prunable_parameters(skeleton) == prunable_parameters(tiny_model) == mask.dense_cost


def test_the_kept_fraction_is_the_mask_s(tiny_model, mask, tmp_path):
    small = slim(tiny_model, mask)
    small.save_pretrained(tmp_path)
    cost = measure_cost(small, tmp_path, trainable=5, stored=7, extra_passes=1.5, tokens=9)
    assert cost.prunable_kept == mask.kept_fraction
    assert cost.prunable_parameters == mask.kept_cost
    assert cost.total_parameters == sum(parameter.numel() for parameter in small.parameters())
    assert cost.encoder_parameters == count(layers_of(small))
    assert (cost.trainable_parameters, cost.tokens, cost.macs) == (5, 9, macs(small, 9))
    assert cost.model_bytes == (tmp_path / "model.safetensors").stat().st_size >= 4 * cost.total_parameters


def test_the_dense_model_keeps_everything(tiny_model, tmp_path):
    tiny_model.save_pretrained(tmp_path)
    cost = measure_cost(tiny_model, tmp_path, trainable=0, stored=0, extra_passes=0.0, tokens=4)
    assert cost.prunable_kept == 1


def test_shared_parameters_count_once():
    one = torch.nn.Linear(3, 3)
    two = torch.nn.Linear(3, 3)
    two.weight = one.weight
    assert count(torch.nn.ModuleList([one, two])) == 9 + 3 + 3


TOKENS = 11


def test_the_macs_that_a_mask_saves_are_exactly_the_predicted_ones(tiny_model, mask):
    unit = macs_costs(tiny_model, TOKENS)
    assert unit.dense == macs(tiny_model, TOKENS)
    assert unit.slim(mask.keep) == macs(slim(tiny_model, mask), TOKENS) < unit.dense


@pytest.mark.parametrize("tiny_model", ["bert", "distilbert", "electra", "gpt2", "modernbert", "mpnet"], indirect=True)
def test_the_macs_of_a_dimension_are_those_of_the_formula(tiny_model):
    hidden = tiny_model.config.hidden_size
    matrices = 3 if tiny_model.config.model_type == "modernbert" else 2
    expected = {"attention": TOKENS * 4 * hidden + 2 * TOKENS**2, "feed_forward": TOKENS * matrices * hidden}
    assert macs_costs(tiny_model, TOKENS).per_dimension == {
        key: expected[key.group] for key in prunable_modules(tiny_model)
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_file_is_never_larger_than_predicted(tiny_model, mask, dtype, tmp_path):
    model = tiny_model.to(dtype)
    unit = size_costs(model)
    for name, saved in (("dense", model), ("slim", slim(model, mask))):
        saved.save_pretrained(tmp_path / name)
    assert unit.dense == weights_bytes(tmp_path / "dense")
    slack = unit.slim(mask.keep) - weights_bytes(tmp_path / "slim")
    assert 0 <= slack < 512  # fewer digits in the header
    assert unit.prunable(mask.keep) == dtype.itemsize * mask.dense_cost


@pytest.mark.parametrize("tiny_model", ["bert"], indirect=True)
def test_a_score_file_holds_the_costs_in_every_counted_unit(tiny_model):
    assert unit_costs(tiny_model, TOKENS) == {"macs": macs_costs(tiny_model, TOKENS), "size": size_costs(tiny_model)}

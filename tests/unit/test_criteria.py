"""Each criterion against what its definition says."""

import numpy as np
import pytest
import torch

from sensibert.config.methods import METHODS, names
from sensibert.models.anatomy import costs_of, prunable_modules
from sensibert.models.gates import gated
from sensibert.models.slim import slim
from sensibert.scoring.ranking import make_mask
from sensibert.scoring.scoring_pass import mask_gradients


def ones(model):
    return {key: torch.ones(module.shape.dimensions) for key, module in prunable_modules(model).items()}


def other_masks(model):
    torch.manual_seed(2)
    return {key: 0.5 + torch.rand(mask.shape) for key, mask in ones(model).items()}


def test_the_scores_of_every_criterion_can_be_cut(tiny_model):
    modules = prunable_modules(tiny_model)
    for name in names("criterion"):
        scores = {key: METHODS[name].implementation(module, 0).scores() for key, module in modules.items()}
        assert {values.dtype for values in scores.values()} == {np.dtype(np.float32)}
        mask = make_mask(scores, costs_of(tiny_model), 0.5)
        assert slim(tiny_model, mask).num_parameters() == tiny_model.num_parameters() - mask.dense_cost + mask.kept_cost


@pytest.mark.parametrize("tiny_model", ["bert"], indirect=True)
def test_fisher_is_the_sum_of_the_squared_gradients_of_single_examples(tiny_model, batch):
    masks = ones(tiny_model)
    criteria = {
        key: METHODS["fisher"].implementation(module, 0) for key, module in prunable_modules(tiny_model).items()
    }
    expected = {key: torch.zeros(mask.shape) for key, mask in masks.items()}
    for _ in range(2):
        for key, gradients in mask_gradients(tiny_model, batch, masks).items():
            criteria[key].observe(masks[key], gradients)
        for row in range(4):
            alone = {name: values[row : row + 1] for name, values in batch.items()}
            leaves = {key: mask.clone().requires_grad_() for key, mask in masks.items()}
            with gated(tiny_model, leaves):
                tiny_model(**alone).loss.backward()
            for key, leaf in leaves.items():
                expected[key] += leaf.grad**2
    for key, criterion in criteria.items():
        assert criterion.scores().reshape(-1) == pytest.approx(expected[key].numpy(), rel=1e-3, abs=1e-7)


@pytest.mark.parametrize("tiny_model", ["bert"], indirect=True)
def test_sensitivity_is_the_mask_times_its_gradient(tiny_model, batch):
    masks = other_masks(tiny_model)
    leaves = {key: mask.clone().requires_grad_() for key, mask in masks.items()}
    with gated(tiny_model, leaves):
        tiny_model(**batch).loss.backward()
    gradients = mask_gradients(tiny_model, batch, masks)
    for key, module in prunable_modules(tiny_model).items():
        criterion = METHODS["sensitivity"].implementation(module, 0)
        criterion.observe(masks[key], gradients[key])
        expected = (masks[key] * leaves[key].grad).abs().numpy()
        assert criterion.scores().reshape(-1) == pytest.approx(expected, rel=1e-3, abs=1e-6)
        criterion.observe(masks[key], -gradients[key])
        assert criterion.scores().reshape(-1) == pytest.approx(2 * expected, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("tiny_model", ["bert"], indirect=True)
def test_magnitude_is_the_sum_of_the_weights_of_a_dimension(tiny_model):
    for key, module in prunable_modules(tiny_model).items():
        layer = tiny_model.bert.encoder.layer[key.layer]
        if key.group == "attention":
            attention = layer.attention
            rows, column = (attention.self.query, attention.self.key, attention.self.value), attention.output.dense
        else:
            rows, column = (layer.intermediate.dense,), layer.output.dense
        values = METHODS["magnitude"].implementation(module, 0).scores().reshape(-1)
        for dimension in range(module.shape.dimensions):
            parts = [torch.cat([row.weight[dimension], row.bias[dimension, None]]) for row in rows]
            held = torch.cat([*parts, column.weight[:, dimension]])
            assert held.numel() == module.cost
            assert values[dimension] == pytest.approx(held.abs().sum().item(), rel=1e-5)

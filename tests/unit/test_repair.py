"""Least squares at the cut, on every architecture."""

import numpy as np
import torch

from sensibert.models.anatomy import costs_of, grains_of, prunable_modules
from sensibert.models.mask import Mask
from sensibert.models.slim import slim
from sensibert.pruning.repair import repair
from sensibert.scoring.ranking import make_mask


def half(model):
    generator = np.random.default_rng(0)
    scores = {key: generator.random(module.shape) for key, module in prunable_modules(model).items()}
    return make_mask(scores, costs_of(model), 0.5, grains=grains_of(model))


def logits_of(model, batch):
    with torch.no_grad():
        return model(**{name: values for name, values in batch.items() if name != "labels"}).logits


def test_a_repaired_model_is_nearer_to_the_dense_one(tiny_model, batch):
    dense = tiny_model.eval()
    cut, repaired = slim(dense, half(dense)).eval(), slim(dense, half(dense)).eval()
    errors = repair(dense, repaired, [batch])
    assert errors.keys() == prunable_modules(dense).keys()
    assert all(error.after <= error.before for error in errors.values())
    wanted = logits_of(dense, batch)
    assert (logits_of(repaired, batch) - wanted).norm() < 0.7 * (logits_of(cut, batch) - wanted).norm()


def test_only_output_projections_change(tiny_model, batch):
    dense = tiny_model.eval()
    cut, repaired = slim(dense, half(dense)).eval(), slim(dense, half(dense)).eval()
    repair(dense, repaired, [batch])
    outputs = {
        id(parameter) for m in prunable_modules(repaired).values() for parameter in m.output_projection.parameters()
    }
    for (name, ours), theirs in zip(repaired.named_parameters(), cut.parameters(), strict=True):
        assert id(ours) in outputs or torch.equal(ours, theirs), name


def test_a_model_that_lost_nothing_is_left_alone(tiny_model, batch):
    dense = tiny_model.eval()
    whole = Mask({key: np.ones(m.shape, dtype=bool) for key, m in prunable_modules(dense).items()}, costs_of(dense))
    same = slim(dense, whole).eval()
    errors = repair(dense, same, [batch])
    assert all(error.before < 1e-10 for error in errors.values())
    assert (logits_of(same, batch) - logits_of(dense, batch)).abs().max() < 1e-4

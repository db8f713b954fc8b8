import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from sensibert.data.tasks import TASKS
from sensibert.models.anatomy import costs_of, prunable_modules
from sensibert.models.backbones import load_backbone
from sensibert.models.slim import slim
from sensibert.pruning.iterative import compose, kept_fractions
from sensibert.scoring.ranking import make_mask


@given(st.floats(0.01, 1), st.integers(2, 6))
def test_each_round_keeps_the_same_share_and_the_last_the_budget(budget, rounds):
    fractions = kept_fractions(budget, rounds)
    assert len(fractions) == rounds
    assert fractions[-1] == budget
    np.testing.assert_allclose(np.diff(np.log([1.0, *fractions])), np.log(budget) / rounds, atol=1e-9)


def test_a_composed_mask_is_one_mask_after_the_other():
    model = load_backbone("tiny-bert", TASKS["sst2"], seed=0).eval()

    def random_mask(of, budget):
        scores = {key: np.random.default_rng(1).random(m.shape) for key, m in prunable_modules(of).items()}
        return make_mask(scores, costs_of(of), budget)

    outer = random_mask(model, 0.6)
    once = slim(model, outer)
    inner = random_mask(once, 0.5)
    composed = compose(outer, inner)
    ids = torch.tensor([[2, 10, 20, 3]])
    torch.testing.assert_close(slim(once, inner).eval()(ids).logits, slim(model, composed).eval()(ids).logits)
    assert composed.costs == outer.costs  # of the dense model
    assert composed.origin == inner.origin

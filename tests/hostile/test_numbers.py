"""Numbers that are not finite, and sizes that a model does not have, are errors where they occur."""

import numpy as np
import pytest
import torch
from hostile import COMMANDS
from safetensors.torch import load_file, save_file

from sensibert.errors import DivergedError


def test_a_diverged_training_is_no_result(refused):
    refused(*COMMANDS.compress, "--learning-rate", "1e30", "--out", "small", says="diverged")


@pytest.mark.parametrize("command", ["evaluate", "export"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_with_broken_weights_has_no_metrics(refused, here, command, value):
    path = here / "model" / "model.safetensors"
    weights = load_file(path)
    weights["classifier.bias"] = torch.full_like(weights["classifier.bias"], value)
    save_file(weights, path, metadata={"format": "pt"})
    refused(*getattr(COMMANDS, command), "--out", "result", says="answers of the model are not finite numbers")


def test_scores_that_are_not_finite_are_refused():
    from sensibert.config.settings import ScoringParams
    from sensibert.models.mask import ModuleKey
    from sensibert.scoring.scoring_pass import _refuse_divergence

    found = {"fisher": {ModuleKey(1, "attention"): np.array([[1.0, np.nan]])}}
    with pytest.raises(DivergedError, match=r"the scores of fisher in layer 1, attention, are not finite"):
        _refuse_divergence(found, ScoringParams())


@pytest.mark.parametrize("command", ["compress", "score", "evaluate", "export"])
@pytest.mark.parametrize("length", [129, 100_000])
def test_more_tokens_than_the_model_has_positions(refused, command, length):
    says = f"--max-length {length}: this model has positions for 128 tokens at most"
    refused(*getattr(COMMANDS, command), "--max-length", length, "--out", "result", says=says)


def test_more_tokens_than_the_model_has_positions_in_a_benchmark(refused):
    refused(
        "bench", "model", "--length", "129", "--repeats", "1", says="--length 129: this model has positions for 128"
    )

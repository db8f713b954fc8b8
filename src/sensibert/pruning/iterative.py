"""Iterative pruning: rounds of pruning and fine-tuning instead of one, with the same total number of epochs.

The kept fraction falls geometrically, so that each round removes the same share of what is left. From the second
round on, the scores are those of the partly pruned, partly fine-tuned model.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
from transformers import PreTrainedModel

from sensibert.artifacts import ScoreFile, read_json, read_mask, replacing, write_json, write_mask
from sensibert.budgets import mask_for
from sensibert.cost import unit_costs
from sensibert.encoding import mean_length
from sensibert.importance import DATA_FREE, criterion_class
from sensibert.importance.scoring import score
from sensibert.masks import Mask
from sensibert.models.anatomy import costs_of, grains_of, prunable_modules
from sensibert.models.backbones import load_model
from sensibert.models.slim import slim
from sensibert.params import IterativeParams
from sensibert.pruning.base import Context, Pruned
from sensibert.training import Training, fine_tune


def prune_by_magnitude(context: Context) -> Pruned:
    """Prune what has the smallest weights, round by round."""
    return _prune(context, "magnitude")


def prune_by_sensitivity(context: Context) -> Pruned:
    """Prune what the task is least sensitive to, with a new scoring pass in each round."""
    return _prune(context, "sensitivity")


def kept_fractions(budget: float, rounds: int) -> list[float]:
    """What is kept after each round, of the dense model: a geometric sequence that ends at the budget."""
    return [budget ** (done / rounds) for done in range(1, rounds)] + [budget]


def compose(outer: Mask, inner: Mask) -> Mask:
    """The mask of the dense model that does what `outer` does, and then `inner` to the slim model."""
    keep = {}
    for key, kept in outer.keep.items():
        flat = np.zeros(kept.size, dtype=bool)
        flat[np.flatnonzero(kept)[inner.keep[key].reshape(-1)]] = True
        keep[key] = flat.reshape(kept.shape)
    return Mask(keep, outer.costs, inner.about)


def _prune(context: Context, criterion: str) -> Pruned:
    assert isinstance(context.settings, IterativeParams)
    rounds = context.settings.rounds
    training = context.training.model_copy(update={"epochs": context.training.epochs / rounds})
    kind = context.masking.budget_kind
    model, mask, trainings, left = context.new_model(), None, [], 1.0
    for number, fraction in enumerate(kept_fractions(context.budget, rounds)):
        folder = context.scratch / f"round-{number + 1}"
        if not folder.exists():
            scores = context.scores if number == 0 else _scores(model, criterion, context)
            options = context.masking.options(criterion)
            found = mask_for(scores, criterion, min(1.0, fraction / left), kind, **options)
            left *= _kept(found, scores, kind)
            model = slim(model, found)
            mask = found if mask is None else compose(mask, found)
            mask = replace(mask, about={"budget_kind": kind, "left": left})
            tuned = fine_tune(
                model,
                context.examples,
                context.tokenizer,
                training,
                method="full",
                options=context.settings,
                seed=_seed(context.seed, number),
                checkpoints=context.scratch / "checkpoints",
            )
            with replacing(folder) as beside:
                model.save_pretrained(beside)
                write_mask(beside / "mask.safetensors", mask)
                write_json(beside / "training.json", vars(tuned))
        model = load_model(folder).to(model.device)  # type: ignore[arg-type]
        mask = read_mask(folder / "mask.safetensors")
        left = mask.about["left"]
        trainings.append(Training(**read_json(folder / "training.json")))
    assert mask is not None
    passes = rounds * context.scoring_passes(criterion)
    return Pruned(model, mask, trainings, passes, {"kept_fractions": kept_fractions(context.budget, rounds)})


def _seed(seed: int, number: int) -> int:
    """One for each round: with that of the run, each round would see the same order of the data and equal dropout."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _kept(found: Mask, scores: ScoreFile, kind: str) -> float:
    """What a mask keeps of the model at hand, in the unit of the budget."""
    costs = found.costs if kind == "params" else scores.unit(kind).per_dimension
    return replace(found, costs=costs).kept_fraction


def _scores(model: PreTrainedModel, criterion: str, context: Context) -> ScoreFile:
    """The scores of one criterion for the model at hand."""
    tokens = mean_length(context.examples)
    costs, grains, units = costs_of(model), grains_of(model), unit_costs(model, tokens)
    if criterion in DATA_FREE:
        modules = prunable_modules(model)
        scores = {key: criterion_class(criterion)(module, context.seed).scores() for key, module in modules.items()}
        return ScoreFile({criterion: scores}, costs, grains, {}, units)
    watched = copy.deepcopy(model)  # the pass trains its weights
    settings = context.scoring, context.seed, context.training.precision
    *_, found = score(watched, context.scoring_examples, context.tokenizer, *settings)
    return ScoreFile(found, costs, grains, {}, units)

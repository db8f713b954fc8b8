"""Pruning by Fisher information without retraining (Kwon et al., arXiv 2204.09656).

Four steps on a fine-tuned model: the Fisher information of the masks of heads and filters (`fisher.py`), a mask
search under the budget (`search.py`), the rearrangement of the mask within each module (`rearrange.py`) and the
rescaling of what is kept (`rescale.py`). The scales are folded into the weights, so the result is a slim model like
any other.

What differs from the authors' code: gradients are squared per example, as in the paper, not per batch; every layer
keeps a head and a filter; swaps continue until none helps; a module is rescaled to the output of its projection
before the residual connection, and one that cannot be rescaled does not end the rescaling of the ones after it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.compute.hardware import keep_for_reuse, make_deterministic, resolve_precision
from sensibert.config.method_settings import KwonParams
from sensibert.config.settings import Precision
from sensibert.data.encoding import Examples, draw, evaluation_batches, mean_length
from sensibert.errors import MaskError
from sensibert.models.anatomy import costs_of, prunable_modules
from sensibert.models.cost import unit_costs
from sensibert.models.mask import MadeFor, Mask, MaskOrigin, ModuleKey
from sensibert.models.slim import slim
from sensibert.pruning.base import Pruned, PruningContext
from sensibert.pruning.kwon.fisher import block, collect_gradients, diagonal
from sensibert.pruning.kwon.rearrange import block_loss, rearrange
from sensibert.pruning.kwon.rescale import Rescaling, rescale
from sensibert.pruning.kwon.search import search
from sensibert.pruning.kwon.units import Units, by_dimension, stays_whole, unit_size
from sensibert.scoring.budgets import predict

KINDS = ("macs", "params")
"""Kinds of a budget: a fraction of the prunable multiply-accumulates or of the prunable parameters."""


@dataclass(frozen=True)
class PrunedModel:
    """A pruned model and how it came about."""

    model: PreTrainedModel
    """Slim, rescaled and in evaluation mode."""
    mask: Mask
    """Whole heads and single filters."""
    searched_loss: float
    """Block-diagonal Fisher loss of the mask that the search found, over all modules."""
    rearranged_loss: float
    """The same for the final mask."""
    rescaled: dict[ModuleKey, Rescaling]
    """Scales and reconstruction errors of each module."""


def prune_model(
    model: PreTrainedModel,
    examples: Examples,
    tokenizer: PreTrainedTokenizerBase,
    budget: float,
    settings: KwonParams,
    seed: int,
    *,
    kind: str = "macs",
    precision: Precision = "auto",
    made_for: MadeFor = MadeFor(),  # noqa: B008 (frozen)
) -> PrunedModel:
    """Prune a fine-tuned text model with a sample of its training data.

    Args:
        model: Fine-tuned; its weights and gradients stay unchanged. It is put into evaluation mode.
        examples: Training data, never validation data. Multiply-accumulates are counted for a text of their
            mean length.
        tokenizer: Pads the batches.
        budget: The fraction that may be kept, in (0, 1].
        settings: Size of the sample and of its batches.
        seed: Draws the sample.
        kind: One of `KINDS`: what the budget is a fraction of.
        precision: Number format of the matrix products.
        made_for: Recorded in the mask.

    Raises:
        MaskError: the kind is unknown, or the budget is out of range or too small.
    """
    if kind not in KINDS:
        raise MaskError(
            f"unknown kind of budget {kind!r} for pruning by heads and filters; allowed: {', '.join(KINDS)}"
        )
    precision = resolve_precision(precision, model.device)
    make_deterministic(seed)
    keep_for_reuse()
    model.eval()
    sample = draw(examples, settings.samples, seed)
    batches = [
        {name: values.to(model.device) for name, values in batch.items()}
        for _, batch in evaluation_batches(sample, tokenizer, settings.batch_size)
    ]
    modules, units = prunable_modules(model), unit_costs(model, mean_length(examples))
    gradients = collect_gradients(model, batches, precision)
    costs = units["macs"].per_dimension if kind == "macs" else costs_of(model)
    found = search(
        {key: diagonal(of_module) for key, of_module in gradients.items()},
        {key: costs[key] * unit_size(module) for key, module in modules.items()},
        budget,
        whole={key for key, module in modules.items() if stays_whole(module)},
    )
    keep, searched_loss, rearranged_loss = _rearranged(found, gradients)
    mask = Mask({key: by_dimension(keep[key], module) for key, module in modules.items()}, costs_of(model))
    predicted, passes = predict(mask, units), len(sample) / len(examples)
    mask = replace(mask, origin=MaskOrigin(made_for, "kwon", budget, seed, kind, predicted, passes))
    small = slim(model, mask)
    return PrunedModel(small, mask, searched_loss, rearranged_loss, rescale(model, small, batches, precision))


def prune(context: PruningContext) -> Pruned:
    """Prune the fully fine-tuned model, as one of the procedures of the grid."""
    assert isinstance(context.settings, KwonParams)
    given = context.examples, context.tokenizer, context.budget, context.settings, context.seed
    found = prune_model(
        context.tuned_model(),
        *given,
        kind=context.masking.budget_kind,
        precision=context.training.precision,
        made_for=context.scores.origin.made_for,
    )
    assert found.mask.origin is not None
    passes = context.passes(found.mask.origin.scoring_passes)
    errors = {str(key): {"before": float(r.before), "after": float(r.after)} for key, r in found.rescaled.items()}
    losses = {"searched": found.searched_loss, "rearranged": found.rearranged_loss}
    return Pruned(found.model, found.mask, [], passes, {"fisher_loss": losses, "reconstruction_error": errors})


def _rearranged(found: Units, gradients: Units) -> tuple[Units, float, float]:
    """The rearranged mask, and the losses before and after."""
    keep, before, after = {}, 0.0, 0.0
    for key, of_module in found.items():
        information = block(gradients[key])  # one at a time: it is as large as a weight matrix
        keep[key] = rearrange(of_module, information)
        before += block_loss(of_module, information)
        after += block_loss(keep[key], information)
    return keep, before, after

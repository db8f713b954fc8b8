"""Train the model of one cell: the one place where a mask, a tuning method and their costs come together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.config.method_settings import MethodParams
from sensibert.config.settings import TrainingParams
from sensibert.data.encoding import Examples
from sensibert.io import replacing
from sensibert.models.cost import count
from sensibert.models.mask import Mask
from sensibert.models.slim import slim
from sensibert.training.fine_tune import Training, fine_tune


@dataclass(frozen=True)
class Trained:
    """A trained model and how it was trained."""

    model: PreTrainedModel
    training: Training


def train_cell(
    model: PreTrainedModel,
    examples: Examples,
    tokenizer: PreTrainedTokenizerBase | None,
    settings: TrainingParams,
    *,
    options: MethodParams,
    mask: Mask | None = None,
    method: str = "full",
    **how: Any,
) -> Trained:
    """Slim a model if there is a mask, and fine-tune what is left.

    Args:
        model: The model to start from, dense or slim; fine-tuned in place if there is no mask.
        examples: Training data.
        tokenizer: Pads the batches; None for images.
        settings: Epochs, batch size and the like.
        options: Learning rate and other settings of the method.
        mask: Which dimensions of `model` stay.
        method: A tuning method; a slim model is tuned in full.
        how: The other arguments of `fine_tune`: seed, budget, checkpoints, resume, epoch_callback.

    Raises:
        MaskError: the mask was made for another model.
        TuningError: the method does not fit the model, or its budget is too small.
    """
    if mask is not None:
        model = slim(model, mask)
    training = fine_tune(model, examples, tokenizer, settings, method=method, options=options, **how)
    if mask is not None:
        # Such a model shares nothing with a backbone.
        passes = mask.origin.scoring_passes if mask.origin else 0
        history = replace(training.history, stored_parameters=count(model), extra_passes=passes)
        training = replace(training, history=history)
    return Trained(model, training)


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save a model with its tokenizer; the folder appears whole or not at all, and names no code but our own."""
    # What the backbone's folder named is not brought along; a slim class adds its own module as it is saved.
    vars(model.config).pop("auto_map", None)
    for name in ("auto_map", "local_files_only"):  # the second says whether a hub could be reached
        tokenizer.init_kwargs.pop(name, None)
    with replacing(folder) as beside:
        model.save_pretrained(beside)
        tokenizer.save_pretrained(beside)

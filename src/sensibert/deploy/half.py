"""Weights of 16 bits: a Transformers folder of half the size, checked against the model in fp32."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Literal

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.data.encoding import Examples
from sensibert.data.tasks import Task
from sensibert.deploy.fidelity import Fidelity, fidelity_of, labelled_metrics
from sensibert.errors import DivergedError, ExportError
from sensibert.evaluation.evaluate import predict
from sensibert.io import mark, replacing
from sensibert.models.backbones import load_model
from sensibert.models.cost import weights_bytes
from sensibert.training.cell import save_model

HalfFormat = Literal["bf16", "fp16"]

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def export_half(
    model: PreTrainedModel,
    examples: Examples,
    tokenizer: PreTrainedTokenizerBase,
    out: Path,
    *,
    number_format: HalfFormat,
    task: Task | None = None,
) -> tuple[Fidelity, dict[str, float] | None]:
    """Save a model with weights of 16 bits, and compare its answers with those in fp32.

    Transformers loads the folder in that format and computes in it, and so does the comparison. With
    `dtype=torch.float32`, or by the commands of this package, it computes in fp32 with the rounded weights.
    bf16 has the range of fp32 and 8 bits of precision, fp16 has 11 bits and ends at 65,504.

    Args:
        model: Dense or slim; it does not change.
        examples: Encoded from real texts, for the comparison.
        tokenizer: The model's.
        out: The folder to write; it appears whole or not at all.
        number_format: That of the weights.
        task: Names the metrics that the labels of the examples allow.

    Returns:
        How close it comes, and the metrics in fp32; None without a task.

    Raises:
        ExportError: the model does not fit the format.
    """
    whole = copy.deepcopy(model).cpu().float()
    expected = predict(whole, examples, tokenizer)
    with replacing(out) as beside:
        save_model(whole.to(_TYPES[number_format]), tokenizer, beside)
        try:
            found = predict(load_model(beside).to(_TYPES[number_format]), examples, tokenizer)  # type: ignore[arg-type]
        except DivergedError as error:
            raise ExportError(f"the model does not fit {number_format}: {error}; nothing was written") from None
        fidelity = fidelity_of(f"{number_format} weights", weights_bytes(beside), found, expected, task, examples)
        mark(beside, "export")
    return fidelity, labelled_metrics(task, examples, expected)

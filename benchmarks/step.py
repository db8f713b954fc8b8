"""One fine-tuning step: the dense model, a masked one as mask-based peers train it, and slim ones.

    python -m benchmarks.step

The dense and the masked model train with the stock layers; `dense, prepared` and the slim ones as `fine_tune` trains
them. The number of dimensions that a mask drops makes no difference to a masked model's time. The setting of
the memory allocator, the same as in `fine_tune`, holds for the whole process and helps all of them.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import islice

import torch
from transformers import PreTrainedModel

from benchmarks.common import (
    BATCH_SIZE,
    SEED,
    Options,
    Row,
    as_fine_tuned,
    load_subject,
    mask_at,
    masked_copy,
    new_model,
    run,
    training_run,
)
from sensibert.compute.hardware import keep_for_reuse
from sensibert.compute.timing import interleaved_medians
from sensibert.config.settings import Precision
from sensibert.data.encoding import Examples, training_batches
from sensibert.models.slim import slim

BATCHES = 10
"""Distinct batches. Each one runs before the timing starts, as in a long training: the first batch of a new length
makes oneDNN compile its bf16 products."""


def options() -> Options:
    """The command line."""
    parser = Options("time a fine-tuning step: dense, masked, slim")
    parser.add_data()
    parser.add_masks()
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.2, 0.4, 0.6, 0.8], help="kept fractions")
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--repeats", type=int, default=30, help="steps of each model that count")
    return parser


def measure(chosen: argparse.Namespace) -> list[Row]:
    """Time the steps of all models, in turns, on the same batches."""
    repeats = 2 if chosen.quick else chosen.repeats
    subject = load_subject(chosen.data, chosen.backbone)
    examples = subject.train
    batches = list(islice(training_batches(examples, subject.tokenizer, BATCH_SIZE, SEED), BATCHES))
    model = new_model(chosen.backbone, subject.task)
    keep_for_reuse()
    rows = []
    for precision in chosen.precisions:
        seconds = _seconds(model, examples, batches, precision, repeats, chosen)
        rows += [
            {
                "precision": precision,
                "model": name,
                "ms": 1000 * time,
                "times as fast as masked": seconds["masked"] / time,
                "times as fast as dense": seconds["dense"] / time,
            }
            for name, time in seconds.items()
        ]
    return rows


def _seconds(
    model: PreTrainedModel,
    examples: Examples,
    batches: list[dict[str, torch.Tensor]],
    precision: Precision,
    repeats: int,
    chosen: argparse.Namespace,
) -> dict[str, float]:
    masks = {budget: mask_at(budget, model, chosen) for budget in chosen.budgets}
    with ExitStack() as stack:
        models = {
            "dense": copy.deepcopy(model),
            "masked": stack.enter_context(masked_copy(model, next(iter(masks.values())))),
            "dense, prepared": stack.enter_context(as_fine_tuned(model, examples)),
        }
        for budget, mask in masks.items():
            models[f"slim {budget}"] = stack.enter_context(as_fine_tuned(slim(model, mask), examples))
        steps = {name: training_run(each, batches, precision) for name, each in models.items()}
        return interleaved_medians(steps, repeats, warmup=BATCHES)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    run("step", options(), measure, arguments)


if __name__ == "__main__":
    main()

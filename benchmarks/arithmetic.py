"""How much of the machine's arithmetic training and inference reach.

    python -m benchmarks.arithmetic

The reference is one large matrix product in the same format and the same run. Only the matrix products of the models
count: those of a forward pass, and three times as many in a training step, since the backward pass has two for each.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack

import torch
from transformers import PreTrainedModel

from benchmarks.common import BATCH_SIZE, SEED, Options, Row, as_fine_tuned, mask_at, new_model, run, training_run
from sensibert.compute.hardware import autocast, keep_for_reuse
from sensibert.compute.timing import Run, interleaved_medians
from sensibert.config.settings import Precision
from sensibert.data.tasks import TASKS
from sensibert.models.cost import macs
from sensibert.models.slim import slim

_FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def options() -> Options:
    """The command line."""
    parser = Options("arithmetic reached while training and inferring")
    parser.add_masks()
    parser.add_argument("--budget", type=float, default=0.4, help="kept fraction of the slim model")
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 128], help="tokens of every text")
    parser.add_argument("--precisions", nargs="+", choices=list(_FORMATS), default=list(_FORMATS))
    parser.add_argument("--product", type=int, default=2048, help="rows and columns of the large matrices")
    parser.add_argument("--repeats", type=int, default=20, help="runs of each that count")
    return parser


def measure(chosen: argparse.Namespace) -> list[Row]:
    """Time the product, the steps and the passes, in turns, and divide what they compute by their time."""
    if chosen.quick:
        chosen.lengths, chosen.product, chosen.repeats = [16], 256, 2
    dense = new_model(chosen.backbone, TASKS["sst2"])
    models = {"dense": dense, f"slim {chosen.budget}": slim(dense, mask_at(chosen.budget, dense, chosen))}
    keep_for_reuse()
    return [
        row
        for precision in chosen.precisions
        for tokens in chosen.lengths
        for row in _rows(models, precision, tokens, chosen)
    ]


def _rows(
    models: dict[str, PreTrainedModel], precision: Precision, tokens: int, chosen: argparse.Namespace
) -> list[Row]:
    ids = torch.randint(1, 100, (BATCH_SIZE, tokens), generator=torch.Generator().manual_seed(SEED))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.zeros(BATCH_SIZE).long()}
    product = "one large product"
    runs: dict[str, Run] = {product: _product(chosen.product, _FORMATS[precision])}
    operations: dict[str, int] = {product: 2 * chosen.product**3}
    with ExitStack() as stack:
        for name, model in models.items():
            prepared = stack.enter_context(as_fine_tuned(model, [{"input_ids": list(range(100))}]))
            runs |= {
                f"{name}, training": training_run(prepared, [batch], precision),
                f"{name}, inferring": _inference(model, batch, precision),
            }
            forward = 2 * BATCH_SIZE * macs(model, tokens)
            operations |= {f"{name}, training": 3 * forward, f"{name}, inferring": forward}
        seconds = interleaved_medians(runs, chosen.repeats)
    rates = {name: operations[name] / seconds[name] for name in runs}
    return [
        {
            "precision": precision,
            "tokens": tokens,
            "work": name,
            "ms": 1000 * seconds[name],
            "GFLOP/s": rate / 1e9,
            "of one large product": rate / rates[product],
        }
        for name, rate in rates.items()
    ]


def _product(size: int, number_format: torch.dtype) -> Run:
    left, right = torch.ones(2, size, size, dtype=number_format)
    out = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=out)


def _inference(model: PreTrainedModel, batch: dict[str, torch.Tensor], precision: Precision) -> Run:
    model.eval()
    inputs = {name: values for name, values in batch.items() if name != "labels"}

    def forward() -> None:
        with torch.inference_mode(), autocast(precision, model.device):
            model(**inputs)

    return forward


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    run("arithmetic", options(), measure, arguments)


if __name__ == "__main__":
    main()

"""One forward pass: dense, masked and slim in PyTorch, dense and slim in ONNX Runtime, fp32 and INT8.

python -m benchmarks.inference
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from transformers import PreTrainedModel

from benchmarks.common import Options, Row, mask_at, masked_copy, new_model, run
from sensibert.data.tasks import TASKS
from sensibert.deploy.bench import Candidate, compare_latency, onnx_candidate, torch_candidate
from sensibert.deploy.onnx.export import to_int8, to_onnx
from sensibert.models.slim import slim

_REFERENCE = ("dense", "torch")


def options() -> Options:
    """The command line."""
    parser = Options("time a forward pass: dense, masked, slim; PyTorch, ONNX Runtime, INT8")
    parser.add_masks()
    parser.add_argument("--budget", type=float, default=0.4, help="kept fraction of the masked and the slim model")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 64, 128], help="tokens of every text")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=20, help="passes of each model that count")
    return parser


def measure(chosen: argparse.Namespace) -> list[Row]:
    """Time the passes of all models, in turns; one table row per setting and model."""
    if chosen.quick:
        chosen.batch_sizes, chosen.lengths, chosen.threads, chosen.repeats = [1, 4], [16], [1], 2
    model = new_model(chosen.backbone, TASKS["sst2"]).eval()
    mask = mask_at(chosen.budget, model, chosen)
    rows: list[Row] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        masked = stack.enter_context(masked_copy(model, mask))
        models = {"dense": model, "slim": slim(model, mask)}
        for name, each in models.items():
            _export(each, folder / name)
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        for threads in chosen.threads:
            torch.set_num_threads(threads)
            candidates = [torch_candidate("masked", masked), *_candidates(models, folder, threads)]
            rows += _rows(candidates, threads, chosen)
    return rows


def _export(model: PreTrainedModel, folder: Path) -> None:
    folder.mkdir()
    blank = torch.ones(2, 8, dtype=torch.long)
    to_onnx(model, {"input_ids": blank, "attention_mask": blank}, folder / "onnx")
    to_int8(folder / "onnx", folder / "onnx-int8")


def _candidates(models: dict[str, PreTrainedModel], folder: Path, threads: int) -> Iterator[Candidate]:
    for name, model in models.items():
        yield torch_candidate(name, model)
        for runtime in ("onnx", "onnx-int8"):
            yield onnx_candidate(name, runtime, folder / name / runtime, threads)


def _rows(candidates: list[Candidate], threads: int, chosen: argparse.Namespace) -> list[Row]:
    found = compare_latency(candidates, chosen.batch_sizes, chosen.lengths, chosen.repeats)
    dense = {(each.batch_size, each.tokens): each.seconds for each in found if (each.model, each.runtime) == _REFERENCE}
    return [
        {
            "threads": threads,
            "batch": each.batch_size,
            "tokens": each.tokens,
            "model": each.model,
            "runtime": each.runtime,
            "ms": 1000 * each.seconds,
            "times as fast as dense": dense[each.batch_size, each.tokens] / each.seconds,
        }
        for each in found
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    run("inference", options(), measure, arguments)


if __name__ == "__main__":
    main()

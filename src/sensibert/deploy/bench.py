"""Compare how fast models answer: all of them take turns in one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel

from sensibert.compute.timing import Run, interleaved_medians
from sensibert.config.grid import Cell
from sensibert.config.paths import Paths
from sensibert.io import read_json, read_record
from sensibert.models.backbones import check_length, load_model
from sensibert.results import Deployed, Latency, Result

BATCH_SIZES = (1, 32)
"""One text, as a service receives it, and a batch, as a nightly job sends it."""


class Candidate(NamedTuple):
    """Something to time."""

    model: str
    runtime: str
    forward: Callable[[int, int], Run]
    """From a batch size and a length to a forward pass over random texts of that size."""


def compare_latency(
    candidates: Sequence[Candidate], batch_sizes: Sequence[int], lengths: Sequence[int], repeats: int = 20
) -> list[Latency]:
    """Time candidates on random texts without padding.

    Args:
        candidates: What to time.
        batch_sizes: Texts per forward pass.
        lengths: Tokens per text.
        repeats: Timed passes of each candidate.

    Returns:
        For each batch size and length one entry per candidate, in their order.
    """
    found = []
    for batch_size in batch_sizes:
        for tokens in lengths:
            runs = {str(place): candidate.forward(batch_size, tokens) for place, candidate in enumerate(candidates)}
            seconds = interleaved_medians(runs, repeats)
            found += [
                Latency(candidate.model, candidate.runtime, batch_size, tokens, seconds[str(place)])
                for place, candidate in enumerate(candidates)
            ]
    return found


def candidates_of(
    folder: Path, name: str, threads: int | None = None, *, trust_remote_code: bool = False
) -> list[Candidate]:
    """What a folder holds: a saved model, or the files of an export.

    Args:
        folder: Written by `save_pretrained` or `sensibert export`.
        name: Its name in the results.
        threads: For ONNX Runtime; by default as many as PyTorch uses.
        trust_remote_code: Whether code that the folder brings may run.

    Raises:
        BackboneError: the folder holds neither.
    """
    from sensibert.deploy.onnx.export import FP32_FILE, INT8_FILE  # an extra: PyTorch models are timed without it

    files = {"onnx": folder / FP32_FILE, "onnx-int8": folder / INT8_FILE}
    exported = [onnx_candidate(name, runtime, file, threads) for runtime, file in files.items() if file.exists()]
    return exported or [torch_candidate(name, load_model(folder, trust_remote_code=trust_remote_code))]


def torch_candidate(name: str, model: PreTrainedModel) -> Candidate:
    """A model in PyTorch, on its device."""
    model.eval()

    def forward(batch_size: int, tokens: int) -> Run:
        check_length(model.config, tokens, "--length")
        ids = _random_ids(batch_size, tokens).to(model.device)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

        def run() -> None:
            with torch.inference_mode():
                model(**inputs)
            if model.device.type == "cuda":
                torch.cuda.synchronize()

        return run

    return Candidate(name, "torch", forward)


def onnx_candidate(name: str, runtime: str, file: Path, threads: int | None = None) -> Candidate:
    """An exported file in ONNX Runtime."""
    from sensibert.deploy.onnx.export import open_session

    session = open_session(file, threads)
    names = [value.name for value in session.get_inputs()]

    def forward(batch_size: int, tokens: int) -> Run:
        ids = _random_ids(batch_size, tokens).numpy()
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        inputs = {name: given[name] for name in names}
        return lambda: session.run(None, inputs)

    return Candidate(name, runtime, forward)


def bench_cells(cells: Sequence[Cell], paths: Paths, repeats: int = 20) -> list[Deployed]:
    """Time the models and exports of cells on one thread; those of the same task take turns.

    One thread is what a small device offers, and the thread pools of two runtimes in one process disturb each other.
    """
    from sensibert.deploy.onnx.export import REPORT_FILE

    found = []
    for task in dict.fromkeys(cell.task for cell in cells):
        of_task = [cell for cell in cells if cell.task == task]
        results = {cell: read_record(paths.metrics(cell), Result) for cell in of_task}
        candidates = [
            candidate
            for cell in of_task
            for folder in (paths.model(cell), paths.export(cell))
            for candidate in candidates_of(folder, cell.name, threads=1)
        ]
        tokens = next(iter(results.values())).cost.tokens
        with one_thread():
            latencies = compare_latency(candidates, BATCH_SIZES, [tokens], repeats)
        found += [
            deployed
            for cell in of_task
            for deployed in _deployed(results[cell], read_json(paths.export(cell) / REPORT_FILE), latencies)
        ]
    return found


@contextmanager
def one_thread() -> Iterator[None]:
    """Within the block, PyTorch computes on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _deployed(result: Result, report: dict[str, Any], latencies: Sequence[Latency]) -> Iterator[Deployed]:
    files = {
        "torch": (result.cost.model_bytes, result.metrics),
        "onnx": (report["onnx"]["bytes"], report["onnx"]["metrics"]),
        "onnx-int8": (report["int8"]["bytes"], report["int8"]["metrics"]),
    }
    for runtime, (file_bytes, metrics) in files.items():
        own = [entry for entry in latencies if (entry.model, entry.runtime) == (result.cell.name, runtime)]
        seconds = {str(entry.batch_size): entry.seconds for entry in own}
        yield Deployed(*result.cell, runtime, file_bytes, metrics, seconds)


_SMALLEST_VOCABULARY = 30
"""Ids below it are in every vocabulary, even a trimmed one."""


def _random_ids(batch_size: int, tokens: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(_SMALLEST_VOCABULARY, (batch_size, tokens), generator=generator)

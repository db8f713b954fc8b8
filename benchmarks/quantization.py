"""Ways to quantize a tuned model to INT8, judged on the dev split: what each costs in answers, and saves in time.

    python -m benchmarks.quantization --data . --model data/pydocs/models/docs_origin-recipe-0.2-0

`dynamic` is what `sensibert export --int8` does: the range of the activations is measured text by text. A static
file takes ranges that were calibrated on training texts.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from benchmarks.common import BATCH_SIZE, MAX_LENGTH, SEED, Options, Row, load_subject, run
from sensibert.compute.timing import interleaved_medians
from sensibert.data.encoding import Examples, draw, evaluation_batches
from sensibert.deploy.fidelity import fidelity_of
from sensibert.deploy.onnx.export import FP32_FILE, INT8_FILE, export_onnx, open_session, predict_onnx
from sensibert.evaluation.evaluate import predict
from sensibert.models.backbones import load_model
from sensibert.models.subject import Subject

_STATIC: dict[str, dict[str, Any]] = {
    "static, QDQ": {"quant_format": QuantFormat.QDQ, "calibrate_method": CalibrationMethod.MinMax},
    "static, QOperator": {"quant_format": QuantFormat.QOperator, "calibrate_method": CalibrationMethod.MinMax},
}


def options() -> Options:
    """The command line."""
    parser = Options("quantize a model in several ways, and judge each on the dev split")
    parser.add_data()
    parser.add_argument("--model", type=Path, help="folder of the tuned model; without it the backbone, untuned")
    parser.add_argument("--calibration", type=int, default=256, help="training texts that static ranges come from")
    parser.add_argument("--texts", type=int, default=2000, help="dev texts that judge")
    parser.add_argument("--repeats", type=int, default=20, help="timed rounds")
    return parser


def measure(chosen: argparse.Namespace) -> list[Row]:
    """Quantize, judge and time; one row for each file."""
    if chosen.quick:
        chosen.calibration, chosen.texts, chosen.repeats = 8, 16, 1
    subject = load_subject(chosen.data, str(chosen.model or chosen.backbone))
    tokenizer = subject.tokenizer
    model = load_model(chosen.model) if chosen.model else subject.new_model(SEED)
    judges = subject.examples("dev")[: chosen.texts]
    calibration = draw(subject.train, chosen.calibration, SEED)
    expected = predict(model, judges, tokenizer)
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "onnx")
        export_onnx(model, judges[:BATCH_SIZE], tokenizer, out, max_length=MAX_LENGTH, int8=True)
        files = {"fp32": out / FP32_FILE, "dynamic": out / INT8_FILE}
        for name, how in _STATIC.items():
            files[name] = Path(scratch, f"{name}.onnx")
            _quantize(out / FP32_FILE, files[name], _batches(out / FP32_FILE, calibration, tokenizer), how)
        timed = interleaved_medians(
            {name: _answer_all(file, judges[:BATCH_SIZE], tokenizer) for name, file in files.items()}, chosen.repeats
        )
        return [_row(name, file, judges, subject, expected, timed[name]) for name, file in files.items()]


def _row(name: str, file: Path, judges: Examples, subject: Subject, expected: np.ndarray, seconds: float) -> Row:
    task, found = subject.task, predict_onnx(open_session(file, 1), judges, subject.tokenizer)
    fidelity = fidelity_of(file.name, file.stat().st_size, found, expected, task, judges)
    assert fidelity.metrics is not None
    assert fidelity.agreement is not None
    return {
        "file": name,
        "MB": fidelity.bytes / 1e6,
        task.primary_metric: fidelity.metrics[task.primary_metric],
        "answers like PyTorch's (%)": 100 * fidelity.agreement,
        "mean difference of a logit": fidelity.mean_difference,
        "ms per text": 1000 * seconds / min(BATCH_SIZE, len(judges)),
    }


def _quantize(source: Path, file: Path, batches: Iterator[dict[str, np.ndarray]], how: dict[str, Any]) -> None:
    """Weights as in `to_int8`; activations in 8 bits of the calibrated range."""
    quantize_static(
        source,
        file,
        _Reader(batches),
        op_types_to_quantize=["MatMul", "Gather"],
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QUInt8,
        extra_options={"MatMulConstBOnly": True},
        **how,
    )


class _Reader(CalibrationDataReader):
    """Gives the texts that the ranges come from."""

    def __init__(self, batches: Iterator[dict[str, np.ndarray]]) -> None:
        self._batches = batches

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)


def _batches(file: Path, examples: Examples, tokenizer: Any) -> Iterator[dict[str, np.ndarray]]:
    """Texts one by one, as an ONNX file takes them."""
    names = [value.name for value in open_session(file, 1).get_inputs()]
    return ({name: batch[name].numpy() for name in names} for _, batch in evaluation_batches(examples, tokenizer, 1))


def _answer_all(file: Path, examples: Examples, tokenizer: Any) -> Callable[[], None]:
    session, batches = open_session(file, 1), list(_batches(file, examples, tokenizer))
    return partial(_run_all, session, batches)


def _run_all(session: Any, batches: list[dict[str, np.ndarray]]) -> None:
    for batch in batches:
        session.run(["logits"], batch)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    run("quantization", options(), measure, arguments)


if __name__ == "__main__":
    main()

"""ONNX: a folder that answers with `onnxruntime` and `tokenizers` alone, checked against PyTorch.

    python predict.py "a text"       # in the folder; prints {"label": ..., "probability": ...}

The folder holds

- `model.onnx`, and `model.int8.onnx` if requested: one file each, weights included, with a
  dynamic batch and length;
- `tokenizer.json`, which cuts and pads as the model needs it;
- `config.json`: the names of the classes and of the inputs, and the length at which texts are cut;
- `predict.py`: the few lines that put these together;
- `export.json`: how far the answers are from PyTorch's, on real texts.
"""

from __future__ import annotations

import copy
import errno
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from google.protobuf.message import DecodeError
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from onnxruntime.quantization import QuantType, quantize_dynamic
from tokenizers import Tokenizer
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.compute.quiet import quiet
from sensibert.data.encoding import Examples, evaluation_batches
from sensibert.data.tasks import Task
from sensibert.deploy.fidelity import Fidelity, fidelity_of, labelled_metrics
from sensibert.deploy.onnx import onnx_predict
from sensibert.deploy.onnx.simplify import remove_empty_products
from sensibert.errors import ExportError
from sensibert.evaluation.evaluate import predict
from sensibert.io import mark, replacing, write_json
from sensibert.models.targets import is_regressor

OPSET = 20
"""The first with Gelu; ONNX Runtime reads it since 1.17."""
FP32_FILE, INT8_FILE = "model.onnx", "model.int8.onnx"
REPORT_FILE = "export.json"

BATCH_SIZE, BATCHED_TEXTS = 32, 256
"""Padded batches are checked too, on the first texts: a few are enough to see that the mask is right."""
_LARGEST_FILE = 2**31 - 2**20  # the limit of protobuf, minus room for the graph

Text = str | tuple[str, str]
"""A text, or a pair of texts."""


@dataclass(frozen=True)
class ExportReport:
    """What `export_onnx` found."""

    texts: int
    """Texts that the files were checked on."""
    tolerance: float
    """Largest difference of a logit that the fp32 file may have."""
    pytorch_metrics: dict[str, float] | None
    """The metrics of the model itself, in percent; None without labels."""
    onnx: Fidelity
    int8: Fidelity | None


def export_onnx(
    model: PreTrainedModel,
    examples: Examples,
    tokenizer: PreTrainedTokenizerBase,
    out: Path,
    *,
    max_length: int,
    texts: Sequence[Text] = (),
    task: Task | None = None,
    int8: bool = False,
    tolerance: float = 1e-4,
    int8_tolerance: float = math.inf,
) -> ExportReport:
    """Export a text classifier or regressor, and check the export against it.

    Args:
        model: Dense or slim.
        examples: Encoded from real texts, for the check; with `task`, their labels give the metrics before and after.
        tokenizer: The model's.
        out: The folder to write; an earlier export there is replaced once the new one has passed its check.
        max_length: Longer texts are cut at this number of tokens.
        texts: The texts, or pairs, of the examples: the exported tokenizer must cut them into the same tokens.
        task: Names the metrics.
        int8: Also write a quantized file.
        tolerance: Largest allowed difference of a logit between PyTorch and the fp32 file; of numbers beyond 1, as a
            part of the largest.
        int8_tolerance: The same for the quantized file; by default its differences are only reported.

    Raises:
        ExportError: the model cannot be exported, the export differs from it by more than the tolerance, or
            `out` holds other files. Nothing is written then.
    """
    out = out.resolve()
    _refuse_foreign(out)
    if not examples:
        raise ExportError("no text to check the export with: give some that the model will meet")
    model = copy.deepcopy(model).cpu().float().eval()
    if model.main_input_name != "input_ids":
        raise ExportError(f"the model reads {model.main_input_name}, no texts; to_onnx exports it")
    portable = portable_tokenizer(tokenizer, max_length)
    _refuse_other_tokens(portable, texts, examples)
    expected = predict(model, examples, tokenizer)
    metrics = labelled_metrics(task, examples, expected)
    size = max(1.0, np.abs(expected).max().item()) if is_regressor(model) else 1.0

    def check(file: Path, allowed: float) -> Fidelity:
        session = open_session(file)
        alone = predict_onnx(session, examples, tokenizer)
        together = predict_onnx(session, examples[:BATCHED_TEXTS], tokenizer, BATCH_SIZE)
        fidelity = fidelity_of(file.name, file.stat().st_size, alone, expected, task, examples)
        difference = np.abs(together - expected[:BATCHED_TEXTS]).max().item()
        fidelity = replace(fidelity, max_difference=max(fidelity.max_difference, difference))
        _refuse_different(fidelity, len(examples), allowed * size)
        return fidelity

    with replacing(out) as beside:
        beside.mkdir()
        with _step("building the ONNX graph"):
            to_onnx(model, _example_inputs(tokenizer), beside / FP32_FILE)
        onnx = check(beside / FP32_FILE, tolerance)
        quantized = None
        if int8:
            with _step("quantizing"):
                to_int8(beside / FP32_FILE, beside / INT8_FILE)
            quantized = check(beside / INT8_FILE, int8_tolerance)
        report = ExportReport(len(examples), tolerance, metrics, onnx, quantized)
        portable.save(str(beside / "tokenizer.json"))
        write_json(beside / "config.json", _settings(model, tokenizer, max_length))
        shutil.copyfile(onnx_predict.__file__, beside / "predict.py")
        write_json(beside / REPORT_FILE, asdict(report))
        mark(beside, "export")
    return report


def to_onnx(model: PreTrainedModel, inputs: Mapping[str, Tensor], file: Path) -> None:
    """Write the graph from a model's inputs to its `logits`, in fp32.

    Args:
        model: A dense or slim model, of texts or images.
        inputs: An example of its inputs, with at least two rows and two tokens. Sizes and types count, values do
            not: the number of rows, and of tokens, stays open.
        file: Where to write. The same model gives the same bytes.

    Raises:
        ExportError: the weights do not fit one file.
    """
    size = sum(parameter.numel() * 4 for parameter in model.parameters())
    if size > _LARGEST_FILE:
        raise ExportError(f"{size:,} bytes of weights do not fit one ONNX file, which holds 2 GiB")
    wrapped = _Logits(copy.deepcopy(model).cpu().float()).eval()
    with quiet():
        program = torch.onnx.export(
            wrapped,
            kwargs={"inputs": dict(inputs)},
            dynamic_shapes={"inputs": {name: _open_axes(tensor) for name, tensor in inputs.items()}},
            input_names=list(inputs),
            output_names=["logits"],
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        # The metadata quotes the source code with its paths: useless elsewhere, and different on each machine.
        ClearMetadataAndDocStringPass()(program.model)
        remove_empty_products(program.model)
        proto = program.model_proto
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
    # Not the shapes of weights: quantizing transposes weights and would then reject the stated shapes.
    weights = {weight.name for weight in proto.graph.initializer}
    shapes = [value for value in proto.graph.value_info if value.name not in weights]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(shapes)
    file.write_bytes(proto.SerializeToString(deterministic=True))


def to_int8(source: Path, file: Path) -> None:
    """Quantize an ONNX file dynamically: weights once, activations as they come.

    The matrix products with weights get int8 weights with a scale per output channel, the embeddings one scale
    per table. The weights use 7 of the 8 bits: with 8, processors without VNNI instructions saturate their 16-bit sums,
    and the file would answer differently there. On MiniLM-L6 at 0.4x, that bit costs 4 % more logit error,
    a scale per tensor twice the error, and leaving the embeddings in fp32 three times the size for 10 % less error.
    """
    try:
        with quiet():
            quantize_dynamic(
                source,
                file,
                op_types_to_quantize=["MatMul", "Gather"],  # MatMul covers Gemm, which the quantizer turns into it
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
            )
    except DecodeError:  # of a copy that it writes beside `source`, and does not notice when it cannot
        raise OSError(errno.ENOSPC, "the graph could not be written whole", str(file)) from None


def why_int8_is_slow() -> str | None:
    """Why a quantized file may not be faster than fp32 on this processor; None if it has instructions for it."""
    has = torch.cpu.get_capabilities()
    if any(has.get(name) for name in ("avx512_vnni", "avx_vnni", "dot", "i8mm")):
        return None
    return (
        f"this processor ({has.get('architecture', 'of an unknown kind')}) has no instructions for sums of int8"
        " products (VNNI, or dot on ARM): the quantized file is smaller here, but may not be faster"
    )


def open_session(file: Path, threads: int | None = None) -> onnxruntime.InferenceSession:
    """Load an ONNX file to run on the CPU.

    Args:
        file: An exported model.
        threads: By default as many as PyTorch uses in this process.

    Raises:
        ExportError: the file is damaged or of another kind.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3
    # Idle threads would keep spinning after a run and take the cores from whatever comes next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # those of ONNX Runtime have nothing else in common
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ExportError(f"{file} is damaged or of another kind ({reason})") from error


def predict_onnx(
    session: onnxruntime.InferenceSession,
    examples: Examples,
    tokenizer: PreTrainedTokenizerBase,
    batch_size: int = 1,
) -> np.ndarray:
    """The logits [examples, classes] of an exported model: `evaluation.evaluate.predict` for ONNX.

    One text at a time by default: that is how a device sees them, and in a quantized model the activations of a
    batch share one scale.
    """
    names = [value.name for value in session.get_inputs()]
    logits = np.empty((len(examples), session.get_outputs()[0].shape[1]), dtype=np.float32)
    progress = tqdm(total=len(examples), desc="evaluating ONNX", unit="text", mininterval=1)
    with progress:
        for rows, batch in evaluation_batches(examples, tokenizer, batch_size):
            logits[rows] = session.run(["logits"], {name: batch[name].numpy() for name in names})[0]
            progress.update(len(rows))
    return logits


def portable_tokenizer(tokenizer: PreTrainedTokenizerBase, max_length: int) -> Tokenizer:
    """The tokenizer for use without Transformers: it cuts texts at `max_length` and pads to the longest one.

    Raises:
        ExportError: the tokenizer is written in Python, so that no tokenizer.json can hold it.
    """
    if not tokenizer.is_fast:
        raise ExportError(
            f"{type(tokenizer).__name__} is written in Python; an export needs a tokenizer that "
            "tokenizer.json can hold (`is_fast`)"
        )
    portable = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())  # type: ignore[attr-defined]
    portable.enable_truncation(max_length, direction=tokenizer.truncation_side)
    portable.enable_padding(
        direction=tokenizer.padding_side,
        pad_id=tokenizer.pad_token_id,
        pad_type_id=tokenizer.pad_token_type_id,
        pad_token=tokenizer.pad_token,
    )
    return portable


class _Logits(nn.Module):
    """A model that takes its inputs by name and returns only its logits."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        # The unfused attention gives the plainest graph: ONNX Runtime ran it 5 to 10 % faster than that of "sdpa".
        model.set_attn_implementation("eager")

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        logits: Tensor = self.model(**inputs).logits
        return logits


def _open_axes(tensor: Tensor) -> dict[int, str]:
    """Names of the axes whose size stays open: ids are [batch, tokens], pixels [batch, channels, height, width]."""
    return {0: "batch", 1: "length"} if tensor.dim() == 2 else {0: "batch"}


def _example_inputs(tokenizer: PreTrainedTokenizerBase) -> dict[str, Tensor]:
    blank = {name: torch.zeros(2, 8, dtype=torch.long) for name in tokenizer.model_input_names}
    return blank | {"attention_mask": torch.ones(2, 8, dtype=torch.long)}


def _refuse_other_tokens(portable: Tokenizer, texts: Sequence[Text], examples: Examples) -> None:
    """A portable tokenizer must give the same examples as the model's own tokenizer."""
    for text, example in zip(texts, examples, strict=bool(texts)):
        first, second = (text, None) if isinstance(text, str) else text
        if example["input_ids"] != portable.encode(first, second).ids:
            raise ExportError(f"tokenizer.json cuts a text into other tokens than the model's tokenizer: {first!r}")


def _refuse_different(fidelity: Fidelity, texts: int, allowed: float) -> None:
    if fidelity.max_difference <= allowed and math.isfinite(fidelity.max_difference):
        return
    agreement = "" if fidelity.agreement is None else f"; {fidelity.agreement:.1%} of the predictions agree"
    raise ExportError(
        f"{fidelity.file} differs from PyTorch by up to {fidelity.max_difference:.3g} in a logit "
        f"(mean {fidelity.mean_difference:.3g}) on {texts} texts{agreement}; allowed: {allowed:g}. Nothing was written"
    )


def _refuse_foreign(out: Path) -> None:
    """Only an earlier export may be replaced."""
    is_empty = out.is_dir() and not any(out.iterdir())
    if out.exists() and not is_empty and not (out / REPORT_FILE).is_file():
        raise ExportError(f"{out} is there already and is no export; name a new folder")


def _settings(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_length: int) -> dict[str, Any]:
    """What `predict.py` needs besides the graph and the tokenizer."""
    classes = model.config.num_labels
    return {
        "id2label": {str(index): name for index, name in (model.config.id2label or {}).items()},
        "inputs": list(_example_inputs(tokenizer)),
        "max_length": max_length,
        "problem_type": model.config.problem_type or ("regression" if classes == 1 else "single_label_classification"),
    }


@contextmanager
def _step(name: str) -> Iterator[None]:
    """Show that a step of about a minute is running, and how long it took."""
    with tqdm(total=1, desc=name, bar_format="{desc}: {elapsed}") as progress:
        yield
        progress.update()

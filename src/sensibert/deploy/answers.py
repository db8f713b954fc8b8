"""Answers of a saved model or an export to the texts of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import softmax
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.compute.hardware import best_device
from sensibert.data.encoding import encode_texts
from sensibert.deploy.rows import Row
from sensibert.errors import BackboneError, DataError, DivergedError
from sensibert.evaluation.evaluate import predict
from sensibert.models.backbones import check_length, class_names, load_model, load_tokenizer
from sensibert.places import mark_of

Text = str | tuple[str, str]

_USUAL_LENGTH = 128

LABEL, PROBABILITY, SCORE = "predicted_label", "probability", "predicted_score"
"""Columns that an answer adds: the first two, or the third in a regression."""


@dataclass(frozen=True)
class Answerer:
    """A model that answers texts."""

    logits: Callable[[Sequence[Text]], np.ndarray]
    """From texts, or pairs of texts, to their logits [texts, classes]."""
    labels: Sequence[str]
    """The names of the classes in the order of the logits; empty for a regression."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that an answer adds."""
        return (LABEL, PROBABILITY) if self.labels else (SCORE,)

    def answers(self, texts: Sequence[Text]) -> list[Row]:
        """The label and its probability, or the score, of each text.

        Raises:
            DivergedError: the model gives no finite numbers.
        """
        logits = self.logits(texts).astype(np.float64)
        if not np.isfinite(logits).all():
            raise DivergedError("the model's answers are not finite numbers: its training diverged")
        if not self.labels:
            return [{SCORE: float(row[0])} for row in logits]
        best, parts = logits.argmax(axis=1), softmax(logits, axis=1)
        return [{LABEL: self.labels[i], PROBABILITY: float(row[i])} for i, row in zip(best, parts, strict=True)]


def answer_rows(
    pieces: Iterator[list[Row]], answerer: Answerer, text: str, text_pair: str | None = None
) -> Iterator[tuple[list[Row], int]]:
    """The rows with their answers, piece by piece, and how many of them have no text and so no answer.

    Args:
        pieces: Rows with the columns `text` and, for pairs, `text_pair`.
        answerer: What answers.
        text: Name of the column of the texts.
        text_pair: Name of the column of the second texts.

    Raises:
        DataError: a row lacks a column, holds something other than a text there, or has a column that an answer adds.
    """
    names = [text] if text_pair is None else [text, text_pair]
    nothing = dict.fromkeys(answerer.columns)
    for rows in pieces:
        for row in rows:
            _check_row(row, names, answerer.columns)
        given = [[row[name] for name in names] for row in rows]
        asked = [place for place, texts in enumerate(given) if all(texts)]
        texts: list[Text] = [given[place][0] if text_pair is None else tuple(given[place]) for place in asked]  # type: ignore[misc]
        found = dict(zip(asked, answerer.answers(texts), strict=True)) if asked else {}
        yield [row | found.get(place, nothing) for place, row in enumerate(rows)], len(rows) - len(asked)


def load_answerer(
    folder: Path,
    *,
    int8: bool = False,
    max_length: int | None = None,
    batch_size: int = 32,
    threads: int | None = None,
    trust_remote_code: bool = False,
) -> Answerer:
    """A saved model on the best device, or an export in ONNX Runtime.

    Args:
        folder: Written by `sensibert compress`, `save_pretrained` or `sensibert export`.
        int8: Whether to take the quantized file of an export.
        max_length: Texts are cut at this number of tokens, by default as the model was compressed; an export has its
            own.
        batch_size: Texts per forward pass.
        threads: Of an export, by default all cores; those of PyTorch are a matter of the process.
        trust_remote_code: Whether code that the folder brings may run.

    Raises:
        BackboneError: the folder holds no model, or not this one.
    """
    from sensibert.deploy.onnx.export import FP32_FILE, INT8_FILE

    if (folder / FP32_FILE).exists() or int8:
        if max_length is not None:
            raise BackboneError(
                f"--max-length {max_length}: the export {folder} cuts texts where it was told to when it was made; "
                "export the model again with another --max-length"
            )
        return _exported(folder, INT8_FILE if int8 else FP32_FILE, batch_size, threads)
    model = load_model(folder, trust_remote_code=trust_remote_code).to(best_device())  # type: ignore[arg-type]
    tokenizer = load_tokenizer(str(folder), trust_remote_code=trust_remote_code)
    length = max_length or usual_length(folder, tokenizer.model_max_length)
    check_length(model.config, length)
    return Answerer(lambda texts: _torch_logits(model, tokenizer, texts, length, batch_size), class_names(folder))


def usual_length(folder: Path, of_tokenizer: int) -> int:
    """Where texts are cut if nobody says: as the tokenizer says if this program made the model, else at 128 tokens."""
    return of_tokenizer if any(mark_of(folder, command) for command in ("compress", "export")) else _USUAL_LENGTH


def _torch_logits(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[Text], length: int, batch_size: int
) -> np.ndarray:
    return predict(model, encode_texts(texts, tokenizer, length), tokenizer, batch_size, with_bar=False)


def _exported(folder: Path, file: str, batch_size: int, threads: int | None) -> Answerer:
    """An export, read by the very code that it brings along."""
    from sensibert.deploy.onnx.onnx_predict import Model

    try:
        model = Model(folder, file, threads)
    except Exception as error:  # those of ONNX Runtime and of tokenizers have nothing else in common
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BackboneError(f"cannot answer with {folder / file}: {reason}") from error

    def logits(texts: Sequence[Text]) -> np.ndarray:
        starts = range(0, len(texts), batch_size)
        return np.concatenate([model.logits(list(texts[start : start + batch_size])) for start in starts])

    names = model.config["id2label"]
    regression = model.config["problem_type"] == "regression"
    return Answerer(logits, () if regression else [names[str(place)] for place in range(len(names))])


def _check_row(row: Row, names: Sequence[str], added: Sequence[str]) -> None:
    for name in names:
        if name not in row:
            raise DataError(f"there is no column {name!r}; the columns are {', '.join(map(repr, row))}")
        if not isinstance(row[name], str | None):
            raise DataError(f"the column {name!r} holds {row[name]!r}, which is no text")
    for name in added:
        if name in row:
            raise DataError(f"there is a column {name!r} already, which an answer would replace; rename it first")

"""How a model answers: which classes it confuses, or how far its numbers are off."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sensibert.report.page.blocks import Block, Cell, Charts, Column, Drawing, Matrix, Row, Table, number, text
from sensibert.report.page.charts import agreement

MOST_CLASSES = 12
"""Classes up to which all confusions are shown; with more of them the commonest ones."""
_MOST_LISTED, _MOST_POINTS = 15, 1000


def answers(predictions: pd.DataFrame, labels: Sequence[str], title: str) -> list[Block]:
    """What a model answered to the rows that it was judged on.

    Args:
        predictions: With the columns `label` and `prediction`: numbers of classes, or real numbers.
        labels: The classes in the order of their numbers; empty for real numbers.
        title: Whose answers these are.
    """
    if not labels:
        return [Charts([_scatter(predictions, title)])]
    counts = confusion(predictions, len(labels))
    if len(labels) > MOST_CLASSES:
        return [_commonest(counts, labels, title), _classes(counts, labels)]
    return [_matrix(counts, labels, title), _classes(counts, labels)]


def confusion(predictions: pd.DataFrame, classes: int) -> np.ndarray:
    """How often each class, [true, predicted], was answered with each."""
    counts = np.zeros((classes, classes), dtype=int)
    np.add.at(counts, (predictions["label"].astype(int), predictions["prediction"].astype(int)), 1)
    return counts


def _matrix(counts: np.ndarray, labels: Sequence[str], title: str) -> Matrix:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows = [
        (label, [Cell(f"{count:,}", share=share) for count, share in zip(of_label, parts, strict=True)])
        for label, of_label, parts in zip(labels, counts.tolist(), shares.tolist(), strict=True)
    ]
    note = "Rows; the shade is the part of the true class. Right answers are on the diagonal."
    return Matrix(title, "true ↓ answered →", labels, rows, note)


def _commonest(counts: np.ndarray, labels: Sequence[str], title: str) -> Table:
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    places = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_LISTED]
    pairs = [divmod(int(place), len(labels)) for place in places]
    rows = [
        Row([text(labels[true]), text(labels[said]), *_counted(wrong[true, said], counts[true].sum())])
        for true, said in pairs
        if wrong[true, said]
    ]
    columns = [
        Column("True class", is_number=False),
        Column("Answered", is_number=False),
        Column("Rows", best="high"),
        Column("Of the class", best="high"),
    ]
    return Table(f"{title}: what is confused most often", columns, rows)


def _counted(count: int, of: int) -> tuple[Cell, Cell]:
    return number(int(count), "{:,}"), number(count / of, "{:.0%}", share=count / of)


def _classes(counts: np.ndarray, labels: Sequence[str]) -> Table:
    right, true, said = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    precision, recall = (np.where(of > 0, right / np.maximum(of, 1), np.nan) for of in (said, true))
    f1 = 2 * right / np.maximum(true + said, 1)
    rows = [
        Row(
            [
                text(label),
                number(int(true[place]), "{:,}"),
                number(precision[place], "{:.1%}"),
                number(recall[place], "{:.1%}"),
                number(f1[place], "{:.1%}", share=f1[place]),
            ]
        )
        for place, label in enumerate(labels)
    ]
    columns = [
        Column("Class", is_number=False),
        Column("Rows", best="high"),
        Column("Precision", best="high", hint="Of the answers with this class, how many are right"),
        Column("Recall", best="high", hint="Of the rows of this class, how many are found"),
        Column("F1", best="high", hint="Harmonic mean of precision and recall"),
    ]
    worst = sorted(range(len(rows)), key=lambda place: f1[place])[: 4 * _MOST_LISTED]
    note = "" if len(worst) == len(rows) else f"The {len(worst)} worst of {len(rows)} classes."
    return Table("Class by class", columns, [rows[place] for place in sorted(worst)], note)


def _scatter(predictions: pd.DataFrame, title: str) -> Drawing:
    step = -(-len(predictions) // _MOST_POINTS)
    some = predictions.iloc[::step]
    return agreement(title, some["label"].tolist(), some["prediction"].tolist())

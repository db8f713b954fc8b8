"""A simple classifier or regressor of texts, and the linear head that all of them end in."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.data.encoding import labels_in, texts_of
from sensibert.models.subject import Subject

Text = str | tuple[str, str]
"""A text, or a pair of texts."""

_STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
_FOLDS = 5


Answer = Callable[[Sequence[Text]], np.ndarray]
"""From texts to class ids or numbers [texts]."""


@dataclass(frozen=True)
class Given:
    """What a simple model is fitted from."""

    load_model: Callable[[], PreTrainedModel]
    """Gives a classifier whose encoder was not tuned, to those that need one; its head has no part in this."""
    tokenizer: PreTrainedTokenizerBase
    """The model's."""
    texts: Sequence[Text]
    """Of the training rows."""
    labels: np.ndarray
    """Class ids or numbers [rows]."""
    max_length: int
    """Longer texts are cut at this number of tokens where the model reads them."""
    seed: int
    """Of what is drawn."""

    @property
    def encoder(self) -> PreTrainedModel:
        """The model without its head, loaded anew."""
        return self.load_model().base_model.eval()  # type: ignore[return-value]


def given_of(subject: Subject, seed: int) -> Given:
    """The training rows of a subject, and its backbone."""
    rows, length = subject.dataset["train"], subject.settings.max_length
    return Given(partial(subject.new_model, seed), subject.tokenizer, texts_of(rows), labels_in(rows), length, seed)


@dataclass(frozen=True)
class Simple:
    """A simple model, fitted."""

    answer: Answer
    file_bytes: int
    """What it takes on disk, the backbone included where it needs one."""
    needs: str
    """What must be installed to run it."""


def linear_head(labels: np.ndarray) -> GridSearchCV | RidgeCV:
    """A linear model whose regularization cross-validation chooses: for classes, or for real numbers.

    Args:
        labels: Of the training rows [rows]; a class with fewer rows than folds makes fewer folds.
    """
    if labels.dtype.kind == "f":
        return RidgeCV(alphas=[1 / strength for strength in _STRENGTHS])
    folds = max(2, min(_FOLDS, int(np.unique(labels, return_counts=True)[1].min())))
    return GridSearchCV(LogisticRegression(max_iter=1000), {"C": list(_STRENGTHS)}, cv=folds)


def stored_bytes(*parts: Any) -> int:
    """What fitted scikit-learn objects take on disk."""
    return sum(len(pickle.dumps(part)) for part in parts)


def both(text: Text) -> str:
    """A text, or a pair as one text."""
    return text if isinstance(text, str) else " ".join(text)


def compared(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Features of pairs [pairs, 2 x width] from those of their texts: where they differ, and where they agree.

    Source: Conneau et al., "Supervised Learning of Universal Sentence Representations", EMNLP 2017, section 3.
    """
    return np.concatenate([np.abs(first - second), first * second], axis=1)


def featured(vectors: Callable[[Sequence[str]], np.ndarray], texts: Sequence[Text]) -> np.ndarray:
    """The vectors [texts, width] of single texts; of pairs what `compared` makes of both."""
    if isinstance(texts[0], str):
        return vectors(texts)  # type: ignore[arg-type]
    return compared(*(vectors([text[side] for text in texts]) for side in (0, 1)))


def fitted(steps: Sequence[Any], features: Any, labels: np.ndarray) -> Pipeline:
    """Steps of scikit-learn that end in a linear head, fitted."""
    pipeline = Pipeline([(type(step).__name__, step) for step in (*steps, linear_head(labels))])
    return pipeline.fit(features, labels)

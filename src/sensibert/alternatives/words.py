"""TF-IDF of words and pairs of words, and a linear head: no neural network at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from sensibert.alternatives.base import Given, Simple, Text, both, fitted, stored_bytes


def fit(given: Given) -> Simple:
    """Fit it; a pair counts as one text."""
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, dtype=np.float32)
    pipeline = fitted([vectorizer], list(map(both, given.texts)), given.labels)

    def answer(asked: Sequence[Text]) -> np.ndarray:
        return np.asarray(pipeline.predict(list(map(both, asked))))

    return Simple(answer, stored_bytes(pipeline), "scikit-learn")

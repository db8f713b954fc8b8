"""TF-IDF of words and pairs of words, and a linear head: no neural network at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from sensibert.alternatives.base import Simple, Text, both, fitted, stored_bytes


def fit(texts: Sequence[Text], labels: np.ndarray) -> Simple:
    """Fit it.

    Args:
        texts: Of the training rows; a pair counts as one text.
        labels: Class ids or numbers [rows].
    """
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, dtype=np.float32)
    pipeline = fitted([vectorizer], list(map(both, texts)), labels)
    size = stored_bytes(pipeline)
    return Simple("TF-IDF, linear", lambda asked: pipeline.predict(list(map(both, asked))), size, "scikit-learn")

"""A vector for each token, distilled from the backbone, and a linear head on their mean: a table instead of a network.

Each token passes through the backbone alone, once; principal components make the vectors shorter, and a weight makes
frequent tokens count less.

Sources: van Dongen and Tulkens, "Model2Vec" (2024), whose recipe this is; Arora et al., "A Simple but Tough-to-Beat
Baseline for Sentence Embeddings", ICLR 2017, for the weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain

import numpy as np
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.alternatives.base import Given, Simple, Text, both, featured, fitted, stored_bytes
from sensibert.alternatives.frozen import embedded

_WIDTH = 256
_BATCH_SIZE = 512
"""Tokens of the vocabulary at once: texts of three or four pieces are much too short for small batches."""
_SMOOTHING = 1e-3
"""The `a` of Arora et al.: a token of frequency p weighs a / (a + p)."""


def fit(given: Given) -> Simple:
    """Fit it; how often a token occurs in the texts gives its weight."""
    tokenizer = given.tokenizer
    counts = Counter(chain.from_iterable(_ids(tokenizer, list(map(both, given.texts)))))
    table = token_vectors(given.encoder, tokenizer, counts)

    def vectors(asked: Sequence[str]) -> np.ndarray:
        nothing = np.zeros_like(table[0])
        return np.stack([table[ids].mean(axis=0) if ids else nothing for ids in _ids(tokenizer, asked)])

    pipeline = fitted([StandardScaler()], featured(vectors, given.texts), given.labels)

    def answer(asked: Sequence[Text]) -> np.ndarray:
        return np.asarray(pipeline.predict(featured(vectors, asked)))

    size = table.nbytes + stored_bytes(pipeline)
    return Simple(answer, size, "tokenizers, scikit-learn")


def token_vectors(encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, counts: Counter[int]) -> np.ndarray:
    """The weighted vectors of all tokens, [tokens, width].

    Args:
        encoder: What they come from.
        tokenizer: The encoder's.
        counts: How often each token id occurs.
    """
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    alone = [tokenizer.convert_tokens_to_string([name]) or name for name in names]
    found = embedded(encoder, tokenizer, alone, max_length=16, batch_size=_BATCH_SIZE)
    width = min(_WIDTH, *found.shape)
    shorter = PCA(width, random_state=0).fit_transform(found)
    frequency = np.array([counts[token] for token in range(len(names))]) / max(1, counts.total())
    return np.asarray(shorter * (_SMOOTHING / (_SMOOTHING + frequency))[:, None], dtype=np.float32)


def _ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    return tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]  # type: ignore[return-value]

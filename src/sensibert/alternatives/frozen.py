"""The backbone as it is: the mean of its last hidden states, and a linear head on it. Nothing of it trains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.alternatives.base import Given, Simple, Text, featured, fitted, stored_bytes
from sensibert.data.encoding import encode_texts, evaluation_batches


def fit(given: Given) -> Simple:
    """Fit it; each text of a pair is embedded alone."""
    encoder = given.encoder

    def vectors(asked: Sequence[str]) -> np.ndarray:
        return embedded(encoder, given.tokenizer, asked, given.max_length)

    pipeline = fitted([StandardScaler()], featured(vectors, given.texts), given.labels)
    weights = sum(parameter.numel() * 4 for parameter in encoder.parameters())

    def answer(asked: Sequence[Text]) -> np.ndarray:
        return np.asarray(pipeline.predict(featured(vectors, asked)))

    return Simple(answer, weights + stored_bytes(pipeline), "torch, transformers")


def embedded(
    encoder: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    max_length: int,
    batch_size: int = 32,
) -> np.ndarray:
    """The mean of the last hidden states over the tokens of each text, [texts, width]."""
    examples = encode_texts(texts, tokenizer, max_length)
    found: np.ndarray | None = None
    with torch.inference_mode():
        for rows, batch in evaluation_batches(examples, tokenizer, batch_size):
            inputs = {name: values.to(encoder.device) for name, values in batch.items() if name != "labels"}
            hidden = encoder(**inputs).last_hidden_state.float()
            counts = inputs["attention_mask"].unsqueeze(-1).float()
            means = ((hidden * counts).sum(1) / counts.sum(1)).cpu().numpy()
            if found is None:
                found = np.empty((len(examples), means.shape[1]), dtype=np.float32)
            found[rows] = means
    assert found is not None
    return found

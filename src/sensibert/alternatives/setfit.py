"""Few-shot learning: the backbone tuned to tell pairs of texts of one class from pairs of two, and a linear head on it.

Source: Tunstall et al., "Efficient Few-Shot Learning Without Prompts", arXiv 2209.11055; by the authors' own library,
the extra `setfit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from datasets import Dataset
from sklearn.linear_model import LogisticRegression
from transformers import PreTrainedModel

from sensibert.alternatives.base import Given, Simple, Text, stored_bytes
from sensibert.compute.quiet import quiet

_STEPS, _BATCH_SIZE = 100, 32
_MOST_TEXTS = 1024
"""Texts that pairs are made of: there are as many pairs as the square of this, and the method is for few texts."""


def suits(given: Given) -> bool:
    """Whether it can be fitted: it is installed, and knows classes of single texts alone."""
    return find_spec("setfit") is not None and given.labels.dtype.kind != "f" and isinstance(given.texts[0], str)


def knows(model: PreTrainedModel) -> bool:
    """Whether it can read the backbone: one with the code of Transformers."""
    return type(model).__module__.startswith("transformers.")


def fit(given: Given) -> Simple:
    """Fit it; the model must be one that it `knows`."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from setfit import SetFitModel, Trainer, TrainingArguments

    with TemporaryDirectory() as scratch, quiet():
        folder = Path(scratch, "encoder")
        given.encoder.save_pretrained(folder)
        given.tokenizer.save_pretrained(folder)
        encoder = Transformer(str(folder), max_seq_length=given.max_length)
        modules = [encoder, Pooling(encoder.get_word_embedding_dimension())]
        embedder = SentenceTransformer(modules=modules, device="cpu")
        found = SetFitModel(model_body=embedder, model_head=LogisticRegression(max_iter=1000))
        settings = TrainingArguments(
            str(Path(scratch, "run")),
            batch_size=_BATCH_SIZE,
            max_steps=_STEPS,
            seed=given.seed,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            show_progress_bar=False,
        )
        drawn = np.random.default_rng(given.seed).permutation(len(given.texts))[:_MOST_TEXTS]
        rows = Dataset.from_dict({"text": [given.texts[row] for row in drawn], "label": given.labels[drawn].tolist()})
        Trainer(model=found, args=settings, train_dataset=rows).train()
    weights = sum(parameter.numel() * 4 for parameter in embedder.parameters())

    def answer(asked: Sequence[Text]) -> np.ndarray:
        return np.asarray(found.predict(list(asked), as_numpy=True, show_progress_bar=False))

    size = weights + stored_bytes(found.model_head)
    return Simple(answer, size, "setfit, sentence-transformers, torch")

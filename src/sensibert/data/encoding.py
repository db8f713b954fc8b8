"""Texts become token ids, once; batches are padded to their longest text and grouped by length."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase
from transformers.trainer_pt_utils import LengthGroupedSampler

from sensibert.errors import BackboneError

Example = dict[str, Any]
"""`input_ids`, `token_type_ids` where the model has them, `labels` and `idx`, the row in the source; an image has
`pixel_values` instead. With a teacher, an example also has its `teacher_logits` [classes]."""

Item = TypeVar("Item")

Collate = Callable[[list[Example]], dict[str, Tensor]]
"""Makes a batch of examples."""


def encode(dataset: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[Example]:
    """Tokenize the `text` (and `text_pair`) of a normalized split.

    Returns:
        One example per row, unpadded, in the order of the rows. A list, since a Trainer reads single
        rows and a list gives them a hundred times faster than an Arrow table.
    """
    frame = dataset.to_pandas()
    pairs = frame["text_pair"].tolist() if "text_pair" in frame else None
    encoded = tokenizer(frame["text"].tolist(), pairs, truncation=True, max_length=max_length)
    columns = [name for name in encoded if name != "attention_mask"]
    rows = zip(*(encoded[name] for name in columns), frame["label"].tolist(), frame["idx"].tolist(), strict=True)
    return [dict(zip([*columns, "labels", "idx"], row, strict=True)) for row in rows]


def encode_texts(
    texts: Sequence[str | tuple[str, str]], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[Example]:
    """Tokenize texts, or pairs of texts, that have no labels."""
    # Each as a batch of one: called with two single texts, a tokenizer treats an empty second one as missing.
    batches = [([text], None) if isinstance(text, str) else ([text[0]], [text[1]]) for text in texts]
    encoded = (tokenizer(first, second, truncation=True, max_length=max_length) for first, second in batches)
    return [{name: ids for name, (ids,) in example.items() if name != "attention_mask"} for example in encoded]


def hash_rows(rows: Dataset) -> str:
    """SHA-256 of the rows of a split: of its columns and all that is in them."""
    table = rows.to_pandas()
    digest = hashlib.sha256(repr(list(table.columns)).encode())
    digest.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def texts_of(rows: Dataset) -> list[Any]:
    """The texts of a split, or its pairs of texts."""
    if "text_pair" not in rows.column_names:
        return list(rows["text"])
    return list(zip(rows["text"], rows["text_pair"], strict=True))


def labels_in(rows: Dataset) -> np.ndarray:
    """The class ids or real numbers of a split, [rows]."""
    return np.asarray(rows["label"])


def labels_of(examples: list[Example]) -> np.ndarray:
    """The class ids or real numbers of examples, [examples]."""
    return np.array([example["labels"] for example in examples])


def mean_length(examples: list[Example]) -> int:
    """Mean number of tokens, rounded up; 0 for images."""
    total = sum(_length(example) for example in examples)
    return -(-total // len(examples))


def draw(examples: Sequence[Item], count: int, seed: int) -> list[Item]:
    """A sample without repeats; all examples if there are no more. A larger sample starts with the smaller one."""
    order = np.random.default_rng(seed).permutation(len(examples))
    return [examples[row] for row in order[:count]]


def _length(example: Example) -> int:
    return len(example.get("input_ids", ()))  # images all have the same size


_BATCHED = ("input_ids", "token_type_ids", "labels", "teacher_logits")
"""What a batch holds of its examples."""


class Collator:
    """Pads a batch to its longest text; the attention mask is made here, so that it is not stored.

    Raises:
        BackboneError: the tokenizer has no token to pad with.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if tokenizer.pad_token_id is None:
            raise BackboneError(f"the tokenizer {tokenizer.name_or_path!r} has no padding token: set its `pad_token`")
        self.pad = DataCollatorWithPadding(tokenizer)

    def __call__(self, features: list[Example]) -> dict[str, Tensor]:
        """Give a batch of tensors: ids and masks [batch, tokens], labels [batch]."""
        names = [name for name in _BATCHED if name in features[0]]
        return dict(self.pad([{name: example[name] for name in names} for example in features]))


def collate_images(features: list[Example]) -> dict[str, Tensor]:
    """A batch of images of one size: pixel_values [batch, channels, height, width], labels [batch]."""
    return {
        "pixel_values": torch.stack([torch.as_tensor(example["pixel_values"]) for example in features]),
        "labels": torch.tensor([example["labels"] for example in features]),
    }


def collator(tokenizer: PreTrainedTokenizerBase | None) -> Collate:
    """What makes batches: of texts, or of images if there is no tokenizer."""
    return collate_images if tokenizer is None else Collator(tokenizer)


class TrainingOrder(LengthGroupedSampler):
    """Shuffled batches of similar length, in an order that the seed and the epoch alone decide.

    So a run that resumes in the middle of an epoch sees the batches that it would have seen.
    """

    def __init__(self, examples: list[Example], batch_size: int, seed: int) -> None:
        super().__init__(batch_size, lengths=[_length(example) for example in examples])
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; the Trainer calls this before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        (state,) = np.random.SeedSequence([self.seed, self.epoch]).generate_state(1)
        self.generator = torch.Generator().manual_seed(int(state))
        return super().__iter__()


def training_batches(
    examples: list[Example], tokenizer: PreTrainedTokenizerBase | None, batch_size: int, seed: int
) -> DataLoader[Any]:
    """The batches of a pass over the training data; `sampler.set_epoch` chooses the order of another pass."""
    sampler = TrainingOrder(examples, batch_size, seed)
    return DataLoader(examples, batch_size=batch_size, sampler=sampler, collate_fn=collator(tokenizer))  # type: ignore[arg-type]


def evaluation_batches(
    examples: list[Example], tokenizer: PreTrainedTokenizerBase | None, batch_size: int
) -> Iterator[tuple[list[int], dict[str, Any]]]:
    """Batches of similar length with the row numbers they hold."""
    order = sorted(range(len(examples)), key=lambda row: _length(examples[row]))
    collate = collator(tokenizer)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        yield rows, collate([examples[row] for row in rows])

"""Texts become token ids, once; batches are padded to their longest text and grouped by length."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from tempfile import TemporaryFile
from typing import Any, TypeVar, overload

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

from sensibert.data.tables import IN_MEMORY
from sensibert.errors import BackboneError

Example = dict[str, Any]
"""`input_ids`, `token_type_ids` where the model has them, `labels` and `idx`, the row in the source; an image has
`pixel_values` instead. With a teacher, an example also has its `teacher_logits` [classes]."""

Examples = Sequence[Example]

Item = TypeVar("Item")

Collate = Callable[[Examples], dict[str, Tensor]]
"""Makes a batch of examples."""


class ComputedExamples(Examples, ABC):
    """Examples that are made when they are asked for."""

    @abstractmethod
    def example(self, row: int) -> Example:
        """The example of a row, which is not negative."""

    @property
    @abstractmethod
    def lengths(self) -> np.ndarray:
        """Tokens of each text [examples]."""

    @overload
    def __getitem__(self, row: int) -> Example: ...
    @overload
    def __getitem__(self, row: slice) -> list[Example]: ...
    def __getitem__(self, row: int | slice) -> Example | list[Example]:
        rows = range(len(self))[row]
        return self.example(rows) if isinstance(rows, int) else [self.example(each) for each in rows]


class EncodedTexts(ComputedExamples):
    """Examples as a few arrays: some bytes for each token, where a list of dictionaries takes a kilobyte for each text.

    Args:
        tokens: Column -> the values of all texts one after the other [all tokens].
        ends: Where each text ends among them [texts].
        labels: Class ids or real numbers [texts].
        idx: Rows in the source [texts].
    """

    def __init__(self, tokens: Mapping[str, np.ndarray], ends: np.ndarray, labels: np.ndarray, idx: np.ndarray) -> None:
        self.tokens, self.labels, self.idx = dict(tokens), labels, idx
        self.bounds = np.concatenate([[0], ends])

    def __len__(self) -> int:
        return len(self.idx)

    def example(self, row: int) -> Example:
        """Its columns as lists of numbers."""
        start, stop = self.bounds[row], self.bounds[row + 1]
        columns = {name: values[start:stop].tolist() for name, values in self.tokens.items()}
        return columns | {"labels": self.labels[row].item(), "idx": self.idx[row].item()}

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text [texts]."""
        return np.diff(self.bounds)


class TaughtExamples(ComputedExamples):
    """Examples that also hold their `teacher_logits`, [examples, classes]."""

    def __init__(self, examples: Examples, logits: np.ndarray) -> None:
        self.examples, self.logits = examples, logits

    def __len__(self) -> int:
        return len(self.examples)

    def example(self, row: int) -> Example:
        """The example, taught."""
        return {**self.examples[row], "teacher_logits": self.logits[row].tolist()}

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text [texts]."""
        return lengths_of(self.examples)


CHUNK = 1_000
"""Rows of a split that are tokenized at once."""


def encode(dataset: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int) -> EncodedTexts:
    """Tokenize the `text` (and `text_pair`) of a normalized split.

    Returns:
        One example per row, unpadded, in the order of the rows.
    """
    columns: defaultdict[str, Column] = defaultdict(lambda: Column(on_disk=len(dataset) > IN_MEMORY))
    for start in range(0, len(dataset), CHUNK):
        rows = dataset[start : start + CHUNK]
        encoded = tokenizer(rows["text"], rows.get("text_pair"), truncation=True, max_length=max_length)
        for name in encoded:
            if name != "attention_mask":
                columns[name].add(np.fromiter(chain.from_iterable(encoded[name]), dtype=np.int32))
        of_row = {_LENGTH: list(map(len, encoded["input_ids"])), **{name: rows[name] for name in ("label", "idx")}}
        for name, values in of_row.items():
            columns[name].add(np.asarray(values))
    lengths, labels, idx = (columns.pop(name, Column(on_disk=False)).values() for name in (_LENGTH, "label", "idx"))
    return EncodedTexts({name: column.values() for name, column in columns.items()}, np.cumsum(lengths), labels, idx)


_LENGTH = "length"


class Column:
    """Numbers that come in parts, in memory or in a temporary file that is gone with them."""

    def __init__(self, *, on_disk: bool) -> None:
        self.parts: list[np.ndarray] = []
        self.file = TemporaryFile() if on_disk else None  # noqa: SIM115 (it lives as long as its numbers)

    def add(self, part: np.ndarray) -> None:
        """Append some, all of one type."""
        if self.file is None:
            self.parts.append(part)
        else:
            self.file.write(part.tobytes())
            self.parts = [part[:0]]

    def values(self) -> np.ndarray:
        """All of them."""
        if self.file is None or not self.file.tell():
            return np.concatenate(self.parts) if self.parts else np.empty(0, dtype=np.int64)
        self.file.flush()
        return np.memmap(self.file, dtype=self.parts[0].dtype, mode="r")


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
    digest = hashlib.sha256(repr(rows.column_names).encode())
    for table in rows.to_pandas(batch_size=CHUNK, batched=True):
        digest.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def hash_examples(examples: Examples) -> bytes:
    """SHA-256 of examples and all that is in them; equal examples in another kind of sequence have another one."""
    digest = hashlib.sha256()
    if isinstance(examples, EncodedTexts):
        for values in (*examples.tokens.values(), examples.bounds, examples.labels, examples.idx):
            for start in range(0, len(values), _MANY):
                digest.update(np.ascontiguousarray(values[start : start + _MANY]).data)
    else:
        for example in examples:
            digest.update(repr(sorted(example.items())).encode())
    return digest.digest()


def tokens_in(examples: Examples, vocabulary: int) -> Tensor:
    """Which tokens of a vocabulary are in the texts of examples, [vocabulary] booleans."""
    used = torch.zeros(vocabulary, dtype=torch.bool)
    if isinstance(examples, TaughtExamples):
        return tokens_in(examples.examples, vocabulary)
    if isinstance(examples, EncodedTexts):
        ids = examples.tokens["input_ids"]
        for start in range(0, len(ids), _MANY):
            used[torch.from_numpy(ids[start : start + _MANY].astype(np.int64))] = True
        return used
    for example in examples:
        used[example["input_ids"]] = True
    return used


_MANY = 1_000_000
"""Numbers of a column that are read at once."""


def texts_of(rows: Dataset) -> list[Any]:
    """The texts of a split, or its pairs of texts."""
    if "text_pair" not in rows.column_names:
        return list(rows["text"])
    return list(zip(rows["text"], rows["text_pair"], strict=True))


def labels_in(rows: Dataset) -> np.ndarray:
    """The class ids or real numbers of a split, [rows]."""
    return np.asarray(rows["label"])


def labels_of(examples: Examples) -> np.ndarray:
    """The class ids or real numbers of examples, [examples]."""
    if isinstance(examples, EncodedTexts):
        return np.array(examples.labels)
    return np.array([example["labels"] for example in examples])


def lengths_of(examples: Examples) -> np.ndarray:
    """Tokens of each example, [examples]; 0 for images, which all have the same size."""
    if isinstance(examples, ComputedExamples):
        return examples.lengths
    return np.array([len(example.get("input_ids", ())) for example in examples], dtype=np.int64)


def mean_length(examples: Examples) -> int:
    """Mean number of tokens, rounded up; 0 for images."""
    return -(-int(lengths_of(examples).sum()) // len(examples))


def draw(examples: Sequence[Item], count: int, seed: int) -> list[Item]:
    """A sample without repeats; all examples if there are no more. A larger sample starts with the smaller one."""
    order = np.random.default_rng(seed).permutation(len(examples))
    return [examples[row] for row in order[:count]]


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

    def __call__(self, features: Examples) -> dict[str, Tensor]:
        """Give a batch of tensors: ids and masks [batch, tokens], labels [batch]."""
        names = [name for name in _BATCHED if name in features[0]]
        return dict(self.pad([{name: example[name] for name in names} for example in features]))


def collate_images(features: Examples) -> dict[str, Tensor]:
    """A batch of images of one size: pixel_values [batch, channels, height, width], labels [batch]."""
    return {
        "pixel_values": torch.stack([torch.as_tensor(example["pixel_values"]) for example in features]),
        "labels": torch.tensor([example["labels"] for example in features]),
    }


def collator(tokenizer: PreTrainedTokenizerBase | None) -> Collate:
    """What makes batches: of texts, or of images if there is no tokenizer."""
    return collate_images if tokenizer is None else Collator(tokenizer)


_BATCHES_SORTED_TOGETHER = 50


class TrainingOrder(Sampler[int]):
    """Shuffled batches of similar length, in an order that the seed and the epoch alone decide.

    So a run that resumes in the middle of an epoch sees the batches that it would have seen. The order is that of the
    sampler of Transformers, which holds it as lists: here it is one array, of which parts are sorted as they come.
    """

    def __init__(self, examples: Examples, batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size = lengths_of(examples), batch_size
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; the Trainer calls this before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        (state,) = np.random.SeedSequence([self.seed, self.epoch]).generate_state(1)
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(int(state))).numpy()
        size = self.batch_size * max(1, min(len(self) // (self.batch_size * 4), _BATCHES_SORTED_TOGETHER))
        # The longest example comes first of all, so that a lack of memory shows soon; the first one takes its place.
        longest = int(
            np.argmax([self.lengths[order[start : start + size]].max() for start in range(0, len(self), size)])
        )
        firsts = [self._sorted(order[start : start + size])[0] for start in (0, longest * size)]
        for number, start in enumerate(range(0, len(self), size)):
            rows = self._sorted(order[start : start + size])
            if number in (0, longest):
                rows[0] = firsts[1] if number == 0 else firsts[0]
            yield from rows.tolist()

    def _sorted(self, rows: np.ndarray) -> np.ndarray:
        """Rows from the longest to the shortest, equal ones in their order."""
        return rows[np.argsort(-self.lengths[rows], kind="stable")]


def training_batches(
    examples: Examples, tokenizer: PreTrainedTokenizerBase | None, batch_size: int, seed: int
) -> DataLoader[Any]:
    """The batches of a pass over the training data; `sampler.set_epoch` chooses the order of another pass."""
    sampler = TrainingOrder(examples, batch_size, seed)
    return DataLoader(examples, batch_size=batch_size, sampler=sampler, collate_fn=collator(tokenizer))  # type: ignore[arg-type]


def evaluation_batches(
    examples: Examples, tokenizer: PreTrainedTokenizerBase | None, batch_size: int
) -> Iterator[tuple[list[int], dict[str, Any]]]:
    """Batches of similar length with the row numbers they hold."""
    order = np.argsort(lengths_of(examples), kind="stable").tolist()
    collate = collator(tokenizer)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        yield rows, collate([examples[row] for row in rows])

import hashlib

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from transformers.trainer_pt_utils import LengthGroupedSampler

from sensibert.data import encoding
from sensibert.data.encoding import (
    TaughtExamples,
    TrainingOrder,
    draw,
    encode,
    encode_texts,
    evaluation_batches,
    hash_examples,
    hash_rows,
    labels_of,
    lengths_of,
    mean_length,
    texts_of,
    tokens_in,
    training_batches,
)
from sensibert.models.backbones import load_tokenizer

TOKENIZER = load_tokenizer("tiny-bert")
TEXTS = ["a long bright film", "dull", "so so", "", "the very best of the year"]
LENGTHS = [2 + len(text.replace(" ", "")) for text in TEXTS]  # one token per letter


def dataset(pairs=False):
    columns = {"text": TEXTS, "text_pair": TEXTS[::-1]} if pairs else {"text": TEXTS}
    return Dataset.from_dict({**columns, "label": [0, 1, 0, 1, 0], "idx": list(range(100, 105))})


def test_texts_are_encoded_in_their_order_and_unpadded():
    examples = encode(dataset(), TOKENIZER, max_length=64)
    assert [len(example["input_ids"]) for example in examples] == LENGTHS
    assert [example["labels"] for example in examples] == [0, 1, 0, 1, 0]
    assert [example["idx"] for example in examples] == [100, 101, 102, 103, 104]
    assert all(example.keys() == {"input_ids", "token_type_ids", "labels", "idx"} for example in examples)
    for text, example in zip(TEXTS, examples, strict=True):
        assert example["input_ids"] == TOKENIZER(text)["input_ids"]


def test_pairs_are_told_apart():
    first = encode(dataset(pairs=True), TOKENIZER, max_length=64)[0]
    assert first["input_ids"] == TOKENIZER(TEXTS[0], TEXTS[-1])["input_ids"]
    assert set(first["token_type_ids"]) == {0, 1}


def test_long_texts_are_cut():
    assert max(len(example["input_ids"]) for example in encode(dataset(pairs=True), TOKENIZER, max_length=9)) == 9


def test_texts_without_labels_are_encoded_like_those_with_labels():
    for pairs in (False, True):
        rows = dataset(pairs)
        found = encode_texts(texts_of(rows), TOKENIZER, max_length=9)
        expected = encode(rows, TOKENIZER, max_length=9)
        for alone, labelled in zip(found, expected, strict=True):
            assert alone == {name: labelled[name] for name in ("input_ids", "token_type_ids")}


def test_labels_of_a_regression_stay_real_numbers():
    scores = Dataset.from_dict({"text": ["a", "b"], "label": [0.5, 4.75], "idx": [0, 1]})
    assert labels_of(encode(scores, TOKENIZER, 16)).tolist() == [0.5, 4.75]
    _, batch = next(evaluation_batches(encode(scores, TOKENIZER, 16), TOKENIZER, 2))
    assert batch["labels"].dtype == torch.float32


def test_the_mean_length_is_rounded_up():
    examples = encode(dataset(), TOKENIZER, max_length=64)
    assert mean_length(examples) == -(-sum(LENGTHS) // len(LENGTHS))
    assert mean_length([{"input_ids": [1]}, {"input_ids": [1, 2]}]) == 2


def test_evaluation_batches_hold_every_row_once_and_pad_to_their_longest():
    examples = encode(dataset(), TOKENIZER, max_length=64)
    seen = []
    for rows, batch in evaluation_batches(examples, TOKENIZER, batch_size=2):
        lengths = [len(examples[row]["input_ids"]) for row in rows]
        assert batch["attention_mask"].sum(dim=1).tolist() == lengths
        assert batch["input_ids"].shape == (len(rows), max(lengths))
        for position, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            assert batch["input_ids"][position, :length].tolist() == examples[row]["input_ids"]
            assert batch["labels"][position] == examples[row]["labels"]
        assert batch.keys() == {"input_ids", "token_type_ids", "attention_mask", "labels"}  # what a model takes
        seen += rows
    assert sorted(seen) == list(range(5))
    assert "attention_mask" not in examples[0]


def test_training_batches_hold_every_row_once():
    examples = [{"input_ids": [1] * (1 + row % 9), "labels": row} for row in range(50)]
    batches = training_batches(examples, TOKENIZER, batch_size=8, seed=0)
    assert sorted(label for batch in batches for label in batch["labels"].tolist()) == list(range(50))
    assert len(batches) == 7


def test_the_seed_and_the_epoch_alone_decide_the_order():
    examples = [{"input_ids": [1] * (1 + row % 9)} for row in range(50)]

    def order(seed, epoch):
        torch.rand(1 + epoch)  # the global random state has no say
        sampler = TrainingOrder(examples, 8, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, 1) == order(0, 1)
    orders = {tuple(order(seed, epoch)) for seed in (0, 1, 2**32 - 1) for epoch in range(3)}
    assert len(orders) == 9


def test_a_sample_holds_different_examples_and_begins_with_a_smaller_one():
    numbered = [{"row": row} for row in range(30)]
    rows = [example["row"] for example in draw(numbered, 10, seed=3)]
    assert len(rows) == len(set(rows)) == 10
    assert [example["row"] for example in draw(numbered, 4, seed=3)] == rows[:4]
    assert [example["row"] for example in draw(numbered, 10, seed=4)] != rows
    assert sorted(example["row"] for example in draw(numbered, 100, seed=3)) == list(range(30))


@pytest.fixture
def in_small_parts(monkeypatch):
    """Every split is large: tokenized in parts, kept on disk, and read in parts."""
    for name, size in {"CHUNK": 2, "IN_MEMORY": 1, "_MANY": 3}.items():
        monkeypatch.setattr(encoding, name, size)


def test_a_large_split_gives_the_examples_of_a_small_one(monkeypatch):
    small = encode(dataset(pairs=True), TOKENIZER, max_length=64)
    for name, size in {"CHUNK": 2, "IN_MEMORY": 1, "_MANY": 3}.items():
        monkeypatch.setattr(encoding, name, size)
    large = encode(dataset(pairs=True), TOKENIZER, max_length=64)
    assert isinstance(large.tokens["input_ids"], np.memmap)
    assert list(large) == list(small)
    assert large[-1] == small[-1]
    assert large[1:4] == [small[1], small[2], small[3]]
    with pytest.raises(IndexError):
        large[5]
    assert hash_examples(large) == hash_examples(small)


def test_the_rows_of_a_selection_keep_their_own_labels(in_small_parts):
    some = dataset().select([4, 1, 3])
    assert list(encode(some, TOKENIZER, 64)) == [encode(dataset(), TOKENIZER, 64)[row] for row in (4, 1, 3)]
    assert len(encode(dataset().select([]), TOKENIZER, 64)) == 0


def test_what_is_read_of_arrays_is_what_is_in_the_examples(in_small_parts):
    arrays = encode(dataset(), TOKENIZER, max_length=64)
    for examples in (arrays, TaughtExamples(arrays, np.zeros((5, 2)))):
        one_by_one = list(examples)
        assert lengths_of(examples).tolist() == lengths_of(one_by_one).tolist() == LENGTHS
        assert tokens_in(examples, 1000).equal(tokens_in(one_by_one, 1000))
        assert labels_of(examples).tolist() == labels_of(one_by_one).tolist()
    assert one_by_one[3] == {**arrays[3], "teacher_logits": [0.0, 0.0]}


def test_any_change_of_an_example_is_another_hash():
    examples = encode(dataset(), TOKENIZER, max_length=64)
    hashes = {hash_examples(examples), hash_examples(encode(dataset(), TOKENIZER, max_length=9))}
    for column in ("label", "idx"):
        other = dataset().map(lambda row, column=column: {column: row[column] + 1})
        hashes.add(hash_examples(encode(other, TOKENIZER, max_length=64)))
    assert len(hashes) == 4


def test_the_hash_of_rows_does_not_depend_on_how_many_are_read_at_once(in_small_parts):
    table = dataset(pairs=True).to_pandas()
    whole = hashlib.sha256(repr(list(table.columns)).encode())
    whole.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
    assert hash_rows(dataset(pairs=True)) == whole.hexdigest()


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=900),
    batch_size=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_the_order_is_that_of_the_sampler_of_transformers(lengths, batch_size, seed):
    examples = [{"input_ids": [0] * length} for length in lengths]
    (state,) = np.random.SeedSequence([seed, 0]).generate_state(1)
    generator = torch.Generator().manual_seed(int(state))
    theirs = LengthGroupedSampler(batch_size, lengths=lengths, generator=generator)
    assert list(TrainingOrder(examples, batch_size, seed)) == list(theirs)

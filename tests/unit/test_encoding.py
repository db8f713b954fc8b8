import torch
from datasets import Dataset

from sensibert.data.encoding import (
    TrainingOrder,
    draw,
    encode,
    encode_texts,
    evaluation_batches,
    labels_of,
    mean_length,
    texts_of,
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

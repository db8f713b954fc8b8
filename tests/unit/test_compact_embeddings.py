import copy

import pytest
import torch

from sensibert.compute.compact_embeddings import compact_embeddings


def examples_of(batch):
    if "input_ids" not in batch:  # images
        return []
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    return [{"input_ids": ids[:length]} for ids, length in zip(batch["input_ids"].tolist(), lengths, strict=True)]


def train(model, batch):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.5)
    for _ in range(3):
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def test_training_without_the_unused_rows_is_training_with_them(tiny_model, batch):
    table = tiny_model.get_input_embeddings()
    if not isinstance(table, torch.nn.Embedding):
        pytest.skip("no table of tokens")
    start = table.weight.detach().clone()
    whole = copy.deepcopy(tiny_model)
    train(whole, batch)
    with compact_embeddings(tiny_model, examples_of(batch)):
        assert tiny_model.get_input_embeddings().num_embeddings < table.num_embeddings
        assert tiny_model.state_dict().keys() == whole.state_dict().keys()
        train(tiny_model, batch)
    assert tiny_model.get_input_embeddings() is table
    for name, value in tiny_model.state_dict().items():
        torch.testing.assert_close(value, whole.state_dict()[name], atol=2e-5, rtol=1e-4)
    unused = torch.ones(len(start), dtype=torch.bool)
    unused[batch["input_ids"].flatten()] = False
    assert unused.any()
    torch.testing.assert_close(table.weight[unused], start[unused] * (1 - 0.01 * 0.5) ** 3)


@pytest.mark.parametrize("tiny_model", ["bert", "gpt2", "vit"], indirect=True)
def test_a_table_that_does_not_train_stays(tiny_model, batch):
    tiny_model.requires_grad_(False)
    table = tiny_model.get_input_embeddings()
    with compact_embeddings(tiny_model, examples_of(batch)):
        assert tiny_model.get_input_embeddings() is table


@pytest.mark.parametrize("tiny_model", ["bert", "gpt2", "vit"], indirect=True)
def test_an_error_within_the_block_puts_the_table_back(tiny_model, batch):
    before = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    with pytest.raises(KeyError), compact_embeddings(tiny_model, examples_of(batch)):
        raise KeyError
    assert all(torch.equal(value, before[name]) for name, value in tiny_model.state_dict().items())

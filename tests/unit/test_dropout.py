import copy

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.profiler import ProfilerActivity, profile

from sensibert.compute.dropout import _with_dropout, cheap_dropout, dropout


@pytest.mark.parametrize("probability", [0.1, 1 / 3, 0.5])
def test_each_element_is_dropped_with_the_probability_and_the_others_are_scaled(probability):
    torch.manual_seed(0)
    noise = dropout(torch.ones(1000, 1000), probability)
    dropped = (noise == 0).double().mean().item()
    assert dropped == pytest.approx(probability, abs=5 * (probability * (1 - probability) / 1e6) ** 0.5)
    assert noise[noise > 0].unique().tolist() == pytest.approx([1 / (1 - probability)], rel=2e-5)
    assert noise.double().mean().item() == pytest.approx(1, abs=5e-3)


def test_the_elements_of_one_draw_are_independent():
    torch.manual_seed(0)
    dropped = (dropout(torch.ones(250_000, 4), 0.5) == 0).double()
    assert torch.corrcoef(dropped.T).fill_diagonal_(0).abs().max() < 0.01  # the four elements of a 64-bit word


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shape_and_format_stay(shape, dtype):
    dropped = dropout(torch.ones(shape, dtype=dtype), 0.5)
    assert (dropped.shape, dropped.dtype) == (shape, dtype)
    assert set(dropped.flatten().tolist()) <= {0.0, 2.0}


def test_the_random_state_decides():
    values = torch.randn(100, 10)
    torch.manual_seed(3)
    first = dropout(values, 0.3)
    state = torch.get_rng_state()
    second = dropout(values, 0.3)
    torch.manual_seed(3)
    assert torch.equal(dropout(values, 0.3), first)
    torch.set_rng_state(state)
    assert torch.equal(dropout(values, 0.3), second)
    assert not torch.equal(first, second)


def test_the_gradient_passes_where_the_values_do():
    values = torch.ones(50, 50, requires_grad=True)
    dropped = dropout(values, 0.4)
    dropped.sum().backward()
    assert torch.equal(values.grad, dropped)


@pytest.mark.parametrize("tokens", [1, 5, 16, 21])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_without_dropout_is_that_of_pytorch(tokens, dtype):
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 3, tokens, 4, dtype=dtype)
    seen = torch.arange(tokens) < torch.tensor([tokens, (tokens + 1) // 2])[:, None]
    for mask in (
        None,
        seen[:, None, None].expand(2, 1, tokens, tokens),
        torch.randn(2, 3, tokens, tokens, dtype=dtype),
    ):
        expected = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=0.7)
        found = _with_dropout(query, key, value, mask, 0.0, 0.7)
        torch.testing.assert_close(found, expected, atol=1e-5 if dtype == torch.float32 else 0.05, rtol=0)


def test_attention_drops_its_weights():
    torch.manual_seed(0)
    alike, told_apart = torch.zeros(40, 5, 20, 8), torch.eye(20, 8).expand(40, 5, -1, -1)
    weights = _with_dropout(alike, alike, told_apart, None, 0.25, 1.0)
    assert (weights == 0).double().mean().item() == pytest.approx(0.25, abs=0.02)
    assert weights.max().item() == pytest.approx(1 / 20 / 0.75)


def test_pytorch_draws_no_dropout_within_the_block_and_the_model_is_as_before_behind_it(tiny_model, batch):
    for module in tiny_model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.1
    before = copy.deepcopy(vars(tiny_model.config))
    tiny_model.train()
    with cheap_dropout(tiny_model), profile(activities=[ProfilerActivity.CPU]) as recorded:
        tiny_model(**batch)
    called = {event.key for event in recorded.key_averages()}
    assert "aten::random_" in called
    assert not called & {"aten::bernoulli_", "aten::native_dropout"}
    assert vars(tiny_model.config) == before
    assert not any("forward" in vars(module) for module in tiny_model.modules())


def test_the_seed_decides_a_training_pass(tiny_model, batch):
    tiny_model.train()
    with cheap_dropout(tiny_model):
        passes = []
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            passes.append(tiny_model(**batch).logits)
    assert torch.equal(passes[0], passes[1])
    drops = any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in tiny_model.modules())
    assert torch.equal(passes[0], passes[2]) == (not drops)


def test_nothing_is_dropped_in_evaluation(tiny_model, batch):
    expected = tiny_model(**batch).logits
    with cheap_dropout(tiny_model):
        assert torch.equal(tiny_model(**batch).logits, expected)


of_each_attention = pytest.mark.parametrize("tiny_model", ["bert", "deberta-v2"], indirect=True)
"""One whose attention can be replaced, and one of its own."""


@of_each_attention
def test_blocks_may_be_nested(tiny_model):
    attention = tiny_model.config._attn_implementation
    with cheap_dropout(tiny_model):
        before = [vars(module).get("forward") for module in tiny_model.modules()]
        with cheap_dropout(tiny_model):
            pass
        assert [vars(module).get("forward") for module in tiny_model.modules()] == before
    assert tiny_model.config._attn_implementation == attention
    assert not any("forward" in vars(module) for module in tiny_model.modules())


@of_each_attention
def test_an_error_within_the_block_leaves_the_model_whole(tiny_model):
    attention = tiny_model.config._attn_implementation
    with pytest.raises(KeyError), cheap_dropout(tiny_model):
        raise KeyError
    assert tiny_model.config._attn_implementation == attention
    assert not any("forward" in vars(module) for module in tiny_model.modules())

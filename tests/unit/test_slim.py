import re
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification
from transformers.pytorch_utils import Conv1D

from sensibert.errors import BackboneError, MaskError
from sensibert.models import architectures
from sensibert.models.anatomy import (
    GROUPS,
    anatomy_of,
    costs_of,
    features,
    grains_of,
    layers_of,
    prunable_modules,
    removable_of,
)
from sensibert.models.architectures import ANATOMIES
from sensibert.models.backbones import load_model
from sensibert.models.cost import dense_skeleton, prunable_parameters
from sensibert.models.gates import masked
from sensibert.models.mask import Mask, ModuleKey
from sensibert.models.slim import dense_config, keep_first_layers, slim
from sensibert.scoring.ranking import make_mask

ROOT = Path(__file__).parents[2]


def scores_of(model, seed=0):
    generator = np.random.default_rng(seed)
    return {key: generator.random(module.shape) for key, module in prunable_modules(model).items()}


def cut(model, budget, seed=0, **options):
    return make_mask(scores_of(model, seed), costs_of(model), budget, grains=grains_of(model), **options)


def without_heads(model):
    """A mask that drops one whole head of every attention module, if it may, and no other attention dimension."""
    scores, grains = scores_of(model), grains_of(model)
    keep = {key: values > 0.3 if key.group == "feed_forward" else values > -1 for key, values in scores.items()}
    for key in keep:
        if key.group == "attention" and grains[key].heads == 1:
            keep[key][1] = False
    return Mask(keep, costs_of(model))


def one_grain_each(model):
    keep = {key: np.zeros(values.shape, bool) for key, values in scores_of(model).items()}
    for key, (heads, size) in grains_of(model).items():
        keep[key][-heads:, -size:] = True
    return Mask(keep, costs_of(model))


def heads_and_dimensions(model):
    """A mask that drops a head, and dimensions of the others, of each module that may lose them."""
    scores, grains, keep = scores_of(model, seed=1), grains_of(model), {}
    for key, values in scores.items():
        heads, size = values.shape
        keep[key] = np.ones(values.shape, bool)
        if grains[key].size == 1:
            best = np.argsort(-values, axis=1)[:, : size // 2 + key.layer]
            keep[key] = np.zeros(values.shape, bool)
            np.put_along_axis(keep[key], best, True, axis=1)
        if heads > 1 and grains[key].heads == 1:
            keep[key][1 - key.layer] = False
    return Mask(keep, costs_of(model))


OTHER_MASKS = {
    "0.8": lambda model: cut(model, 0.8),
    "0.4": lambda model: cut(model, 0.4, seed=1),
    "0.4 per layer": lambda model: cut(model, 0.4, allocation="per_layer"),
    "heads": without_heads,
    "one each": one_grain_each,
}


@pytest.fixture
def mask(tiny_model):
    return heads_and_dimensions(tiny_model)


def logits_of(model, batch):
    with torch.no_grad():
        return model(**batch).logits


def same_weights(one, other):
    others = other.state_dict()
    return others.keys() == one.state_dict().keys() and all(
        torch.equal(value, others[name]) for name, value in one.state_dict().items()
    )


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def assert_same_function(model, mask, batch):
    with masked(model, mask):
        expected = logits_of(model, batch)
    found = logits_of(slim(model, mask), batch)
    assert (found - expected).abs().max() < 1e-5
    assert (expected - logits_of(model, batch)).abs().max() > 1e-2  # the mask does something


def by_output(linear):
    """The gradient of a weight as [outputs, inputs]."""
    return linear.weight.grad.T if isinstance(linear, Conv1D) else linear.weight.grad


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


def assert_same_gradients(model, mask, batch):
    """The gradients of the parameters that both models hold."""
    small = slim(model, mask)
    with masked(model, mask):
        model(**batch).loss.backward()
    small(**batch).loss.backward()
    dense, dense_modules = dict(model.named_parameters()), prunable_modules(model)
    compared = set()
    for key, module in prunable_modules(small).items():
        kept = torch.from_numpy(mask.keep[key].reshape(-1))
        for projection, linear in module.input_projections.items():
            dense_linear, in_blocks = dense_modules[key].input_projections[projection], kept.repeat(projection.blocks)
            # A slim layer holds these rows times a factor.
            factor = (module.shape.size / dense_modules[key].shape.size) ** 0.5 if projection.in_scores else 1
            close(by_output(linear) * factor, by_output(dense_linear)[in_blocks])
            compared.add(linear.weight)
            if linear.bias is not None:
                close(linear.bias.grad * factor, dense_linear.bias.grad[in_blocks])
                compared.add(linear.bias)
        close(by_output(module.output_projection), by_output(dense_modules[key].output_projection)[:, kept])
        compared.add(module.output_projection.weight)
    others = {name: parameter for name, parameter in small.named_parameters() if parameter not in compared}
    assert others.keys() < dense.keys()
    for name, parameter in others.items():
        if parameter.grad is None:  # rows that nothing uses
            assert dense[name].grad is None
        else:
            close(parameter.grad, dense[name].grad)


def assert_predicted_parameters(model, mask):
    removed = parameters(model) - parameters(slim(model, mask))
    assert removed == mask.dense_cost - mask.kept_cost > 0


def assert_survives_saving(model, mask, batch, folder):
    small = slim(model, mask)
    small.save_pretrained(folder)
    loaded = load_model(folder)
    assert same_weights(loaded, small)
    # The weights of a file may lie less aligned in memory, where other instructions multiply them.
    assert (logits_of(loaded.eval(), batch) - logits_of(small, batch)).abs().max() < 1e-6
    assert type(loaded) is type(small)
    assert loaded.config.id2label == {0: "a", 1: "b", 2: "c"}
    added = {"architectures", "dtype", "_name_or_path", "transformers_version"}
    added |= {"model_type", "auto_map", "slim_linears", "slim_attributes", "adapters"}
    found, expected = dense_config(loaded).to_dict(), model.config.to_dict()
    assert {k: v for k, v in found.items() if k not in added} == {k: v for k, v in expected.items() if k not in added}


def assert_others_do_not_matter(model, mask, batch, examples):
    """Neither the other examples of a batch nor its padding."""
    small = slim(model, mask)
    together = logits_of(small, batch)
    for row, example in enumerate(examples):
        assert (together[row] - logits_of(small, example)[0]).abs().max() < 1e-5


def test_the_first_layers_alone_survive_saving(tiny_model, batch, tmp_path):
    small = keep_first_layers(tiny_model, 1)
    assert len(layers_of(small)) == 1 < len(layers_of(tiny_model))
    small.save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    assert same_weights(loaded, small)
    assert (logits_of(loaded.eval(), batch) - logits_of(small, batch)).abs().max() < 1e-6
    assert prunable_parameters(dense_skeleton(loaded)) == prunable_parameters(tiny_model)


def test_the_slim_model_is_the_masked_model(tiny_model, batch, mask):
    assert_same_function(tiny_model, mask, batch)


def test_the_gradients_of_the_shared_parameters_agree(tiny_model, batch, mask):
    assert_same_gradients(tiny_model, mask, batch)


def test_the_predicted_parameters_are_the_counted_ones(tiny_model, mask):
    assert_predicted_parameters(tiny_model, mask)


def test_the_slim_model_survives_saving(tiny_model, batch, mask, tmp_path):
    assert_survives_saving(tiny_model, mask, batch, tmp_path)


def test_the_other_examples_of_a_batch_and_its_padding_do_not_change_a_slim_model(tiny_model, batch, examples, mask):
    assert_others_do_not_matter(tiny_model, mask, batch, examples)


@pytest.mark.parametrize("name", OTHER_MASKS)
@pytest.mark.parametrize("tiny_model", ["bert"], indirect=True)
def test_all_of_this_holds_for_every_kind_of_mask(tiny_model, batch, examples, name, tmp_path):
    mask = OTHER_MASKS[name](tiny_model)
    assert_same_function(tiny_model, mask, batch)
    assert_same_gradients(tiny_model, mask, batch)
    assert_predicted_parameters(tiny_model, mask)
    assert_survives_saving(tiny_model, mask, batch, tmp_path)
    assert_others_do_not_matter(tiny_model, mask, batch, examples)


def test_a_mask_of_ones_is_the_identity(tiny_model, batch):
    mask = cut(tiny_model, 1.0)
    expected = logits_of(tiny_model, batch)
    assert torch.equal(logits_of(slim(tiny_model, mask), batch), expected)
    with masked(tiny_model, mask):
        assert torch.equal(logits_of(tiny_model, batch), expected)


def test_the_model_itself_is_left_as_it_was(tiny_model, batch, mask):
    before = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    expected = logits_of(tiny_model, batch)
    slim(tiny_model, mask)
    with masked(tiny_model, mask):
        logits_of(tiny_model, batch)
    assert torch.equal(logits_of(tiny_model, batch), expected)
    assert all(torch.equal(value, before[name]) for name, value in tiny_model.state_dict().items())


def test_whole_heads_are_dropped(tiny_model):
    if anatomy_of(tiny_model).keeps_heads:
        pytest.skip("this architecture keeps every head")
    small = slim(tiny_model, without_heads(tiny_model))
    for key, module in prunable_modules(small).items():
        if key.group == "attention":
            heads, size = prunable_modules(tiny_model)[key].shape
            assert module.shape == (heads - 1, size)
            widths = {
                features(linear)[1] // projection.blocks for projection, linear in module.input_projections.items()
            }
            assert widths == {(heads - 1) * size} == {features(module.output_projection)[0]}


def test_a_slim_model_can_be_made_smaller_again(tiny_model, batch, tmp_path):
    small = slim(tiny_model, cut(tiny_model, 0.6))
    mask = cut(small, 0.5, seed=3)
    with masked(small, mask):
        expected = logits_of(small, batch)
    smaller = slim(small, mask)
    assert (logits_of(smaller, batch) - expected).abs().max() < 1e-5
    smaller.save_pretrained(tmp_path)
    assert same_weights(load_model(tmp_path), smaller)


def test_a_mask_of_another_model_is_refused(tiny_model):
    other = slim(tiny_model, cut(tiny_model, 0.5))
    with pytest.raises(MaskError, match=r"the mask does not fit the model: layer 0, attention, has shape \(\d+, \d+\)"):
        slim(other, cut(tiny_model, 0.5))
    mask = cut(tiny_model, 0.5)
    mask.keep.popitem()
    with pytest.raises(MaskError, match=r"feed_forward, has shape \(1, 20\) in the model and none in the mask"):
        slim(tiny_model, mask)


def test_an_architecture_without_anatomy_is_refused(tiny_model):
    tiny_model.config.model_type = "t5"
    known = ", ".join(sorted(ANATOMIES))
    with pytest.raises(BackboneError, match=f"no anatomy for architecture 't5'; known: {known}. To add it, ") as caught:
        anatomy_of(tiny_model)
    table, guide = re.findall(r"\S+/\S+\.(?:py|md)", str(caught.value))
    assert (ROOT / "src" / table).is_file()
    assert (ROOT / guide).is_file()


def test_a_dimension_costs_what_it_holds(tiny_model):
    hidden = tiny_model.config.hidden_size
    gated = tiny_model.config.model_type == "modernbert"
    rows = 5 if any(name.endswith("pos_key_proj") for name, _ in tiny_model.named_modules()) else 3
    biases = rows if getattr(tiny_model.config, "attention_bias", True) else 0
    expected = {"attention": (rows + 1) * hidden + biases, "feed_forward": 3 * hidden if gated else 2 * hidden + 1}
    assert costs_of(tiny_model) == {key: expected[key.group] for key in scores_of(tiny_model)}


def test_the_row_that_the_guide_adds_is_right(monkeypatch):
    text = (ROOT / "docs" / "architectures.md").read_text()
    row, settings = (
        eval("{" + block + "}", vars(architectures)) for block in re.findall("```python\n(.+?)```", text, re.S)
    )
    monkeypatch.setitem(ANATOMIES, "biogpt", row["biogpt"])
    torch.manual_seed(0)
    config = AutoConfig.for_model("biogpt", vocab_size=50, num_labels=3, **settings["biogpt"])
    model = AutoModelForSequenceClassification.from_config(config).eval()
    batch = {"input_ids": torch.randint(3, 50, (4, 9))}
    mask = cut(model, 0.4)
    with masked(model, mask):
        expected = logits_of(model, batch)
    assert (logits_of(slim(model, mask), batch) - expected).abs().max() < 1e-5
    assert (logits_of(model, batch) - expected).abs().max() > 1e-3


def test_the_guide_lists_every_architecture():
    text = (ROOT / "docs" / "architectures.md").read_text()
    table = "".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    assert sorted(re.findall("`(.+?)`", table)) == sorted(ANATOMIES)


@pytest.mark.parametrize("group", GROUPS)
def test_a_module_that_keeps_nothing_is_its_bias(tiny_model, batch, examples, tmp_path, group):
    keep = {key: np.full(module.shape, True) for key, module in prunable_modules(tiny_model).items()}
    key = ModuleKey(1, group)
    keep[key][:] = False
    mask = Mask(keep, costs_of(tiny_model))
    if key not in removable_of(tiny_model):
        with pytest.raises(MaskError, match="the mask leaves no dimension of attention"):
            slim(tiny_model, mask)
        return
    assert_same_function(tiny_model, mask, batch)
    assert_predicted_parameters(tiny_model, mask)
    assert_survives_saving(tiny_model, mask, batch, tmp_path)
    assert_others_do_not_matter(tiny_model, mask, batch, examples)
    small = slim(tiny_model, mask)
    assert prunable_modules(small)[key].shape.dimensions == 0
    small(**batch).loss.backward()
    assert all(parameter.grad is not None for parameter in small.parameters() if parameter.numel())

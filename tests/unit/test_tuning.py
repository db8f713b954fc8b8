"""Every tuning method on every tiny model: exact counts, untouched parameters, and what is special to each."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification, BertConfig

from sensibert.encoding import Collator
from sensibert.errors import TuningError
from sensibert.models.anatomy import layers_of, prunable_modules
from sensibert.models.backbones import load_backbone, load_model, load_tokenizer
from sensibert.params import LayerParams, MethodParams, SptParams, SurgicalParams, TrainingParams
from sensibert.tasks import TASKS
from sensibert.training import fine_tune
from sensibert.tuning import BIAS_METHODS, PEFT_METHODS, TUNING_METHODS, attach
from sensibert.tuning.allocation import allocate
from sensibert.tuning.base import Context, allowance, backbone_size, classifier_parameters
from sensibert.tuning.spt import taylor_sensitivity
from sensibert.tuning.surgical import layer_fisher, rank

METHODS = [*TUNING_METHODS, *PEFT_METHODS]
RATE = 1e-2
SETTINGS = {
    "surgical": SurgicalParams(learning_rate=RATE, layers=1, samples=6),
    "last_layers": LayerParams(learning_rate=RATE, layers=1),
    "random_layers": LayerParams(learning_rate=RATE, layers=1),
    "spt_lora": SptParams(learning_rate=RATE, rank=1, samples=8, batch_size=4),
    "spt_adapter": SptParams(learning_rate=RATE, rank=1, samples=8, batch_size=4),
}
BUDGET = 0.035
TOKENIZER = load_tokenizer("tiny-bert")


def settings_of(method):
    return SETTINGS.get(method, MethodParams(learning_rate=RATE))


def trained(model):
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def count(parameters):
    return sum(parameter.numel() for parameter in parameters.values())


# ── the counts of the papers ──────────────────────────────────────────────────────────────────────


@pytest.fixture
def bert_tiny():
    """The shape of google/bert_uncased_L-2_H-128_A-2."""
    config = BertConfig(hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=512)
    with torch.device("meta"):
        return AutoModelForSequenceClassification.from_config(config)


QUERY_AND_MLP = 2 * (128 + 512)
LAYER = 4 * (128 * 128 + 128) + (128 * 512 + 512) + (512 * 128 + 128) + 4 * 128
CLASSIFIER = 2 * 128 + 2


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("full", 4_386_178),
        ("head_only", CLASSIFIER),
        ("bitfit", 3_330),
        ("bitfit_frozen_classifier", 3_074),
        ("bitfit_query_mlp", QUERY_AND_MLP + CLASSIFIER),
        ("bitfit_query_mlp_frozen_classifier", QUERY_AND_MLP + 2),
        ("last_layers", LAYER + CLASSIFIER),
        ("random_layers", LAYER + CLASSIFIER),
        # Rank r of two layers' query and value: 2 * 2 * r * (128 + 128), at most 0.1 % of 4,385,920.
        ("lora", 4 * 1024 + CLASSIFIER),
        # Behind four modules a bottleneck of b: 4 * (2 * 128 * b + b + 128).
        ("adapter", 4 * (2 * 128 * 3 + 3 + 128) + CLASSIFIER),
    ],
)
def test_the_trained_parameters_of_bert_tiny(bert_tiny, method, expected):
    attach(bert_tiny, method, Context([], TOKENIZER, settings_of(method), budget=0.001, seed=0))
    assert count(trained(bert_tiny)) == expected


def test_bitfit_trains_all_biases_and_the_classifier(bert_tiny):
    biases = {name for name, _ in bert_tiny.named_parameters() if name.endswith(".bias")}
    assert len(biases) == 1 + 2 * 8 + 2  # embeddings; six linears and two norms per layer; pooler and classifier
    context = Context([], TOKENIZER, settings_of("bitfit"), budget=1.0, seed=0)
    attach(bert_tiny, "bitfit_frozen_classifier", context)
    assert trained(bert_tiny).keys() == biases
    attach(bert_tiny, "bitfit", context)
    assert trained(bert_tiny).keys() == biases | {"classifier.weight"}


def test_lora_updates_query_and_value(bert_tiny):
    attach(bert_tiny, "lora", Context([], TOKENIZER, settings_of("lora"), budget=0.001, seed=0))
    updated = {name.partition(".lora_")[0] for name in trained(bert_tiny)} - classifier_parameters(bert_tiny)
    attention = [f"bert.encoder.layer.{layer}.attention.self" for layer in range(2)]
    assert updated == {f"{module}.{projection}" for module in attention for projection in ("query", "value")}


def test_bitfit_of_query_and_mlp_trains_these_biases(bert_tiny):
    attach(
        bert_tiny,
        "bitfit_query_mlp_frozen_classifier",
        Context([], TOKENIZER, settings_of("bitfit"), budget=1.0, seed=0),
    )
    parts = ("attention.self.query", "intermediate.dense")
    biases = {f"bert.encoder.layer.{layer}.{part}.bias" for layer in range(2) for part in parts}
    assert trained(bert_tiny).keys() == biases | {"classifier.bias"}


def test_the_choice_of_a_method_does_not_depend_on_an_earlier_one(bert_tiny):
    for method in ("bitfit", "full"):
        attach(bert_tiny, method, Context([], TOKENIZER, settings_of(method), budget=1.0, seed=0))
    assert trained(bert_tiny).keys() == dict(bert_tiny.named_parameters()).keys()


# ── the shared matrix: every method on every architecture ─────────────────────────────────────────


@pytest.fixture
def rows(batch):
    """The four examples of `batch` as `encode` gives them, three times."""
    labels = batch["labels"].tolist()
    if "pixel_values" in batch:
        images = list(batch["pixel_values"])
        return 3 * [{"pixel_values": image, "labels": label} for image, label in zip(images, labels, strict=True)]
    lengths = batch["attention_mask"].sum(dim=1)
    texts = [ids[:length].tolist() for ids, length in zip(batch["input_ids"], lengths, strict=True)]
    return 3 * [{"input_ids": text, "labels": label} for text, label in zip(texts, labels, strict=True)]


@pytest.fixture
def tokenizer(batch):
    return None if "pixel_values" in batch else TOKENIZER


@pytest.mark.parametrize("method", METHODS)
def test_what_trains_changes_and_the_rest_keeps_its_bits(method, tiny_model, batch, rows, tokenizer, tmp_path):
    dense = copy.deepcopy(tiny_model)
    settings = TrainingParams(epochs=1, batch_size=4, precision="fp32", weight_decay=0.0)
    arguments = {"method": method, "options": settings_of(method), "budget": BUDGET, "seed": 0}
    if method in BIAS_METHODS and not has_biases(tiny_model):
        with pytest.raises(TuningError, match="has none"):
            fine_tune(tiny_model, rows, tokenizer, settings, **arguments, checkpoints=tmp_path / "checkpoints")
        return
    result = fine_tune(tiny_model, rows, tokenizer, settings, **arguments, checkpoints=tmp_path / "checkpoints")
    before, after = dict(dense.named_parameters()), dict(tiny_model.named_parameters())
    added = after.keys() - before.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    entries = sum(int((before[name] != after[name]).sum()) for name in changed) + sum(after[n].numel() for n in added)
    classifier = classifier_parameters(dense)
    if method in PEFT_METHODS:
        linears = {f"{name}.weight" for name in linear_names(dense)}
        assert changed <= linears | classifier
        in_classifier = sum(before[name].numel() for name in classifier)
        assert result.trainable_parameters - in_classifier <= allowance(dense, BUDGET)
        if result.chosen.get("sparse"):  # else every matrix has its module, and there is nothing left to train
            assert result.trainable_parameters - in_classifier == allowance(dense, BUDGET)
    else:
        assert changed == trained(tiny_model).keys()
        assert result.trainable_parameters == count(trained(tiny_model))
    assert (added != set()) == ("adapter" in method and (method == "adapter" or bool(result.chosen["structured"])))
    if method in ("adapter", "spt_adapter"):
        assert entries <= result.trainable_parameters
    assert result.stored_parameters <= backbone_size(dense) + count({n: before[n] for n in classifier}) + sum(
        after[name].numel() for name in added
    )
    assert result.stored_parameters >= result.trainable_parameters
    assert (result.extra_passes > 0) == (method in ("surgical", "spt_lora", "spt_adapter"))
    assert not any("parametrizations" in name or "lora" in name for name in tiny_model.state_dict())


@pytest.mark.parametrize("method", PEFT_METHODS)
def test_a_merged_model_is_the_tuned_one_and_comes_back_from_its_folder(
    method, tiny_model, batch, rows, tokenizer, tmp_path
):
    context = Context(rows, tokenizer, settings_of(method), BUDGET, seed=0)
    attached = attach(tiny_model, method, context)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in trained(tiny_model).values():
            parameter.add_(torch.randn(parameter.shape), alpha=0.05)
        tuned = tiny_model.eval()(**batch).logits
    attached.merge()
    with torch.no_grad():
        torch.testing.assert_close(tiny_model(**batch).logits, tuned, rtol=1e-4, atol=1e-5)
    tiny_model.save_pretrained(tmp_path)
    loaded = load_model(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(**batch).logits, tuned, rtol=1e-4, atol=1e-5)


def has_biases(model):
    classifier = classifier_parameters(model)
    return any(name.endswith("bias") and name not in classifier for name, _ in model.named_parameters())


def linear_names(model):
    names = {module: name for name, module in model.named_modules()}
    modules = prunable_modules(model).values()
    return [names[linear] for module in modules for linear in (*module.rows.values(), module.column)]


# ── resuming ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", PEFT_METHODS)
def test_the_same_seed_gives_the_same_bits(method, tmp_path):
    examples = [{"input_ids": [2, 10 + row % 7, 3], "labels": row % 2} for row in range(16)]
    settings = TrainingParams(epochs=1, batch_size=8, precision="fp32")
    models = []
    for _ in range(2):
        model = load_backbone("tiny-bert", TASKS["sst2"], seed=0)
        options = {"method": method, "options": settings_of(method), "budget": BUDGET, "seed": 0}
        fine_tune(model, examples, TOKENIZER, settings, **options, checkpoints=tmp_path / "checkpoints")
        models.append(model.state_dict())
    assert models[0].keys() == models[1].keys()
    assert all(torch.equal(value, models[1][name]) for name, value in models[0].items())


@pytest.mark.parametrize("method", METHODS)
def test_every_method_tunes_a_regression(method, tmp_path):
    model = load_backbone("tiny-bert", TASKS["stsb"], seed=0)
    rows = [{"input_ids": [2, 10 + row % 4, 3], "labels": float(row % 4)} for row in range(16)]
    settings = TrainingParams(epochs=2, batch_size=8, precision="fp32")
    arguments = {"method": method, "options": settings_of(method), "budget": 0.1, "seed": 0}
    before = copy.deepcopy(model.state_dict())
    result = fine_tune(model, rows, TOKENIZER, settings, **arguments, checkpoints=tmp_path / "checkpoints")
    assert all(np.isfinite(point["loss"]) for point in result.log)
    assert any(not torch.equal(value, before[name]) for name, value in model.state_dict().items() if name in before)


# ── too much asked ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["lora", "adapter"])
def test_a_budget_below_rank_one_is_refused(method):
    model = load_backbone("tiny-bert", TASKS["sst2"], seed=0)
    with pytest.raises(
        TuningError, match=r"rank 1 would train [\d,]+ parameters, and the budget allows 2; .*peft_budgets"
    ):
        attach(model, method, Context([], TOKENIZER, settings_of(method), 2.5 / backbone_size(model), seed=0))


def test_more_layers_than_there_are_is_refused():
    model = load_backbone("tiny-bert", TASKS["sst2"], seed=0)
    context = Context([], TOKENIZER, LayerParams(learning_rate=RATE, layers=3), 1.0, seed=0)
    with pytest.raises(TuningError, match="layers: 3 are to be tuned, and the model has 2"):
        attach(model, "last_layers", context)


# ── surgical fine-tuning ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("per_parameter", [False, True])
def test_layer_fisher_is_the_mean_squared_gradient_of_single_examples(per_parameter):
    model = load_backbone("tiny-bert", TASKS["sst2"], seed=0).eval()
    examples = [{"input_ids": [2, 10 + row, 11, 3], "labels": row % 2} for row in range(5)]
    found = layer_fisher(model, examples, TOKENIZER, per_parameter=per_parameter)
    expected = np.zeros(len(layers_of(model)))
    for example in examples:
        logits = model(torch.tensor([example["input_ids"]])).logits
        model.zero_grad()
        torch.log_softmax(logits[0], dim=-1)[example["labels"]].backward()
        for layer, module in enumerate(layers_of(model)):
            expected[layer] += sum(float(p.grad.square().sum()) for p in module.parameters()) / len(examples)
    sizes = [sum(p.numel() for p in module.parameters()) for module in layers_of(model)]
    np.testing.assert_allclose(found, expected / (sizes if per_parameter else 1), rtol=1e-4)


def test_ranking_layers_leaves_the_model_as_it_was():
    model = load_backbone("tiny-bert", TASKS["sst2"], seed=0).train()
    model.classifier.requires_grad_(False)
    weights = copy.deepcopy(model.state_dict())
    layer_fisher(model, [{"input_ids": [2, 9, 3], "labels": 1}], TOKENIZER)
    assert model.training
    assert not model.classifier.weight.requires_grad
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_layers_are_ranked_from_the_largest_score():
    assert rank(np.array([0.1, 0.5, 0.1, 0.7])) == [3, 1, 0, 2]


def test_surgical_trains_the_layer_with_the_most_information():
    model = load_backbone("tiny-bert", TASKS["sst2"], seed=0)
    examples = [{"input_ids": [2, 10 + row, 11, 3], "labels": row % 2} for row in range(6)]
    scores = layer_fisher(model, examples, TOKENIZER)
    attached = attach(model, "surgical", Context(examples, TOKENIZER, settings_of("surgical"), 1.0, seed=0))
    assert attached.chosen == {"layers": [int(scores.argmax())]}
    assert attached.extra_passes == 1.0


# ── SPT ───────────────────────────────────────────────────────────────────────────────────────────


def test_taylor_sensitivity_is_the_sum_of_the_squared_gradients_of_the_batches():
    model = load_backbone("tiny-bert", TASKS["sst2"], seed=0).eval()
    examples = [{"input_ids": [2, 10 + row, 11, 3], "labels": row % 2} for row in range(4)]
    linear = layers_of(model)[0].intermediate.dense
    found = taylor_sensitivity(model, {"dense": linear}, examples, TOKENIZER, batch_size=2)["dense"]
    expected = torch.zeros_like(found)
    for start in (0, 2):
        model.zero_grad()
        model(**Collator(TOKENIZER)(examples[start : start + 2])).loss.backward()
        expected += linear.weight.grad.square()
    torch.testing.assert_close(found, expected)


def test_sparse_updates_touch_only_their_entries(tmp_path):
    model = load_backbone("tiny-bert", TASKS["sst2"], seed=0)
    before = copy.deepcopy(model.state_dict())
    examples = [{"input_ids": [2, 10 + row % 7, 3], "labels": row % 2} for row in range(32)]
    options = SptParams(learning_rate=RATE, samples=8, batch_size=4, threshold=10**9)  # no matrix has so many
    settings = TrainingParams(epochs=2, batch_size=8, precision="fp32", weight_decay=0.5)
    arguments = {"method": "spt_lora", "options": options, "budget": 0.01, "seed": 0, "checkpoints": tmp_path / "c"}
    result = fine_tune(model, examples, TOKENIZER, settings, **arguments)
    assert result.chosen["structured"] == []
    changed = {
        name: int((value != before[name]).sum())
        for name, value in model.state_dict().items()
        if not name.startswith("classifier") and not torch.equal(value, before[name])
    }
    assert changed == {f"{name}.weight": entries for name, entries in result.chosen["sparse"].items()}
    assert sum(changed.values()) == int(0.01 * backbone_size(model))


SENSITIVITIES = st.lists(
    st.lists(st.floats(0, 100, allow_nan=False), min_size=1, max_size=12), min_size=1, max_size=5
).map(lambda rows: {f"m{index}": np.array(row) for index, row in enumerate(rows)})


@given(SENSITIVITIES, st.integers(1, 8), st.integers(0, 40), st.one_of(st.none(), st.integers(1, 12)))
def test_an_allocation_never_exceeds_its_budget_and_counts_what_it_chose(sensitivity, module_cost, budget, threshold):
    costs = dict.fromkeys(sensitivity, module_cost)
    found = allocate(sensitivity, costs, budget, threshold)
    assert found.trained == len(found.structured) * module_cost + sum(map(len, found.sparse.values()))
    assert found.trained <= budget
    assert not set(found.structured) & set(found.sparse)
    whole = all(values.size >= module_cost for values in sensitivity.values())
    if threshold is None and whole:
        assert found.trained == min(budget, len(sensitivity) * module_cost)


@given(SENSITIVITIES, st.integers(1, 8), st.integers(0, 40), st.one_of(st.none(), st.integers(1, 12)))
def test_an_allocation_is_the_one_of_the_largest_affordable_number_of_top_weights(
    sensitivity, module_cost, budget, threshold
):
    found = allocate(sensitivity, dict.fromkeys(sensitivity, module_cost), budget, threshold)
    sigma = module_cost if threshold is None else threshold
    flat = [(-value, name, entry) for name, values in sensitivity.items() for entry, value in enumerate(values)]
    ranking = sorted(flat, key=lambda item: (item[0], list(sensitivity).index(item[1]), item[2]))
    for top in range(len(ranking), -1, -1):
        held = {name: sorted(e for _, n, e in ranking[:top] if n == name) for name in sensitivity}
        structured = tuple(name for name, entries in held.items() if len(entries) >= sigma)
        sparse = {name: entries for name, entries in held.items() if entries and name not in structured}
        if len(structured) * module_cost + sum(map(len, sparse.values())) <= budget:
            break
    assert found.structured == structured
    assert {name: entries.tolist() for name, entries in found.sparse.items()} == sparse

"""Every tuning method on tiny models: exact counts, untouched parameters, and what is special to each."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification, BertConfig

from sensibert.config.method_settings import LayerParams, MethodParams, SptParams, SurgicalParams
from sensibert.config.methods import METHODS, names
from sensibert.data.encoding import Collator, collator
from sensibert.data.tasks import TASKS
from sensibert.errors import TuningError
from sensibert.models.anatomy import layers_of, prunable_modules
from sensibert.models.backbones import load_backbone, load_model, load_tokenizer
from sensibert.training.attach import TuningContext, allowance, backbone_size, classifier_parameters
from sensibert.tuning.parts.allocation import allocate
from sensibert.tuning.parts.layer_fisher import layer_fisher
from sensibert.tuning.parts.layer_order import rank
from sensibert.tuning.parts.spt import taylor_sensitivity

TUNING = names("tuning", "peft")
PEFT = names("peft")
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


def attach(model, method, examples=(), tokenizer=TOKENIZER, budget=1.0, seed=0, settings=None):
    context = TuningContext(list(examples), tokenizer, settings or settings_of(method), budget, seed)
    return METHODS[method].implementation(model, context)


def new_model(task="sst2"):
    return load_backbone("tiny-bert", TASKS[task], seed=0)


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
    attach(bert_tiny, method, budget=0.001)
    assert count(trained(bert_tiny)) == expected


def test_bitfit_trains_all_biases_and_the_classifier(bert_tiny):
    biases = {name for name, _ in bert_tiny.named_parameters() if name.endswith(".bias")}
    assert len(biases) == 1 + 2 * 8 + 2  # embeddings; six linears and two norms per layer; pooler and classifier
    attach(bert_tiny, "bitfit_frozen_classifier")
    assert trained(bert_tiny).keys() == biases
    attach(bert_tiny, "bitfit")
    assert trained(bert_tiny).keys() == biases | {"classifier.weight"}


def test_lora_updates_query_and_value(bert_tiny):
    attach(bert_tiny, "lora", budget=0.001)
    updated = {name.partition(".lora_")[0] for name in trained(bert_tiny)} - classifier_parameters(bert_tiny)
    attention = [f"bert.encoder.layer.{layer}.attention.self" for layer in range(2)]
    assert updated == {f"{module}.{projection}" for module in attention for projection in ("query", "value")}


def test_bitfit_of_query_and_mlp_trains_these_biases(bert_tiny):
    attach(bert_tiny, "bitfit_query_mlp_frozen_classifier")
    parts = ("attention.self.query", "intermediate.dense")
    biases = {f"bert.encoder.layer.{layer}.{part}.bias" for layer in range(2) for part in parts}
    assert trained(bert_tiny).keys() == biases | {"classifier.bias"}


def test_the_choice_of_a_method_does_not_depend_on_an_earlier_one(bert_tiny):
    for method in ("bitfit", "full"):
        attach(bert_tiny, method)
    assert trained(bert_tiny).keys() == dict(bert_tiny.named_parameters()).keys()


# ── the shared matrix: attach and one optimizer step ──────────────────────────────────────────────


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


def one_step(model, batch):
    """AdamW without decay: whatever has a gradient changes, and nothing else."""
    torch.manual_seed(0)
    model.train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=0.05, weight_decay=0.0)
    loss = model(**batch).loss
    loss.backward()
    optimizer.step()
    model.zero_grad()
    model.eval()
    return loss.item()


def logits_of(model, batch):
    with torch.no_grad():
        return model.eval()(**batch).logits


def changed_entries(before, after):
    """Parameter of both models that changed -> how many of its entries."""
    differences = {name: int((before[name] != after[name]).sum()) for name in before}
    return {name: entries for name, entries in differences.items() if entries}


METHODS_IN_PLACE = ["full", "bitfit_frozen_classifier", "bitfit_query_mlp", "surgical"]
"""Between them all that methods ask of an architecture: its classifier, its biases, its projections, its layers."""


@pytest.mark.parametrize("method", METHODS_IN_PLACE)
def test_what_trains_changes_and_the_rest_keeps_its_bits(method, tiny_model, batch, rows, tokenizer):
    check_in_place(method, tiny_model, batch, rows, tokenizer)


@pytest.mark.parametrize("tiny_model", ["bert", "modernbert without biases"], indirect=True)
@pytest.mark.parametrize("method", [method for method in names("tuning") if method not in METHODS_IN_PLACE])
def test_what_the_other_methods_train_changes_too(method, tiny_model, batch, rows, tokenizer):
    check_in_place(method, tiny_model, batch, rows, tokenizer)


def check_in_place(method, model, batch, rows, tokenizer):
    if METHODS[method].trains_biases and not has_biases(model):
        with pytest.raises(TuningError, match="has none"):
            attach(model, method, rows, tokenizer)
        return
    before = copy.deepcopy(dict(model.named_parameters()))
    attached = attach(model, method, rows, tokenizer)
    one_step(model, batch)
    attached.merge()
    after = dict(model.named_parameters())
    assert after.keys() == before.keys()
    assert changed_entries(before, after).keys() == trained(model).keys()
    assert (attached.extra_passes > 0) == (method == "surgical")


@pytest.mark.parametrize("method", PEFT)
def test_a_method_with_a_budget_meets_it_and_its_merged_model_is_the_tuned_one(
    method, tiny_model, batch, rows, tokenizer, tmp_path
):
    dense = copy.deepcopy(tiny_model)
    before, classifier = dict(dense.named_parameters()), classifier_parameters(dense)
    linears = {f"{name}.weight" for name in linear_names(dense)}
    attached = attach(tiny_model, method, rows, tokenizer, BUDGET)
    training, chosen = trained(tiny_model), attached.chosen
    trainable = count(training) - sum(before[name].numel() for name in classifier)
    assert classifier <= training.keys()
    assert 0 < trainable <= allowance(dense, BUDGET)
    if chosen.get("sparse"):  # else every matrix has its module, and there is nothing left to train
        assert trainable == allowance(dense, BUDGET)
    assert (attached.extra_passes > 0) == method.startswith("spt")
    # All that trains lies in the state dict, so a checkpoint holds it.
    assert training.keys() <= tiny_model.state_dict().keys()

    one_step(tiny_model, batch)
    tuned = logits_of(tiny_model, batch)
    assert not torch.allclose(tuned, logits_of(dense, batch), atol=1e-2)
    attached.merge()
    torch.testing.assert_close(logits_of(tiny_model, batch), tuned, rtol=1e-4, atol=1e-5)

    after = dict(tiny_model.named_parameters())
    changed, added = changed_entries(before, after), after.keys() - before.keys()
    assert before.keys() <= after.keys()
    assert classifier <= changed.keys() <= linears | classifier
    assert (added != set()) == ("adapter" in method and (method == "adapter" or bool(chosen["structured"])))
    if method in ("adapter", "spt_adapter"):
        entries = sum(changed.values()) + sum(after[name].numel() for name in added)
        assert entries <= count(training)
    assert not any("parametrizations" in name or "lora" in name for name in tiny_model.state_dict())
    assert not any(
        isinstance(module, torch.nn.utils.parametrize.ParametrizationList) for module in tiny_model.modules()
    )

    tiny_model.save_pretrained(tmp_path)
    torch.testing.assert_close(logits_of(load_model(tmp_path), batch), tuned, rtol=1e-4, atol=1e-5)


def has_biases(model):
    classifier = classifier_parameters(model)
    return any(name.endswith("bias") and name not in classifier for name, _ in model.named_parameters())


def linear_names(model):
    by_module = {module: name for name, module in model.named_modules()}
    return [by_module[linear] for module in prunable_modules(model).values() for linear in module.linears]


TEXTS = [{"input_ids": [2, 10 + row % 7, 3], "labels": row % 2} for row in range(16)]


@pytest.mark.parametrize("method", TUNING)
def test_the_seed_alone_decides_what_a_method_attaches(method):
    """A run that resumes attaches anew, and its checkpoint has to fit what it attached."""
    found = []
    for _ in range(2):
        torch.rand(1)  # another random state; fine-tuning sets the seed before it attaches
        model = new_model()
        torch.manual_seed(0)
        attached = attach(model, method, TEXTS, budget=0.1)
        found.append((model.state_dict(), trained(model).keys(), attached.chosen, attached.extra_passes))
    assert found[0][1:] == found[1][1:]
    assert found[0][0].keys() == found[1][0].keys()
    assert all(torch.equal(value, found[1][0][name]) for name, value in found[0][0].items())


def test_the_seed_draws_the_random_layers():
    config = BertConfig(hidden_size=8, num_hidden_layers=12, num_attention_heads=2, intermediate_size=8, vocab_size=9)
    model = AutoModelForSequenceClassification.from_config(config)
    settings = LayerParams(learning_rate=RATE, layers=4)
    chosen = [attach(model, "random_layers", seed=seed, settings=settings).chosen["layers"] for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert all(len(set(layers)) == 4 and set(layers) <= set(range(12)) for layers in chosen)
    assert attach(model, "last_layers", settings=settings).chosen == {"layers": [8, 9, 10, 11]}


@pytest.mark.parametrize("method", ["full", "surgical", "spt_lora", "spt_adapter"])
def test_methods_that_look_at_the_labels_tune_a_regression_too(method):
    model = new_model("stsb")
    rows = [{"input_ids": [2, 10 + row % 4, 3], "labels": float(row % 4)} for row in range(16)]
    before = copy.deepcopy(dict(model.named_parameters()))
    attached = attach(model, method, rows, budget=0.1)
    losses = [one_step(model, collator(TOKENIZER)(rows)) for _ in range(2)]
    attached.merge()
    assert all(np.isfinite(loss) for loss in losses)
    assert changed_entries(before, dict(model.named_parameters()))


# ── too much asked ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["lora", "adapter"])
def test_a_budget_below_rank_one_is_refused(method):
    model = new_model()
    with pytest.raises(
        TuningError, match=r"rank 1 would train [\d,]+ parameters, and the budget allows 2; .*peft_budgets"
    ):
        attach(model, method, budget=2.5 / backbone_size(model))


def test_more_layers_than_there_are_is_refused():
    model = new_model()
    with pytest.raises(TuningError, match="layers: 3 are to be tuned, and the model has 2"):
        attach(model, "last_layers", settings=LayerParams(learning_rate=RATE, layers=3))


# ── surgical fine-tuning ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("per_parameter", [False, True])
def test_layer_fisher_is_the_mean_squared_gradient_of_single_examples(per_parameter):
    model = new_model().eval()
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
    model = new_model().train()
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
    model = new_model()
    examples = [{"input_ids": [2, 10 + row, 11, 3], "labels": row % 2} for row in range(6)]
    scores = layer_fisher(model, examples, TOKENIZER)
    attached = attach(model, "surgical", examples)
    assert attached.chosen == {"layers": [int(scores.argmax())]}
    assert attached.extra_passes == 1.0


# ── SPT ───────────────────────────────────────────────────────────────────────────────────────────


def test_taylor_sensitivity_is_the_sum_of_the_squared_gradients_of_the_batches():
    model = new_model().eval()
    examples = [{"input_ids": [2, 10 + row, 11, 3], "labels": row % 2} for row in range(4)]
    linear = layers_of(model)[0].intermediate.dense
    found = taylor_sensitivity(model, {"dense": linear}, examples, TOKENIZER, batch_size=2)["dense"]
    expected = torch.zeros_like(found)
    for start in (0, 2):
        model.zero_grad()
        model(**Collator(TOKENIZER)(examples[start : start + 2])).loss.backward()
        expected += linear.weight.grad.square()
    torch.testing.assert_close(found, expected)


def test_sparse_updates_touch_only_their_entries():
    model = new_model()
    before = copy.deepcopy(dict(model.named_parameters()))
    examples = [{"input_ids": [2, 10 + row % 7, 3], "labels": row % 2} for row in range(32)]
    options = SptParams(learning_rate=RATE, samples=8, batch_size=4, threshold=10**9)  # no matrix has so many
    attached = attach(model, "spt_lora", examples, budget=0.01, settings=options)
    assert attached.extra_passes == 8 / 32
    optimizer = torch.optim.AdamW(trained(model).values(), lr=RATE, weight_decay=0.5)
    for _ in range(2):
        model(**Collator(TOKENIZER)(examples)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    attached.merge()
    assert attached.chosen["structured"] == []
    changed = {
        name: entries
        for name, entries in changed_entries(before, dict(model.named_parameters())).items()
        if not name.startswith("classifier")
    }
    assert changed == {f"{name}.weight": entries for name, entries in attached.chosen["sparse"].items()}
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

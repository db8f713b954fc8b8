"""Whole runs of the Trainer: deterministic, resumed after a kill, and leaving a plain model and a true record."""

import copy
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from damaged import flip_a_bit
from datasets import Dataset
from transformers import Trainer

from sensibert.config.method_settings import MethodParams, SptParams, SurgicalParams
from sensibert.config.settings import TrainingParams
from sensibert.data.encoding import encode, mean_length
from sensibert.data.tasks import TASKS
from sensibert.models.anatomy import costs_of, prunable_modules
from sensibert.models.backbones import load_backbone, load_tokenizer
from sensibert.models.cost import count
from sensibert.models.slim import slim
from sensibert.scoring.ranking import make_mask
from sensibert.training.attach import allowance, backbone_size, classifier_parameters
from sensibert.training.fine_tune import EpochCallback, fine_tune

SETTINGS = TrainingParams(epochs=2, batch_size=8, precision="fp32", min_steps=0, checkpoint_steps=5)
ONE_EPOCH = TrainingParams(epochs=1, batch_size=8, precision="fp32", min_steps=0, weight_decay=0.0)
OPTIONS = {
    **dict.fromkeys(("surgical", "last_layers", "random_layers"), SurgicalParams(learning_rate=1e-3, layers=1)),
    **dict.fromkeys(("spt_lora", "spt_adapter"), SptParams(learning_rate=1e-3, rank=1)),
}
STEPS_PER_EPOCH = 10  # 80 rows in batches of 8


@pytest.fixture(scope="module")
def examples(glue_data):
    frame = pd.read_parquet(glue_data / "sst2" / "train.parquet").rename(columns={"sentence": "text"})
    return encode(Dataset.from_pandas(frame), load_tokenizer("tiny-bert"), max_length=32)


@pytest.fixture(scope="module")
def whole(examples, tmp_path_factory):
    """A run that nothing interrupted: the model, and what `fine_tune` says about it."""
    model = new_model()
    return model, train(model, examples, tmp_path_factory.mktemp("whole") / "checkpoints")


def new_model(seed=0):
    return load_backbone("tiny-bert", TASKS["sst2"], seed)


def train(model, examples, checkpoints, settings=SETTINGS, **options):
    options = {"method": "full", "options": MethodParams(learning_rate=1e-3), "seed": 0, **options}
    tokenizer = load_tokenizer("tiny-bert")
    return fine_tune(model, examples, tokenizer, settings, checkpoints=checkpoints, **options)


def same_weights(one, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


class Killed(BaseException):
    """What a user's Ctrl-C is like."""


@pytest.fixture
def killed_after(monkeypatch):
    """Make the training die at one of its steps; call it with None for a training that lives."""
    real_step = Trainer.training_step

    def arrange(steps):
        done = 0

        def step(self, *arguments, **options):
            nonlocal done
            if done == steps:
                raise Killed
            done += 1
            return real_step(self, *arguments, **options)

        monkeypatch.setattr(Trainer, "training_step", step)

    return arrange


def killed_and_resumed(make_model, examples, checkpoints, killed_after, steps, **options):
    killed_after(steps)
    with pytest.raises(Killed):
        train(make_model(), examples, checkpoints, **options)
    killed_after(None)
    model = make_model()
    torch.manual_seed(99)  # a new process has another random state
    return model, train(model, examples, checkpoints, **options)


def new_slim_model():
    model = new_model()
    modules = prunable_modules(model)
    scores = {key: np.arange(module.shape.dimensions).reshape(module.shape) for key, module in modules.items()}
    return slim(model, make_mask(scores, costs_of(model), 0.5))


def test_the_loss_falls(examples, tmp_path):
    model = new_model()
    settings = TrainingParams(epochs=8, batch_size=8, precision="fp32", min_steps=0)
    training = train(model, examples, tmp_path / "checkpoints", settings, options=MethodParams(learning_rate=3e-3))
    history = training.history
    assert history.steps == 8 * STEPS_PER_EPOCH
    assert history.log[-1].loss < 0.2 * history.log[0].loss
    assert [point.step for point in history.log] == list(range(1, 81))
    assert [point.epoch for point in history.log] == pytest.approx([step / 10 for step in range(1, 81)], abs=1e-3)
    assert max(point.learning_rate for point in history.log) == pytest.approx(3e-3)
    assert training.precision == "fp32"
    assert training.resumed_at_step == 0
    assert history.trainable_parameters == sum(parameter.numel() for parameter in model.parameters())


def test_the_same_seed_gives_the_same_bits(examples, whole, tmp_path):
    models = [new_model(), new_model()]
    same, _ = (train(model, examples, tmp_path, seed=seed) for model, seed in zip(models, (0, 1), strict=True))
    assert same_weights(models[0], whole[0])
    assert same == whole[1]
    assert not same_weights(models[1], whole[0])


@pytest.mark.parametrize("steps", [2, 10, 18])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(examples, whole, tmp_path, killed_after, steps):
    model, training = killed_and_resumed(new_model, examples, tmp_path / "killed", killed_after, steps)
    assert training.resumed_at_step == steps - steps % SETTINGS.checkpoint_steps
    assert same_weights(model, whole[0])
    assert training == replace(whole[1], resumed_at_step=training.resumed_at_step)
    assert training.history.steps == 2 * STEPS_PER_EPOCH


OTHER_KINDS = [
    (new_model, "spt_lora"),  # most is frozen; low-rank matrices and single weights lie in the checkpoint
    (new_slim_model, "full"),
]


@pytest.mark.parametrize(("make_model", "method"), OTHER_KINDS)
def test_killed_runs_of_other_kinds_go_on_too(examples, tmp_path, killed_after, make_model, method):
    whole = make_model()
    kind = {"method": method, "options": OPTIONS.get(method, MethodParams(learning_rate=1e-3)), "budget": 0.1}
    train(whole, examples, tmp_path / "whole", **kind)
    model, training = killed_and_resumed(make_model, examples, tmp_path / "killed", killed_after, 13, **kind)
    assert training.resumed_at_step == 10
    assert same_weights(model, whole)


def test_a_checkpoint_of_another_run_is_not_used(examples, tmp_path, killed_after):
    killed_after(9)
    with pytest.raises(Killed):
        train(new_model(), examples, tmp_path / "killed")
    killed_after(None)
    other_runs = {
        "data": {"examples": examples[::-1]},
        "weights": {"model": new_model(seed=1)},
        "learning rate": {"options": MethodParams(learning_rate=2e-3)},
        "seed": {"seed": 1},
        "method": {"method": "bitfit"},
        "settings": {"settings": SETTINGS.model_copy(update={"weight_decay": 0.0})},
        "declined": {"resume": False},
    }
    checkpoints = {name: shutil.copytree(tmp_path / "killed", tmp_path / name) for name in (*other_runs, "same")}
    killed_after(0)
    for name, change in {**other_runs, "same": {}}.items():
        with pytest.raises(Killed):
            train(**{"model": new_model(), "examples": examples, "checkpoints": checkpoints[name], **change})
        left = [path.name for path in checkpoints[name].glob("checkpoint-*")]
        assert left == (["checkpoint-5"] if name == "same" else []), name
    killed_after(None)
    begun_anew = train(new_model(), examples, checkpoints["declined"])
    assert (begun_anew.resumed_at_step, begun_anew.history.steps) == (0, 2 * STEPS_PER_EPOCH)
    assert train(new_model(), examples, checkpoints["same"]).resumed_at_step == 5


def test_a_checkpoint_that_was_cut_short_is_passed_over(examples, whole, tmp_path, killed_after):
    checkpoints = tmp_path / "checkpoints"
    killed_after(12)
    with pytest.raises(Killed):
        train(new_model(), examples, checkpoints)
    killed_after(None)
    shutil.copytree(checkpoints / "checkpoint-10", checkpoints / "checkpoint-15")
    state = checkpoints / "checkpoint-15" / "trainer_state.json"
    state.write_text(state.read_text()[:100])
    model = new_model()
    assert train(model, examples, checkpoints).resumed_at_step == 10
    assert same_weights(model, whole[0])


def test_a_checkpoint_in_which_a_bit_flipped_is_passed_over(examples, tmp_path, killed_after):
    checkpoints = tmp_path / "checkpoints"
    killed_after(12)
    with pytest.raises(Killed):
        train(new_model(), examples, checkpoints)
    killed_after(None)
    flip_a_bit(checkpoints / "checkpoint-10" / "model.safetensors")
    assert train(new_model(), examples, checkpoints).resumed_at_step == 0


def test_bf16_trains(examples, whole, tmp_path):
    model, (in_fp32, fp32) = new_model(), whole
    bf16 = train(model, examples, tmp_path, SETTINGS.model_copy(update={"precision": "bf16"}))
    assert (bf16.precision, fp32.precision) == ("bf16", "fp32")
    losses = [[point.loss for point in training.history.log] for training in (bf16, fp32)]
    assert losses[0] == pytest.approx(losses[1], abs=0.05)
    assert not same_weights(model, in_fp32)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_model_is_left_as_a_plain_one(examples, tmp_path, precision):
    model = new_model()
    attributes, weights = vars(model).keys() | {"_is_accelerate_prepared"}, list(model.state_dict())
    train(model, examples, tmp_path, SETTINGS.model_copy(update={"precision": precision}))
    assert (vars(model).keys(), list(model.state_dict())) == (attributes, weights)
    assert model.eval().config._attn_implementation == "sdpa"
    copy = new_model(seed=1).eval()
    copy.load_state_dict(model.state_dict())
    ids = torch.tensor([examples[0]["input_ids"]])
    assert torch.equal(model(ids).logits, copy(ids).logits)  # and computes in fp32


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_epoch_callback_sees_the_model_in_fp32_and_changes_nothing(examples, whole, tmp_path, precision):
    ids, seen = torch.tensor([examples[0]["input_ids"]]), []

    def look(epoch, model):
        seen.append(epoch)
        logits = model.eval()(ids).logits
        with torch.autocast("cpu", torch.bfloat16):
            assert not torch.equal(model(ids).logits, logits)
        model.train()

    settings, watched, alone = SETTINGS.model_copy(update={"precision": precision}), new_model(), whole[0]
    train(watched, examples, tmp_path, settings, epoch_callback=EpochCallback(examples, look))
    if precision != SETTINGS.precision:
        alone = new_model()
        train(alone, examples, tmp_path, settings)
    assert seen == [1, 2]
    assert same_weights(watched, alone)


def test_a_part_of_an_epoch_counts_as_its_last_one(examples, tmp_path):
    seen = []
    settings = SETTINGS.model_copy(update={"epochs": 1.4})
    callback = EpochCallback(examples, lambda epoch, _: seen.append(epoch))
    train(new_model(), examples, tmp_path, settings, epoch_callback=callback)
    assert seen == [1, 2]


def test_rows_of_tokens_that_no_text_has_only_decay(examples, tmp_path):
    model, unseen = new_model(), load_tokenizer("tiny-bert").convert_tokens_to_ids("%")
    assert all(unseen not in example["input_ids"] for example in examples)
    first = model.get_input_embeddings().weight[unseen].detach().clone()
    training = train(model, examples, tmp_path, SETTINGS.model_copy(update={"weight_decay": 0.5}))
    decay = np.prod([1 - 0.5 * point.learning_rate for point in training.history.log])
    torch.testing.assert_close(model.get_input_embeddings().weight[unseen], first * float(decay))


def test_a_complete_run_leaves_no_checkpoint_and_shows_a_bar_and_no_dictionaries(examples, tmp_path, capfd):
    train(new_model(), examples, tmp_path / "checkpoints")
    assert list(tmp_path.iterdir()) == []
    shown = capfd.readouterr()
    assert "20/20" in shown.err
    assert "learning_rate" not in shown.out + shown.err
    assert "Writing model shards" not in shown.err


@pytest.mark.parametrize("method", ["full", "head_only", "bitfit_frozen_classifier", "surgical", "lora", "spt_adapter"])
def test_the_record_says_what_trained_and_what_has_to_be_stored(method, examples, tmp_path):
    model, before = new_model(), new_model()
    options = OPTIONS.get(method, MethodParams(learning_rate=1e-3))
    found = train(model, examples, tmp_path, ONE_EPOCH, method=method, options=options, budget=0.04).history
    classifier = sum(before.get_parameter(name).numel() for name in classifier_parameters(before))
    classifier_bias = before.classifier.bias.numel()
    layer = count(before.bert.encoder.layer[0])
    biases = sum(p.numel() for name, p in before.named_parameters() if name.endswith(".bias"))
    budgeted = allowance(before, 0.04)
    trained, beside, passes = {
        "full": (backbone_size(before) + classifier, 0, 0),
        "head_only": (classifier, 0, 0),
        "bitfit_frozen_classifier": (biases, classifier - classifier_bias, 0),
        "surgical": (layer + classifier, 0, 1.0),
        "lora": (found.chosen.get("rank", 0) * 2 * 2 * 2 * before.config.hidden_size + classifier, 0, 0),
        "spt_adapter": (budgeted + classifier, 0, 1.0),
    }[method]
    assert found.trainable_parameters == trained
    assert found.stored_parameters == trained + beside
    assert found.extra_passes == passes
    assert (found.steps, found.tokens) == (STEPS_PER_EPOCH, mean_length(examples))
    choices = {"surgical": {"layers"}, "lora": {"rank"}, "spt_adapter": {"structured", "sparse"}}
    assert found.chosen.keys() == choices.get(method, set())
    assert not any("parametrizations" in name or "lora" in name for name in model.state_dict())
    if method == "head_only":
        assert same_weights(before.bert, model.bert)


def test_every_architecture_trains_in_full(tiny_model, batch, tmp_path):
    """With what the training puts into a model: the compact embeddings and the cheap dropout."""
    labels, ids = batch["labels"].tolist(), batch.get("input_ids")
    if ids is None:
        rows = [
            {"pixel_values": image, "labels": label} for image, label in zip(batch["pixel_values"], labels, strict=True)
        ]
    else:
        lengths = batch["attention_mask"].sum(dim=1)
        texts = [row[:length].tolist() for row, length in zip(ids, lengths, strict=True)]
        rows = [{"input_ids": text, "labels": label} for text, label in zip(texts, labels, strict=True)]
    before = copy.deepcopy(tiny_model)
    tokenizer = None if ids is None else load_tokenizer("tiny-bert")
    how = {"method": "full", "options": MethodParams(learning_rate=1e-2), "seed": 0, "checkpoints": tmp_path / "c"}
    settings = ONE_EPOCH.model_copy(update={"batch_size": 4})
    history = fine_tune(tiny_model, 3 * rows, tokenizer, settings, **how).history
    names = dict(before.named_parameters()).keys()
    assert dict(tiny_model.named_parameters()).keys() == names
    assert not any(torch.equal(before.get_parameter(name), tiny_model.get_parameter(name)) for name in names)
    assert history.trainable_parameters == history.stored_parameters == count(before)
    assert history.steps == 3


def test_a_regression_trains(tmp_path):
    model = load_backbone("tiny-bert", TASKS["stsb"], seed=0)
    rows = [{"input_ids": [2, 10 + row % 4, 3], "labels": float(row % 4)} for row in range(16)]
    settings = SETTINGS.model_copy(update={"epochs": 30})
    log = train(model, rows, tmp_path, settings, options=MethodParams(learning_rate=1e-2)).history.log
    assert log[-1].loss < 0.2 * log[0].loss

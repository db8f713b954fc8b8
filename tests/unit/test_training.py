import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from transformers import Trainer

from sensibert.encoding import encode
from sensibert.hardware import resolve_precision
from sensibert.masks import make_mask
from sensibert.models.anatomy import costs_of, prunable_modules
from sensibert.models.backbones import load_backbone, load_tokenizer
from sensibert.models.slim import slim
from sensibert.params import MethodParams, SptParams, SurgicalParams, TrainingParams
from sensibert.tasks import TASKS
from sensibert.training import Watch, fine_tune
from sensibert.tuning import PEFT_METHODS, TUNING_METHODS

SETTINGS = TrainingParams(epochs=2, batch_size=8, precision="fp32", checkpoint_steps=5)
OPTIONS = {
    **dict.fromkeys(("surgical", "last_layers", "random_layers"), SurgicalParams(learning_rate=1e-3, layers=1)),
    **dict.fromkeys(("spt_lora", "spt_adapter"), SptParams(learning_rate=1e-3, rank=1)),
}
STEPS_PER_EPOCH = 10  # 80 rows in batches of 8


@pytest.fixture
def examples(glue_directory):
    frame = pd.read_parquet(glue_directory / "sst2" / "train.parquet").rename(columns={"sentence": "text"})
    return encode(Dataset.from_pandas(frame), load_tokenizer("tiny-bert"), max_length=32)


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
    settings = TrainingParams(epochs=8, batch_size=8, precision="fp32")
    training = train(model, examples, tmp_path / "checkpoints", settings, options=MethodParams(learning_rate=3e-3))
    assert training.steps == 8 * STEPS_PER_EPOCH
    assert training.log[-1]["loss"] < 0.2 * training.log[0]["loss"]
    assert [point["step"] for point in training.log] == list(range(1, 81))
    assert training.log[0].keys() == {"step", "epoch", "loss", "learning_rate"}
    assert max(point["learning_rate"] for point in training.log) == pytest.approx(3e-3)
    assert training.precision == "fp32"
    assert training.trainable_parameters == sum(parameter.numel() for parameter in model.parameters())


def test_the_same_seed_gives_the_same_bits(examples, tmp_path):
    models = [new_model() for _ in range(3)]
    runs = [train(model, examples, tmp_path, seed=seed) for model, seed in zip(models, (0, 0, 1), strict=True)]
    assert same_weights(models[0], models[1])
    assert runs[0] == runs[1]
    assert not same_weights(models[0], models[2])


@pytest.mark.parametrize("steps", [2, 7, 10, 18])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(examples, tmp_path, killed_after, steps):
    whole = new_model()
    log = train(whole, examples, tmp_path / "whole").log
    model, training = killed_and_resumed(new_model, examples, tmp_path / "killed", killed_after, steps)
    assert training.resumed_at_step == steps - steps % SETTINGS.checkpoint_steps
    assert same_weights(model, whole)
    assert training.log == log
    assert training.steps == 2 * STEPS_PER_EPOCH


OTHER_KINDS = [(new_model, method) for method in (*TUNING_METHODS, *PEFT_METHODS)] + [(new_slim_model, "full")]


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
    for name, change in other_runs.items():
        checkpoints = shutil.copytree(tmp_path / "killed", tmp_path / name)
        run = train(**{"model": new_model(), "examples": examples, "checkpoints": checkpoints, **change})
        assert (run.resumed_at_step, run.steps) == (0, 2 * STEPS_PER_EPOCH), name
    assert train(new_model(), examples, tmp_path / "killed").resumed_at_step == 5


def test_a_checkpoint_that_was_cut_short_is_passed_over(examples, tmp_path, killed_after):
    checkpoints = tmp_path / "checkpoints"
    whole = new_model()
    train(whole, examples, tmp_path / "whole")
    killed_after(12)
    with pytest.raises(Killed):
        train(new_model(), examples, checkpoints)
    killed_after(None)
    shutil.copytree(checkpoints / "checkpoint-10", checkpoints / "checkpoint-15")
    state = checkpoints / "checkpoint-15" / "trainer_state.json"
    state.write_text(state.read_text()[:100])
    model = new_model()
    assert train(model, examples, checkpoints).resumed_at_step == 10
    assert same_weights(model, whole)


def test_the_checkpoints_are_gone_when_the_run_is_complete(examples, tmp_path):
    train(new_model(), examples, tmp_path / "checkpoints")
    assert list(tmp_path.glob("checkpoints*")) == []


def test_bf16_trains(examples, tmp_path):
    models = [new_model(), new_model()]
    bf16, fp32 = (
        train(model, examples, tmp_path, SETTINGS.model_copy(update={"precision": precision}))
        for model, precision in zip(models, ("bf16", "fp32"), strict=True)
    )
    assert (bf16.precision, fp32.precision) == ("bf16", "fp32")
    assert [point["loss"] for point in bf16.log] == pytest.approx([point["loss"] for point in fp32.log], abs=0.05)
    assert not same_weights(*models)
    assert {parameter.dtype for parameter in models[0].parameters()} == {torch.float32}


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
def test_who_watches_sees_the_model_in_fp32(examples, tmp_path, precision):
    ids, seen = torch.tensor([examples[0]["input_ids"]]), []

    def look(epoch, model):
        seen.append(epoch)
        logits = model.eval()(ids).logits
        with torch.autocast("cpu", torch.bfloat16):
            assert not torch.equal(model(ids).logits, logits)
        model.train()

    settings, watched, alone = SETTINGS.model_copy(update={"precision": precision}), new_model(), new_model()
    train(watched, examples, tmp_path, settings, watch=Watch(examples, look))
    train(alone, examples, tmp_path, settings)
    assert seen == [1, 2]
    assert same_weights(watched, alone)


def test_a_part_of_an_epoch_counts_as_its_last_one(examples, tmp_path):
    seen = []
    settings = SETTINGS.model_copy(update={"epochs": 1.4})
    train(new_model(), examples, tmp_path, settings, watch=Watch(examples, lambda epoch, _: seen.append(epoch)))
    assert seen == [1, 2]


def test_rows_of_tokens_that_no_text_has_only_decay(examples, tmp_path):
    model, unseen = new_model(), load_tokenizer("tiny-bert").convert_tokens_to_ids("%")
    assert all(unseen not in example["input_ids"] for example in examples)
    first = model.get_input_embeddings().weight[unseen].detach().clone()
    training = train(model, examples, tmp_path, SETTINGS.model_copy(update={"weight_decay": 0.5}))
    decay = np.prod([1 - 0.5 * point["learning_rate"] for point in training.log])
    torch.testing.assert_close(model.get_input_embeddings().weight[unseen], first * float(decay))


def test_precision_is_resolved_by_the_device():
    cpu = torch.device("cpu")
    assert resolve_precision("fp32", cpu) == "fp32"
    assert resolve_precision("bf16", cpu) == "bf16"
    assert resolve_precision("auto", cpu) in {"fp32", "bf16"}


def test_the_console_shows_a_bar_and_no_dictionaries(examples, tmp_path, capfd):
    train(new_model(), examples, tmp_path / "checkpoints")
    shown = capfd.readouterr()
    assert "20/20" in shown.err
    assert "learning_rate" not in shown.out + shown.err
    assert "Writing model shards" not in shown.err

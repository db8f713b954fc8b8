"""Fine-tuning: the Hugging Face Trainer, wired to be deterministic and to go on after a kill."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer import TRAINER_STATE_NAME

from sensibert.artifacts import claim_scratch
from sensibert.distillation import distilled_loss
from sensibert.dropout import cheap_dropout
from sensibert.encoding import Example, TrainingOrder, collator
from sensibert.hardware import best_device, keep_for_reuse, make_deterministic, resolve_precision
from sensibert.params import DENSE_BUDGET, DistillationParams, MethodParams, Precision, TrainingParams
from sensibert.tuning import attach
from sensibert.tuning.base import Context, classifier_parameters
from sensibert.used_rows import only_used_rows

LOGS_PER_RUN = 50
"""Points of a training curve."""


@dataclass(frozen=True)
class Training:
    """What fine-tuning did, apart from the model it left."""

    log: list[dict[str, float]]
    """The training curve: step, epoch, loss and learning_rate."""
    steps: int
    trainable_parameters: int
    stored_parameters: int
    """What must be kept for this task beside the pre-trained backbone: all that trained, and the whole classifier."""
    extra_passes: float
    """Passes over the training data before the training, to choose what trains."""
    chosen: dict[str, Any]
    """What the method chose: layers, a rank, entries of matrices."""
    precision: Precision
    """What `auto` became."""
    resumed_at_step: int
    """0 for a run that was not interrupted."""


@dataclass(frozen=True)
class Watch:
    """Somebody who looks at the model after each epoch, and may end the training by an exception."""

    examples: list[Example]
    """Texts that the model will be asked about."""
    after_epoch: Callable[[int, PreTrainedModel], None]
    """Called with the number of the epoch, from 1, and the model."""


def fine_tune(
    model: PreTrainedModel,
    examples: list[Example],
    tokenizer: PreTrainedTokenizerBase | None,
    settings: TrainingParams,
    *,
    method: str,
    options: MethodParams,
    seed: int,
    checkpoints: Path,
    budget: float = DENSE_BUDGET,
    resume: bool = True,
    watch: Watch | None = None,
) -> Training:
    """Tune a model in place: AdamW, linear warm-up and decay, length-grouped batches.

    Args:
        model: A dense or slim model; a slim one needs no mask, its dimensions are gone.
        examples: Training data; an example may hold a teacher's logits as `teacher` [classes].
        tokenizer: Pads the batches; None for images.
        settings: Epochs, batch size and the like.
        method: A tuning method, which says what trains.
        options: Its learning rate, and what else it can be told.
        seed: Of the order of the data, of dropout, and of what the method adds to the model.
        checkpoints: Scratch folder; removed when the run is complete.
        budget: Trained fraction of the backbone's parameters, for a method that has such a budget.
        resume: Go on from the last checkpoint in `checkpoints` if it belongs to this very run.
        watch: Looks at the model after each epoch.

    Raises:
        TuningError: the method does not fit the model, or its budget is too small.
    """
    precision = resolve_precision(settings.precision, best_device())
    make_deterministic(seed)
    keep_for_reuse()
    attached = attach(model, method, Context(examples, tokenizer, options, budget, seed))
    trained = {name: parameter.numel() for name, parameter in model.named_parameters() if parameter.requires_grad}
    run = {"method": method, "options": options.model_dump(), "budget": budget, "seed": seed, "precision": precision}
    about = run | {"settings": settings.model_dump(), "trained": trained}
    # Of the model as the method made it: a run that chose something else must not go on from these checkpoints.
    claim_scratch(checkpoints, fingerprint(about, model, examples), resume=resume)
    checkpoint = _last_complete_checkpoint(checkpoints)
    make_deterministic(seed)  # the training is the same whatever the method drew
    arguments = _arguments(
        settings, options.learning_rate, seed, precision, checkpoints, steps=_steps(examples, settings)
    )
    with only_used_rows(model, [*examples, *(watch.examples if watch else ())]), cheap_dropout(model):
        trainer = _Trainer(
            model=model,
            args=arguments,
            train_dataset=examples,  # type: ignore[arg-type]
            data_collator=collator(tokenizer),
            processing_class=tokenizer,
            method_options=options,
        )
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(_Progress)
        if watch:
            trainer.add_callback(_Watched(watch))
        trainer.train(resume_from_checkpoint=checkpoint)
    _unwrapped(model)
    shutil.rmtree(checkpoints, ignore_errors=True)
    frozen_classifier = classifier_parameters(model) - trained.keys()
    attached.merge()
    return Training(
        log=[_curve_point(entry) for entry in trainer.state.log_history if "loss" in entry],
        steps=trainer.state.global_step,
        trainable_parameters=sum(trained.values()),
        stored_parameters=sum(trained.values()) + sum(model.get_parameter(name).numel() for name in frozen_classifier),
        extra_passes=attached.extra_passes,
        chosen=attached.chosen,
        precision=precision,
        resumed_at_step=int(checkpoint.rsplit("-", 1)[-1]) if checkpoint else 0,
    )


def fingerprint(about: dict[str, Any], model: PreTrainedModel, *data: list[Example]) -> str:
    """Identity of a run, hexadecimal: what is said about it, JSON-ready, its first weights and its data sets."""
    digest = hashlib.sha256(json.dumps([about, [len(examples) for examples in data]], sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    for example in chain.from_iterable(data):
        digest.update(repr(sorted(example.items())).encode())
    return digest.hexdigest()


class _Trainer(Trainer):
    """The stock Trainer; only the order of the data does not depend on where the run was interrupted."""

    def __init__(self, *arguments: Any, method_options: MethodParams, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.method_options = method_options

    def compute_loss(self, model: Any, inputs: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        """The loss on the labels; where examples hold a teacher's answers, mixed with the distance to them."""
        answers = inputs.pop("teacher", None)
        if answers is None:
            return super().compute_loss(model, inputs, *arguments, **options)
        assert isinstance(self.method_options, DistillationParams)
        outputs = model(**inputs)
        settings = self.method_options.temperature, self.method_options.weight
        return distilled_loss(outputs.loss, outputs.logits, answers, *settings)

    def _get_train_sampler(self, train_dataset: Any = None) -> TrainingOrder:
        return TrainingOrder(self.train_dataset, self.args.train_batch_size, self.args.seed)  # type: ignore[arg-type]


class _Progress(ProgressCallback):
    """The progress bar without a line for each point of the curve."""

    def on_log(self, *arguments: Any, **options: Any) -> None:
        """Print nothing: the curve is in the result."""


class _Watched(TrainerCallback):
    """Shows the model to somebody after each epoch."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def on_epoch_end(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        """Let them look."""
        model = options["model"]
        wrapping = _unwrapped(model)
        self.watch.after_epoch(math.ceil(state.epoch), model)
        vars(model).update(wrapping)


def _unwrapped(model: PreTrainedModel) -> dict[str, Any]:
    """Take off, and give, what Accelerate wraps a model in for good, so that it computes in bf16."""
    return {name: vars(model).pop(name) for name in ("forward", "_original_forward") if name in vars(model)}


def _arguments(
    settings: TrainingParams, learning_rate: float, seed: int, precision: Precision, checkpoints: Path, steps: int
) -> TrainingArguments:
    log_every = max(1, steps // LOGS_PER_RUN)
    # A point of the curve is the mean loss since the last one: between two points a checkpoint would cut it.
    save_every = -(-settings.checkpoint_steps // log_every) * log_every
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=learning_rate,
        weight_decay=settings.weight_decay,
        warmup_steps=settings.warmup_fraction,
        lr_scheduler_type="linear",
        optim="adamw_torch_fused",
        bf16=precision == "bf16",
        use_cpu=best_device().type == "cpu",
        seed=seed,
        logging_steps=log_every,
        save_strategy="steps",
        save_steps=save_every,
        save_total_limit=1,
        report_to="none",
        disable_tqdm=False,  # by default it follows the verbosity of transformers
        remove_unused_columns=False,
        dataloader_pin_memory=best_device().type == "cuda",
    )
    # On several GPUs the Trainer would multiply the batch size, and with it change what is trained.
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1
    return arguments


def _steps(examples: list[Example], settings: TrainingParams) -> int:
    return max(1, int(-(-len(examples) // settings.batch_size) * settings.epochs))


def _curve_point(entry: dict[str, float]) -> dict[str, float]:
    return {name: float(entry[name]) for name in ("step", "epoch", "loss", "learning_rate")}


def _last_complete_checkpoint(folder: Path) -> str | None:
    by_step = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    return next((str(path) for path in by_step if _is_complete(path)), None)


def _is_complete(checkpoint: Path) -> bool:
    """Whether the last file of a checkpoint is whole; a kill or a full disk in the middle leaves it missing or cut."""
    try:
        json.loads((checkpoint / TRAINER_STATE_NAME).read_bytes())
    except (OSError, ValueError):
        return False
    return True

"""Fine-tuning: the Hugging Face Trainer, wired to be deterministic and to resume after a kill."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint

from sensibert.compute import processes
from sensibert.compute.compact_embeddings import compact_embeddings
from sensibert.compute.dropout import cheap_dropout
from sensibert.compute.hardware import (
    alone,
    autocast,
    best_device,
    keep_for_reuse,
    make_deterministic,
    resolve_precision,
)
from sensibert.config.grid import DENSE_BUDGET
from sensibert.config.method_settings import DistillationParams, MethodParams
from sensibert.config.methods import METHODS
from sensibert.config.settings import Precision, TrainingParams
from sensibert.data.encoding import Examples, TrainingOrder, collator, hash_examples, mean_length
from sensibert.errors import ArtifactError, DivergedError
from sensibert.io import claim_scratch, hash_file, read_json, release_scratch, write_json
from sensibert.models.targets import begin_training, end_training
from sensibert.results import CurvePoint, History
from sensibert.training.attach import Attach, Attached, TuningContext, classifier_parameters
from sensibert.training.distillation import distilled_loss, hidden_distance

LOGS_PER_RUN = 50
"""Points on a training curve."""


@dataclass(frozen=True)
class Training:
    """What fine-tuning did, apart from the model itself."""

    history: History
    precision: Precision
    """The number format that was used, never `auto`."""
    resumed_at_step: int
    """0 for a run that was not interrupted."""


@dataclass(frozen=True)
class EpochCallback:
    """Looks at the model after each epoch, and may end the training by raising an exception."""

    examples: Examples
    """Examples that the callback will give to the model."""
    after_epoch: Callable[[int, PreTrainedModel], None]
    """Called with the number of the epoch, from 1, and the model."""


def fine_tune(
    model: PreTrainedModel,
    examples: Examples,
    tokenizer: PreTrainedTokenizerBase | None,
    settings: TrainingParams,
    *,
    method: str,
    options: MethodParams,
    seed: int,
    checkpoints: Path,
    budget: float = DENSE_BUDGET,
    resume: bool = True,
    epoch_callback: EpochCallback | None = None,
    teacher: PreTrainedModel | None = None,
) -> Training:
    """Tune a model in place: AdamW, linear warm-up and decay, length-grouped batches.

    Args:
        model: A dense or slim model; a slim one needs no mask, its dimensions are gone.
        examples: Training data; an example may hold its `teacher_logits` [classes]. Real numbers as labels may have any
            size (`models.targets`).
        tokenizer: Pads the batches; None for images.
        settings: Epochs, batch size and the like.
        method: A tuning method, which says what trains.
        options: Its learning rate and other settings.
        seed: Decides the order of the data, dropout, and what the method adds to the model.
        checkpoints: Scratch folder; removed when the run is complete.
        budget: Trained fraction of the backbone's parameters, for a method that has such a budget.
        resume: Resume at the last checkpoint in `checkpoints` if it belongs to exactly this run.
        epoch_callback: Called with the model after each epoch.
        teacher: Whose hidden states the model learns from, as `options` weigh them; it does not change.

    Raises:
        TuningError: the method does not fit the model, or its budget is too small.
        DivergedError: the loss or a weight is not finite.
    """
    precision = resolve_precision(settings.precision, best_device())
    make_deterministic(seed)
    keep_for_reuse()
    examples, scale = begin_training(model, examples)
    attached = _attach(model, method, TuningContext(examples, tokenizer, options, budget, seed))
    trained = {name: parameter.numel() for name, parameter in model.named_parameters() if parameter.requires_grad}
    run = {"method": method, "options": options.model_dump(), "budget": budget, "seed": seed, "precision": precision}
    about = run | {"settings": settings.model_dump(), "trained": trained}
    # With the model as the method left it: a run that chose something else must not resume from these checkpoints.
    identity = fingerprint(about, model, examples) + (fingerprint({}, teacher) if teacher else "")
    if processes.is_first():
        claim_scratch(checkpoints, identity, resume=resume)
        _remove_damaged_checkpoints(checkpoints)
    processes.wait()
    checkpoint = get_last_checkpoint(str(checkpoints))
    make_deterministic(seed)  # the training is the same whatever the method drew
    with (
        alone(),
        compact_embeddings(model, examples, *([epoch_callback.examples] if epoch_callback else [])),
        cheap_dropout(model),
    ):
        trainer = _Trainer(
            model=model,
            args=_arguments(settings, options.rate, seed, precision, checkpoints, examples=len(examples)),
            train_dataset=examples,  # type: ignore[arg-type]
            data_collator=collator(tokenizer),
            processing_class=tokenizer,
            method_options=options,
            teacher=teacher.eval() if teacher else None,
            precision=precision,
        )
        trainer.remove_callback(ProgressCallback)
        if processes.is_first():
            trainer.add_callback(_Progress)
        trainer.add_callback(_EndOfDivergence)
        if epoch_callback:
            trainer.add_callback(_AfterEpoch(epoch_callback))
        trainer.train(resume_from_checkpoint=checkpoint)
    _unwrapped(model)
    _refuse_divergence(model, options.rate)
    if processes.is_first():
        release_scratch(checkpoints)
    frozen_classifier = classifier_parameters(model) - trained.keys()
    attached.merge()
    end_training(model, scale)
    history = History(
        trainable_parameters=sum(trained.values()),
        stored_parameters=sum(trained.values()) + sum(model.get_parameter(name).numel() for name in frozen_classifier),
        extra_passes=attached.extra_passes,
        log=[_curve_point(entry) for entry in trainer.state.log_history if "loss" in entry],
        steps=trainer.state.global_step,
        chosen=attached.chosen,
        tokens=mean_length(examples),
    )
    return Training(history, precision, int(checkpoint.rsplit("-", 1)[-1]) if checkpoint else 0)


def _attach(model: PreTrainedModel, method: str, context: TuningContext) -> Attached:
    """Prepare a model for training by a method, in place."""
    attach: Attach = METHODS[method].implementation
    return attach(model, context)


def _refuse_divergence(model: PreTrainedModel, learning_rate: float) -> None:
    """Refuse weights that are not finite: whatever such a model answers means nothing."""
    broken = [name for name, values in model.state_dict().items() if not values.isfinite().all()]
    if broken:
        raise DivergedError(
            f"the training diverged at learning_rate {learning_rate:g}: {len(broken)} of {len(model.state_dict())} "
            f"tensors are not finite, {broken[0]} among them; give a lower rate"
        )


def fingerprint(about: dict[str, Any], model: PreTrainedModel, *data: Examples) -> str:
    """Identity of a run, hexadecimal: its settings (JSON-ready), its initial weights and its data sets."""
    digest = hashlib.sha256(json.dumps([about, [len(examples) for examples in data]], sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    for examples in data:
        digest.update(hash_examples(examples))
    return digest.hexdigest()


class _Trainer(Trainer):
    """The stock Trainer, except for the loss with a teacher, a data order that no interruption changes, and processes.

    One that is one of several knows of no others: it does everything that a single one does, but it computes some rows
    of each batch alone (`compute.processes`), and the first of them writes the checkpoints.
    """

    def __init__(
        self,
        *arguments: Any,
        method_options: MethodParams,
        teacher: PreTrainedModel | None,
        precision: Precision,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.method_options = method_options
        self.teacher = teacher
        self.precision = precision
        self.share = processes.Share()
        if processes.count() > 1:
            self.model_accepts_loss_kwargs = False  # a model that knew the rows of the whole batch would divide by them

    def training_step(self, model: Any, inputs: dict[str, Any], *arguments: Any, **options: Any) -> Tensor:
        """Compute the gradients of a batch, each process those of its rows."""
        with processes.sharing(inputs) as (own, self.share):
            loss = super().training_step(model, own, *arguments, **options)
        processes.sum_gradients(model)
        return processes.summed(loss)

    def _save_checkpoint(self, *arguments: Any, **options: Any) -> None:
        if processes.is_first():
            super()._save_checkpoint(*arguments, **options)
            folder = Path(str(self.args.output_dir), f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}")
            write_json(folder / _HASHES, _hashes(folder))
        processes.wait()

    def compute_loss(self, model: Any, inputs: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        """The loss on the labels; if examples have teacher logits, mixed with the distance to the teacher."""
        teacher_logits = inputs.pop("teacher_logits", None)
        if teacher_logits is None:
            loss: Any = super().compute_loss(model, inputs, *arguments, **options)
            return loss * self.share.weight
        assert isinstance(self.method_options, DistillationParams)
        settings = self.method_options
        outputs = model(**inputs, output_hidden_states=self.teacher is not None)
        loss = distilled_loss(outputs.loss, outputs.logits, teacher_logits, settings.temperature, settings.weight)
        loss = loss * self.share.weight
        if self.teacher is None:
            return loss
        distance = hidden_distance(outputs.hidden_states, self._taught(inputs), inputs.get("attention_mask"))
        return loss + settings.hidden_weight * distance * self.share.token_weight

    def _taught(self, inputs: dict[str, Any]) -> tuple[Tensor, ...]:
        """The teacher's hidden states; too many to keep for all examples."""
        assert self.teacher is not None
        unlabelled = {name: values for name, values in inputs.items() if name != "labels"}
        with torch.no_grad(), autocast(self.precision, self.teacher.device):
            return self.teacher(**unlabelled, output_hidden_states=True).hidden_states

    def _get_train_sampler(self, train_dataset: Any = None) -> TrainingOrder:
        return TrainingOrder(self.train_dataset, self.args.train_batch_size, self.args.seed)  # type: ignore[arg-type]


class _Progress(ProgressCallback):
    """The progress bar without a line for each point of the curve, which is in the result."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **options: Any) -> None:
        """Print nothing."""


class _EndOfDivergence(TrainerCallback):
    """Ends a training whose loss is no number."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **options: Any) -> None:
        """Look at each point of the curve."""
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise DivergedError(
                f"the training diverged at learning_rate {args.learning_rate:g}: the loss is {loss} at step "
                f"{state.global_step}; give a lower rate"
            )


class _AfterEpoch(TrainerCallback):
    """Runs an `EpochCallback`."""

    def __init__(self, callback: EpochCallback) -> None:
        self.callback = callback

    def on_epoch_end(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        """Pass it the model without the wrapper of Accelerate."""
        model = options["model"]
        wrapping = _unwrapped(model)
        self.callback.after_epoch(math.ceil(state.epoch), model)
        vars(model).update(wrapping)


def _unwrapped(model: PreTrainedModel) -> dict[str, Any]:
    """Remove, and return, the attributes by which Accelerate makes a model compute in bf16 for good."""
    return {name: vars(model).pop(name) for name in ("forward", "_original_forward") if name in vars(model)}


def _arguments(
    settings: TrainingParams, learning_rate: float, seed: int, precision: Precision, checkpoints: Path, examples: int
) -> TrainingArguments:
    log_every = max(1, settings.steps_for(examples) // LOGS_PER_RUN)
    # A point of the curve is the mean loss since the last one: a checkpoint between two points would split it.
    save_every = -(-settings.checkpoint_steps // log_every) * log_every
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=settings.epochs_for(examples),
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
        logging_nan_inf_filter=False,  # a loss that is no number must show
        report_to="none",
        disable_tqdm=False,  # by default it follows the verbosity of transformers
        remove_unused_columns=False,
        dataloader_pin_memory=best_device().type == "cuda",
    )
    # On several GPUs the Trainer would multiply the batch size, which changes the training.
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1
    return arguments


def _curve_point(entry: dict[str, float]) -> CurvePoint:
    return CurvePoint(*(float(entry[name]) for name in ("step", "epoch", "loss", "learning_rate")))


_HASHES = "sha256.json"
"""The last file of a checkpoint: the hashes of the others."""


def _remove_damaged_checkpoints(folder: Path) -> None:
    """Leave what is as it was written; a kill, a full disk or a broken one leaves a checkpoint cut or changed."""
    for checkpoint in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        if not _is_whole(checkpoint):
            shutil.rmtree(checkpoint)


def _is_whole(checkpoint: Path) -> bool:
    try:
        recorded = read_json(checkpoint / _HASHES)
    except ArtifactError:
        return False
    return bool(_hashes(checkpoint) == recorded)


def _hashes(checkpoint: Path) -> dict[str, str]:
    return {path.name: hash_file(path) for path in sorted(checkpoint.iterdir()) if path.name != _HASHES}

"""What one would pick instead of the small model, beside it: the same rows, the same machine, from text to answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
from transformers import PreTrainedModel

from sensibert.alternatives import setfit
from sensibert.alternatives.base import Answer, Given, Simple, Text, given_of
from sensibert.compress.job import Job, MadeModel
from sensibert.compress.verdict import interval_of
from sensibert.compute.timing import Run, interleaved_medians
from sensibert.config.simple_models import SIMPLE_MODELS
from sensibert.data.encoding import labels_in, texts_of
from sensibert.deploy.answers import load_answerer
from sensibert.deploy.bench import one_thread
from sensibert.deploy.onnx.export import FP32_FILE, INT8_FILE, export_onnx
from sensibert.models.backbones import load_backbone
from sensibert.models.cost import weights_bytes
from sensibert.models.mask import Mask
from sensibert.report.alternatives import choose
from sensibert.report.evidence import Alternative
from sensibert.report.labels import TIMES
from sensibert.scoring.files import ScoreFile

_CHECKED_TEXTS = 64
_BATCH = 32
_REPEATS = 20
_TORCH, _ONNX = "torch, transformers", "onnxruntime, tokenizers"


@dataclass(frozen=True)
class Contender:
    """A model that could be deployed."""

    name: str
    budget: float | None
    answer: Answer
    file_bytes: int
    seconds: float
    """Of training, from the pre-trained weights on."""
    needs: str


def compare(job: Job, mask: Mask, scores: ScoreFile | None, dense: MadeModel, small: MadeModel) -> list[Alternative]:
    """Fit, export and measure everything that could be deployed.

    Args:
        job: The steps of the run.
        mask: What the small model keeps.
        scores: Names the layers that fit the budget; without them the first layers have no part.
        dense: The tuned dense model.
        small: The small model.

    Returns:
        The dense model, the small one, each in PyTorch, ONNX and INT8; the first layers; the simple ones.
    """
    job.say("compare: fitting and exporting what else could be deployed")
    contenders = [*_networks(job, mask, scores, dense, small), *_simple(job)]
    held_out = job.subject.dataset[job.subject.task.validation_splits[0]]
    texts, labels = texts_of(held_out), labels_in(held_out)
    job.say(f"compare: {len(contenders)} models answer {len(texts):,} held-out texts and take turns")
    with one_thread():
        seconds = {size: _timed(contenders, texts, size) for size in (1, min(_BATCH, len(texts)))}
        alone, together = seconds.values() if len(seconds) == 2 else [*seconds.values()] * 2
        found = []
        for one in contenders:
            metric = interval_of(one.answer(texts), labels, job.subject.task)
            times = alone[one.name], together[one.name]
            found.append(
                Alternative(one.name, one.budget, *metric, *times, one.file_bytes, one.seconds / 60, one.needs)
            )
    return choose(found)


def _networks(
    job: Job, mask: Mask, scores: ScoreFile | None, dense: MadeModel, small: MadeModel
) -> Iterator[Contender]:
    budget = job.recipe.budget
    own, taught = job.seconds("scores", f"slim-{budget:g}"), job.recipe.method == "recipe"
    yield from _runtimes(job, "dense", None, dense, job.seconds("dense"))
    yield from _runtimes(job, f"slim {budget:g}{TIMES}", budget, small, own + (job.seconds("dense") if taught else 0.0))
    if scores is not None and (shallow := job.first_layers(scores)) is not None:
        name = f"first layers {budget:g}{TIMES}"
        yield _in_torch(name, budget, shallow, job.seconds(shallow.folder.name), job.subject.settings.max_length)


def _runtimes(job: Job, name: str, budget: float | None, made: MadeModel, seconds: float) -> Iterator[Contender]:
    """A model in PyTorch, in ONNX and in INT8."""
    length, folder = job.subject.settings.max_length, job.work / f"compared-{made.folder.name}"
    yield _in_torch(name, budget, made, seconds, length)
    if not folder.exists():
        split = job.examples_for(made, "train")[:_CHECKED_TEXTS]
        export_onnx(made.model, split, made.tokenizer, folder, max_length=length, int8=True)
    for label, file in (("ONNX", FP32_FILE), ("INT8", INT8_FILE)):
        answer = _answers(folder, int8=file == INT8_FILE)
        yield Contender(f"{name}, {label}", budget, answer, (folder / file).stat().st_size, seconds, _ONNX)


def _in_torch(name: str, budget: float | None, made: MadeModel, seconds: float, length: int) -> Contender:
    answer = _answers(made.folder, max_length=length)
    return Contender(name, budget, answer, weights_bytes(made.folder), seconds, _TORCH)


def _answers(folder: Path, *, int8: bool = False, max_length: int | None = None) -> Answer:
    """The predictions of a saved model or an export, as whoever deploys it gets them."""
    answerer = load_answerer(folder, int8=int8, max_length=max_length, threads=1)

    def answer(texts: Sequence[Text]) -> np.ndarray:
        logits = answerer.logits(texts)
        return logits.argmax(axis=1) if answerer.labels else logits[:, 0]

    return answer


def _simple(job: Job) -> Iterator[Contender]:
    """The simple models."""
    given = given_of(job.subject, job.recipe.seed)
    for row in SIMPLE_MODELS.values():
        yield _fitted(row.title, row.fit, given)
    if setfit.suits(given) and setfit.knows(stock := _stock_backbone(job)):
        yield _fitted("SetFit", setfit.fit, replace(given, load_model=lambda: stock))


def _fitted(title: str, fit: Callable[[Given], Simple], given: Given) -> Contender:
    start = perf_counter()
    simple = fit(given)
    return Contender(title, None, simple.answer, simple.file_bytes, perf_counter() - start, simple.needs)


def _stock_backbone(job: Job) -> PreTrainedModel:
    """The backbone without the pooling of this package."""
    subject, trust = job.subject, job.subject.trust_remote_code
    backbone, seed = subject.settings.backbone, job.recipe.seed
    return load_backbone(backbone, subject.task, seed, pooling="pooler", trust_remote_code=trust)


def _timed(contenders: Sequence[Contender], texts: Sequence[Text], size: int) -> dict[str, float]:
    """Median seconds to answer so many texts at once: those whose length is in the middle."""
    by_length = sorted(texts, key=lambda text: len("".join(text)))
    start = (len(by_length) - size) // 2
    asked = by_length[start : start + size]
    runs: dict[str, Run] = {one.name: partial(one.answer, asked) for one in contenders}
    return interleaved_medians(runs, _REPEATS)

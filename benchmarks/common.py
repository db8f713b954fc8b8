"""What the benchmarks share: the options, the data, the models that they compare, and the report."""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from transformers import PreTrainedModel

from sensibert.compute.compact_embeddings import compact_embeddings
from sensibert.compute.dropout import cheap_dropout
from sensibert.compute.hardware import autocast, make_deterministic
from sensibert.compute.timing import Run
from sensibert.config.methods import METHODS
from sensibert.config.settings import DataParams, ModelParams, Precision
from sensibert.data.encoding import Examples
from sensibert.data.tasks import TASKS, Task
from sensibert.errors import explain
from sensibert.experiment.provenance import Timer, collect
from sensibert.io import replacing, write_json
from sensibert.models.anatomy import costs_of, grains_of, prunable_modules
from sensibert.models.backbones import load_backbone
from sensibert.models.gates import masked
from sensibert.models.loading import TINY
from sensibert.models.mask import Mask
from sensibert.models.subject import Subject
from sensibert.scoring.budgets import mask_for
from sensibert.scoring.files import read_scores
from sensibert.scoring.ranking import make_mask
from sensibert.sources.prepare import prepare

MAX_LENGTH = 128
BATCH_SIZE = 32
SEED = 0

Row = dict[str, Any]


class Options(argparse.ArgumentParser):
    """The options that every benchmark has; each adds its own, and most have a backbone."""

    def __init__(self, description: str, *, with_backbone: bool = True) -> None:
        super().__init__(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        if with_backbone:
            self.add_argument("--backbone", default="minilm-l6", help="minilm-l6, a directory or a hub id")
        self.add_argument("--quick", action="store_true", help="a smoke run: a tiny backbone and few repeats")
        self.add_argument(
            "--out", type=Path, default=Path("reports/benchmarks"), help="folder of NAME.json and NAME.md"
        )

    def add_data(self) -> None:
        """Offer data other than SST-2 under ../shared/glue."""
        text = "folder with sst2/SPLIT.parquet; the embedded docs_origin task is taken where there is none"
        self.add_argument("--data", type=Path, default=Path("../shared/glue"), help=text)

    def add_masks(self) -> None:
        """Offer masks other than plain ones by magnitude."""
        text = "score file of this backbone whose sensitivities make the masks; magnitudes make them without one"
        self.add_argument("--scores", type=Path, help=text)
        self.add_argument("--round-to", type=int, default=1, help="kept sizes are multiples of this")


def run(
    name: str,
    options: Options,
    measure: Callable[[argparse.Namespace], list[Row]],
    arguments: Sequence[str] | None,
) -> None:
    """Measure, print the table and write it.

    Args:
        name: Name of the benchmark and its files.
        options: The options of the command line.
        measure: Returns the rows of the table, which all have the same keys.
        arguments: The command line; None takes that of the process.
    """
    chosen = options.parse_args(arguments)
    if chosen.quick and "backbone" in chosen:
        chosen.backbone = TINY
    make_deterministic(SEED)
    try:
        with Timer() as timer:
            rows = measure(chosen)
    except Exception as error:
        if (message := explain(error)) is None:
            raise
        sys.exit(f"error: {message}")
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(chosen).items()}
    provenance = collect(timer, settings)
    table = tabulate(rows, headers="keys", tablefmt="github", floatfmt=".4g")
    print(table)
    write_json(chosen.out / f"{name}.json", {"rows": rows, "provenance": provenance})
    with replacing(chosen.out / f"{name}.md") as beside:
        beside.write_text(f"{_heading(name, settings, provenance)}\n\n{table}\n", encoding="utf-8")
    print(f"{chosen.out / name}.md and .json")


def _heading(name: str, settings: dict[str, Any], provenance: dict[str, Any]) -> str:
    hardware, packages = provenance["hardware"], provenance["packages"]
    said = [
        f" --{key.replace('_', '-')}{_said(value)}" for key, value in settings.items() if value not in (None, False)
    ]
    return (
        f"`python -m benchmarks.{name}{''.join(said)}` in {provenance['seconds']:.0f} s\n\n"
        f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['torch_threads']} threads, "
        f"{hardware['gpu'] or 'no GPU'}; torch {packages['torch']}, transformers {packages['transformers']}; "
        f"commit {(provenance['git']['revision'] or 'unknown')[:12]}"
    )


def _said(value: Any) -> str:
    if value is True:
        return ""
    return "".join(f" {each}" for each in value) if isinstance(value, list) else f" {value}"


def load_subject(folder: Path, backbone: str, sentences: int | None = None) -> Subject:
    """A backbone and SST-2 from a folder; the embedded task if the folder does not have it."""
    local = (folder / "sst2").is_dir()
    data = DataParams(source="local" if local else "pydocs", directory=folder if local else None, max_train=sentences)
    task = TASKS["sst2" if local else "docs_origin"]
    dataset, _ = prepare(task, data)
    return Subject(task, dataset, ModelParams(backbone=backbone, max_length=MAX_LENGTH))


def new_model(backbone: str, task: Task) -> PreTrainedModel:
    """The backbone with a new classifier, the same one each time."""
    return load_backbone(backbone, task, SEED)


def mask_at(budget: float, model: PreTrainedModel, chosen: argparse.Namespace) -> Mask:
    """A mask by sensitivity from a score file, or by magnitude, which takes no training."""
    if chosen.scores is not None:
        return mask_for(read_scores(chosen.scores), "sensitivity", budget, round_to=chosen.round_to)
    return magnitude_mask(budget, model, round_to=chosen.round_to)


def magnitude_mask(budget: float, model: PreTrainedModel, round_to: int = 1) -> Mask:
    """A mask by magnitude per parameter."""
    magnitude = METHODS["magnitude"].implementation
    values = {key: magnitude(module, SEED).scores() for key, module in prunable_modules(model).items()}
    options = {"grains": grains_of(model), "round_to": round_to, "rank_by": "score_per_parameter"}
    return make_mask(values, costs_of(model), budget, **options)


@contextmanager
def masked_copy(model: PreTrainedModel, mask: Mask) -> Iterator[PreTrainedModel]:
    """The dense model with the mask multiplied in at run time, which is what mask-based pruning trains and ships."""
    dense = copy.deepcopy(model)
    with masked(dense, mask):
        yield dense


@contextmanager
def as_fine_tuned(model: PreTrainedModel, examples: Examples) -> Iterator[PreTrainedModel]:
    """A copy of a model prepared as `fine_tune` prepares it for its steps."""
    own = copy.deepcopy(model)
    with ExitStack() as stack:
        stack.enter_context(compact_embeddings(own, examples))
        stack.enter_context(cheap_dropout(own))
        yield own


def training_run(model: PreTrainedModel, batches: list[dict[str, torch.Tensor]], precision: Precision) -> Run:
    """The steps that the Trainer makes: forward, backward, clip, update, zero the gradients; one per call."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.01, fused=True)
    endless = cycle(batches)

    def step() -> None:
        with autocast(precision, model.device):
            loss = model(**next(endless)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step

"""Run variants of a profile and judge them on the carved dev split, never on the validation split.

    python -m studies.dev_grid studies/importance.yaml [--part 1/2]

A study file names a base profile, settings to change in all of it, and variants that change some more.
Each variant runs its grid (or those `methods` of it that the study names); the rows go to
reports/studies/NAME.csv as they come, and a row that is already there is not computed again. Parts can
run side by side.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from datasets import DatasetDict

from sensibert.artifacts import ScoreFile
from sensibert.budgets import mask_for
from sensibert.encoding import encode
from sensibert.errors import explain
from sensibert.evaluation import predict, prediction_of
from sensibert.importance.scoring import score_task
from sensibert.metrics import compute_metrics
from sensibert.models.backbones import load_backbone, load_tokenizer
from sensibert.models.slim import slim
from sensibert.params import Cell, Params, parse_params
from sensibert.tasks import TASKS
from sensibert.tasks.prepare import prepare
from sensibert.training import fine_tune

COLUMNS = ("variant", "task", "method", "budget", "seed", "learning_rate", "dev")


def variant_params(study: dict[str, Any], variant: dict[str, Any]) -> Params:
    """The base profile with the study's and the variant's settings.

    Keys are dotted, and `*` stands for every section that has the key.
    """
    content = yaml.safe_load(Path(study["base"]).read_text(encoding="utf-8"))
    for key, value in {**study.get("set", {}), **variant}.items():
        *sections, last = key.split(".")
        chosen = [content]
        for name in sections:
            chosen = [below for section in chosen for below in _below(section, name)]
        for section in chosen:
            if "*" not in sections or last in section:
                section[last] = value
    return parse_params(content, name=study["base"])


def _below(section: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return list(section.values()) if name == "*" else [section.setdefault(name, {})]


_datasets: dict[tuple[str, str], DatasetDict] = {}
_scores: dict[tuple[str, int, str], ScoreFile] = {}


def _data_of(task: str, params: Params) -> DatasetDict:
    key = (task, params.data.model_dump_json())
    if key not in _datasets:
        _datasets[key], _ = prepare(TASKS[task], params.data)
    return _datasets[key]


def _scores_of(cell: Cell, params: Params) -> ScoreFile:
    # Only what shapes the pass stands in the key, so that variants of the mask share it.
    key = (cell.task, cell.seed, params.model_dump_json(include={"data", "model", "scoring", "training"}))
    if key not in _scores:
        train = _data_of(cell.task, params)["train"]
        settings = params.model, params.scoring, cell.seed, params.training.precision
        *_, _scores[key] = score_task(train, TASKS[cell.task], *settings)
    return _scores[key]


def dev_metric(cell: Cell, params: Params) -> float:
    """Train one cell as the pipeline does and give its primary metric on the dev split."""
    task, dataset = TASKS[cell.task], _data_of(cell.task, params)
    tokenizer = load_tokenizer(params.model.backbone)
    scores = _scores_of(cell, params) if cell.is_pruned else None
    model = load_backbone(params.model.backbone, task, cell.seed)
    if scores is not None:
        masking = params.masking
        options = masking.options(cell.method)
        model = slim(model, mask_for(scores, cell.method, cell.budget, masking.budget_kind, **options))
    with tempfile.TemporaryDirectory() as scratch:
        fine_tune(
            model,
            encode(dataset["train"], tokenizer, params.model.max_length),
            tokenizer,
            params.training,
            method="full" if cell.is_pruned else cell.method,
            options=params.settings_of(cell.method),
            budget=cell.budget,
            seed=cell.seed,
            checkpoints=Path(scratch),
        )
    logits = predict(model, encode(dataset["dev"], tokenizer, params.model.max_length), tokenizer)
    labels = np.asarray(dataset["dev"]["label"])
    return compute_metrics(task, prediction_of(task, logits), labels)[task.primary_metric]


def run(study_file: Path, part: int, parts: int) -> None:
    """Compute the rows of one part of a study that are not there yet."""
    study = yaml.safe_load(study_file.read_text(encoding="utf-8"))
    out = Path("reports/studies") / f"{study_file.stem}.csv"
    out.parent.mkdir(parents=True, exist_ok=True)
    if not out.exists():
        out.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    for number, (name, variant) in enumerate(study["variants"].items()):
        if number % parts != part:
            continue
        params = variant_params(study, variant)
        for cell in [cell for cell in params.cells() if cell.method in study.get("methods", [cell.method])]:
            row = [name, *map(str, cell), str(params.settings_of(cell.method).learning_rate)]
            with out.open(encoding="utf-8", newline="") as file:
                if row in [line[:-1] for line in csv.reader(file)]:
                    continue
            metric = dev_metric(cell, params)
            with out.open("a", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerow([*row, f"{metric:.2f}"])
            print(json.dumps(dict(zip(COLUMNS, [*row, metric], strict=True))), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--part", default="1/1", help="which part of how many, such as 1/2")
    chosen = parser.parse_args()
    number, of = map(int, chosen.part.split("/"))
    try:
        run(chosen.study, number - 1, of)
    except Exception as error:
        if (message := explain(error)) is None:
            raise
        sys.exit(f"error: {message}")

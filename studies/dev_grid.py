"""Run variants of a profile and judge them on the carved dev split, never on the validation split.

    python -m studies.dev_grid studies/importance.yaml [--part 1/2]

A study file names a base profile, settings to change in every variant, and variants that change some more. Each
variant runs its grid (or only the `methods` that the study names); each row goes to reports/studies/NAME.csv when it
is ready, and a row that is already there is not computed again. Parts can run in parallel.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from sensibert.config.grid import Cell
from sensibert.config.params import Params, parse_params
from sensibert.data.tasks import TASKS
from sensibert.errors import explain
from sensibert.experiment.dev_trials import DevTrials
from sensibert.models.subject import Subject
from sensibert.scoring.files import ScoreFile
from sensibert.scoring.scoring_pass import score_subject
from sensibert.sources.prepare import prepare

COLUMNS = ("variant", "task", "method", "budget", "seed", "learning_rate", "dev")


def variant_params(study: dict[str, Any], variant: dict[str, Any]) -> Params:
    """The base profile with the study's and the variant's settings.

    Keys are dotted, and `*` stands for every section that has the key.
    """
    content = yaml.safe_load(Path(study["base"]).read_text(encoding="utf-8"))
    # Copied, since a later key may change a part of an earlier value: the next variant shall not see it.
    for key, value in copy.deepcopy({**study.get("set", {}), **variant}).items():
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


_subjects: dict[tuple[str, str], Subject] = {}
_scores: dict[tuple[str, int, str], ScoreFile] = {}
_trials: dict[tuple[str, str], DevTrials] = {}


def _subject_of(task: str, params: Params) -> Subject:
    key = (task, params.model_dump_json(include={"data", "model"}))
    if key not in _subjects:
        dataset, _ = prepare(TASKS[task], params.data)
        _subjects[key] = Subject(TASKS[task], dataset, params.model)
    return _subjects[key]


def _scores_of(task: str, seed: int, params: Params) -> ScoreFile:
    # The key has only what shapes the pass, so that variants of the mask share it.
    key = (task, seed, params.model_dump_json(include={"data", "model", "scoring", "training"}))
    if key not in _scores:
        subject, precision = _subject_of(task, params), params.training.precision
        *_, _scores[key] = score_subject(subject, params.scoring, seed=seed, precision=precision)
    return _scores[key]


def dev_metric(cell: Cell, params: Params) -> float:
    """Train one cell as the pipeline does and give its primary metric on the dev split."""
    key = (cell.task, params.model_dump_json(include={"data", "model", "scoring"}))
    if key not in _trials:
        subject = _subject_of(cell.task, params)
        _trials[key] = DevTrials(subject, subject.train, lambda seed: _scores_of(cell.task, seed, params))
    return _trials[key].dev_metric(cell, params)


def run(study_file: Path, part: int, parts: int) -> None:
    """Compute the missing rows of one part of a study."""
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
            row = [name, *map(str, cell), str(params.tuning_of(cell.method).learning_rate)]
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

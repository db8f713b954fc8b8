"""Search batch size and learning rate of a tuning method; the best one, judged on the dev split, is evaluated.

A search that was killed resumes after its last finished trial; --no-resume starts over.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import asdict

from pipeline.stage import run
from sensibert.compute.hardware import best_device, make_deterministic
from sensibert.config.grid import SearchedCell
from sensibert.config.params import Params
from sensibert.config.paths import Paths
from sensibert.data.task_files import data_hash, load_task
from sensibert.data.tasks import TASKS
from sensibert.errors import ParamsError
from sensibert.evaluation.evaluate import evaluate
from sensibert.experiment.provenance import Timer, collect
from sensibert.experiment.search import Search
from sensibert.io import release_scratch, replacing, write_json
from sensibert.models.backbones import load_model
from sensibert.models.subject import Subject
from sensibert.results import best_first


def search(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write data/PROFILE/results/search-CELL."""
    cell = SearchedCell(arguments.task, arguments.method, arguments.seed)
    if cell not in (cells := params.searched_cells()):
        raise ParamsError(f"{cell.name} is no search of params.yaml, which has {', '.join(c.name for c in cells)}")
    subject = Subject(TASKS[cell.task], load_task(paths.raw(cell.task)), params.model)
    searched, scratch = (
        Search(subject, cell.method, params.tuning_of(cell.method), cell.seed),
        paths.search_scratch(cell),
    )
    with Timer() as timer:
        trials, best = searched.run(params.search, params.training, scratch, resume=arguments.resume)
    make_deterministic(cell.seed)
    model = load_model(best).to(best_device())  # type: ignore[arg-type]
    found = evaluate(model, subject.splits(subject.task.validation_splits), subject.tokenizer, subject.task)
    with replacing(paths.search(cell)) as folder:
        shutil.copytree(best, folder / "model")
        found.predictions.to_parquet(folder / "predictions.parquet", index=False)
        write_json(folder / "trials.json", [asdict(trial) for trial in trials])
        write_json(folder / "metrics.json", found.metrics | {"dev": best_first(trials)[0].dev[-1]})
    record = collect(timer, params.model_dump(mode="json"), data_hash(paths.raw(cell.task)))
    write_json(paths.provenance("search", cell.name), record)
    release_scratch(scratch)


if __name__ == "__main__":
    run(search, "task", "method", "seed", "resume")

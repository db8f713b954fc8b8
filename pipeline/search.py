"""Search batch size and learning rate of a tuning method; the best one, judged on the dev split, is evaluated.

A search that was killed goes on after its last finished trial; --no-resume starts over.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import asdict

from transformers import PreTrainedModel

from pipeline.stage import run
from sensibert.artifacts import Paths, replacing, write_json
from sensibert.encoding import encode
from sensibert.errors import ParamsError
from sensibert.evaluation import evaluate
from sensibert.hardware import best_device, make_deterministic
from sensibert.models.backbones import load_backbone, load_model, load_tokenizer
from sensibert.params import Params, SearchedCell
from sensibert.provenance import Timer, collect
from sensibert.results import best_first
from sensibert.search import Search
from sensibert.tasks import TASKS
from sensibert.tasks.prepare import data_hash, load_task


def search(arguments: argparse.Namespace, params: Params, paths: Paths) -> None:
    """Write data/PROFILE/results/search-CELL."""
    cell = SearchedCell(arguments.task, arguments.method, arguments.seed)
    if cell not in (cells := params.searched_cells()):
        raise ParamsError(f"{cell.name} is no search of params.yaml, which has {', '.join(c.name for c in cells)}")
    task, dataset = TASKS[cell.task], load_task(paths.raw(cell.task))
    tokenizer = load_tokenizer(params.model.backbone)
    train, dev = (encode(dataset[split], tokenizer, params.model.max_length) for split in ("train", "dev"))
    scratch = paths.search_scratch(cell)

    def new_model() -> PreTrainedModel:
        return load_backbone(params.model.backbone, task, cell.seed).to(best_device())  # type: ignore[arg-type]

    options = params.settings_of(cell.method)
    searched = Search(task, train, dev, tokenizer, new_model, cell.method, options, cell.seed)
    with Timer() as timer:
        trials, best = searched.run(params.search, params.training, scratch, resume=arguments.resume)
    make_deterministic(cell.seed)
    model = load_model(best).to(best_device())  # type: ignore[arg-type]
    metrics, predictions = evaluate(model, tokenizer, task, dataset, params.model.max_length)
    with replacing(paths.search(cell)) as folder:
        shutil.copytree(best, folder / "model")
        predictions.to_parquet(folder / "predictions.parquet", index=False)
        write_json(folder / "trials.json", [asdict(trial) for trial in trials])
        write_json(folder / "metrics.json", metrics | {"dev": best_first(trials)[0].dev[-1]})
    record = collect(timer, params.model_dump(mode="json"), data_hash(paths.raw(cell.task)))
    write_json(paths.provenance("search", cell.name), record)
    shutil.rmtree(scratch)


if __name__ == "__main__":
    run(search, "task", "method", "seed", "resume")

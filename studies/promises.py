"""Does `compress` keep its word? Slim models at 0.4x, and the smallest within a point, on several sets and seeds.

    python -m studies.promises [--only budget] [--sets "sst2 2500" ...] [--seeds 0 1 2]

The metrics are on validation rows that no choice sees. Each row goes to reports/studies/promises.csv when it is ready,
and a row that is already there is not computed again. `--summary` prints the table of docs/compress.md.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from sensibert.compress import Limits, Recipe, compress_model, compress_within
from sensibert.compress.flow import DEPLOYED
from sensibert.compress.limits import LimitsError
from sensibert.config.settings import DataParams, ModelParams
from sensibert.data.encoding import texts_of
from sensibert.data.tasks import TASKS
from sensibert.deploy.answers import load_answerer
from sensibert.evaluation.metrics import compute_metrics
from sensibert.sources.prepare import prepare

ROWS = Path("reports/studies/promises.csv")
SETS = ("docs_origin 600", "docs_origin 2500", "docs_match 2500", "sst2 2500", "mrpc 2500", "imdb 5000")
"""Task and training rows: eight classes, pairs, short texts, pairs, long texts."""
MODES = ("budget", "drop")
MAX_DROP = 1.0


@dataclass(frozen=True)
class Found:
    """What one run of `compress` came to, in percent and points on the validation rows."""

    set: str
    mode: str
    """`budget`: 0.4x; `drop`: the smallest that loses at most `MAX_DROP`."""
    seed: int
    budget: float | None
    """None if no budget kept within the limit."""
    dense: float | None
    small: float | None
    low: float | None
    """Lower end of the 95 % interval of what was lost."""
    high: float | None
    deployed: float | None
    """The metric of the INT8 file that was chosen."""
    rows: int
    """Validation rows."""


def run(name: str, mode: str, seed: int, folders: dict[str, Path]) -> Found:
    """One run of `compress`."""
    task_name, size = name.split()
    task = TASKS[task_name]
    source = {"source": "local", "directory": folders[task_name]} if task_name in folders else {"source": "pydocs"}
    dataset, audit = prepare(task, DataParams.model_validate({**source, "max_train": int(size)}))
    recipe = Recipe(model=ModelParams(backbone="minilm-l6"), budget=0.4, seed=seed)
    rows = len(dataset[task.validation_splits[0]])
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "small")
        if mode == "budget":
            evidence, deployed = compress_model(task, dataset, audit, recipe, out), None
        else:
            try:
                evidence = compress_within(task, dataset, audit, recipe, Limits(max_drop=MAX_DROP), out)
            except LimitsError as error:
                print(error)
                return Found(name, mode, seed, None, None, None, None, None, None, rows)
            held_out = dataset[task.validation_splits[0]]
            logits = load_answerer(out / DEPLOYED, int8=True).logits(texts_of(held_out))
            metrics = compute_metrics(task, logits.argmax(axis=1), pd.Series(held_out["label"]).to_numpy())
            deployed = metrics[task.primary_metric]
    drop, metric = evidence.drop, task.primary_metric
    assert drop is not None
    budget = evidence.recipe["budget"]
    return Found(
        name, mode, seed, budget, evidence.before.metrics[metric], evidence.after.metrics[metric],
        drop.low, drop.high, deployed, rows,
    )  # fmt: skip


def missing(chosen: argparse.Namespace) -> Iterator[tuple[str, str, int]]:
    """What is not among the rows yet."""
    done = pd.read_csv(ROWS) if ROWS.exists() else pd.DataFrame(columns=["set", "mode", "seed"])
    known = set(zip(done["set"], done["mode"], done["seed"], strict=True))
    for seed in chosen.seeds:
        for name in chosen.sets:
            for mode in chosen.only:
                if (name, mode, seed) not in known:
                    yield name, mode, seed


def summary() -> str:
    """Markdown tables of the rows: what 0.4x lost, and whether the limit was kept."""
    found = pd.read_csv(ROWS)
    found["lost"] = found["dense"] - found["deployed"].fillna(found["small"])
    lines = ["| data | runs | dense | 0.4x | lost |", "| --- | --- | --- | --- | --- |"]
    for name, of_set in found[found["mode"] == "budget"].groupby("set", sort=False):
        losses = ", ".join(f"{lost:.1f}" for lost in of_set["lost"])
        means = f"{of_set['dense'].mean():.1f} | {of_set['small'].mean():.1f}"
        lines.append(f"| {name} | {len(of_set)} | {means} | {of_set['lost'].mean():.1f} ({losses}) |")
    lines += [
        "",
        "| data | runs | nothing kept within | budgets | lost by the INT8 file |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, of_set in found[found["mode"] == "drop"].groupby("set", sort=False):
        chosen = of_set.dropna(subset=["budget"])
        budgets = ", ".join(f"{budget:g}x" for budget in chosen["budget"]) or "–"  # noqa: RUF001
        losses = ", ".join(f"{lost:.1f}" for lost in chosen["lost"]) or "–"  # noqa: RUF001
        lines.append(f"| {name} | {len(of_set)} | {len(of_set) - len(chosen)} | {budgets} | {losses} |")
    return "\n".join(lines)


def main() -> None:
    """Compute what is missing, or print the tables."""
    parser = argparse.ArgumentParser(description="does compress keep its word?")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--only", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--glue", type=Path, default=Path("../shared/glue"), help="folder with TASK/SPLIT.parquet")
    parser.add_argument("--imdb", type=Path, default=Path("../shared"), help="folder with imdb/SPLIT.parquet")
    parser.add_argument("--summary", action="store_true", help="print the tables of what is there")
    chosen = parser.parse_args()
    if chosen.summary:
        print(summary())
        return
    folders = {"sst2": chosen.glue, "mrpc": chosen.glue, "rte": chosen.glue, "imdb": chosen.imdb}
    for name, mode, seed in list(missing(chosen)):
        print(f"{name}, {mode}, seed {seed}", flush=True)
        row = asdict(run(name, mode, seed, folders))
        is_new = not ROWS.exists()
        with ROWS.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, row, lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow(row)


if __name__ == "__main__":
    main()

"""A small, learnable sst2, mrpc and stsb."""

from pathlib import Path

import numpy as np
import pandas as pd

TRAIN_ROWS, VALIDATION_ROWS = 80, 30

SUBJECTS = ("film", "story", "plot", "actor", "camera", "script", "music", "ending", "scene", "director")
PLACES = ("in the city", "at home", "on the stage", "by the river", "near the end", "from the start")
POSITIVE = ("bright", "moving", "clever", "warm", "graceful", "funny", "fresh", "gripping")
NEGATIVE = ("dull", "clumsy", "bland", "tired", "noisy", "stale", "hollow", "messy")
VERBS = ("meets", "follows", "ignores", "praises", "recalls", "copies", "answers", "avoids")


def _sentence(draw: np.random.Generator, adjectives: tuple[str, ...]) -> str:
    first, second = draw.choice(adjectives, 2, replace=False)
    subject, other = draw.choice(SUBJECTS, 2, replace=False)
    return f"the {first} {subject} {draw.choice(VERBS)} the {second} {other} {draw.choice(PLACES)}"


def _single(draw: np.random.Generator, label: int) -> tuple[str]:
    return (_sentence(draw, POSITIVE if label else NEGATIVE),)


def _pair(draw: np.random.Generator, shared: float) -> tuple[str, str]:
    """Two sentences, the second with about `shared` of the first one's words."""
    first = _sentence(draw, (*POSITIVE, *NEGATIVE)).split()
    other = _sentence(draw, (*POSITIVE, *NEGATIVE)).split()
    size = min(len(first), len(other))
    kept = draw.permutation(size) < round(shared * size)
    return " ".join(first), " ".join(first[i] if kept[i] else other[i] for i in range(size))


def _rows(task: str, count: int, draw: np.random.Generator) -> pd.DataFrame:
    texts: dict[tuple[str, ...], float] = {}
    while len(texts) < count:
        label = len(texts) % 2
        if task == "sst2":
            texts[_single(draw, label)] = label
        elif task == "mrpc":
            texts[_pair(draw, shared=0.9 if label else 0.1)] = label
        else:
            score = round(float(draw.uniform(0, 5)), 1)
            texts[_pair(draw, shared=score / 5)] = score
    columns = ["sentence"] if task == "sst2" else ["sentence1", "sentence2"]
    frame = pd.DataFrame(list(texts), columns=columns)
    return frame.assign(label=list(texts.values()), idx=range(count))


def _splits(task: str, number: int) -> dict[str, pd.DataFrame]:
    rows = _rows(task, TRAIN_ROWS + VALIDATION_ROWS, np.random.default_rng(number))
    return {"train": rows[:TRAIN_ROWS], "validation": rows[TRAIN_ROWS:].assign(idx=range(VALIDATION_ROWS))}


def write_tiny_glue(directory: Path) -> None:
    """Make what `data.source: local` reads; the same rows every time."""
    for number, task in enumerate(("sst2", "mrpc", "stsb")):
        (directory / task).mkdir(parents=True)
        for split, rows in _splits(task, number).items():
            rows.to_parquet(directory / task / f"{split}.parquet", index=False)


def write_release(directory: Path) -> None:
    """The same rows of sst2 and mrpc as the files that GLUE was published as: profiles/tiny-glue."""
    for number, (task, folder, names) in enumerate(
        [
            ("sst2", "SST-2", {"sentence": "sentence", "label": "label"}),
            ("mrpc", "MRPC", {"label": "Quality", "sentence1": "#1 String", "sentence2": "#2 String"}),
        ]
    ):
        (directory / folder).mkdir(parents=True, exist_ok=True)
        for split, file in (("train", "train.tsv"), ("validation", "dev.tsv")):
            rows = _splits(task, number)[split].rename(columns=names)[list(names.values())]
            rows.to_csv(directory / folder / file, sep="\t", index=False, lineterminator="\n")

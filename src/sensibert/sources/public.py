"""The public tasks: from the Hugging Face hub, from parquet files, or from the original GLUE and SuperGLUE folders.

Every reader returns the same: per split, frames with the task's columns as the source has them. `prepare` checks and
normalizes them. Files of the GLUE and SuperGLUE releases are read whole; the others, which may be large, in parts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sensibert.data.tables import IN_MEMORY, open_parquet
from sensibert.data.tasks import JsonlLayout, Task, TsvLayout
from sensibert.errors import DataError

HUB_REPOSITORIES = {"glue": "nyu-mll/glue", "superglue": "aps/super_glue", "imdb": "stanfordnlp/imdb"}
"""Where the hub keeps each collection; its tasks are configurations of the data set."""

_MRPC_PAIR_IDS = ("#1 ID", "#2 ID")


@dataclass(frozen=True)
class RawSplit:
    """One split as its source has it."""

    parts: Iterable[pd.DataFrame]
    """Its rows, some at a time: the task's `columns`; the index is the row number in the source, from 0."""
    wrong_field_count: int = 0
    """Lines of a TSV file that do not have as many fields as its header; not in `parts`."""


def read_hub(task: Task, revision: str) -> dict[str, RawSplit]:
    """Read a task from the Hugging Face hub (or from its local cache).

    Args:
        task: A task of a collection in `HUB_REPOSITORIES`.
        revision: Branch, tag or commit of the data set repository.

    Raises:
        DataError: the hub cannot be reached, or the data set lacks a split or a column.
    """
    from datasets import load_dataset

    repository = HUB_REPOSITORIES[task.source]
    place = f"{repository} ({task.name}, revision {revision})"
    # A data set with one task has one configuration, whatever its name.
    configuration = None if task.source == task.name else task.name
    try:
        dataset = load_dataset(repository, configuration, revision=revision)
    except (OSError, ValueError, RuntimeError) as error:  # what the hub client raises for no network, page or config
        raise DataError(
            f"the data set {place} could not be read from the Hugging Face hub: {error}. Without a connection, "
            f"set `data.source: local` and `data.directory` to a folder that holds {_expected_files(task)}"
        ) from error
    if missing := [split for split in _splits(task) if split not in dataset]:
        raise DataError(f"{place} has no split {', '.join(missing)}; it has {', '.join(dataset)}")
    for split in _splits(task):
        _require_columns(dataset[split].column_names, task.columns, place)
    used = {split: dataset[split].select_columns([*task.columns]) for split in _splits(task)}
    in_parts = {"batch_size": IN_MEMORY, "batched": True}
    return {split: RawSplit(_Numbered(partial(rows.to_pandas, **in_parts))) for split, rows in used.items()}


def read_local(task: Task, directory: Path) -> dict[str, RawSplit]:
    """Read a task from `directory/<task>/<split>.parquet`, or else from the original folder.

    The parquet files have the columns of the hub's data set. The original folder is the one of the GLUE
    release (`directory/SST-2/train.tsv`, `dev.tsv`, and so on) or of the SuperGLUE release
    (`directory/BoolQ/train.jsonl`, `val.jsonl`). Either may be in a folder of its collection: `directory/glue`.

    Raises:
        DataError: the folder or a file is missing, damaged, or lacks a column.
    """
    if not directory.is_dir():
        raise DataError(f"data.directory: there is no folder {directory}; expected one with {_expected_files(task)}")
    for place in (directory, directory / task.source):
        parquet = place / task.name
        if any(parquet.glob("*.parquet")):
            return {split: RawSplit(_read_parquet(parquet / f"{split}.parquet", task)) for split in _splits(task)}
        if task.release is not None and (place / task.release.folder).is_dir():
            return _read_release(task, place, task.release)
    raise DataError(
        f"{directory} does not hold the task {task.name}; expected {_expected_files(task)} in it or in "
        f"its folder {task.source}"
    )


def _splits(task: Task) -> tuple[str, ...]:
    return ("train", *task.validation_splits)


def _expected_files(task: Task) -> str:
    parquet = ", ".join(f"{task.name}/{split}.parquet" for split in _splits(task))
    if task.release is None:
        return parquet
    return f"{parquet} (or {', '.join(_release_file(task.release, split) for split in _splits(task))})"


def _release_file(layout: TsvLayout | JsonlLayout, split: str) -> str:
    validation, suffix = ("dev", "tsv") if isinstance(layout, TsvLayout) else ("val", "jsonl")
    return f"{layout.folder}/{split.replace('validation', validation)}.{suffix}"


def _select(rows: pd.DataFrame, task: Task, place: str) -> pd.DataFrame:
    """The columns of the task, rows numbered from 0."""
    _require_columns(rows.columns, task.columns, place)
    return rows[[*task.columns]].reset_index(drop=True)


@dataclass(frozen=True)
class _Numbered:
    """Frames whose rows are numbered from 0, from frame to frame; they are read anew each time."""

    read: Callable[[], Iterator[pd.DataFrame]]

    def __iter__(self) -> Iterator[pd.DataFrame]:
        first = 0
        for rows in self.read():
            yield rows.set_axis(range(first, first + len(rows)))
            first += len(rows)


def _read_parquet(path: Path, task: Task) -> _Numbered:
    """Look at a file, or at those of a folder, so that a missing one or a missing column shows before any is read."""
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    for file in files:
        try:
            columns = pq.read_schema(file).names
        except FileNotFoundError:
            raise DataError(f"{path} does not exist; the task {task.name} needs {_expected_files(task)}") from None
        except (OSError, ValueError) as error:  # pyarrow's errors are both
            raise _unreadable(file, error) from error
        refuse_twins(file, columns)
        _require_columns(columns, task.columns, str(file))
    return _Numbered(lambda: chain.from_iterable(_frames(file, task.columns) for file in files))


def _frames(path: Path, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    try:
        with open_parquet(path) as file:
            for batch in file.iter_batches(IN_MEMORY, columns=list(columns)):
                batch.validate(full=True)  # it may hold text that is not UTF-8, which pandas finds out too late
                # A column may be an index of pandas.
                yield pa.Table.from_batches([batch]).select(list(columns)).to_pandas(ignore_metadata=True)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} is not a readable parquet file: {error}")


def _read_release(task: Task, directory: Path, layout: TsvLayout | JsonlLayout) -> dict[str, RawSplit]:
    files = {split: directory / _release_file(layout, split) for split in _splits(task)}
    if isinstance(layout, JsonlLayout):
        return {split: RawSplit([_select(_read_jsonl(path), task, str(path))]) for split, path in files.items()}
    if task.name == "mrpc" and not files["train"].exists():
        splits = _read_mrpc_corpus(directory / layout.folder, layout)
    else:
        splits = {split: _read_tsv(path, layout) for split, path in files.items()}
    names = dict(zip((*layout.text_columns, layout.label_column), (*task.text_columns, "label"), strict=True))
    return {
        split: RawSplit([rows[[*names]].rename(columns=names)], wrong_field_count)
        for split, (rows, wrong_field_count) in splits.items()
    }


def _read_mrpc_corpus(folder: Path, layout: TsvLayout) -> dict[str, _TsvRows]:
    """Split the paraphrase corpus as GLUE does: the ID pairs in dev_ids.tsv are the validation split.

    The test file of the corpus is GLUE's test split, so it cannot replace the validation split.
    """
    rows, wrong_field_count = _read_tsv(folder / "msr_paraphrase_train.txt", layout, _MRPC_PAIR_IDS)
    ids = next((path for name in ("dev_ids.tsv", "mrpc_dev_ids.tsv") if (path := folder / name).exists()), None)
    if ids is None:
        raise DataError(f"{folder} has neither train.tsv and dev.tsv nor dev_ids.tsv, GLUE's list of validation pairs")
    listed = {tuple(fields[:2]) for fields in _read_fields(ids)}
    pairs = zip(*(rows[column] for column in _MRPC_PAIR_IDS), strict=True)
    in_validation = np.array([pair in listed for pair in pairs], dtype=bool)
    return {
        # The split of a broken line is unknown: it counts for train.
        "train": (rows[~in_validation], wrong_field_count),
        "validation": (rows[in_validation], 0),
    }


_TsvRows = tuple[pd.DataFrame, int]
"""The whole lines of a file under its own column names, and the number of others."""


def _read_tsv(path: Path, layout: TsvLayout, more_columns: tuple[str, ...] = ()) -> _TsvRows:
    """Read one file of the release."""
    lines = _read_fields(path)
    header = list(layout.header) if layout.header else (lines.pop(0) if lines else [])
    needed = (*layout.text_columns, layout.label_column, *more_columns)
    _require_columns(header, needed, str(path))
    whole = [number for number, fields in enumerate(lines) if len(fields) == len(header)]
    rows = pd.DataFrame([lines[number] for number in whole], index=whole, columns=header, dtype="str")
    return rows, len(lines) - len(whole)


def _read_fields(path: Path) -> list[list[str]]:
    # Not a csv reader: quotation marks are plain text in these files, and a field may have any length.
    # The paraphrase corpus begins with a byte order mark.
    return [line.split("\t") for line in _read_lines(path)]


def _read_jsonl(path: Path) -> pd.DataFrame:
    # As objects: a column of labels with a missing one keeps its true and false.
    return pd.DataFrame(json_records(path, _read_lines(path)), dtype="object")


def json_records(path: Path, lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file; empty lines are skipped.

    Args:
        path: For messages.
        lines: The lines of the file.

    Raises:
        DataError: a line holds something else; the message has its number.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line, object_pairs_hook=unlike_keys)
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, or deep nesting, too
            raise DataError(f"{path}, line {number} is not valid JSON: {error}") from None
        if not isinstance(record, dict):
            raise DataError(f"{path}, line {number} holds {line.strip()[:40]}; expected an object with the columns")
        yield record


def unlike_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of some pairs, for `json.loads`, which would take the last of two pairs of one key.

    Raises:
        ValueError: a key is there twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {max(names, key=names.count)!r} is there twice")
    return found


def refuse_twins(path: Path, columns: Sequence[str]) -> None:
    """Refuse two columns of one name: readers take one of them and say nothing.

    Args:
        path: For the message.
        columns: Their names.

    Raises:
        DataError: two are the same.
    """
    names = [str(name) for name in columns]
    if twins := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise DataError(f"{path} has more than one column {twins[0]!r}; allowed: names that differ")


def _read_lines(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            return [line.rstrip("\r\n") for line in file]
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}") from error


def _require_columns(found: Iterable[str], expected: Sequence[str], place: str) -> None:
    found = list(found)
    if missing := [column for column in expected if column not in found]:
        raise DataError(
            f"{place} has no column {', '.join(missing)}; expected {', '.join(expected)}, found {', '.join(found)}"
        )

"""A user's own data as a task: a table in a file, a folder, or a data set of the Hugging Face hub."""

from __future__ import annotations

import gzip
import json
import re
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import (
    BuilderConfig,
    ClassLabel,
    Dataset,
    DatasetBuilder,
    DatasetDict,
    Features,
    load_dataset,
    load_dataset_builder,
)
from datasets.exceptions import DatasetsError
from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES
from yaml import YAMLError

from sensibert.data.task_files import Audit
from sensibert.data.tasks import Task
from sensibert.errors import DataError
from sensibert.sources.prepare import Carving, normalize, prepare_splits
from sensibert.sources.public import RawSplit, json_records, refuse_twins, unlike_keys
from sensibert.sources.quotes import refuse_stray_quotes

MAX_CLASSES = 1000

_TEXTS = ("text", "text_pair")
_HUB_ID = re.compile(r"(?P<name>[^:@]+)(?::(?P<config>[^@]+))?(?:@(?P<revision>.+))?")
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
_WHOLE_FLOAT = re.compile(r"([+-]?\d+)\.0+")
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_LOADERS = frozenset(_PACKAGED_DATASETS_MODULES)
"""Names that `load_dataset` takes for a way to read files, such as csv."""
_SHOWN = 5
"""Labels or columns that a message lists."""


@dataclass(frozen=True)
class _Table:
    """One split as it was read."""

    place: str
    """For messages."""
    rows: pd.DataFrame
    """The index is the row number, from 0; classes that the source declares are a categorical column."""


def read_task(
    train: str,
    validation: str | None = None,
    *,
    text: str,
    label: str,
    text_pair: str | None = None,
    regression: bool | None = None,
    validation_fraction: float = 0.2,
    dev_fraction: float = 0.0,
    max_dev: int = 2000,
    max_train: int | None = None,
    seed: int = 0,
) -> tuple[Task, DatasetDict, Audit]:
    """Read a user's data and make a task of it.

    A place is a file (csv, tsv, jsonl or json, each also with .gz, or parquet), a folder that
    `datasets.load_dataset` understands, or a data set of the hub: `NAME`, `NAME:CONFIG`, `NAME@REVISION`
    or `NAME:CONFIG@REVISION`. Only an empty cell of a csv or tsv file is missing: `NA` and `null` are texts.

    The label is a real number if every label of train is one and any has a fractional part; else each
    different label is a class. The classes are in the order that the source declares (a `ClassLabel` or a
    categorical column), else in numerical or alphabetical order; a whole number loses its `.0`.

    Args:
        train: The place of the training rows; in a folder or data set, the split `train`.
        validation: The place of the rows for the final number; in a folder or data set, the split
            `validation`, else `test`, else `train`. Without it, the split `validation` or else `test`
            next to `train` if it has labels; else a part of train.
        text: Column of the text.
        label: Column of the label.
        text_pair: Column of the second text, for a task on pairs.
        regression: Whether the label is a real number; None decides as described above.
        validation_fraction: Part of train that becomes the validation split if there is none.
        dev_fraction: Part of train that is set aside for choices; 0 sets none aside.
        max_dev: Largest number of rows of the dev split.
        max_train: Training rows to keep (stratified); None keeps all.
        seed: Draws the carved splits and the training sample.

    Returns:
        The task, which is not in `TASKS`; its splits `train`, `dev` if wanted, and `validation`, as
        `prepare.prepare_splits` gives them; and the count of their rows.

    Raises:
        DataError: a place cannot be read, a column is missing or not of its kind, the labels make no task,
            or there are not enough rows for three splits.
    """
    columns = _Columns.checked(text, label, text_pair)
    tables = _read_splits(train, validation, label)
    for table in tables.values():
        _check_columns(table, columns.texts, label)
    if regression is None:
        regression = _is_quantity(tables["train"].rows[label])
    classes = () if regression else _classes(tables["train"], label)
    raw = {split: _raw_split(table, columns, classes, "train does not have") for split, table in tables.items()}
    task = _task(train, columns, classes)
    carving = Carving(dev_fraction, max_dev, max_train, seed, validation_fraction)
    source = task.source if Path(train).exists() else train
    return task, *prepare_splits(task, raw, source, carving)


def read_labelled(
    place: str, *, text: str, label: str, text_pair: str | None = None, classes: tuple[str, ...] = ()
) -> tuple[Task, Dataset, dict[str, int]]:
    """Read rows to judge a model by whose classes are known.

    Args:
        place: As for `read_task`; in a folder or data set, the split `test`, else `validation`, else `train`.
        text: Column of the text.
        label: Column of the label.
        text_pair: Column of the second text, for a model of pairs.
        classes: Those of the model, in the order of its logits; empty for a regression.

    Returns:
        The task, its usable rows, and how many were not usable, by reason.

    Raises:
        DataError: the place cannot be read, a column is missing or not of its kind, or a label is not a class.
    """
    columns = _Columns.checked(text, label, text_pair)
    table = _choose(_read(place), ("test", "validation", "train"), place)
    _check_columns(table, columns.texts, label)
    task = _task(place, columns, classes)
    return task, *normalize(task, _raw_split(table, columns, classes, "the model does not have"), "validation")


class _Columns(NamedTuple):
    """What the columns of a source are called."""

    texts: tuple[str, ...]
    label: str

    @classmethod
    def checked(cls, text: str, label: str, text_pair: str | None) -> _Columns:
        texts = (text,) if text_pair is None else (text, text_pair)
        named = (*texts, label)
        if repeated := sorted({column for column in named if named.count(column) > 1}):
            raise DataError(f"column {repeated[0]!r} is named twice: texts and label must be different columns")
        return cls(texts, label)


def _raw_split(table: _Table, columns: _Columns, classes: tuple[str, ...], which: str) -> RawSplit:
    labels = _given(table.rows[columns.label])
    if classes:
        labels = labels.map(_class_name)
        _check_classes(labels, classes, table.place, which)
    texts = {name: table.rows[column].astype("object") for name, column in zip(_TEXTS, columns.texts, strict=False)}
    return RawSplit([pd.DataFrame({**texts, "label": labels})])  # by index: the other rows have no label


def _task(place: str, columns: _Columns, classes: tuple[str, ...]) -> Task:
    return Task(_task_name(place), "files", tuple(_TEXTS[: len(columns.texts)]), classes, *_metrics(len(classes)))


def _metrics(classes: int) -> tuple[tuple[str, ...], str]:
    """The metrics of a task and the primary one."""
    if not classes:
        return ("pearson", "spearman"), "spearman"
    return ("accuracy", "f1" if classes == 2 else "macro_f1"), "accuracy"


def _task_name(place: str) -> str:
    """A name that can be used in file names."""
    name = Path(place).resolve().name if Path(place).exists() else place
    name = re.sub(rf"({'|'.join(map(re.escape, _READERS))})(\.gz)?$", "", name, flags=re.IGNORECASE)
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "task"


# Reading: a place -> tables


def _read_splits(train: str, validation: str | None, label: str) -> dict[str, _Table]:
    """The tables `train` and, unless it is to be carved, `validation`."""
    found = _read(train)
    tables = {"train": _choose(found, ("train",), train)}
    if validation is not None:
        tables["validation"] = _choose(_read(validation), ("validation", "test", "train"), validation)
        return tables
    labelled = [
        split
        for split in ("validation", "test")
        if split in found and label in found[split] and len(_given(found[split][label]))
    ]
    if labelled:
        tables["validation"] = _choose(found, labelled, train)
    return tables


def _choose(splits: Mapping[str, pd.DataFrame], wanted: Sequence[str], place: str) -> _Table:
    split = next((split for split in wanted if split in splits), None)
    if split is None:
        raise DataError(f"{place} has no split {' or '.join(wanted)}; it has {', '.join(splits)}")
    return _Table(place if len(splits) == 1 else f"{place} (split {split})", splits[split])


def _read(place: str) -> dict[str, pd.DataFrame]:
    """The splits of a place; a file is a single split `train`."""
    path = Path(place)
    format_ = _format(path)
    if path.is_file():
        if format_ not in _READERS:
            raise DataError(f"{place} has an unknown suffix; allowed: {_allowed_suffixes()}")
        rows = _read_file(path, _READERS[format_])
        if rows.empty:
            raise DataError(f"{place} is empty: it holds no rows")
        return {"train": rows}
    if format_ in _READERS and not path.is_dir():
        raise DataError(f"{place} does not exist")
    return _load_dataset(place)


def _format(path: Path) -> str:
    name = path.name.lower()
    inner = name.removesuffix(".gz")
    # Parquet compresses by itself: readers do not know file.parquet.gz.
    return Path(name if inner.endswith(".parquet") else inner).suffix


def _allowed_suffixes() -> str:
    return f"{', '.join(_READERS)} (those but .parquet also with .gz)"


def _read_file(path: Path, read: Callable[[Path], pd.DataFrame]) -> pd.DataFrame:
    try:
        rows = read(path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a readable gzip file: {error}") from error
    rows.columns = rows.columns.astype("str")
    refuse_twins(path, list(rows.columns))
    return rows


def _read_separated(path: Path, separator: str) -> pd.DataFrame:
    """Read a csv or tsv file; every cell is text, since pandas would take "NA" for missing and "007" for 7."""
    with _open_text(path) as file:
        refuse_stray_quotes(path, file, separator)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # cells beyond the header would be lost
        how: dict[str, Any] = {"sep": separator, "dtype": "str", "encoding": "utf-8-sig"}
        how |= {"keep_default_na": False, "index_col": False}
        try:
            # As a row of its own: pandas would call the second of two columns `text` `text.1`.
            header = pd.read_csv(path, header=None, nrows=1, na_values=[], **how)
            refuse_twins(path, [name for name in header.iloc[0] if name])
            return pd.read_csv(path, na_values=[""], **how)
        except pd.errors.EmptyDataError:
            raise DataError(f"{path} is empty") from None
        except pd.errors.ParserWarning:
            raise DataError(f"{path}: its rows have more cells than its first line names columns") from None
        except pd.errors.ParserError as error:
            raise DataError(f"{path} cannot be read: {str(error).strip()}") from error


def _read_json(path: Path) -> pd.DataFrame:
    """Read objects, one in each line, or a file that is one list of objects."""
    with _open_text(path) as file:
        start = file.read(100).lstrip()[:1]
        file.seek(0)
        records = list(_read_list(path, file) if start == "[" else json_records(path, file))
    # As objects: next to a missing number, pandas would turn whole ones into real ones.
    return pd.DataFrame(records, dtype="object")


def _open_text(path: Path) -> TextIO:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")


def _read_list(path: Path, file: TextIO) -> list[dict[str, Any]]:
    try:
        records = json.load(file, object_pairs_hook=unlike_keys)
    except UnicodeDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}") from error
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise DataError(f"{path}: entry {number} of its list is no object with the columns")
    return records


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        refuse_twins(path, pq.read_schema(path).names)
        table = pq.read_table(path)
        table.validate(full=True)  # texts that are not UTF-8 would show wherever they are first used
        # The wanted column may be an index of pandas, and a whole number next to a missing one would become a real one.
        rows = table.to_pandas(ignore_metadata=True, integer_object_nulls=True)
        declares = b"huggingface" in (table.schema.metadata or {})
        return _with_class_names(rows, Features.from_arrow_schema(table.schema)) if declares else rows
    except (OSError, ValueError, TypeError, AttributeError, KeyError, pa.ArrowException) as error:  # bad metadata too
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path} is not a readable parquet file: {reason}") from error


def _with_class_names(rows: pd.DataFrame, features: Features) -> pd.DataFrame:
    """Replace class ids by the names that a data set declares; -1 means no label and becomes missing."""
    named = {
        column: pd.Categorical.from_codes(rows[column].fillna(-1).astype("int64"), feature.names)
        for column, feature in features.items()
        if isinstance(feature, ClassLabel)
    }
    return rows.assign(**named)


def _load_dataset(place: str) -> dict[str, pd.DataFrame]:
    name, config, revision = place, None, None
    if not Path(place).is_dir() and (parts := _HUB_ID.fullmatch(place)):
        name, config, revision = parts["name"], parts["config"], parts["revision"]
    if not name or (name in _LOADERS and not Path(name).is_dir()):  # load_dataset would take all files around
        raise DataError(f"{place!r} names no data: there is no such file or folder")
    try:
        if Path(name).is_dir() and (tables := _tables_in(load_dataset_builder(name, config))) is not None:
            return tables
        splits = load_dataset(name, config, revision=revision)
    except (OSError, ValueError, RuntimeError, DatasetsError, YAMLError) as error:
        if Path(name).is_dir():
            hint = "" if config else "; to choose one of its configurations, write FOLDER:CONFIGURATION"
            raise DataError(f"the folder {place} could not be read as a data set: {error}{hint}") from error
        details = f" (configuration {config or 'default'}, revision {revision or 'main'})"
        raise DataError(
            f"there is no file or folder {place}, and no data set {name}{details} could be read from the Hugging Face "
            f"hub: {error}. A file ends in {_allowed_suffixes()}"
        ) from error
    return {str(split): _with_class_names(rows.to_pandas(), rows.features) for split, rows in splits.items()}


def _tables_in(builder: DatasetBuilder) -> dict[str, pd.DataFrame] | None:
    """The splits of a folder of tables, read like single files; None if it holds others or says how to read them.

    The readers of `datasets` drop texts such as "NA" and take a label "007" for a number.
    """
    splits = {str(split): [Path(file) for file in files] for split, files in (builder.config.data_files or {}).items()}
    files = [file for found in splits.values() for file in found]
    if not files or any(_format(file) not in _READERS or not file.is_file() for file in files):
        return None
    if _own_options(builder.config, {_SEPARATORS.get(_format(file), ",") for file in files}):
        return None
    return {split: _declared(_stacked(found), builder.info.features, found[0]) for split, found in splits.items()}


def _own_options(config: BuilderConfig, separators: set[str]) -> bool:
    """Whether a folder says by itself how its files are to be read."""
    plain = type(config)()
    about = {"name", "version", "data_dir", "data_files", "description", "features"}
    changed = {field.name for field in fields(config) if getattr(config, field.name) != getattr(plain, field.name)}
    if {getattr(config, "sep", ",")} == separators:  # what the suffix says
        about |= {"sep"}
    return bool(changed - about)


def _stacked(files: Sequence[Path]) -> pd.DataFrame:
    """The files of one split, one below the other."""
    tables = [_read_file(file, _READERS[_format(file)]) for file in files]
    for rows, file in zip(tables, files, strict=True):
        if list(rows.columns) != list(tables[0].columns):
            raise DataError(f"{file} has other columns than {files[0]}; the files of a split must have the same ones")
    return tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)


def _declared(rows: pd.DataFrame, features: Features | None, file: Path) -> pd.DataFrame:
    """Rows with the classes that a folder declares for its columns; they may stand there as names or as ids."""
    classes = {
        column: feature
        for column, feature in (features or {}).items()
        if isinstance(feature, ClassLabel) and not isinstance(rows.get(column, pd.Series()).dtype, pd.CategoricalDtype)
    }
    if absent := [column for column in classes if column not in rows]:
        raise DataError(f"{file} has no column {absent[0]!r}, for which its folder declares classes")
    ids = {column: _ids(rows[column], feature, file) for column, feature in classes.items()}
    return _with_class_names(rows.assign(**ids), Features(classes))


def _ids(labels: pd.Series, feature: ClassLabel, file: Path) -> pd.Series:
    given = _given(labels).map(_class_name)
    try:
        return given.map(feature.str2int).reindex(labels.index)
    except ValueError as error:
        known = ", ".join(feature.names[:20])
        raise DataError(f"{file}: column {labels.name!r}: {error}; its folder declares {known}") from None


_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": lambda path: _read_separated(path, _SEPARATORS[".csv"]),
    ".tsv": lambda path: _read_separated(path, _SEPARATORS[".tsv"]),
    ".jsonl": _read_json,
    ".json": _read_json,
    ".parquet": _read_parquet,
}


# Checking columns


def _check_columns(table: _Table, texts: Sequence[str], label: str) -> None:
    """Check that the columns exist and hold texts and labels."""
    rows = table.rows
    if absent := [column for column in (*texts, label) if column not in rows]:
        raise DataError(
            f"{table.place} has no column {', '.join(map(repr, absent))}; it has {', '.join(map(repr, rows.columns))}"
        )
    for column in texts:
        if problem := _no_texts(rows[column]):
            others = [repr(name) for name in rows.columns if name not in (*texts, label) and not _no_texts(rows[name])]
            advice = f"; other columns with texts: {', '.join(others)}" if others else ""
            raise DataError(f"{table.place}: column {column!r} {problem}; expected texts{advice}")
    labels = _given(rows[label])
    if labels.empty:
        raise DataError(f"{table.place}: column {label!r} holds no label in any of its {len(rows):,} rows")
    several = labels[labels.map(pd.api.types.is_list_like)]
    if len(several):
        found = f"{several.iloc[0]!r} in row {several.index[0]}"
        raise DataError(f"{table.place}: column {label!r} holds {found}; expected one label per row")


def _no_texts(values: pd.Series) -> str | None:
    """What is wrong with a column that should hold texts."""
    values = values.dropna()
    wrong = values[~values.map(lambda value: isinstance(value, str)).astype("bool")]
    if len(wrong):
        return f"holds {wrong.iloc[0]!r} in row {wrong.index[0]}"
    if values.empty:
        return "is empty in every row"
    if _numbers(values) is not None:
        return f"holds numbers alone, such as {values.iloc[0]!r}"
    return None


def _given(labels: pd.Series) -> pd.Series:
    """The labels that are not missing, as objects."""
    return labels[labels.notna() & (labels.astype("str").str.strip() != "")].astype("object")


def _numbers(values: pd.Series) -> pd.Series | None:
    """The values as real numbers; None if any is not finite."""
    try:
        numbers = pd.to_numeric(values.astype("str")).astype("float64")
    except (ValueError, OverflowError):  # not a number, or a whole one with hundreds of digits
        return None
    return numbers if np.isfinite(numbers).all() else None


# Labels


def _is_quantity(labels: pd.Series) -> bool:
    """Whether all labels are numbers and any has a fractional part."""
    if isinstance(labels.dtype, pd.CategoricalDtype):
        return False
    numbers = _numbers(_given(labels))
    return numbers is not None and bool((numbers % 1 != 0).any())


def _classes(table: _Table, label: str) -> tuple[str, ...]:
    """The names of the classes that occur, in the order of their ids."""
    names = _given(table.rows[label]).map(_class_name)
    found = set(names)
    if len(found) == 1:
        raise DataError(f"{table.place}: column {label!r} has the single label {found.pop()!r}; expected at least two")
    if len(found) > min(MAX_CLASSES, max(2, len(names) / 2)):
        raise DataError(
            f"{table.place}: column {label!r} has {len(found):,} different labels in {len(names):,} rows; allowed are "
            f"{MAX_CLASSES:,} classes and one for every two rows. If the label is a quantity, ask for regression; "
            "if not, name another label column"
        )
    declared = table.rows[label].dtype
    if isinstance(declared, pd.CategoricalDtype):
        return tuple(dict.fromkeys(name for name in map(_class_name, declared.categories) if name in found))
    if all(map(_NUMBER.fullmatch, found)):
        return tuple(sorted(found, key=lambda name: (float(name), name)))
    return tuple(sorted(found))


def _class_name(label: Any) -> str:
    name = str(label).strip()
    whole = _WHOLE_FLOAT.fullmatch(name)
    return whole[1] if whole else name


def _check_classes(names: pd.Series, classes: tuple[str, ...], place: str, which: str) -> None:
    if unknown := sorted(set(names) - set(classes)):
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        known = f"{', '.join(classes[:20])}{', ...' if len(classes) > 20 else ''}"
        raise DataError(
            f"{place} has labels that {which}: {', '.join(map(repr, unknown[:_SHOWN]))}{more}; the classes are {known}"
        )

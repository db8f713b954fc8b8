"""From any source to one normalized data set.

The splits are `train` and `dev` (both from the source's train split) and the official validation
splits, or one carved from train where the source has none; `dev` is for choices, validation for the
final number alone. The columns are `text`, `text_pair` (tasks with two texts), `label` and `idx`, the
row number in the source's split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from sensibert.config.settings import DataParams
from sensibert.data.tables import gather
from sensibert.data.task_files import Audit, SplitAudit, as_dataset
from sensibert.data.tasks import Task
from sensibert.errors import DataError
from sensibert.sources.phrases import is_whole, is_within
from sensibert.sources.public import RawSplit, read_hub, read_local

_REGRESSION_STRATA = 10
_AUDIT_BINS = 10
_ANY_NUMBER = (float(np.finfo("float32").min), float(np.finfo("float32").max))
"""Labels are trained on in 32 bits: a larger one would be infinite."""


@dataclass(frozen=True)
class Carving:
    """How the training rows are divided."""

    dev_fraction: float = 0.1
    """Part of train that is set aside for choices; 0 sets none aside."""
    max_dev: int = 2000
    max_train: int | None = None
    """Training rows to keep; None keeps all."""
    seed: int = 0
    validation_fraction: float = 0.2
    """Part of train that becomes a validation split which the source does not have."""

    def __post_init__(self) -> None:
        for name in ("dev_fraction", "validation_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise DataError(f"{name}: {getattr(self, name)} is not allowed; expected a part between 0 and 1")
        for name in ("max_dev", "max_train"):
            if (size := getattr(self, name)) is not None and size < 1:
                raise DataError(f"{name}: {size} is not allowed; expected at least 1 row")


def prepare(task: Task, data: DataParams) -> tuple[DatasetDict, Audit]:
    """Read, check and normalize a task of the table, as `prepare_splits` says.

    Args:
        task: A row of the task table.
        data: Source, sizes, and the seed that draws the splits.

    Returns:
        The splits, and the count of their rows.

    Raises:
        DataError: the source cannot be read, has an unknown label, or leaves a split without rows or
            with a single class.
    """
    carving = Carving(data.dev_fraction, data.max_dev, data.max_train, data.seed)
    return prepare_splits(task, _read(task, data), data.source, carving)


def prepare_splits(task: Task, raw: Mapping[str, RawSplit], source: str, carving: Carving) -> tuple[DatasetDict, Audit]:
    """Check and normalize the splits of a source.

    Dropped and counted: rows with a missing text or label, lines with a wrong number of fields, and
    training rows whose texts are also in a validation split. A validation split that the source does not
    have is carved from train. The dev split is carved from what is left. Training rows with a text of a
    carved split are dropped too. Texts are compared regardless of case, white space and the order of a pair.
    Where the task trains on phrases of sentences, carved splits have whole sentences, and none of their phrases stays.
    Neither a carved split nor the order in which training rows are sampled depends on `max_train`, so a
    larger sample holds the smaller one.

    Args:
        task: What the columns and labels mean.
        raw: `train`, and those of `task.validation_splits` that exist.
        source: Where they come from, for the audit.
        carving: Sizes of the splits, and the seed that draws them.

    Returns:
        The splits `train`, `dev` if it is wanted, and `task.validation_splits`, and the count of their rows.
        `label` is a `ClassLabel`, or float64 for regression.

    Raises:
        DataError: the source has an unknown label, or leaves a split without rows or with a single class.
    """
    tables, dropped = {}, {}
    for split, part in raw.items():
        tables[split], dropped[split] = _clean(part, task, split)
    rows = {split: _decisive(table) for split, table in tables.items()}
    training_splits = ("train", "dev") if carving.dev_fraction else ("train",)
    splits = (*training_splits, *task.validation_splits)

    for split in [split for split in task.validation_splits if split not in raw]:
        _require_variety(rows["train"], "train", f"dropped: {dropped['train'] or 'none'}")
        size = round(carving.validation_fraction * len(rows["train"]))
        rows["train"], rows[split], carved = _set_aside(rows["train"], split, size, task, carving.seed)
        dropped["train"] |= carved
        _require_variety(rows[split], split, f"validation_fraction: {carving.validation_fraction}; dropped: {carved}")

    held_out = pd.concat([rows[split]["key"] for split in task.validation_splits])
    leaked = rows["train"]["key"].isin(held_out)
    rows["train"] = rows["train"][~leaked]
    dropped["train"] |= _positive({"also_in_validation": int(leaked.sum())})
    for split in raw:
        _require_variety(rows[split], split, f"dropped: {dropped[split] or 'none'}")

    size = min(carving.max_dev, round(carving.dev_fraction * len(rows["train"])))
    rest, rows["dev"], carved = _set_aside(rows["train"], "dev", size, task, carving.seed)
    rows["train"] = rest.iloc[: carving.max_train].sort_index()
    carved |= _positive({"beyond_max_train": len(rest) - len(rows["train"])})
    dropped["train"] |= carved
    for split in training_splits:
        settings = f"max_train: {carving.max_train}, dev_fraction: {carving.dev_fraction}; dropped: {carved}"
        _require_variety(rows[split], split, settings)

    audits = {split: _audit(rows[split], dropped.get(split, {}), task) for split in splits}
    dataset = {split: _chosen(tables.get(split, tables["train"]), rows[split].index, task) for split in splits}
    return DatasetDict(dataset), Audit(task.name, source, audits)


def normalize(task: Task, raw: RawSplit, split: str) -> tuple[Dataset, dict[str, int]]:
    """The usable rows of one split by itself, in their order, and how many were not usable, by reason.

    Raises:
        DataError: a label is unknown, or no row is usable.
    """
    table, dropped = _clean(raw, task, split)
    if not len(table):
        raise DataError(f"split {split} has no usable row (dropped: {dropped})")
    return _chosen(table, pd.RangeIndex(len(table)), task), dropped


def _read(task: Task, data: DataParams) -> dict[str, RawSplit]:
    if data.source == "hub":
        return read_hub(task, data.revision)
    if data.source == "local":
        assert data.directory is not None  # DataParams checks it
        return read_local(task, data.directory)
    from sensibert.sources import pydocs

    return {split: RawSplit([rows]) for split, rows in pydocs.read(task.name).items()}


def _clean(raw: RawSplit, task: Task, split: str) -> tuple[pa.Table, dict[str, int]]:
    """The usable rows under the normalized column names with their `key`, and how many were not usable, by reason."""
    dropped = Counter(wrong_field_count=raw.wrong_field_count)
    key = pa.field("key", pa.string() if task.trains_on_phrases else pa.uint64())
    schema = _features(task).arrow_schema.append(key)

    def clean_parts() -> Iterator[pa.RecordBatch]:
        for part in raw.parts:
            rows, reasons = _clean_part(part, task, split)
            dropped.update(reasons)
            yield from pa.Table.from_pandas(rows, schema, preserve_index=False).to_batches()

    table = gather(clean_parts(), schema)
    return table, _positive(dropped)


def _clean_part(rows: pd.DataFrame, task: Task, split: str) -> tuple[pd.DataFrame, dict[str, int]]:
    texts = dict(zip(task.text_columns, ("text", "text_pair"), strict=False))
    prefix = task.prefix_column
    rows = rows.rename(columns=texts)
    # A column of few different texts may be one of categories, which pandas treats otherwise.
    rows = rows.astype(dict.fromkeys([*texts.values(), *([prefix] if prefix else [])], "object"))
    without_text = pd.Series(False, index=rows.index)
    for original, column in (texts if prefix is None else texts | {prefix: prefix}).items():
        _require_text(rows[column], original, split)
        without_text |= rows[column].isna() | (rows[column].str.strip() == "")
    without_label = rows["label"].isna() | (rows["label"].astype("str").str.strip() == "")
    kept = rows[~without_text & ~without_label]
    kept = kept.assign(label=_normalize_labels(kept["label"], task, split), idx=kept.index)
    if prefix is not None:
        kept = kept.assign(**{column: kept[prefix] + " : " + kept[column] for column in texts.values()})
    reasons = {
        "missing_text": int(without_text.sum()),
        "missing_label": int((without_label & ~without_text).sum()),
    }
    kept = kept[[*texts.values(), "label", "idx"]].astype(dict.fromkeys(texts.values(), "str"))
    keys = _keys(kept)
    return kept.assign(key=keys if task.trains_on_phrases else pd.util.hash_pandas_object(keys, index=False)), reasons


def _decisive(table: pa.Table) -> pd.DataFrame:
    """Of the rows of a table, by their places in it, what decides about their splits.

    Keys are hashes of 64 bits unless phrases are looked for in them. That one training row of ten million is dropped
    since it has the hash of one of a million held-out ones by chance is less likely than one in a million.
    """
    return table.select(["label", "key"]).to_pandas()


def _chosen(table: pa.Table, places: pd.Index, task: Task) -> Dataset:
    """The rows at some places of a table, in its order."""
    rows, is_chosen = table.select(list(_features(task))), np.zeros(len(table), dtype=bool)
    is_chosen[places] = True

    def batches() -> Iterator[pa.RecordBatch]:
        first = 0
        for batch in rows.to_batches():
            yield batch.filter(pa.array(is_chosen[first : first + len(batch)]))
            first += len(batch)

    return as_dataset(gather(batches(), rows.schema))


def _require_text(values: pd.Series, column: str, split: str) -> None:
    wrong = values[values.notna() & ~values.map(lambda value: isinstance(value, str))]
    if len(wrong):
        raise DataError(
            f"row {wrong.index[0]} of split {split} has {wrong.tolist()[0]!r} in column {column}; expected a text"
        )
    for row, text in values.dropna().items():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"row {row} of split {split} has half a character in column {column}: {text[:40]!r} holds a surrogate, "
                "which is no text in UTF-8"
            ) from None


def _normalize_labels(labels: pd.Series, task: Task, split: str) -> pd.Series:
    """Class ids (a class may be given by its name or its id), or real numbers."""
    if task.is_regression:
        low, high = task.label_range or _ANY_NUMBER
        normalized = pd.to_numeric(labels, errors="coerce").astype("float64")
        normalized = normalized.where(normalized.between(low, high))
        allowed = f"numbers from {low} to {high}" if task.label_range else "finite numbers"
    else:
        names = {name: number for number, name in enumerate(task.label_names)}
        ids = {str(number): number for number in range(len(task.label_names))} | names
        # Ids are whole floats if another label of the column is missing.
        known = {
            value: names.get(str(value), ids.get(str(value).strip().removesuffix(".0"))) for value in labels.unique()
        }
        normalized = labels.map(known).astype("float64")
        allowed = f"{', '.join(task.label_names)} or their ids from 0"
    unknown = labels[normalized.isna()]
    if len(unknown):
        raise DataError(
            f"unknown label {unknown.tolist()[0]!r} in row {unknown.index[0]} of split {split} of task {task.name} "
            f"({len(unknown)} such rows up to row {labels.index[-1]}); allowed: {allowed}"
        )
    return normalized if task.is_regression else normalized.astype("int64")


def _require_variety(rows: pd.DataFrame, split: str, why: str) -> None:
    if rows.empty:
        raise DataError(f"split {split} has no usable row ({why})")
    if rows["label"].nunique() < 2:
        raise DataError(f"split {split} has rows of a single label only ({why}); expected at least two")


def _keys(rows: pd.DataFrame) -> pd.Series:
    """A key that rows with the same text or texts share, in either order of a pair."""
    first = _plain(rows["text"])
    if "text_pair" not in rows:
        return first
    second = _plain(rows["text_pair"])
    swap = first > second
    return first.where(~swap, second) + "\t" + second.where(~swap, first)


def _plain(texts: pd.Series) -> pd.Series:
    # Text by text: the words of all of them at once would take ten times the memory of the texts.
    return texts.map(lambda text: " ".join(text.casefold().split()))


def _set_aside(
    rows: pd.DataFrame, split: str, size: int, task: Task, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, int]]:
    """Draw the rows of another split; returns the rest in stratified order, the drawn rows, and counts by reason."""
    shuffled = rows.iloc[stratified_order(_strata(rows["label"], task), seed)]
    drawn = (shuffled[is_whole(shuffled["key"])] if task.trains_on_phrases else shuffled).iloc[:size]
    rest = shuffled.drop(drawn.index)
    apart, counts = _without(rest, drawn, split, task)
    return apart, drawn.sort_index(), counts


def _without(rest: pd.DataFrame, drawn: pd.DataFrame, split: str, task: Task) -> tuple[pd.DataFrame, dict[str, int]]:
    """The rows that share no text with those of another split, which were drawn from them; and counts by reason."""
    apart = rest[~(is_within if task.trains_on_phrases else pd.Series.isin)(rest["key"], drawn["key"])]
    return apart, _positive({f"set_aside_for_{split}": len(drawn), f"also_in_{split}": len(rest) - len(apart)})


def set_aside(
    dataset: DatasetDict, audit: Audit, task: Task, split: str, fraction: float, most: int, seed: int
) -> tuple[DatasetDict, Audit]:
    """Make some training texts a split of their own, of every class alike, each once; none of them stays in training.

    Args:
        dataset: Normalized splits.
        audit: What became of their rows so far.
        task: Says what the labels are.
        split: The name of the new split.
        fraction: Of the different texts, those that it gets.
        most: Its largest number of rows.
        seed: Of the draw.
    """
    train = dataset["train"]
    rows = train.to_pandas()
    rows = rows.assign(key=_keys(rows))
    different = rows.drop_duplicates("key")
    size = min(most, round(fraction * len(different)))
    _, drawn, _ = _set_aside(different, split, size, task, seed)
    rest, counts = _without(rows.drop(drawn.index), drawn, split, task)
    before = audit.splits["train"]
    own = {
        "train": replace(_audit(rest, {**before.dropped, **counts}, task), read=before.read),
        split: _audit(drawn, {}, task),
    }
    parts = {"train": train.select(sorted(rest.index)), split: train.select(sorted(drawn.index))}
    return DatasetDict({**dataset, **parts}), Audit(audit.task, audit.source, {**audit.splits, **own})


def _strata(labels: pd.Series, task: Task) -> np.ndarray:
    if not task.is_regression:
        return labels.to_numpy()
    return pd.qcut(labels, _REGRESSION_STRATA, labels=False, duplicates="drop").to_numpy()


def stratified_order(strata: np.ndarray, seed: int) -> np.ndarray:
    """Shuffle so that every prefix holds the strata in proportion.

    Each stratum is shuffled and spread evenly over the whole length. Prefixes are nested by construction,
    unlike the results of repeated calls of a stratified sampler (scikit-learn's).

    Args:
        strata: Stratum of each row [rows].
        seed: Seed of the shuffle.

    Returns:
        Row positions in the new order [rows].
    """
    shuffled = np.random.default_rng(seed).permutation(len(strata))
    stratum = pd.Series(strata[shuffled])
    members = stratum.groupby(stratum)
    place = (members.cumcount() + 0.5) / members.transform("size")
    return shuffled[np.argsort(place.to_numpy(), kind="stable")]


def _audit(rows: pd.DataFrame, dropped: dict[str, int], task: Task) -> SplitAudit:
    return SplitAudit(len(rows) + sum(dropped.values()), len(rows), dropped, _label_counts(rows["label"], task))


def _label_counts(labels: pd.Series, task: Task) -> dict[str, int]:
    if task.is_regression and task.label_range is None:
        bins = pd.cut(labels, _AUDIT_BINS).value_counts(sort=False)
        return _positive({str(interval): int(count) for interval, count in bins.items()})
    values, counts = np.unique(labels.round().astype("int64"), return_counts=True)
    names = [task.label_names[value] if task.label_names else str(value) for value in values]
    return dict(zip(names, counts.tolist(), strict=True))


def _features(task: Task) -> Features:
    texts = {column: Value("string") for column in ("text", "text_pair")[: len(task.text_columns)]}
    label = Value("float64") if task.is_regression else ClassLabel(names=list(task.label_names))
    return Features({**texts, "label": label, "idx": Value("int64")})


def _positive(counts: dict[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in counts.items() if count}

"""The table of tasks: columns, labels and metrics of each. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TsvLayout:
    """How the original GLUE release keeps a task: tab-separated, unquoted, UTF-8."""

    folder: str
    text_columns: tuple[str, ...]
    """The file's names of the task's text columns, in the same order."""
    label_column: str = "label"
    header: tuple[str, ...] | None = None
    """Names of the columns where the file has no header line."""


@dataclass(frozen=True)
class Task:
    """One GLUE-shaped task: a row of the table, or what `files.read_task` makes of a user's data."""

    name: str
    source: Literal["glue", "pydocs", "files"]
    text_columns: tuple[str, ...]
    """One column, or two for a pair of texts; normalized to `text` and `text_pair`."""
    label_names: tuple[str, ...]
    """The classes in the order of their ids; empty where the label is a real number."""
    metrics: tuple[str, ...]
    primary_metric: str
    """The metric the tables show."""
    label_range: tuple[float, float] | None = None
    """Smallest and largest label of a regression task; None allows any number."""
    validation_splits: tuple[str, ...] = ("validation",)
    """The first gives the final number; MNLI's second is its mismatched genres."""
    tsv: TsvLayout | None = None
    """The original files; None for a task that is not of GLUE."""

    @property
    def is_regression(self) -> bool:
        """Whether the label is a real number."""
        return not self.label_names

    @property
    def is_pair(self) -> bool:
        """Whether an example holds two texts."""
        return len(self.text_columns) == 2


_ENTAILMENT = ("entailment", "not_entailment")
_ACCURACY = ("accuracy",)
_ACCURACY_AND_F1 = ("accuracy", "f1")

_GLUE = (
    Task(
        "cola",
        "glue",
        ("sentence",),
        ("unacceptable", "acceptable"),
        ("matthews_correlation",),
        "matthews_correlation",
        tsv=TsvLayout("CoLA", ("sentence",), header=("source", "label", "mark", "sentence")),
    ),
    Task(
        "sst2",
        "glue",
        ("sentence",),
        ("negative", "positive"),
        _ACCURACY,
        "accuracy",
        tsv=TsvLayout("SST-2", ("sentence",)),
    ),
    Task(
        "mrpc",
        "glue",
        ("sentence1", "sentence2"),
        ("not_equivalent", "equivalent"),
        _ACCURACY_AND_F1,
        "f1",
        tsv=TsvLayout("MRPC", ("#1 String", "#2 String"), "Quality"),
    ),
    Task(
        "qqp",
        "glue",
        ("question1", "question2"),
        ("not_duplicate", "duplicate"),
        _ACCURACY_AND_F1,
        "accuracy",
        tsv=TsvLayout("QQP", ("question1", "question2"), "is_duplicate"),
    ),
    Task(
        "stsb",
        "glue",
        ("sentence1", "sentence2"),
        (),
        ("pearson", "spearman"),
        "spearman",
        label_range=(0.0, 5.0),
        tsv=TsvLayout("STS-B", ("sentence1", "sentence2"), "score"),
    ),
    Task(
        "mnli",
        "glue",
        ("premise", "hypothesis"),
        ("entailment", "neutral", "contradiction"),
        _ACCURACY,
        "accuracy",
        validation_splits=("validation_matched", "validation_mismatched"),
        tsv=TsvLayout("MNLI", ("sentence1", "sentence2"), "gold_label"),
    ),
    Task(
        "qnli",
        "glue",
        ("question", "sentence"),
        _ENTAILMENT,
        _ACCURACY,
        "accuracy",
        tsv=TsvLayout("QNLI", ("question", "sentence")),
    ),
    Task(
        "rte",
        "glue",
        ("sentence1", "sentence2"),
        _ENTAILMENT,
        _ACCURACY,
        "accuracy",
        tsv=TsvLayout("RTE", ("sentence1", "sentence2")),
    ),
    Task(
        "wnli",
        "glue",
        ("sentence1", "sentence2"),
        ("not_entailment", "entailment"),
        _ACCURACY,
        "accuracy",
        tsv=TsvLayout("WNLI", ("sentence1", "sentence2")),
    ),
)

_PYDOCS = (
    Task(
        "docs_origin",
        "pydocs",
        ("sentence",),
        ("matplotlib", "mlflow", "pandas", "scikit-learn", "scipy", "sqlalchemy", "torch", "transformers"),
        _ACCURACY,
        "accuracy",
    ),
    Task("docs_match", "pydocs", ("sentence", "function"), ("other", "described"), _ACCURACY, "accuracy"),
)

TASKS: dict[str, Task] = {task.name: task for task in (*_GLUE, *_PYDOCS)}

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
class JsonlLayout:
    """How the original SuperGLUE release keeps a task: one JSON object per line, with the hub's column names."""

    folder: str


@dataclass(frozen=True)
class Task:
    """One GLUE-shaped task: a row of the table, or what `files.read_task` makes of a user's data."""

    name: str
    source: Literal["glue", "superglue", "imdb", "pydocs", "files"]
    """The collection that the task belongs to; a data set of its own has the task's name."""
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
    trains_on_phrases: bool = False
    """Whether the training rows are sentences and phrases of them, and the validation rows sentences alone."""
    prefix_column: str | None = None
    """A column that goes in front of each text: `prefix : text`."""
    release: TsvLayout | JsonlLayout | None = None
    """The files as the task's authors published them, if they can be read."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read from a source."""
        prefix = () if self.prefix_column is None else (self.prefix_column,)
        return (*self.text_columns, *prefix, "label")

    @property
    def is_regression(self) -> bool:
        """Whether the label is a real number."""
        return not self.label_names

    @property
    def is_pair(self) -> bool:
        """Whether an example holds two texts."""
        return len(self.text_columns) == 2

    def classes_in(self, other: Task) -> list[int]:
        """For each class, the class of another task with the same name or, where the names differ, the same number."""
        if set(self.label_names) != set(other.label_names):
            return list(range(len(self.label_names)))
        return [other.label_names.index(name) for name in self.label_names]


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
        release=TsvLayout("CoLA", ("sentence",), header=("source", "label", "mark", "sentence")),
    ),
    Task(
        "sst2",
        "glue",
        ("sentence",),
        ("negative", "positive"),
        _ACCURACY,
        "accuracy",
        trains_on_phrases=True,
        release=TsvLayout("SST-2", ("sentence",)),
    ),
    Task(
        "mrpc",
        "glue",
        ("sentence1", "sentence2"),
        ("not_equivalent", "equivalent"),
        _ACCURACY_AND_F1,
        "f1",
        release=TsvLayout("MRPC", ("#1 String", "#2 String"), "Quality"),
    ),
    Task(
        "qqp",
        "glue",
        ("question1", "question2"),
        ("not_duplicate", "duplicate"),
        _ACCURACY_AND_F1,
        "accuracy",
        release=TsvLayout("QQP", ("question1", "question2"), "is_duplicate"),
    ),
    Task(
        "stsb",
        "glue",
        ("sentence1", "sentence2"),
        (),
        ("pearson", "spearman"),
        "spearman",
        label_range=(0.0, 5.0),
        release=TsvLayout("STS-B", ("sentence1", "sentence2"), "score"),
    ),
    Task(
        "mnli",
        "glue",
        ("premise", "hypothesis"),
        ("entailment", "neutral", "contradiction"),
        _ACCURACY,
        "accuracy",
        validation_splits=("validation_matched", "validation_mismatched"),
        release=TsvLayout("MNLI", ("sentence1", "sentence2"), "gold_label"),
    ),
    Task(
        "qnli",
        "glue",
        ("question", "sentence"),
        _ENTAILMENT,
        _ACCURACY,
        "accuracy",
        release=TsvLayout("QNLI", ("question", "sentence")),
    ),
    Task(
        "rte",
        "glue",
        ("sentence1", "sentence2"),
        _ENTAILMENT,
        _ACCURACY,
        "accuracy",
        release=TsvLayout("RTE", ("sentence1", "sentence2")),
    ),
    Task(
        "wnli",
        "glue",
        ("sentence1", "sentence2"),
        ("not_entailment", "entailment"),
        _ACCURACY,
        "accuracy",
        release=TsvLayout("WNLI", ("sentence1", "sentence2")),
    ),
)

_TRUTH = ("False", "True")
"""These classes as the hub's data set names them; the values of the release, false and true, are read as these."""

# Wang et al., "SuperGLUE", NeurIPS 2019, with its metrics. The primary one of CB is accuracy: macro F1 depends on
# the few neutral examples among the 56 of the validation split.
_SUPERGLUE = (
    Task(
        "boolq",
        "superglue",
        ("question", "passage"),
        _TRUTH,
        _ACCURACY,
        "accuracy",
        release=JsonlLayout("BoolQ"),
    ),
    Task(
        "cb",
        "superglue",
        ("premise", "hypothesis"),
        ("entailment", "contradiction", "neutral"),
        ("accuracy", "macro_f1"),
        "accuracy",
        release=JsonlLayout("CB"),
    ),
    # Does the word mean the same in both sentences? It is put in front of each, as in tasksource (Sileo,
    # arXiv 2301.05948). In front of the first one only, where SuperGLUE's toolkit jiant puts it, a pair and its
    # swapped copy would be different texts. The places of the word (start1, end1, start2, end2) are not used.
    Task(
        "wic",
        "superglue",
        ("sentence1", "sentence2"),
        _TRUTH,
        _ACCURACY,
        "accuracy",
        prefix_column="word",
        release=JsonlLayout("WiC"),
    ),
)

# Maas et al., "Learning Word Vectors for Sentiment Analysis", ACL 2011. There is no third labelled split: the
# official test split gives the final number. The reviews keep the `<br />` that the data set has in most of
# them, since published numbers come from such texts; each is four tokens of BERT.
_IMDB = Task("imdb", "imdb", ("text",), ("neg", "pos"), _ACCURACY, "accuracy", validation_splits=("test",))

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

TASKS: dict[str, Task] = {task.name: task for task in (*_GLUE, *_SUPERGLUE, _IMDB, *_PYDOCS)}

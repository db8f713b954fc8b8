import subprocess
import sys

import pytest

from sensibert.data.tasks import TASKS, JsonlLayout, TsvLayout
from sensibert.sources.public import HUB_REPOSITORIES

GLUE = ["cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli"]
SUPERGLUE = ["boolq", "cb", "wic"]


def test_the_table_holds_the_nine_glue_tasks_with_their_official_metrics():
    assert [name for name, task in TASKS.items() if task.source == "glue"] == GLUE
    metrics = {name: TASKS[name].metrics for name in GLUE}
    assert metrics["cola"] == ("matthews_correlation",)
    assert metrics["stsb"] == ("pearson", "spearman")
    assert metrics["mrpc"] == metrics["qqp"] == ("accuracy", "f1")
    assert {metrics[name] for name in ("sst2", "mnli", "qnli", "rte", "wnli")} == {("accuracy",)}


def test_the_table_holds_superglue_s_classification_tasks_with_their_official_metrics():
    assert [name for name, task in TASKS.items() if task.source == "superglue"] == SUPERGLUE
    assert TASKS["cb"].metrics == ("accuracy", "macro_f1")
    assert TASKS["boolq"].metrics == TASKS["wic"].metrics == ("accuracy",)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_each_row_of_the_table_is_consistent(task):
    assert task.primary_metric in task.metrics
    assert len(task.text_columns) in (1, 2)
    assert task.is_regression == (task.label_range is not None)
    assert task.is_pair == (len(task.text_columns) == 2)
    assert (task.source in HUB_REPOSITORIES) == (task.source != "pydocs")
    assert isinstance(task.release, TsvLayout) == (task.source == "glue")
    assert isinstance(task.release, JsonlLayout) == (task.source == "superglue")
    if isinstance(task.release, TsvLayout):
        assert len(task.release.text_columns) == len(task.text_columns)


def test_the_table_is_light():
    heavy = ("numpy", "pandas", "torch", "datasets")
    code = f"import sys, sensibert.data.tasks; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("task", "other", "expected"), [("sst2", "imdb", [0, 1]), ("mnli", "cb", [0, 2, 1]), ("qnli", "rte", [0, 1])]
)
def test_a_class_of_another_task_is_the_one_of_its_name_or_else_of_its_number(task, other, expected):
    assert TASKS[task].classes_in(TASKS[other]) == expected

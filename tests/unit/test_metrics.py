import evaluate
import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from sensibert.data.tasks import TASKS, Task
from sensibert.errors import DataError
from sensibert.evaluation.metrics import METRICS, TaskMetric, compute_metrics

REFERENCE = {
    "accuracy": lambda p, r: sk.accuracy_score(r, p),
    "f1": lambda p, r: sk.f1_score(r, p, pos_label=1, average="binary"),
    "macro_f1": lambda p, r: np.mean(sk.f1_score(r, p, average=None)),
    "matthews_correlation": lambda p, r: sk.matthews_corrcoef(r, p),
    "pearson": lambda p, r: stats.pearsonr(r, p).statistic,
    "spearman": lambda p, r: stats.spearmanr(r, p).statistic,
}


MANY = Task("own", "files", ("text",), ("a", "b", "c", "d"), ("accuracy", "macro_f1"), "accuracy")
ONE_OF_EACH = list({task.metrics: task for task in (*TASKS.values(), MANY)}.values())
"""One task for each choice of metrics; the others differ in nothing that a metric sees."""


def draw(task, seed, size=200):
    rng = np.random.default_rng(seed)
    if task.is_regression:
        labels = rng.uniform(0, 5, size)
        return labels + rng.normal(0, 2, size), labels
    labels = rng.integers(len(task.label_names), size=size)
    noise = rng.integers(len(task.label_names), size=size)
    return np.where(rng.random(size) < 0.6, labels, noise), labels


def test_every_metric_exists_and_is_used():
    assert {metric for task in (*TASKS.values(), MANY) for metric in task.metrics} == set(METRICS)


@pytest.mark.parametrize("task", ONE_OF_EACH, ids=lambda task: task.name)
def test_the_metrics_agree_with_scikit_learn_and_scipy(task):
    predictions, labels = draw(task, seed=0)
    expected = {metric: REFERENCE[metric](predictions, labels) for metric in task.metrics}
    fractions = TaskMetric(task, keep_in_memory=True).compute(predictions=predictions, references=labels)
    assert fractions == pytest.approx(expected, abs=1e-12)
    percent = compute_metrics(task, predictions, labels)
    assert list(percent) == list(task.metrics)
    assert percent == pytest.approx({metric: 100 * value for metric, value in expected.items()}, abs=1e-10)
    assert all(type(value) is float for value in percent.values())


def test_it_is_a_metric_of_evaluate(tmp_path):
    metric = TaskMetric(TASKS["mrpc"], cache_dir=str(tmp_path))
    assert isinstance(metric, evaluate.Metric)
    for predictions, references in (([0, 1], [0, 1]), ([1, 1], [0, 1])):
        metric.add_batch(predictions=predictions, references=references)
    assert metric.compute() == {"accuracy": 0.75, "f1": pytest.approx(0.8)}


def test_metrics_of_known_predictions():
    predictions, labels = np.array([1, 1, 0, 0, 1]), np.array([1, 0, 0, 1, 1])
    assert compute_metrics(TASKS["sst2"], predictions, labels) == {"accuracy": pytest.approx(60)}
    assert compute_metrics(TASKS["qqp"], predictions, labels)["f1"] == pytest.approx(200 / 3)
    assert compute_metrics(TASKS["cola"], predictions, labels) == {"matthews_correlation": pytest.approx(100 / 6)}
    scores = np.array([0.0, 1.0, 2.0, 3.0])
    assert compute_metrics(TASKS["stsb"], scores**3, scores)["spearman"] == pytest.approx(100)
    assert compute_metrics(TASKS["stsb"], -scores, scores) == {
        "pearson": pytest.approx(-100),
        "spearman": pytest.approx(-100),
    }


def test_predictions_outside_the_label_range_are_left_as_they_are():
    labels = np.array([1.0, 2.0, 3.0, 5.0])
    predictions = np.array([-4.0, 2.0, 3.0, 9.0])
    expected = 100 * stats.pearsonr(predictions, labels).statistic
    assert compute_metrics(TASKS["stsb"], predictions, labels)["pearson"] == pytest.approx(expected)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("task", ONE_OF_EACH, ids=lambda task: task.name)
def test_constant_predictions_give_finite_numbers(task):
    for size in (1, 2, 50):
        _, labels = draw(task, 0, size)
        values = compute_metrics(task, np.zeros_like(labels), labels)
        assert np.isfinite(list(values.values())).all()
        for metric in {"matthews_correlation", "pearson", "spearman", "f1"} & values.keys():
            assert values[metric] == 0.0


@pytest.mark.filterwarnings("error")
def test_constant_labels_give_finite_numbers():
    assert compute_metrics(TASKS["stsb"], np.array([1.0, 2.0]), np.array([3.0, 3.0])) == {"pearson": 0, "spearman": 0}
    assert compute_metrics(TASKS["mrpc"], np.zeros(3, int), np.zeros(3, int)) == {"accuracy": 100, "f1": 0}


def test_predictions_that_are_no_numbers_are_refused():
    with pytest.raises(DataError, match="task stsb: a prediction is not a finite number"):
        compute_metrics(TASKS["stsb"], np.array([1.0, np.nan]), np.array([1.0, 2.0]))


@pytest.mark.parametrize("shapes", [((3,), (2,)), ((2, 2), (2, 2)), ((0,), (0,))])
def test_shapes_that_do_not_fit_are_refused(shapes):
    with pytest.raises(DataError, match="expected one value per example"):
        compute_metrics(TASKS["sst2"], *(np.zeros(shape, int) for shape in shapes))


@pytest.mark.filterwarnings("error")
def test_macro_f1_weighs_the_classes_alike():
    labels = np.array([0, 0, 0, 0, 1, 2])
    # F1 of the classes: 8/9 (precision 4/5, recall 1), 0 (never predicted), 1; class 3 does not occur.
    metrics = compute_metrics(MANY, np.array([0, 0, 0, 0, 0, 2]), labels)
    assert metrics == {"accuracy": pytest.approx(500 / 6), "macro_f1": pytest.approx(100 * (8 / 9 + 0 + 1) / 3)}


def test_a_task_that_takes_the_name_of_a_glue_task_keeps_its_own_metrics():
    own = Task("cola", "files", ("text",), (), ("pearson", "spearman"), "spearman")
    numbers = np.array([0.25, 0.5, -3.0])
    assert compute_metrics(own, numbers, numbers) == {"pearson": pytest.approx(100), "spearman": pytest.approx(100)}

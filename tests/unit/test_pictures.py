"""Pictures: nothing is cut off or on top of another, no two series look alike, and each comes from its csv file."""

from itertools import combinations, pairwise, product

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PathCollection
from matplotlib.text import Text

from sensibert.config.methods import METHODS, names
from sensibert.report.curves import curve_figure
from sensibert.report.deployment import DEPLOYED, DEPLOYED_COLUMNS, deployed_figure, deployed_table, write_deployed
from sensibert.report.dots import dot_figure
from sensibert.report.figures import Picture, draw_picture, look, write_picture
from sensibert.report.heat_maps import KEPT_COLUMNS, KEPT_DIMENSIONS, PAIR_COLUMNS, STABILITY
from sensibert.report.labels import TIMES
from sensibert.report.names import spaced
from sensibert.report.pictures import PICTURES, draw_again
from sensibert.report.plots import BUDGET_CURVE, CURVE_COLUMNS, budget_figure
from sensibert.report.rates import RATE_COLUMNS, RATES
from sensibert.results import Deployed

PRUNING, DENSE = names("criterion", "control", "procedure"), names("tuning")


def curve_of(tasks, pruning, budgets, tuning=("full",), seeds=(0, 1)):
    points = [*((name, 1.0) for name in tuning), *product(pruning, budgets)]
    draw = np.random.default_rng(0)
    rows = [
        (task, *point, seed, "accuracy", 70 + 20 * draw.random())
        for task in tasks
        for point in points
        for seed in seeds
    ]
    return pd.DataFrame(rows, columns=list(CURVE_COLUMNS))


def kept_of(methods, budgets, layers):
    groups = ("attention", "feed_forward")
    rows = [("docs_origin", *row, 0.5) for row in product(methods, budgets, range(layers), groups)]
    return pd.DataFrame(rows, columns=list(KEPT_COLUMNS))


def deployed_of(models):
    runtimes = [("torch", 10.0, 90_000_000), ("onnx", 5.0, 90_000_000), ("onnx-int8", 2.0, 23_000_000)]
    rows = [
        ("sst2", *model, runtime, "accuracy", 80.0, np.nan, 1, latency, size)
        for model in models
        for runtime, latency, size in runtimes
    ]
    return pd.DataFrame(rows, columns=list(DEPLOYED_COLUMNS))


LONGEST = max(METHODS, key=lambda name: len(METHODS[name].title))
PAIRS = [("docs_origin", name, *runs, 0.5) for name in ("mask", "fisher", "random") for runs in product("01", "01")]
TRIED = [("docs_origin", LONGEST, 1.0, rate, "accuracy", 80.0, 1.0, 2, rate == 2e-4) for rate in (1e-4, 2e-4, 4e-4)]

SHAPES = {
    "one method": (BUDGET_CURVE, curve_of(["sst2"], ["sensitivity"], [0.4], tuning=(), seeds=(0,))),
    "three tasks": (BUDGET_CURVE, curve_of(["sst2", "rte", "docs_origin"], PRUNING[:5], [0.4], DENSE[:3])),
    "25 curves": (BUDGET_CURVE, curve_of(["sst2"], PRUNING[:16], [0.4, 0.2], DENSE)),
    "two layers": (KEPT_DIMENSIONS, kept_of(["sensitivity"], [0.4], 2)),
    "24 layers": (KEPT_DIMENSIONS, kept_of(["random_in_shapes", "own_pass_mask"], [0.4, 0.2], 24)),
    "two passes": (STABILITY, pd.DataFrame(PAIRS, columns=list(PAIR_COLUMNS))),
    "a long name": (RATES, pd.DataFrame(TRIED, columns=list(RATE_COLUMNS))),
    "11 deployed models": (DEPLOYED, deployed_of([("full", 1.0), *product(PRUNING[:5], [0.2, 0.4])])),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_is_cut_off(shape, tmp_path):
    picture, table = SHAPES[shape]
    write_picture(picture, table, tmp_path)
    pixels = matplotlib.image.imread(tmp_path / f"{picture.name}.png")[..., :3]
    frame = np.ones(pixels.shape[:2], dtype=bool)
    frame[8:-8, 8:-8] = False
    assert (pixels[frame] == 1).all(), "the margin around everything that is drawn is white"
    assert pixels.shape[1] < 2400, "a page wide, or wrapped"


def boxes(figure, texts):
    figure.draw_without_rendering()
    return [Text.get_window_extent(text) for text in texts if text.get_text()]  # of an annotation: without its line


@pytest.mark.parametrize("budgets", [[0.4], [0.4, 0.2]])
def test_no_name_is_on_top_of_another(budgets):
    figure = budget_figure(curve_of(["sst2"], PRUNING, budgets, DENSE))
    for panel in figure.axes:
        found = boxes(figure, [*panel.get_yticklabels(), *panel.texts])
        assert not any(one.overlaps(other) for one, other in combinations(found, 2))


def test_among_twenty_five_series_no_two_look_alike():
    assert len({look(place) for place in range(49)}) == 49
    assert len({look(place).colour for place in range(7)}) == 7
    figure = curve_figure(curve_of(["sst2"], PRUNING[:16], [0.4, 0.2], DENSE))
    series = [line for line in figure.axes[0].lines if line.get_marker() not in ("None", "_", "|", "")]
    looks = {(line.get_color(), line.get_marker()) for line in series}
    assert len(looks) == len(series) == 25


def test_one_budget_is_sorted_dots_and_several_are_curves():
    dots, curves = (budget_figure(curve_of(["sst2"], ["sensitivity", "random"], some)) for some in ([0.4], [0.4, 0.2]))
    assert dots.axes[0].get_xlabel() == curves.axes[0].get_ylabel() == "Accuracy (%)"


def test_the_best_method_stands_on_top_with_its_interval():
    rows = [("full", 1.0, (90.0, 92.0)), ("random", 0.4, (70.0, 72.0)), ("sensitivity", 0.4, (85.0, 89.0))]
    cells = [("sst2", *point, seed, "accuracy", both[seed]) for *point, both in rows for seed in (0, 1)]
    panel = dot_figure(pd.DataFrame(cells, columns=list(CURVE_COLUMNS))).axes[0]
    shown = [label.get_text() for label in panel.get_yticklabels()]
    assert shown == ["dense, full", f"sensitivity 0.4{TIMES}", f"random 0.4{TIMES}"]
    top, bottom = sorted(panel.get_ylim())
    assert panel.get_ylim() == (bottom, top), "the first row is the upper one"
    assert intervals(panel)[1] == pytest.approx([87 - 8**0.5, 87 + 8**0.5])


def intervals(panel):
    """Row -> from where to where."""
    bars = [bar for dots in panel.containers for bar in dots.lines[2]]
    segments = [segment for bar in bars for segment in bar.get_segments() if segment.size]
    return {int(segment[0, 1]): segment[:, 0].tolist() for segment in segments}


def test_the_dense_model_stands_at_its_budget_and_as_a_line():
    panel = curve_figure(curve_of(["sst2"], ["sensitivity"], [0.4, 0.2])).axes[0]
    mean = curve_of(["sst2"], ["sensitivity"], [0.4, 0.2]).query("method == 'full'")["value"].mean()
    across, dot = [line for line in panel.lines if list(line.get_ydata()) in ([mean], [mean, mean])]
    assert across.get_xdata() == [0, 1]
    assert dot.get_xdata()[0] == pytest.approx(1.0, abs=0.02)


def test_one_seed_has_no_interval():
    figure = budget_figure(curve_of(["sst2"], ["sensitivity"], [0.4], seeds=(0,)))
    assert intervals(figure.axes[0]) == {}
    assert figure.get_suptitle() == "Metric after fine-tuning, one seed"


def test_a_wide_heat_map_wraps():
    narrow, wide = (KEPT_DIMENSIONS.draw(kept_of(["sensitivity"], [0.4], layers)) for layers in (6, 24))
    (left, right), (upper, lower) = ([panel.get_subplotspec() for panel in figure.axes] for figure in (narrow, wide))
    assert (left.colspan.start, right.colspan.start, right.rowspan.start) == (0, 1, 0)
    assert (upper.rowspan.start, lower.rowspan.start, lower.colspan.start) == (0, 1, 0)


DEPLOYMENT = [
    Deployed("sst2", "full", 1.0, seed, runtime, size, {"accuracy": 90.0 + seed, "f1": 1.0}, {"1": seconds, "32": 1.0})
    for seed in (0, 1)
    for runtime, size, seconds in (("torch", 90_000_000, 0.012), ("onnx-int8", 22_500_000, 0.003))
]


def test_deployed_models_are_marks_whose_areas_are_the_sizes_of_their_files(tmp_path):
    table = deployed_table(DEPLOYMENT)
    assert tuple(table.columns) == DEPLOYED_COLUMNS
    assert table[["runtime", "metric", "mean", "n", "latency_ms", "file_bytes"]].values.tolist() == [
        ["torch", "accuracy", 90.5, 2, 12.0, 90_000_000],
        ["onnx-int8", "accuracy", 90.5, 2, 3.0, 22_500_000],
    ]
    panel = deployed_figure(table).axes[0]
    fast, slow = (mark.get_sizes()[0] for mark in panel.collections if isinstance(mark, PathCollection))
    assert slow / fast == pytest.approx(4 / (np.pi / 4)), "a square of the same number is larger than a circle"
    assert [text.get_text() for text in panel.texts] == ["22 MB", "90 MB", "dense, full"]

    write_deployed(DEPLOYMENT, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"deployed.csv", "deployed.svg", "deployed.png"}
    write_deployed([], tmp_path)
    assert not list(tmp_path.iterdir())


def test_every_picture_comes_from_its_csv_file_alone_and_has_the_same_bytes_again(tmp_path):
    assert len({picture.name for picture in PICTURES}) == len({picture.table for picture in PICTURES}) == 5
    for shape in ("one method", "two layers", "two passes"):
        write_picture(*SHAPES[shape], tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for path in [path for path in before if path.suffix != ".csv"]:
        path.unlink()
    assert draw_again(tmp_path) == [BUDGET_CURVE, KEPT_DIMENSIONS, STABILITY]
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_failed_picture_leaves_the_old_one_alone(tmp_path):
    def fails(table):
        raise ValueError("no ink")

    (tmp_path / "old.csv").write_text("a\n1\n")
    (tmp_path / "old.svg").write_text("old")
    with pytest.raises(ValueError, match="no ink"):
        draw_picture(Picture("old", "old", fails), tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"old.csv": "a\n1\n", "old.svg": "old"}


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8).map(sorted))
def test_names_stay_in_order_apart_and_within_bounds(heights):
    free = spaced(heights, gap=10, lowest=0, highest=100)
    assert all(after - before >= 10 - 1e-9 for before, after in pairwise(free))
    assert free[0] >= 0
    assert free[-1] <= 100 + 1e-9


def test_names_that_do_not_overlap_do_not_move():
    assert spaced([0.0, 30.0, 60.0], 10, 0, 100) == [0.0, 30.0, 60.0]
    assert spaced([50.0, 54.0], 10, 0, 100) == [47.0, 57.0]
    assert spaced([0.0, 4.0], 10, 0, 100) == [0.0, 10.0], "not below the panel"
    assert spaced([], 10, 0, 100) == []

"""What stands on the page of a compressed model, and how drawings and tables are made."""

import math
import re
import tomllib
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pages import alternative, answers, evidence, history, mask, result, scores
from sensibert.io import write_record
from sensibert.models.mask import write_mask
from sensibert.report.card import warning
from sensibert.report.evidence import Drop
from sensibert.report.labels import MINUS, NOTHING, TIMES
from sensibert.report.page import model
from sensibert.report.page.answers import MOST_CLASSES, confusion
from sensibert.report.page.answers import answers as answer_blocks
from sensibert.report.page.charts import Dot, Line, front, lines, scatter
from sensibert.report.page.render import rendered
from sensibert.report.page.svg import Axis, axis, ticks
from sensibert.report.page.words import flat, metric_name, public, signed
from sensibert.scoring.files import write_scores

ROOT = Path(__file__).parents[2]
NO_BREAK = "\N{NO-BREAK SPACE}"


def page_of(found, predictions=None, histories=None, scored=True):
    histories = {"dense": history(), "slim": history()} if histories is None else histories
    predictions = answers(len(found.task["labels"])) if predictions is None else predictions
    return model.model_page(found, mask(), predictions, histories, scores() if scored else None)


class Texts(HTMLParser):
    """The texts of a page, and its elements."""

    def __init__(self, html):
        super().__init__()
        self.texts, self.tags = [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data.strip())


def titles(page):
    return [section.key for section in page.sections]


# ── the headline ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("drop", "cost"),
    [
        (Drop(1.25, 0.5, 2.0), f" at a cost of 1.2 points of accuracy (95{NO_BREAK}% interval 0.5 to 2.0)."),
        (Drop(-0.5, -2.0, 1.0), f" and gained 0.5 points of accuracy (95{NO_BREAK}% interval {MINUS}1.0 to 2.0)."),
        (Drop(math.nan, math.nan, math.nan), "; what that costs in accuracy cannot be told."),
        (None, f"; it reaches 80.0{NO_BREAK}% accuracy."),
    ],
)
def test_the_headline_says_how_small_how_fast_and_at_what_cost(drop, cost):
    assert model.headline(evidence(drop=drop)) == f"tiny-bert became 2.5{TIMES} smaller and 2.5{TIMES} faster{cost}"


@pytest.mark.parametrize(("share", "said"), [(0.99, "hardly smaller"), (1.25, f"1.2{TIMES} larger")])
def test_a_model_that_is_not_smaller_is_not_called_so(share, said):
    assert f"became {said} and" in model.headline(evidence(after=result(("bad", "good"), share=share)))


def test_a_large_loss_is_warned_of_and_a_small_one_is_not():
    assert page_of(evidence(drop=Drop(3.0, 2.0, 4.0))).warning.startswith("Accuracy fell by 3.0 points")
    assert page_of(evidence(drop=Drop(0.5, 0.1, 0.9))).warning == ""


@pytest.mark.parametrize(("metric", "counts", "warned"), [
    ("accuracy", {"bad": 10, "good": 90}, "its Accuracy is 80.0, and one and the same answer to every text has 90.0."),
    ("accuracy", {"bad": 50, "good": 50}, ""),
    ("f1", {"bad": 30, "good": 70}, "its F1 is 80.0, and one and the same answer to every text has 82.4."),
    ("f1", {"bad": 70, "good": 30}, ""),
])  # fmt: skip
def test_a_dense_model_that_has_learned_nothing_is_warned_of(metric, counts, warned):
    found = evidence(drop=Drop(0.0, -1.0, 1.0))
    split = {"read": 100, "kept": 100, "dropped": {}, "labels": counts}
    found.data["splits"]["validation"] = split
    dense = replace(found.before, metrics={metric: 80.0}, primary_metric=metric)
    found = replace(found, before=dense, task={**found.task, "primary_metric": metric})
    assert warned in (warning(found) or "")
    assert bool(warned) == bool(warning(found))


# ── the page of a model ───────────────────────────────────────────────────────────────────────────


def test_what_is_not_known_is_left_out():
    bare = evidence(alternatives=[], rates={}, drop=None, before=result((), share=1.0))
    assert titles(page_of(bare, histories={"dense": None, "slim": history(0)}, scored=False)) == [
        "sizes", "kept", "answers", "origin",
    ]  # fmt: skip
    assert titles(page_of(evidence())) == ["sizes", "alternatives", "kept", "answers", "training", "origin"]


def test_kept_dimensions_are_those_of_the_mask():
    (kept,) = [section for section in page_of(evidence()).sections if section.key == "kept"]
    table = kept.blocks[0]
    assert [cell.text for cell in table.rows[0].cells] == ["0", "2 of 3", "4 of 8", "5 of 20", "31%"]
    assert table.rows[0].cells[4].share == pytest.approx((96 * 8 + 48 * 5) / (96 * 24 + 48 * 20))


def test_the_chosen_alternative_is_marked():
    html = rendered(page_of(evidence()))
    row = html[html.index('<tr class="tagged">') :]
    assert re.match(r".*?slim 10 <span class=\"tag\">chosen</span>", row, re.DOTALL)


def test_equal_evidence_gives_equal_bytes_and_asks_for_nothing_from_elsewhere():
    html = rendered(page_of(evidence()))
    assert html == rendered(page_of(evidence()))
    links = [value for _, found in Texts(html).tags for name, value in found.items() if name in ("src", "href")]
    assert links
    assert all(link.startswith("#") or not re.match(r"\w+:|/", link) for link in links)


def test_a_page_of_many_classes_and_steps_stays_small():
    labels = [f"class {number}" for number in range(150)]
    found = evidence(
        labels=labels, alternatives=[alternative(f"model {n}", 80.0 + n / 50, 0.01, 10**7) for n in range(200)]
    )
    histories = dict.fromkeys(("dense", "slim"), history(20_000))
    html = rendered(page_of(found, answers(150, rows=100_000), histories))
    assert len(html.encode()) < 500_000
    assert "what is confused most often" in html


def test_a_regression_is_drawn_as_predicted_against_true():
    html = rendered(page_of(evidence(labels=())))
    assert "Predicted and true" in html
    assert html.count('r="2.4"') == 200


HOSTILE = "<script>alert(1)</script>"


def test_names_are_texts_wherever_they_stand():
    found = evidence(
        labels=[HOSTILE, "&amp;"],
        backbone=HOSTILE,
        task=HOSTILE,
        alternatives=[alternative(f"{HOSTILE}{place}", 80.0, 0.01, 10**7, is_best=True) for place in range(2)],
    )
    parsed, plain = Texts(rendered(page_of(found))), Texts(rendered(page_of(evidence(alternatives=[]))))
    assert [tag for tag, _ in parsed.tags].count("script") == 1
    assert {tag for tag, _ in parsed.tags} - {tag for tag, _ in plain.tags} <= {
        "form",
        "input",
        "select",
        "label",
        "option",
        "output",
    }
    assert parsed.texts.count(HOSTILE) > 2
    assert "&amp;" in parsed.texts


def test_names_that_are_no_utf_8_or_turn_the_direction_are_made_visible():
    odd = "a\udcff\u202eb"
    found = evidence(
        labels=[odd, "b"], backbone=odd, task=odd, alternatives=[alternative(odd, 80.0, 0.01, 10**7, is_best=True)]
    )
    html = rendered(page_of(found))
    assert html.encode()
    assert "\u202e" not in html
    assert "a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}b became" in html


def test_no_folder_of_this_machine_is_named(tmp_path):
    (tmp_path / "backbone").mkdir()
    for folder in (tmp_path / "backbone", tmp_path / "gone" / "backbone"):
        html = rendered(page_of(evidence(backbone=str(folder))))
        assert str(tmp_path) not in html
        assert "backbone became" in html


@pytest.mark.parametrize("path", ["/home/me/model", "C:\\Users\\me\\model"])
def test_of_paths_the_last_part_is_shown(path):
    assert public(path) == "model"
    assert flat({"model": {"backbone": path}, "seeds": [0, 1], "none": None, "on": True}) == [
        ("model.backbone", "model"), ("seeds", "0, 1"), ("none", NOTHING), ("on", "yes"),
    ]  # fmt: skip


def test_it_is_written_from_the_files_of_a_folder(tmp_path):
    files = tmp_path / "evidence"
    files.mkdir()
    write_mask(files / "mask.safetensors", mask())
    write_scores(files / "scores.safetensors", scores())
    write_record(files / "training.json", history())
    answers().to_parquet(files / "predictions.parquet")
    model.write_model_page(evidence(), tmp_path, history())
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == rendered(page_of(evidence()))


@pytest.mark.parametrize(
    "change",
    [lambda old: old * 0, lambda old: old - 1, lambda old: old * np.nan, lambda old: np.where(old < 1, 0, old)],
    ids=["all equal", "below zero", "not numbers", "zeros among them"],
)
def test_scores_of_any_size_are_drawn(change):
    found = scores()
    odd = {key: change(values) for key, values in found.scores["sensitivity"].items()}
    page = model.model_page(evidence(), mask(), answers(), {}, replace(found, scores={"sensitivity": odd}))
    kept = next(section for section in page.sections if section.key == "kept")
    drawn = [title.text for block in kept.blocks[1:] for drawing in block.drawings for title in bars_of(drawing)]
    finite = sum(int(np.isfinite(values).sum()) for values in odd.values())
    assert sum(int(text.split()[0].replace(",", "")) for text in drawn) == finite


def bars_of(drawing):
    """What a reader sees who points at the bars of a histogram."""
    return [bar.find("{*}title") for bar in ElementTree.fromstring(str(drawing.svg)).iter("rect")]


def test_the_files_of_the_package_are_installed_with_it():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["sensibert"]
    package = ROOT / "src" / "sensibert"
    installed = {path for pattern in patterns for path in package.glob(pattern)}
    others = {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert others == installed


# ── answers ───────────────────────────────────────────────────────────────────────────────────────


def test_confusions_are_counted_by_true_and_answered_class():
    found = pd.DataFrame({"label": [0, 0, 1, 1, 1], "prediction": [0, 1, 1, 1, 0]})
    assert confusion(found, 2).tolist() == [[1, 1], [1, 2]]
    matrix, classes = answer_blocks(found, ["a", "b"], "Classes")
    assert [[cell.text for cell in cells] for _, cells in matrix.rows] == [["1", "1"], ["1", "2"]]
    assert [cell.share for cell in matrix.rows[1][1]] == pytest.approx([1 / 3, 2 / 3])
    assert [cell.text for cell in classes.rows[1].cells] == ["b", "3", "66.7%", "66.7%", "66.7%"]


def test_a_class_that_is_never_answered_has_no_precision():
    _, classes = answer_blocks(pd.DataFrame({"label": [0, 1], "prediction": [0, 0]}), ["a", "b"], "Classes")
    assert [cell.text for cell in classes.rows[1].cells] == ["b", "1", NOTHING, "0.0%", "0.0%"]


def test_of_many_classes_the_commonest_confusions_are_listed():
    labels = [str(number) for number in range(MOST_CLASSES + 1)]
    predictions = pd.DataFrame({"label": [3, 3, 3, 5, 7], "prediction": [4, 4, 3, 6, 7]})
    table, classes = answer_blocks(predictions, labels, "Classes")
    assert [[cell.text for cell in row.cells] for row in table.rows] == [
        ["3", "4", "2", "67%"],
        ["5", "6", "1", "100%"],
    ]
    assert len(classes.rows) == len(labels)


# ── drawings ──────────────────────────────────────────────────────────────────────────────────────

finite = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.lists(finite, min_size=1, max_size=20), st.booleans())
def test_ticks_are_within_the_axis_and_few(values, is_log):
    values = [abs(value) + 1e-3 for value in values] if is_log else values
    found = axis("x", values, is_log=is_log)
    assert found.low < min(values)
    assert max(values) < found.high
    assert all(found.low * 0.99 <= value <= found.high * 1.01 or not is_log for value in ticks(found))
    assert len(ticks(found)) <= (12 if is_log else 6)


def test_ticks_are_round():
    assert ticks(Axis("", 0, 10)) == [0, 2, 4, 6, 8, 10]
    assert ticks(Axis("", 0.13, 0.87)) == [0.2, 0.4, 0.6, 0.8]
    assert ticks(Axis("", 1, 1000, is_log=True)) == [1, 10, 100, 1000]
    assert ticks(Axis("", 1.2e-4, 1.8e-4, is_log=True)) == [1.2e-4, 1.4e-4, 1.6e-4, 1.8e-4]


def test_values_that_hardly_differ_have_an_axis_too():
    found = axis("x", [1e6, 1e6 + 1e-9])
    assert found.low < 1e6 < found.high


@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=30))
def test_nothing_beats_the_front_and_the_front_beats_all_else(points):
    dots = [Dot(str(place), x, y, "") for place, (x, y) in enumerate(points)]
    best = front(dots)
    assert all(a.x < b.x and a.y < b.y for a, b in pairwise(best))
    assert all(any(good.x <= dot.x and good.y >= dot.y for good in best) for dot in dots)


def test_drawings_are_well_formed_and_say_what_they_show():
    dots = [
        Dot(HOSTILE, 1.0, 2.0, HOSTILE, is_best=True),
        Dot("b & c", 3.0, 4.0, "", is_chosen=True, low=3.0, high=5.0),
    ]
    drawn = scatter(HOSTILE, dots, axis("x", [1.0, 3.0]), axis("y", [2.0, 5.0]))
    root = ElementTree.fromstring(str(drawn.svg))
    assert root.get("role") == "img"
    assert [root.find("title").get("id"), root.find("desc").get("id")] == root.get("aria-labelledby").split()
    assert root.find("title").text == HOSTILE
    assert "Chosen: b & c." in root.find("desc").text
    assert not list(root.iter("script"))


def test_more_curves_than_colours_are_told_apart_by_dashes():
    curves = [Line(str(place), [(0.0, place), (1.0, place)]) for place in range(9)]
    drawn = lines("Many", curves, axis("x", [0, 1]), axis("y", [0, 9]))
    assert len(dict(drawn.legend)) == len({colour for _, colour in drawn.legend}) == 9


@pytest.mark.parametrize(
    ("metric", "name"),
    [("accuracy", "accuracy"), ("f1", "F1"), ("macro_f1", "macro F1"), ("pearson", "Pearson correlation")],
)
def test_metrics_have_names_for_sentences(metric, name):
    assert metric_name(metric) == name


def test_zero_has_no_sign_of_its_own():
    assert [signed(value) for value in (-0.04, 0.04, -1.26, 1.26)] == ["+0.0", "+0.0", f"{MINUS}1.3", "+1.3"]

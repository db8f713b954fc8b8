import re
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += [ROOT / name for name in ("data/README.md", "reports/README.md", "CONTRIBUTING.md", "SECURITY.md")]


def rows(page):
    """The cells of every table row of a Markdown page, without the padding."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.split("|")] for line in lines if re.match(r"\|[^:-]", line)]


def test_the_readme_shows_the_table_of_the_default_profile():
    shown = rows("README.md")
    for row in rows("reports/pydocs/table.md"):
        assert row in shown, f"README.md lacks this row of reports/pydocs/table.md: {row}"


def test_the_readme_leads_to_the_pages():
    _, _, list_of_pages = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Read on")
    linked = re.findall(r"\]\(docs/([^)#]+)\)", list_of_pages)
    assert "README.md" in linked  # the index of them all
    assert len(linked) > 5


def test_the_headline_is_of_the_default_profile():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    headline = text.partition("<!-- headline")[2].partition("\n\n")[0]
    table = pd.read_csv(ROOT / "reports/pydocs/deployed.csv").set_index(["method", "runtime"])
    dense, quantized, small = (
        table.loc[key] for key in [("full", "torch"), ("full", "onnx-int8"), ("recipe", "onnx-int8")]
    )
    sizes = [f"{row['file_bytes'] / 1e6:.0f} MB" for row in (dense, small)]
    latencies = [f"{row['latency_ms']:.1f} ms" for row in (dense, small)]
    metrics = [f"{row['mean']:.1f} %" for row in (small, dense)]
    factors = [
        f"factor of {dense['latency_ms'] / quantized['latency_ms']:.1f}",
        f"another {quantized['latency_ms'] / small['latency_ms']:.1f}",
    ]
    assert not [said for said in (*sizes, *latencies, *metrics, *factors) if said not in " ".join(headline.split())]


def test_the_results_show_the_accuracies_on_sst2():
    table = pd.read_csv(ROOT / "reports/sst2/table.csv").set_index(["budget", "method"])["mean"]
    shown = {row[1]: [cell.strip("*") for cell in row[2:-1]] for row in rows("docs/results.md")}
    for budget in (0.4, 0.2):
        means = [table[1.0, "full"], *(table[budget, name] for name in ("sensitivity", "mask", "magnitude", "random"))]
        assert shown[f"{budget}x"] == [f"{mean:.1f}" for mean in means]


def test_the_results_show_every_method_on_one_table():
    report = (ROOT / "reports/methods-small/table.md").read_text(encoding="utf-8")
    _, table, _ = re.split(r"^((?:\|.*\n)+)", report, maxsplit=1, flags=re.MULTILINE)
    assert table.count("\n") > 20
    assert table in (ROOT / "docs/results.md").read_text(encoding="utf-8")


def test_the_survey_states_what_each_method_reached():
    table = pd.read_csv(ROOT / "reports/methods-small/table.csv").set_index(["task", "method"])["mean"]["sst2"]
    sections = re.split("^### ", (ROOT / "docs/methods.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    stated = {name: section for section in sections for name in re.findall(r"`(\w+)`", section.partition("\n")[0])}
    named = set(table.index) & stated.keys() - {"full"}
    assert len(named) > 12
    for name in named:
        assert f"{table[name]:.1f}" in stated[name], (
            f"docs/methods.md does not say that {name} reached {table[name]:.1f}"
        )


@pytest.mark.parametrize("page", ["docs/results.md", "docs/methods.md"])
def test_the_pages_show_the_table_of_bitfits_source(page):
    table = pd.read_csv(ROOT / "reports/bert-tiny-imdb/table.csv").set_index("method")["trainable_parameters"]
    searches = pd.read_csv(ROOT / "reports/bert-tiny-imdb/search.csv").drop_duplicates("method")
    shown = {row[2]: row for row in rows(page)}
    for found in searches.itertuples():
        row = shown[f"{table[found.method]:,}"]
        assert f"{found.validation:.1f}" in row
        if page == "docs/methods.md":
            assert row[3:5] == [str(found.batch_size), f"{found.learning_rate:.0e}".replace("e-0", "e-")]


def test_the_survey_shows_the_accuracies_on_digits():
    table = pd.read_csv(ROOT / "reports/studies/spt_digits.csv").groupby(["method", "budget"])["accuracy"].mean()
    shown = {row[1].strip("`"): row[2:-1] for row in rows("docs/methods.md") if len(row) == 7}
    for method in ("spt_lora", "lora", "spt_adapter", "adapter"):
        means = [table.get((method, budget)) for budget in (0.005, 0.01, 0.02, 0.05)]
        assert shown[method] == ["–" if mean is None else f"{mean:.1f}" for mean in means]  # noqa: RUF001


def anchors(page):
    """The names by which GitHub links to the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_everything_that_a_page_links_to_is_there(page):
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", page.read_text(encoding="utf-8"))
    found = {(target, anchor): (page.parent / target) if target else page for target, anchor in links}
    assert not [target for (target, _), place in found.items() if not place.exists()]
    assert not [anchor for (_, anchor), place in found.items() if anchor and anchor not in anchors(place)]


def test_the_flow_that_the_readme_shows_runs(glue_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = pd.read_parquet(glue_data / "sst2" / "train.parquet")
    reviews = pd.DataFrame({"review": rows["sentence"], "sentiment": rows["label"].map({0: "bad", 1: "good"})})
    reviews.to_csv("reviews.csv", index=False)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"<!-- a test runs this -->\n```python\n(.+?)```", text, flags=re.DOTALL)
    shown: dict = {}
    assert "sb.TrainingParams()" in code
    brief = code.replace("sb.TrainingParams()", "sb.TrainingParams(epochs=1, min_steps=0)")
    exec(brief.replace("minilm-l6", "tiny-bert"), shown)
    assert shown["mask"].kept_fraction <= 0.4
    assert 0 <= shown["metrics"]["accuracy"] <= 100
    assert (tmp_path / "small" / "model.safetensors").is_file()
    assert (tmp_path / "small-onnx" / "model.int8.onnx").is_file()

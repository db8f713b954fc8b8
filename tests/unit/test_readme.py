import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "data/README.md", ROOT / "CONTRIBUTING.md"]


def rows(page):
    """The cells of every table row of a Markdown page, without the padding."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.split("|")] for line in lines if re.match(r"\|[^:-]", line)]


def test_the_readme_shows_the_table_of_the_default_profile():
    shown = rows("README.md")
    for row in rows("reports/pydocs/table.md"):
        assert row in shown, f"README.md lacks this row of reports/pydocs/table.md: {row}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_that_a_page_links_to_is_there(page):
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing

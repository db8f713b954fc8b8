import csv
import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensibert.errors import DataError
from sensibert.sources.quotes import refuse_stray_quotes

STRAY = {
    "closed by a cell's end": ('"Quote opens here\tbad\na\tgood\nclosing mark"\tbad\n', "each of these lines has the"),
    "closed in a text": ('"Quote opens here\tbad\na\tgood\nclosing mark" here\tbad\n', "to line 4 .*'here.tbad'"),
    "closed by the next": ('"Quote opens here\tbad\na\tgood\n"Another one\tbad\n', "'Another one"),
    "never closed": ('"Quote opens here\tbad\na\tgood\n', "is opened and never closed"),
}


def check(content, separator):
    refuse_stray_quotes(Path("x"), io.StringIO(content, newline=""), separator)


@pytest.mark.parametrize(("content", "says"), STRAY.values(), ids=STRAY)
def test_a_stray_quotation_mark_is_named(content, says):
    with pytest.raises(DataError, match=f"x, line 2: a quotation mark at the start of a cell .*{says}.*double those"):
        check(f"text\tlabel\n{content}", "\t")


@pytest.mark.parametrize("case", [name for name in STRAY if name != "closed by a cell's end"])
def test_a_stray_quotation_mark_in_csv_is_named(case):
    with pytest.raises(DataError, match="x, line 3: a quotation mark at the start of a cell"):
        check(f"\ntext,label\n{STRAY[case][0]}".replace("\t", ","), ",")


@pytest.mark.parametrize(
    "row",
    ['a "so" b\tbad', '"so" it is\tbad', '5" long\tbad', '"a\nb"\tbad', '"a\nb" \tbad', '"a\tb\tc\nd"\tbad', 'a\t""'],
)
def test_quotation_marks_that_take_no_other_row(row):
    check(f"text\tlabel\n{row}\nc\tgood\n", "\t")
    check(f"text\tlabel\n{row}\nc\tgood\n".replace("\t", ","), ",")


cells = st.text(st.sampled_from('a", \t\n'), max_size=8)


@given(rows=st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=5))
def test_well_quoted_files_are_good(rows):
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([("one", "two", "three"), *rows])
    check(written.getvalue(), ",")


@given(content=st.text(st.sampled_from('ab",\n'), max_size=30))
def test_cells_over_lines_are_those_of_pandas(content):
    """What no reader takes over a line end is no long cell."""
    try:
        check(f"one,two\n{content}\n", ",")
    except DataError as error:
        if "never closed" not in str(error):
            return
        with pytest.raises(pd.errors.ParserError):
            pd.read_csv(io.StringIO(f"one,two\n{content}\n"), header=None, names=range(40), index_col=False)

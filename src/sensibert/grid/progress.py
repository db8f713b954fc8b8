"""What the user sees of a grid at work: a line for each cell that is done, and a bar where a person looks on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm

from sensibert.grid.clones import Report


def line(report: Report) -> str:
    """One finished cell."""
    if report.problem is not None:
        indented = report.problem.replace("\n", "\n    ")
        return f"failed    {report.stage} on {report.host}\n    {indented}"
    did = "computed" if report.ran else "restored"
    return f"{did}  {report.stage} on {report.host} in {report.seconds:.1f} s"


@contextmanager
def shown(total: int, title: str) -> Iterator[Callable[[Report | None], None]]:
    """Give a function that shows a report; None only lets the clock go on."""
    with tqdm(
        total=total, desc=title, unit="cell", leave=False, disable=None
    ) as bar:  # off where output goes to a file

        def show(report: Report | None) -> None:
            if report is None:
                bar.refresh()
                return
            tqdm.write(line(report))
            bar.update()

        yield show

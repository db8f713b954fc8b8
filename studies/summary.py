"""Summarize the rows of a study as a Markdown table: every idea at its best rate, against one of them.

    python -m studies.summary reports/studies/recipe_docs_origin.csv --versus answers

A variant named `IDEA; rate RATE` is one of several rates of an idea; what counts is the one with the best mean. The
difference is paired by seed, with the 95 % interval of Student's t.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import pandas as pd
from scipy import stats

from sensibert.analysis.statistics import spread
from sensibert.report.labels import NOTHING

POINT = ["task", "method", "budget", "idea"]


def best_rates(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of every idea at its best rate, by task, method and budget."""
    rows = rows.assign(idea=rows["variant"].str.partition(";")[0])
    means = rows.groupby([*POINT, "learning_rate"], sort=False)["dev"].mean()
    best = means.groupby(POINT, sort=False).idxmax()
    return rows.set_index([*POINT, "learning_rate"]).loc[best.tolist()].reset_index()


def summary(rows: pd.DataFrame, versus: str) -> pd.DataFrame:
    """One row per task, method, budget and idea: mean, deviation, and the difference to the idea `versus`."""
    chosen = best_rates(rows)
    table = []
    for point, found in chosen.groupby(POINT, sort=False):
        task, method, budget, idea = point
        measured = spread(found["dev"].tolist())
        reference = _reference(chosen, task, budget, versus)
        is_reference = idea == versus and method == reference["method"].iloc[0]
        paired = found.set_index("seed")["dev"] - reference.set_index("seed")["dev"]
        table.append(
            {
                "Task": task,
                "Method": method,
                "Budget": str(budget),
                "Idea": idea,
                "Rate": f"{found['learning_rate'].iloc[0]:g}",
                "Dev": f"{measured.mean:.1f}"
                if math.isnan(measured.std)
                else f"{measured.mean:.1f} ± {measured.std:.1f}",
                "Seeds": str(measured.n),
                f"vs {versus}": NOTHING if is_reference else _interval(paired.dropna()),
            }
        )
    return pd.DataFrame(table)


def _reference(rows: pd.DataFrame, task: str, budget: float, idea: str) -> pd.DataFrame:
    """The rows of an idea on a task at a budget; of several methods those of the first."""
    found = rows[(rows["task"] == task) & (rows["budget"] == budget) & (rows["idea"] == idea)]
    return found[found["method"] == found["method"].iloc[0]]


def _interval(differences: pd.Series) -> str:
    """Mean difference and its 95 % interval."""
    mean, count = differences.mean(), len(differences)
    if count < 2:
        return f"{mean:+.1f}" if count else NOTHING
    half = stats.t.ppf(0.975, count - 1) * differences.std() / math.sqrt(count)
    return f"{mean:+.1f} [{mean - half:+.1f}, {mean + half:+.1f}]"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, help="csv file of a study")
    parser.add_argument("--versus", required=True, help="the idea that the others are compared with")
    given = parser.parse_args()
    print(summary(pd.read_csv(given.rows), given.versus).to_markdown(index=False, disable_numparse=True))

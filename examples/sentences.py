"""Write the data of the examples, in seconds and without a network: `python examples/sentences.py sentences.csv`.

Each row is the first sentence of a docstring, from one of three packages that are installed anyway, and its topic.
"""

import sys

import pandas as pd

from sensibert.sources import pydocs

TOPICS = {"sqlalchemy": ("orm", "databases"), "torch": ("nn", "networks"), "scipy": ("stats", "statistics")}
"""Package -> the folder of it that is read, and what its sentences are about."""


def sentences() -> pd.DataFrame:
    """About 2,000 rows with the columns `sentence` and `topic`, shuffled; no two are near copies of each other."""
    folders = {package: pydocs.locate(package) / folder for package, (folder, _) in TOPICS.items()}
    found = pydocs.corpus(folders)
    return pd.DataFrame({"sentence": one.text, "topic": TOPICS[one.distribution][1]} for one in found)


if __name__ == "__main__":
    sentences().to_csv(sys.argv[1], index=False)

"""Honest timing: the candidates take turns, so that whatever else the machine does affects all of them alike."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter

from tqdm.auto import tqdm

Run = Callable[[], object]


def interleaved_medians(runs: dict[str, Run], repeats: int, warmup: int = 2) -> dict[str, float]:
    """Median seconds of each candidate.

    Args:
        runs: Name -> what is timed.
        repeats: Timed rounds; in each round every candidate runs once.
        warmup: Rounds beforehand, which do not count.

    Returns:
        Name -> median seconds of one run.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for round_number in tqdm(range(warmup + repeats), desc="timing", unit="round", mininterval=1, leave=False):
        for name, run in runs.items():
            start = perf_counter()
            run()
            if round_number >= warmup:
                seconds[name].append(perf_counter() - start)
    return {name: median(times) for name, times in seconds.items()}

"""Do repeated scoring passes agree? Rank correlation of scores and overlap of masks.

Passes are compared in two separate ways: different seeds after the same number of
epochs, and different numbers of epochs with the same seed. An agreement means something only against chance, so
each is shown next to what is left if depth and group alone rank the dimensions: the correlation of scores that are
shuffled within each module, and the overlap of random masks that keep as many dimensions of each module.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from sensibert.config.params import Params
from sensibert.errors import ArtifactError
from sensibert.models.mask import Mask, Modules
from sensibert.scoring.budgets import mask_for
from sensibert.scoring.files import ScoreFile

COLUMNS = (
    "task", "criterion", "comparison", "layer", "statistic", "budget", "mean", "min", "pairs", "random",
)  # fmt: skip
"""Columns of the stability table.

`comparison` is `seeds` or `epochs`; `layer` is `all` or a number; `statistic` is `spearman`,
`kendall` or `jaccard`; `budget` is empty for the correlations; `mean` and `min` are over the `pairs`
of runs; `random` is what chance would give.
"""

ALL_LAYERS = "all"

STABLE_CORRELATION, UNSTABLE_CORRELATION = 0.8, 0.5
"""Mean Spearman correlation from which scores count as stable, and below which as unstable."""
STABLE_OVERLAP, UNSTABLE_OVERLAP = 0.5, 0.25
"""The same for the mean overlap above chance: (Jaccard - random) / (1 - random)."""


class Run(NamedTuple):
    """One scoring pass, up to an epoch."""

    seed: int
    epoch: int

    def __str__(self) -> str:
        return f"seed {self.seed}, epoch {self.epoch}"


def stability_table(passes: Mapping[str, Mapping[Run, ScoreFile]], params: Params) -> pd.DataFrame:
    """Agreement of all stability passes, with the masks that the grid's budgets and settings give.

    Args:
        passes: task -> run -> scores.
        params: names the criteria, the budgets and how masks are made.

    Returns:
        A tidy table with the columns `COLUMNS`.

    Raises:
        ArtifactError: a pass lacks a criterion, or the passes of a task score different modules.
    """
    tables = []
    for task, files in passes.items():
        any_file = next(iter(files.values()))
        for criterion, runs in scores_by_criterion(files, params.stability.criteria).items():
            mask_of = _masker(any_file, params, criterion)
            tables.append(agreement(runs, params.budgets, mask_of).assign(task=task, criterion=criterion))
    return pd.concat(tables, ignore_index=True)[list(COLUMNS)]


def spearman_matrices(
    passes: Mapping[str, Mapping[Run, ScoreFile]], criteria: Sequence[str]
) -> dict[tuple[str, str], pd.DataFrame]:
    """The matrix that `spearman_matrix` gives for each task and criterion.

    Raises:
        ArtifactError: a pass lacks a criterion, or the passes of a task score different modules.
    """
    return {
        (task, criterion): spearman_matrix(runs)
        for task, files in passes.items()
        for criterion, runs in scores_by_criterion(files, criteria).items()
    }


def scores_by_criterion(files: Mapping[Run, ScoreFile], criteria: Sequence[str]) -> dict[str, dict[Run, Modules]]:
    """The scores of the runs, criterion by criterion.

    Raises:
        ArtifactError: a run lacks a criterion.
    """
    for run, file in files.items():
        if missing := [criterion for criterion in criteria if criterion not in file.scores]:
            raise ArtifactError(
                f"the scoring pass of {run} has no scores for {', '.join(missing)}; it has {', '.join(file.scores)}"
            )
    return {criterion: {run: file.scores[criterion] for run, file in files.items()} for criterion in criteria}


def _masker(file: ScoreFile, params: Params, criterion: str) -> Callable[[Modules, float], Mask]:
    """How the pipeline turns scores of a criterion into a mask."""

    def mask_of(scores: Modules, budget: float) -> Mask:
        of_scores, kind = replace(file, scores={criterion: scores}), params.masking.budget_kind
        return mask_for(of_scores, criterion, budget, kind, **params.masking.options(criterion))

    return mask_of


def agreement(
    runs: Mapping[Run, Modules], budgets: Sequence[float], mask_of: Callable[[Modules, float], Mask]
) -> pd.DataFrame:
    """Agreement between the runs of one criterion, per layer and overall.

    Args:
        runs: the scores of each run.
        budgets: where the masks are compared.
        mask_of: the mask that scores give at a budget.

    Returns:
        The columns `COLUMNS`, apart from task and criterion.

    Raises:
        ArtifactError: the runs score different modules.
    """
    _check_same_modules(runs)
    masks = {budget: {run: mask_of(scores, budget).keep for run, scores in runs.items()} for budget in budgets}
    layers = sorted({key.layer for scores in runs.values() for key in scores})
    rows = []
    for comparison, pairs in compared_pairs(list(runs)).items():
        for layer in (None, *layers):
            place = {"comparison": comparison, "layer": ALL_LAYERS if layer is None else str(layer)}
            for statistic, correlate in _CORRELATIONS.items():
                of_layer = [tuple(_of_layer(runs[run], layer) for run in pair) for pair in pairs]
                values = [correlate(_flat(a), _flat(b)) for a, b in of_layer]
                chance = float(np.mean([_SHUFFLED[statistic](a, b) for a, b in of_layer]))
                rows.append({**place, "statistic": statistic, **_summary(values), "random": chance})
            for budget, keep in masks.items():
                kept = [tuple(_of_layer(keep[run], layer) for run in pair) for pair in pairs]
                overlaps = [jaccard(*pair) for pair in kept]
                chance = float(np.mean([random_jaccard(*pair) for pair in kept]))
                rows.append({**place, "statistic": "jaccard", "budget": budget, **_summary(overlaps), "random": chance})
    return pd.DataFrame(rows, columns=list(COLUMNS[2:]))


def compared_pairs(runs: Sequence[Run]) -> dict[str, list[tuple[Run, Run]]]:
    """The pairs of runs that differ in the seed alone, and those that differ in the epoch alone."""
    pairs = list(combinations(sorted(runs), 2))
    found = {
        "seeds": [(a, b) for a, b in pairs if a.epoch == b.epoch],
        "epochs": [(a, b) for a, b in pairs if a.seed == b.seed],
    }
    return {comparison: of_comparison for comparison, of_comparison in found.items() if of_comparison}


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of two score vectors; 0 where one of them is constant and ranks nothing."""
    return 0.0 if _is_constant(a) or _is_constant(b) else float(stats.spearmanr(a, b).statistic)


def kendall(a: np.ndarray, b: np.ndarray) -> float:
    """Kendall's rank correlation (tau-b); 0 where a vector is constant and ranks nothing."""
    return 0.0 if _is_constant(a) or _is_constant(b) else float(stats.kendalltau(a, b).statistic)


_CORRELATIONS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {"spearman": spearman, "kendall": kendall}


def shuffled_spearman(a: Modules, b: Modules) -> float:
    """Expected Spearman correlation if the scores of each module were shuffled: what depth and group alone give.

    In closed form: a shuffled rank has its module's mean as expectation, so only the covariance between modules stays.
    """
    flat_a, flat_b = _flat(a), _flat(b)
    if _is_constant(flat_a) or _is_constant(flat_b):
        return 0.0
    ranks_a, ranks_b = (stats.rankdata(flat) for flat in (flat_a, flat_b))
    bounds = np.cumsum([a[key].size for key in sorted(a)])[:-1]
    means = [[part.mean() - ranks.mean() for part in np.split(ranks, bounds)] for ranks in (ranks_a, ranks_b)]
    sizes = np.array([a[key].size for key in sorted(a)])
    covariance = float((sizes * np.prod(means, axis=0)).sum()) / ranks_a.size
    return covariance / float(ranks_a.std() * ranks_b.std())


def shuffled_kendall(a: Modules, b: Modules) -> float:
    """The same for Kendall's tau-b: pairs within a module agree and disagree equally often."""
    flat_a, flat_b = _flat(a), _flat(b)
    if _is_constant(flat_a) or _is_constant(flat_b):
        return 0.0
    concordant = sum(
        a[one].size * a[other].size * _mean_sign(a[one], a[other]) * _mean_sign(b[one], b[other])
        for one, other in combinations(sorted(a), 2)
    )
    return concordant / math.sqrt(_untied_pairs(flat_a) * _untied_pairs(flat_b))


def _mean_sign(one: np.ndarray, other: np.ndarray) -> float:
    """How much more often a value of one array is above one of the other than below it, from -1 to 1."""
    ordered, values = np.sort(other, axis=None), one.ravel()
    below = np.searchsorted(ordered, values, side="left").sum()
    above = ordered.size * values.size - np.searchsorted(ordered, values, side="right").sum()
    return float(below - above) / (ordered.size * values.size)


def _untied_pairs(values: np.ndarray) -> int:
    counts = np.unique(values, return_counts=True)[1]
    return math.comb(values.size, 2) - sum(math.comb(int(count), 2) for count in counts)


_SHUFFLED: dict[str, Callable[[Modules, Modules], float]] = {"spearman": shuffled_spearman, "kendall": shuffled_kendall}


def spearman_matrix(runs: Mapping[Run, Modules]) -> pd.DataFrame:
    """Spearman correlation of each pair of runs over all layers; rows and columns are named after the runs.

    Raises:
        ArtifactError: the runs score different modules.
    """
    _check_same_modules(runs)
    names = [str(run) for run in runs]
    vectors = [_flat(scores) for scores in runs.values()]
    return pd.DataFrame([[spearman(a, b) for b in vectors] for a in vectors], index=names, columns=names)


def jaccard(a: Modules, b: Modules) -> float:
    """Kept dimensions that two masks share, as a fraction of those that either one keeps; 1 for two empty masks."""
    both = sum(int(np.sum(a[key] & b[key])) for key in a)
    either = sum(int(np.sum(a[key] | b[key])) for key in a)
    return both / either if either else 1.0


def random_jaccard(a: Modules, b: Modules) -> float:
    """Expected Jaccard overlap of random masks that keep as many dimensions of each module as `a` and `b` do.

    In closed form. In a module of n dimensions, random choices of p and q of them share a number of
    dimensions with the hypergeometric mean p·q/n. The overlap is a function of the sum I over the
    modules, f(I) = I / (P + Q - I) with P and Q the sizes of the masks, and its expectation is taken to
    second order: f(mean) + variance · f''(mean) / 2. For real models (thousands of dimensions) the
    remainder is below any printed digit.
    """
    sizes = [(a[key].size, int(a[key].sum()), int(b[key].sum())) for key in a]
    mean = sum(p * q / n for n, p, q in sizes)
    variance = sum(p * q * (n - p) * (n - q) / (n * n * (n - 1)) for n, p, q in sizes if n > 1)
    total = sum(p + q for _, p, q in sizes)
    return mean / (total - mean) + variance * total / (total - mean) ** 3 if total else 1.0


def verdicts(table: pd.DataFrame) -> dict[tuple[str, str], str]:
    """The verdict of every task and criterion in a stability table."""
    groups = table.groupby(["task", "criterion"], sort=False)
    return {(str(task), str(criterion)): verdict(rows) for (task, criterion), rows in groups}


def verdict(table: pd.DataFrame) -> str:
    """One line in plain words about the runs of one task and criterion.

    The seeds decide if they were compared, else the epochs. Scores are stable when their mean Spearman
    correlation over all layers reaches `STABLE_CORRELATION` and their masks overlap by
    `STABLE_OVERLAP` above chance at every budget; unstable when one of the two stays below its
    `UNSTABLE_` limit; partly stable in between.
    """
    overall = table[table["layer"] == ALL_LAYERS]
    decisive = "seeds" if (overall["comparison"] == "seeds").any() else "epochs"
    rows = overall[overall["comparison"] == decisive]
    correlation = rows[rows["statistic"] == "spearman"].iloc[0]
    # At budget 1.0 every mask keeps everything: chance is 1 and the overlap says nothing.
    overlaps = rows[(rows["statistic"] == "jaccard") & (rows["random"] < 1)]
    above_chance = ((overlaps["mean"] - overlaps["random"]) / (1 - overlaps["random"])).to_numpy()
    grade = _grade(float(correlation["mean"]), float(above_chance.min(initial=1.0)))
    text = (
        f"{grade}: scores of different {decisive} agree with "
        f"Spearman {correlation['mean']:.2f} (min {correlation['min']:.2f}), "
        f"of which layer and group alone give {correlation['random']:.2f}"
    )
    if above_chance.size:
        worst = overlaps.iloc[int(above_chance.argmin())]
        text += (
            f"; masks at {worst['budget']} overlap by {worst['mean']:.2f}"
            f" where random masks overlap by {worst['random']:.2f}"
        )
    return f"{text}."


def _grade(correlation: float, overlap_above_chance: float) -> str:
    if correlation >= STABLE_CORRELATION and overlap_above_chance >= STABLE_OVERLAP:
        return "Stable"
    if correlation < UNSTABLE_CORRELATION or overlap_above_chance < UNSTABLE_OVERLAP:
        return "Unstable"
    return "Partly stable"


def _flat(modules: Modules) -> np.ndarray:
    """All values as one vector, in the order of the keys."""
    return np.concatenate([modules[key].ravel() for key in sorted(modules)])


def _of_layer(modules: Modules, layer: int | None) -> Modules:
    return {key: values for key, values in modules.items() if layer is None or key.layer == layer}


def _is_constant(values: np.ndarray) -> bool:
    return bool((values == values[0]).all())


def _summary(values: Sequence[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "min": float(np.min(values)), "pairs": len(values)}


def _check_same_modules(runs: Mapping[Run, Modules]) -> None:
    (first, expected), *others = runs.items()
    for run, scores in others:
        if {key: values.shape for key, values in scores.items()} != {k: v.shape for k, v in expected.items()}:
            raise ArtifactError(f"the scores of {run} are for another model than those of {first}; run `dvc repro`")

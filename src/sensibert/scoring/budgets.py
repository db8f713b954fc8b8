"""Budgets in the unit that a device limits: parameters, multiply-accumulates, bytes or seconds. Pure numpy.

Every kind ends in a cut of one `Ranking`, which takes a cost per dimension and a fraction of them that may stay.
Parameters, multiply-accumulates and bytes are counted, so that fraction follows from the budget. A latency is
predicted from a table of measured times, and the search finds the largest fraction whose prediction meets it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from sensibert.config.methods import METHODS, shaping_criterion
from sensibert.errors import ArtifactError, MaskError
from sensibert.models.mask import Mask, MaskOrigin, ModuleKey, Modules, Shape, UnitCosts, shapes_of
from sensibert.scoring.files import ScoreFile
from sensibert.scoring.ranking import Ranking, best_in_shapes, check_budget

KINDS = {
    "params": "the prunable parameters",
    "macs": "the prunable multiply-accumulates of a text of mean length",
    "size": "the bytes of the weights file",
    "latency": "the measured seconds of a forward pass",
}
"""Kind of a budget -> what it is a fraction of."""

LATENCY_STEPS = 2**12
"""The search for a latency tries kept fractions that are multiples of one divided by this."""

_PICOSECONDS = 1e12
"""Latencies per dimension are compared as whole picoseconds."""


@dataclass(frozen=True)
class ModuleTimes:
    """Measured times of one module of one layer."""

    heads: tuple[int, ...]
    """Measured numbers of heads, ascending; 1 alone for feed-forward."""
    sizes: tuple[int, ...]
    """Measured dimensions per head, ascending."""
    seconds: tuple[tuple[float, ...], ...]
    """For each number of heads and each size, what the module adds to a forward pass beyond its smallest shape."""

    @property
    def largest(self) -> Shape:
        """The shape of the dense model."""
        return Shape(self.heads[-1], self.sizes[-1])

    @property
    def per_dimension(self) -> float:
        """Mean seconds that one dimension adds."""
        return self.seconds[-1][-1] / self.largest.dimensions

    def at(self, shape: Shape) -> float:
        """The time of a shape, interpolated between the measured ones."""
        of_heads = [float(np.interp(shape.size, self.sizes, row)) for row in self.seconds]
        return float(np.interp(shape.heads, self.heads, of_heads))


@dataclass(frozen=True)
class LatencyTable:
    """How long the modules of a model take on one machine, for one batch size and length."""

    batch_size: int
    tokens: int
    layers: int
    least: float
    """Seconds of a forward pass with every module at its smallest shape: what no mask can save."""
    modules: dict[str, ModuleTimes]
    """`attention` and `feed_forward`."""
    about: dict[str, Any]
    """Processor, threads, versions."""

    @property
    def dense(self) -> float:
        """Seconds of a forward pass of the dense model."""
        return self.least + self.layers * sum(times.at(times.largest) for times in self.modules.values())

    def predict(self, shapes: dict[ModuleKey, Shape]) -> float:
        """Seconds of a forward pass of the slim model whose modules have these shapes."""
        return self.least + sum(self.modules[key.group].at(shape) for key, shape in shapes.items())

    def per_dimension(self, keys: Modules) -> dict[ModuleKey, int]:
        """Mean picoseconds that one dimension of each module adds."""
        slopes = {group: times.per_dimension for group, times in self.modules.items()}
        return {key: max(1, round(_PICOSECONDS * slopes[key.group])) for key in keys}

    def check_fit(self, scores: Modules) -> None:
        """Refuse scores of a model other than the table's."""
        layers = range(self.layers)
        expected = {ModuleKey(layer, group): times.largest for layer in layers for group, times in self.modules.items()}
        found = {key: values.shape for key, values in scores.items()}
        if found != expected:
            raise MaskError(
                f"the latency table was measured on another model, with {_summary(expected)}; "
                f"the scores have {_summary(found)}"
            )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Any) -> LatencyTable:
        """The inverse of `to_dict`.

        Raises:
            ArtifactError: the content is not a latency table.
        """
        try:
            modules = {group: _module_times(**times) for group, times in content["modules"].items()}
            return cls(**{**content, "modules": modules})
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ArtifactError(f"this is no latency table ({error!r})") from None


def _module_times(heads: list[int], sizes: list[int], seconds: list[list[float]]) -> ModuleTimes:
    return ModuleTimes(tuple(heads), tuple(sizes), tuple(tuple(row) for row in seconds))


def _summary(shapes: dict[ModuleKey, Any]) -> str:
    layers = len({key.layer for key in shapes})
    sizes = ", ".join(sorted({f"{key.group} {heads} x {size}" for key, (heads, size) in shapes.items()}))
    return f"{layers} layers of {sizes}"


def mask_for(
    scores: ScoreFile,
    criterion: str,
    budget: float,
    kind: str = "params",
    *,
    latency: LatencyTable | None = None,
    **options: Any,
) -> Mask:
    """Keep the best dimensions under a budget of any kind: scores -> costs -> ranking -> cut.

    Args:
        scores: The score file of the model.
        criterion: The one whose scores count, or a control, which keeps the shapes that another one's cut has.
        budget: The fraction that may be kept, in (0, 1], of what `KINDS` says.
        kind: One of `KINDS`.
        latency: Measured times of the model, needed by the kind `latency` and used to predict for any kind.
        options: Those of `Ranking` except the grains, which are the model's. `score_per_parameter` divides by the
            unit of the budget.

    Returns:
        A mask whose prediction never exceeds the budget. Its `costs` are parameters, whatever the kind.

    Raises:
        MaskError: the kind is unknown, the budget is out of range or too small for this kind, or the table was
            measured on another model.
        ArtifactError: the score file lacks the criterion or the unit of this kind.
    """
    check_budget(budget)
    shaping = shaping_criterion(criterion)
    modules = scores.of(shaping)
    if latency is not None:
        latency.check_fit(modules)
    ranking = Ranking(
        modules, _costs(scores, modules, kind, latency), grains=scores.grains, removable=scores.removable, **options
    )
    match kind:
        case "size":
            keep = _cut_at_size(ranking, scores.unit(kind), budget)
        case "latency":
            assert latency is not None
            keep = _cut_at_latency(ranking, latency, budget)
        case _:
            keep = ranking.cut(budget)
    if shaping != criterion:
        keep = best_in_shapes(scores.of(str(METHODS[criterion].criterion)), shapes_of(keep))
    mask = Mask(keep, scores.costs)
    origin = MaskOrigin(
        scores.origin.made_for,
        criterion,
        budget,
        scores.origin.seed,
        kind,
        predict(mask, scores.units, latency),
        scores.passes_of(criterion),
    )
    return replace(mask, origin=origin)


def kept_of(mask: Mask, scores: ScoreFile, kind: str) -> float:
    """The fraction that a mask keeps of the model that was scored, in the unit of a budget other than latency."""
    if kind == "params":
        return mask.kept_fraction
    unit = scores.unit(kind)
    if kind == "size":
        return unit.slim(mask.keep) / unit.dense
    return replace(mask, costs=unit.per_dimension).kept_fraction


def predict(
    mask: Mask, units: Mapping[str, UnitCosts], latency: LatencyTable | None = None
) -> dict[str, dict[str, float]]:
    """What the slim model of a mask will cost, for every kind of budget that is known.

    Returns:
        Kind -> `dense` and `slim`: prunable parameters; multiply-accumulates, exactly as `cost.macs` counts them;
        bytes of the weights file, exact for the dense model and, for the slim one, an upper bound that is some bytes of
        the header too high; predicted seconds.
    """
    predicted: dict[str, dict[str, float]] = {"params": {"dense": mask.dense_cost, "slim": mask.kept_cost}}
    for kind, unit in units.items():
        predicted[kind] = {"dense": unit.dense, "slim": unit.slim(mask.keep)}
    if latency is not None:
        predicted["latency"] = {"dense": latency.dense, "slim": latency.predict(mask.shapes())}
    return predicted


def _costs(scores: ScoreFile, modules: Modules, kind: str, latency: LatencyTable | None) -> dict[ModuleKey, int]:
    """What one dimension of each module costs in the unit of a budget."""
    match kind:
        case "params":
            return scores.costs
        case "macs" | "size":
            return scores.unit(kind).per_dimension
        case "latency":
            if latency is None:
                raise MaskError("a latency budget needs a table of measured times: sensibert.deploy.latency")
            return latency.per_dimension(modules)
        case _:
            raise MaskError(f"unknown kind of budget {kind!r}; allowed: {', '.join(KINDS)}")


def _cut_at_size(ranking: Ranking, unit: UnitCosts, budget: float) -> Modules:
    """Cut at a fraction of the whole size of the dense model.

    Raises:
        MaskError: what no mask can remove is larger.
    """
    prunable = ranking.dense_cost
    fixed = unit.dense - prunable
    fraction = (budget * unit.dense - fixed) / prunable
    if fraction < ranking.least_budget:
        smallest = fixed + ranking.least_budget * prunable
        raise _too_small(budget, "size", smallest / unit.dense, f"{smallest:,.0f} of {unit.dense:,} bytes")
    return ranking.cut(fraction)


def _cut_at_latency(ranking: Ranking, table: LatencyTable, budget: float) -> Modules:
    """Cut at a fraction of the predicted latency of the dense model.

    A dimension costs the mean time that one dimension of its module adds. Bisection finds the largest kept fraction
    of that cost whose mask the table itself predicts to be fast enough.

    Raises:
        MaskError: the smallest possible model is slower.
    """

    def cut(steps: int) -> Modules:
        return ranking.cut(steps / LATENCY_STEPS)

    def seconds(keep: Modules) -> float:
        return table.predict(shapes_of(keep))

    low, high = math.ceil(ranking.least_budget * LATENCY_STEPS), LATENCY_STEPS
    best = cut(low)
    if (least := seconds(best)) > budget * table.dense:
        times = f"{1e3 * least:.3f} of {1e3 * table.dense:.3f} ms"
        where = f"{times} at batch size {table.batch_size} and {table.tokens} tokens"
        raise _too_small(budget, "latency", least / table.dense, where)
    while low < high:  # `low` is fast enough, and nothing above `high` is
        middle = (low + high + 1) // 2
        if seconds(candidate := cut(middle)) <= budget * table.dense:
            low, best = middle, candidate
        else:
            high = middle - 1
    return best


def _too_small(budget: float, kind: str, least: float, numbers: str) -> MaskError:
    in_budget = math.ceil(least * 1e4) / 1e4
    return MaskError(
        f"budget {budget} is too small: no mask of this model gets below a {kind} of {in_budget:.4f} of the dense "
        f"model's ({numbers}), since the embeddings, the head and the least of each module stay"
    )

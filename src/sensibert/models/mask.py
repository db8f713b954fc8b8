"""Which dimensions of a model stay: the types that scores, masks and slim models share, and the files of masks.

Pure numpy.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sensibert.errors import MaskError
from sensibert.io import array_file, parse_record, read_arrays, write_arrays
from sensibert.results import Passes


class ModuleKey(NamedTuple):
    """The prunable module of one layer."""

    layer: int
    group: str
    """`attention` or `feed_forward`."""

    def __str__(self) -> str:
        return f"{self.layer}.{self.group}"

    @classmethod
    def parse(cls, text: str) -> ModuleKey:
        """The inverse of `str`."""
        layer, _, group = text.partition(".")
        return cls(int(layer), group)


def named(costs: dict[ModuleKey, int]) -> dict[str, int]:
    """Costs by module, with names that JSON can hold."""
    return {str(key): cost for key, cost in costs.items()}


def by_module(costs: dict[str, int]) -> dict[ModuleKey, int]:
    """The inverse of `named`, in the order of the modules."""
    return dict(sorted((ModuleKey.parse(key), int(cost)) for key, cost in costs.items()))


Modules = dict[ModuleKey, np.ndarray]
"""One array per module: [heads, head size] for attention, [1, intermediate size] for feed-forward."""


class Shape(NamedTuple):
    """Size of a module: heads x dimensions per head (1 x intermediate size for feed-forward)."""

    heads: int
    size: int

    @property
    def dimensions(self) -> int:
        """Number of dimensions."""
        return self.heads * self.size


SINGLE = Shape(1, 1)
"""The grain of a module whose heads and dimensions can be removed one by one."""


@dataclass(frozen=True)
class MadeFor:
    """The model and the task that scores were made for, and a mask that was cut from them."""

    backbone: str = ""
    """Its name; for people."""
    weights: str = ""
    """SHA-256 of its prunable weights (`anatomy.hash_weights`): what tells two models apart."""
    task: str = ""
    labels: list[str] = field(default_factory=list)
    """The names of the classes; empty for a regression."""
    data: str = ""
    """SHA-256 of the training rows: others may be held out from a model that is judged."""

    def difference(self, other: MadeFor) -> str:
        """What another model or task has that is not the same, for a message; empty if nothing."""
        if self.weights != other.weights:
            return f"the backbone {self.backbone!r}, whose weights are not those of {other.backbone!r}"
        if self.task != other.task:
            return f"the task {self.task!r}, not {other.task!r}"
        if self.labels != other.labels:
            return f"the labels {', '.join(self.labels)}, not {', '.join(other.labels)}"
        if self.data != other.data:
            return (
                "other training rows, which may hold rows that this model is judged on (another seed, sample or file)"
            )
        return ""


@dataclass(frozen=True)
class MaskOrigin:
    """Where a mask comes from."""

    made_for: MadeFor
    method: str
    """The criterion whose scores were cut, or the procedure that chose the dimensions."""
    budget: float
    seed: int
    budget_kind: str
    """What the budget is a fraction of (`scoring.budgets.KINDS`)."""
    predicted: dict[str, dict[str, float]]
    """Kind of budget -> what the dense and the slim model cost (`scoring.budgets.predict`)."""
    scoring_passes: Passes
    """Passes over the training data that the scores took."""


@dataclass(frozen=True)
class Mask:
    """Which dimensions stay."""

    keep: Modules
    """True where a dimension stays."""
    costs: dict[ModuleKey, int]
    """Parameters of one dimension of a module."""
    origin: MaskOrigin | None = None
    """None for a mask that was not cut from scores."""

    @property
    def kept_cost(self) -> int:
        """Prunable parameters that stay."""
        return sum(self.costs[key] * int(keep.sum()) for key, keep in self.keep.items())

    @property
    def dense_cost(self) -> int:
        """Prunable parameters of the dense model."""
        return sum(self.costs[key] * keep.size for key, keep in self.keep.items())

    @property
    def kept_fraction(self) -> float:
        """Kept part of the prunable parameters."""
        return self.kept_cost / self.dense_cost

    def shapes(self) -> dict[ModuleKey, Shape]:
        """The stock-layer shape that each module keeps."""
        return shapes_of(self.keep)


def shapes_of(keep: Modules) -> dict[ModuleKey, Shape]:
    """The stock-layer shape of what each module keeps.

    Raises:
        MaskError: the heads of a module keep different numbers of dimensions.
    """
    return {key: _shape_of(of_module, key) for key, of_module in keep.items()}


def _shape_of(keep: np.ndarray, key: ModuleKey) -> Shape:
    per_head = keep.sum(axis=1)
    kept = per_head[per_head > 0]
    if kept.size == 0:  # of the module its output bias stays
        return Shape(0, keep.shape[1]) if key.group == "attention" else Shape(1, 0)
    if np.ptp(kept) != 0:
        raise MaskError(
            f"layer {key.layer}: the kept heads of {key.group} keep different numbers of dimensions "
            f"({sorted(set(kept.tolist()))}); a stock layer needs the same number in each"
        )
    return Shape(int(kept.size), int(kept[0]))


@dataclass(frozen=True)
class UnitCosts:
    """What a model costs in one unit, such as bytes, and how much of that a mask can save."""

    per_dimension: dict[ModuleKey, int]
    """Cost of one dimension of a module."""
    dense: int
    """Cost of the whole dense model."""

    def slim(self, keep: Modules) -> int:
        """Cost of the whole slim model."""
        return self.dense - sum(self.per_dimension[key] * int((~values).sum()) for key, values in keep.items())


def write_mask(path: Path, mask: Mask) -> None:
    """Write a mask (safetensors; one uint8 array per module)."""
    tensors = {str(key): np.ascontiguousarray(keep, dtype=np.uint8) for key, keep in mask.keep.items()}
    write_arrays(path, tensors, {"costs": named(mask.costs), "about": asdict(mask.origin) if mask.origin else {}})


def read_mask(path: Path) -> Mask:
    """Read a mask.

    Raises:
        ArtifactError: the file is missing, damaged or not a mask.
    """
    with array_file(path):
        tensors, metadata = read_arrays(path)
        keep = {ModuleKey.parse(key): values.astype(bool) for key, values in tensors.items()}
        costs = by_module(metadata["costs"])
        origin = parse_record(metadata["about"], MaskOrigin) if metadata["about"] else None
    return Mask(dict(sorted(keep.items())), costs, origin)

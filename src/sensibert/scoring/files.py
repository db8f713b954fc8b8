"""Score files: safetensors with the scores of every criterion, and all that a budget needs in the header."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from sensibert.config.methods import METHODS
from sensibert.errors import ArtifactError
from sensibert.io import array_file, parse_record, read_arrays, write_arrays
from sensibert.models.mask import MadeFor, ModuleKey, Modules, Shape, UnitCosts, by_module, named
from sensibert.results import Passes


@dataclass(frozen=True)
class ScoreOrigin:
    """Where scores come from."""

    made_for: MadeFor
    seed: int
    tokens: int
    """Mean length of the training texts, rounded up."""
    epoch: int
    """Epochs of the pass so far."""
    passes: Passes
    """The same in passes over all the training data."""


@dataclass(frozen=True)
class ScoreFile:
    """The scores of one pass, with all that any budget needs."""

    scores: dict[str, Modules]
    """criterion -> module -> scores [heads, head size], or [1, intermediate size]."""
    costs: dict[ModuleKey, int]
    """Parameters that one dimension of a module holds."""
    grains: dict[ModuleKey, Shape]
    """What the kept heads and head sizes of a module must be multiples of."""
    units: dict[str, UnitCosts]
    """`macs` (of a text of mean length) and `size` (bytes of the weights file) -> what a dimension costs."""
    origin: ScoreOrigin
    removable: list[ModuleKey] = field(default_factory=list)
    """The modules that may keep nothing."""

    def passes_of(self, criterion: str) -> Passes:
        """What the scores of one criterion took, in passes over the training data: 0 if it reads no data."""
        return self.origin.passes if METHODS[criterion].needs_scores else 0

    def of(self, criterion: str) -> Modules:
        """The scores of one criterion.

        Raises:
            ArtifactError: the file has none.
        """
        if criterion not in self.scores:
            raise ArtifactError(f"the score file has no scores of {criterion!r}, only of {', '.join(self.scores)}")
        return self.scores[criterion]

    def unit(self, name: str) -> UnitCosts:
        """The costs in a unit other than parameters.

        Raises:
            ArtifactError: the file has none.
        """
        if name not in self.units:
            raise ArtifactError(
                f"the score file has no costs in {name!r}, only in {', '.join(['params', *self.units])}"
            )
        return self.units[name]


def write_scores(path: Path, content: ScoreFile) -> None:
    """Write a score file (safetensors; arrays named `criterion/layer.group`)."""
    tensors = {
        f"{criterion}/{key}": np.ascontiguousarray(values, dtype=np.float32)
        for criterion, modules in content.scores.items()
        for key, values in modules.items()
    }
    grains = {str(key): list(grain) for key, grain in content.grains.items()}
    units = {
        name: {"per_dimension": named(unit.per_dimension), "dense": unit.dense} for name, unit in content.units.items()
    }
    metadata = {
        "costs": named(content.costs),
        "grains": grains,
        "removable": [str(key) for key in content.removable],
        "units": units,
        "about": asdict(content.origin),
    }
    write_arrays(path, tensors, metadata)


def read_scores(path: Path) -> ScoreFile:
    """Read a score file.

    Raises:
        ArtifactError: the file is missing, damaged or not a score file.
    """
    with array_file(path):
        tensors, metadata = read_arrays(path)
        scores: dict[str, Modules] = {}
        for name, values in tensors.items():
            criterion, _, key = name.partition("/")
            scores.setdefault(criterion, {})[ModuleKey.parse(key)] = values
        costs = by_module(metadata["costs"])
        grains = {ModuleKey.parse(key): Shape(*grain) for key, grain in metadata["grains"].items()}
        units = {
            name: UnitCosts(by_module(unit["per_dimension"]), int(unit["dense"]))
            for name, unit in metadata["units"].items()
        }
        removable = [ModuleKey.parse(key) for key in metadata.get("removable", [])]
        origin = parse_record(metadata["about"], ScoreOrigin)
    ordered = {criterion: dict(sorted(modules.items())) for criterion, modules in scores.items()}
    return ScoreFile(ordered, costs, dict(sorted(grains.items())), units, origin, removable)

"""Mask rearrangement: swap units within a module, since their losses interact (arXiv 2204.09656, section 4.2).

The search counts each unit on its own. Here the Fisher information of a module is a full matrix: the loss of
dropping two units together can be more or less than the sum of both.
"""

from __future__ import annotations

import numpy as np

_LEAST_FALL = 1e-9
"""A swap must lower the loss by more than this fraction of the information's trace: rounding is not a gain."""


def block_loss(keep: np.ndarray, information: np.ndarray) -> float:
    """Twice the estimated loss of dropping units, (1 - m)ᵀ I (1 - m) (equation 9)."""
    return float(information[np.ix_(~keep, ~keep)].sum())


def rearrange(keep: np.ndarray, information: np.ndarray) -> np.ndarray:
    """Swap a kept and a dropped unit as long as the loss falls.

    The kept units are tried in the order of their importance, the least first, each against the dropped unit that
    lowers the loss most; this is repeated until no single swap helps.

    Args:
        keep: The mask that the search found [units].
        information: The Fisher information of the module [units, units].

    Returns:
        The mask after the swaps [units]: as many kept units, and no larger a loss.
    """
    keep = keep.copy()
    own = np.diag(information)
    least_fall = _LEAST_FALL * own.sum()
    shared = information[:, ~keep].sum(axis=1)  # I (1 - m)
    order = np.argsort(own, kind="stable")
    swapped = True
    while swapped:
        swapped = False
        for unit in order[keep[order]]:
            dropped = np.flatnonzero(~keep)
            changes = own[unit] + own[dropped] + 2 * (shared[unit] - shared[dropped] - information[unit, dropped])
            if changes.size and changes.min() < -least_fall:
                other = dropped[np.argmin(changes)]
                keep[unit], keep[other] = False, True
                shared += information[:, unit] - information[:, other]
                swapped = True
    return keep

"""Tests of differential splicing that know no programs, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from benchmarks.differential._beta_binomial import compare_cells, compare_donors
from benchmarks.differential._moderated_t import moderated_t
from benchmarks.differential._pseudobulk import Pseudobulk, rank_test
from scipy.stats import false_discovery_control

if TYPE_CHECKING:
    import scipy.sparse as sp


@dataclass(frozen=True)
class Tested:
    """Results of P junctions; NaN where not testable.

    Attributes
    ----------
    p, adjusted
        ``(P,)`` p values, as they are and by Benjamini and Hochberg over tested junctions.
    effect
        ``(P,)`` PSI of group 1 minus group 2.
    """

    p: np.ndarray
    adjusted: np.ndarray
    effect: np.ndarray

    @classmethod
    def of(cls, p: np.ndarray, effect: np.ndarray) -> Tested:
        """Adjust p values."""
        adjusted, tested = np.full(len(p), np.nan), ~np.isnan(p)
        if tested.any():
            adjusted[tested] = false_discovery_control(p[tested])
        return cls(p, adjusted, effect)

    def called(self, delta: float, target: float) -> np.ndarray:
        """``(P,)`` bool: adjusted p at most ``target``, and effect larger than ``delta``."""
        called: np.ndarray = (self.adjusted <= target) & (np.abs(self.effect) > delta)
        return called


def compare(
    name: str, y: sp.csr_matrix, n: sp.csr_matrix, first: np.ndarray, donor: np.ndarray
) -> Tested:
    """Compare two groups of cells by one of the :data:`ALTERNATIVES`.

    Groups are compared within donors where at least two donors have cells in both, except by the
    method that does not know donors.

    Parameters
    ----------
    name
        Of the method.
    y, n
        ``(C, P)`` counts and totals.
    first
        ``(C,)`` bool: the cell belongs to group 1, otherwise to group 2.
    donor
        ``(C,)`` labels of donors.
    """
    if name == CELLS:
        return Tested.of(*compare_cells(y, n, first))
    return Tested.of(*_OF_DONORS[name](Pseudobulk.of(y, n, first, donor)))


CELLS = "beta-binomial of cells"
_OF_DONORS = {
    "ranks of donors": rank_test,
    "moderated t of donors": moderated_t,
    "beta-binomial of donors": compare_donors,
}
ALTERNATIVES = (CELLS, *_OF_DONORS)

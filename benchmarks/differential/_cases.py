"""Simulated cohorts, how they are analyzed, and the targets.

With donors alike and equal populations, counts of a seed do not depend on the number of donors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from leafletfa_scvi.datasets import simulate_cohort

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData

DELTA, FDR_TARGET = 0.05, 0.05
N_PROGRAMS = 5
GROUP1, GROUP2 = "A", "B"
COVERED = (0.86, 0.94)


class Target(NamedTuple):
    """The least and the largest value of a column of the table, and where they come from."""

    column: str
    least: float
    most: float
    origin: str = ""

    def check(self, value: float) -> str:
        """The target in words, with ``(no)`` if it is not met."""
        if self.least <= 0:
            text = f"{self.column} <= {self.most:g}"
        elif self.most >= 1:
            text = f"{self.column} >= {self.least:.3g}"
        else:
            text = f"{self.column} {self.least:g} to {self.most:g}"
        text += f" ({self.origin})" if self.origin else ""
        return text if self.least <= value <= self.most else f"{text} (no)"


@dataclass(frozen=True)
class Case:
    """A simulation and how its samples are labeled.

    Attributes
    ----------
    simulation
        Arguments of ``simulate_cohort``.
    targets
        What is asked of the model with ``sample_key``.
    distinct
        Whether a donor counts as another one in the other group.
    """

    simulation: dict[str, Any]
    targets: tuple[Target, ...] = ()
    distinct: bool = False

    def samples(self, adata: AnnData) -> np.ndarray:
        """Label of the sample of each cell."""
        donor = adata.obs["donor"].astype(str)
        if self.distinct:
            donor = donor + adata.obs["group"].astype(str)
        return donor.to_numpy(str)


@dataclass(frozen=True)
class Cohort:
    """A simulated data set and its truth.

    Attributes
    ----------
    difference
        ``(P,)`` PSI of the population of group 1 minus that of group 2.
    atse
        ``(P,)`` ATSE of each junction.
    """

    adata: AnnData
    difference: np.ndarray = field(repr=False)
    atse: np.ndarray = field(repr=False)

    @classmethod
    def simulate(cls, arguments: dict[str, Any], seed: int) -> Cohort:
        """Draw the data of a seed."""
        adata = simulate_cohort(n_programs=N_PROGRAMS, seed=seed, **arguments)
        psi = adata.varm["psi_group_true"]
        difference = (psi[GROUP1] - psi[GROUP2]).to_numpy()
        return cls(adata, difference, adata.var["atse_id"].astype(str).to_numpy(str))


_ALIKE = {inf: "alike", 8.0: "differ at 8", 2.0: "differ at 2"}
_INTERVALS = (Target("covered", *COVERED),)
_DIFFERING = (*_INTERVALS, Target("covered, differ", *COVERED))
_NULL = (Target("runs with calls", 0, 0.10), Target("FDP", 0, 0.07), *_INTERVALS)
_PSI: dict[str, Any] = {"shift": 0.6, "shift_of": "psi"}
_ACTIVITIES: dict[str, Any] = {"shift": 0.3}
_PAIRED = _ACTIVITIES | {"n_donors": (6, 6), "paired": True, "donor_concentration": 2.0}
_CORRELATED = {"donor_concentration": 8.0, "gene_spread": 1.0}


def _power(least: float) -> tuple[Target, ...]:
    return (Target("FDP", 0, 0.07), Target("power", least, 1), *_DIFFERING)


PAIRED, UNPAIRED = "paired, donors differ at 2", "the same, samples not paired"
TIMES_UNPAIRED = 1.3

CASES: dict[str, Case] = {
    **{
        f"null, donors {alike}, {m} + {m}": Case(
            {"n_donors": (m, m), "donor_concentration": concentration}, _NULL
        )
        for concentration, alike in _ALIKE.items()
        for m in (3, 5, 10)
    },
    **{
        f"null, donors {_ALIKE[concentration]}, 5 + 5, unequal": Case(
            {"donor_concentration": concentration, "unequal": True}, _NULL
        )
        for concentration in (8.0, 2.0)
    },
    **{
        f"{what} shift, donors {_ALIKE[concentration]}": Case(
            shift | {"donor_concentration": concentration}, _power(least)
        )
        for what, shift in (("PSI", _PSI), ("activities", _ACTIVITIES))
        for concentration, least in ((inf, 0.45), (8.0, 0.30))
    },
    PAIRED: Case(_PAIRED, (Target("FDP", 0, 0.07), *_DIFFERING)),
    UNPAIRED: Case(_PAIRED, _DIFFERING, distinct=True),
    "correlated reads, null": Case(_CORRELATED, (Target("FDP", 0, 0.10), *_INTERVALS)),
    "correlated reads, PSI shift": Case(_CORRELATED | _PSI, (Target("FDP", 0, 0.10), *_DIFFERING)),
}

"""Data sets of the quality benchmark: what is trained on, what is hidden, and the truth."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import scipy.sparse as sp
from anndata import AnnData

from leafletfa_scvi import datasets
from leafletfa_scvi.data import atse_codes, holdout_mask, observed_entries

if TYPE_CHECKING:
    from collections.abc import Callable

    from leafletfa_scvi.ops import ObservedEntries

JUNCTION, CLUSTER = "cell_by_junction_matrix", "cell_by_cluster_matrix"
CHEN = "chen_mesc.h5ad"
FRACTION = 0.1
"""Share of (cell, ATSE) pairs hidden."""
RANGE = (0.005, 0.995)
"""Of predictions of other methods: without it, few reads of rare junctions decide."""
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Entries:
    """Observed entries: cell, junction, count y and total n of each, ``(nnz,)``."""

    row: np.ndarray
    column: np.ndarray
    count: np.ndarray
    total: np.ndarray

    @classmethod
    def of(cls, entries: ObservedEntries) -> Entries:
        """From the package's own."""
        row, column = entries.rows().numpy().astype(np.int64), entries.column.numpy()
        count, total = entries.count.numpy(), entries.total.numpy()
        return cls(row, column.astype(np.int64), count.astype(float), total.astype(float))

    def __len__(self) -> int:
        return len(self.row)

    def csr(self, values: np.ndarray, shape: tuple[int, int]) -> sp.csr_matrix:
        """``values`` at these entries, which are in the order of cells."""
        indptr = np.searchsorted(self.row, np.arange(shape[0] + 1))
        return sp.csr_matrix((values, self.column.astype(np.int32), indptr), shape=shape)

    def product(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """``left[row] @ right[column]`` of each entry, ``left`` C x K and ``right`` P x K."""
        out = np.empty(len(self))
        for first in range(0, len(self), _CHUNK):
            at = slice(first, first + _CHUNK)
            out[at] = np.einsum("ek,ek->e", left[self.row[at]], right[self.column[at]])
        return out


@dataclass(frozen=True)
class Truth:
    """Activities C x K, programs P x K and concentration that data were drawn from."""

    activities: np.ndarray
    programs: np.ndarray
    concentration: float


@dataclass(frozen=True)
class Case:
    """A data set with a part hidden.

    Attributes
    ----------
    name, data_seed
        What it is; the seed of simulation and hold-out.
    n_programs
        K to fit.
    adata
        For training: layers of what stays, the original's ``obs`` and ``var``.
    training, hidden
        Entries that stay, and those that do not.
    truth
        Of simulations.
    labels
        Cell types of real data.
    """

    name: str
    data_seed: int
    n_programs: int
    adata: AnnData
    training: Entries
    hidden: Entries
    truth: Truth | None = None
    labels: np.ndarray | None = None
    cache: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and junctions."""
        return self.adata.shape

    def mean(self) -> np.ndarray:
        """Mean PSI of each junction in training, ``(P,)``: the reference of all deviations.

        Each entry weighs n (1 + r) / (n + r), r = 9, as beta-binomial counts of concentration 9
        ask for, with two entries' worth of the mean of all junctions; taken into ``RANGE``.
        """
        if "mean" not in self.cache:
            t, size = self.training, self.shape[1]
            weight = 10.0 * t.total / (t.total + 9.0)
            used = np.bincount(t.column, weight * t.count / t.total, size)
            seen = np.bincount(t.column, weight, size)
            overall = used.sum() / seen.sum()
            self.cache["mean"] = np.clip((used + 2.0 * overall) / (seen + 2.0), *RANGE)
        return self.cache["mean"]

    def pooled_mean(self) -> np.ndarray:
        """Share of all training reads of its ATSE that a junction has, ``(P,)``."""
        t, size = self.training, self.shape[1]
        reads = np.bincount(t.column, t.total, size)
        return (np.bincount(t.column, t.count, size) + 0.5) / (reads + 1.0)


def holdout(
    adata: AnnData,
    n_programs: int,
    name: str,
    seed: int,
    *,
    atse_key: str = "atse_id",
    truth: Truth | None = None,
    labels: np.ndarray | None = None,
    fraction: float = FRACTION,
) -> Case:
    """Hide a share of the (cell, ATSE) pairs of a data set, which stays as it is."""
    entries = observed_entries(adata, JUNCTION, CLUSTER)
    hide = holdout_mask(entries, atse_codes(adata, atse_key)[0], fraction, seed)
    training, hidden = Entries.of(entries.keep(~hide)), Entries.of(entries.keep(hide))
    layers = {
        JUNCTION: training.csr(training.count.astype(np.int32), adata.shape),
        CLUSTER: training.csr(training.total.astype(np.int32), adata.shape),
    }
    kept = AnnData(obs=adata.obs.copy(), var=adata.var.copy(), layers=layers, shape=adata.shape)
    return Case(name, seed, n_programs, kept, training, hidden, truth, labels)


def simulated(
    name: str,
    seed: int,
    *,
    n_cells: int,
    n_atses: int,
    n_programs: int,
    fit: int = 0,
    **options: Any,
) -> Case:
    """A case of ``lfa.datasets.simulate_splicing``; ``fit`` is K to fit where another."""
    adata = datasets.simulate_splicing(n_cells, n_atses, n_programs, seed=seed, **options)
    truth = Truth(
        adata.obsm["phi_true"], adata.varm["psi_true"], adata.uns["truth"]["concentration"]
    )
    key = "atse_id" if "atse_id" in adata.var else "atse"
    return holdout(adata, fit or n_programs, name, seed, atse_key=key, truth=truth)


_SIMULATION = {"n_cells": 3000, "n_atses": 780, "n_programs": 10, "coverage": 0.2}


def simulation(seed: int = 0, name: str = "simulation", **options: Any) -> Case:
    """3,000 cells, about 2,700 junctions, K = 10, 20 % coverage; ``options`` override."""
    return simulated(name, seed, **(_SIMULATION | options))


def small(seed: int = 0, name: str = "small", **options: Any) -> Case:
    """600 cells, about 830 junctions, K = 5, 20 % coverage."""
    size = {"n_cells": 600, "n_atses": 237, "n_programs": 5, "coverage": 0.2}
    return simulated(name, seed, **(size | options))


def sparse(seed: int = 0, name: str = "sparse", **options: Any) -> Case:
    """4,000 cells, about 4,100 junctions, K = 15, 7 % coverage."""
    size = {"n_cells": 4000, "n_atses": 1170, "n_programs": 15, "coverage": 0.07}
    return simulated(name, seed, **(size | options))


def tiny(seed: int = 0, name: str = "tiny", **options: Any) -> Case:
    """200 cells, about 210 junctions, K = 3: to try the benchmark itself."""
    size = {"n_cells": 200, "n_atses": 60, "n_programs": 3, "coverage": 0.4}
    return simulated(name, seed, **(size | options))


def chen_path() -> Path:
    """Where the real data are, by ``LEAFLETFA_TEST_DATA``."""
    default = Path(__file__).parents[3] / "shared" / "data"
    return Path(os.environ.get("LEAFLETFA_TEST_DATA", default)) / CHEN


def chen(seed: int = 0, name: str = "chen", n_programs: int = 8) -> Case:
    """488 mouse cells, 12,374 columns of cassette exons, K = 8; ``seed`` is of the hold-out."""
    path = chen_path()
    if not path.exists():
        raise FileNotFoundError(f"No {path}: set LEAFLETFA_TEST_DATA to the folder of {CHEN}.")
    adata = anndata.read_h5ad(path)
    labels = adata.obs["cell_type"].astype(str).to_numpy()
    return holdout(adata, n_programs, name, seed, labels=labels)


@dataclass(frozen=True)
class Family:
    """How to make a case from a data seed, with which seeds by default.

    ``crossed``: each method seed is tried on each data seed; else they are the same.
    """

    make: Callable[[int], Case]
    seeds: int
    crossed: bool = False


def _family(make: Callable[..., Case], name: str, seeds: int, **options: Any) -> Family:
    return Family(partial(make, name=name, **options), seeds)


CASES = {
    "simulation": _family(simulation, "simulation", 10),
    "simulation bb": _family(simulation, "simulation bb", 3, likelihood="betabinomial"),
    "small": _family(small, "small", 10),
    "small bb": _family(small, "small bb", 10, likelihood="betabinomial"),
    "sparse": _family(sparse, "sparse", 5),
    "chen": Family(chen, 3, crossed=True),
    "tiny": _family(tiny, "tiny", 1),
}
GROUPS: dict[str, list[str]] = {}
"""Names that stand for several cases; values that "simulation" has are left to it."""
for _group, _option, _values in (
    ("coverage", "coverage", (0.05, 0.1, 0.35, 0.5)),
    ("cells", "n_cells", (300, 1000, 10000)),
    ("differing", "frac_differential", (0.05, 0.8)),
    ("K", "fit", (5, 15, 20)),
):
    GROUPS[_group] = [f"{_group} {value}" for value in _values]
    for _name, _value in zip(GROUPS[_group], _values, strict=True):
        CASES[_name] = _family(simulation, _name, 3, **{_option: _value})
GROUPS["all"] = [name for name in CASES if name != "tiny"]

"""Cells of known type: counts drawn around the PSI of real groups of cells, at any coverage."""

from __future__ import annotations

from functools import cache

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from benchmarks.quality._cases import CLUSTER, JUNCTION, Case, Truth, chen_path, holdout
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD

_GROUPS_PER_TYPE = 2
_OVERDISPERSION = 0.1
_MEAN_READS = 2.0
"""Weight of the mean PSI of all cells in that of a group."""
_SD_ATSE, _SD_CELL = 1.0, 0.4
"""Of the logarithm of expression and of depth."""


@cache
def group_psi() -> np.ndarray:
    """PSI of cassette exons, exons x groups: each cell type of the mouse cells in two parts.

    The parts are k-means groups of the directions of the cells of a type on five components.
    """
    adata = anndata.read_h5ad(chen_path())
    included = adata.var_names.str.endswith(":inclusion")
    y, n = (
        adata.layers[name][:, included].toarray().astype(float) for name in (JUNCTION, CLUSTER)
    )
    weight = np.where(n > 0, n / (1.0 + _OVERDISPERSION * (n - 1.0)), 0.0)
    usage = np.divide(y, n, out=np.zeros_like(y), where=n > 0)
    mean = (weight * usage).sum(0) / weight.sum(0)
    residual = np.where(n > 0, (usage - mean) * np.sqrt(weight), 0.0)
    types, columns = adata.obs["cell_type"].astype(str).to_numpy(), []
    for name in np.unique(types):
        cells = np.flatnonzero(types == name)
        centered = residual[cells] - residual[cells].mean(0)
        scores = TruncatedSVD(5, random_state=0).fit_transform(centered)
        scores /= np.linalg.norm(scores, axis=1, keepdims=True)
        part = KMeans(_GROUPS_PER_TYPE, n_init=10, random_state=0).fit_predict(scores)
        for p in range(_GROUPS_PER_TYPE):
            of = cells[part == p]
            reads = weight[of].sum(0)
            used = (weight[of] * usage[of]).sum(0) + _MEAN_READS * mean
            columns.append(used / (reads + _MEAN_READS))
    return np.stack(columns, axis=1)


def sorted_cells(
    seed: int,
    coverage: float,
    *,
    n_cells: int = 3000,
    n_atses: int = 625,
    mean_depth: float = 10.0,
    concentration: float = 20.0,
) -> Case:
    """Cells of eight groups, each of one program, ``n_atses`` exons drawn at random.

    Parameters
    ----------
    seed
        Of exons, cells, reads and hold-out.
    coverage
        Share of (cell, ATSE) pairs observed.
    n_cells, n_atses
        Numbers of cells and exons; an exon has two junctions.
    mean_depth
        Mean reads of an observed pair.
    concentration
        kappa of the beta-binomial.
    """
    rng = np.random.default_rng([seed, 7])
    table = group_psi()
    psi = table[np.sort(rng.choice(len(table), n_atses, replace=False))]
    n_groups = psi.shape[1]
    group = rng.integers(n_groups, size=n_cells)
    rate = np.exp(rng.normal(0.0, _SD_ATSE, n_atses) + rng.normal(0.0, _SD_CELL, n_cells)[:, None])
    row, atse = np.nonzero(rng.random(rate.shape) < _observed(rate, coverage))
    total = 1 + rng.negative_binomial(1.0, 1.0 / mean_depth, len(row))
    mean = psi[atse, group[row]]
    count = rng.binomial(total, rng.beta(concentration * mean, concentration * (1.0 - mean)))

    rows, columns = np.repeat(row, 2), np.stack([2 * atse, 2 * atse + 1], 1).ravel()
    shape = n_cells, 2 * n_atses
    values = {
        JUNCTION: np.stack([count, total - count], 1).ravel(),
        CLUSTER: np.repeat(total, 2),
    }
    indptr = np.searchsorted(rows, np.arange(n_cells + 1))
    layers = {
        name: sp.csr_matrix((x.astype(np.int32), columns, indptr), shape=shape)
        for name, x in values.items()
    }
    labels = np.array([f"group {g}" for g in group])
    adata = AnnData(
        obs=pd.DataFrame({"cell_type": labels}, index=[f"cell_{c}" for c in range(n_cells)]),
        var=pd.DataFrame(
            {"atse_id": [f"exon_{a}" for a in np.repeat(np.arange(n_atses), 2)]},
            index=[f"junction_{j}" for j in range(shape[1])],
        ),
        layers=layers,
        shape=shape,
    )
    programs = np.stack([psi, 1.0 - psi], 1).reshape(shape[1], n_groups)
    truth = Truth(np.eye(n_groups)[group], programs, concentration)
    name = f"sorted {coverage}"
    return holdout(adata, n_groups, name, seed, truth=truth, labels=labels)


def _observed(rate: np.ndarray, coverage: float) -> np.ndarray:
    """Chance of each pair, 1 - exp(-c rate), with c such that their mean is ``coverage``."""
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        chance = -np.expm1(-np.exp(middle) * rate)
        low, high = (middle, high) if chance.mean() < coverage else (low, middle)
    return chance

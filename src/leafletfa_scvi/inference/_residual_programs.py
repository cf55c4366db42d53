"""Start of programs that a reference lacks, from cells that its programs do not explain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.cluster import KMeans
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits

from leafletfa_scvi.inference._initialization import Initialization, weighted_reads
from leafletfa_scvi.likelihoods._mean_psi import junction_mean_psi

if TYPE_CHECKING:
    from leafletfa_scvi.inference._clusters import WeightedReads
    from leafletfa_scvi.likelihoods import Factors
    from leafletfa_scvi.ops import ObservedEntries

_MIN_VARIANCE, _FLOOR = 0.01, 1e-3
_GROUPS, _GROUPS_PER_PROGRAM = 4, 4
_COMPONENTS, _COMPONENTS_PER_PROGRAM = 3, 2
_PSEUDO_READS = 3.0
_OWN_SHARE, _OTHER_SHARE = 0.7, 0.05
_BLOCK = 1 << 22


def residual_programs(
    entries: ObservedEntries,
    factors: Factors,
    n_extra: int,
    atse: torch.Tensor | None,
    seed: int,
) -> Initialization:
    """Add programs of cells whose reads the given programs do not explain.

    Residuals of the expected PSI, divided by their standard deviation, are clustered as in
    :func:`waypoints`, by direction. One after the other, the group is chosen whose own programs
    raise the quasi-log-likelihood of all cells most above that of the given programs and of the
    groups before it. The programs of a group are those of its pooled reads; its own cells are
    scored by the programs of the other half of the group, as they would otherwise be explained by
    their own noise.

    Parameters
    ----------
    entries
        Observed entries of B cells.
    factors
        Activities ``(B, K)`` and programs ``(P, K)``.
    n_extra
        Number of programs E to add.
    atse
        ``(P,)`` 0-based ATSE of each junction. If None, each junction is its own.
    seed
        Seed of the SVD, of k-means and of the halves.

    Returns
    -------
    Activities ``(B, K + E)`` and programs ``(P, K + E)``. Programs beyond the number of groups
    are the mean PSI of the junctions.
    """
    entries, factors = entries.to("cpu"), factors.to("cpu")
    mean = junction_mean_psi(entries)
    atse = torch.arange(entries.n_junctions, device="cpu") if atse is None else atse
    reads = weighted_reads(entries, atse)
    explained, residuals = _explained(entries, factors, reads)
    group = _groups(residuals, n_extra, seed)
    candidates, scores = _candidates(reads, mean.double().numpy(), group, seed)
    best, chosen = explained.copy(), []
    for _ in range(min(n_extra, len(candidates))):
        gains = np.maximum(scores - best[:, None], 0.0).sum(0)
        chosen.append(int(gains.argmax()))
        best = np.maximum(best, scores[:, chosen[-1]])
    extra = mean[:, None].repeat(1, n_extra)
    share = np.full((entries.n_cells, n_extra), _OTHER_SHARE / n_extra)
    for k, g in enumerate(chosen):
        own = (scores[:, g] >= best) & (scores[:, g] > explained)
        # Without the cells of the group that other programs explain better.
        pooled = _pooled(reads, mean.double().numpy(), own) if own.any() else candidates[g]
        extra[:, k] = torch.from_numpy(pooled).float()
        share[own, k] += _OWN_SHARE
    added = torch.from_numpy(share).float()
    phi = torch.cat([factors.phi * (1.0 - added.sum(1, keepdim=True)), added], 1)
    return Initialization(phi, torch.cat([factors.psi, extra], 1))


def _explained(
    entries: ObservedEntries, factors: Factors, reads: WeightedReads
) -> tuple[np.ndarray, sp.csr_matrix]:
    """Compute the quasi-log-likelihood ``(B,)`` of cells, and the residuals ``(B, P)``."""
    explained = np.empty(entries.n_cells)
    values = np.empty(entries.n_entries, np.float32)
    for cells, block in entries.blocks(_BLOCK):
        p = factors.select(cells).expected_psi(block).double().numpy().clip(_FLOOR, 1.0 - _FLOOR)
        count, total = reads.count[cells], reads.total[cells]
        y, n = count.data, total.data
        value = y * np.log(p) + (n - y) * np.log1p(-p)
        shape = (block.n_cells, block.n_junctions)
        weighted = sp.csr_matrix((value, count.indices, count.indptr), shape=shape)
        explained[cells] = weighted @ reads.composite_weight
        first = int(entries.indptr[cells.start])
        variance = np.maximum(p * (1.0 - p), _MIN_VARIANCE) * np.maximum(n, _FLOOR)
        values[first : first + len(p)] = (y - n * p) / np.sqrt(variance)
    shape = (entries.n_cells, entries.n_junctions)
    layout = entries.column.numpy(), entries.indptr.numpy()
    return explained, sp.csr_matrix((values, *layout), shape=shape)


def _groups(residuals: sp.csr_matrix, n_extra: int, seed: int) -> np.ndarray:
    """Group cells by the direction of their residuals, ``(B,)``; -1 without a direction."""
    rank = min(_COMPONENTS + _COMPONENTS_PER_PROGRAM * n_extra, *residuals.shape)
    with threadpool_limits(1):
        u, s, _ = randomized_svd(residuals, rank, random_state=seed, n_iter=5)
    scores = u * s
    length = np.linalg.norm(scores, axis=1)
    group = np.full(len(scores), -1)
    placed = np.flatnonzero((np.diff(residuals.indptr) > 0) & (length > 1e-8))
    if not len(placed):
        return group
    directions = scores[placed] / length[placed, None]
    distinct = len(np.unique(directions.round(6), axis=0))
    weight = np.minimum(length[placed], np.quantile(length[placed], 0.95)) ** 2
    n_groups = min(_GROUPS + _GROUPS_PER_PROGRAM * n_extra, distinct)
    with threadpool_limits(1):
        means = KMeans(n_groups, n_init=5, random_state=seed)
        group[placed] = means.fit(directions, sample_weight=weight).labels_
    return group


def _candidates(
    reads: WeightedReads, mean: np.ndarray, group: np.ndarray, seed: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Compute the programs ``(P,)`` of each group, and the score ``(B, G)`` of each cell."""
    half = np.random.default_rng(seed).permutation(len(group)) % 2
    programs = []
    scores = np.empty((len(group), group.max() + 1))
    for g in range(scores.shape[1]):
        inside = group == g
        programs.append(_pooled(reads, mean, inside))
        scores[:, g] = _score(reads, programs[-1])
        for part in (0, 1):
            own, others = inside & (half == part), inside & (half != part)
            if own.any():
                scores[own, g] = _score(reads, _pooled(reads, mean, others), own)
    return programs, scores


def _pooled(reads: WeightedReads, mean: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Compute the PSI ``(P,)`` of the pooled reads of cells, shrunk toward the mean."""
    count, total = (np.asarray(x[cells].sum(0)).ravel() for x in (reads.count, reads.total))
    psi: np.ndarray = (_PSEUDO_READS * mean + count) / (_PSEUDO_READS + total)
    return psi


def _score(reads: WeightedReads, psi: np.ndarray, cells: np.ndarray | None = None) -> np.ndarray:
    """Compute the quasi-log-likelihood of cells under one program."""
    chosen = slice(None) if cells is None else cells
    psi = psi.clip(_FLOOR, 1.0 - _FLOOR)
    inside = reads.composite_weight * (np.log(psi) - np.log1p(-psi))
    outside = reads.composite_weight * np.log1p(-psi)
    value: np.ndarray = reads.count[chosen] @ inside + reads.total[chosen] @ outside
    return value

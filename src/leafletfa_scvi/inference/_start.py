"""Where inference starts: clusters of cells in the space of centred PSI."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.cluster import KMeans
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from leafletfa_scvi.ops import ObservedEntries

_OVERDISPERSION = 0.1
_COMPONENTS_PER_PROGRAM = 1.5
_MIN_VARIANCE = 0.01
_LONGEST = 0.95
_OWN_SHARE = 0.7
_PSEUDO_READS = 2.0

Residuals = Literal["centred", "pearson"]


class Start(NamedTuple):
    """First activities ``phi`` (B, K) and programs ``psi`` (P, K), float32."""

    phi: torch.Tensor
    psi: torch.Tensor


def junction_usage(entries: ObservedEntries, pseudo_reads: float = _PSEUDO_READS) -> torch.Tensor:
    """Mean PSI of each junction over cells, ``(P,)`` float32 in (0, 1).

    Reads of a cell weigh n / (1 + rho (n - 1)), rho = 0.1, as their over-dispersion asks for. The
    mean is shrunk by ``pseudo_reads`` towards the mean of all junctions, which a junction without
    any observed entry is given.
    """
    used, seen = torch.zeros(2, entries.n_junctions, device=entries.device)
    for _, block in entries.blocks():
        column, weight = block.column.long(), _precision(block)
        used.index_add_(0, column, weight * (block.count / block.total))
        seen.index_add_(0, column, weight)
    overall = used.sum() / seen.sum().clamp(min=1e-12)
    mean = (used + pseudo_reads * overall) / (seen + pseudo_reads)
    return mean.clamp(1e-4, 1.0 - 1e-4)


def _precision(entries: ObservedEntries) -> torch.Tensor:
    n = entries.total.float()
    return n / (1.0 + _OVERDISPERSION * (n - 1.0))


def _residuals(entries: ObservedEntries, mean: torch.Tensor, kind: Residuals) -> sp.csr_matrix:
    """Weighted residuals of :func:`waypoints`, ``(B, P)`` float32."""
    values = np.empty(entries.n_entries, np.float32)
    for cells, block in entries.blocks():
        m = mean[block.column.long()]
        precision = _precision(block)
        if kind == "pearson":
            precision = precision / (m * (1.0 - m)).clamp(min=_MIN_VARIANCE)
        first = int(entries.indptr[cells.start])
        centred = block.count / block.total - m
        values[first : first + block.n_entries] = (centred * precision.sqrt()).numpy()
    shape = (entries.n_cells, entries.n_junctions)
    return sp.csr_matrix((values, entries.column.numpy(), entries.indptr.numpy()), shape=shape)


def waypoints(
    entries: ObservedEntries, n_programs: int, seed: int, residuals: Residuals = "centred"
) -> Start:
    """Start from K groups of cells with like splicing.

    Centred PSI, (y / n - mean of the junction) times the root of its beta-binomial precision, is
    0 where nothing was observed. Its leading singular vectors, half as many again as programs,
    give each cell a direction; k-means of the directions (not of the scores, where a few outlying
    cells would take a group each) gives the groups, and their pooled reads the programs.

    Pearson residuals are also divided by the standard deviation sqrt(m (1 - m)) of their junction,
    and k-means then weighs a cell by the squared length of its scores, at most their 95 %
    quantile. Either finds programs that the other misses: try both.

    Parameters
    ----------
    entries
        Observed entries of B cells and P junctions.
    n_programs
        Number of programs K. Beyond the number of distinct cells, the further programs start at
        the junction means.
    seed
        Seed of the SVD and of k-means.
    residuals
        ``"centred"`` or ``"pearson"``.
    """
    entries = entries.to("cpu")
    mean = junction_usage(entries)
    matrix = _residuals(entries, mean, residuals)
    n_components = min(max(ceil(_COMPONENTS_PER_PROGRAM * n_programs), 2), *matrix.shape)
    with threadpool_limits(1):
        u, s, _ = randomized_svd(matrix, n_components, random_state=seed, n_iter=5)
        scores = u * s
        length = np.linalg.norm(scores, axis=1, keepdims=True)
        has_entries = np.diff(matrix.indptr) > 0  # rows of zeros have scores of rounding noise
        placed = np.flatnonzero(has_entries & (length[:, 0] > 1e-8))
        directions = scores[placed] / length[placed]
        n_groups = min(n_programs, len(np.unique(directions.round(6), axis=0)))
        group = np.full(entries.n_cells, -1)
        if n_groups:
            reach = np.minimum(length[placed, 0], np.quantile(length[placed, 0], _LONGEST))
            weight = reach**2 if residuals == "pearson" else None
            means = KMeans(n_groups, n_init=10, random_state=seed)
            group[placed] = means.fit(directions, sample_weight=weight).labels_
    return _from_groups(entries, torch.from_numpy(group), mean, n_programs)


def _from_groups(
    entries: ObservedEntries, group: torch.Tensor, mean: torch.Tensor, n_programs: int
) -> Start:
    """Programs pooled over groups of cells; group -1 belongs to all of them alike."""
    phi = torch.full((entries.n_cells, n_programs), (1.0 - _OWN_SHARE) / n_programs)
    member = group >= 0
    phi[member, group[member]] += _OWN_SHARE
    phi[~member] = 1.0 / n_programs
    used, seen = torch.zeros(2, entries.n_junctions * n_programs)
    for cells, block in entries.blocks():
        owner = group[cells].repeat_interleave(block.indptr.diff())
        inside = owner >= 0
        weight = _precision(block)[inside]
        flat = (block.column.long() * n_programs + owner)[inside]
        used.index_add_(0, flat, weight * (block.count / block.total)[inside])
        seen.index_add_(0, flat, weight)
    used, seen = used.view(-1, n_programs), seen.view(-1, n_programs)
    psi = (used + _PSEUDO_READS * mean[:, None]) / (seen + _PSEUDO_READS)
    return Start(phi, psi)


def random_start(entries: ObservedEntries, n_programs: int, seed: int) -> Start:
    """Start from activities drawn from a flat Dirichlet and programs around the junction means."""
    generator = torch.Generator().manual_seed(seed)
    gamma = -torch.rand(entries.n_cells, n_programs, generator=generator).clamp(min=1e-6).log()
    phi = gamma / gamma.sum(1, keepdim=True)
    noise = torch.randn(entries.n_junctions, n_programs, generator=generator)
    psi = torch.sigmoid(torch.logit(junction_usage(entries.to("cpu")))[:, None] + noise)
    return Start(phi, psi)

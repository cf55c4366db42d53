"""Initialization: clusters of cells with similar splicing, reduced to as many as programs."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.cluster import KMeans
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits

from leafletfa_scvi.inference._clusters import SoftClusters, WeightedReads
from leafletfa_scvi.inference._dispersion import sample_cells
from leafletfa_scvi.likelihoods import LIKELIHOODS
from leafletfa_scvi.likelihoods._mean_psi import composite_weight, junction_mean_psi, precision
from leafletfa_scvi.priors import MixturePrior

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from leafletfa_scvi.ops import ObservedEntries

_COMPONENTS_PER_GROUP = 1.5
_MAX_COMPONENTS = 50
_GROUPS_PER_PROGRAM, _SHARED_GROUPS = 3, 2
_MIN_VARIANCE = 0.01
_LONGEST = 0.95
_OWN_SHARE = 0.7
_MAX_ENTRIES = 1 << 23
"""Maximum number of entries that clusters are fitted to; larger data are sampled by cells."""
_MAX_PRODUCTS = 200_000_000
"""Maximum number of entries times clusters."""
_TRIES, _TRIED_ENTRIES = 3, 500_000
_ITERATIONS, _SHARED_ITERATIONS = (15, 3, 40), (8, 2, 4)
"""Iterations of clusters before, between and after merging: for one K, and for several."""

Residuals = Literal["centered", "pearson"]
_KINDS: tuple[Residuals, ...] = ("pearson", "centered")


class Initialization(NamedTuple):
    """Initial activities ``phi`` (B, K) and programs ``psi`` (P, K), float32."""

    phi: torch.Tensor
    psi: torch.Tensor


class Waypoints(NamedTuple):
    """Groups of cells that programs are initialized from.

    Attributes
    ----------
    start
        Initial activities and programs.
    cells
        ``(S,)`` positions of the cells that the groups were found on, all of them in data of up
        to about 8 million observed entries, or fewer for more than 8 programs.
    scores
        ``(S, D)`` their scores on the leading components of centered PSI.
    positions
        ``(K, D)`` mean scores of the groups; 0 for programs that have none.
    log_likelihood
        Quasi-log-likelihood of these cells, each in one group.
    explained
        ``(D,)`` share of each component in the sum of squares of the weighted, centered PSI of
        the observed entries of these cells.
    """

    start: Initialization
    cells: np.ndarray
    scores: np.ndarray
    positions: np.ndarray
    log_likelihood: float
    explained: np.ndarray


def waypoints(
    entries: ObservedEntries,
    n_programs: int,
    seed: int,
    atse: torch.Tensor | np.ndarray | None = None,
    callback: Callable[[int, int], None] | None = None,
) -> Waypoints:
    """Initialize programs from K groups of cells with similar splicing.

    Centered PSI, (y / n - mean of the junction) times the root of its beta-binomial precision, is
    0 if nothing was observed. Its leading singular vectors give each cell a direction, and k-means
    gives three times as many groups as programs. It clusters directions and not scores, as a few
    outlying cells would then take a group each. The groups are fitted as soft clusters, and those
    that others explain best are dropped until K are left: see :class:`SoftClusters`. This is done
    for two kinds of residuals, plain and divided by the standard deviation sqrt(m (1 - m)) of
    their junction, and the better groups are used.

    Parameters
    ----------
    entries
        Observed entries of B cells and P junctions.
    n_programs
        Number of programs K. Beyond the number of distinct cells, the further programs are
        the junction means.
    seed
        Seed of the SVD and of k-means.
    atse
        ``(P,)`` 0-based ATSE of each junction. If None, each junction is its own.
    callback
        Called after each grouping of the cells with their number and how many there will be.
    """
    return waypoint_path(entries, [n_programs], seed, atse, callback=callback)[n_programs]


def waypoint_path(
    entries: ObservedEntries,
    numbers: Sequence[int],
    seed: int,
    atse: torch.Tensor | np.ndarray | None = None,
    n_tries: int | None = None,
    callback: Callable[[int, int], None] | None = None,
) -> dict[int, Waypoints]:
    """Initialize programs as :func:`waypoints` does, for several K from the same groups of cells.

    Twice as many groups as the largest K (three times as many, if it is the only one) are dropped
    one after the other until each K is left in turn, so that the groups of a smaller K are among
    those of a larger one. The SVD, k-means and most of the fits of clusters are done once for all.

    Parameters
    ----------
    entries, seed, atse
        As of :func:`waypoints`.
    numbers
        Numbers of programs K.
    n_tries
        Number of times that k-means is repeated for each kind of residuals. If None, 3 for small
        data and 1 otherwise.
    callback
        As of :func:`waypoints`.

    Returns
    -------
    The waypoints of each K, as many as those of :func:`waypoints` if there is only one.
    """
    entries = entries.to("cpu")
    mean = junction_mean_psi(entries)
    if atse is None:
        atse = torch.arange(entries.n_junctions, device="cpu")
    atse = torch.as_tensor(atse, device="cpu")
    numbers = sorted(numbers, reverse=True)
    per_program, iterations = _SHARED_GROUPS, _SHARED_ITERATIONS
    if len(numbers) == 1:
        per_program, iterations = _GROUPS_PER_PROGRAM, _ITERATIONS
    n_first, n_between, n_last = iterations
    most = min(_MAX_ENTRIES, _MAX_PRODUCTS // (per_program * numbers[0]))
    cells = sample_cells(entries, most, seed)
    sample = entries if cells is None else entries.select(cells)
    cells = torch.arange(entries.n_cells, device="cpu") if cells is None else cells
    reads = weighted_reads(sample, atse)
    prior = MixturePrior(LIKELIHOODS["betabinomial"]).first_fit(mean, atse)
    best = None
    n_tries = _n_tries(sample, n_tries)
    groupings = _groupings(sample, mean, numbers[0], seed, per_program, n_tries)
    for i, (group, scores, explained) in enumerate(groupings, 1):
        n_groups = group.max() + 1
        clusters = SoftClusters(reads, prior, _membership(group, n_groups)).run(n_first)
        clusters.merge_to(min(numbers[0], n_groups), n_between).run(n_last)
        if best is None or clusters.log_likelihood > best[0].log_likelihood:
            best = clusters, scores, explained
        if callback is not None:
            callback(i, len(_KINDS) * n_tries)
    path = {}
    for k in numbers:
        if best is None:  # nothing was observed
            flat = mean.new_full((entries.n_cells, k), 1.0 / k)
            start = Initialization(flat, mean[:, None].repeat(1, k))
            none = np.zeros((len(cells), 2))
            path[k] = Waypoints(start, cells.numpy(), none, np.zeros((k, 2)), 0.0, np.zeros(2))
            continue
        clusters, scores, explained = best
        if clusters.membership.shape[1] > k:
            clusters.merge_to(k, n_between).run(n_last)
        share = clusters.membership / clusters.membership.sum(0).clip(min=1e-12)
        positions = np.zeros((k, scores.shape[1]))
        positions[: share.shape[1]] = share.T @ scores
        start = _from_clusters(clusters, entries, sample, atse, mean, k)
        found = scores, positions, clusters.log_likelihood, explained
        path[k] = Waypoints(start, cells.numpy(), *found)
    return path


def weighted_reads(entries: ObservedEntries, atse: torch.Tensor) -> WeightedReads:
    """Weight the reads of entries on the CPU by :func:`precision`."""
    weight = precision(entries.total).numpy()
    count = (entries.count.float() / entries.total).numpy() * weight
    layout = entries.column.numpy(), entries.indptr.numpy()
    shape = (entries.n_cells, entries.n_junctions)
    return WeightedReads(
        sp.csr_matrix((count, *layout), shape=shape),
        sp.csr_matrix((weight, *layout), shape=shape),
        composite_weight(atse).numpy(),
    )


def _residuals(entries: ObservedEntries, mean: torch.Tensor, kind: Residuals) -> sp.csr_matrix:
    """Compute the weighted residuals of :func:`waypoints`, ``(B, P)`` float32."""
    values = np.empty(entries.n_entries, np.float32)
    for cells, block in entries.blocks():
        m = mean[block.column.long()]
        weight = precision(block.total)
        if kind == "pearson":
            weight = weight / (m * (1.0 - m)).clamp(min=_MIN_VARIANCE)
        first = int(entries.indptr[cells.start])
        centered = block.count.float() / block.total - m
        values[first : first + block.n_entries] = (centered * weight.sqrt()).numpy()
    shape = (entries.n_cells, entries.n_junctions)
    return sp.csr_matrix((values, entries.column.numpy(), entries.indptr.numpy()), shape=shape)


def _n_tries(entries: ObservedEntries, given: int | None) -> int:
    """Return how often k-means is repeated for each kind of residuals."""
    if given is not None:
        return given
    return _TRIES if entries.n_entries <= _TRIED_ENTRIES else 1


def _groupings(
    entries: ObservedEntries,
    mean: torch.Tensor,
    n_programs: int,
    seed: int,
    groups_per_program: int = _GROUPS_PER_PROGRAM,
    n_tries: int | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Group cells by direction (-1 without one); yield groups, scores ``(B, D)`` and their shares.

    The share of a component, ``(D,)``, is that of the sum of squares of the residuals.

    Cells weigh as the squared length of their scores, limited to its 95 % quantile. For small
    data, k-means is repeated with several seeds for each kind of residuals.
    """
    n_components = min(ceil(_COMPONENTS_PER_GROUP * n_programs), _MAX_COMPONENTS)
    for kind in _KINDS:
        matrix = _residuals(entries, mean, kind)
        rank = min(max(n_components, 2), *matrix.shape)
        with threadpool_limits(1):
            u, s, _ = randomized_svd(matrix, rank, random_state=seed, n_iter=5)
        scores = u * s
        explained = s**2 / max(float(np.square(matrix.data, dtype=np.float64).sum()), 1e-12)
        length = np.linalg.norm(scores, axis=1, keepdims=True)
        has_entries = np.diff(matrix.indptr) > 0  # rows of zeros have scores of rounding noise
        placed = np.flatnonzero(has_entries & (length[:, 0] > 1e-8))
        if not len(placed):
            continue
        directions = scores[placed] / length[placed]
        distinct = len(np.unique(directions.round(6), axis=0))
        weight = np.minimum(length[placed, 0], np.quantile(length[placed, 0], _LONGEST)) ** 2
        for i in range(_n_tries(entries, n_tries)):
            means = KMeans(
                min(groups_per_program * n_programs, distinct), n_init=3, random_state=seed + i
            )
            group = np.full(entries.n_cells, -1)
            with threadpool_limits(1):
                group[placed] = means.fit(directions, sample_weight=weight).labels_
            yield group, scores, explained


def _membership(group: np.ndarray, n_groups: int) -> np.ndarray:
    """Make nearly hard memberships; those of unassigned cells are uniform."""
    member = np.full((len(group), n_groups), 1.0 / n_groups)
    placed = group >= 0
    member[placed] = 1e-3 / n_groups
    member[placed, group[placed]] += 1.0 - 1e-3
    return member


def _from_clusters(
    clusters: SoftClusters,
    entries: ObservedEntries,
    sample: ObservedEntries,
    atse: torch.Tensor,
    mean: torch.Tensor,
    n_programs: int,
) -> Initialization:
    """Initialize from clusters; programs beyond their number are the junction means."""
    psi = mean[:, None].repeat(1, n_programs)
    phi = mean.new_full((entries.n_cells, n_programs), (1.0 - _OWN_SHARE) / n_programs)
    n_clusters = clusters.membership.shape[1]
    psi[:, :n_clusters] = torch.from_numpy(clusters.programs)
    if sample is entries:
        phi[:, :n_clusters] += _OWN_SHARE * torch.from_numpy(clusters.membership)
        return Initialization(phi, psi)
    for cells, block in entries.blocks(_MAX_ENTRIES):
        joint = torch.from_numpy(clusters.log_joint(weighted_reads(block, atse)))
        phi[cells, :n_clusters] += _OWN_SHARE * joint.softmax(1).float()
    return Initialization(phi, psi)


def random_initialization(entries: ObservedEntries, n_programs: int, seed: int) -> Initialization:
    """Draw activities from a flat Dirichlet and programs around the junction means."""
    generator = torch.Generator("cpu").manual_seed(seed)
    how: Any = {"generator": generator, "dtype": torch.float32, "device": "cpu"}
    gamma = -torch.rand(entries.n_cells, n_programs, **how).clamp(min=1e-6).log()
    phi = gamma / gamma.sum(1, keepdim=True)
    noise = torch.randn(entries.n_junctions, n_programs, **how)
    psi = torch.sigmoid(torch.logit(junction_mean_psi(entries.to("cpu")))[:, None] + noise)
    return Initialization(phi, psi)

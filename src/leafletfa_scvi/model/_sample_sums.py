"""Reads and activities of cells, summed over the cells of each sample and group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
import torch

from leafletfa_scvi.likelihoods import Factors
from leafletfa_scvi.model._cells import cell_variance
from leafletfa_scvi.model._expected import own_expected_psi

if TYPE_CHECKING:
    from leafletfa_scvi.model._base import SplicingModelBase
    from leafletfa_scvi.model._cells import CellPosterior

_BLOCK_ENTRIES = 1 << 20
_CLIP = 1e-6
_DISPERSION_PSEUDOCOUNT = 10.0


@dataclass(frozen=True)
class SampleSums:
    """Sums over the cells of S samples and G groups, for K programs and P junctions.

    Attributes
    ----------
    n_cells
        ``(S, G)`` number of cells.
    activity
        ``(S, G, K)`` sum of activities.
    square
        ``(S, G, K, K)`` sum of the outer products of activities.
    uncertainty
        ``(S, G, K, K)`` sum of the posterior covariances of activities.
    weight
        ``(S, G, P)`` sum of the effective numbers of reads, n (kappa + 1) / (kappa + n).
    expected, deviation
        ``(S, G, P)`` sums, with these weights, of expected PSI p of the cells with reads, and of
        the deviations of their reads from it, y / n - p.
    observed_activity
        ``(G, P, K)`` sum, with these weights, of the activities of the cells with reads.
    weight_square
        ``(G, P)`` sum of the squares of these weights.
    count, total
        ``(G, P)`` sums of junction counts and ATSE totals.
    n_observed
        ``(G, P)`` number of cells with n > 0.
    dispersion
        ``(P,)`` mean squared deviation relative to the beta-binomial variance, over all cells and
        shrunken towards 1.
    """

    n_cells: np.ndarray
    activity: np.ndarray
    square: np.ndarray
    uncertainty: np.ndarray
    weight: np.ndarray
    expected: np.ndarray
    deviation: np.ndarray
    observed_activity: np.ndarray
    weight_square: np.ndarray
    count: np.ndarray
    total: np.ndarray
    n_observed: np.ndarray
    dispersion: np.ndarray


def sample_sums(
    model: SplicingModelBase,
    cells: CellPosterior,
    psi: torch.Tensor,
    kappa: np.ndarray,
    samples: np.ndarray,
    groups: np.ndarray,
    by_batch: torch.Tensor | None = None,
) -> SampleSums:
    """Sum over the cells of each sample and group.

    Parameters
    ----------
    model, cells
        Trained model, and n cells with their reads.
    psi
        ``(P, K)`` programs.
    kappa
        ``(P,)`` concentrations, finite.
    samples, groups
        ``(n,)`` sample and group of each cell, from 0; cells with -1 in either are left out.
    by_batch
        ``(batches, P, K)`` programs in each batch, from which reads then deviate: expected PSI is
        without the shifts of batches. None without batches.
    """
    n_samples, n_groups = int(samples.max()) + 1, int(groups.max()) + 1
    n_junctions, n_programs = psi.shape
    shape = n_samples, n_groups
    sums = SampleSums(
        n_cells=np.zeros(shape, np.int64),
        activity=np.zeros((*shape, n_programs)),
        square=np.zeros((*shape, n_programs, n_programs)),
        uncertainty=np.zeros((*shape, n_programs, n_programs)),
        weight=np.zeros((*shape, n_junctions), np.float32),
        expected=np.zeros((*shape, n_junctions), np.float32),
        deviation=np.zeros((*shape, n_junctions), np.float32),
        observed_activity=np.zeros((n_groups, n_junctions, n_programs), np.float32),
        weight_square=np.zeros((n_groups, n_junctions)),
        count=np.zeros((n_groups, n_junctions)),
        total=np.zeros((n_groups, n_junctions)),
        n_observed=np.zeros((n_groups, n_junctions), np.int64),
        dispersion=np.zeros(n_junctions),
    )
    phi, variance = cells.mean, cell_variance(model, cells).numpy()
    entries = cells.observed()
    unit = np.where((samples >= 0) & (groups >= 0), samples * n_groups + groups, -1)
    order = np.argsort(unit, kind="stable")
    starts = np.searchsorted(unit[order], np.arange(n_samples * n_groups + 1))
    for position in np.flatnonzero(np.diff(starts)):
        rows = order[starts[position] : starts[position + 1]]
        s, g = divmod(int(position), n_groups)
        sums.n_cells[s, g] = len(rows)
        chosen = torch.from_numpy(rows)
        _add_activities(sums, s, g, phi[chosen].numpy().astype(np.float64), variance[rows])
        for part, block in entries.select(chosen).blocks(_BLOCK_ENTRIES):
            activities = phi[chosen[part]]
            p = Factors(activities, psi).expected_psi(block)
            own = p if by_batch is None else own_expected_psi(block, activities, by_batch)
            column = block.column.numpy()
            y, n = (x.numpy().astype(np.float64) for x in (block.count, block.total))
            expected, own_expected = (
                np.clip(x.numpy().astype(np.float64), _CLIP, 1.0 - _CLIP) for x in (p, own)
            )
            weight = n * (kappa[column] + 1.0) / (kappa[column] + n)
            deviation = y / n - own_expected

            def by_junction(values: np.ndarray, column: np.ndarray = column) -> np.ndarray:
                return np.bincount(column, values, minlength=n_junctions)

            sums.weight[s, g] += by_junction(weight)
            sums.expected[s, g] += by_junction(weight * expected)
            sums.deviation[s, g] += by_junction(weight * deviation)
            by_cell = sp.csr_matrix(
                (weight.astype(np.float32), column, block.indptr.numpy()),
                shape=(block.n_cells, n_junctions),
            )
            sums.observed_activity[g] += by_cell.T @ activities.numpy()
            sums.weight_square[g] += by_junction(weight**2)
            sums.count[g] += by_junction(y)
            sums.total[g] += by_junction(n)
            sums.n_observed[g] += np.bincount(column, minlength=n_junctions)
            sums.dispersion[:] += by_junction(
                weight * deviation**2 / (own_expected * (1.0 - own_expected))
            )
    observed = sums.n_observed.sum(0)
    sums.dispersion[:] = (sums.dispersion + _DISPERSION_PSEUDOCOUNT) / (
        observed + _DISPERSION_PSEUDOCOUNT
    )
    return sums


def _add_activities(
    sums: SampleSums, s: int, g: int, phi: np.ndarray, variance: np.ndarray
) -> None:
    """Add the activities of cells, and their covariances.

    A cell's posterior covariance is that of a Dirichlet distribution with its mean and the total
    of its variances, so that activities still sum to one.
    """
    sums.activity[s, g] = phi.sum(0)
    sums.square[s, g] = phi.T @ phi
    scale = variance.sum(1) / np.maximum((phi * (1.0 - phi)).sum(1), 1e-9)
    scaled = phi * scale[:, None]
    sums.uncertainty[s, g] = np.diag(scaled.sum(0)) - scaled.T @ phi

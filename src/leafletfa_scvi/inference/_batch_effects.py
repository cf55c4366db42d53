"""Shifts of PSI in each batch, by empirical Bayes.

The derivative g and the information I of the likelihood about a shift d_bj give an estimate
d_bj + g / I with variance 1 / I (a step of Fisher scoring), for given activities and programs.
Most junctions do not shift: the prior is a mixture of normal distributions around 0, one of them a
point mass, whose weights are fitted to all estimates, and shifts are posterior means (adaptive
shrinkage, Stephens 2017). Shifts of a junction sum to zero over batches, as their mean belongs to
the programs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from leafletfa_scvi import ops
from leafletfa_scvi.inference._curvature import weighted_entries
from leafletfa_scvi.inference._expected_counts import on_device
from leafletfa_scvi.likelihoods import BatchShift, Factors, likelihood_of

if TYPE_CHECKING:
    from leafletfa_scvi.likelihoods import Likelihood
    from leafletfa_scvi.ops import Entries, ObservedEntries

SHIFT_SCALES = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Standard deviations of the components of the prior of shifts, on the logit scale."""
_NULL_COUNT = 10.0
"""Pseudo-count of the point mass at 0, so that it is not given up for want of evidence."""
_WEIGHT_STEPS, _WEIGHT_TOLERANCE = 1000, 1e-5
_WEIGHT_SAMPLE = 100_000
"""Number of estimates that the weights are fitted to, if there are more."""
_POSTERIOR_PART = 1 << 16
"""Number of shifts whose posterior is computed at a time."""
_MAX_SHIFT = 6.0
_BLOCK = 1 << 22
_FIRST_STEPS = 4
_FIRST_KAPPA = 10.0


@dataclass(frozen=True)
class BatchEffects:
    """Shifts of B batches and what is known of them.

    Attributes
    ----------
    shift
        Posterior means, ``(B, P')``.
    variance
        ``(B, P')`` posterior variances.
    probability_zero
        ``(B, P')`` posterior probability that there is no shift (local false discovery rate).
    """

    shift: BatchShift
    variance: torch.Tensor
    probability_zero: torch.Tensor

    @classmethod
    def none(cls, n_batches: int, n_rows: int, atse: torch.Tensor | None) -> BatchEffects:
        """Return no shifts."""
        zero = torch.zeros(n_batches, n_rows, dtype=torch.float32, device="cpu")
        return cls(BatchShift(zero, atse), zero, torch.ones_like(zero))


@torch.no_grad()
def fit_batch_effects(
    entries: Entries,
    factors: Factors,
    backend: str | None = None,
    *,
    center: bool = True,
    program_variance: torch.Tensor | None = None,
) -> BatchEffects:
    """Fit the shifts of all batches, given activities and programs.

    Parameters
    ----------
    entries
        Entries with columns for each batch.
    factors
        Factors, with the present shifts.
    backend
        Backend of :mod:`leafletfa_scvi.ops`.
    center
        Shifts of a junction sum to zero over batches. False for batches that are compared with
        those of a reference.
    program_variance
        ``(P',)`` variance of the logits of the programs, if they were fitted to other cells.
    """
    shift = factors.shift
    assert shift is not None
    slope, information = _slope_and_information(entries, factors, backend)
    values = shift.values.double().cpu().numpy()
    # A step is limited: far from the optimum, derivative and information say little.
    step = np.divide(slope, information, out=np.zeros_like(slope), where=information > 0)
    estimate = np.clip(values + np.clip(step, -2.0, 2.0), -_MAX_SHIFT, _MAX_SHIFT)
    if program_variance is not None:
        known = program_variance.double().cpu().numpy()
        information = information / (1.0 + information * known)
    mean, variance, zero, _ = shrink(estimate, information)
    if center:
        mean -= mean.mean(0)
    like = shift.values
    return BatchEffects(
        replace(shift, values=torch.from_numpy(mean).to(like)),
        torch.from_numpy(variance).to(like),
        torch.from_numpy(zero).to(like),
    )


def shrink(
    estimate: np.ndarray, information: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Fit the prior of shifts to their estimates, and compute their posterior.

    Parameters
    ----------
    estimate
        Estimates of any shape.
    information
        Their precisions; 0 where nothing was observed.

    Returns
    -------
    Posterior means, variances and probabilities of 0, of that shape, and weights ``(R,)``, the
    share of estimates at each of :data:`SHIFT_SCALES`.
    """
    scale = np.square(SHIFT_SCALES)[:, None]
    informed = information > 1e-8
    every = max(np.count_nonzero(informed) // _WEIGHT_SAMPLE, 1)
    sample = _density(estimate[informed][::every], information[informed][::every])
    weights = np.full(len(scale), 1.0 / len(scale))
    for _ in range(_WEIGHT_STEPS):
        count = weights * (sample @ (1.0 / (weights @ sample)))
        count[0] += _NULL_COUNT
        before, weights = weights, count / count.sum()
        if np.abs(weights - before).max() < _WEIGHT_TOLERANCE:
            break
    mean, variance, zero = (np.zeros(estimate.shape) for _ in range(3))
    zero += weights[0]
    variance += weights @ scale[:, 0]
    # Part by part, as there is a value for each component of the prior.
    positions = np.flatnonzero(informed)
    for at in np.array_split(positions, len(positions) // _POSTERIOR_PART + 1):
        x, precision = estimate.flat[at], information.flat[at]
        chance = weights[:, None] * _density(x, precision)
        chance /= chance.sum(0)
        part = scale / (scale + 1.0 / precision)
        moment = (chance * part).sum(0) * x
        square = (chance * (part / precision + (part * x) ** 2)).sum(0)
        mean.flat[at], variance.flat[at] = moment, square - moment**2
        zero.flat[at] = chance[0]
    return mean, variance, zero, weights


def _density(x: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Densities of estimates under each component of the prior, up to a factor, ``(R, n)``."""
    total = np.square(SHIFT_SCALES)[:, None] + 1.0 / precision
    density: np.ndarray = -0.5 * (x**2 / total + np.log(total))
    density = np.exp(density - density.max(0, initial=-np.inf))
    return density


def first_batch_effects(
    pooled: Entries,
    batch: torch.Tensor,
    n_batches: int,
    likelihood: Likelihood,
    atse: torch.Tensor,
) -> BatchEffects:
    """Fit the shifts of batches to the mean PSI of all cells, before there are programs.

    They are right if batches have the same mix of cells; EM fits them again.

    Parameters
    ----------
    pooled
        Entries of all cells, without columns for each batch.
    batch
        ``(B,)`` 0-based batch of each cell.
    n_batches
        Number of batches.
    likelihood
        Likelihood of the entries.
    atse
        ``(P',)`` 0-based ATSE of each row of the programs.
    """
    pooled = pooled.to("cpu")
    mean = likelihood.mean_psi(pooled).cpu()[:, None]
    entries = ops.split_by_batch(pooled, batch.cpu(), n_batches)
    kappa = torch.tensor(_FIRST_KAPPA) if likelihood.has_concentration else None
    none = BatchEffects.none(n_batches, len(mean), atse.cpu() if likelihood.shares_reads else None)
    factors = Factors(torch.ones(pooled.n_cells, 1), mean, kappa, none.shift)
    effects = none
    for _ in range(_FIRST_STEPS):
        effects = fit_batch_effects(entries, factors)
        factors = replace(factors, shift=effects.shift)
    return effects


def without_batch_effects(
    entries: ObservedEntries, mean: torch.Tensor, shift: BatchShift
) -> ObservedEntries:
    """Subtract from PSI how far the mean of its junction is shifted in the batch of the cell.

    Counts are then fractions: they are for clusters of cells, not for likelihoods.

    Parameters
    ----------
    entries
        Observed entries with the batches of their cells, without columns for each batch.
    mean
        ``(P',)`` mean PSI.
    shift
        Shifts of the batches.
    """
    assert entries.batch is not None
    table = shift.by_batch(shift.programs(mean[:, None]))[..., 0]
    change = (table - mean)[:, : entries.n_junctions].to(entries.device)
    at = change[entries.batch.repeat_interleave(entries.indptr.diff()), entries.column.long()]
    total = entries.total.float()
    count = torch.minimum((entries.count.float() - total * at).clamp(min=0.0), total)
    return replace(entries, count=count, total=total, _cache={}, _derived={})


def _slope_and_information(
    entries: Entries, factors: Factors, backend: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Compute derivative and information of the log-likelihood about each shift, ``(B, P')``."""
    shift = factors.shift
    assert shift is not None
    slope, information = np.zeros(shift.values.shape), np.zeros(shift.values.shape)
    for cells, block in on_device(entries, factors.phi.device):
        for own, each in factors.select(cells).in_batches(block):
            counts = each.expected_counts(own.entries, backend)
            excess = shift.excess(each.psi, counts.inclusion, counts.exclusion)
            slope[own.batch] += excess.double().sum(1).cpu().numpy()
    entries = entries.to("cpu")
    likelihood = likelihood_of(entries)
    for own, each in factors.to("cpu").in_batches(entries):
        spread = each.psi * (1.0 - each.psi)
        for cells, weighted in weighted_entries(own.entries, each, _BLOCK):
            block = own.entries.scored.slice_cells(cells)
            move = ops.expected_psi(each.phi[cells], spread, block).double().numpy()
            weight = likelihood.program_information(weighted.weights.data, weighted.probability)
            column = block.column.numpy()
            information[own.batch] += np.bincount(column, weight * move**2, minlength=len(spread))
    return slope, information

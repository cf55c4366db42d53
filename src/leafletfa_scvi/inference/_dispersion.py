"""The concentration kappa: one for all junctions, or one for each."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from leafletfa_scvi.likelihoods import Factors

if TYPE_CHECKING:
    from leafletfa_scvi.likelihoods import BatchShift
    from leafletfa_scvi.ops import Entries

_MAX_ENTRIES = 100_000
_MIN_CELLS = 256
"""Minimum number of sampled cells, as few cells do not represent all."""
_BOUNDS = (0.05, 1e5)
_JUNCTION_BOUNDS = (0.1, 3000.0)
_N_KNOTS, _N_FINE = 12, 111
_EM_STEPS = 40
_MIN_INFORMATION = 1e-6
"""Minimum range of a junction's log-likelihood over the grid, in nats, to be informative."""
_MIN_SPREAD, _MAX_SPREAD = 0.1, 3.0


def sample_cells(entries: Entries, n_entries: int, seed: int) -> torch.Tensor | None:
    """Sample cells with about ``n_entries`` entries; None if all cells have no more than that."""
    if entries.n_entries <= n_entries:
        return None
    n_cells = max(int(entries.n_cells * (n_entries / entries.n_entries)), _MIN_CELLS)
    if n_cells >= entries.n_cells:
        return None
    generator = torch.Generator("cpu").manual_seed(seed)
    return (
        torch.randperm(entries.n_cells, generator=generator, device="cpu")[:n_cells].sort().values
    )


def fit_concentration(
    entries: Entries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    seed: int = 0,
    shift: BatchShift | None = None,
) -> float:
    """Fit kappa by maximum likelihood at given phi and psi, to cells with 100,000 entries."""
    factors, device = Factors(phi, psi, None, shift), phi.device
    sampled = sample_cells(entries, _MAX_ENTRIES, seed)
    if sampled is not None:
        entries = entries.select(sampled.to(entries.device))
        factors = factors.select(sampled.to(device))
    entries = entries.to(device)

    def loss(log_kappa: float) -> float:
        kappa = torch.tensor(np.exp(log_kappa), dtype=torch.float64, device=device)
        return -float(replace(factors, kappa=kappa).log_likelihood(entries).sum())

    bounds = tuple(np.log(_BOUNDS))
    fit = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 0.02})
    return float(np.exp(fit.x))


class JunctionDispersion(NamedTuple):
    """Concentrations log-normal about a common median.

    Attributes
    ----------
    kappa
        ``(P,)`` concentration of each junction, or of each ATSE.
    median
        Their median.
    spread
        Standard deviation of their logarithms.
    """

    kappa: torch.Tensor
    median: float
    spread: float


def fit_junction_dispersion(
    entries: Entries,
    draws: list[Factors],
    first: float,
    backend: str | None = None,
) -> JunctionDispersion:
    """Fit one kappa for each junction, or for each ATSE, by empirical Bayes.

    The log-likelihood of a junction as a function of log kappa is the integral of a spline through
    its derivative on a grid. A log-normal distribution of kappa over junctions is then fitted by
    EM on a finer grid, and each junction gets its posterior mean of log kappa.

    Parameters
    ----------
    entries
        Observed entries of B cells.
    draws
        Activities and programs over which log-likelihoods are averaged.
    first
        A single kappa, from which the fit of the distribution begins.
    backend
        Backend of :mod:`leafletfa_scvi.ops`.
    """
    size = entries.observed.n_junctions
    shift = draws[0].shift
    if shift is not None and shift.atse is None:
        size //= shift.n_batches

    low, high = (math.log(bound) for bound in _JUNCTION_BOUNDS)
    # The kernels give derivatives of all junctions at once, and those are smooth in log kappa: few
    # sweeps at knots replace a search for each junction. Constants of integration cancel.
    knots = np.linspace(low, high, _N_KNOTS)
    slopes = np.zeros((_N_KNOTS, size))
    for draw in draws:
        for part, each in draw.parts(entries):
            for i, kappa in enumerate(np.exp(knots)):
                every = torch.full((size,), kappa, dtype=torch.float32, device=entries.device)
                counts = replace(each, kappa=every).expected_counts(part, backend)
                slopes[i] += kappa / len(draws) * counts.concentration_grad.double().cpu().numpy()
    fine = np.linspace(low, high, _N_FINE)
    profile = CubicSpline(knots, slopes).antiderivative()(fine)  # (grid, P)
    informed = np.ptp(profile, axis=0) > _MIN_INFORMATION
    center, spread = float(np.clip(math.log(first), low, high)), 1.0
    if not informed.any():
        kappa = np.full(profile.shape[1], first)
        return JunctionDispersion(torch.from_numpy(kappa).float(), first, _MIN_SPREAD)
    # Junctions without information would only confirm the current distribution, and slow EM down.
    for _ in range(_EM_STEPS):
        chance = _posterior(profile[:, informed], fine, center, spread)
        moments = chance.sum(1) / chance.sum()
        center = float(moments @ fine)
        spread = float(np.sqrt(moments @ (fine - center) ** 2))
        spread = min(max(spread, _MIN_SPREAD), _MAX_SPREAD)
    kappa = np.exp(fine @ _posterior(profile, fine, center, spread))
    return JunctionDispersion(torch.from_numpy(kappa).float(), float(np.exp(center)), spread)


def _posterior(profile: np.ndarray, grid: np.ndarray, center: float, spread: float) -> np.ndarray:
    """Compute probabilities of each junction's log kappa, ``(grid, P)``."""
    prior = -0.5 * ((grid - center) / spread) ** 2
    return softmax(profile + prior[:, None], axis=0)

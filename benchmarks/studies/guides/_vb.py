"""Variational Bayes in closed form: coordinate ascent over Beta and Dirichlet posteriors.

Tables of the beta-binomial and their allocation to programs are latent beside phi and psi. With
phi~, psi~1 and psi~0 the exponentials of the mean logs of phi, psi and 1 - psi, U1 = phi~ psi~1
and U0 = phi~ psi~0, an entry's mean tables are

    t1 = kappa U1 [digamma(y + kappa U1) - digamma(kappa U1)],  allocated by phi~ psi~1 / U1,

t0 likewise, and what an entry adds to the bound is that of the beta-binomial with kappa U1 and
kappa U0 in place of kappa p and kappa q, its normaliser being that of kappa.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from scipy.special import digamma, gammaln, polygamma

if TYPE_CHECKING:
    from leafletfa_scvi.inference import EMResult
    from leafletfa_scvi.module import LeafletFAModule
    from leafletfa_scvi.ops import ObservedEntries

_CHUNK = 1 << 18
_TOLERANCE = 1e-6
_LEAST_ALPHA = 1e-3


class Coordinates(NamedTuple):
    """Concentrations of the posteriors of phi ``(B, K)`` and psi ``(P, K)``, and their priors.

    ``alpha``: of phi; ``weights``: of the strengths of the prior of psi; ``bound``: at the start
    of each iteration, so that what is returned is past the last.
    """

    activities: np.ndarray
    inclusion: np.ndarray
    exclusion: np.ndarray
    alpha: np.ndarray
    weights: np.ndarray
    bound: list[float]


def coordinate_ascent(
    module: LeafletFAModule,
    fit: EMResult,
    entries: ObservedEntries,
    start: tuple[np.ndarray, np.ndarray, np.ndarray],
    n_iterations: int,
) -> Coordinates:
    """Ascend from ``start``, with the kappa of ``fit``.

    Strengths of the prior of psi have posteriors of their own; their weights, and alpha of the
    prior of phi, are fitted (empirical Bayes).
    """
    a, up, down = start
    rows, cols = entries.rows().numpy(), entries.column.numpy()
    y, n = (t.double().numpy() for t in (entries.count, entries.total))
    kappa = np.asarray(fit.concentration, float)
    kappa = kappa[cols] if kappa.ndim else np.full(len(cols), float(kappa))
    layout = cols, entries.indptr.numpy()
    shape = entries.n_cells, entries.n_junctions
    fixed = (gammaln(kappa) - gammaln(kappa + n)).sum()
    fixed += (gammaln(n + 1) - gammaln(y + 1) - gammaln(n - y + 1)).sum()
    prior = _Strengths(module, fit)
    alpha = (fit.activity_concentration * fit.prevalence).double().numpy().clip(_LEAST_ALPHA)
    bound: list[float] = []
    for _ in range(n_iterations):
        log_phi = digamma(a) - digamma(a.sum(1, keepdims=True))
        whole = digamma(up + down)
        log_up, log_down = digamma(up) - whole, digamma(down) - whole
        prior.update(log_up, log_down)
        alpha = dirichlet_fit(log_phi.mean(0), alpha)
        phi, ones, zeros = np.exp(log_phi), np.exp(log_up), np.exp(log_down)
        value, given = fixed, []
        for programs, count in ((ones, y), (zeros, n - y)):
            u = kappa * _products(phi, programs, rows, cols)
            value += (gammaln(count + u) - gammaln(u)).sum()
            weight = kappa * (digamma(count + u) - digamma(u))
            given.append(sp.csr_matrix((weight, *layout), shape=shape))
        value -= _dirichlet_divergence(a, log_phi, alpha)
        value -= prior.divergence(up, down, log_up, log_down)
        bound.append(float(value))
        a = alpha + phi * (given[0] @ ones + given[1] @ zeros)
        strength = prior.strength()[:, None]
        up = strength * prior.mean + ones * (given[0].T @ phi)
        down = strength * (1.0 - prior.mean) + zeros * (given[1].T @ phi)
        if len(bound) > 1 and bound[-1] - bound[-2] < _TOLERANCE * abs(bound[-1]):
            break
    return Coordinates(a, up, down, alpha, prior.mixture.weights.numpy(), bound)


def _products(
    left: np.ndarray, right: np.ndarray, rows: np.ndarray, cols: np.ndarray
) -> np.ndarray:
    out = np.empty(len(rows))
    for first in range(0, len(rows), _CHUNK):
        at = slice(first, first + _CHUNK)
        out[at] = np.einsum("ek,ek->e", left[rows[at]], right[cols[at]])
    return out


class _Strengths:
    """Posterior of the strength of each ATSE under the mixture prior."""

    def __init__(self, module: LeafletFAModule, fit: EMResult) -> None:
        model = module.model
        weights = fit.prior.weights.clone()
        self.mixture = model.prior.distribution(model, weights)
        self.strengths = self.mixture.prior_concentrations.double().numpy()
        self.mean = self.mixture.prior_mean.double().numpy()[:, None]
        self.index = model.groups.index.numpy()
        self.chance = np.tile(weights.double().numpy(), (model.groups.n_groups, 1))

    def update(self, log_up: np.ndarray, log_down: np.ndarray) -> None:
        """Posterior of strengths, then their weights."""
        m, k = self.mean, log_up.shape[1]
        fit = m * (log_up - np.log(m)) + (1.0 - m) * (log_down - np.log1p(-m))
        of_atse = np.bincount(self.index, fit.sum(1), len(self.chance))[:, None]
        constants = k * self.mixture.constants.double().numpy()
        value = np.log(self.mixture.weights.double().numpy())
        value = value + self.strengths * of_atse - constants
        value -= value.max(1, keepdims=True)
        self.chance = np.exp(value) / np.exp(value).sum(1, keepdims=True)
        weights = self.chance.mean(0).clip(1e-3)
        self.mixture.weights = torch.from_numpy(weights / weights.sum()).float()

    def strength(self) -> np.ndarray:
        """Mean strength ``(P,)``."""
        return (self.chance @ self.strengths)[self.index]

    def divergence(
        self, up: np.ndarray, down: np.ndarray, log_up: np.ndarray, log_down: np.ndarray
    ) -> float:
        density = gammaln(up + down) - gammaln(up) - gammaln(down)
        density += (up - 1.0) * log_up + (down - 1.0) * log_down
        logs = (torch.from_numpy(x) for x in (log_up, log_down))
        return float(density.sum() - self.mixture._marginalized(*logs))


def _dirichlet_divergence(a: np.ndarray, mean_log: np.ndarray, alpha: np.ndarray) -> float:
    own = gammaln(a.sum(1)) - gammaln(a).sum(1) + ((a - 1.0) * mean_log).sum(1)
    prior = gammaln(alpha.sum()) - gammaln(alpha).sum() + mean_log @ (alpha - 1.0)
    return float((own - prior).sum())


def dirichlet_fit(mean_log: np.ndarray, alpha: np.ndarray, n_steps: int = 20) -> np.ndarray:
    """Dirichlet of highest likelihood given mean logs ``(K,)``, by Newton steps in log alpha."""
    for _ in range(n_steps):
        gradient = alpha * (digamma(alpha.sum()) - digamma(alpha) + mean_log)
        curvature = alpha**2 * polygamma(1, alpha) + alpha * 0.1
        alpha = alpha * np.exp(np.clip(gradient / curvature, -0.5, 0.5))
        alpha = alpha.clip(_LEAST_ALPHA, 1e3)
    return alpha

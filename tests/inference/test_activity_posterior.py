"""Activities integrated out: bound and posterior means against numerical integration."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.entries import entries_of
from scipy.special import betaln, digamma, logsumexp

from leafletfa_scvi import inference
from leafletfa_scvi.inference import Initialization, fit_em, program_prior
from leafletfa_scvi.inference._activity_posterior import geometric_mean, simplex

PSI = np.array([[0.95, 0.1], [0.9, 0.3], [0.2, 0.7], [0.5, 0.5], [0.15, 0.8]])
GRID = (np.arange(20_000) + 0.5) / 20_000
KAPPA, ALPHA = 12.0, np.array([0.7, 0.5])


@pytest.fixture(scope="module")
def drawn():
    """Reads of 40 cells, most with few reads, some without any."""
    rng = np.random.default_rng(0)
    phi = rng.dirichlet(ALPHA, 40)
    n = rng.poisson(3, (40, 5)) * (rng.random((40, 5)) < 0.5)
    p = phi @ PSI.T
    return rng.binomial(n, rng.beta(KAPPA * p, KAPPA * (1 - p))), n


def integrated(y, n):
    """Log-likelihood of a cell over all activities, and their posterior mean."""
    p = GRID[:, None] * PSI[:, 0] + (1 - GRID[:, None]) * PSI[:, 1]
    a, b = KAPPA * p, KAPPA * (1 - p)
    log = (betaln(a + y, b + n - y) - betaln(a, b)).sum(1)
    log += (ALPHA[0] - 1) * np.log(GRID) + (ALPHA[1] - 1) * np.log1p(-GRID) - betaln(*ALPHA)
    total = logsumexp(log)
    return total - np.log(len(GRID)), float((np.exp(log - total) * GRID).sum())


def fitted(y, n, kappa=KAPPA):
    entries = entries_of(y, n)
    start = Initialization(torch.full((len(y), 2), 0.5), torch.from_numpy(PSI).float())
    return fit_em(
        entries,
        start,
        program_prior("junction", inference.junction_mean_psi(entries)),
        concentration=kappa,
        prevalence=torch.from_numpy(ALPHA / ALPHA.sum()).float(),
        activity_concentration=float(ALPHA.sum()),
        learn_programs=False,
        learn_concentration=False,
        tolerance=0.0,
    )


def test_the_objective_is_a_close_lower_bound(drawn):
    """Binomial coefficients, which the integral leaves out, are those of the log-likelihood."""
    y, n = drawn
    fit = fitted(y, n)
    exact = np.array([integrated(*cell)[0] for cell in zip(y, n, strict=True)])
    alike = torch.full((len(y), 2), 0.5)
    factors = type(fit.factors)(alike, torch.full((5, 2), 0.5), torch.tensor(KAPPA))
    entries = entries_of(y, n)
    plain = (betaln(KAPPA / 2 + y, KAPPA / 2 + n - y) - betaln(KAPPA / 2, KAPPA / 2)).sum()
    coefficients = float(factors.log_likelihood(entries).sum()) - plain
    gap = exact.sum() + coefficients - fit.objective[-1]
    assert 0 < gap < 0.5 * len(y)
    assert fit.objective[0] < fit.objective[-1]


def test_activities_are_posterior_means(drawn):
    y, n = drawn
    fit = fitted(y, n)
    exact = np.array([integrated(*cell)[1] for cell in zip(y, n, strict=True)])
    found = fit.phi[:, 0].numpy()
    assert np.abs(found - exact).mean() < 0.08
    assert np.corrcoef(found, exact)[0, 1] > 0.97
    empty = n.sum(1) == 0
    np.testing.assert_allclose(found[empty], ALPHA[0] / ALPHA.sum(), rtol=1e-5)


def test_many_reads_leave_no_difference_from_the_mode():
    n = np.full((6, 5), 4000)
    phi = np.array([[0.1, 0.9], [0.3, 0.7], [0.5, 0.5], [0.6, 0.4], [0.8, 0.2], [0.95, 0.05]])
    y = np.round(n * (phi @ PSI.T)).astype(int)
    fit = fitted(y, n, kappa=1e4)
    np.testing.assert_allclose(fit.phi, phi, atol=0.01)


def test_geometric_mean_by_hand():
    concentration = np.array([[0.5, 2.0, 7.0], [30.0, 1.0, 0.2]])
    want = np.exp(digamma(concentration))
    want /= want.sum(1, keepdims=True)
    found = geometric_mean(torch.from_numpy(concentration))
    np.testing.assert_allclose(found, want, rtol=1e-3, atol=2e-6)


def test_simplex_raises_small_values():
    found = simplex(torch.tensor([[0.0, 1.0], [2.0, 2.0]]))
    np.testing.assert_allclose(found, [[1e-6, 1.0], [0.5, 0.5]], rtol=1e-4)

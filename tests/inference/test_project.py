"""Activities of cells under given programs, against the exact posterior and the truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import beta, betabinom, binom

import leafletfa_scvi as lfa
from leafletfa_scvi.inference import fit_activities


@pytest.fixture(scope="module")
def adata():
    return lfa.datasets.simulate_splicing(
        40, 60, 2, coverage=0.5, differing=0.5, likelihood="betabinomial", seed=5
    )


@pytest.fixture(scope="module")
def psi(adata):
    return torch.from_numpy(adata.varm["psi_true"]).float()


def fitted(adata, psi, kappa=20.0, alpha=(0.6, 0.4), **options):
    entries = lfa.data.observed_entries(adata)
    return fit_activities(entries, psi, lambda: psi, kappa, torch.tensor(alpha), **options).numpy()


@pytest.mark.parametrize("kappa", [20.0, None])
def test_mean_and_width_are_those_of_the_exact_posterior(adata, psi, kappa):
    """With two programs the posterior of a cell is a curve over (0, 1)."""
    adata = adata[:12].copy()
    found = fitted(adata, psi, kappa, n_steps=300)
    y, n = (
        adata.layers[k].toarray() for k in ("cell_by_junction_matrix", "cell_by_cluster_matrix")
    )
    grid = (np.arange(2000) + 0.5) / 2000
    p = (
        grid[:, None] * adata.varm["psi_true"][:, 0]
        + (1 - grid[:, None]) * adata.varm["psi_true"][:, 1]
    )
    mean_error, ratio = [], []
    for c in range(12):
        seen = n[c] > 0
        args = (y[c, seen], n[c, seen])
        if kappa is None:
            log = binom.logpmf(*args, p[:, seen])
        else:
            log = betabinom.logpmf(*args, kappa * p[:, seen], kappa * (1 - p[:, seen]))
        log = log.sum(1) + beta.logpdf(grid, 0.6, 0.4)
        weight = np.exp(log - log.max())
        weight /= weight.sum()
        mean = weight @ grid
        sd = np.sqrt(weight @ (grid - mean) ** 2)
        guess = beta(found[c, 0], found[c, 1])
        mean_error.append(guess.mean() - mean)
        ratio.append(guess.std() / sd)
    assert np.abs(mean_error).max() < 0.03
    assert 0.8 < np.median(ratio) < 1.2


def test_activities_are_the_true_ones_under_the_true_programs(adata, psi):
    found = fitted(adata, psi)
    phi = found / found.sum(1, keepdims=True)
    assert np.corrcoef(phi[:, 0], adata.obsm["phi_true"][:, 0])[0, 1] > 0.97
    assert np.abs(phi - adata.obsm["phi_true"]).mean() < 0.06


def test_cells_without_data_have_the_prior(adata, psi):
    entries = lfa.data.observed_entries(adata)
    entries = entries.keep(entries.rows() > 2)
    alpha = torch.tensor([0.9, 0.2])
    found = fit_activities(entries, psi, lambda: psi, 20.0, alpha, n_steps=5)
    np.testing.assert_array_equal(found[:3], alpha.expand(3, 2))
    assert (found[3:] != alpha).all()


def test_blocks_of_cells_make_little_difference(adata, psi):
    whole = fitted(adata, psi)
    parts = fitted(adata, psi, max_entries=2000)
    mean = [x / x.sum(1, keepdims=True) for x in (whole, parts)]
    assert np.abs(mean[0] - mean[1]).max() < 0.05


def test_uncertain_programs_are_drawn_and_widen_the_posterior(adata, psi):
    calls = []
    posterior = torch.distributions.Beta(0.2 + 3 * psi, 0.2 + 3 * (1 - psi))

    def draw():
        calls.append(1)
        return posterior.sample()

    entries = lfa.data.observed_entries(adata)
    alpha = torch.tensor([0.6, 0.4])
    vague = fit_activities(entries, psi, draw, 20.0, alpha)
    assert len(calls) == 150
    assert vague.sum(1).mean() < 0.7 * fitted(adata, psi).sum(1).mean()


def test_seeds_and_the_global_state(adata, psi):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = fitted(adata, psi, n_steps=10)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    np.testing.assert_array_equal(fitted(adata, psi, n_steps=10), first)
    assert not np.array_equal(fitted(adata, psi, n_steps=10, seed=1), first)


def test_inside_no_grad_too(adata, psi):
    with torch.no_grad():
        inside = fitted(adata, psi, n_steps=10)
    np.testing.assert_array_equal(inside, fitted(adata, psi, n_steps=10))

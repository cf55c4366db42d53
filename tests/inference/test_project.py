"""Activities of cells under given programs, against the exact posterior and the truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.entries import entries_of
from scipy.special import gammaln
from scipy.stats import beta, betabinom, binom

import leafletfa_scvi as lfa
from leafletfa_scvi.inference import fit_activities, predictive_concentration
from leafletfa_scvi.likelihoods import LIKELIHOODS
from leafletfa_scvi.ops import multinomial_entries

GRID = (np.arange(2000) + 0.5) / 2000


@pytest.fixture(scope="module")
def adata():
    return lfa.datasets.simulate_splicing(
        40, 60, 2, coverage=0.5, frac_differential=0.5, likelihood="betabinomial", seed=5
    )


@pytest.fixture(scope="module")
def psi(adata):
    return torch.from_numpy(adata.varm["psi_true"]).float()


def fitted(adata, psi, kappa=20.0, alpha=(0.6, 0.4), **options):
    entries = lfa.data.observed_entries(adata)
    kappa = None if kappa is None else torch.as_tensor(kappa)
    return fit_activities(entries, psi, kappa, torch.tensor(alpha), **options).numpy()


def exact(log_likelihood, alpha):
    """Mean and standard deviation of the first of two activities, on a grid."""
    log = log_likelihood + beta.logpdf(GRID, *alpha)
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    mean = weight @ GRID
    return mean, np.sqrt(weight @ (GRID - mean) ** 2)


def check(found, wanted):
    """Means and widths of Dirichlets of two against exact ones."""
    guess = beta(found[:, 0], found[:, 1])
    mean, sd = np.transpose(wanted)
    assert np.abs(guess.mean() - mean).max() < 0.04
    assert 0.8 < np.median(guess.std() / sd) < 1.2


@pytest.mark.parametrize("kappa", [20.0, None, "junction"])
def test_mean_and_spread_equal_those_of_the_exact_posterior(adata, psi, kappa):
    """With two programs the posterior of a cell is a curve over (0, 1)."""
    adata = adata[:12].copy()
    if kappa == "junction":
        kappa = np.random.default_rng(0).choice([0.5, 50.0], adata.n_vars).astype(np.float32)
    found = fitted(adata, psi, kappa, n_steps=300)
    y, n = (
        adata.layers[k].toarray() for k in ("cell_by_junction_matrix", "cell_by_cluster_matrix")
    )
    true = adata.varm["psi_true"]
    p = GRID[:, None] * true[:, 0] + (1 - GRID[:, None]) * true[:, 1]
    wanted = []
    for c in range(12):
        seen = n[c] > 0
        args = (y[c, seen], n[c, seen])
        if kappa is None:
            log = binom.logpmf(*args, p[:, seen])
        else:
            k = np.broadcast_to(kappa, len(seen))[seen]
            log = betabinom.logpmf(*args, k * p[:, seen], k * (1 - p[:, seen]))
        wanted.append(exact(log.sum(1), (0.6, 0.4)))
    check(found, wanted)


@pytest.mark.parametrize("kappa", [None, 6.0, "atse"])
def test_shared_reads(kappa):
    """ATSE by ATSE, an implicit junction among them, against scipy's Dirichlet-multinomial."""
    rng = np.random.default_rng(3)
    n_cells, n_atses = 12, 15
    atse = np.arange(n_atses).repeat(3)
    psi = rng.dirichlet(0.6 * np.ones(3), (n_atses, 2)).transpose(0, 2, 1).reshape(-1, 2)
    phi = rng.dirichlet([0.6, 0.4], n_cells)
    n = rng.poisson(6, (n_cells, n_atses)) * (rng.random((n_cells, n_atses)) < 0.5)
    n[5] = 0
    each = (phi @ psi.T).reshape(n_cells, n_atses, 3)
    y = rng.multinomial(n, each).reshape(n_cells, -1)
    known = np.flatnonzero(np.arange(len(atse)) != 4)  # the second junction of ATSE 1 is hidden
    entries = entries_of(y[:, known], n[:, atse[known]])
    gathered = multinomial_entries(entries, torch.from_numpy(atse[known]))
    order = np.r_[known, 4]
    assert gathered.n_junctions == len(order)
    programs = torch.from_numpy(psi[order]).float()
    own = np.full(n_atses, 6.0)
    if kappa == "atse":
        own = rng.choice([0.5, 50.0], n_atses)
        kappa = torch.from_numpy(own).float()
    elif kappa is not None:
        kappa = torch.tensor(kappa)
    alpha = torch.tensor([0.6, 0.4])
    found = fit_activities(gathered, programs, kappa, alpha, n_steps=300)
    np.testing.assert_array_equal(found[5], alpha)
    wanted = []
    for c in range(n_cells):
        log = np.zeros(len(GRID))
        for a in range(n_atses):
            at = np.flatnonzero(atse == a)
            p = GRID[:, None] * psi[at, 0] + (1 - GRID[:, None]) * psi[at, 1]
            p = np.maximum(p, 1e-6)
            if kappa is None:
                log += (y[c, at] * np.log(p)).sum(1)
            else:
                k = own[a]
                log += (gammaln(k * p + y[c, at]) - gammaln(k * p)).sum(1)
        wanted.append(exact(log, (0.6, 0.4)))
    rest = np.delete(np.arange(n_cells), 5)
    check(found.numpy()[rest], np.array(wanted)[rest])


def test_activities_are_the_true_ones_under_the_true_programs(adata, psi):
    found = fitted(adata, psi)
    phi = found / found.sum(1, keepdims=True)
    assert np.corrcoef(phi[:, 0], adata.obsm["phi_true"][:, 0])[0, 1] > 0.97
    assert np.abs(phi - adata.obsm["phi_true"]).mean() < 0.06


def test_cells_without_data_have_the_prior(adata, psi):
    entries = lfa.data.observed_entries(adata)
    entries = entries.keep(entries.rows() > 2)
    alpha = torch.tensor([0.9, 0.2])
    found = fit_activities(entries, psi, torch.tensor(20.0), alpha, n_steps=5)
    np.testing.assert_array_equal(found[:3], alpha.expand(3, 2))
    assert (found[3:] != alpha).all()


def test_blocks_of_cells_make_little_difference(adata, psi):
    whole = fitted(adata, psi)
    parts = fitted(adata, psi, max_entries=2000)
    mean = [x / x.sum(1, keepdims=True) for x in (whole, parts)]
    assert np.abs(mean[0] - mean[1]).max() < 0.05


@pytest.mark.parametrize("kappa", [None, 5.0])
@pytest.mark.parametrize("name", ["betabinomial", "dirichlet-multinomial"])
def test_predictive_concentration_is_that_of_counts_under_drawn_programs(name, kappa):
    """Variance of a share of reads drawn from activities, programs and kappa, by simulation."""
    rng = np.random.default_rng(0)
    atse, alpha, n_draws = np.array([0, 0, 0, 1, 1]), np.array([0.8, 0.3, 0.5]), 200_000
    if name == "betabinomial":
        a, b = rng.uniform(0.5, 6.0, (2, 5, 3))
        psi = rng.beta(a, b, (n_draws, 5, 3))
        mean, variance = beta.mean(a, b), beta.var(a, b)
        groups = np.arange(5)
    else:
        a = rng.uniform(0.5, 6.0, (5, 3))
        drawn = rng.gamma(a, size=(n_draws, 5, 3))
        psi = drawn / np.stack([drawn[:, atse == i].sum(1) for i in (0, 1)], 1)[:, atse]
        total = np.stack([a[atse == i].sum(0) for i in (0, 1)])[atse]
        mean, variance = beta.mean(a, total - a), beta.var(a, total - a)
        groups = atse
    phi = rng.dirichlet(alpha, n_draws)
    p, around = np.einsum("dk,djk->dj", phi, psi), phi @ mean.T
    share = p * (1 - p) / (1 + kappa) + p**2 if kappa else p**2  # E of the squared share of reads
    spread = (share - around**2).mean(0)
    bound = (around * (1 - around)).mean(0)
    spread, bound = np.bincount(groups, spread), np.bincount(groups, bound)
    found = predictive_concentration(
        None if kappa is None else torch.tensor(kappa),
        torch.from_numpy(mean),
        torch.from_numpy(variance),
        torch.from_numpy(alpha),
        LIKELIHOODS[name],
        torch.from_numpy(atse),
    )
    np.testing.assert_allclose(found, bound / spread - 1, rtol=0.03)


def test_certain_programs_leave_the_concentration(psi):
    codes, alpha = torch.arange(len(psi)), torch.tensor([0.6, 0.4])
    kappa = torch.linspace(0.5, 60.0, len(psi))
    args = (psi, torch.zeros_like(psi), alpha, LIKELIHOODS["betabinomial"], codes)
    np.testing.assert_allclose(predictive_concentration(kappa, *args), kappa, rtol=1e-4)
    assert (predictive_concentration(None, *args) == 1e6).all()


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


@pytest.mark.parametrize("shared", [False, True])
def test_cells_are_fitted_independently(adata, psi, shared):
    entries = lfa.data.observed_entries(adata)
    prints = lfa.data.cell_fingerprints(entries)
    codes = torch.from_numpy(lfa.data.atse_codes(adata, "atse")[0])
    kappa, alpha = torch.tensor(20.0), torch.tensor([0.6, 0.4])

    def fit(cells, **options):
        some = entries.select(torch.from_numpy(cells))
        none = codes[:0]
        some = multinomial_entries(some, codes, none, surplus="drop") if shared else some
        streams = prints[cells]
        return fit_activities(some, psi, kappa, alpha, streams=streams, **options).numpy()

    everyone = np.arange(entries.n_cells)
    whole = fit(everyone)
    for cells in (everyone[::-1].copy(), everyone[3:9], everyone[5:6]):
        np.testing.assert_array_equal(fit(cells), whole[cells])
    np.testing.assert_array_equal(fit(everyone, max_entries=300), whole)
    np.testing.assert_array_equal(fit(everyone, max_cells=7), whole)
    other = entries.select(torch.zeros(4, dtype=torch.int64))
    if not shared:  # one content, other random numbers
        apart = fit_activities(
            other, psi, kappa, alpha, streams=np.arange(4, dtype=np.uint64) * 1000
        )
        assert not torch.equal(apart[0], apart[1])

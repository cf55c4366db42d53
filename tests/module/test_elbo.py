"""The closed-form ELBO: its divergences, and its expectation against Pyro's own estimator."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pyro.infer import Trace_ELBO
from scipy.integrate import quad
from torch.distributions import Beta, Dirichlet, Gamma, LogNormal, kl_divergence

from leafletfa_scvi.data import observed_entries
from leafletfa_scvi.module import ClosedFormELBO, LeafletFAModule
from leafletfa_scvi.module._elbo import divergence


@pytest.mark.parametrize(("loc", "scale"), [(0.0, 0.1), (1.3, 0.8), (-2.0, 1.5)])
@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (10.0, 10.0), (0.4, 3.0)])
def test_lognormal_against_gamma_is_the_integral(loc, scale, a, b):
    q = LogNormal(*torch.tensor([loc, scale], dtype=torch.float64))
    p = Gamma(*torch.tensor([a, b], dtype=torch.float64))

    def integrand(u):
        x = torch.tensor(np.exp(u), dtype=torch.float64)
        return float(q.log_prob(x).exp() * (q.log_prob(x) - p.log_prob(x)) * x)

    expected, _ = quad(integrand, loc - 10 * scale, loc + 10 * scale, limit=200)
    assert float(divergence(q, p)) == pytest.approx(expected, rel=1e-6)


def test_other_pairs_equal_torch():
    for q, p in (
        (Beta(torch.tensor(2.0), torch.tensor(3.0)), Beta(torch.tensor(1.0), torch.tensor(0.5))),
        (Dirichlet(torch.tensor([1.0, 2.0])), Dirichlet(torch.tensor([0.5, 0.5]))),
    ):
        assert torch.equal(divergence(q, p), kl_divergence(q, p))


@pytest.mark.parametrize("likelihood", ["betabinomial", "binomial"])
@pytest.mark.parametrize("prior", ["junction", "global"])
@pytest.mark.parametrize("batch", [None, 30])
def test_expectation_is_that_of_the_plain_estimator(small, likelihood, prior, batch):
    """Trace_ELBO evaluates every density at the draws: no formula of ours is in it."""
    entries = observed_entries(small)
    torch.manual_seed(0)
    module = LeafletFAModule(
        entries.n_cells, entries.n_junctions, 3, likelihood=likelihood, junction_prior=prior
    )
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter) + 0.5)
        for site in (module.guide.a, module.guide.b, *module.guide.scalars.values()):
            site.log_scale.fill_(-3.0)
        # Narrow posteriors: wide ones make both estimators too noisy to compare.
        for name in ("psi_log_inclusion", "psi_log_exclusion", "phi_log"):
            getattr(module.guide, name).add_(3.0)
    cells = torch.arange(entries.n_cells if batch is None else batch)
    part = entries.select(cells)

    def estimates(loss, n):
        values = [loss.loss(module.model, module.guide, cells, part) for _ in range(n)]
        return np.mean(values), np.std(values) / np.sqrt(n)

    ours, error = estimates(ClosedFormELBO(), 60)
    plain, plain_error = estimates(Trace_ELBO(), 150)
    assert abs(ours - plain) < 5 * np.hypot(error, plain_error)
    # The bound would not see a site left out if the noise were larger than its divergence.
    assert 5 * np.hypot(error, plain_error) < 0.02 * abs(plain)


def test_particles_are_averaged(small):
    entries = observed_entries(small)
    torch.manual_seed(0)
    module = LeafletFAModule(entries.n_cells, entries.n_junctions, 2)
    args = (module.model, module.guide, torch.arange(entries.n_cells), entries)
    torch.manual_seed(1)
    single = [ClosedFormELBO().loss(*args) for _ in range(4)]
    torch.manual_seed(1)
    assert ClosedFormELBO(num_particles=4).loss(*args) == pytest.approx(np.mean(single))

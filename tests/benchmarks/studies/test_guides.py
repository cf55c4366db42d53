"""Guides of the study against numerical integrals, draws and the bound that they approximate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.quality import _cases
from benchmarks.studies.guides import _fits, _kinds, _normal, _vb
from torch.distributions import Dirichlet, Normal, kl_divergence

from leafletfa_scvi import ops
from leafletfa_scvi.distributions import ConcentrationMixture

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def start() -> Any:
    """An EM fit of a tiny case, and the case."""
    case = _cases.tiny()
    return _fits.Start.of(case, 0), case


def test_divergence_of_programs_agrees_with_draws() -> None:
    torch.manual_seed(0)
    loc, scale = torch.randn(1, 1), torch.full((1, 1), 0.7)
    mean, weights = torch.tensor([0.4]), torch.tensor([0.0, 0, 1, 0, 0, 0, 0]) + 1e-30
    prior = ConcentrationMixture(
        mean, weights, ops.Groups(torch.zeros(1, dtype=torch.long)), 1, False
    )
    z = loc + scale * torch.randn(200_000, 1)
    psi = z.sigmoid()
    log_q = Normal(loc, scale).log_prob(z) - psi.log() - (1.0 - psi).log()
    log_p = torch.distributions.Beta(4.0, 6.0).log_prob(psi)
    expected = float((log_q - log_p).mean())
    found = float(kl_divergence(_normal.LogitNormal(loc, scale), prior))
    assert found == pytest.approx(expected, abs=0.01)


def _log_density(q: Any, phi: torch.Tensor) -> torch.Tensor:
    """By the change of variables from the K - 1 log ratios to the last program, or from sticks."""
    log_phi = phi.log()
    if hasattr(q, "_whole"):  # contrasts of independent normals are a multivariate normal
        contrast = log_phi[:, :-1] - log_phi[:, -1:]
        v = q.scale[0].square()
        covariance = torch.diag(v[:-1]) + v[-1]
        mean = q.loc[0, :-1] - q.loc[0, -1]
        value = torch.distributions.MultivariateNormal(mean, covariance).log_prob(contrast)
        return value - log_phi.sum(1)
    rest = phi.flip(1).cumsum(1).flip(1)
    sticks = (phi[:, :-1] / rest[:, 1:]).log()
    return Normal(q.loc, q.scale).log_prob(sticks).sum(1) - log_phi.sum(1)


@pytest.mark.parametrize("kind", ["SoftmaxNormal", "StickBreaking"])
def test_divergence_of_activities_agrees_with_draws(kind) -> None:
    torch.manual_seed(0)
    free = 4 - (kind == "StickBreaking")
    q = getattr(_normal, kind)(torch.randn(1, free), torch.rand(1, free) + 0.3)
    prior = Dirichlet(torch.tensor([0.4, 0.8, 1.3, 2.0]))
    many = type(q)(q.loc.expand(200_000, -1), q.scale.expand(200_000, -1))
    phi = many.rsample()
    phi = phi / phi.sum(1, keepdim=True)
    expected = (_log_density(q, phi) - prior.log_prob(phi)).mean()
    found = kl_divergence(many, prior).mean()
    assert float(found) == pytest.approx(float(expected), abs=0.02)


def test_sticks_sum_to_one_and_have_their_means() -> None:
    torch.manual_seed(0)
    q = _normal.StickBreaking(torch.zeros(5, 3), torch.full((5, 3), 0.5))
    assert torch.allclose(q.rsample().sum(1), torch.ones(5))
    expected = torch.tensor([1 / 2, 1 / 4, 1 / 8, 1 / 8])
    assert torch.allclose(q.mean.mean(0), expected, atol=0.03)


def test_dirichlet_is_fitted_to_its_own_mean_logs() -> None:
    alpha = np.array([0.3, 0.9, 2.5])
    from scipy.special import digamma

    found = _vb.dirichlet_fit(digamma(alpha) - digamma(alpha.sum()), np.ones(3), 500)
    np.testing.assert_allclose(found, alpha, rtol=1e-3)


def test_coordinate_ascent_rises_and_bounds_the_elbo(start) -> None:
    begun, case = start
    begun.fresh()
    module, fit, entries = begun.model.module, begun.fit, begun.entries
    tables = _kinds.start_from_tables(module, fit, entries)
    first = tuple(t.double().numpy() for t in tables)
    found = _vb.coordinate_ascent(module, fit, entries, first, 15)
    rises = np.diff(found.bound)
    assert (rises > -1e-6 * abs(found.bound[0])).all()
    # Of the same posteriors and priors, with the tables summed out.
    guide = module.guide
    _kinds.set_concentrations(guide, *(torch.from_numpy(x) for x in found[:3]))
    torch.manual_seed(0)
    kappa = torch.as_tensor(fit.concentration)
    with torch.no_grad():
        draws = [(guide.phi().rsample(), guide.psi().rsample()) for _ in range(10)]
        likelihood = np.mean([ops.log_likelihood(entries, *d, kappa).sum() for d in draws])
        prior = Dirichlet(torch.from_numpy(found.alpha).float())
        loss = kl_divergence(guide.phi(), prior).sum()
        mixture = module.model.prior.distribution(
            module.model, torch.from_numpy(found.weights).float()
        )
        loss = loss + kl_divergence(guide.psi().to_event(2), mixture)
    elbo = likelihood - float(loss)
    assert found.bound[-1] < elbo < found.bound[-1] + 0.2 * abs(elbo)


@pytest.mark.parametrize("kind", ["logit-normal, softmax-normal", "Beta, encoder"])
def test_guides_start_near_the_fit(start, kind) -> None:
    begun, case = start
    torch.manual_seed(0)
    begun.fresh()
    _fits.KINDS[kind](begun)
    guide = begun.model.module.guide
    with torch.no_grad():
        phi, psi = guide.phi().mean, guide.psi().mean
    fit = begun.fit
    for found, fitted, least in ((phi, fit.phi, 0.9), (psi, fit.psi, 0.95)):
        r = torch.corrcoef(torch.stack([found.reshape(-1), fitted.reshape(-1)]))[0, 1]
        assert float(r) > least


def test_every_start_is_the_same_start(start) -> None:
    begun, case = start
    run = _fits.run
    first = run(begun, case, _fits.START, None, 1, 2).scores
    run(begun, case, "logit-normal, softmax-normal", 64, 4, 2)
    again = run(begun, case, _fits.START, None, 1, 2).scores
    assert first == again

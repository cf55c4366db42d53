"""A prior and pseudo-reads: divergences against scipy, and the posterior they lead to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import digamma
from torch.distributions import kl_divergence

from leafletfa_scvi import ops
from leafletfa_scvi.distributions import Beta, ConcentrationMixture, GroupedDirichlet, WithReads

GROUPS = ops.Groups(torch.tensor([0, 1, 0, 2, 1, 1, 3]))
SHAPE = (7, 4)


def random(seed, low=0.2, high=20.0, shape=SHAPE):
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("kind", ["beta", "mixture"])
def test_beta(kind):
    a, b, up, against = (random(seed) for seed in range(4))
    q = Beta(a, b).to_event(2)
    if kind == "beta":
        prior = Beta(random(5, shape=(7, 1)), random(6, shape=(7, 1)))
        base = kl_divergence(Beta(a, b), prior.expand(SHAPE)).sum()
    else:
        weights = torch.full((7,), 1 / 7, dtype=torch.float64)
        prior = ConcentrationMixture(random(7, 0.1, 0.9, (7,)), weights, GROUPS, 4, False)
        base = kl_divergence(q, prior)
    x, y, s, u = (v.numpy() for v in (a, b, up, against))
    reads = s * (digamma(x) - digamma(x + y)) + u * (digamma(y) - digamma(x + y))
    got = kl_divergence(q, WithReads(prior, up, against))
    assert float(got) == pytest.approx(float(base) - reads.sum(), rel=1e-6)
    psi = q.sample()
    p = psi.numpy()
    wide = prior.expand(SHAPE).to_event(2) if kind == "beta" else prior
    want = float(wide.log_prob(psi)) + (s * np.log(p) + u * np.log1p(-p)).sum()
    assert float(WithReads(prior, up, against).log_prob(psi)) == pytest.approx(want, rel=1e-6)


def test_the_best_beta_has_the_prior_and_the_reads():
    """Conjugate: the divergence is smallest at Beta(a + s, b + u)."""
    a, b, up, against = (random(seed, shape=SHAPE) for seed in range(4))
    p = WithReads(Beta(a, b), up, against)
    parameters = [(x + y).log().requires_grad_() for x, y in ((a, up), (b, against))]
    value = kl_divergence(Beta(*(x.exp() for x in parameters)).to_event(2), p)
    for gradient in torch.autograd.grad(value, parameters):
        assert gradient.abs().max() < 1e-8


def test_the_best_dirichlet_has_the_prior_and_the_reads():
    a, up = random(0), random(1)
    p = WithReads(GroupedDirichlet(a, GROUPS, 4), up, None)
    parameter = (a + up).log().requires_grad_()
    value = kl_divergence(GroupedDirichlet(parameter.exp(), GROUPS, 4), p)
    (gradient,) = torch.autograd.grad(value, parameter)
    assert gradient.abs().max() < 1e-8
    other = GroupedDirichlet((a + up) * 1.1, GROUPS, 4)
    assert float(kl_divergence(other, p)) > float(value)


def test_draws_are_refused():
    with pytest.raises(NotImplementedError, match="from its guide"):
        WithReads(Beta(random(0), random(1)), random(2), random(3)).sample()

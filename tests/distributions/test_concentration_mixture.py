"""Priors of programs that share reads or a strength, against component by component in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import beta, dirichlet
from torch.distributions import Beta as TorchBeta
from torch.distributions import Dirichlet as TorchDirichlet
from torch.distributions import Independent, kl_divergence

from leafletfa_scvi import ops
from leafletfa_scvi.distributions import (
    PRIOR_CONCENTRATIONS,
    Beta,
    ConcentrationMixture,
    GroupedDirichlet,
)

INDEX = torch.tensor([0, 1, 0, 2, 1, 1, 3])
GROUPS = ops.Groups(INDEX)
K = 4
ROWS = [INDEX == g for g in range(4)]


def random(*shape, dtype=torch.float64, low=0.1, high=30.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (low + (high - low) * torch.rand(shape, generator=generator).double()).to(dtype)


@pytest.mark.parametrize("given", [(7, K), (7, 1), (1, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dirichlets_within_groups(given, dtype):
    q = GroupedDirichlet(random(7, K, dtype=dtype), GROUPS, K)
    p = GroupedDirichlet(random(*given, dtype=dtype, seed=1), GROUPS, K)
    pairs = [(rows, k) for rows in ROWS for k in range(K)]
    wide = p.unexpanded.double().expand(7, K)
    want = sum(
        kl_divergence(TorchDirichlet(q.unexpanded[r, k].double()), TorchDirichlet(wide[r, k]))
        for r, k in pairs
    )
    assert float(kl_divergence(q, p)) == pytest.approx(float(want), rel=1e-5)
    x = q.sample()
    density = 0.0
    for r, k in pairs:
        share = x[r, k].double().numpy()
        density += dirichlet.logpdf(share / share.sum(), wide[r, k]) if r.sum() > 1 else 0.0
    assert float(p.log_prob(x)) == pytest.approx(density, rel=1e-4)
    assert p.batch_shape == ()
    assert p.event_shape == (7, K)
    assert p.sample((3,)).shape == (3, 7, K)
    torch.testing.assert_close(GROUPS.sum(p.mean), torch.ones(4, K, dtype=dtype))
    torch.testing.assert_close(q.mean[2, 1], q.unexpanded[2, 1] / q.unexpanded[[0, 2], 1].sum())


def mixture(shared, dtype):
    m = random(7, dtype=dtype, low=0.02, high=0.98, seed=2)
    if shared:
        m = m / GROUPS.spread(GROUPS.sum(m[:, None]))[:, 0]
    weights = TorchDirichlet(torch.ones(len(PRIOR_CONCENTRATIONS), dtype=dtype)).sample()
    return ConcentrationMixture(m, weights, GROUPS, K, shared)


def guide(shared, dtype, scale=30.0):
    a = random(7, K, dtype=dtype, high=scale, seed=3)
    if shared:
        return GroupedDirichlet(a, GROUPS, K)
    return Independent(Beta(a, random(7, K, dtype=dtype, high=scale, seed=4)), 2)


def component(p, c, rows, dtype=torch.float64):
    """Concentrations of one ATSE under one strength, for and against."""
    m = p.prior_mean[rows].to(dtype)
    return c * m, c * (1 - m)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_divergence_marginalizes_the_concentration_of_each_atse(shared, dtype):
    p, q = mixture(shared, dtype), guide(shared, dtype)
    want = 0.0
    for rows in ROWS:
        terms = []
        for c in PRIOR_CONCENTRATIONS:
            up, down = component(p, c, rows)
            if shared:
                one = TorchDirichlet(q.unexpanded[rows].T.double())
                terms.append(-float(kl_divergence(one, TorchDirichlet(up.expand(K, -1))).sum()))
                continue
            a, b = (x[rows].double() for x in q.base_dist.unexpanded)
            other = TorchBeta(up[:, None], down[:, None])
            terms.append(-float(kl_divergence(TorchBeta(a, b), other).sum()))
        want -= logsumexp(np.array(terms) + np.log(p.weights.double().numpy()))
    assert float(kl_divergence(q, p)) == pytest.approx(
        want, rel=1e-5 if dtype.itemsize == 4 else 1e-10
    )


@pytest.mark.parametrize("shared", [False, True])
def test_density_is_that_of_the_mixture(shared):
    p = mixture(shared, torch.float64)
    x = guide(shared, torch.float64).sample()
    want = 0.0
    for rows in ROWS:
        terms = []
        for c in PRIOR_CONCENTRATIONS:
            up, down = (t.numpy() for t in component(p, c, rows))
            if not shared:
                terms.append(beta.logpdf(x[rows], up[:, None], down[:, None]).sum())
            elif rows.sum() > 1:
                terms.append(sum(dirichlet.logpdf(x[rows, k], up) for k in range(K)))
            else:
                terms.append(0.0)
        want += logsumexp(np.array(terms) + np.log(p.weights.numpy()))
    assert float(p.log_prob(x)) == pytest.approx(want, rel=1e-10)
    assert p.log_prob(x.expand(5, 7, K)).shape == (5,)


@pytest.mark.parametrize("shared", [False, True])
def test_divergence_bounds_the_exact_one_and_meets_it_for_narrow_posteriors(shared):
    torch.manual_seed(0)
    p = mixture(shared, torch.float64)
    gaps = []
    for scale in (3.0, 3000.0):
        q = guide(shared, torch.float64, scale)
        x = q.sample((4000,))
        plain = q.log_prob(x) - p.log_prob(x)
        gaps.append(float(kl_divergence(q, p) - plain.mean()))
        error = float(plain.std()) / 4000**0.5
        assert gaps[-1] > -4 * error
    assert gaps[1] < 0.2
    assert gaps[1] < 4 * error + 0.1


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("what", ["guide", "weights"])
def test_gradients_are_those_of_finite_differences(shared, what):
    p, q = mixture(shared, torch.float64), guide(shared, torch.float64)

    def value(x):
        if what == "weights":
            return kl_divergence(q, ConcentrationMixture(p.prior_mean, x, GROUPS, K, shared))
        if shared:
            return kl_divergence(GroupedDirichlet(x, GROUPS, K), p)
        return kl_divergence(Independent(Beta(x, q.base_dist.unexpanded[1]), 2), p)

    at = (
        p.weights if what == "weights" else (q.unexpanded if shared else q.base_dist.unexpanded[0])
    )
    assert torch.autograd.gradcheck(value, (at.clone().requires_grad_(),))


@pytest.mark.parametrize("shared", [False, True])
def test_draws_share_a_concentration_within_an_atse(shared):
    torch.manual_seed(1)
    weights = torch.zeros(len(PRIOR_CONCENTRATIONS))
    weights[[0, -1]] = torch.tensor([0.25, 0.75])
    m = mixture(shared, torch.float32).prior_mean
    x = ConcentrationMixture(m, weights, GROUPS, K, shared).sample((2000,))
    assert x.shape == (2000, 7, K)
    assert (x.mean((0, 2)) - m).abs().max() < 0.03
    far = ((x - m[:, None]).abs() > 0.1).float().mean(-1)
    # All programs and junctions of an ATSE are near m where one is, for the strength is shared.
    near = far[:, [1, 4, 5]].max(1).values == 0
    assert abs(float(near.float().mean()) - 0.75) < 0.05
    if shared:
        torch.testing.assert_close(GROUPS.sum(x), torch.ones(2000, 4, K))

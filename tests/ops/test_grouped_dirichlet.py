"""Sums and Dirichlet draws within groups of rows, and the gamma functions they need."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import digamma, gammaln, polygamma

from leafletfa_scvi import ops

INDEX = torch.tensor([0, 1, 0, 2, 1, 1, 3])


@pytest.fixture
def groups():
    """Groups of 2, 3, 1 and 1 rows, the larger ones scattered."""
    return ops.Groups(INDEX)


def test_sums_and_their_gradients(groups):
    values = torch.rand(4, 7, 3)
    want = torch.stack([values[:, INDEX == g].sum(1) for g in range(4)], 1)
    torch.testing.assert_close(groups.sum(values), want)
    assert torch.equal(groups.spread(groups.sum(values)), groups.sum(values)[:, INDEX])
    alone = ops.Groups(torch.arange(7))
    assert alone.sum(values) is values
    assert not ops.Groups(torch.tensor([1, 0])).single
    torch.testing.assert_close(
        ops.Groups(torch.tensor([1, 0])).sum(values[:, :2]), values[:, [1, 0]]
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fused", "torch"])
def test_draws_are_dirichlet_within_each_group(groups, dtype):
    torch.manual_seed(0)
    a = torch.tensor([0.02, 3.0, 1.0, 5.0, 0.4, 40.0, 0.01], dtype=dtype)[:, None]
    n = 100_000
    x = ops.draw_grouped_dirichlet(a.expand(7, n), groups)
    assert x.dtype == dtype
    assert (x > 0).all()
    torch.testing.assert_close(groups.sum(x), torch.ones(4, n, dtype=dtype))
    assert (x[[3, 6]] == 1).all()
    whole = groups.spread(groups.sum(a))[:, 0]
    mean = a[:, 0] / whole
    variance = mean * (1 - mean) / (whole + 1)
    error = 5 * (variance / n).sqrt() + 1e-6
    assert ((x.mean(1) - mean).abs() < error).all()
    torch.testing.assert_close(x.var(1), variance, rtol=0.05, atol=1e-6)
    # Columns are independent; within a group the covariance is negative.
    assert abs(np.corrcoef(x[0, ::2], x[0, 1::2])[0, 1]) < 0.02
    covariance = -mean[4] * mean[5] / (whole[4] + 1)
    found = ((x[4] - mean[4]) * (x[5] - mean[5])).mean()
    torch.testing.assert_close(found, covariance, rtol=0.1, atol=0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fused", "torch"])
def test_pathwise_derivatives_are_those_of_the_expectation(groups, dtype):
    """Gradients of E x_j^2 = m_j (a_j + 1) / (s + 1), for the concentration of each row."""
    torch.manual_seed(0)
    a = torch.tensor([0.7, 3.0, 1.3, 5.0, 0.4, 4.0, 2.0], dtype=dtype, requires_grad=True)
    n = 200_000
    x = ops.draw_grouped_dirichlet(a[:, None].expand(7, n), groups)
    (found,) = torch.autograd.grad(x[[0, 5]].square().sum(0).mean(), a)
    whole = groups.spread(groups.sum(a[:, None]))[:, 0]
    (want,) = torch.autograd.grad((a * (a + 1) / (whole * (whole + 1)))[[0, 5]].sum(), a)
    assert want[[0, 1, 2, 4, 5]].abs().min() > 0.02
    assert (found - want).abs().max() < 0.004


def test_fused_draws_follow_the_seed_and_not_the_threads(groups, set_threads):
    a = torch.rand(7, 50)
    set_threads(2)
    torch.manual_seed(3)
    first = ops.draw_grouped_dirichlet(a, groups)
    set_threads(1)
    torch.manual_seed(3)
    second = ops.draw_grouped_dirichlet(a, groups)
    assert torch.equal(first, second)
    assert not torch.equal(first, ops.draw_grouped_dirichlet(a, groups))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fused", "torch"])
def test_gamma_functions_and_their_derivatives(dtype):
    x = torch.logspace(-4, 6, 500, dtype=dtype).reshape(5, 100).requires_grad_()
    value, slope = ops.gamma_terms(x)
    (g1,) = torch.autograd.grad((3.0 * value).sum(), x, retain_graph=True)
    (g2,) = torch.autograd.grad((2.0 * slope).sum(), x)
    at = x.detach().double().numpy()
    tolerance = {"rtol": 3e-6, "atol": 3e-6}
    np.testing.assert_allclose(value.detach(), gammaln(at), **tolerance)
    np.testing.assert_allclose(slope.detach(), digamma(at), **tolerance)
    np.testing.assert_allclose(g1, 3 * digamma(at), **tolerance)
    np.testing.assert_allclose(g2, 2 * polygamma(1, at), **tolerance)

"""Draws and divergences of Beta and Dirichlet against scipy and torch in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch.distributions import Beta, Dirichlet, kl_divergence

from leafletfa_scvi import ops
from leafletfa_scvi.ops import _beta_dirichlet, _divergence, _elementary, _gamma

TINY = torch.finfo(torch.float32).tiny
SHAPES = [0.01, 0.1, 1.0, 30.0, 1e4]


def _tensor(*shape, value, grad=False):
    return torch.full(shape, value, dtype=torch.float32, requires_grad=grad)


def _log_derivatives(shape, log_x):
    out = np.empty_like(log_x)
    _gamma._log_derivatives(np.full_like(log_x, shape), log_x, out)
    return out


def _p_value(draws, beta):
    """P value of the draws where float32 resolves them, and of the share of draws elsewhere."""
    low, high = 1e-36, 0.9
    inside = draws[(draws > low) & (draws < high)]
    start, end = beta.cdf(low), beta.cdf(high)
    shares = [(draws <= low).sum(), inside.size, (draws >= high).sum()]
    expected = np.array([start, end - start, 1.0 - end])
    keep = expected * draws.size > 5
    p = [1.0]
    if keep.sum() > 1:
        other = np.array(shares)[keep]
        p.append(stats.chisquare(other, expected[keep] / expected[keep].sum() * other.sum())[1])
    if inside.size > 100:
        p.append(stats.kstest((beta.cdf(inside) - start) / (end - start), "uniform").pvalue)
    assert sum(np.array(shares)[~keep]) < 30
    return min(p)


def test_elementary_functions_are_exact():
    x = np.concatenate([10 ** np.linspace(-307, 308, 4001), np.linspace(0.5, 2.0, 1001)])
    np.testing.assert_allclose([_elementary.log(v) for v in x], np.log(x), rtol=1e-15, atol=1e-16)
    x = np.linspace(-708, 708, 4001)
    np.testing.assert_allclose([_elementary.exp(v) for v in x], np.exp(x), rtol=1e-13)
    assert 0 < _elementary.exp(-1e9) < 1e-300
    x = np.linspace(-np.pi / 2, np.pi / 2, 1001)
    np.testing.assert_allclose([_elementary.sine(v) for v in x], np.sin(x), rtol=1e-14)


def test_uniform_numbers():
    n = 200_000
    u = np.array([_gamma._uniform(np.uint64(7), np.uint64(i)) for i in range(n)])
    assert 0 < u.min() < u.max() < 1
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    for lag in (1, 3, 12):
        assert abs(np.corrcoef(u[lag:], u[:-lag])[0, 1]) < 4 / np.sqrt(n)


@pytest.mark.parametrize("a", SHAPES)
@pytest.mark.parametrize("b", SHAPES)
def test_beta_draws_have_the_distribution(a, b):
    torch.manual_seed(0)
    x = ops.draw_beta(_tensor(1000, 60, value=a), _tensor(1000, 60, value=b)).double().numpy()
    assert _p_value(x.ravel(), stats.beta(a, b)) > 1e-4


def test_dirichlet_draws_have_the_distribution():
    alpha = torch.tensor([0.01, 0.1, 1.0, 0.5, 30.0, 3.0])
    torch.manual_seed(0)
    x = ops.draw_dirichlet(alpha.expand(50_000, -1))
    torch.testing.assert_close(x.sum(1), torch.ones(50_000))
    total = float(alpha.sum())
    for k, a in enumerate(alpha.tolist()):
        marginal = stats.beta(a, total - a)
        assert _p_value(x[:, k].double().numpy(), marginal) > 1e-4
    mean = (alpha / total).double()
    covariance = (mean.diag() - mean.outer(mean)) / (total + 1)
    np.testing.assert_allclose(np.cov(x.double().numpy().T), covariance, atol=3e-5)


@pytest.mark.parametrize("draw", ["beta", "dirichlet"])
def test_elements_are_independent(draw):
    torch.manual_seed(0)
    a, n = _tensor(100_000, 4, value=2.0), 100_000
    x = (ops.draw_beta(a, a + 1) if draw == "beta" else ops.draw_dirichlet(a)).numpy()
    expected = np.eye(4) if draw == "beta" else (4 * np.eye(4) - 1) / 3
    np.testing.assert_allclose(np.corrcoef(x.T), expected, atol=5 / np.sqrt(n))
    following = np.corrcoef(x[1:].T, x[:-1].T)[:4, 4:]
    np.testing.assert_allclose(following, 0.0, atol=5 / np.sqrt(n))
    assert np.unique(x).size > 0.9 * x.size


@pytest.mark.parametrize("shape", [0.01, 0.1, 0.7, 1.0, 3.0, 11.9, 12.0, 30.0, 1e4, 1e6])
def test_derivative_of_gamma_variates_is_that_of_the_quantile(shape):
    """At a fixed quantile dx/da = -(dF/da) / f, F from scipy by central differences."""
    q = np.array([1e-4, 0.01, 0.2, 0.5, 0.8, 0.99, 1 - 1e-4])
    x = stats.gamma.ppf(q, shape)
    x, q = x[x > 1e-280], q[x > 1e-280]
    h = 0.003 * min(shape, np.sqrt(shape))
    steps, weights = np.array([-2, -1, 1, 2]) * h, np.array([1, -8, 8, -1]) / (12 * h)
    lower = sum(w * special.gammainc(shape + s, x) for s, w in zip(steps, weights, strict=True))
    upper = sum(w * special.gammaincc(shape + s, x) for s, w in zip(steps, weights, strict=True))
    slope = np.where(q < 0.5, -lower, upper)
    expected = slope / stats.gamma.pdf(x, shape) / x
    ours = _log_derivatives(shape, np.log(x))
    np.testing.assert_allclose(ours, expected, rtol=2e-7)
    torchs = torch._standard_gamma_grad(torch.full(x.shape, shape).double(), torch.tensor(x))
    np.testing.assert_allclose(ours * x, torchs, rtol=3e-3)  # torch is the less exact


@pytest.mark.parametrize("shape", [0.01, 0.3, 3.0])
def test_derivative_if_the_variate_underflows(shape):
    """For x to 0, F = x^a / Gamma(a + 1), so d log x / da = (digamma(a + 1) - log x) / a."""
    log_x = np.array([-100.0, -1e4])
    expected = (special.digamma(shape + 1) - log_x) / shape
    np.testing.assert_allclose(_log_derivatives(shape, log_x), expected, rtol=1e-12)


@pytest.mark.parametrize("a", [0.05, 0.6, 4.0, 200.0])
@pytest.mark.parametrize("b", [0.05, 0.6, 4.0, 200.0])
def test_beta_gradients_are_those_of_the_expectation(a, b):
    """E x = a / (a + b) and E x^2 = a (a + 1) / ((a + b) (a + b + 1)), by autograd."""
    torch.manual_seed(0)
    exact = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (a, b)]
    total = exact[0] + exact[1]
    moments = (exact[0] / total, exact[0] * (exact[0] + 1) / total / (total + 1))
    sample = [_tensor(200, 500, value=v, grad=True) for v in (a, b)]
    draws = ops.draw_beta(*sample)
    for power, moment in enumerate(moments, start=1):
        expected = torch.autograd.grad(moment, exact, retain_graph=True)
        found = torch.autograd.grad((draws**power).sum(), sample, retain_graph=True)
        for e, f in zip(expected, found, strict=True):
            error = float(f.double().std()) / np.sqrt(f.numel())
            assert abs(float(f.double().mean() - e)) < 4.5 * error
            assert error < 0.05 * abs(float(e))


def test_dirichlet_gradients_are_those_of_the_expectation():
    """E x_i x_j = a_i a_j / (s (s + 1)) for i != j."""
    torch.manual_seed(0)
    alpha = torch.tensor([0.05, 0.4, 2.0, 30.0])
    exact = alpha.double().requires_grad_()
    total = exact.sum()
    sample = alpha.expand(200_000, 4).clone().requires_grad_()
    x = ops.draw_dirichlet(sample)
    for i in range(4):
        j = (i + 1) % 4
        product = exact[i] * exact[j] / total / (total + 1)
        (expected,) = torch.autograd.grad(product, exact, retain_graph=True)
        (found,) = torch.autograd.grad((x[:, i] * x[:, j]).sum(), sample, retain_graph=True)
        error = found.double().std(0) / np.sqrt(found.shape[0])
        assert ((found.double().mean(0) - expected).abs() < 4.5 * error).all()


@pytest.mark.parametrize("value", [0.01, 1e6])
def test_extreme_concentrations(value):
    torch.manual_seed(0)
    a, b = (_tensor(5000, 20, value=value, grad=True) for _ in range(2))
    x = ops.draw_beta(a, b)
    assert x.min() >= TINY
    assert x.max() < 1
    alpha = _tensor(50_000, 2, value=value, grad=True)
    y = ops.draw_dirichlet(alpha)
    assert y.min() >= TINY
    torch.testing.assert_close(y.sum(1), torch.ones(50_000))
    (x.square().sum() + y.square().sum()).backward()
    for leaf in (a, b, alpha):
        assert leaf.grad.isfinite().all()
        assert leaf.grad.abs().max() > 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nonfinite_values_give_nan(value):
    a, good = torch.tensor([[2.0, value, 0.5]]), torch.ones(1, 3)
    for x in (ops.draw_beta(a, good), ops.beta_divergence(a, good, good[:, :1], good[:, :1])):
        assert x.isnan().tolist() == [[False, True, False]]
    assert ops.draw_dirichlet(a).isnan().any()
    assert ops.dirichlet_divergence(a, good[0]).isnan().all()


def test_attempts_end_whatever_the_shape():
    a = torch.tensor([[-5.0, 0.0, 1e38]])
    assert ops.draw_beta(a, a).shape == ops.draw_dirichlet(a).shape == (1, 3)


def _all_draws(seed, grad=True):
    torch.manual_seed(seed)
    a = torch.linspace(0.02, 40.0, 7000).reshape(1000, 7).requires_grad_(grad)
    return [ops.draw_beta(a, a.flip(0)).detach(), ops.draw_dirichlet(a).detach(), torch.rand(1)]


def test_draws_follow_the_seed_of_torch():
    first, again, other = _all_draws(3), _all_draws(3), _all_draws(4)
    assert all(map(torch.equal, first, again))
    assert not any(map(torch.equal, first, other))
    assert all(map(torch.equal, first, _all_draws(3, grad=False)))
    torch.manual_seed(0)
    a = _tensor(3, 3, value=2.0)
    assert not torch.equal(ops.draw_beta(a, a), ops.draw_beta(a, a))


def test_results_do_not_depend_on_the_number_of_threads(set_threads):
    def run():
        draws = _all_draws(1)
        a = torch.linspace(0.02, 40.0, 7000).reshape(1000, 7).requires_grad_()
        b = _tensor(1000, 1, value=0.7, grad=True)
        alpha = torch.linspace(0.1, 2.0, 7).requires_grad_()
        value = ops.beta_divergence(a, a.flip(0), b, b * 2).sum()
        (value + ops.draw_beta(a, a).sum() + ops.dirichlet_divergence(a, alpha).sum()).backward()
        return [*draws, a.grad, b.grad]

    results = []
    for n in (1, 2):
        set_threads(n)
        results.append(run())
        assert torch.get_num_threads() == n
    assert all(map(torch.equal, *results))


def test_log_gamma_and_its_derivatives():
    x = 10 ** np.linspace(-3, 9, 200)
    found = np.array([_divergence._log_gamma(v) for v in x]).T
    for ours, exact in zip(found, (special.gammaln, special.digamma), strict=False):
        np.testing.assert_allclose(ours, exact(x), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(found[2], special.polygamma(1, x), rtol=1e-10)


def _spread(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 10 ** (8 * torch.rand(shape, generator=generator) - 2)


@pytest.mark.parametrize("prior_rows", [50, 1])
def test_beta_divergence_equals_torch_in_float64(prior_rows):
    q = [_spread(50, 6, seed=s).requires_grad_() for s in (1, 2)]
    p = [_spread(prior_rows, 1, seed=s).requires_grad_() for s in (3, 4)]
    wide = [t.detach().double().requires_grad_() for t in (*q, *p)]
    reference = kl_divergence(Beta(*wide[:2]), Beta(*wide[2:]))
    value = ops.beta_divergence(*q, *p)
    assert value.shape == (50, 6)
    torch.testing.assert_close(value.double(), reference, rtol=1e-6, atol=1e-5)
    weight = torch.linspace(0.2, 3.0, 300).reshape(50, 6)
    (weight * value).sum().backward()
    (weight * reference).sum().backward()
    for ours, exact in zip((*q, *p), wide, strict=True):
        torch.testing.assert_close(ours.grad.double(), exact.grad, rtol=1e-5, atol=1e-6)


def test_dirichlet_divergence_equals_torch_in_float64():
    q, p = _spread(200, 7).requires_grad_(), _spread(7, seed=1).requires_grad_()
    wide = [t.detach().double().requires_grad_() for t in (q, p)]
    reference = kl_divergence(Dirichlet(wide[0]), Dirichlet(wide[1].expand(200, 7)))
    value = ops.dirichlet_divergence(q, p)
    assert value.shape == (200,)
    torch.testing.assert_close(value.double(), reference, rtol=1e-6, atol=1e-5)
    weight = torch.linspace(0.2, 3.0, 200)
    (weight * value).sum().backward()
    (weight * reference).sum().backward()
    for ours, exact in zip((q, p), wide, strict=True):
        torch.testing.assert_close(ours.grad.double(), exact.grad, rtol=1e-5, atol=1e-6)


def test_divergence_of_equals_is_zero():
    a = _spread(20, 1)
    assert ops.beta_divergence(a, 2 * a, a, 2 * a).abs().max() < 1e-6
    assert ops.dirichlet_divergence(a.T, a[:, 0]).abs().max() < 1e-6


@pytest.mark.parametrize("why", ["float64", "numba"])
def test_falls_back_to_torch(monkeypatch, why):
    dtype = torch.float64 if why == "float64" else torch.float32
    if why == "numba":
        monkeypatch.setattr(_beta_dirichlet, "_has_numba", lambda: False)
    a, b = _spread(30, 4).to(dtype), _spread(30, 1, seed=1).to(dtype)
    torch.manual_seed(0)
    ours = (ops.draw_beta(a, a + 1), ops.draw_dirichlet(a))
    torch.manual_seed(0)
    for found, expected in zip(ours, (Beta(a, a + 1), Dirichlet(a)), strict=True):
        assert torch.equal(found, expected.rsample())
    kl = kl_divergence(Beta(a, a + 1), Beta(b, 2 * b))
    assert torch.equal(ops.beta_divergence(a, a + 1, b, 2 * b), kl)
    kl = kl_divergence(Dirichlet(a), Dirichlet(a[0].expand(30, 4)))
    assert torch.equal(ops.dirichlet_divergence(a, a[0]), kl)


def test_no_elements():
    a = torch.empty(0, 3)
    assert ops.draw_beta(a, a).shape == (0, 3)
    assert ops.draw_dirichlet(a).shape == (0, 3)
    assert ops.beta_divergence(a, a, a[:, :1], a[:, :1]).shape == (0, 3)


def test_rows_of_one_stream_have_the_same_draws():
    concentration = torch.tensor([[0.5, 2.0, 3.0]]).expand(4, 3).contiguous()
    streams = np.array([9, 2**63 + 5, 9, 0], np.uint64)
    torch.manual_seed(0)
    drawn = ops.draw_dirichlet(concentration, streams)
    assert torch.equal(drawn[0], drawn[2])
    assert len(torch.unique(drawn, dim=0)) == 3
    torch.manual_seed(0)
    turned = ops.draw_dirichlet(concentration, streams[::-1].copy())
    assert torch.equal(turned.flip(0), drawn)
    torch.manual_seed(0)
    first = ops.draw_dirichlet(concentration)
    torch.manual_seed(0)
    by_place = np.arange(4, dtype=np.uint64) * 3
    assert torch.equal(ops.draw_dirichlet(concentration, by_place), first)

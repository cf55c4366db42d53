"""Rising factorials in float32 against high-precision values."""

from __future__ import annotations

import numpy as np
from numba import njit
from scipy.special import digamma, gammaln

from leafletfa_scvi.ops import _rising


@njit(**_rising.VECTOR)
def run(a, m, inverse, value, rate):
    for i in range(a.shape[0]):
        value[i], rate[i] = _rising.rising(a[i], m[i], inverse[i])


@njit(**_rising.VECTOR)
def run_log(x, out):
    for i in range(x.shape[0]):
        out[i] = _rising.log(x[i])


def test_log_over_the_range_of_float32():
    x = np.geomspace(1.2e-38, 3e38, 200_000).astype(np.float32)
    x = np.r_[x, np.linspace(0.5, 2.0, 100_001).astype(np.float32)]
    out = np.empty_like(x)
    run_log(x, out)
    exact = np.log(x.astype(np.float64))
    # Relative to the result where that is small, as next to x = 1, and to 1 ulp elsewhere.
    np.testing.assert_allclose(out, exact, rtol=3e-7, atol=0)


def test_rising_over_the_range_of_the_likelihood():
    """The difference of two log gammas, exact to float32 relative to what the reads can make."""
    a = np.geomspace(1e-8, 1e9, 120)
    m = np.unique(np.r_[0:40, np.geomspace(40, 2**24, 40).round()])
    a, m = (v.ravel().astype(np.float32) for v in np.meshgrid(a, m))
    scale = (a + m).astype(np.float32)
    value, rate = np.empty_like(a), np.empty_like(a)
    run(a, m, 1 / scale, value, rate)
    a, m, scale = (v.astype(np.float64) for v in (a, m, scale))
    # Beyond 1e5 a difference of log gammas loses more digits in float64 than the series keeps.
    small = a < 1e5
    exact = np.where(
        small,
        gammaln(a + m) - gammaln(a),
        m * np.log(a + m) + (a - 0.5) * np.log1p(m / a) - m - m / (12 * a * (a + m)),
    )
    exact_rate = np.where(
        small,
        digamma(a + m) - digamma(a),
        np.log1p(m / a) + 0.5 / a - 0.5 / (a + m),
    )
    exact = exact - m * np.log(scale)
    assert (np.abs(value - exact) / (1 + m + np.abs(exact))).max() < 5e-7
    assert (np.abs(rate - exact_rate) / (exact_rate + 1e-12)).max() < 2e-6
    assert (np.abs(value[m == 0]) < 3e-7).all()
    assert (rate[m == 0] == 0).all()


def test_table_equals_the_function():
    m = np.arange(3000)
    for kappa in (0.01, 5.0, 1e6):
        table = _rising.rising_table(kappa, len(m)).astype(np.float64)
        value = np.r_[0, np.cumsum(np.log(kappa + m[:-1].astype(np.longdouble)))]
        value = value - m * np.log(np.longdouble(kappa) + m)
        np.testing.assert_allclose(table[:, 0], value.astype(float), rtol=1e-6, atol=1e-6)
        rate = np.r_[0, np.cumsum(1 / (kappa + m[:-1]))]
        np.testing.assert_allclose(table[:, 1], rate, rtol=1e-6)

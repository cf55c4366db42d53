"""Moderated variances against closed forms and simulations with known priors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import digamma, polygamma

from leafletfa_scvi.stats import moderate_variances
from leafletfa_scvi.stats._moderation import inverse_trigamma


@pytest.mark.parametrize("y", [1e-4, 0.03, 0.5, 1.0, 7.3, 1e3, 1e7])
def test_trigamma_is_inverted(y):
    assert inverse_trigamma(float(polygamma(1, y))) == pytest.approx(y, rel=1e-6)


def test_two_variances_that_have_exactly_the_moments_of_a_prior():
    # log s2 = mean +- h has variance 2 h^2; prior of 6 df and scale 1.7, samples of 4 df.
    d, d0, s0 = 4.0, 6.0, 1.7
    h = np.sqrt((polygamma(1, d / 2) + polygamma(1, d0 / 2)) / 2)
    mean = np.log(s0) + digamma(d / 2) - np.log(d / 2) - digamma(d0 / 2) + np.log(d0 / 2)
    variance = np.exp(mean + np.array([-h, h]))
    found = moderate_variances(variance, d)
    # Two variances together have 8 degrees of freedom, so that at most 4 come from the prior.
    assert found.prior_df == pytest.approx(4.0)
    np.testing.assert_allclose(found.prior_variance, s0, rtol=1e-9)
    np.testing.assert_allclose(found.variance, (4 * s0 + d * variance) / 8, rtol=1e-9)
    np.testing.assert_allclose(found.df, 8.0)
    # 100 values at mean +- h have the variance h^2 100 / 99.
    h *= np.sqrt(2 * 99 / 100)
    many = moderate_variances(np.tile(np.exp(mean + np.array([-h, h])), 50), d)
    assert many.prior_df == pytest.approx(d0, rel=1e-6)
    np.testing.assert_allclose(many.prior_variance, s0, rtol=1e-6)


@pytest.mark.parametrize(("d", "d0", "s0"), [(8, 5.0, 0.3), (3, 20.0, 4.0)])
def test_a_known_prior_is_found_and_makes_tests_exact(d, d0, s0):
    rng = np.random.default_rng(0)
    truth = s0 * d0 / rng.chisquare(d0, 20_000)
    variance = truth * rng.chisquare(d, 20_000) / d
    found = moderate_variances(variance, d)
    assert found.prior_df == pytest.approx(d0, rel=0.12)
    np.testing.assert_allclose(found.prior_variance, s0, rtol=0.05)
    t = rng.normal(size=20_000) * np.sqrt(truth) / np.sqrt(found.variance)
    assert (stats.t.sf(np.abs(t), found.df) < 0.025).mean() == pytest.approx(0.05, abs=0.005)


def test_equal_variances_are_pooled():
    rng = np.random.default_rng(1)
    variance = 2.0 * rng.chisquare(8, 40) / 8
    variance = np.exp(np.log(variance) * 0.5)  # less scatter than that of sampling
    found = moderate_variances(variance, 8)
    np.testing.assert_allclose(found.df, 40 * 8)
    assert found.prior_df == 39 * 8
    np.testing.assert_allclose(found.prior_variance, variance.mean())


def test_the_trend_with_a_covariate_is_followed():
    rng = np.random.default_rng(2)
    level = rng.uniform(-3, 2, 5000)
    scale = np.exp(0.8 * np.sin(level))
    d, d0 = 6, 10.0
    variance = scale * d0 / rng.chisquare(d0, 5000) * rng.chisquare(d, 5000) / d
    found = moderate_variances(variance, d, level)
    assert found.prior_df == pytest.approx(d0, rel=0.15)
    assert np.abs(np.log(found.prior_variance / scale)).mean() < 0.1
    flat = moderate_variances(variance, d)
    assert flat.prior_df < 0.7 * d0


@pytest.mark.parametrize("n", [2, 3, 5, 6, 10, 30, 31])
def test_any_number_of_variances_and_a_constant_covariate(n):
    variance = np.random.default_rng(n).chisquare(4, n) / 4
    for covariate in (np.ones(n), np.arange(n), np.repeat([0.0, 1.0], [n - 1, 1])):
        found = moderate_variances(variance, 4.0, covariate)
        assert np.isfinite(found.variance).all()
        assert found.df.max() <= 4 * n + 1e-9
    same = moderate_variances(variance, 4.0, np.ones(n))
    np.testing.assert_allclose(same.prior_df, moderate_variances(variance, 4.0).prior_df)


def test_fewer_independent_variances_lend_fewer_degrees_of_freedom():
    variance = np.random.default_rng(3).chisquare(4, 30) / 4
    limited = moderate_variances(variance, 4.0, n_independent=3.0)
    assert limited.df.max() <= 12 + 1e-9
    alone = moderate_variances(variance, 4.0, n_independent=1.0)
    np.testing.assert_array_equal(alone.variance, variance)
    np.testing.assert_array_equal(alone.df, 4.0)


def test_unknown_variances_take_the_prior():
    variance = np.array([1.0, 2.0, np.nan, 5.0, 0.5])
    df = np.array([5.0, 5.0, 5.0, 0.0, 5.0])
    found = moderate_variances(variance, df)
    prior = found.prior_variance[0]
    np.testing.assert_allclose(found.variance[[2, 3]], prior)
    np.testing.assert_allclose(found.df[[2, 3]], found.prior_df)


def test_one_variance_is_kept_and_zeros_are_finite():
    alone = moderate_variances(np.array([3.0]), 4.0)
    assert (alone.variance[0], alone.df[0], alone.prior_df) == (3.0, 4.0, 0.0)
    assert np.isfinite(moderate_variances(np.array([0.0, 1.0, 2.0, 1.5]), 4.0).variance).all()
    assert (moderate_variances(np.zeros(4), 4.0).variance == 0).all()


def test_nothing_to_moderate_is_an_error():
    with pytest.raises(ValueError, match="at least one variance"):
        moderate_variances(np.array([np.nan, 1.0]), np.array([3.0, 0.0]))
    with pytest.raises(ValueError, match="from 0"):
        moderate_variances(np.array([-1.0, 1.0]), 3.0)

"""The mixed model against exact tests of balanced designs and a dense REML in plain steps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize

from leafletfa_scvi.stats import fit_mixed_model


def statistics(fit, column):
    t = fit.coefficient[:, column] / np.sqrt(fit.variance[:, column])
    return t, fit.df[:, column]


def test_two_groups_are_the_t_test():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(11, 4))
    group = np.repeat([0.0, 1.0], [5, 6])
    fit = fit_mixed_model(y, np.column_stack([np.ones(11), group]), np.arange(11))
    t, df = statistics(fit, 1)
    expected = stats.ttest_ind(y[5:], y[:5])
    np.testing.assert_allclose(t, expected.statistic)
    np.testing.assert_allclose(df, 9)
    np.testing.assert_allclose(fit.coefficient[:, 1], y[5:].mean(0) - y[:5].mean(0))


@pytest.mark.parametrize("spread", [0.0, 1.0, 4.0])
def test_pairs_are_the_paired_t_test_whatever_the_sign_of_their_covariance(spread):
    rng = np.random.default_rng(1)
    n = 8
    y = rng.normal(size=(2 * n, 6)) + np.repeat(spread * rng.normal(size=(n, 6)), 2, axis=0)
    group, sample = np.tile([0.0, 1.0], n), np.repeat(np.arange(n), 2)
    fit = fit_mixed_model(y, np.column_stack([np.ones(2 * n), group]), sample)
    t, df = statistics(fit, 1)
    np.testing.assert_allclose(t, stats.ttest_rel(y[1::2], y[::2]).statistic, rtol=1e-3)
    np.testing.assert_allclose(df, n - 1, rtol=1e-3)


@pytest.mark.parametrize("spread", [0.5, 3.0])
def test_columns_between_samples_are_tested_on_means_of_samples(spread):
    rng = np.random.default_rng(2)
    n = 10
    age, sample = np.repeat(rng.normal(size=n), 3), np.repeat(np.arange(n), 3)
    kind = np.tile([0.0, 1.0, 0.0], n)
    y = rng.normal(size=(3 * n, 3)) + np.repeat(spread * rng.normal(size=(n, 3)), 3, axis=0)
    design = np.column_stack([np.ones(3 * n), age, kind - kind.mean()])
    fit = fit_mixed_model(y, design, sample)
    t, df = statistics(fit, 1)
    for k in range(3):
        line = stats.linregress(age[::3], y[:, k].reshape(n, 3).mean(1))
        assert t[k] == pytest.approx(line.slope / line.stderr, rel=1e-3)
    np.testing.assert_allclose(df, n - 2, rtol=1e-3)


def dense_fit(y, x, sample, r):
    """REML with dense matrices, numerical information of both variances."""
    z = np.eye(sample.max() + 1)[sample]

    def parts(theta):
        v = theta[0] * z @ z.T + theta[1] * np.diag(r)
        inverse = np.linalg.inv(v)
        c = np.linalg.inv(x.T @ inverse @ x)
        p = inverse - inverse @ x @ c @ x.T @ inverse
        return v, c, p

    def loss(theta):
        v, c, p = parts(theta)
        if np.linalg.eigvalsh(v).min() <= 0:
            return np.inf
        return np.linalg.slogdet(v)[1] - np.linalg.slogdet(c)[1] + y @ p @ y

    theta = minimize(
        loss, [0.5, 0.5], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-11}
    ).x
    v, c, p = parts(theta)
    kinds = [z @ z.T, np.diag(r)]
    information = np.array([[np.trace(p @ a @ p @ b) / 2 for b in kinds] for a in kinds])
    h = 1e-5 * theta[1]
    gradient = np.array(
        [(np.diag(parts(theta + h * e)[1]) - np.diag(parts(theta - h * e)[1])) / (2 * h)
         for e in np.eye(2)]
    )  # fmt: skip
    beta = c @ x.T @ np.linalg.inv(v) @ y
    spread = np.einsum("ip,ij,jp->p", gradient, np.linalg.inv(information), gradient)
    return beta, np.diag(c), 2 * np.diag(c) ** 2 / spread, theta[0] / theta[1]


def test_an_unbalanced_design_equals_dense_reml():
    rng = np.random.default_rng(5)
    sample = np.repeat(np.arange(9), [1, 2, 3, 1, 2, 4, 2, 3, 1])
    n = len(sample)
    x = np.column_stack([np.ones(n), rng.normal(size=9)[sample], rng.integers(0, 2, n)])
    r = rng.uniform(0.5, 2, n)
    y = rng.normal(size=9)[sample] + np.sqrt(r) * rng.normal(size=n) + x[:, 2]
    # Errors of measurement far above the rest: tau^2 is their mean.
    fit = fit_mixed_model(y[:, None], x, sample, 1e6 * r[:, None])
    np.testing.assert_allclose(fit.weight[:, 0], 2 * r.mean() / (r.mean() + r))
    beta, variance, df, ratio = dense_fit(y, x, sample, 1 / fit.weight[:, 0])
    assert fit.ratio[0] == pytest.approx(ratio, rel=1e-3)
    np.testing.assert_allclose(fit.coefficient[0], beta, rtol=1e-3)
    np.testing.assert_allclose(fit.variance[0], variance, rtol=1e-3)
    np.testing.assert_allclose(fit.df[0], np.minimum(df, n - 3), rtol=2e-3)
    np.testing.assert_allclose(fit.coefficients_of(y[:, None]), fit.coefficient)


def test_noisy_samples_count_less_and_tests_stay_calibrated():
    rng = np.random.default_rng(6)
    group = np.repeat([0.0, 1.0], 6)
    error = np.where(np.arange(12) % 3 == 0, 4.0, 0.1)
    y = rng.normal(size=(12, 2000)) * np.sqrt(1.0 + error)[:, None]
    fit = fit_mixed_model(
        y, np.column_stack([np.ones(12), group]), np.arange(12), np.tile(error[:, None], 2000)
    )
    t, df = statistics(fit, 1)
    assert (2 * stats.t.sf(np.abs(t), df) < 0.05).mean() == pytest.approx(0.05, abs=0.02)
    plain = fit_mixed_model(y, np.column_stack([np.ones(12), group]), np.arange(12))
    assert fit.coefficient[:, 1].var() < 0.8 * plain.coefficient[:, 1].var()


def test_partly_paired_designs_use_the_pairs_and_are_calibrated():
    rng = np.random.default_rng(7)
    sample = np.concatenate([np.repeat(np.arange(5), 2), np.arange(5, 11)])
    group = np.concatenate([np.tile([0.0, 1.0], 5), np.repeat([0.0, 1.0], 3)])
    y = 2 * rng.normal(size=(11, 400))[sample] + rng.normal(size=(16, 400))
    fit = fit_mixed_model(y, np.column_stack([np.ones(16), group]), sample)
    t, df = statistics(fit, 1)
    assert (2 * stats.t.sf(np.abs(t), df) < 0.05).mean() == pytest.approx(0.05, abs=0.025)
    plain = y[group == 1].mean(0) - y[group == 0].mean(0)
    assert fit.coefficient[:, 1].var() < 0.7 * plain.var()


def test_one_pair_among_single_samples_is_no_obstacle():
    y = np.random.default_rng(8).normal(size=(9, 3))
    sample = np.array([0, 0, 1, 2, 3, 4, 5, 6, 7])
    group = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0.0])
    fit = fit_mixed_model(y, np.column_stack([np.ones(9), group]), sample)
    assert np.isfinite(fit.variance).all()
    np.testing.assert_array_equal(fit.ratio, 0)


def test_identical_responses_are_one():
    y = np.random.default_rng(9).normal(size=(20, 1))
    x = np.ones((20, 1))
    one = fit_mixed_model(np.tile(y, 5), x, np.arange(20)).n_independent()
    assert one == pytest.approx(1.0)
    independent = np.random.default_rng(9).normal(size=(4000, 5))
    many = fit_mixed_model(independent, np.ones((4000, 1)), np.arange(4000)).n_independent()
    assert many == pytest.approx(5.0, abs=0.05)


def test_a_constant_response_has_no_variance():
    fit = fit_mixed_model(np.ones((8, 1)), np.ones((8, 1)), np.repeat(np.arange(4), 2))
    assert fit.variance[0, 0] == pytest.approx(0.0, abs=1e-20)


def test_designs_without_an_answer_are_errors():
    y = np.zeros((4, 1))
    with pytest.raises(ValueError, match="independent columns"):
        fit_mixed_model(y, np.ones((4, 2)), np.arange(4))
    with pytest.raises(ValueError, match="more observations"):
        fit_mixed_model(y, np.eye(4), np.arange(4))
    x = np.column_stack([np.ones(4), [0, 0, 1, 1], [0, 1, 0, 1]])
    with pytest.raises(ValueError, match="more samples"):
        fit_mixed_model(y, x, np.array([0, 0, 1, 1]))

"""Whether query cells belong to the reference."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import betabinom, binom, kstest

import leafletfa_scvi as lfa
from leafletfa_scvi.tl._cell_fit import _leave_out, _predictive_concentration
from leafletfa_scvi.tl._expected_log_likelihood import ExpectedLogLikelihood

QUIET = {"accelerator": "cpu", "enable_progress_bar": False}


class TestExpectedLogLikelihood:
    @pytest.mark.parametrize("total", [1, 2, 7, 33, 400])
    def test_moments_are_sums_over_all_counts(self, total):
        rng = np.random.default_rng(total)
        p, kappa = rng.uniform(0.001, 0.999, 40), np.exp(rng.uniform(-1, 8, 40))
        n = np.full(40, float(total))
        mean, variance = ExpectedLogLikelihood(500).moments(n, p, kappa)
        for i in range(40):
            law = betabinom(total, kappa[i] * p[i], kappa[i] * (1 - p[i]))
            value = law.logpmf(np.arange(total + 1))
            want = np.exp(value) @ value
            assert mean[i] == pytest.approx(want, abs=0.01)
            assert variance[i] == pytest.approx(np.exp(value) @ (value - want) ** 2, abs=0.02)

    def test_binomial_and_more_reads_than_the_grid(self):
        n = np.array([50.0, 20_000.0, 20_000.0])
        mean, _ = ExpectedLogLikelihood(20_000).moments(
            n, np.array([0.3, 0.3, 0.3]), np.array([np.inf, np.inf, 10.0])
        )
        laws = binom(50, 0.3), binom(20_000, 0.3), betabinom(20_000, 3.0, 7.0)
        want = [np.exp(v) @ v for v in (w.logpmf(np.arange(w.args[0] + 1)) for w in laws)]
        np.testing.assert_allclose(mean, want, atol=0.02)


class TestLeaveOut:
    def test_it_undoes_the_update_of_a_conjugate_posterior(self):
        """Binomial counts and one program: the posterior without the cell is known."""
        rng = np.random.default_rng(0)
        n = rng.integers(1, 9, 200).astype(float)
        before = rng.uniform(5, 60, (2, 200))
        y = rng.binomial(n.astype(int), rng.beta(*before)).astype(float)
        a, b = before[0] + y, before[1] + n - y
        p, spread = a / (a + b), a * b / ((a + b) ** 2 * (a + b + 1))
        left, left_spread = _leave_out(y, n, p, spread, np.full(200, np.inf))
        # The Beta(a, b) has the variance of a + b + 1 reads, so that n of them are h = n / that.
        want = before[0] / before.sum(0)
        assert np.abs(left - want).max() < 0.1 * np.abs(p - want).max()
        np.testing.assert_allclose(
            left_spread, want * (1 - want) / (before.sum(0) + 1), rtol=0.35, atol=2e-3
        )

    def test_what_is_left_is_a_probability(self):
        y, n = np.array([5.0, 0.0, 5.0]), np.array([5.0, 5.0, 5.0])
        p, spread = np.array([0.01, 0.99, 0.999]), np.array([0.009, 0.009, 0.1])
        left, left_spread = _leave_out(y, n, p, spread, np.full(3, 20.0))
        assert ((left > 0) & (left < 1)).all()
        assert np.isfinite(left_spread).all()

    def test_predictive_concentration_has_the_variance_of_a_mixture(self):
        rng = np.random.default_rng(0)
        p, spread, kappa = 0.3, 0.004, 12.0
        size = p * (1 - p) / spread - 1
        each = rng.beta(size * p, size * (1 - p), 400_000)
        psi = rng.beta(kappa * each, kappa * (1 - each))
        found = _predictive_concentration(np.array([p]), np.array([spread]), np.array([kappa]))
        assert psi.var() == pytest.approx(p * (1 - p) / (found[0] + 1), rel=0.02)

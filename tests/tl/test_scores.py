from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from scipy import stats

from leafletfa_scvi.tl import _scores
from leafletfa_scvi.tl._scores import (
    beta_binomial_log_likelihood,
    fit_kappa,
    sample_entries,
    score_predictions,
)


def exact(y, n, p, kappa):
    """Beta-binomial log-likelihood with 60 digits."""
    with localcontext(prec=60):
        a = Decimal(kappa) * Decimal(p)
        b = Decimal(kappa) - a
        value = Decimal(math.comb(n, y)).ln()
        for x, m in ((a, y), (b, n - y)):
            value += sum((x + i).ln() for i in range(m))
        return float(value - sum((a + b + i).ln() for i in range(n)))


@pytest.mark.parametrize("kappa", [0.05, 3.0, 1e4, 1e6, 1e9, 1e14])
def test_likelihood_is_the_product_of_rising_factorials(kappa):
    y, n = np.array([0, 1, 3, 40, 250]), np.array([1, 1, 7, 400, 250])
    p = np.array([1e-6, 0.3, 0.5, 0.1, 1 - 1e-6])
    found = beta_binomial_log_likelihood(y * 1.0, n * 1.0, p, kappa)
    wanted = [exact(int(a), int(b), float(c), kappa) for a, b, c in zip(y, n, p, strict=True)]
    np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-8)


def test_infinite_kappa_is_binomial_per_entry(monkeypatch):
    rng = np.random.default_rng(0)
    n = rng.integers(1, 40, 101).astype(float)
    p = rng.beta(1, 1, 101)
    y = rng.binomial(n.astype(int), p).astype(float)
    kappa = np.where(np.arange(101) % 3 == 0, np.inf, 5.0)
    monkeypatch.setattr(_scores, "_BLOCK", 7)
    found = beta_binomial_log_likelihood(y, n, p, kappa)
    wanted = np.where(
        np.isinf(kappa),
        stats.binom.logpmf(y, n, p),
        stats.betabinom.logpmf(y, n, 5 * p, 5 * (1 - p)),
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-10)


def test_fit_kappa_maximizes_the_likelihood():
    rng = np.random.default_rng(0)
    n, p = rng.integers(5, 60, 20_000), rng.uniform(0.1, 0.9, 20_000)
    y = rng.binomial(n, rng.beta(8 * p, 8 * (1 - p)))
    found = fit_kappa(y.astype(float), n.astype(float), p)
    assert found == pytest.approx(8, rel=0.05)
    at = [
        stats.betabinom.logpmf(y, n, k * p, k * (1 - p)).sum()
        for k in (found / 1.02, found, found * 1.02)
    ]
    assert at[1] > max(at[0], at[2])
    y = rng.binomial(n, p)
    assert fit_kappa(y.astype(float), n.astype(float), p) > 500
    assert sample_entries(10).tolist() == list(range(10))
    drawn = sample_entries(10**9)
    assert len(drawn) == 200_000
    assert drawn.max() < 10**9
    assert drawn.std() > 2.8e8


def test_known_answers_by_hand():
    # PSI 1/2, 1, 0, 1/2; differences to p 0, -1/2, 1/4, 1/4; three entries of total 1-4.
    y, n = np.array([1, 4, 0, 5]), np.array([2, 4, 1, 10])
    p, mean = np.array([0.5, 0.5, 0.25, 0.75]), np.array([0.5, 0.5, 0.5, 0.5])
    table = score_predictions(y, n, p, mean, np.inf, np.inf)
    assert table.index.tolist() == ["all", "1-4", "5-9", "10-19", "20-49", "50+"]
    assert table.index.name == "atse_total"
    assert table["n_entries"].tolist() == [4, 3, 0, 1, 0, 0]
    of_p = np.log([2 / 4, 1 / 16, 3 / 4, 252 * 0.75**5 * 0.25**5])
    of_mean = np.log([2 / 4, 1 / 16, 1 / 2, 252 / 1024])
    every, few = table.loc["all"], table.loc["1-4"]
    assert every["log_likelihood"] == pytest.approx(of_p.mean(), rel=1e-12)
    assert every["log_likelihood_gain"] == pytest.approx((of_p - of_mean).mean(), rel=1e-12)
    assert few["log_likelihood"] == pytest.approx(of_p[:3].mean(), rel=1e-12)
    assert every["l1"] == pytest.approx(1 / 4)
    assert every["rmse"] == pytest.approx(np.sqrt((1 / 4 + 1 / 8) / 4))
    assert few["l1"] == pytest.approx(1 / 4)
    # PSI less 1/2 is 0, 1/2, -1/2, 0; p less 1/2 is 0, 0, -1/4, 1/4: 1/8 over root(1/2 * 1/8).
    assert every["pearson_deviation"] == pytest.approx(1 / 2)
    assert every["pearson"] == pytest.approx(1 / 2)
    # Ranks 2.5, 4, 1, 2.5 and 2.5, 2.5, 1, 4.
    assert every["spearman"] == pytest.approx(2.25 / 4.5)
    assert table.loc["10-19", ["pearson", "spearman"]].isna().all()
    assert table.loc["10-19", "l1"] == pytest.approx(1 / 4)
    assert table.loc["5-9"].isna().sum() == 8


def test_beta_binomial_by_hand_with_concentrations_per_entry():
    # kappa 2 around 1/2 is the beta-binomial (1, 1): uniform over 0 .. n.
    y, n, half = np.array([0, 3]), np.array([4, 9]), np.full(2, 0.5)
    table = score_predictions(y, n, half, half, np.array([2.0, np.inf]), 2.0, bins=None)
    assert table.index.tolist() == ["all"]
    value = (np.log(1 / 5) + np.log(84 / 512)) / 2
    assert table.loc["all", "log_likelihood"] == pytest.approx(value)
    gain = (np.log(84 / 512) - np.log(1 / 10)) / 2
    assert table.loc["all", "log_likelihood_gain"] == pytest.approx(gain)


def test_correlations_equal_scipy_and_deviations_ignore_junction_differences():
    rng = np.random.default_rng(1)
    mean = rng.beta(0.4, 0.4, 3000)
    n = rng.integers(1, 80, 3000)
    y, guess = rng.binomial(n, mean), np.clip(mean + 0.01 * rng.normal(size=3000), 0.01, 0.99)
    table = score_predictions(y, n, guess, mean, 10.0, 10.0)
    for name, at in (("all", n > 0), ("20-49", (n >= 20) & (n < 50)), ("50+", n >= 50)):
        observed, p, m = (y / n)[at], guess[at], np.clip(mean, 1e-6, 1 - 1e-6)[at]
        row = table.loc[name]
        assert row["n_entries"] == at.sum()
        assert row["pearson"] == pytest.approx(stats.pearsonr(observed, p)[0])
        assert row["spearman"] == pytest.approx(stats.spearmanr(observed, p)[0])
        assert row["pearson_deviation"] == pytest.approx(stats.pearsonr(observed - m, p - m)[0])
        rank = stats.spearmanr(observed - m, p - m)[0]
        assert row["spearman_deviation"] == pytest.approx(rank)
    assert table.loc["all", "pearson"] > 0.8
    assert abs(table.loc["all", "pearson_deviation"]) < 0.1


def test_predicting_the_means_gives_no_gain_and_no_deviation_correlation():
    y, n, mean = np.array([1, 2, 3]), np.array([2, 2, 6]), np.array([0.2, 0.3, 0.9])
    row = score_predictions(y, n, mean, mean, 4.0, 4.0, bins=None).loc["all"]
    assert row["log_likelihood_gain"] == 0
    assert np.isnan(row["pearson_deviation"])
    assert np.isnan(row["spearman_deviation"])


def test_predictions_are_clipped_to_the_valid_range():
    y, n, half = np.array([0, 1]), np.array([1, 1]), np.full(2, 0.5)
    table = score_predictions(y, n, np.array([-0.2, 1.3]), half, np.inf, np.inf, bins=[1])
    assert table.index.tolist() == ["all", "1+"]
    assert table.loc["all", "log_likelihood"] == pytest.approx(-1e-6)
    assert table.loc["1+", "l1"] == pytest.approx(1e-6)


def test_bins_are_named_after_their_totals():
    n = np.array([1, 2, 3, 7])
    table = score_predictions(n, n, n / 8, n / 9, 5.0, 5.0, bins=(2, 3, 6))
    assert table.index.tolist() == ["all", "2", "3-5", "6+"]
    assert table["n_entries"].tolist() == [4, 1, 1, 1]


def test_invalid_input_is_refused():
    good = {"count": [1, 0], "total": [2, 3], "p": [0.5, 0.5], "mean": [0.5, 0.1]}
    rest = {"kappa": 5.0, "mean_kappa": 5.0}
    for change, message in (
        ({"p": [0.5]}, "found 2, 2, 1 and 2 values"),
        ({"p": [0.5, np.nan]}, "p with one finite value"),
        ({"mean": [[0.5, 0.5]]}, r"mean with one finite.*shape \(1, 2\)"),
        ({"count": [3, 0]}, "0 <= count <= total"),
        ({"total": [2, 0]}, "total > 0"),
        ({"kappa": 0.0}, "positive concentrations"),
        ({"mean_kappa": [1.0, 2.0, 3.0]}, r"one or 2 \(one per entry\), found shape \(3,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            score_predictions(**{**good, **rest, **change})
    for bins in ([], [5, 1], [1, 1], [0, 5], [1.5]):
        with pytest.raises(ValueError, match="Expected bins to be ascending positive integers"):
            score_predictions(**good, **rest, bins=bins)

"""Permutation tests against all permutations, and their p values under the null."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from leafletfa_scvi.stats import permute_samples, permute_within_samples


def eta_squared(response, groups):
    means = np.array([response[groups == g].mean() for g in groups])
    return ((means - response.mean()) ** 2).sum() / ((response - response.mean()) ** 2).sum()


@pytest.mark.parametrize("is_numeric", [False, True])
def test_permutation_of_samples_approaches_all_permutations(is_numeric):
    rng = np.random.default_rng(0)
    sample = np.repeat(np.arange(5), [3, 9, 4, 6, 2])
    response = rng.normal(size=(24, 2)) + rng.normal(size=(5, 2))[sample]
    values = np.array([0.1, 2.0, 2.5, 4.0, 7.0]) if is_numeric else np.array([0, 1, 0, 1, 1])

    def share(of, k):
        if is_numeric:
            return np.corrcoef(of[sample], response[:, k])[0, 1] ** 2
        return eta_squared(response[:, k], of[sample])

    found = permute_samples(response, values[sample], sample, 4000, rng)
    for k in range(2):
        orders = [share(values[list(o)], k) for o in itertools.permutations(range(5))]
        assert found.share[k] == pytest.approx(share(values, k))
        exact = np.mean(np.array(orders) >= orders[0] - 1e-12)
        assert found.pvalue[k] == pytest.approx(exact, abs=0.03)
        assert found.expected[k] == pytest.approx(np.mean(orders), abs=0.02)


def test_shares_within_samples_ignore_differences_between_them():
    rng = np.random.default_rng(1)
    sample = rng.integers(0, 6, 300)
    kind = rng.integers(0, 3, 300)
    x = rng.normal(size=300) + sample
    within = rng.normal(size=(300, 2))
    for column in (kind, x):
        near = permute_within_samples(within, column, sample, 99, np.random.default_rng(2))
        shifted = within + 100 * rng.normal(size=(6, 2))[sample]
        far = permute_within_samples(shifted, column, sample, 99, np.random.default_rng(2))
        np.testing.assert_allclose(near.share, far.share, rtol=1e-6)
        np.testing.assert_array_equal(near.pvalue, far.pvalue)
    residual = within - np.stack([within[sample == s].mean(0) for s in range(6)])[sample]
    deviation = x - np.array([x[sample == s].mean() for s in range(6)])[sample]
    expected = np.corrcoef(deviation, residual[:, 0])[0, 1] ** 2
    assert near.share[0] == pytest.approx(expected)
    assert far.expected == pytest.approx(1 / (300 - 6), rel=0.5)


def test_pvalues_of_a_random_column_of_samples_are_uniform_only_if_samples_are_permuted():
    rng = np.random.default_rng(3)
    sample = np.repeat(np.arange(10), 30)
    by_sample, by_cell = [], []
    for i in range(100):
        response = 0.7 * rng.normal(size=(10, 1))[sample] + rng.normal(size=(300, 1))
        column = rng.permutation(np.repeat([0, 1], 5))[sample]
        by_sample.append(permute_samples(response, column, sample, 59, rng).pvalue[0])
        if i < 25:
            alone = np.zeros(300, dtype=int)
            by_cell.append(permute_within_samples(response, column, alone, 59, rng).pvalue[0])
    assert stats.kstest(by_sample, "uniform").pvalue > 0.01
    assert np.mean(np.array(by_sample) <= 0.05) < 0.12
    assert np.mean(np.array(by_cell) <= 0.05) > 0.4


def test_a_constant_response_is_not_tested():
    found = permute_samples(
        np.ones((6, 1)), np.arange(6) % 2, np.arange(6), 9, np.random.default_rng()
    )
    assert np.isnan(found.share[0])
    assert np.isnan(found.pvalue[0])

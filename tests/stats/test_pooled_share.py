from __future__ import annotations

import numpy as np
import pytest

from leafletfa_scvi.stats import pooled_share


def shares(y, n, level=0.95):
    """Share of replicates in rows, for each column."""
    squares = ((y * y).sum(0), (y * n).sum(0), (n * n).sum(0))
    return pooled_share(y.sum(0), n.sum(0), squares, (n > 0).sum(0), level)


@pytest.mark.parametrize(("n_replicates", "concentration"), [(6, 8.0), (40, 3.0), (40, 1e6)])
def test_intervals_cover_the_share_of_the_population(n_replicates, concentration):
    rng = np.random.default_rng(0)
    n_draws, mean = 4000, 0.3
    p = rng.beta(mean * concentration, (1 - mean) * concentration, (n_replicates, n_draws))
    n = rng.negative_binomial(1.5, 0.1, p.shape) + 1
    found = shares(rng.binomial(n, p).astype(float), n.astype(float))
    covered = ((found.lower <= mean) & (mean <= found.upper)).mean()
    assert 0.925 < covered < 0.985


def test_one_read_in_each_replicate_gives_the_interval_of_jeffreys():
    from scipy.stats import beta

    y = np.r_[np.ones(30), np.zeros(970)][:, None]
    found = shares(y, np.ones_like(y))
    np.testing.assert_allclose(found.share, 0.03)
    expected = beta.ppf([0.025, 0.975], 30.5, 970.5)
    np.testing.assert_allclose([found.lower[0], found.upper[0]], expected, rtol=0.01)


def test_reads_of_few_replicates_count_as_few():
    y = np.array([[1000.0], [0.0], [1000.0], [0.0]])  # each replicate has one form only
    n = np.full_like(y, 1000.0)
    found = shares(y, n)
    assert found.share == 0.5
    assert found.lower < 0.1
    assert found.upper > 0.9


def test_a_share_of_0_or_1_has_the_uncertainty_of_its_replicates():
    n = np.full((10, 2), 500.0)
    y = n * [0.0, 1.0]
    found = shares(y, n)
    np.testing.assert_allclose(found.share, [0, 1])
    assert found.lower[0] == 0
    assert found.upper[1] == 1
    np.testing.assert_allclose(found.upper[0], 1 - found.lower[1])
    assert 0.1 < found.upper[0] < 0.3  # that of 10 reads, rather than 5,000


def test_without_reads_and_with_one_replicate():
    n = np.array([[0.0, 5.0, 5.0], [0.0, 0.0, 5.0]])
    found = shares(n * 0.4, n)
    np.testing.assert_array_equal(np.isnan(found.share), [True, False, False])
    np.testing.assert_array_equal(np.isnan(found.lower), [True, True, False])
    np.testing.assert_array_equal(np.isnan(found.upper), [True, True, False])

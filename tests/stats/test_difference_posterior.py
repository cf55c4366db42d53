"""Posterior of differences, against integration on a grid."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from leafletfa_scvi.stats import difference_posterior

HALF_WIDTHS = 0.0125 * 2.0 ** np.arange(7)


def on_a_grid(estimate, se, df, delta, scale):
    """EM of the weights and probabilities from densities on a fine grid."""
    grid = (np.arange(-80_000, 80_000) + 0.5) * 1e-5
    step = 1e-5
    density = np.stack(
        [student.pdf((e - grid) / s, d) / s for e, s, d in zip(estimate, se, df, strict=True)]
    )
    halves = HALF_WIDTHS * scale[:, None]
    components = [(np.abs(grid) < half[:, None]) / (2 * half[:, None]) for half in halves.T]
    likelihood = np.column_stack(
        [student.pdf(estimate / se, df) / se]
        + [(density * component).sum(1) * step for component in components]
    )
    weights = np.full(8, 1 / 8)
    for _ in range(400):
        share = likelihood * weights
        share /= share.sum(1, keepdims=True)
        weights = share.sum(0) + 10 * (np.arange(8) == 0)
        weights /= weights.sum()
    share = likelihood * weights
    share /= share.sum(1, keepdims=True)
    above, positive = np.zeros(len(estimate)), 0.5 * share[:, 0]
    for k, component in enumerate(components):
        part = density * component
        part /= part.sum(1, keepdims=True)
        above += share[:, k + 1] * part[:, np.abs(grid) > delta].sum(1)
        positive += share[:, k + 1] * part[:, grid > 0].sum(1)
    return above, positive


@pytest.mark.parametrize("delta", [0.0, 0.05, 0.1])
@pytest.mark.parametrize("scaled", [False, True])
def test_agrees_with_integration(delta, scaled):
    rng = np.random.default_rng(2)
    truth = np.where(rng.random(40) < 0.4, rng.uniform(-0.5, 0.5, 40), 0.0)
    se, df = rng.uniform(0.02, 0.1, 40), rng.uniform(2, 30, 40)
    estimate = truth + se * rng.standard_t(df)
    scale = rng.uniform(0.1, 1, 40) if scaled else np.ones(40)
    found = difference_posterior(estimate, se, df, delta, *([scale] if scaled else []))
    above, positive = on_a_grid(estimate, se, df, delta, scale)
    np.testing.assert_allclose(found.above, above, atol=2e-3)
    np.testing.assert_allclose(found.positive, positive, atol=2e-3)


def test_zeros_are_not_called_and_large_differences_are():
    rng = np.random.default_rng(3)
    null = difference_posterior(rng.normal(0, 0.05, 2000), 0.05, 1e4, 0.05)
    assert null.above.max() < 0.5
    mixed = np.append(rng.normal(0, 0.05, 1800), rng.normal(0.4, 0.05, 200))
    found = difference_posterior(mixed, 0.05, 1e4, 0.1)
    assert found.above[1800:].min() > 0.95
    assert found.above[:1800].mean() < 0.02
    assert found.positive[1800:].min() > 0.999


def test_probabilities_are_calibrated():
    """Of differences from the prior, the share above delta is the mean probability."""
    rng = np.random.default_rng(4)
    truth = np.where(rng.random(20_000) < 0.3, rng.uniform(-0.4, 0.4, 20_000), 0.0)
    estimate = truth + 0.08 * rng.standard_t(8, 20_000)
    found = difference_posterior(estimate, 0.08, 8.0, 0.1)
    is_above = np.abs(truth) > 0.1
    for low, high in ((0.0, 0.05), (0.2, 0.5), (0.5, 0.8), (0.9, 1.0)):
        chosen = (found.above >= low) & (found.above <= high)
        assert is_above[chosen].mean() == pytest.approx(found.above[chosen].mean(), abs=0.04)


def test_swapping_the_groups_and_extreme_values():
    estimate, se = np.array([0.3, -0.2, 0.0, 0.9, 1.0]), np.array([0.05, 0.3, 0.1, 1e-5, 10.0])
    df = np.array([1e-3, 3.0, 1e4, 5.0, 2.0])
    there = difference_posterior(estimate, se, df, 0.1)
    back = difference_posterior(-estimate, se, df, 0.1)
    np.testing.assert_allclose(there.above, back.above)
    np.testing.assert_allclose(there.positive, 1 - back.positive)
    assert np.isfinite(there.above).all()
    assert there.above[3] > 0.99

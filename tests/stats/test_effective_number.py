"""Number of independent columns, planted."""

from __future__ import annotations

import numpy as np
import pytest

from leafletfa_scvi.stats import effective_number

TWO_GROUPS = np.repeat(np.eye(2), 6, axis=0)


def residuals(columns):
    projection = TWO_GROUPS @ np.linalg.pinv(TWO_GROUPS)
    return columns - projection @ columns


@pytest.mark.parametrize("n_independent", [2, 5, 20])
def test_copies_of_few_columns(n_independent):
    rng = np.random.default_rng(0)
    found = []
    for _ in range(60):
        columns = np.repeat(rng.normal(size=(12, n_independent)), 50, axis=1)
        found.append(1 / effective_number(residuals(columns), TWO_GROUPS))
    assert 1 / np.mean(found) == pytest.approx(n_independent, rel=0.2)


def test_many_independent_columns():
    columns = np.random.default_rng(1).normal(size=(12, 4000))
    assert effective_number(residuals(columns), TWO_GROUPS) > 800


def test_too_few_observations_or_no_residuals():
    assert effective_number(np.ones((2, 5)), np.eye(2)) == np.inf
    assert effective_number(np.ones((3, 5)), np.eye(3)[:, :2]) == np.inf
    assert effective_number(np.zeros((12, 5)), TWO_GROUPS) == np.inf

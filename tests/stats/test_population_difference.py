"""Differences of populations: plain moderated t statistics, pairs, gaps, and calibration."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from leafletfa_scvi.stats import (
    SampleValues,
    effective_number,
    moderate_variances,
    population_difference,
)

N_JUNCTIONS = 300
FLAT = np.stack([np.ones(N_JUNCTIONS), np.full(N_JUNCTIONS, 1e-9)])
TINY = 1e-12


def values(value, variance=TINY, present=None):
    value = np.asarray(value, float)
    n = len(value)
    return SampleValues(
        value,
        np.broadcast_to(np.asarray(variance, float), value.shape).copy(),
        np.ones(n, bool) if present is None else present,
    )


def stacked(first, second):
    """The two groups as rows of the same samples, which belong to one group each."""
    empty1, empty2 = np.zeros_like(second), np.zeros_like(first)
    in_first = np.arange(len(first) + len(second)) < len(first)
    one = values(np.concatenate([first, empty1]), present=in_first)
    two = values(np.concatenate([empty2, second]), present=~in_first)
    one.variance[~in_first], two.variance[in_first] = np.inf, np.inf
    return one, two


def draw(rng, n, sd=0.1, mean=0.5):
    return mean + sd * rng.normal(size=(n, N_JUNCTIONS))


def test_exact_values_give_moderated_t_statistics():
    rng = np.random.default_rng(0)
    sd = 0.1 * np.sqrt(4 / rng.chisquare(4, N_JUNCTIONS))
    first, second = draw(rng, 5, sd), draw(rng, 4, sd)
    found = population_difference(*stacked(first, second), FLAT)
    residual = np.concatenate([first - first.mean(0), second - second.mean(0)])
    design = np.repeat(np.eye(2), [5, 4], axis=0)
    want = moderate_variances(
        (residual**2).sum(0) / 7, 7.0, n_independent=effective_number(residual, design)
    )
    np.testing.assert_allclose(found.difference, first.mean(0) - second.mean(0), rtol=1e-8)
    np.testing.assert_allclose(found.mean1, first.mean(0), rtol=1e-8)
    np.testing.assert_allclose(found.mean2, second.mean(0), rtol=1e-8)
    np.testing.assert_allclose(found.variance, want.variance * (1 / 5 + 1 / 4), rtol=1e-6)
    np.testing.assert_allclose(found.df, want.df, rtol=1e-6)
    assert (found.n_paired == 0).all()


def test_pairs_use_differences_within_samples():
    rng = np.random.default_rng(1)
    common = draw(rng, 6, 1.0)
    first, second = common + draw(rng, 6, 0.05, 0.2), common + draw(rng, 6, 0.05, 0.0)
    found = population_difference(values(first), values(second), FLAT)
    differences = first - second
    np.testing.assert_allclose(found.difference, differences.mean(0), rtol=1e-8)
    np.testing.assert_allclose(found.mean1 - found.mean2, found.difference, rtol=1e-8)
    residual = differences - differences.mean(0)
    number = effective_number(residual, np.ones((6, 1)))
    want = moderate_variances((residual**2).sum(0) / 5, 5.0, n_independent=number)
    np.testing.assert_allclose(found.variance, want.variance / 6, rtol=1e-6)
    assert (found.n_paired == 6).all()
    assert np.sqrt(found.variance).mean() < 0.05  # not the 0.6 between samples


def test_unpaired_samples_add_to_pairs_by_inverse_variance():
    rng = np.random.default_rng(2)
    one, two = draw(rng, 9), draw(rng, 9, mean=0.4)
    is_both, only1 = np.arange(9) < 3, np.isin(np.arange(9), [3, 4, 5])
    first, second = values(one, present=is_both | only1), values(two, present=~only1)
    first.variance[~first.present] = np.inf
    second.variance[~second.present] = np.inf
    found = population_difference(first, second, FLAT)
    pairs = population_difference(values(one[:3]), values(two[:3]), FLAT)
    others = population_difference(*stacked(one[3:6], two[6:]), FLAT)
    weight = 1 / pairs.variance, 1 / others.variance
    total = weight[0] + weight[1]
    want = (weight[0] * pairs.difference + weight[1] * others.difference) / total
    np.testing.assert_allclose(found.difference, want, rtol=1e-4)
    np.testing.assert_allclose(found.variance, 1 / total, rtol=1e-4)
    assert (found.df > np.minimum(pairs.df, others.df) - 1e-9).all()


@pytest.mark.parametrize("n_unpaired", [0, 3])
def test_groups_can_be_swapped(n_unpaired):
    rng = np.random.default_rng(3)
    shape = (4 + 2 * n_unpaired, 50)
    sides = []
    for start in (0, n_unpaired):  # the last samples are in both groups
        present = np.zeros(shape[0], dtype=bool)
        present[start : start + n_unpaired] = True
        present[2 * n_unpaired :] = True
        variance = rng.choice([1e-4, 0.1], shape)
        variance[~present] = np.inf
        value = 0.5 + 0.05 * rng.standard_normal(shape)
        sides.append(SampleValues(value + np.sqrt(np.minimum(variance, 1.0)), variance, present))
    components = np.ones((2, 50))
    found = population_difference(*sides, components)
    swapped = population_difference(*reversed(sides), components)
    np.testing.assert_allclose(swapped.mean1, found.mean2, rtol=1e-10)
    np.testing.assert_allclose(swapped.mean2, found.mean1, rtol=1e-10)
    np.testing.assert_allclose(swapped.difference, -found.difference, rtol=1e-10)
    np.testing.assert_allclose(found.mean1 - found.mean2, found.difference, atol=1e-12)


def test_one_sample_with_both_groups_is_not_a_design():
    rng = np.random.default_rng(3)
    one, two = draw(rng, 4), draw(rng, 4)
    first = values(one, present=np.array([True, True, True, False]))
    second = values(two, present=np.array([True, False, True, True]))
    assert (population_difference(first, second, FLAT).n_paired == 2).all()
    first.present[0] = False
    first.variance[0] = np.inf
    found = population_difference(first, second, FLAT)
    assert (found.n_paired == 0).all()
    np.testing.assert_allclose(
        found.difference, one[1:3].mean(0) - two[[0, 2, 3]].mean(0), rtol=1e-6
    )


def test_gaps():
    rng = np.random.default_rng(4)
    one, two = stacked(draw(rng, 3), draw(rng, 3))
    one.variance[0, 0] = np.inf  # two samples of three
    one.variance[:2, 1] = np.inf  # one of three
    one.variance[:3, 2] = np.inf  # none
    found = population_difference(one, two, FLAT)
    np.testing.assert_allclose(found.mean1[0], one.value[1:3, 0].mean(), rtol=1e-6)
    np.testing.assert_allclose(found.mean1[1], one.value[2, 1], rtol=1e-6)
    assert np.isnan([found.difference[2], found.variance[2], found.df[2]]).all()
    assert np.isfinite(found.difference[[0, 1, 3]]).all()
    assert found.df[3] > found.df[0] > found.df[1]
    nothing = population_difference(values(one.value, np.inf), two, FLAT)
    assert np.isnan(nothing.difference).all()


def test_noisy_samples_count_less():
    rng = np.random.default_rng(5)
    one, two = stacked(draw(rng, 6, 0.01), draw(rng, 6, 0.01))
    one.value[0] += 1.0
    one.variance[0] = 4.0
    found = population_difference(one, two, FLAT)
    assert np.abs(found.difference).mean() < 0.02
    assert (np.sqrt(found.variance) < 0.02).all()


@pytest.mark.parametrize("correlated", [False, True], ids=["independent", "correlated"])
def test_intervals_cover_and_p_values_are_uniform(correlated):
    """Deviations of samples between junctions are independent, or those of three directions."""
    rng = np.random.default_rng(6)
    shape = rng.uniform(0.2, 2, N_JUNCTIONS)
    covered, small = [], []
    for _ in range(40):
        error = rng.uniform(0.02, 0.1, (10, N_JUNCTIONS))
        if correlated:
            loading = rng.normal(size=(3, N_JUNCTIONS)) / np.sqrt(3)
            deviation = rng.normal(size=(10, 3)) @ loading * np.sqrt(shape) * 0.1
        else:
            deviation = rng.normal(size=(10, N_JUNCTIONS)) * np.sqrt(shape) * 0.1
        measured = 0.5 + deviation + error * rng.normal(size=error.shape)
        one, two = stacked(measured[:5], measured[5:])
        one.variance[:5], two.variance[5:] = error[:5] ** 2, error[5:] ** 2
        found = population_difference(one, two, np.stack([shape, np.full(N_JUNCTIONS, 1e-9)]))
        t = found.difference / np.sqrt(found.variance)
        covered.append(np.abs(t) < student.ppf(0.95, found.df))
        small.append(2 * student.sf(np.abs(t), found.df) < 0.01)
    assert np.mean(covered) == pytest.approx(0.9, abs=0.03)
    assert np.mean(small) < 0.02

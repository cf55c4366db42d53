"""Comparison methods of the benchmark of differential splicing against slow plain references."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from benchmarks.differential import _alternatives, _beta_binomial, _moderated_t
from benchmarks.differential._pseudobulk import Pseudobulk, rank_test
from scipy.optimize import brentq, minimize
from scipy.special import digamma, expit, gammaln, polygamma
from scipy.stats import betabinom, chi2, f, mannwhitneyu, wilcoxon


def simulated(paired: bool, n_cells: int = 120, n_junctions: int = 12, seed: int = 0) -> tuple:
    """Counts, totals, groups and donors of cells; a donor has its own PSI, group 1 a shift."""
    rng = np.random.default_rng(seed)
    donor = np.arange(n_cells) % 6
    first = rng.random(n_cells) < 0.5 if paired else donor < 3
    odds = rng.normal(0, 1, n_junctions) + rng.normal(0, 0.7, (6, n_junctions))
    psi = expit(odds[donor] + 0.8 * first[:, None])
    total = rng.poisson(3, psi.shape)
    total[donor == 5, 0] = 0  # a donor without reads
    total[donor > 1, 1] = 0  # not testable if donors are nested in groups
    count = rng.binomial(total, rng.beta(6 * psi, 6 * (1 - psi)))
    return sp.csr_matrix(count), sp.csr_matrix(total), first, donor


@pytest.fixture(params=[False, True], ids=["donors nested in groups", "donors in both groups"])
def data(request) -> tuple:
    return simulated(request.param)


def test_pseudobulk_sums_cells(data) -> None:
    y, n, first, donor = data
    bulk = Pseudobulk.of(*data)
    assert bulk.paired == (len(bulk.donor) == 12)
    for s in range(len(bulk.donor)):
        of = (donor == bulk.donor[s]) & (first == bulk.first[s])
        np.testing.assert_array_equal(bulk.count[s], y.toarray()[of].sum(0))
        np.testing.assert_array_equal(bulk.total[s], n.toarray()[of].sum(0))
    assert bulk.testable().tolist() == [True, bulk.paired, *[True] * 10]


def test_ranks_are_those_of_donors(data) -> None:
    y, n, first, donor = (x.toarray() if sp.issparse(x) else x for x in data)
    p, effect = rank_test(Pseudobulk.of(*data))
    paired = len(set(donor[first]) & set(donor[~first])) > 0
    for j in (0, 2, 3):
        logit, psi = {}, {}
        for d in range(6):
            for group in (True, False):
                of = (donor == d) & (first == group)
                k, m = y[of, j].sum(), n[of, j].sum()
                if m > 0:
                    logit[d, group] = np.log((k + 0.5) / (m - k + 0.5))
                    psi[d, group] = k / m
        if paired:
            both = [d for d in range(6) if (d, True) in psi and (d, False) in psi]
            expected = wilcoxon([logit[d, True] - logit[d, False] for d in both]).pvalue
            difference = np.mean([psi[d, True] - psi[d, False] for d in both])
        else:
            one, other = ([v for (_, g), v in logit.items() if g == of] for of in (True, False))
            expected = mannwhitneyu(one, other).pvalue
            one, other = ([v for (_, g), v in psi.items() if g == of] for of in (True, False))
            difference = np.mean(one) - np.mean(other)
        assert p[j] == pytest.approx(expected)
        assert effect[j] == pytest.approx(difference)


@pytest.mark.parametrize("x", [2e-7, 1e-3, 0.4, 3.0, 500.0, 2e7])
def test_trigamma_is_inverted(x) -> None:
    found = _moderated_t.inverse_trigamma(x)
    root = brentq(lambda log: polygamma(1, np.exp(log)) / x - 1, -20, 20, xtol=1e-13)
    assert found == pytest.approx(np.exp(root), rel=2e-4 if x > 1e7 else 1e-6)


def test_prior_of_variances_is_found() -> None:
    rng = np.random.default_rng(0)
    df = rng.choice([3.0, 4.0, 8.0], 200_000)
    variance = 0.7 * f.rvs(df, 9.0, random_state=rng)
    scale, df_prior = _moderated_t.fit_prior(variance, df)
    assert scale == pytest.approx(0.7, rel=0.01)
    assert df_prior == pytest.approx(9, rel=0.03)
    same = rng.chisquare(5, 1000) / 5 * 0.3
    same = np.exp(0.1 * np.log(same))  # less variable than with equal variances
    scale, df_prior = _moderated_t.fit_prior(same, np.full(1000, 5.0))
    assert np.isinf(df_prior)
    assert scale == pytest.approx(same.mean())


LIMMA_VALUES = np.round(
    [
        [
            np.sin(1.7 * i * (j + 1) + j) * (0.3 + 0.15 * j) + 0.9 * (i < 3) * (j % 3 == 0)
            for j in range(8)
        ]
        for i in range(6)
    ],
    3,
)
"""Six samples, of which limma 3.54.1 (R 4.2.2) was asked for p values of the first three."""
LIMMA_VALUES[5, 2] = LIMMA_VALUES[0, 4] = np.nan
GROUP = np.array([1.0, 1, 1, 0, 0, 0])


@pytest.mark.parametrize(
    ("block", "scale", "prior", "expected"),
    [
        (
            np.ones((6, 1)),
            1,
            (0.25503738219, 13.49304609946),
            [
                0.0224423705667,
                0.5330097767777,
                0.1443447322256,
                0.0030921265701,
                0.4712535744557,
                0.8887129346959,
                0.5543194744678,
                0.0002806256343,
            ],
        ),
        (
            np.tile(np.eye(3), (2, 1)),
            1,
            (0.249848979167, np.inf),
            [
                0.0377024856417,
                0.5364342415766,
                0.0897960154928,
                0.0069073310081,
                0.9217386566651,
                0.8612343106935,
                0.5333326629013,
                0.0005993724826,
            ],
        ),
        (
            np.ones((6, 1)),
            [1, 1, 20, 0.1, 5, 1, 1, 3],
            (0.0730344879828, 0.6287593283244),
            [
                0.006531655174,
                0.516885589398,
                0.097744890671,
                0.188426278338,
                0.558238585061,
                0.922515813264,
                0.602130625698,
                0.003121334854,
            ],
        ),
    ],
    ids=["two groups", "blocks", "variances that differ"],
)
def test_moderated_t_is_that_of_limma(block, scale, prior, expected) -> None:
    design = np.column_stack([block, GROUP])
    values = LIMMA_VALUES * scale
    _, _, variance, df = _moderated_t.fit_linear(values, design)
    np.testing.assert_allclose(_moderated_t.fit_prior(variance, df), prior, rtol=1e-9)
    np.testing.assert_allclose(_moderated_t.p_values(values, design), expected, rtol=1e-8)


def test_coefficients_without_samples_are_missing() -> None:
    values = LIMMA_VALUES.copy()
    values[3:, 0] = np.nan
    p = _moderated_t.p_values(values, np.column_stack([np.ones(6), GROUP]))
    assert np.isnan(p).tolist() == [True] + [False] * 7


def test_moderated_t_takes_pseudobulk(data) -> None:
    bulk = Pseudobulk.of(*data)
    p, effect = _moderated_t.moderated_t(bulk)
    np.testing.assert_array_equal(np.isnan(p), ~bulk.testable())
    np.testing.assert_array_equal(np.isnan(effect), ~bulk.testable())
    psi = bulk.psi[:, 2:]
    one, other = psi[bulk.first], psi[~bulk.first]
    if bulk.paired:
        difference = np.nanmean(bulk.differences(psi), axis=0)
    else:
        difference = np.nanmean(one, axis=0) - np.nanmean(other, axis=0)
    np.testing.assert_allclose(effect[2:], difference)


@pytest.mark.parametrize("m", [0, 1, 5, 32, 33, 4000])
@pytest.mark.parametrize("x", [1e-6, 0.3, 7.0, 12.5, 1e6])
def test_rising_factorial_is_that_of_scipy(x, m) -> None:
    found = _beta_binomial.log_rising(x, float(m))
    expected = [g(x + m) - g(x) for g in (gammaln, digamma, lambda z: polygamma(1, z))]
    # Differences of large values lose digits, in the reference too.
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=2e-8)


def log_likelihood(y, n, eta, log_kappa) -> float:
    mu, kappa = expit(eta), np.exp(log_kappa)
    return float(betabinom.logpmf(y, n, kappa * mu, kappa * (1 - mu)).sum())


def maximum(y, n, design) -> tuple[float, np.ndarray]:
    """Largest likelihood over coefficients and log kappa, by a search without derivatives."""
    best: tuple[float, np.ndarray] = (-np.inf, np.empty(0))
    for log_kappa in (0.0, 3.0):
        found = minimize(
            lambda x: -log_likelihood(y, n, design @ x[:-1], np.clip(x[-1], -4.6, 13.8)),
            [*np.zeros(design.shape[1]), log_kappa],
            method="Powell",
            options={"xtol": 1e-8, "ftol": 1e-12, "maxiter": 10_000},
        )
        if -found.fun > best[0]:
            best = -found.fun, found.x
    return best


def likelihood_ratio(y, n, design) -> float:
    full, null = (maximum(y, n, x)[0] for x in (design, design[:, :-1]))
    return float(chi2.sf(2 * (full - null), 1))


def test_cells_are_compared_by_the_likelihood_ratio() -> None:
    y, n, first, _ = simulated(False)
    p, effect = _beta_binomial.compare_cells(y, n, first)
    design = np.column_stack([np.ones(len(first)), first]).astype(float)
    for j in (0, 5):
        of = n.toarray()[:, j] > 0
        count, total = (m.toarray()[of, j] for m in (y, n))
        assert p[j] == pytest.approx(likelihood_ratio(count, total, design[of]), rel=1e-3)
        _, x = maximum(count, total, design[of])
        assert effect[j] == pytest.approx(expit(x[0] + x[1]) - expit(x[0]), abs=1e-4)


def test_donors_are_compared_by_the_likelihood_ratio(data) -> None:
    bulk = Pseudobulk.of(*data)
    p, effect = _beta_binomial.compare_donors(bulk)
    np.testing.assert_array_equal(np.isnan(p), ~bulk.testable())
    design = bulk.design()
    assert design.shape == ((12, 7) if bulk.paired else (6, 2))
    for j in (2,) if bulk.paired else (2, 3):
        y, n = bulk.count[:, j], bulk.total[:, j]
        assert p[j] == pytest.approx(likelihood_ratio(y, n, design), rel=0.01)
        _, x = maximum(y, n, design)
        difference = np.mean(expit(x[:-2] + x[-2]) - expit(x[:-2]))
        assert effect[j] == pytest.approx(difference, abs=1e-3)


def test_fit_is_a_maximum_also_without_spread_or_reads_for() -> None:
    """Counts less variable than binomial, all for, none at all."""
    design = np.ones((1, 1))
    y = np.array([[5.0, 5, 5, 5], [7, 9, 1, 3], [0, 0, 0, 0]]).ravel()
    n = np.array([[10.0] * 4, [7, 9, 1, 3], [4, 4, 4, 4]]).ravel()
    start = np.tile([0.0, 2.0], (4, 1))
    indptr = np.array([0, 4, 8, 12, 12])
    found, value = _beta_binomial.fit(indptr, np.zeros(12, int), y, n, design, start)
    assert found[0] == pytest.approx([0, np.log(1e6)], abs=1e-3)
    binomial = 20 * np.log(0.5) * 2
    assert value == pytest.approx([binomial, 0, 0, 0], abs=1e-3)


def test_p_values_are_uniform_where_cells_are_replicates() -> None:
    rng = np.random.default_rng(3)
    total = rng.poisson(4, (200, 400))
    psi = rng.beta(3, 3, total.shape)
    first = np.arange(200) < 100
    y, n = sp.csr_matrix(rng.binomial(total, psi)), sp.csr_matrix(total)
    p, _ = _beta_binomial.compare_cells(y, n, first)
    assert 0.03 < np.mean(p < 0.05) < 0.08


def test_adjustment_leaves_out_what_was_not_tested() -> None:
    p = np.array([0.01, np.nan, 0.04, 0.03])
    found = _alternatives.Tested.of(p, np.array([0.3, np.nan, -0.3, 0.01]))
    np.testing.assert_allclose(found.adjusted, [0.03, np.nan, 0.04, 0.04])
    assert found.called(0.05, 0.05).tolist() == [True, False, True, False]


def test_all_methods_find_a_large_difference(data) -> None:
    y, n, first, donor = data
    swapped = y.toarray()
    swapped[:, 4] = np.where(first, n.toarray()[:, 4], 0)
    for name in _alternatives.ALTERNATIVES:
        found = _alternatives.compare(name, sp.csr_matrix(swapped), n, first, donor)
        assert found.effect[4] > 0.9, name
        assert found.p[4] <= np.sort(found.p)[2], name

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from leafletfa_scvi.data import check_splicing
from leafletfa_scvi.datasets import simulate_splicing
from leafletfa_scvi.pp._counts import splicing_from_counts
from leafletfa_scvi.pp.qc._variability import agreement, beyond_typical
from leafletfa_scvi.pp.qc._variable_atses import VARIABILITY_COLUMNS, select_variable_atses

LAYERS = ("cell_by_junction_matrix", "cell_by_cluster_matrix")


def per_atse(adata):
    return adata.var.drop_duplicates("atse_id")


def auc(score, truth):
    rank = pd.Series(score).rank().to_numpy()
    n = truth.sum()
    return (rank[truth].sum() - n * (n + 1) / 2) / (n * (~truth).sum())


def direct(counts):
    """Excess and largest excess of one ATSE, read by read."""
    cell, junction = (
        np.repeat(x, counts.ravel()) for x in np.indices(counts.shape).reshape(2, -1)
    )
    n = counts.sum(1)
    weight = (cell[:, None] == cell) / n[cell]
    same = (junction[:, None] == junction).astype(float)
    np.fill_diagonal(weight, 0)
    np.fill_diagonal(same, 0)
    h = same.sum() / (len(cell) * (len(cell) - 1))
    return (weight * (same - h)).sum(), weight.sum() * (1 - h), cell, junction, weight


def test_known_answers():
    def of(counts):
        counts = np.array(counts)
        return agreement(sp.csr_matrix(counts), np.zeros(counts.shape[1], int), 1)

    apart = of([[4, 0], [0, 4], [3, 0], [0, 3]])
    assert apart.variability[0] == pytest.approx(1)
    constitutive = of([[4, 0], [7, 0]])
    assert constitutive.variability[0] == constitutive.z[0] == constitutive.standard_error[0] == 0
    assert constitutive.p_value()[0] == 1
    single = of([[1, 0], [0, 1], [1, 0]])
    assert single.n_cells[0] == single.variability[0] == 0
    assert of([[0, 0]]).variability[0] == 0


def test_sums_equal_those_over_pairs_of_reads():
    rng = np.random.default_rng(0)
    counts = rng.multinomial([0, 1, 1, 2, 3, 5, 5, 9], rng.dirichlet([1, 1, 1], 8))
    measured = agreement(sp.csr_matrix(counts), np.zeros(3, int), 1)
    excess, possible, cell, junction, weight = direct(counts)
    assert measured.excess[0] == pytest.approx(excess)
    assert measured.possible[0] == pytest.approx(possible)
    dealt = []
    for _ in range(20_000):
        j = rng.permutation(junction)
        dealt.append((weight * (j[:, None] == j)).sum())
    assert np.var(dealt) == pytest.approx(measured.null_variance[0], rel=0.05)


def test_order_of_junctions_does_not_matter():
    rng = np.random.default_rng(1)
    counts, codes = rng.poisson(1.0, (30, 12)), np.repeat(np.arange(4), 3)
    order = rng.permutation(12)
    a = agreement(sp.csr_matrix(counts), codes, 4)
    b = agreement(sp.csr_matrix(counts[:, order]), codes[order], 4)
    for x, y in zip(vars(a).values(), vars(b).values(), strict=True):
        np.testing.assert_allclose(x, y)


@pytest.mark.parametrize("mean_depth", [2.0, 30.0])
def test_nothing_varies_under_multinomial_noise(mean_depth):
    adata = simulate_splicing(
        300, 600, frac_differential=0, concentration=np.inf, mean_depth=mean_depth, seed=3
    )
    select_variable_atses(adata)
    table = per_atse(adata).dropna(subset="atse_variability_z")
    z = table["atse_variability_z"]
    assert len(table) > 400
    assert abs(z.mean()) < 4 / len(z) ** 0.5
    assert z.std() == pytest.approx(1, abs=0.12)
    assert table["variable_atse"].mean() <= 0.01
    reads = np.asarray(adata.layers["cell_by_cluster_matrix"].sum(0)).ravel()
    reads = pd.Series(reads, adata.var_names)[table.index]
    for name in ("atse_variability", "atse_variability_z", "atse_score"):
        assert abs(table[name].corr(reads, method="spearman")) < 4 / len(z) ** 0.5


def test_false_discoveries_are_few_at_low_depth():
    rates = []
    for seed in range(3):
        adata = simulate_splicing(
            40,
            500,
            frac_differential=0,
            concentration=np.inf,
            coverage=0.5,
            mean_depth=4,
            seed=seed,
        )
        counts = adata.layers["cell_by_junction_matrix"].copy()
        counts.eliminate_zeros()
        codes = pd.factorize(adata.var["atse_id"])[0]
        measured = agreement(counts, codes, 500)
        p = measured.p_value()[measured.n_cells >= 10]
        rates.append([(p < level).mean() for level in (0.05, 0.01)])
    at_5, at_1 = np.mean(rates, axis=0)
    assert 0.02 < at_5 < 0.07
    assert at_1 < 0.018


@pytest.mark.parametrize(
    ("options", "least"),
    [({}, 0.95), ({"mean_depth": 4.0}, 0.86), ({"coverage": 0.05}, 0.9)],
)
def test_planted_differences_come_first(options, least):
    adata = simulate_splicing(400, 400, **options, seed=1)
    assert select_variable_atses(adata, 80) is None
    table = per_atse(adata)
    assert adata.var.groupby("atse_id", observed=True)["variable_atse"].nunique().max() == 1
    assert table["variable_atse"].sum() == 80
    scored = table.dropna(subset="atse_score")
    assert auc(scored["atse_score"], scored["differs"].to_numpy()) > least
    worst = table.loc[table["variable_atse"], "atse_score"].min()
    assert (table.loc[~table["variable_atse"], "atse_score"].dropna() <= worst).all()


def test_variability_is_that_of_the_dirichlet_multinomial():
    for concentration in (4.0, 19.0):
        adata = simulate_splicing(
            400, 200, frac_differential=0, concentration=concentration, coverage=0.5, seed=0
        )
        select_variable_atses(adata)
        found = per_atse(adata)["atse_variability"].median()
        assert found == pytest.approx(1 / (1 + concentration), rel=0.15)


def test_standard_errors_cover():
    inside = []
    for seed in range(4):
        adata = simulate_splicing(
            300,
            100,
            frac_differential=0,
            concentration=9,
            coverage=0.6,
            junctions_per_atse=(2, 2),
            seed=seed,
        )
        select_variable_atses(adata)
        table = per_atse(adata)
        inside += list(
            (table["atse_variability"] - 0.1).abs() < 1.96 * table["atse_variability_se"]
        )
    assert 0.85 < np.mean(inside) < 0.99


def test_differences_between_batches_do_not_count():
    rng = np.random.default_rng(0)
    batch = np.repeat(["a", "b"], 100)
    n = rng.integers(2, 20, 200)
    by_batch = rng.binomial(n, np.where(batch == "a", 0.1, 0.9))
    by_cell = rng.binomial(n, rng.choice([0.1, 0.9], 200))
    constant = rng.binomial(n[:, None], 0.5, (200, 3))
    used = np.column_stack([by_batch, by_cell, constant])
    counts = np.stack([used, n[:, None] - used], axis=2).reshape(200, 10)
    obs = pd.DataFrame({"donor": batch}, index=[f"c{i}" for i in range(200)])
    adata = splicing_from_counts(counts, list("xxyyaabbcc"), obs=obs)
    select_variable_atses(adata)
    assert adata.var["atse_variability"].iloc[:4].min() > 0.5
    assert adata.var["variable_atse"].tolist() == [True] * 4 + [False] * 6
    select_variable_atses(adata, batch_key="donor")
    of_batch, _, of_cell, _ = adata.var["atse_variability"].iloc[:4]
    assert abs(of_batch) < 0.03
    assert of_cell > 0.5
    assert adata.var["variable_atse"].tolist() == [False] * 2 + [True] * 2 + [False] * 6


def test_annotation_weight():
    counts = np.random.default_rng(0).permuted(np.tile([5, 0], (40, 2)).reshape(80, 2), axis=1)
    counts = np.hstack([counts, counts, counts[:, ::-1] * [3, 2]])
    var = pd.DataFrame(
        {"known_junction": [True, True, False, False, True, True]}, index=list("abcdef")
    )
    adata = splicing_from_counts(counts, list("xxyyzz"), var=var)
    select_variable_atses(adata, 1, annotation_weight=0.5)
    score = adata.var["atse_score"]
    assert score["c"] == pytest.approx(score["a"] / 2)
    del adata.var["known_junction"]
    with pytest.raises(KeyError, match="known_junction"):
        select_variable_atses(adata, annotation_weight=0.5)


def test_slots_subset_and_counts(small, tmp_path):
    before = small.copy()
    select_variable_atses(small, fraction=0.25, min_cells=5)
    assert set(VARIABILITY_COLUMNS) <= set(small.var)
    record = small.uns["splicing"]["variable_atses"]
    assert record["atses_variable"] == round(0.25 * record["atses_scored"])
    assert record["fraction"] == 0.25
    assert small.uns["splicing"]["source"] == "simulate_splicing"
    for layer in before.layers:
        assert (small.layers[layer] != before.layers[layer]).nnz == 0
    marked = small.var_names[small.var["variable_atse"]]
    select_variable_atses(small, fraction=0.25, min_cells=5, subset=True)
    assert small.var_names.equals(marked)
    small.write_h5ad(tmp_path / "a.h5ad")
    with pytest.warns(UserWarning, match="have enough cells"):
        select_variable_atses(before, 1000, min_cells=5)
    check_splicing(before[:, before.var["variable_atse"]].copy())


def test_errors(small):
    with pytest.raises(ValueError, match="choose one"):
        select_variable_atses(small, 5, fraction=0.1)
    with pytest.raises(ValueError, match="n_top to be a number from 1, found 0"):
        select_variable_atses(small, 0)
    with pytest.raises(ValueError, match=r"fraction in \(0, 1\], found 1.5"):
        select_variable_atses(small, fraction=1.5)
    with pytest.raises(ValueError, match=r"annotation_weight in \[0, 1\], found"):
        select_variable_atses(small, annotation_weight=2)
    with pytest.raises(ValueError, match="No ATSE has 1000 cells"):
        select_variable_atses(small, min_cells=1000)
    with pytest.raises(KeyError, match="'donor'"):
        select_variable_atses(small, batch_key="donor")
    assert not set(VARIABILITY_COLUMNS) & set(small.var)
    del small.layers["cell_by_cluster_matrix"]
    with pytest.raises(KeyError, match="cell_by_cluster_matrix"):
        select_variable_atses(small)


def test_scores_are_relative_to_typical_variance():
    score, typical = beyond_typical(np.array([0.1, 0.2, 0.4]), np.array([0.5, 1, 1.5]))
    assert typical == 0.2
    np.testing.assert_allclose(score, [-0.1 / 1.5, 0, 0.2 / 2.5])
    assert beyond_typical(np.array([-0.1, -0.2]), np.ones(2))[1] == 0
    assert len(beyond_typical(*np.empty((2, 0)))[0]) == 0


@pytest.mark.parametrize("depth", [3, 40])
def test_psi_variance_is_that_between_cells(depth):
    """Twice the variance of the PSI of either junction, at any depth."""
    rng = np.random.default_rng(5)
    cells, atses, a, b = 150, 600, 2.0, 6.0
    n = rng.poisson(depth, (cells, atses))
    y = rng.binomial(n, rng.beta(a, b, (cells, atses)))
    counts = np.stack([y, n - y], axis=2).reshape(cells, 2 * atses)
    measured = agreement(sp.csr_matrix(counts), np.repeat(np.arange(atses), 2), atses)
    truth = 2 * a * b / ((a + b) ** 2 * (a + b + 1))
    assert measured.psi_variance.mean() == pytest.approx(truth, rel=0.04)
    error = np.sqrt(measured.squared_error_of_variance) / measured.pairs
    inside = np.abs(measured.psi_variance - truth) < 1.96 * error
    assert 0.88 < inside.mean() < 0.99
    p = measured.p_value(truth)
    assert 0.02 < (p < 0.05).mean() < 0.12
    assert (measured.p_value() < 0.05).mean() > 0.5


def test_marked_by_default_are_those_that_differ():
    """Noise beyond that of counting, the same in all ATSEs, is not taken for a difference."""
    for options in ({}, {"mean_depth": 4.0}, {"coverage": 0.05}):
        adata = simulate_splicing(400, 400, **options, seed=1)
        select_variable_atses(adata)
        table = per_atse(adata)
        marked = table[table["variable_atse"]]
        assert marked["differs"].mean() >= 0.95
        assert len(marked) > 0.3 * (table["differs"] & table["atse_score"].notna()).sum()
        assert (marked["atse_score_fdr"] <= 0.05).all()
    assert (table["atse_variability_fdr"] <= 0.05).sum() > 2 * len(marked)


def test_deep_but_ordinary_atses_do_not_come_first():
    """At high depth a plain z score is large for all; the score is so for what differs."""
    adata = simulate_splicing(400, 400, concentration=5, seed=2)
    select_variable_atses(adata)
    table = per_atse(adata).dropna(subset="atse_score")
    truth = table["differs"].to_numpy()
    assert auc(table["atse_score"], truth) > auc(table["atse_variability_z"], truth) + 0.1


def test_real_atses_tell_cell_types(chen):
    """Cells of one type are nearest neighbours by the chosen ATSEs, more than by others."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.model_selection import cross_val_score
    from sklearn.neighbors import KNeighborsClassifier

    def accuracy(mask):
        y, n = (chen.layers[x][:, mask].toarray() for x in LAYERS)
        psi = np.where(n > 0, (y + 0.5) / (n + 1), np.nan)
        psi = np.nan_to_num(psi - np.nanmean(psi, axis=0))
        where = TruncatedSVD(10, random_state=0).fit_transform(psi)
        types = chen.obs["cell_type"].astype(str)
        return cross_val_score(KNeighborsClassifier(10), where, types, cv=5).mean()

    select_variable_atses(chen, 300)
    codes = pd.factorize(chen.var["atse_id"])[0]
    other = np.random.default_rng(0).permutation(codes.max() + 1)[:300]
    assert accuracy(chen.var["variable_atse"].to_numpy()) > accuracy(np.isin(codes, other)) + 0.1


def dense(adata):
    """Counts of inclusion and ATSE totals, cells x exons."""
    y, n = (adata.layers[x].toarray()[:, ::2] for x in LAYERS)
    assert all(name.endswith(":inclusion") for name in adata.var_names[::2])
    return y, n


def test_exons_that_differ_between_real_cell_types_come_first(chen):
    """By mean PSI of cells with two reads or more, at least half of the motor neurons."""
    y, n = dense(chen)
    covered, neuron = n >= 2, (chen.obs["cell_type"] == "Motor neuron").to_numpy()
    psi = np.where(covered, y / np.maximum(n, 1), 0)
    mean = [psi[of].sum(0) / np.maximum(covered[of].sum(0), 1) for of in (neuron, ~neuron)]
    differs = (np.abs(mean[0] - mean[1]) > 0.3) & (covered[neuron].sum(0) >= neuron.sum() / 2)
    assert differs.sum() == 42
    del chen.obs["cell_type"]
    select_variable_atses(chen)
    table = chen.var.iloc[::2]
    rank = table["atse_score"].rank(ascending=False).to_numpy()[differs]
    assert (rank <= 300).sum() >= 36
    assert np.median(rank) < 60
    assert table["variable_atse"].to_numpy()[differs].sum() >= 38
    assert 0.2 < table["variable_atse"].mean() < 0.45


def test_exons_that_are_swapped_in_some_real_cells_come_first(chen):
    """Inclusion and exclusion are exchanged in a seventh of the cells, coverage and noise kept."""
    y, n = dense(chen)
    rng = np.random.default_rng(0)
    mean = y.sum(0) / n.sum(0)
    minor = np.minimum(mean, 1 - mean)
    alike = np.flatnonzero((minor > 0.05) & (minor < 0.3))
    swapped = rng.choice(alike, 150, replace=False)
    where = np.ix_(rng.random(len(y)) < 0.15, swapped)
    y[where] = (n - y)[where]
    counts = np.stack([y, n - y], axis=2).reshape(chen.shape)
    chen.layers[LAYERS[0]] = sp.csr_matrix(counts)
    select_variable_atses(chen)
    table, planted = chen.var.iloc[::2], np.zeros(n.shape[1], bool)
    planted[swapped] = True
    for among, least in ((slice(None), 0.9), (alike, 0.86)):
        found, truth = table.iloc[among], planted[among]
        assert auc(found["atse_score"], truth) > least
        assert auc(found["atse_score"], truth) > auc(found["atse_variability"], truth) + 0.04

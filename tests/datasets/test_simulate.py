"""The simulator against what its documentation promises; errors are those of the mean."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

from leafletfa_scvi.data import atse_codes, check_splicing, observed_entries
from leafletfa_scvi.datasets import simulate_splicing


def flat(adata):
    """Cell, junction, y, n and p of every observed entry."""
    entries = observed_entries(adata)
    row, column = entries.rows().numpy(), entries.column.numpy()
    phi, psi = adata.obsm["phi_true"], adata.varm["psi_true"]
    p = np.einsum("ik,ik->i", phi[row], psi[column])
    return row, column, entries.count.double().numpy(), entries.total.double().numpy(), p


def per_pair(adata, key="atse_id"):
    """Pair of each entry, entries of each pair, and each junction's place in its pair."""
    row, column, *_ = flat(adata)
    codes, n_atse = atse_codes(adata, key)
    pair = np.unique(row * n_atse + codes[column], return_inverse=True)[1]
    return pair, np.bincount(pair)


def test_contents():
    adata = simulate_splicing(50, 30, 4, junctions_per_atse=(2, 3), seed=4)
    assert adata.obs_names[0] == "cell_0"
    assert adata.obsm["phi_true"].shape == (50, 4)
    assert adata.varm["psi_true"].shape == (adata.n_vars, 4)
    np.testing.assert_allclose(adata.obsm["phi_true"].sum(axis=1), 1)
    sums = pd.DataFrame(adata.varm["psi_true"]).groupby(adata.var["atse_id"].to_numpy()).sum()
    assert sums.shape == (30, 4)
    np.testing.assert_allclose(sums, 1)
    assert adata.var["atse_id"].value_counts().isin([2, 3]).all()
    best = adata.obsm["phi_true"].argmax(axis=1)
    assert adata.obs["program_true"].tolist() == [f"SP_{k + 1}" for k in best]
    assert adata.uns["splicing"]["source"] == "simulate_splicing"
    check_splicing(adata)


def test_coordinates_of_an_atse_share_a_splice_site():
    adata = simulate_splicing(5, 200, 2, seed=1)
    var = adata.var
    names = var["chrom"].astype(str) + ":" + var["start"].astype(str) + "-"
    names += var["end"].astype(str) + ":" + var["strand"].astype(str)
    assert adata.var_names.is_unique
    assert adata.var_names.tolist() == names.tolist()
    assert (var["end"] - var["start"] + 1).between(70, 500_000).all()
    assert (var["start"] >= 1).all()
    groups = var.groupby("atse_id", observed=True)
    assert groups[["chrom", "strand", "gene_id"]].nunique().eq(1).all(axis=None)
    sites = groups[["start", "end"]].nunique()
    assert sites.min(axis=1).eq(1).all()
    assert sites.max(axis=1).eq(groups.size()).all()
    spans = groups.agg(chrom=("chrom", "first"), start=("start", "min"), end=("end", "max"))
    for _, chromosome in spans.groupby("chrom", observed=True):
        ordered = chromosome.sort_values("start")
        assert (ordered["start"].to_numpy()[1:] > ordered["end"].to_numpy()[:-1]).all()
    assert var["gene_name"].cat.categories.str.fullmatch(r"GENE_\d+").all()


def test_only_differential_atses_differ():
    adata = simulate_splicing(5, 200, 3, frac_differential=0.3, seed=1)
    psi = adata.varm["psi_true"]
    spread = psi.max(axis=1) - psi.min(axis=1)
    differs = adata.var["differs"].to_numpy()
    assert (spread[~differs] == 0).all()
    assert adata.var["atse_id"][differs].nunique() == 60
    largest = pd.Series(spread[differs]).groupby(adata.var["atse_id"][differs].to_numpy()).max()
    assert largest.median() > 0.4
    assert psi.min() > 0.005


def test_activities_have_the_stated_mean_and_concentration():
    adata = simulate_splicing(20_000, 1, 4, activity_concentration=0.8, coverage=1)
    phi, prevalence = adata.obsm["phi_true"], adata.uns["truth"]["prevalence"]
    assert (np.diff(prevalence) < 0).all()
    variance = prevalence * (1 - prevalence) / (1 + 0.8)
    np.testing.assert_allclose(phi.mean(axis=0), prevalence, atol=4 * np.sqrt(0.1 / 20_000))
    np.testing.assert_allclose(phi.var(axis=0), variance, rtol=0.05)
    few = (np.sort(phi, axis=1)[:, -2:].sum(axis=1) > 0.8).mean()
    assert few > 0.8


@pytest.mark.parametrize("coverage", [0.05, 0.2, 0.6, 1.0])
def test_coverage_and_depth(coverage):
    adata = simulate_splicing(400, 400, 3, coverage=coverage, seed=7)
    _, size = per_pair(adata)
    assert abs(len(size) / (400 * 400) - coverage) < 0.03 * coverage
    _, _, _, n, _ = flat(adata)
    pair, size = per_pair(adata)
    reads = np.bincount(pair, n) / size
    assert abs(reads.mean() - 15) < 5 * reads.std() / np.sqrt(len(reads))
    assert reads.var() > 3 * reads.mean()  # over-dispersed
    depth = np.asarray(adata.X.sum(axis=1)).ravel()
    assert depth.std() / depth.mean() > 0.15


@pytest.mark.filterwarnings("ignore:.*no observed entry")
@pytest.mark.parametrize("concentration", [0.05, 2.0, np.inf])
def test_counts_of_an_atse_sum_to_its_total(concentration):
    adata = simulate_splicing(100, 50, 3, concentration=concentration, junctions_per_atse=(1, 4))
    _, _, y, n, _ = flat(adata)
    pair, size = per_pair(adata)
    np.testing.assert_array_equal(np.bincount(pair, y), np.bincount(pair, n) / size)
    assert (size == 1).any()
    check_splicing(adata)


@pytest.mark.parametrize("likelihood", ["dirichlet-multinomial", "betabinomial"])
@pytest.mark.parametrize("concentration", [0.3, 20.0, np.inf])
def test_each_junction_is_beta_binomial(likelihood, concentration):
    """Mean n p and variance n p (1 - p) (n + kappa) / (1 + kappa), at every place in an ATSE."""
    adata = simulate_splicing(
        1500, 40, 3, coverage=0.5, concentration=concentration, likelihood=likelihood, seed=9
    )
    _, column, y, n, p = flat(adata)
    factor = np.ones_like(p) if np.isinf(concentration) else (n + concentration) / (
        1 + concentration
    )  # fmt: skip
    z = (y - n * p) / np.sqrt(n * p * (1 - p) * factor)
    codes, _ = atse_codes(adata, "atse" if likelihood == "betabinomial" else "atse_id")
    place = (np.arange(adata.n_vars) - np.searchsorted(codes, codes))[column]
    for i in range(5):
        here = z[place == i]
        assert abs(here.mean()) < 4.5 / np.sqrt(len(here))
        square = here**2
        assert abs(square.mean() - 1) < 4.5 * square.std() / np.sqrt(len(here))


@pytest.mark.parametrize("likelihood", ["dirichlet-multinomial", "betabinomial"])
def test_junctions_of_an_atse_share_reads_or_are_independent(likelihood):
    """Covariance within a pair: -n p q (n + kappa) / (1 + kappa), or none."""
    key = "atse" if likelihood == "betabinomial" else "atse_id"
    adata = simulate_splicing(
        2000, 30, 2, coverage=0.5, junctions_per_atse=(3, 3), likelihood=likelihood, seed=3
    )
    _, _, y, n, p = (x.reshape(-1, 3) for x in flat(adata))
    pair, size = per_pair(adata, key)
    assert (size == 3).all()
    assert (pair.reshape(-1, 3) == pair[::3, None]).all()
    residual = y - n * p
    product = residual[:, 0] * residual[:, 1]
    wanted = -n[:, 0] * p[:, 0] * p[:, 1] * (n[:, 0] + 20) / 21
    difference = product - (0 if likelihood == "betabinomial" else wanted)
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(len(difference))


def test_independent_junctions_have_no_labels_to_check():
    adata = simulate_splicing(60, 40, 2, likelihood="betabinomial")
    assert "atse_id" not in adata.var
    _, _, y, n, _ = flat(adata)
    pair, size = per_pair(adata, "atse")
    assert (np.bincount(pair, y) > np.bincount(pair, n) / size).any()
    check_splicing(adata)
    with pytest.raises(ValueError, match="over all junctions of one ATSE"):
        check_splicing(adata, atse_key="atse")


def test_seed():
    one, same, other = (simulate_splicing(40, 20, 2, seed=s) for s in (1, 1, 2))
    assert (one.X != same.X).nnz == 0
    assert one.var.equals(same.var)
    assert one.shape != other.shape or (one.X != other.X).nnz > 0


@pytest.mark.parametrize("kind", [{}, {"concentration": np.inf, "likelihood": "betabinomial"}])
def test_data_can_be_written_and_read(tmp_path, kind):
    adata = simulate_splicing(30, 20, 1, **kind)
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert back.uns["truth"]["concentration"] == kind.get("concentration", 20.0)
    assert (back.X != adata.X).nnz == 0
    np.testing.assert_array_equal(back.varm["psi_true"], adata.varm["psi_true"])


@pytest.mark.parametrize(
    "bad",
    [
        {"n_cells": 0},
        {"n_programs": 0},
        {"frac_differential": 1.1},
        {"coverage": 0.0},
        {"coverage": 1.5},
        {"mean_depth": 0.5},
        {"concentration": 0.0},
        {"activity_concentration": 0.0},
        {"junctions_per_atse": (3, 2)},
        {"junctions_per_atse": (0, 2)},
        {"likelihood": "poisson"},
    ],
)
def test_invalid_arguments_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        simulate_splicing(**bad)


def test_the_old_argument_warns():
    with pytest.warns(FutureWarning, match="'differing' of simulate_splicing is deprecated"):
        old = simulate_splicing(5, 20, 2, differing=0.5)
    new = simulate_splicing(5, 20, 2, frac_differential=0.5)
    assert (old.varm["psi_true"] == new.varm["psi_true"]).all()


def test_batches_shift_psi_and_nothing_else():
    """The same cells, programs and totals with and without batch effects."""
    options = {"coverage": 0.5, "mean_depth": 200.0, "concentration": np.inf, "seed": 4}
    plain = simulate_splicing(300, 40, 3, **options)
    adata = simulate_splicing(300, 40, 3, n_batches=3, frac_batch=0.25, **options)
    for name in ("psi_true",):
        np.testing.assert_array_equal(adata.varm[name], plain.varm[name])
    np.testing.assert_array_equal(adata.obsm["phi_true"], plain.obsm["phi_true"])
    n = adata.layers["cell_by_cluster_matrix"]
    assert (n != plain.layers["cell_by_cluster_matrix"]).nnz == 0
    shift, shifts = adata.varm["batch_shift_true"], adata.var["shifts"].to_numpy()
    assert adata.var["atse_id"][shifts].nunique() == 10
    np.testing.assert_allclose(shift.sum(1), 0, atol=1e-12)
    assert (shift[~shifts] == 0).all()
    assert shift[shifts].std() == pytest.approx(1.5 * np.sqrt(2 / 3), rel=0.2)
    assert np.bincount(adata.obs["batch"].cat.codes).tolist() == [100, 100, 100]
    # Means of many reads are those of the shifted programs.
    psi, phi = adata.varm["psi_true"], adata.obsm["phi_true"]
    raised = psi[:, :, None] * np.exp(shift)[:, None, :]
    sums = pd.DataFrame(raised.reshape(len(psi), -1)).groupby(
        adata.var["atse_id"].to_numpy(), observed=True
    )
    own = raised / sums.transform("sum").to_numpy().reshape(raised.shape)
    y = adata.layers["cell_by_junction_matrix"]
    for b in range(3):
        cells = (adata.obs["batch"].cat.codes == b).to_numpy()
        total = n[cells].toarray().astype(float)
        want = (total * (phi[cells] @ own[:, :, b].T)).sum(0) / np.maximum(total.sum(0), 1)
        found = np.asarray(y[cells].sum(0)).ravel() / np.maximum(total.sum(0), 1)
        assert np.abs(found - want)[total.sum(0) > 1000].max() < 0.05

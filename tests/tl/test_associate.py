"""Association of columns with activities, by permutation of samples."""

from __future__ import annotations

import logging

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from leafletfa_scvi.tl import associate


def draw_cells(seed=0, n_donors=10, n_cells=30):
    """Activities of cells of donors that differ; columns that explain nothing, and that do."""
    rng = np.random.default_rng(seed)
    donor = np.repeat(np.arange(n_donors), n_cells)
    kind = rng.integers(0, 3, len(donor))
    mean = rng.dirichlet(np.full(3, 6.0), n_donors)[donor] + 0.3 * np.eye(3)[kind] * [1, 0, 0]
    phi = rng.standard_gamma(3 * mean)
    obs = pd.DataFrame(
        {
            "donor": [f"D{d}" for d in donor],
            "kind": pd.Categorical(np.array(["a", "b", "c"])[kind]),
            "group": rng.permutation(np.arange(n_donors) % 2)[donor],
            "age": rng.normal(size=n_donors)[donor],
            "depth": rng.normal(size=len(donor)),
            "is_female": (rng.permutation(n_donors) < n_donors // 2)[donor],
            "constant": 1,
            "barcode": [f"cell {i}" for i in range(len(donor))],
            "mouse": [f"mouse {d}" for d in donor],
            "_indices": np.arange(len(donor)),
            "SP_1": phi[:, 0],
        },
        index=[f"cell_{i}" for i in range(len(donor))],
    )
    obs["group"] = np.array(["old", "young"])[obs["group"]]
    adata = anndata.AnnData(np.zeros((len(donor), 1), np.float32), obs=obs)
    adata.obsm["X_PHI"] = phi / phi.sum(1, keepdims=True)
    return adata


def test_table_of_all_columns():
    table = associate(draw_cells(), sample_key="donor", n_permutations=99)
    assert list(table.columns) == [
        "column", "kind", "program", "effect", "expected_effect", "pvalue", "padj", "permuted",
        "n_cells", "n_samples",
    ]  # fmt: skip
    permuted = table.groupby("column")["permuted"].first().to_dict()
    assert permuted == {
        "kind": "cells within samples",
        "group": "samples",
        "age": "samples",
        "depth": "cells within samples",
        "is_female": "samples",
    }
    kinds = table.groupby("column")["kind"].first().to_dict()
    assert kinds["age"] == kinds["depth"] == "numbers"
    assert kinds["is_female"] == kinds["kind"] == "labels"
    assert len(table) == 5 * 3
    assert (table["n_samples"] == 10).all()
    assert table["pvalue"].is_monotonic_increasing
    best = table.iloc[0]
    assert (best["column"], best["program"], best["pvalue"]) == ("kind", "SP_1", 0.01)
    assert best["effect"] > 3 * best["expected_effect"]
    np.testing.assert_allclose(table["padj"], stats.false_discovery_control(table["pvalue"]))


def test_effects_are_eta_squared_and_r_squared():
    adata = draw_cells()
    phi = adata.obsm["X_PHI"]
    table = associate(adata, ["group", "age"], sample_key="donor", n_permutations=9)
    table = table.set_index(["column", "program"])["effect"]
    for k in range(3):
        line = stats.pearsonr(adata.obs["age"], phi[:, k]).statistic ** 2
        assert table["age", f"SP_{k + 1}"] == pytest.approx(line)
        f = stats.f_oneway(*(phi[adata.obs["group"] == g, k] for g in ("old", "young"))).statistic
        assert table["group", f"SP_{k + 1}"] == pytest.approx(f / (f + 298))


def test_a_random_column_of_donors_has_uniform_pvalues_though_their_cells_are_alike():
    by_donor, by_cell = [], []
    for seed in range(60):
        adata = draw_cells(seed)
        found = associate(adata, "group", sample_key="donor", n_permutations=99)
        by_donor.append(found.set_index("program")["pvalue"]["SP_2"])
        if seed < 15:
            found = associate(adata, "group", n_permutations=99)
            assert set(found["permuted"]) == {"cells"}
            by_cell.append(found.set_index("program")["pvalue"]["SP_2"])
    assert stats.kstest(by_donor, "uniform").pvalue > 0.01
    assert np.mean(np.array(by_donor) < 0.05) < 0.12
    assert np.mean(np.array(by_cell) < 0.05) > 0.35


def test_cells_as_replicates_are_said(caplog):
    with caplog.at_level(logging.INFO, logger="leafletfa_scvi"):
        associate(draw_cells(), "depth", n_permutations=9)
    assert "the cells of these samples only" in caplog.text


def test_seeds():
    one, two, three = (
        associate(draw_cells(), ["age", "kind"], sample_key="donor", n_permutations=50, seed=s)
        for s in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(one, two)
    assert not one["pvalue"].equals(three["pvalue"])
    alone = associate(draw_cells(), "age", sample_key="donor", n_permutations=50, seed=1)
    part = one[one["column"] == "age"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone.drop(columns="padj"), part.drop(columns="padj"))


def test_missing_values_are_left_out(caplog):
    adata = draw_cells()
    adata.obs.loc[adata.obs["donor"] == "D3", "age"] = np.nan
    adata.obs["group"] = adata.obs["group"].astype(object)
    adata.obs.iloc[:2, adata.obs.columns.get_loc("group")] = None
    with caplog.at_level(logging.INFO, logger="leafletfa_scvi"):
        table = associate(adata, ["age", "group"], sample_key="donor", n_permutations=19)
    assert "30 cells have no value" in caplog.text
    assert "2 cells have no value" in caplog.text
    counts = table.groupby("column")[["n_cells", "n_samples"]].first()
    assert counts.loc["age"].tolist() == [270, 9]
    assert counts.loc["group"].tolist() == [298, 10]
    expected = associate(
        adata[adata.obs["donor"] != "D3"].copy(), "age", sample_key="donor", n_permutations=19
    )
    found = table[table["column"] == "age"].reset_index(drop=True)
    pd.testing.assert_frame_equal(found.drop(columns="padj"), expected.drop(columns="padj"))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("constant", "at least two values"),
        ("infinite", "finite numbers"),
        ("barcode", "some cells share"),
        ("mouse", "some samples share"),
        ("donor", "other than sample_key"),
    ],
)
def test_columns_that_cannot_be_tested(column, message):
    adata = draw_cells()
    adata.obs["infinite"] = np.where(np.arange(adata.n_obs) == 4, np.inf, 1.0)
    with pytest.raises(ValueError, match=message):
        associate(adata, [column], sample_key="donor")
    assert column not in associate(adata, sample_key="donor", n_permutations=9)["column"].array


def test_bad_arguments():
    adata = draw_cells()
    with pytest.raises(KeyError, match="height"):
        associate(adata, "height")
    with pytest.raises(KeyError, match="mother"):
        associate(adata, "age", sample_key="mother")
    with pytest.raises(ValueError, match="n_permutations"):
        associate(adata, "age", n_permutations=0)
    with pytest.raises(ValueError, match="found none"):
        associate(adata[adata.obs["donor"] == "D1"][:1].copy(), sample_key="donor")


def test_a_program_without_variation_is_not_tested():
    adata = draw_cells()
    phi = adata.obsm["X_PHI"]
    adata.obsm["X_PHI"] = np.column_stack([0.5 * phi, np.full(len(phi), 0.5)])
    table = associate(adata, ["age", "depth"], sample_key="donor", n_permutations=9)
    constant = table[table["program"] == "SP_4"]
    assert constant[["effect", "pvalue", "padj"]].isna().all(axis=None)
    assert table["pvalue"].notna().sum() == 6


def test_a_model_is_its_exported_activities(fit, small):
    small.obs["half"] = np.arange(80) % 2
    small.obs["half"] = small.obs["half"].astype(str)
    model = fit(small, 3, method="em", max_epochs=None, em_iterations=100)
    found = associate(model, "half", n_permutations=19)
    model.export_posterior(small)
    pd.testing.assert_frame_equal(found, associate(small, "half", n_permutations=19), rtol=1e-4)

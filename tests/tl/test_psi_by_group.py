from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import leafletfa_scvi as lfa


def counts(adata):
    y, n = (
        np.asarray(sp.csr_matrix(adata.layers[name]).todense(), float)
        for name in ("cell_by_junction_matrix", "cell_by_cluster_matrix")
    )
    return y, n


@pytest.fixture
def groups(small) -> ad.AnnData:
    rng = np.random.default_rng(3)
    labels = rng.choice(["b", "a", "few"], small.n_obs, p=[0.5, 0.45, 0.05])
    labels[0] = None
    small.obs["group"] = pd.Categorical(labels, categories=["b", "few", "none", "a"])
    small.obs["donor"] = pd.Categorical(rng.choice(["d1", "d2", "d3", "d4"], small.n_obs))
    return small


def table_of(table, column):
    order = table["junction"].drop_duplicates()
    return table.pivot(index="group", columns="junction", values=column)[order].to_numpy(float)


def test_psi_is_that_of_the_pooled_reads_of_each_group(groups):
    table = lfa.tl.psi_by_group(groups, "group")
    assert list(table["group"].cat.categories) == ["b", "few", "a"]
    y, n = counts(groups)
    for name, rows in table.groupby("group", observed=True):
        cells = (groups.obs["group"] == name).to_numpy()
        assert (rows["junction"] == groups.var_names).all()
        assert (rows["atse_id"] == groups.var["atse_id"].astype(str).to_numpy()).all()
        np.testing.assert_array_equal(rows["n_cells"], cells.sum())
        np.testing.assert_array_equal(rows["reads"], y[cells].sum(0))
        np.testing.assert_array_equal(rows["total"], n[cells].sum(0))
        np.testing.assert_array_equal(rows["n_observed"], (n[cells] > 0).sum(0))
        np.testing.assert_array_equal(rows["n_observed"], rows["n_replicates"])
        with np.errstate(invalid="ignore"):
            np.testing.assert_allclose(rows["psi"], y[cells].sum(0) / n[cells].sum(0))
        inside = rows.dropna(subset="lower")
        assert (inside["lower"] <= inside["psi"]).all()
        assert (inside["psi"] <= inside["upper"]).all()
        assert (rows["lower"].isna() == (rows["n_replicates"] < 2)).all()


def test_all_cells_chosen_junctions_and_groups_in_order(groups):
    names = list(groups.var_names[[5, 2]])
    table = lfa.tl.psi_by_group(groups, junctions=names)
    y, n = counts(groups)
    assert table["group"].tolist() == ["all cells"] * 2
    assert table["junction"].tolist() == names
    np.testing.assert_allclose(table["psi"], (y.sum(0) / n.sum(0))[[5, 2]])
    chosen = lfa.tl.psi_by_group(groups, "group", names, groups=["a", "none", "b"])
    assert chosen["group"].tolist() == ["a", "a", "none", "none", "b", "b"]
    empty = chosen[chosen["group"] == "none"]
    assert (empty["total"] == 0).all()
    assert empty["psi"].isna().all()


@pytest.mark.parametrize("layout", [np.asarray, sp.csc_matrix, sp.csr_array])
def test_layouts_give_the_same(groups, layout):
    expected = lfa.tl.psi_by_group(groups, "group", groups.var_names[:7])
    for name in ("cell_by_junction_matrix", "cell_by_cluster_matrix"):
        groups.layers[name] = layout(sp.csr_matrix(groups.layers[name]).toarray())
    found = lfa.tl.psi_by_group(groups, "group", groups.var_names[:7])
    pd.testing.assert_frame_equal(found, expected)


def test_blocks_of_cells_give_the_same(groups, monkeypatch):
    expected = lfa.tl.psi_by_group(groups, "group", sample_key="donor")
    monkeypatch.setattr("leafletfa_scvi.data._blocks.BLOCK", 100)
    found = lfa.tl.psi_by_group(groups, "group", sample_key="donor")
    pd.testing.assert_frame_equal(found, expected)


def test_samples_are_the_replicates_and_have_rows_of_their_own(groups):
    y, n = counts(groups)
    table = lfa.tl.psi_by_group(groups, "group", sample_key="donor")
    plain = lfa.tl.psi_by_group(groups, "group")
    np.testing.assert_allclose(table["psi"], plain["psi"])
    by_sample = lfa.tl.psi_by_group(groups, "group", sample_key="donor", by_sample=True)
    for (group, sample), rows in by_sample.groupby(["group", "sample"], observed=True):
        cells = (groups.obs["group"] == group) & (groups.obs["donor"] == sample)
        np.testing.assert_array_equal(rows["reads"], y[cells.to_numpy()].sum(0))
        np.testing.assert_array_equal(rows["total"], n[cells.to_numpy()].sum(0))
    observed = by_sample[by_sample["total"] > 0]
    number = observed.groupby(["group", "junction"], observed=False).size()
    keys = pd.MultiIndex.from_frame(table[["group", "junction"]])
    np.testing.assert_array_equal(table["n_replicates"], number.reindex(keys, fill_value=0))
    # The interval is that of the sums of samples.
    samples = ad.AnnData(
        obs=pd.DataFrame(index=by_sample["sample"].cat.categories), var=groups.var[[]]
    )
    chosen = by_sample[by_sample["group"] == "a"]
    for name, column in (("junction", "reads"), ("cluster", "total")):
        values = chosen.pivot(index="sample", columns="junction", values=column)
        samples.layers[f"cell_by_{name}_matrix"] = values[list(groups.var_names)].to_numpy()
    of_sums = lfa.tl.psi_by_group(samples)
    expected = table[table["group"] == "a"].reset_index(drop=True)
    for column in ("psi", "lower", "upper"):
        np.testing.assert_allclose(of_sums[column], expected[column])


def test_psi_of_the_model_is_the_mean_of_the_cells(groups, fit):
    model = fit(groups)
    names = list(groups.var_names[[3, 0, 8]])
    table = lfa.tl.psi_by_group(groups, "group", names, model=model)
    expected = model.get_normalized_splicing(junction_list=names)
    for name, rows in table.groupby("group", observed=True):
        cells = (groups.obs["group"] == name).to_numpy()
        np.testing.assert_allclose(rows["psi_model"], expected[cells].mean(), rtol=1e-5)


def test_programs_have_the_intervals_of_the_model_also_after_an_export(small, fit):
    model = fit(small)
    model.export_posterior()
    names = list(small.var_names[[4, 1]])
    of_model = lfa.tl.psi_by_program(small, names, model=model, level=0.9)
    lower, upper = model.get_credible_intervals("psi", 0.9)
    psi = model.get_splicing_programs()
    for name, rows in of_model.groupby("program", observed=True, sort=False):
        np.testing.assert_allclose(rows["psi"], psi.loc[names, name])
        np.testing.assert_allclose(rows["lower"], lower.loc[names, name])
        np.testing.assert_allclose(rows["upper"], upper.loc[names, name])
    part = small[:, [8, 4, 1]].copy()  # fewer junctions, in another order
    exported = lfa.tl.psi_by_program(part, names, level=0.9)
    pd.testing.assert_frame_equal(exported, of_model, rtol=1e-5)
    del part.uns["leafletfa"]
    assert lfa.tl.psi_by_program(part, names)["lower"].isna().all()
    one = lfa.tl.psi_by_program(small, names, programs=["SP_3", "SP_1"])
    assert one["program"].tolist() == ["SP_3", "SP_3", "SP_1", "SP_1"]


def test_observed_psi_is_missing_below_the_least_number_of_reads(small):
    y, n = counts(small)
    names = list(small.var_names[[6, 0]])
    found = lfa.tl.observed_psi(small, names, min_reads=3)
    enough = n[:, [6, 0]] >= 3
    np.testing.assert_array_equal(found.notna(), enough)
    np.testing.assert_allclose(found.to_numpy()[enough], (y / np.maximum(n, 1))[:, [6, 0]][enough])
    assert list(found.columns) == names
    assert list(found.index) == list(small.obs_names)


def test_errors_name_what_is_wrong_and_offer_what_is_near(groups):
    name = groups.var_names[0]
    with pytest.raises(KeyError, match=r"found 'chr.*x', 1 such.*Did you mean"):
        lfa.tl.psi_by_group(groups, "group", [f"{name}x"])
    with pytest.raises(ValueError, match=r"sequence of names.*Pass \("):
        lfa.tl.psi_by_group(groups, "group", name)
    with pytest.raises(ValueError, match="at least one, found none"):
        lfa.tl.psi_by_group(groups, "group", [])
    with pytest.raises(KeyError, match=r"groups of adata.obs\['group'\].*found 'fewer'.*'few'"):
        lfa.tl.psi_by_group(groups, "group", groups=["fewer"])
    with pytest.raises(KeyError, match="Expected groupby to name columns"):
        lfa.tl.psi_by_group(groups, "grup")
    with pytest.raises(KeyError, match="Expected sample_key to name columns"):
        lfa.tl.psi_by_group(groups, "group", sample_key="mouse")
    with pytest.raises(ValueError, match="Expected sample_key with by_sample=True"):
        lfa.tl.psi_by_group(groups, "group", by_sample=True)
    with pytest.raises(ValueError, match=r"Expected level in \(0, 1\)"):
        lfa.tl.psi_by_group(groups, "group", level=95)
    groups.varm["psi_learned"] = np.full((groups.n_vars, 3), 0.5)
    with pytest.raises(KeyError, match=r"found 'SP_9'.*Did you mean"):
        lfa.tl.psi_by_program(groups, programs=["SP_9"])
    del groups.varm["psi_learned"]
    with pytest.raises(KeyError, match="export_posterior"):
        lfa.tl.psi_by_program(groups)
    layers = groups.layers
    for one, other in [("cell_by_junction_matrix", "cell_by_cluster_matrix")]:
        layers[one], layers[other] = layers[other].copy(), layers[one].copy()
    with pytest.raises(ValueError, match="at most the totals.*Are the layers swapped"):
        lfa.tl.psi_by_group(groups, "group")

"""Results in the form of scanpy: its own functions read and draw them."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import scanpy as sc
import scvi

import leafletfa_scvi as lfa
from leafletfa_scvi.stats import expected_false_discovery


@pytest.fixture(scope="module")
def model():
    adata = lfa.datasets.simulate_cohort(
        (3, 3), n_cells=300, n_atses=60, n_programs=3, shift=0.35, donor_concentration=20.0
    )
    adata.obs["third"] = np.array(["x", "y", "z"])[np.arange(300) % 3]
    scvi.settings.seed = 0
    lfa.LeafletFAModel.setup_anndata(adata)
    model = lfa.LeafletFAModel(adata, n_programs=3)
    model.train(enable_progress_bar=False)
    return model


def test_values_are_those_of_the_table(model):
    adata = lfa.tl.rank_splicing_groups(model, "group", sample_key="donor", copy=True)
    assert "rank_genes_groups" not in model.adata.uns
    table = model.differential_splicing(groupby="group", sample_key="donor", silent=True)
    expected = expected_false_discovery(table["proba_ds"].to_numpy())
    for group in ("A", "B"):
        found = sc.get.rank_genes_groups_df(adata, group).set_index("names")
        is_group = (table["group1"] == group).to_numpy()
        want = table[is_group].loc[found.index]
        np.testing.assert_allclose(found["logfoldchanges"], want["effect_size"], rtol=1e-5)
        np.testing.assert_allclose(found["pvals"], want["proba_not_ds"], rtol=1e-6, atol=1e-12)
        adjusted = dict(zip(table.index[is_group], expected[is_group], strict=True))
        np.testing.assert_allclose(found["pvals_adj"], [adjusted[name] for name in found.index])
        assert found["scores"].is_monotonic_decreasing
        odds = want["bayes_factor"].clip(lower=0) * np.sign(want["effect_size"])
        np.testing.assert_allclose(found["scores"], odds, rtol=1e-5)
        assert found["scores"].iloc[0] > 0 > found["scores"].iloc[-1]


def test_scanpy_draws_and_saves_them(model, tmp_path):
    adata = model.adata.copy()
    arguments = {"sample_key": "donor", "n_junctions": 5, "rankby_abs": True, "key_added": "ds"}
    assert (
        lfa.tl.rank_splicing_groups(model, "third", ["x", "z"], adata=adata, **arguments) is None
    )
    assert adata.uns["ds"]["params"]["reference"] == "rest"
    size = np.abs(adata.uns["ds"]["scores"]["x"])
    assert len(size) == 5
    assert (np.diff(size) <= 0).all()
    sc.pl.rank_genes_groups(adata, key="ds", show=False)
    lfa.tl.rank_splicing_groups(model, "third", adata=adata, key_added="all")
    sc.pl.rank_genes_groups_dotplot(
        adata, key="all", values_to_plot="logfoldchanges", n_genes=2, dendrogram=False, show=False
    )
    sc.pl.rank_genes_groups_heatmap(adata, key="ds", n_genes=2, show=False, show_gene_labels=True)
    plt.close("all")
    adata.write_h5ad(tmp_path / "ranked.h5ad")
    back = sc.get.rank_genes_groups_df(sc.read_h5ad(tmp_path / "ranked.h5ad"), "x", key="ds")
    assert list(back["names"]) == list(adata.uns["ds"]["names"]["x"])


def test_one_reference(model):
    adata = lfa.tl.rank_splicing_groups(model, "third", reference="y", copy=True)
    assert adata.uns["rank_genes_groups"]["names"].dtype.names == ("x", "z")
    found = lfa.tl.rank_splicing_groups(model, "third", ["x", "y"], reference="y", copy=True)
    assert found.uns["rank_genes_groups"]["names"].dtype.names == ("x",)


def test_errors_leave_the_data_as_they_were(model):
    before = set(model.adata.uns)
    with pytest.raises(KeyError, match="nothing"):
        lfa.tl.rank_splicing_groups(model, "nothing")
    with pytest.raises(ValueError, match="n_junctions"):
        lfa.tl.rank_splicing_groups(model, "third", n_junctions=0)
    assert set(model.adata.uns) == before

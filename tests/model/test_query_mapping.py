"""New cells of another species: junctions named by a mapping."""

from __future__ import annotations

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scvi
from helpers.equality import assert_same

import leafletfa_scvi as lfa
from leafletfa_scvi import LeafletFAModel

QUIET = {"accelerator": "cpu", "enable_progress_bar": False}
LAYERS = ("cell_by_junction_matrix", "cell_by_cluster_matrix")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def reference(_clear, fit):
    """Trained on 80 cells of 2 programs; for reading only."""
    return fit(_clear.copy(), 2, max_epochs=30)


@pytest.fixture
def new(_clear):
    """40 of the cells, with junctions of the reference and something in each slot."""
    adata = _clear[:40].copy()
    adata.obs["day"] = np.arange(40)
    adata.obsm["umap"] = np.random.default_rng(0).normal(size=(40, 2))
    adata.uns["nested"] = {"a": 1}
    adata.raw = adata[:, :7].copy()
    return adata


@pytest.fixture
def mapping(new):
    """From names of another genome, one after the other."""
    source = [f"s7:{i}1-{i}9:+" for i in range(1, new.n_vars + 1)]
    return pd.DataFrame({"source": source, "target": new.var_names})


@pytest.fixture
def foreign(new, mapping):
    """The same cells with the names of the other genome, in another order."""
    adata = new.copy()
    adata.var_names = mapping["source"].to_list()
    adata.var = adata.var.assign(chrom="s7", start=1, end=9, strand="+")
    return adata[:, np.random.default_rng(1).permutation(adata.n_vars)].copy()


class TestLoadQueryData:
    def test_the_same_activities_as_without(self, reference, new, foreign, mapping, tmp_path):
        lfa.tl.write_table(mapping, tmp_path / "mapping.csv")
        before = foreign.copy()
        plain = LeafletFAModel.load_query_data(new, reference)
        scvi.settings.seed = 0
        plain.train(max_epochs=4, **QUIET)
        for given in (mapping, tmp_path / "mapping.csv"):
            query = LeafletFAModel.load_query_data(foreign, reference, mapping=given)
            scvi.settings.seed = 0
            query.train(max_epochs=4, **QUIET)
            pd.testing.assert_frame_equal(
                query.get_cell_activities(), plain.get_cell_activities(), rtol=1e-6
            )
        assert_same(foreign, before)
        assert query.adata is not foreign
        assert query.adata.var_names.tolist() == reference.junction_names.tolist()
        query.export_posterior()
        assert query.adata.obs["SP_1"].index.equals(foreign.obs_names)
        query.save(tmp_path / "query", save_anndata=True)
        loaded = LeafletFAModel.load(tmp_path / "query")
        pd.testing.assert_frame_equal(loaded.get_cell_activities(), query.get_cell_activities())

    def test_a_view_and_a_saved_reference(self, reference, foreign, mapping, tmp_path):
        reference.save(tmp_path / "reference")
        query = LeafletFAModel.load_query_data(
            foreign[:9], str(tmp_path / "reference"), mapping=mapping
        )
        assert query.adata.n_obs == 9

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda m: m.assign(target=m["target"].iloc[0]), "each target once"),
            (lambda m: m.assign(source=m["target"], target=m["source"]), "swap"),
            (lambda m: m.assign(target="x" + m["target"]), "reference's .* junctions"),
            (lambda m: m.assign(source="x" + m["source"]), "sources of mapping"),
            (lambda m: m.iloc[:0], "to have pairs"),
        ],
    )
    def test_a_wrong_mapping_changes_nothing(self, reference, foreign, mapping, change, message):
        before = foreign.copy()
        for function in (LeafletFAModel.load_query_data, LeafletFAModel.prepare_query_anndata):
            with pytest.raises(ValueError, match=message):
                function(foreign, reference, mapping=change(mapping))
            assert_same(foreign, before)

    def test_bad_counts_are_named_as_the_user_names_them(self, reference, foreign, mapping):
        layer = foreign.layers[LAYERS[0]].tolil()
        layer[3, 5] = -1
        foreign.layers[LAYERS[0]] = layer.tocsr()
        with pytest.raises(ValueError, match=f"{foreign.var_names[5]}"):
            LeafletFAModel.load_query_data(foreign, reference, mapping=mapping)


class TestPrepareQuery:
    def test_only_mapped_junctions_are_observed(self, reference, new, foreign, mapping, tmp_path):
        """Totals are sums over those of an ATSE that are mapped, taken one by one."""
        dropped = np.arange(len(mapping)) % 4 == 1
        mapping.loc[dropped, "target"] = None
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = LeafletFAModel.prepare_query_anndata(
                foreign, reference, inplace=False, mapping=mapping
            )
        count = new.to_df(LAYERS[0]).loc[:, ~dropped]
        label = new.var["atse_id"].astype(str)
        y, n = (found.to_df(name) for name in LAYERS)
        for junction, is_dropped in zip(new.var_names, dropped, strict=True):
            if is_dropped:
                assert not y[junction].any()
                assert not n[junction].any()
                continue
            same = [other for other in count if label[other] == label[junction]]
            assert y[junction].tolist() == count[junction].tolist()
            assert n[junction].tolist() == count[same].sum(axis=1).tolist()
        assert found.var["atse_id"].astype(str).tolist() == label.tolist()
        former = found.var["source_junction"]
        assert former.isna().tolist() == dropped.tolist()
        assert former.dropna().tolist() == mapping["source"][~dropped].tolist()
        found.write_h5ad(tmp_path / "a.h5ad")
        LeafletFAModel.load_query_data(found, reference)

    def test_in_place_all_slots_are_kept(self, reference, new, foreign, mapping, tmp_path):
        before = foreign.copy()
        LeafletFAModel.prepare_query_anndata(foreign, reference, mapping=mapping)
        assert foreign.var_names.tolist() == new.var_names.tolist()
        for name in LAYERS:
            assert (sp.csr_matrix(foreign.layers[name]) != new.layers[name]).nnz == 0
        pd.testing.assert_frame_equal(foreign.obs, before.obs)
        np.testing.assert_array_equal(foreign.obsm["umap"], before.obsm["umap"])
        assert foreign.uns["nested"] == {"a": 1}
        assert foreign.raw.shape == (40, 7)
        made = [
            ":".join([c, f"{s}-{e}", t])
            for c, s, e, t in zip(
                *(foreign.var[x] for x in ("chrom", "start", "end", "strand")), strict=True
            )
        ]
        assert made == foreign.var_names.tolist()
        foreign.write_h5ad(tmp_path / "a.h5ad")
        assert anndata.read_h5ad(tmp_path / "a.h5ad").var_names.tolist() == made

    def test_a_name_of_the_reference_that_is_not_mapped(self, reference, new, mapping):
        """As between builds: the same name is another junction."""
        names = new.var_names.to_list()
        shifted = dict(zip(names[:-1], names[1:], strict=True))
        found = LeafletFAModel.prepare_query_anndata(
            new.copy(), reference, inplace=False, mapping=shifted
        )
        counts = new.to_df(LAYERS[0]), found.to_df(LAYERS[0])
        np.testing.assert_array_equal(counts[1].iloc[:, 1:], counts[0].iloc[:, :-1])
        assert not counts[1].iloc[:, 0].any()

    def test_junctions_that_the_cells_lack_are_warned_of(self, reference, foreign, mapping):
        part = foreign[:, 3:].copy()
        with pytest.warns(UserWarning, match="lacks [1-3] of the reference's"):
            LeafletFAModel.prepare_query_anndata(part, reference, mapping=mapping)

    def test_from_disk(self, reference, foreign, mapping, tmp_path):
        foreign.write_h5ad(tmp_path / "a.h5ad")
        backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
        found = LeafletFAModel.prepare_query_anndata(
            backed, reference, inplace=False, mapping=mapping
        )
        assert found.var_names.tolist() == reference.junction_names.tolist()

    def test_a_reference_without_atses(self, clear, new, foreign, mapping, fit):
        del clear.var["atse_id"]
        reference = fit(clear, 2, max_epochs=2)
        mapping.loc[3, "target"] = None
        query = LeafletFAModel.load_query_data(foreign, reference, mapping=mapping)
        totals = new.to_df(LAYERS[1])
        totals.iloc[:, 3] = 0
        np.testing.assert_array_equal(query.adata.to_df(LAYERS[1]), totals)

"""New cells on the programs of a reference."""

from __future__ import annotations

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

import leafletfa_scvi as lfa
from leafletfa_scvi import LeafletFAModel

QUIET = {"accelerator": "cpu", "enable_progress_bar": False}
LAYERS = ("cell_by_junction_matrix", "cell_by_cluster_matrix")
BY_CELL = ["_guide.phi_log", "_guide.phi_variance"]
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def reference(_clear, fit):
    """Trained on 80 cells of 2 programs; for reading only."""
    return fit(_clear.copy(), 2, max_epochs=60)


@pytest.fixture(scope="module")
def _new(_clear):
    more = lfa.datasets.simulate_splicing(200, 60, 2, coverage=0.5, frac_differential=0.7, seed=1)
    np.testing.assert_array_equal(more.varm["psi_true"], _clear.varm["psi_true"])
    more.var_names = _clear.var_names
    more.obs_names = [f"query_{i}" for i in range(200)]
    return more


@pytest.fixture
def new(_new):
    """200 cells of the same programs."""
    return _new.copy()


def state(model):
    return {k: v.clone() for k, v in model.module.state_dict().items()}


def truth_correlation(reference, query, adata):
    """Correlation of true activities with those of the query, programs matched by psi."""
    match = lfa.tl.match_programs(
        adata.varm["psi_true"], reference.get_splicing_programs().to_numpy()
    )
    phi = query.get_latent_representation()[:, match["learned"]]
    return np.corrcoef(phi[:, 0], adata.obsm["phi_true"][:, 0])[0, 1]


class TestTraining:
    @pytest.mark.parametrize("n_cells", [1, 13, 80, 200])
    def test_programs_do_not_change_and_activities_are_fitted(self, reference, new, n_cells):
        new = new[:n_cells].copy()
        before = state(reference)
        query = LeafletFAModel.load_query_data(new, reference)
        untrained = state(query)
        query.train(max_epochs=8, **QUIET)
        after = state(query)
        for name, value in before.items():
            if name in BY_CELL:
                assert after[name].shape == (n_cells, 2)
                assert (after[name] != untrained[name]).all()
            else:
                assert torch.equal(after[name], value), name
            assert torch.equal(reference.module.state_dict()[name], value), name
        assert query.get_cell_activities().shape == (n_cells, 2)
        assert list(query.get_cell_activities().index) == list(new.obs_names)
        pd.testing.assert_frame_equal(
            query.get_splicing_programs(), reference.get_splicing_programs()
        )
        pd.testing.assert_series_equal(
            query.get_program_prevalence(), reference.get_program_prevalence()
        )
        assert query.module.model.n_obs == n_cells
        if n_cells >= 80:
            assert truth_correlation(reference, query, new) > 0.93
        assert np.isfinite(query.get_elbo(2))

    def test_order_of_programs_is_that_of_the_reference(self, reference, new):
        """Also where another program is the most common one among the query's cells."""
        rare = reference.program_names[-1]
        phi = reference.get_cell_activities(new)
        new = new[(phi[rare] > 0.7).to_numpy()].copy()
        assert new.n_obs > 5
        query = LeafletFAModel.load_query_data(new, reference)
        query.train(max_epochs=5, **QUIET)
        assert (query.get_cell_activities()[rare] > 0.5).all()

    def test_reference_cells_are_not_copied_onto_query_cells(self, reference, new):
        query = LeafletFAModel.load_query_data(new, reference)
        old = reference.module.state_dict()["_guide.phi_log"]
        assert not torch.equal(query.module.state_dict()["_guide.phi_log"][:80], old)
        assert not query.is_trained_

    @pytest.mark.parametrize("train", [{"batch_size": 33}, {"validation_size": 0.2}])
    def test_minibatches_and_validation(self, reference, new, train):
        new = new[:100].copy()
        query = LeafletFAModel.load_query_data(new, reference)
        before = state(query)
        query.train(max_epochs=6, **train, **QUIET)
        changed = [k for k, v in state(query).items() if not torch.equal(v, before[k])]
        assert changed == BY_CELL
        assert truth_correlation(reference, query, new) > 0.9

    def test_a_second_training_fits_the_activities_anew(self, reference, new):
        query = LeafletFAModel.load_query_data(new[:20].copy(), reference)
        query.train(max_epochs=3, **QUIET)
        before = state(query)
        query.train(max_epochs=3, **QUIET)
        assert all(torch.equal(v, before[k]) for k, v in state(query).items())
        assert len(query.history["elbo_train"]) == 3
        query.train(max_epochs=5, **QUIET)
        changed = [k for k, v in state(query).items() if not torch.equal(v, before[k])]
        assert changed == BY_CELL
        assert len(query.history["elbo_train"]) == 5

    def test_trained_activities_are_those_of_get_cell_activities(self, reference, new):
        query = LeafletFAModel.load_query_data(new, reference)
        query.train(**QUIET)
        direct = reference.get_latent_representation(new)
        np.testing.assert_allclose(query.get_latent_representation(), direct, atol=1e-6)

    def test_empty_query_cells_have_the_prevalence(self, reference, new):
        new = new[:6].copy()
        for name in LAYERS:
            layer = new.layers[name].tolil()
            layer[2] = 0
            new.layers[name] = layer.tocsr()
        query = LeafletFAModel.load_query_data(new, reference)
        query.train(max_epochs=3, **QUIET)
        np.testing.assert_allclose(
            query.get_cell_activities().iloc[2], reference.get_program_prevalence(), rtol=1e-4
        )

    def test_more_programs_than_query_cells(self, fit, small):
        reference = fit(small, 5, max_epochs=2)
        query = LeafletFAModel.load_query_data(small[:2].copy(), reference)
        query.train(max_epochs=2, **QUIET)
        assert query.get_latent_representation().shape == (2, 5)


class TestLoading:
    def test_from_a_folder(self, reference, new, tmp_path):
        reference.save(tmp_path / "reference")
        query = LeafletFAModel.load_query_data(new, str(tmp_path / "reference"))
        query.train(max_epochs=2, **QUIET)
        pd.testing.assert_frame_equal(
            query.get_splicing_programs(), reference.get_splicing_programs()
        )

    @pytest.mark.parametrize("with_data", [True, False])
    def test_a_saved_query_model_remains_frozen(self, reference, new, tmp_path, with_data):
        new = new[:3].copy()
        query = LeafletFAModel.load_query_data(new, reference)
        query.train(max_epochs=3, **QUIET)
        query.save(tmp_path / "query")
        loaded = LeafletFAModel.load(tmp_path / "query", new if with_data else False)
        assert loaded.frozen_programs_
        free = [name for name, p in loaded.module.named_parameters() if p.requires_grad]
        assert free == ["_guide.phi_log"]
        pd.testing.assert_frame_equal(loaded.get_cell_activities(), query.get_cell_activities())
        if with_data:
            before = state(loaded)
            loaded.train(max_epochs=2, **QUIET)
            changed = [k for k, v in state(loaded).items() if not torch.equal(v, before[k])]
            assert changed == BY_CELL

    def test_options_are_those_of_the_reference(self, clear, new, fit):
        options = {"concentration": 6.0, "activity_concentration": 0.5, "junction_prior": "global"}
        reference = fit(clear, 2, max_epochs=2, options=options)
        query = LeafletFAModel.load_query_data(new[:9].copy(), reference)
        generative = query.module.model
        assert generative.prior.name == options.pop("junction_prior")
        for name, value in options.items():
            assert getattr(generative, name) == value
        query.train(max_epochs=2, **QUIET)
        assert query.posterior_summary().loc["kappa", "mean"] == 6.0

    def test_other_layer_names_come_from_the_reference(self, clear, new):
        for adata in (clear, new):
            adata.layers["y"], adata.layers["n"] = (adata.layers.pop(name) for name in LAYERS)
        LeafletFAModel.setup_anndata(clear, junction_layer="y", cluster_layer="n")
        reference = LeafletFAModel(clear, 2)
        reference.train(max_epochs=2, em_iterations=5, **QUIET)
        query = LeafletFAModel.load_query_data(new[:9].copy(), reference)
        query.train(max_epochs=2, **QUIET)
        assert reference.get_cell_activities(new[:3].copy()).shape == (3, 2)

    def test_an_untrained_reference_is_refused(self, clear, new):
        LeafletFAModel.setup_anndata(clear)
        with pytest.raises(RuntimeError, match="not trained"):
            LeafletFAModel.load_query_data(new, LeafletFAModel(clear, 2))

    def test_other_junctions_are_refused(self, reference, new):
        for other in (new[:, 1:].copy(), new[:, ::-1].copy()):
            with pytest.raises(ValueError, match="junctions"):
                LeafletFAModel.load_query_data(other, reference)
            assert "_scvi_uuid" not in other.uns

    def test_junctions_without_reads_in_new_cells_do_not_matter(self, reference, new):
        few = new[:2].copy()
        assert (few.to_df("cell_by_cluster_matrix") == 0).all().any()
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*junctions have no observed entry")
            reference.get_cell_activities(few)
            LeafletFAModel.load_query_data(few, reference)

    def test_bad_counts_are_refused(self, reference, new):
        new.layers[LAYERS[0]] = new.layers[LAYERS[0]].astype(float) * 0.3
        with pytest.raises(ValueError, match="fractional"):
            LeafletFAModel.load_query_data(new, reference)


def uneven(adata):
    """One more in the total of one junction of an ATSE."""
    layer = adata.layers[LAYERS[1]]
    layer.data[np.flatnonzero(layer.data > 1)[0]] += 1


def too_many(adata):
    """All junctions of an ATSE have all its reads."""
    adata.layers[LAYERS[0]] = adata.layers[LAYERS[1]].copy()


class TestAtsesOfTheReference:
    """Counts of new cells are checked within them, whatever labels the new cells have."""

    @pytest.mark.parametrize("labels", ["theirs", "none", "their own"])
    @pytest.mark.parametrize("change", [uneven, too_many])
    def test_counts_by_other_atses_are_refused(self, reference, new, change, labels):
        new = new[:20].copy()
        if labels == "none":
            del new.var["atse_id"]
        elif labels == "their own":
            new.var["atse_id"] = [f"own_{j}" for j in range(new.n_vars)]
        reference.get_cell_activities(new)
        change(new)
        calls = [
            reference.get_cell_activities,
            reference.get_log_likelihood,
            reference.get_normalized_splicing,
            reference.export_posterior,
            lambda a: reference.get_credible_intervals("phi", adata=a),
            lambda a: reference.differential_splicing(a, idx1=[0, 1]),
            lambda a: LeafletFAModel.load_query_data(a, reference),
            lambda a: reference.get_cell_activities(a[:, ::-1].copy()),
        ]
        before = new.copy()
        for call in calls:
            with pytest.raises(ValueError, match="that the model was built on"):
                call(new)
        assert new.uns.keys() == before.uns.keys()
        assert list(new.obs) == list(before.obs)

    def test_labels_are_ignored_if_the_reference_has_none(self, clear, new, fit):
        del clear.var["atse_id"]
        model = fit(clear, 2, max_epochs=1)
        uneven(new)
        assert len(model.get_cell_activities(new[:5].copy())) == 5

    def test_a_saved_reference_knows_its_atses(self, reference, new, tmp_path):
        reference.save(tmp_path / "reference")
        loaded = LeafletFAModel.load(tmp_path / "reference", adata=False)
        uneven(new)
        for call in (
            loaded.get_cell_activities,
            lambda a: LeafletFAModel.load_query_data(a, str(tmp_path / "reference")),
        ):
            with pytest.raises(ValueError, match="that the model was built on"):
                call(new)

    def test_a_query_model_refuses_counts_by_other_atses(self, reference, new):
        query = LeafletFAModel.load_query_data(new, reference)
        query.train(max_epochs=1, **QUIET)
        uneven(new)
        with pytest.raises(ValueError, match="that the model was built on"):
            query.get_cell_activities()


class TestPrepare:
    @pytest.mark.parametrize("slot", ["obs_names", "var_names"])
    def test_repeated_names_are_refused(self, reference, new, slot):
        names = list(getattr(new, slot))
        setattr(new, slot, [names[1], *names[1:]])
        with pytest.raises(ValueError, match=f"{slot} holds .* more than once"):
            LeafletFAModel.prepare_query_anndata(new, reference)
        with pytest.raises(ValueError, match=f"{slot} holds .* more than once"):
            LeafletFAModel.load_query_data(new, reference)

    @pytest.fixture
    def partial(self, new):
        """Every third junction missing, the others shuffled, two unknown ones added."""
        kept = np.random.default_rng(0).permutation(np.flatnonzero(np.arange(new.n_vars) % 3))
        part = new[:30, kept].copy()
        unknown = part[:, :2].copy()
        unknown.var_names = ["unknown_0", "unknown_1"]
        return anndata.concat([part, unknown], axis="var", merge="first"), kept

    def test_reordered_and_filled_in(self, reference, new, partial):
        """Reads of the junctions that are missing remain in the totals, as far as known."""
        part, kept = partial
        assert list(reference.junction_names) != list(part.var_names)
        part = part[:, ~part.var_names.str.startswith("unknown")].copy()
        full = LeafletFAModel.prepare_query_anndata(part.copy(), reference, inplace=False)
        assert list(full.var_names) == list(reference.junction_names)
        assert list(full.obs_names) == list(part.obs_names)
        assert list(full.var["atse_id"]) == list(new.var["atse_id"])
        missing = np.setdiff1d(np.arange(new.n_vars), kept)
        y, n = (new.layers[name][:30].toarray() for name in LAYERS)
        y[:, missing] = 0
        np.testing.assert_array_equal(full.layers[LAYERS[0]].toarray(), y)
        atse = new.var["atse_id"].to_numpy()
        for j in missing:
            explained = y[:, atse == atse[j]].sum(axis=1) == n[:, j]
            is_present = np.isin(atse[kept], atse[j]).any()
            n[:, j] = np.where(explained & is_present, n[:, j], 0)
        np.testing.assert_array_equal(full.layers[LAYERS[1]].toarray(), n)

    def test_totals_hold_the_reads_of_the_junctions_of_the_reference(self, reference, new):
        """Not those of others, of which data made apart have some, and all of these."""
        names = list(reference.junction_names)
        atse = new.var["atse_id"].to_numpy()
        mine = new[:, np.arange(new.n_vars) % 3 > 0].to_df(LAYERS[0]).astype(int)
        foreign = (mine * 2).set_axis([f"foreign_{name}" for name in mine], axis=1)
        label = dict(zip(names, atse, strict=True))
        counts = pd.concat([mine, foreign], axis=1)
        labels = [label[name.removeprefix("foreign_")] for name in counts]
        apart = lfa.pp.splicing_from_counts(counts, labels)
        with pytest.warns(
            UserWarning, match=r"adata lacks \d+ of the reference's .* reference=mod"
        ):
            full = LeafletFAModel.prepare_query_anndata(apart, reference, inplace=False)
        wanted = mine.reindex(columns=names, fill_value=0)
        np.testing.assert_array_equal(full.to_df(LAYERS[0]), wanted)
        sums = wanted.T.groupby(atse).transform("sum").T
        np.testing.assert_array_equal(full.to_df(LAYERS[1]), sums)
        reference.get_cell_activities(full)

    def test_a_reference_without_atses_moves_totals(self, clear, new, fit):
        del clear.var["atse_id"]
        model = fit(clear, 2, max_epochs=1)
        some = new[:, 3:].copy()
        full = LeafletFAModel.prepare_query_anndata(some, model, inplace=False)
        for name in LAYERS:
            wanted = some.to_df(name).reindex(columns=new.var_names, fill_value=0)
            np.testing.assert_array_equal(full.to_df(name), wanted)

    def test_bad_counts_are_named(self, reference, new):
        new.layers[LAYERS[0]] = new.layers[LAYERS[0]].astype(float) * 0.3
        with pytest.raises(ValueError, match="fractional"):
            LeafletFAModel.prepare_query_anndata(new, reference)

    def test_in_place(self, reference, partial):
        part = partial[0]
        assert LeafletFAModel.prepare_query_anndata(part, reference) is None
        assert list(part.var_names) == list(reference.junction_names)

    def test_missing_junctions_do_not_count(self, reference, new, partial):
        full = LeafletFAModel.prepare_query_anndata(partial[0], reference, inplace=False)
        query = LeafletFAModel.load_query_data(full, reference)
        query.train(max_epochs=8, **QUIET)
        assert truth_correlation(reference, query, new[:30]) > 0.9
        whole = reference.get_latent_representation(new[:30].copy())
        direct = reference.get_latent_representation(full)
        assert np.abs(whole - direct).mean() < 0.1

    def test_names_only(self, reference, new, tmp_path):
        reference.save(tmp_path / "reference")
        for source in (reference, str(tmp_path / "reference")):
            names = LeafletFAModel.prepare_query_anndata(
                new, source, return_reference_var_names=True
            )
            assert list(names) == list(reference.junction_names)

    def test_without_x(self, reference, new, partial):
        part, _ = partial
        want = LeafletFAModel.prepare_query_anndata(part, reference, inplace=False)
        part.X = None
        LeafletFAModel.prepare_query_anndata(part, reference)
        assert part.X is None
        for name in LAYERS:
            assert (part.layers[name] != want.layers[name]).nnz == 0
        shuffled = new[:4, ::-1].copy()
        shuffled.X = None
        LeafletFAModel.prepare_query_anndata(shuffled, reference)
        assert list(shuffled.var_names) == list(reference.junction_names)
        reference.get_cell_activities(shuffled)

    def test_stored_layers_stay_sparse(self, reference, partial):
        full = LeafletFAModel.prepare_query_anndata(partial[0], reference, inplace=False)
        assert all(sp.issparse(full.layers[name]) for name in LAYERS)

    @pytest.fixture
    def rich(self, partial):
        """Cells that lack junctions, with something in every slot."""
        part, rng = partial[0], np.random.default_rng(1)
        part.raw = part[:, :7].copy()
        n_cells, n_junctions = part.shape
        part.obsp["near"] = sp.random(n_cells, n_cells, 0.2, "csr", random_state=1)
        part.obsm["umap"] = rng.normal(size=(n_cells, 2))
        part.varm["whole"] = np.arange(2 * n_junctions).reshape(-1, 2)
        part.varm["table"] = pd.DataFrame({"a": np.arange(n_junctions)}, part.var_names)
        part.varm["sparse"] = sp.csr_matrix(part.varm["whole"])
        part.varp["pairs"] = sp.random(n_junctions, n_junctions, 0.2, "csr", random_state=2)
        part.varp["dense"] = rng.normal(size=(n_junctions, n_junctions))
        part.uns["nested"] = {"a": 1}
        return part

    @pytest.mark.parametrize("on_disk", [False, True])
    @pytest.mark.parametrize("inplace", [False, True])
    def test_all_slots_are_kept(self, reference, rich, tmp_path, on_disk, inplace):
        before, given = rich.copy(), rich
        if on_disk:
            rich.write_h5ad(tmp_path / "query.h5ad")
            given = anndata.read_h5ad(tmp_path / "query.h5ad", backed="r")
            stored = (tmp_path / "query.h5ad").read_bytes()
        found = LeafletFAModel.prepare_query_anndata(given, reference, inplace=inplace)
        found = given if inplace else found
        assert not found.isbacked
        assert list(found.var_names) == list(reference.junction_names)
        assert (found.obsp["near"] != before.obsp["near"]).nnz == 0
        np.testing.assert_array_equal(found.obsm["umap"], before.obsm["umap"])
        assert list(found.raw.var_names) == list(before.raw.var_names)
        assert (sp.csr_matrix(found.raw.X) != sp.csr_matrix(before.raw.X)).nnz == 0
        there = found.var_names[found.var_names.isin(before.var_names)]
        at, source = (x.var_names.get_indexer(there) for x in (found, before))
        missing = np.setdiff1d(np.arange(found.n_vars), at)
        whole, table = found.varm["whole"], found.varm["table"]
        np.testing.assert_array_equal(whole[at], before.varm["whole"][source])
        assert np.isnan(whole[missing]).all()
        np.testing.assert_array_equal(table.iloc[at]["a"], source)
        assert table.iloc[missing]["a"].isna().all()
        assert (found.varm["sparse"][at] != before.varm["sparse"][source]).nnz == 0
        for key in ("pairs", "dense"):
            kept, was = found.varp[key][at][:, at], before.varp[key][source][:, source]
            assert (kept != was).sum() == 0
        assert np.isnan(found.varp["dense"][missing]).all()
        found.uns["nested"]["a"] = 2
        assert inplace or rich.uns["nested"]["a"] == 1
        found.write_h5ad(tmp_path / "found.h5ad")
        reference.get_cell_activities(found)
        if on_disk:
            assert (tmp_path / "query.h5ad").read_bytes() == stored

    def test_reordering_keeps_the_types_of_annotation(self, reference, new):
        new.varm["whole"] = np.arange(new.n_vars)[:, None]
        new.varm["text"] = np.array(new.var_names, dtype=object)[:, None]
        shuffled = new[:, ::-1].copy()
        LeafletFAModel.prepare_query_anndata(shuffled, reference)
        order = new.var_names.get_indexer(shuffled.var_names)
        assert shuffled.varm["whole"].dtype == new.varm["whole"].dtype
        np.testing.assert_array_equal(shuffled.varm["whole"][:, 0], order)
        assert list(shuffled.varm["text"][:, 0]) == list(shuffled.var_names)

    def test_a_view_becomes_an_actual_anndata(self, reference, rich):
        view = rich[5:15]
        LeafletFAModel.prepare_query_anndata(view, reference)
        assert view.shape == (10, len(reference.junction_names))
        assert (view.obsp["near"] != rich.obsp["near"][5:15, 5:15]).nnz == 0
        assert view.raw.shape == (10, 7)
        assert rich.n_vars != view.n_vars

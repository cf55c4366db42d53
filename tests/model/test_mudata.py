"""A MuData gives what its modality with the junctions gives alone, to every method."""

from __future__ import annotations

import functools
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scvi
import torch
from mudata import MuData, read_h5mu

import leafletfa_scvi as lfa
from leafletfa_scvi import LeafletFAModel

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:mudata", "ignore::UserWarning")
QUIET = {"accelerator": "cpu", "enable_progress_bar": False}
MODALITIES = {
    "junctions": "splicing",
    "batch_key": "rna",
    "categorical_covariate_keys": None,
}
SETUP = {
    "batch_key": "plate",
    "categorical_covariate_keys": ["sex"],
    "modalities": MODALITIES,
}


@functools.cache
def _all_cells():
    adata = lfa.datasets.simulate_splicing(140, 40, 3, coverage=0.4, seed=1)
    rng = np.random.default_rng(1)
    adata.obs["rna:plate"] = pd.Categorical(rng.permutation(np.repeat(["one", "two"], 70)))
    adata.obs["sex"] = pd.Categorical(rng.permutation(np.repeat(["f", "m"], 70)))
    adata.obs["type"] = rng.permutation(np.repeat(["a", "b"], 70))
    adata.obs["donor"] = rng.permutation(np.repeat(["d1", "d2", "d3", "d4"], 35))
    return adata


def cells(*, new=False):
    """80 cells with batches and types in ``obs``, or 60 others."""
    return _all_cells()[80:].copy() if new else _all_cells()[:80].copy()


def multimodal(adata):
    """The same with plates, and types, in a modality of more cells in another order."""
    rng = np.random.default_rng(0)
    names = rng.permutation(np.r_[adata.obs_names, ["more1", "more2", "more3"]])
    rna = ad.AnnData(
        sp.csr_matrix(rng.poisson(1.0, (len(names), 6)).astype(np.float32)),
        obs=pd.DataFrame(index=names),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(6)]),
    )
    plate = adata.obs["rna:plate"].astype(object).reindex(names).fillna("three")
    rna.obs["plate"] = pd.Categorical(plate)
    rna.obs["type"] = adata.obs["type"].reindex(names).fillna("c")
    own = adata.copy()
    sex = own.obs["sex"].astype(object)
    own.obs = own.obs.drop(columns=["rna:plate", "sex", "type"])
    mdata = MuData({"rna": rna, "splicing": own})
    mdata.obs["sex"] = sex.reindex(mdata.obs_names).fillna("f")
    return mdata


def fitted(data):
    scvi.settings.seed = 0
    model = LeafletFAModel(data, n_programs=3)
    model.train(max_epochs=12, em_iterations=20, **QUIET)
    return model


@pytest.fixture(scope="module")
def alone():
    """Model of the AnnData; for reading only."""
    adata = cells()
    LeafletFAModel.setup_anndata(adata, batch_key="rna:plate", categorical_covariate_keys=["sex"])
    return fitted(adata)


@pytest.fixture(scope="module")
def model():
    """Model of the MuData; methods that write only write to copies."""
    mdata = multimodal(cells())
    LeafletFAModel.setup_mudata(mdata, **SETUP)
    return fitted(mdata)


@pytest.fixture
def mdata():
    return multimodal(cells())


def content(data):
    """Everything that a failed call could change."""
    parts = {"": data, **data.mod}
    found = {}
    for name, part in parts.items():
        found[name] = (
            {key: part.obs[key].tolist() for key in part.obs},
            list(part.var),
            sorted(part.uns),
            sorted(part.obsm),
            sorted(part.varm),
            part.obs_names.tolist(),
            part.var_names.tolist(),
        )
    return found


def same(first, second):
    """Compare results of any kind, bitwise."""
    if isinstance(first, pd.DataFrame):
        pd.testing.assert_frame_equal(first, second, check_exact=True)
    elif isinstance(first, pd.Series):
        pd.testing.assert_series_equal(first, second, check_exact=True)
    elif sp.issparse(first):
        assert (first != second).nnz == 0
    else:
        np.testing.assert_array_equal(first, second)


def written(model):
    """What an export writes to a copy of the data."""
    data = model.adata.copy()
    model.export_posterior(data)
    target = data.mod["splicing"] if isinstance(data, MuData) else data
    results = target.uns["leafletfa"]
    return pd.DataFrame(
        {
            "activity": [target.obsm["X_PHI"].tobytes()],
            "obs": [target.obs[["SP_1", "SP_2", "SP_3"]].to_numpy().tobytes()],
            "psi": [target.varm["psi_learned"].tobytes()],
            "kappa": [np.asarray(results["kappa"]).tobytes()],
            "pi": [results["pi"].tobytes()],
        }
    )


def seeded(function):
    def call(model, data):
        torch.manual_seed(0)
        return function(model, data)

    return call


RESULTS = {
    "get_cell_activities": lambda m, d: m.get_cell_activities(d, np.arange(5, 40)),
    "get_latent_representation": lambda m, d: m.get_latent_representation(d),
    "get_normalized_splicing": lambda m, d: m.get_normalized_splicing(d, shrink=True),
    "get_log_likelihood": lambda m, d: m.get_log_likelihood(d),
    "get_credible_intervals": lambda m, d: m.get_credible_intervals("phi", adata=d).lower,
    "differential_splicing": lambda m, d: m.differential_splicing(d, "donor", "d1", "d2"),
    "identifiability": lambda m, d: m.identifiability(d).programs,
    "get_batch_effects": lambda m, _: m.get_batch_effects(),
    "get_concentrations": lambda m, _: m.get_concentrations(),
    "get_elbo": seeded(lambda m, _: m.get_elbo(2)),
    "get_program_prevalence": lambda m, _: m.get_program_prevalence(),
    "get_splicing_programs": lambda m, _: m.get_splicing_programs(),
    "posterior_summary": lambda m, _: m.posterior_summary(),
    "program_markers": lambda m, _: m.program_markers(n_samples=20),
    "export_posterior": lambda m, _: written(m),
    "data_registry": lambda m, _: m.data_registry("batch"),
    "get_state_registry": lambda m, _: m.get_state_registry("batch").categorical_mapping,
}
"""Results that do not depend on whether the data are a MuData."""

SEPARATELY = {
    "adata",
    "compare_junctions",
    "deregister_manager",
    "from_programs",
    "get_anndata_manager",
    "get_from_registry",
    "get_setup_arg",
    "get_var_names",
    "load",
    "load_query_data",
    "load_registry",
    "prepare_query_anndata",
    "prepare_query_mudata",
    "prune",
    "register_manager",
    "save",
    "setup_anndata",
    "setup_mudata",
    "to_device",
    "train",
    "transfer_fields",
    "view_anndata_setup",
    "view_registry",
    "view_setup_args",
    "view_setup_method_args",
}
"""Methods that the tests below call."""

WITHOUT_DATA = {
    "convert_legacy_save",
    "differential_abundance",
    "get_normalized_expression",
    "setup_annbatch",
    "update_setup_method_args",
}
"""Methods that raise an error for any data."""


def test_every_public_method_is_here():
    methods = {
        name
        for name in dir(LeafletFAModel)
        if not name.startswith("_") and callable(getattr(LeafletFAModel, name))
    }
    assert methods - {"adata"} == (set(RESULTS) | SEPARATELY | WITHOUT_DATA) - {"adata"}


class TestResults:
    @pytest.mark.parametrize("name", RESULTS)
    def test_are_those_of_the_modality_alone(self, alone, model, name):
        expected = RESULTS[name](alone, None)
        same(expected, RESULTS[name](model, None))
        same(expected, RESULTS[name](model, model.adata))
        same(expected, RESULTS[name](model, alone.adata))  # the AnnData with all columns

    def test_of_new_cells(self, alone, model):
        new = cells(new=True)
        expected = alone.get_cell_activities(new)
        same(expected, model.get_cell_activities(multimodal(new)))
        assert not np.allclose(expected[:60], alone.get_cell_activities()[:60])

    def test_batches_of_new_cells_count(self, model):
        new = multimodal(cells(new=True))
        before = model.get_cell_activities(new)
        new.mod["rna"].obs["plate"] = new.mod["rna"].obs["plate"].map({"one": "two"}).fillna("one")
        assert not before.equals(model.get_cell_activities(new))

    def test_activities_and_programs_are_written_to_the_modality(self, model):
        data = model.adata.copy()
        before = content(data)
        model.export_posterior(data)
        after = content(data)
        assert after[""] == before[""]
        assert after["rna"] == before["rna"]
        np.testing.assert_array_equal(
            data.mod["splicing"].obsm["X_PHI"], model.get_latent_representation()
        )

    @pytest.mark.parametrize("groupby", ["rna:type", "kind"])
    def test_groups_of_other_modalities(self, alone, model, groupby):
        data = model.adata.copy()
        data.obs["kind"] = data.mod["rna"].obs["type"].reindex(data.obs_names)
        found = model.differential_splicing(data, groupby, "a", "b", sample_key="donor")
        expected = alone.differential_splicing(None, "type", "a", "b", sample_key="donor")
        same(expected, found)

    def test_a_query_of_obs(self, alone, model):
        found = model.differential_splicing(idx1="`rna:type` == 'a'")
        same(alone.differential_splicing(idx1="type == 'a'"), found)


class TestTools:
    def test_take_the_model(self, alone, model):
        same(
            lfa.tl.differential_activity(alone, "type", "a", "b"),
            lfa.tl.differential_activity(model, "rna:type", "a", "b"),
        )
        same(lfa.tl.query_fit(alone), lfa.tl.query_fit(model))
        same(lfa.tl.query_fit(alone), lfa.tl.query_fit(model, model.adata))

    def test_groups_are_ranked_in_the_modality(self, model):
        data = lfa.tl.rank_splicing_groups(
            model, "rna:type", adata=model.adata, key_added="ranked", copy=True
        )
        assert "ranked" in data.mod["splicing"].uns
        assert "ranked" not in data.uns
        assert "ranked" not in model.adata.mod["splicing"].uns

    def test_waypoints_are_colored(self, alone, model):
        axes = [
            lfa.pl.waypoints(m, color=key) for m, key in ((alone, "type"), (model, "rna:type"))
        ]
        colors = [ax.collections[0].get_facecolors() for ax in axes]
        np.testing.assert_array_equal(*colors)


class TestSetup:
    def test_only_bookkeeping_is_written(self, mdata):
        before = content(mdata)
        LeafletFAModel.setup_mudata(mdata, **SETUP)
        after = content(mdata)
        assert set(after[""][2]) - set(before[""][2]) == {"_scvi_uuid", "_scvi_manager_uuid"}
        assert after["rna"] == before["rna"]
        added = set(after["splicing"][0]) - set(before["splicing"][0])
        assert added == {"_scvi_batch"}
        assert set(after["splicing"][3]) - set(before["splicing"][3]) == {
            "_scvi_extra_categorical_covs"
        }
        assert after["splicing"][2] == before["splicing"][2]

    def test_codes_follow_the_cells_of_the_junctions(self, model):
        plates = cells().obs["rna:plate"]
        np.testing.assert_array_equal(model.data_registry("batch")[:, 0], plates.cat.codes)
        assert model.get_from_registry(model.adata, "batch").shape == (80, 1)
        assert model.batch_names == ["one, f", "one, m", "two, f", "two, m"]

    def test_the_registry(self, model, capsys):
        assert model.registry["setup_method_name"] == "setup_mudata"
        assert model.get_setup_arg("modalities") == {"junctions": "splicing", "batch_key": "rna"}
        names = model.get_var_names()
        assert names["splicing"].tolist() == model.junction_names.tolist()
        assert model.get_anndata_manager(model.adata) is model.adata_manager
        for view in (
            model.view_registry,
            model.view_anndata_setup,
            lambda: model.view_anndata_setup(model.adata),
            model.view_setup_method_args,
        ):
            view()
            assert "'modalities'" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"modalities": None}, ValueError, "modality with the junctions"),
            ({"modalities": "splicing"}, TypeError, "to be a dict"),
            ({"modalities": {"junctions": "splcing"}}, KeyError, "'splicing'"),
            ({"modalities": {"junctions": None}}, KeyError, "found None"),
            (
                {"modalities": {"junction_layer": "splicing"}},
                ValueError,
                "found 'junction_layer'.*of one modality",
            ),
            (
                {"modalities": {"junctions": "splicing", "batch_key": "atac"}},
                KeyError,
                "found 'atac'",
            ),
            (
                {"modalities": {"junctions": "splicing"}},
                KeyError,
                r"column of mdata.obs, found 'plate'.*in mdata.mod\['rna'\].obs",
            ),
            ({"modalities": {"junctions": "rna"}, "batch_key": None}, KeyError, "cell_by_"),
            ({"batch_key": "lane"}, KeyError, "It has 'plate', 'type'"),
            ({"batch_key": ["plate"]}, TypeError, "batch_key to be the name"),
            ({"junction_layer": "counts"}, KeyError, "counts"),
            ({"atse_key": "cluster"}, KeyError, "cluster"),
            ({"labels_key": "type"}, TypeError, "no argument 'labels_key'"),
        ],
    )
    def test_a_failure_leaves_the_data_as_they_were(self, mdata, change, error, message):
        before = content(mdata)
        with pytest.raises(error, match=message):
            LeafletFAModel.setup_mudata(mdata, **{**SETUP, **change})
        assert content(mdata) == before

    def test_cells_without_a_batch(self, mdata):
        rna = mdata.mod["rna"]
        keep = rna.obs_names != mdata.mod["splicing"].obs_names[3]
        fewer = MuData({"rna": rna[keep].copy(), "splicing": mdata.mod["splicing"]})
        fewer.obs["sex"] = mdata.obs["sex"]
        before = content(fewer)
        with pytest.raises(ValueError, match=r"found none for 1, first .*intersect_obs"):
            LeafletFAModel.setup_mudata(fewer, **SETUP)
        rna.obs.loc[rna.obs_names[0], "plate"] = np.nan
        fewer = MuData({"rna": rna, "splicing": mdata.mod["splicing"]})
        fewer.obs["sex"] = mdata.obs["sex"]
        if rna.obs_names[0] in fewer.mod["splicing"].obs_names:
            with pytest.raises(ValueError, match="Label or drop them"):
                LeafletFAModel.setup_mudata(fewer, **SETUP)
        assert content(fewer)["splicing"] == before["splicing"]

    def test_different_columns_of_one_name(self, mdata):
        mdata.mod["splicing"].obs["sex"] = "m"
        mdata.mod["splicing"].obs.iloc[:40, -1] = "f"
        with pytest.raises(ValueError, match="different ones in mdata.obs and"):
            LeafletFAModel.setup_mudata(mdata, **SETUP)
        own = {**MODALITIES, "categorical_covariate_keys": "splicing"}
        LeafletFAModel.setup_mudata(mdata, **{**SETUP, "modalities": own})

    def test_invalid_counts(self, mdata):
        layers = mdata.mod["splicing"].layers
        layers["cell_by_junction_matrix"] = -layers["cell_by_junction_matrix"]
        before = content(mdata)
        with pytest.raises(ValueError, match="negative"):
            LeafletFAModel.setup_mudata(mdata, **SETUP)
        assert content(mdata) == before

    def test_other_objects(self, mdata):
        splicing = mdata.mod["splicing"]
        with pytest.raises(TypeError, match="found a AnnData.*setup_anndata"):
            LeafletFAModel.setup_mudata(splicing, modalities={"junctions": "splicing"})
        with pytest.raises(TypeError, match="read_h5mu"):
            LeafletFAModel.setup_mudata("cells.h5mu", modalities={"junctions": "splicing"})
        with pytest.raises(ValueError, match="a view"):
            LeafletFAModel.setup_mudata(mdata[:20], **SETUP)
        with pytest.raises(TypeError, match="setup_mudata"):
            LeafletFAModel.setup_anndata(mdata)
        with pytest.raises(ValueError, match="was not.*setup_mudata"):
            LeafletFAModel(mdata)
        shared = MuData({"a": splicing, "b": splicing[:5].copy()}, axis=1)
        with pytest.raises(ValueError, match="axis=0"):
            LeafletFAModel.setup_mudata(shared, modalities={"junctions": "a"})

    def test_a_change_after_setup(self, mdata):
        LeafletFAModel.setup_mudata(mdata, **SETUP)
        mdata.mod["splicing"].layers["cell_by_junction_matrix"].data[:] = 0
        with pytest.raises(ValueError, match="changed since setup"):
            LeafletFAModel(mdata, n_programs=2)


class TestOtherData:
    def test_the_same_cells_can_be_set(self, model, mdata):
        own = model.adata
        try:
            model.adata = mdata
            assert model.adata is mdata
            assert model.adata_manager.adata is mdata
        finally:
            model.adata = own

    def test_an_anndata_cannot(self, alone, model):
        own = model.adata
        with pytest.raises(TypeError, match="Expected a MuData"):
            model.adata = alone.adata.copy()
        with pytest.raises(TypeError, match="Expected a MuData"):
            model.transfer_fields(alone.adata.copy())
        assert model.adata is own

    def test_a_model_of_an_anndata_says_what_to_pass(self, alone, mdata):
        for call in (
            alone.get_cell_activities,
            alone.export_posterior,
            alone.transfer_fields,
            lambda x: LeafletFAModel.load_query_data(x, alone),
            lambda x: LeafletFAModel.compare_junctions(x, alone),
            lambda x: LeafletFAModel.prepare_query_mudata(x, alone),
            lambda x: LeafletFAModel.prepare_query_anndata(x, alone),
        ):
            with pytest.raises(TypeError, match=r"mdata\.mod\['splicing'\]"):
                call(mdata)
        with pytest.raises(TypeError, match="MuData"):
            LeafletFAModel.from_programs(mdata)

    def test_a_missing_modality(self, model, mdata):
        other = MuData({"rna": mdata.mod["rna"], "junction": mdata.mod["splicing"]})
        with pytest.raises(KeyError, match="found 'splicing'"):
            model.get_cell_activities(other)

    def test_a_missing_batch(self, model, mdata):
        with pytest.raises(KeyError, match="rna:plate.*pass a MuData"):
            model.get_cell_activities(mdata.mod["splicing"])

    def test_fields_are_transferred(self, model, mdata):
        manager = model.transfer_fields(mdata)
        np.testing.assert_array_equal(
            manager.get_from_registry("batch"), model.data_registry("batch")
        )

    def test_managers_are_deregistered(self, mdata):
        LeafletFAModel.setup_mudata(mdata, modalities={"junctions": "splicing"})
        model = LeafletFAModel(mdata, n_programs=2)
        model.to_device("cpu")
        LeafletFAModel.register_manager(model.adata_manager)
        model.deregister_manager(mdata)
        assert model.get_anndata_manager(mdata) is None


class TestFiles:
    @pytest.fixture(scope="class")
    def folder(self, model, tmp_path_factory):
        folder = tmp_path_factory.mktemp("saved") / "model"
        model.save(folder, save_anndata=True, compression="gzip")
        return folder

    def test_the_data_are_written_as_h5mu(self, model, folder):
        assert {x.name for x in folder.iterdir()} == {"model.pt", "mdata.h5mu"}
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            data = read_h5mu(folder / "mdata.h5mu")
        assert list(data.mod) == list(model.adata.mod)
        assert data.obs["sex"].tolist() == model.adata.obs["sex"].tolist()
        for name, part in model.adata.mod.items():
            assert data.mod[name].obs_names.equals(part.obs_names)
            assert data.mod[name].raw is None
            for layer in part.layers:
                assert (data.mod[name].layers[layer] != part.layers[layer]).nnz == 0
        assert (data.mod["rna"].X != model.adata.mod["rna"].X).nnz == 0
        np.testing.assert_array_equal(data.obsmap["rna"], model.adata.obsmap["rna"])

    def test_saving_changes_nothing(self, mdata, tmp_path):
        LeafletFAModel.setup_mudata(mdata, **SETUP)
        model = LeafletFAModel(mdata, n_programs=2)
        types = {name: part.obs.dtypes.to_dict() for name, part in mdata.mod.items()}
        before = content(mdata)
        model.save(tmp_path / "model", save_anndata=True)
        assert content(mdata) == before
        assert {name: part.obs.dtypes.to_dict() for name, part in mdata.mod.items()} == types

    def test_it_is_loaded_with_its_data(self, model, folder):
        loaded = LeafletFAModel.load(folder, accelerator="cpu")
        assert isinstance(loaded.adata, MuData)
        same(model.get_cell_activities(), loaded.get_cell_activities())
        same(model.get_batch_effects(), loaded.get_batch_effects())
        torch.manual_seed(0)
        expected = model.get_elbo(2)
        torch.manual_seed(0)
        assert loaded.get_elbo(2) == expected
        loaded.train(max_epochs=1, **QUIET)

    @pytest.mark.parametrize("kind", ["MuData", "AnnData", "none"])
    def test_it_is_loaded_with_other_forms_of_its_data(self, alone, model, folder, mdata, kind):
        data = {"MuData": mdata, "AnnData": alone.adata.copy(), "none": False}[kind]
        loaded = LeafletFAModel.load(folder, data, accelerator="cpu")
        same(model.get_splicing_programs(), loaded.get_splicing_programs())
        assert loaded.get_cell_activities().to_numpy().tolist() == (
            model.get_cell_activities().to_numpy().tolist()
        )
        if kind == "none":
            same(model.get_cell_activities(), loaded.get_cell_activities(mdata))
            loaded.adata = mdata
            assert loaded.get_elbo(1) < 0

    def test_not_with_other_cells(self, alone, folder, mdata, tmp_path):
        with pytest.raises(ValueError, match="does not hold the training data"):
            LeafletFAModel.load(folder, multimodal(cells(new=True)), accelerator="cpu")
        alone.save(tmp_path / "alone")
        with pytest.raises(TypeError, match="modality with the junctions"):
            LeafletFAModel.load(tmp_path / "alone", mdata, accelerator="cpu")

    def test_the_setup_can_be_read(self, folder, capsys):
        registry = LeafletFAModel.load_registry(folder)
        assert registry["setup_args"]["modalities"]["batch_key"] == "rna"
        LeafletFAModel.view_setup_args(folder)
        assert "'modalities'" in capsys.readouterr().out

    def test_a_damaged_file_is_named(self, model, tmp_path):
        model.save(tmp_path / "model", save_anndata=True)
        file = tmp_path / "model" / "mdata.h5mu"
        file.write_bytes(file.read_bytes()[:5000])
        with pytest.raises(ValueError, match=r"mdata.h5mu cannot be read as an .h5mu file"):
            LeafletFAModel.load(tmp_path / "model", accelerator="cpu")

    def test_a_link_to_another_file_is_refused(self, model, tmp_path):
        import h5py

        model.save(tmp_path / "model", save_anndata=True)
        with h5py.File(tmp_path / "model" / "mdata.h5mu", "r+") as file:
            file["mod/rna/obs/secret"] = h5py.ExternalLink("/etc/other.h5", "/x")
        with pytest.raises(ValueError, match="is a link to"):
            LeafletFAModel.load(tmp_path / "model", accelerator="cpu")

    def test_data_of_an_earlier_save_are_removed(self, alone, model, tmp_path):
        alone.save(tmp_path / "model", save_anndata=True)
        model.save(tmp_path / "model", save_anndata=True, overwrite=True)
        assert {x.name for x in (tmp_path / "model").iterdir()} == {"model.pt", "mdata.h5mu"}
        model.save(tmp_path / "model", overwrite=True)
        assert {x.name for x in (tmp_path / "model").iterdir()} == {"model.pt"}

    def test_changed_data_are_not_saved(self, mdata, tmp_path):
        LeafletFAModel.setup_mudata(mdata, **SETUP)
        model = LeafletFAModel(mdata, n_programs=2)
        mdata.mod["splicing"].layers["cell_by_junction_matrix"].data[:] = 0
        with pytest.raises(ValueError, match="has changed since"):
            model.save(tmp_path / "model", save_anndata=True)
        assert not (tmp_path / "model").exists()


class TestQueries:
    @pytest.fixture(scope="class")
    def new(self):
        return cells(new=True)

    def test_activities_are_those_of_the_modality_alone(self, alone, model, new, tmp_path):
        query = LeafletFAModel.load_query_data(new.copy(), alone)
        query.train(max_epochs=5, **QUIET)
        other = LeafletFAModel.load_query_data(multimodal(new), model)
        other.train(max_epochs=5, **QUIET)
        assert isinstance(other.adata, MuData)
        same(query.get_cell_activities(), other.get_cell_activities())
        other.save(tmp_path / "query", save_anndata=True)
        loaded = LeafletFAModel.load(tmp_path / "query", accelerator="cpu")
        same(other.get_cell_activities(), loaded.get_cell_activities())
        same(lfa.tl.query_fit(query, reference=alone), lfa.tl.query_fit(other, reference=model))
        same(
            lfa.tl.transfer_labels(alone, query, "type"),
            lfa.tl.transfer_labels(model, other, "rna:type"),
        )

    def test_an_anndata_alone(self, alone, model, new):
        query = LeafletFAModel.load_query_data(new.copy(), alone)
        other = LeafletFAModel.load_query_data(new.copy(), model)
        for one in (query, other):
            one.train(max_epochs=5, **QUIET)
        assert isinstance(other.adata, ad.AnnData)
        same(query.get_cell_activities(), other.get_cell_activities())

    def test_new_batches(self, alone, model, new):
        new = new.copy()
        new.obs["rna:plate"] = new.obs["rna:plate"].cat.rename_categories({"two": "new"})
        query = LeafletFAModel.load_query_data(new.copy(), alone)
        other = LeafletFAModel.load_query_data(multimodal(new), model)
        for one in (query, other):
            one.train(max_epochs=5, **QUIET)
        assert query.batch_names == other.batch_names
        same(query.get_batch_effects(), other.get_batch_effects())

    def test_a_missing_batch_leaves_the_data_as_they_were(self, model, new):
        data = multimodal(new)
        del data.mod["rna"].obs["plate"]
        before = content(data)
        with pytest.raises(KeyError, match="found 'plate'"):
            LeafletFAModel.load_query_data(data, model)
        assert content(data) == before

    @pytest.mark.parametrize("inplace", [True, False])
    def test_junctions_are_prepared(self, alone, model, new, inplace):
        part = new[:, new.var_names[::-1][10:]].copy()
        expected = LeafletFAModel.prepare_query_anndata(part, alone, inplace=False)
        data = multimodal(part)
        before = content(data)
        with pytest.raises(ValueError, match="prepare_query_anndata"):
            LeafletFAModel.load_query_data(data, model)
        found = LeafletFAModel.prepare_query_mudata(data, model, inplace=inplace)
        if inplace:
            assert found is None
            found = data
        else:
            assert content(data) == before
        splicing = found.mod["splicing"]
        assert splicing.var_names.tolist() == model.junction_names.tolist()
        assert found.mod["rna"] is data.mod["rna"]
        assert found.obs["sex"].tolist() == [
            before[""][0]["sex"][i] for i in range(len(found.obs))
        ]
        assert found.n_vars == 6 + len(model.junction_names)
        for layer in expected.layers:
            assert (expected.layers[layer] != splicing.layers[layer]).nnz == 0
        query = LeafletFAModel.load_query_data(found, model)
        query.train(max_epochs=2, **QUIET)

    def test_names_of_the_reference(self, model, mdata):
        names = LeafletFAModel.prepare_query_mudata(mdata, model, return_reference_var_names=True)
        assert names["splicing"].tolist() == model.junction_names.tolist()

    def test_overlap(self, model, alone, new):
        found = LeafletFAModel.compare_junctions(multimodal(new), model)
        expected = LeafletFAModel.compare_junctions(new, alone)
        same(expected.to_frame(), found.to_frame())

    def test_a_mapping(self, model, new):
        part = new.copy()
        names = part.var_names.copy()
        part.var_names = "other_" + names
        data = multimodal(part)
        mapping = dict(zip(part.var_names, names, strict=True))
        query = LeafletFAModel.load_query_data(data, model, mapping=mapping)
        assert query.adata is not data
        assert data.mod["splicing"].var_names.equals(part.var_names)
        assert query.junction_names.tolist() == model.junction_names.tolist()
        query.train(max_epochs=2, **QUIET)
        other = LeafletFAModel.load_query_data(multimodal(new), model)
        other.train(max_epochs=2, **QUIET)
        same(other.get_cell_activities(), query.get_cell_activities())

    def test_a_reference_is_extended(self, new):
        models = []
        for data in (cells(), multimodal(cells())):
            is_mudata = isinstance(data, MuData)
            if is_mudata:
                LeafletFAModel.setup_mudata(data, modalities={"junctions": "splicing"})
            else:
                LeafletFAModel.setup_anndata(data)
            scvi.settings.seed = 0
            reference = fitted(data)
            query = LeafletFAModel.load_query_data(
                multimodal(new) if is_mudata else new.copy(), reference, freeze_programs=False
            )
            scvi.settings.seed = 0
            query.train(max_epochs=5, em_iterations=10, **QUIET)
            reference.prune(0.0)
            models.append(query)
        same(*(m.get_splicing_programs() for m in models))
        same(*(m.get_cell_activities() for m in models))

"""Members of scvi's base class: inherited, overridden, or refused."""

from __future__ import annotations

import numpy as np
import pytest
import scvi
from scvi.model.base import BaseModelClass

import leafletfa_scvi as lfa
from leafletfa_scvi import LeafletFAModel

KEPT = {
    "adata_manager",
    "data_registry",
    "device",
    "get_anndata_manager",
    "get_from_registry",
    "get_normalized_function_name",
    "get_setup_arg",
    "get_state_registry",
    "get_var_names",
    "history",
    "is_trained",
    "register_manager",
    "registry",
    "run_id",
    "run_name",
    "summary_string",
    "test_indices",
    "to_device",
    "train_indices",
    "validation_indices",
    "view_setup_method_args",
}
"""Public members of scvi's base class that are right for this model as they are."""

OF_SAVED_MODELS = {"convert_legacy_save", "load_registry", "view_setup_args"}

REFUSED = {
    "differential_abundance": ((), "get_cell_activities"),
    "get_normalized_expression": ((), "get_normalized_splicing"),
    "setup_annbatch": ((), "concat_splicing"),
    "update_setup_method_args": (({"junction_layer": "y"},), "junction_layer changed"),
    "_make_data_loader": ((), "cell_loader"),
}


@pytest.fixture(scope="module")
def model(_small):
    adata = _small.copy()
    scvi.settings.seed = 0
    LeafletFAModel.setup_anndata(adata)
    model = LeafletFAModel(adata, n_programs=3)
    model.train(method="em", em_iterations=30, accelerator="cpu")
    return model


@pytest.fixture
def bare(model, tmp_path):
    """The model without its data."""
    model.save(tmp_path / "model")
    return LeafletFAModel.load(tmp_path / "model", adata=False, accelerator="cpu")


def test_every_public_member_of_the_base_class_is_accounted_for():
    public = {name for name in dir(BaseModelClass) if not name.startswith("_")}
    inherited = {name for name in public if getattr(LeafletFAModel, name) is not None}
    own = {
        name
        for name in inherited
        if next(c for c in LeafletFAModel.__mro__ if name in vars(c)).__module__.startswith(
            "leafletfa_scvi"
        )
    }
    assert inherited - own - OF_SAVED_MODELS == KEPT


@pytest.mark.parametrize("name", REFUSED)
def test_refused_members_name_an_alternative(model, name):
    arguments, message = REFUSED[name]
    with pytest.raises(NotImplementedError, match=message):
        getattr(model, name)(*arguments)


def test_annbatch_is_refused_without_a_model():
    with pytest.raises(NotImplementedError, match="6 to 12 bytes"):
        LeafletFAModel.setup_annbatch(paths=["cells.h5ad"])


def test_the_function_of_normalized_values_exists(model):
    values = getattr(model, model.get_normalized_function_name)()
    assert values.shape == (80, len(model.junction_names))


def test_all_cells_are_trained_on_by_em_too(model):
    assert model.train_indices.tolist() == list(range(80))


class TestData:
    def test_the_same_cells_can_be_set(self, model, small):
        own = model.adata
        try:
            model.adata = small
            assert model.adata is small
            assert model.adata_manager.adata is small
        finally:
            model.adata = own

    def test_data_set_on_a_model_without_data_are_used(self, model, bare, small):
        with pytest.raises(ValueError, match="needs the counts"):
            bare.get_log_likelihood()
        bare.adata = small
        np.testing.assert_array_equal(bare.get_log_likelihood(), model.get_log_likelihood())
        bare.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)

    @pytest.mark.parametrize("change", ["order", "counts", "fewer"])
    def test_other_cells_cannot(self, model, bare, small, change):
        if change == "order":
            small = small[::-1].copy()
        elif change == "fewer":
            small = small[:70].copy()
        else:
            for layer in lfa._constants.JUNCTION_LAYER, lfa._constants.CLUSTER_LAYER:
                small.layers[layer] = 2 * small.layers[layer]
        for one in (model, bare):
            before = one.adata
            with pytest.raises(ValueError, match="load_query_data"):
                one.adata = small
            assert one.adata is before
            assert not any(key.startswith("_scvi") for key in small.uns)

    def test_nor_other_junctions_views_or_matrices(self, model, small):
        with pytest.raises(ValueError, match="lacks 1 of the model's"):
            model.adata = small[:, 1:].copy()
        with pytest.raises(ValueError, match="a view"):
            model.adata = small[:]
        with pytest.raises(TypeError, match="found a ndarray"):
            model.adata = np.ones((80, 3))

    def test_fields_are_transferred_to_valid_data(self, model, small):
        assert model.transfer_fields(small.copy()).adata.n_obs == 80
        small.layers[lfa._constants.JUNCTION_LAYER].data[:] = -1
        with pytest.raises(ValueError, match="negative"):
            model.transfer_fields(small)
        assert not any(key.startswith("_scvi") for key in small.uns)


class TestViews:
    @pytest.mark.parametrize("name", ["view_anndata_setup", "view_registry"])
    def test_the_setup_is_printed_with_and_without_data(self, model, bare, capsys, name):
        for one in (model, bare):
            getattr(one, name)()
            assert "'junction_layer': 'cell_by_junction_matrix'" in capsys.readouterr().out

    def test_without_data_none_are_registered(self, bare, small):
        with pytest.raises(ValueError, match="loaded without data"):
            bare.view_anndata_setup(small)
        with pytest.raises(ValueError, match="loaded without data"):
            bare.deregister_manager()

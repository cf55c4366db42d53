"""State of a fit: a listed attribute is saved, checked, restored and pruned without other code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scvi
import torch

from leafletfa_scvi import LeafletFAModel
from leafletfa_scvi.model._base import SplicingModelBase
from leafletfa_scvi.model._fit_state import (
    FitState,
    SavedAttribute,
    rollback_on_error,
    select_programs,
)


class Model(LeafletFAModel):
    """Model with one more trained attribute, declared in a single place."""

    usage_: np.ndarray | None = None
    _saved_attributes = {
        **LeafletFAModel._saved_attributes,
        "usage_": SavedAttribute(
            lambda x, *_: x is None or isinstance(x, np.ndarray),
            lambda x, programs: x[programs],
        ),
    }


@pytest.fixture
def model(small):
    scvi.settings.seed = 0
    Model.setup_anndata(small)
    model = Model(small, n_programs=3)
    model.train(max_epochs=1, em_iterations=5, enable_progress_bar=False)
    model.usage_ = np.array([0.5, 0.3, 0.2])
    return model


def test_attributes_follow_the_programs(model):
    select_programs(model, np.array([2, 0]))
    assert model.usage_.tolist() == [0.2, 0.5]
    assert len(model.waypoints_["positions"]) == 2


def test_attributes_are_pruned(model):
    phi = model.get_cell_activities().mean()
    threshold = float(np.sort(phi)[:2].mean())
    model.prune(threshold)
    assert model.usage_.tolist() == np.array([0.5, 0.3, 0.2])[phi >= threshold].tolist()


def test_attributes_are_saved_and_checked(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model", adata=False)
    np.testing.assert_array_equal(loaded.usage_, model.usage_)
    model.usage_ = "high"
    model.save(tmp_path / "wrong")
    with pytest.raises(ValueError, match="attribute 'usage_' has a wrong type"):
        Model.load(tmp_path / "wrong", adata=False)


def test_a_model_saved_before_an_attribute_existed_is_loaded(model, tmp_path):
    del model.usage_
    model.save(tmp_path / "model")
    content = torch.load(tmp_path / "model" / "model.pt", weights_only=True)
    del content["attr_dict"]["usage_"]
    torch.save(content, tmp_path / "model" / "model.pt")
    assert Model.load(tmp_path / "model", adata=False).usage_ is None


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_restores_everything(model, error):
    before = FitState.of(model).copy()

    def change():
        with torch.no_grad():
            for parameter in model.module.parameters():
                parameter.add_(1.0)
        model.history_["more"] = model.history_["elbo_train"]
        model.usage_, model.waypoints_, model.is_trained_ = None, None, False
        raise error

    with pytest.raises(error), rollback_on_error(model):
        change()
    after: Any = FitState.of(model)
    assert after.attributes.keys() == before.attributes.keys()
    assert set(after.attributes["history_"]) == set(before.attributes["history_"])
    assert after.attributes["usage_"] is before.attributes["usage_"]
    assert after.attributes["is_trained_"]
    for name, value in before.parameters.items():
        assert torch.equal(after.parameters[name], value)


def test_a_query_of_fewer_cells_keeps_its_own_state(model, small):
    query = Model.load_query_data(small[:20].copy(), model)
    assert query.usage_ is None
    assert FitState.of(query).attributes["frozen_programs_"]


def test_the_mixins_of_the_model_derive_from_the_base_alone():
    assert all(mixin.__bases__ == (SplicingModelBase,) for mixin in LeafletFAModel.__bases__)

"""Counts that are kept between methods."""

import numpy as np
import pytest

from leafletfa_scvi import LeafletFAModel
from leafletfa_scvi.model import _base
from leafletfa_scvi.model._read_once import read_once


@pytest.fixture
def loaded(small, fit, tmp_path):
    """A model without its data, and the data."""
    fit(small, max_epochs=1, em_iterations=3).save(tmp_path / "model")
    return LeafletFAModel.load(tmp_path / "model", adata=False), small


@pytest.fixture
def reads(monkeypatch):
    """Number of cells of each data set that is read."""
    found, read = [], _base.splicing_data
    monkeypatch.setattr(
        _base,
        "splicing_data",
        lambda adata, *args, **kwargs: found.append(adata.n_obs) or read(adata, *args, **kwargs),
    )
    return found


def test_counts_are_read_once_and_results_are_the_same(loaded, reads):
    model, adata = loaded
    expected = model.get_cell_activities(adata)
    reads.clear()
    with read_once(model, adata), read_once(model, adata):
        found = [model.get_cell_activities(adata) for _ in range(2)]
        some = model.get_cell_activities(adata, indices=[3, 1])
        assert reads == [80]
        model.get_cell_activities(adata[:5].copy())
        model.get_cell_activities(adata)
        assert reads == [80, 5]
    for activities in found:
        np.testing.assert_array_equal(activities, expected)
    np.testing.assert_array_equal(some, expected.iloc[[3, 1]])


def test_counts_are_read_again_afterwards_also_after_an_error(loaded, reads):
    model, adata = loaded

    def fail():
        with read_once(model, adata):
            model.get_cell_activities(adata)
            raise KeyError("nothing")

    with pytest.raises(KeyError, match="nothing"):
        fail()
    adata.layers["cell_by_junction_matrix"].data[0] = -1
    with pytest.raises(ValueError, match="negative"):
        model.get_cell_activities(adata)
    assert reads == [80, 80]

"""A model is built on what setup_anndata checked, or not at all."""

from __future__ import annotations

import gc
import weakref

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

import leafletfa_scvi as lfa
from leafletfa_scvi.data import _content

Y, N = "cell_by_junction_matrix", "cell_by_cluster_matrix"
pytestmark = pytest.mark.filterwarnings("ignore:.*not unique:UserWarning")


def put_nan(adata):
    adata.layers[Y] = adata.layers[Y].astype(float)
    adata.layers[Y].data[3] = np.nan


def fractions(adata):
    adata.layers[N] = adata.layers[N] * 0.5


def negate(adata):
    adata.layers[Y] = -adata.layers[Y]


def negate_in_place(adata):
    np.negative(adata.layers[N].data, out=adata.layers[N].data)


def one_read_less(adata):
    data = adata.layers[Y].data
    data[np.flatnonzero(data)[-1]] -= 1


def damage_indices(adata):
    adata.layers[Y].indices[0] = -3


def swap(adata):
    adata.layers[Y], adata.layers[N] = adata.layers[N], adata.layers[Y]


def shuffle_labels(adata):
    adata.var["atse_id"] = np.random.default_rng(0).permutation(adata.var["atse_id"])


def blank_label(adata):
    labels = adata.var["atse_id"].astype(object)
    labels.iloc[4] = " "
    adata.var["atse_id"] = labels


CHANGES = {
    "NaN": (put_nan, f"'{Y}' changed.*non-finite value nan"),
    "fractions": (fractions, f"'{N}' changed.*fractional"),
    "negated": (negate, f"'{Y}' changed.*negative"),
    "negated in place": (negate_in_place, f"'{N}' changed.*negative"),
    "one read": (one_read_less, f"'{Y}' changed.*1 of 80 cells have other counts.*'cell_79'"),
    "indices": (damage_indices, f"'{Y}' changed.*index -3"),
    "swapped": (swap, f"Layers '{Y}' and '{N}' changed"),
    "missing layer": (lambda a: a.layers.pop(N), f"'{N}' changed.*is missing"),
    "labels shuffled": (shuffle_labels, "ATSE labels in .*'atse_id'.* have changed.*junction"),
    "blank label": (blank_label, "ATSE labels have changed: .*no label"),
    "labels dropped": (lambda a: a.var.pop("atse_id"), "had a column .*has no such column now"),
    "cell names": (lambda a: setattr(a, "obs_names", ["c"] * 80), "obs_names have changed.*'c'"),
    "two cells swapped": (
        lambda a: setattr(a, "obs_names", [*a.obs_names[[1, 0]], *a.obs_names[2:]]),
        "obs_names have changed.*'cell_1' at position 0",
    ),
    "junction names": (
        lambda a: setattr(a, "var_names", a.var_names[::-1]), "var_names have changed"
    ),
    "cells subset": (lambda a: a._inplace_subset_obs(np.arange(79)), "79 cells, but had 80 when"),
    "junctions subset": (
        lambda a: a._inplace_subset_var(np.arange(10)), "10 junctions, .* when it was set up"
    ),
    "cells reordered": (lambda a: a._inplace_subset_obs(np.arange(80)[::-1]), "obs_names have"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_data_changed_since_setup_are_refused(small, name):
    change, message = CHANGES[name]
    lfa.LeafletFAModel.setup_anndata(small)
    change(small)
    with pytest.raises(ValueError, match=rf"{message}.* Call setup_anndata\(adata\) again"):
        lfa.LeafletFAModel(small, 2)


@pytest.mark.parametrize("name", ["one read", "cells subset", "two cells swapped"])
def test_a_second_setup_accepts_the_change(small, name):
    lfa.LeafletFAModel.setup_anndata(small)
    CHANGES[name][0](small)
    lfa.LeafletFAModel.setup_anndata(small)
    model = lfa.LeafletFAModel(small, 2)
    assert list(model.cell_names_) == list(small.obs_names)
    assert (model._entries.count.sum()) == small.layers[Y].sum()


def test_labels_added_after_setup_are_refused(small):
    labels = small.var.pop("atse_id")
    lfa.LeafletFAModel.setup_anndata(small)
    small.var["atse_id"] = labels
    with pytest.raises(ValueError, match="had no column 'atse_id'"):
        lfa.LeafletFAModel(small, 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.layers.update({Y: sp.csc_matrix(a.layers[Y]), N: a.layers[N].toarray()}),
        lambda a: a.layers.update({Y: a.layers[Y].astype(np.float64)}),
        lambda a: a.var.insert(0, "atse_id", "x" + a.var.pop("atse_id").astype(str)),
        lambda a: a.obs.insert(0, "note", 1),
        lambda a: setattr(a, "X", None),
    ],
    ids=["layout", "dtype", "other words", "obs", "X"],
)
def test_changes_of_format_do_not_matter(small, change):
    lfa.LeafletFAModel.setup_anndata(small)
    change(small)
    assert lfa.LeafletFAModel(small, 2)._entries.n_cells == 80


def test_layers_are_read_once_for_setup_and_constructor(small, monkeypatch):
    reads = []

    def read(adata, *args, **kwargs):
        reads.append(args)

    for name in ("observed_entries", "checked_entries"):
        monkeypatch.setattr(_content, name, read)
    lfa.LeafletFAModel.setup_anndata(small)
    first = lfa.LeafletFAModel(small, 2)
    second = lfa.LeafletFAModel(small, 3)
    assert second._entries is first._entries
    assert reads == []


def test_entries_live_as_long_as_the_models(small):
    """scvi keeps what is registered for good; the copy of the counts is not part of it."""
    lfa.LeafletFAModel.setup_anndata(small)
    model = lfa.LeafletFAModel(small, 2)
    entries = weakref.ref(model._entries)
    wanted = model._entries.count.clone()
    model.deregister_manager()
    del model
    gc.collect()
    assert entries() is None
    again = lfa.LeafletFAModel(small, 2)
    np.testing.assert_array_equal(again._entries.count, wanted)


def test_layers_on_disk_are_compared_by_content(small, tmp_path):
    small.write_h5ad(tmp_path / "a.h5ad")
    import h5py
    from anndata.io import sparse_dataset

    with h5py.File(tmp_path / "a.h5ad") as file:
        adata = anndata.AnnData(
            obs=small.obs,
            var=small.var,
            layers={name: sparse_dataset(file["layers"][name]) for name in (Y, N)},
        )
        lfa.LeafletFAModel.setup_anndata(adata)
        assert lfa.LeafletFAModel(adata, 2)._entries.n_cells == 80
        adata.layers[Y] = small.layers[Y] * 0
        with pytest.raises(ValueError, match=f"'{Y}'.*other counts"):
            lfa.LeafletFAModel(adata, 2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("layer", "junction_layer= for the junction counts, cluster_layer="),
        ("labels_key", "Batches are batch_key and categorical_covariate_keys"),
        ("continuous_covariate_keys", "Batches are batch_key and categorical"),
        ("junctions", "junction_layer, cluster_layer, atse_key, batch_key and"),
    ],
)
def test_arguments_of_other_models_are_explained(small, name, message):
    with pytest.raises(TypeError, match=rf"no argument '{name}'.*{message}"):
        lfa.LeafletFAModel.setup_anndata(small, **{name: "x"})
    assert "_scvi_uuid" not in small.uns

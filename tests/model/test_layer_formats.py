"""A fit depends on the counts and the seed, and on nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import scvi

import leafletfa_scvi as lfa

JUNCTION, CLUSTER = "cell_by_junction_matrix", "cell_by_cluster_matrix"


def fitted(model):
    return {name: value.numpy().tobytes() for name, value in model.module.state_dict().items()}


def with_layers(adata, junction, cluster):
    adata = adata.copy()
    adata.layers[JUNCTION], adata.layers[CLUSTER] = junction, cluster
    return adata


def all_stored(matrix):
    """CSR that stores every value, zeros too."""
    dense = matrix.toarray()
    indptr = np.arange(dense.shape[0] + 1) * dense.shape[1]
    indices = np.tile(np.arange(dense.shape[1]), dense.shape[0])
    return sp.csr_matrix((dense.ravel(), indices, indptr), shape=dense.shape)


def without_zeros(matrix):
    matrix = sp.csr_matrix(matrix, copy=True)
    matrix.eliminate_zeros()
    return matrix


def unsorted(matrix):
    """CSR with the columns of each row backwards."""
    flipped = sp.csr_matrix(matrix, copy=True)
    for start, stop in zip(flipped.indptr[:-1], flipped.indptr[1:], strict=True):
        flipped.indices[start:stop] = flipped.indices[start:stop][::-1]
        flipped.data[start:stop] = flipped.data[start:stop][::-1]
    flipped.has_sorted_indices = False
    return flipped


LAYOUTS = {
    "no stored zeros": (without_zeros, without_zeros),
    "all zeros stored": (all_stored, all_stored),
    "other patterns": (without_zeros, all_stored),
    "CSC": (sp.csc_matrix, sp.csc_matrix),
    "dense": (lambda m: m.toarray(), lambda m: m.toarray()),
    "csr_array": (sp.csr_array, sp.csr_array),
    "mixed": (lambda m: m.toarray(), sp.csc_array),
    "unsorted": (unsorted, sp.csr_matrix),
    "float64": (lambda m: m.astype(np.float64), lambda m: m.astype(np.float64)),
    "float32 and int64": (lambda m: m.astype(np.float32), lambda m: m.astype(np.int64)),
    "uint16": (lambda m: m.astype(np.uint16), lambda m: m.astype(np.uint16)),
}


@pytest.fixture(scope="module")
def plain(fit):
    """Data with zeros among the stored junction counts, and what is fitted to them."""
    adata = lfa.datasets.simulate_splicing(40, 20, 2, coverage=0.4, seed=6)
    assert (adata.layers[JUNCTION].data == 0).any()
    return adata, fitted(fit(adata.copy(), 2, max_epochs=5))


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout_and_dtype_do_not_matter(plain, fit, name):
    adata, want = plain
    junction, cluster = LAYOUTS[name]
    other = with_layers(adata, junction(adata.layers[JUNCTION]), cluster(adata.layers[CLUSTER]))
    layers = {layer: other.layers[layer] for layer in (JUNCTION, CLUSTER)}
    model = fit(other, 2, max_epochs=5)
    assert fitted(model) == want
    for layer, value in layers.items():
        assert other.layers[layer] is value


def test_a_junction_count_of_zero_counts(plain, fit):
    """The same data with one unread junction made unobserved give another fit."""
    adata, want = plain
    cluster = adata.layers[CLUSTER].tolil()
    zero = (adata.layers[JUNCTION].toarray() == 0) & (adata.layers[CLUSTER].toarray() > 0)
    row, column = np.argwhere(zero)[0]
    cluster[row, column] = 0
    other = with_layers(adata, adata.layers[JUNCTION], cluster.tocsr())
    del other.var["atse_id"]
    assert fitted(fit(other, 2, max_epochs=5)) != want


def test_x_and_further_slots_do_not_matter(plain, fit):
    adata, want = plain
    other = adata.copy()
    other.X = None
    other.obs["total"] = np.nan
    other.layers["more"] = np.full(other.shape, -1.5)
    assert fitted(fit(other, 2, max_epochs=5)) == want


def test_setup_and_training_write_only_scvis_bookkeeping(plain, fit):
    adata = plain[0].copy()
    fit(adata, 2, max_epochs=2)
    assert set(adata.uns) - set(plain[0].uns) == {"_scvi_uuid", "_scvi_manager_uuid"}
    for slot in ("obs", "var", "obsm", "varm", "layers", "obsp", "varp"):
        assert list(getattr(adata, slot)) == list(getattr(plain[0], slot))
    assert (adata.X != plain[0].X).nnz == 0


@pytest.mark.parametrize("train", [{}, {"batch_size": 16}, {"validation_size": 0.2}])
def test_a_seed_reproduces_the_fit_and_another_seed_does_not(plain, fit, train):
    adata = plain[0]
    first, again = (fit(adata.copy(), 2, seed=3, max_epochs=4, **train) for _ in range(2))
    assert fitted(first) == fitted(again)
    np.testing.assert_array_equal(
        first.history["elbo_train"].to_numpy(float), again.history["elbo_train"].to_numpy(float)
    )
    assert fitted(fit(adata.copy(), 2, seed=4, max_epochs=4, **train)) != fitted(first)


def test_the_seed_determines_random_initialization(plain, fit):
    adata = plain[0]
    options = {"init": "random", "n_restarts": 2, "max_epochs": 2, "em_iterations": 5}
    first, again = (fit(adata.copy(), 2, seed=3, **options) for _ in range(2))
    assert fitted(first) == fitted(again)


def test_without_a_new_seed_two_fits_differ(plain, fit):
    adata = plain[0].copy()
    first = fitted(fit(adata, 2, seed=0, max_epochs=3))
    model = lfa.LeafletFAModel(adata, 2)
    quiet = {"accelerator": "cpu", "enable_progress_bar": False}
    model.train(max_epochs=3, em_iterations=30, **quiet)
    assert fitted(model) != first


@pytest.mark.parametrize("n_threads", [1, 2])
def test_number_of_threads_does_not_matter(plain, fit, set_threads, n_threads):
    set_threads(n_threads)
    model = fit(plain[0].copy(), 2, max_epochs=5)
    assert fitted(model) == plain[1]
    assert scvi.settings.seed == 0

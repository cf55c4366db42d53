from __future__ import annotations

from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from anndata import AnnData, read_h5ad
from anndata.io import sparse_dataset, write_elem
from hypothesis import given, settings
from hypothesis import strategies as st

import leafletfa_scvi as lfa
from leafletfa_scvi.data import _blocks, observed_entries
from leafletfa_scvi.data._layers import get_layer, named_layers

JUNCTION, CLUSTER = "cell_by_junction_matrix", "cell_by_cluster_matrix"
WHOLE = (torch.uint8, torch.int16, torch.int32)


def random_counts(rng, shape=(13, 17), high=9):
    n = rng.integers(0, high, shape) * (rng.random(shape) < 0.5)
    return rng.binomial(n, 0.4), n


def data_set(y, n):
    return AnnData(layers={JUNCTION: y, CLUSTER: n}, shape=y.shape)


def assert_entries(entries, y, n):
    """Check that entries equal those of a loop over dense matrices."""
    row, column = np.nonzero(n > 0)
    indptr = np.concatenate([[0], np.cumsum((n > 0).sum(axis=1))])
    assert entries.n_junctions == n.shape[1]
    largest = n.max()
    whole = next(t for t in WHOLE if largest <= torch.iinfo(t).max)
    for name, wanted, dtype in (
        ("indptr", indptr, torch.int64),
        ("column", column, torch.int32),
        ("count", y[row, column], whole),
        ("total", n[row, column], whole),
    ):
        found = getattr(entries, name)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found.numpy(), wanted)


def with_stored_zeros(x, rng):
    """CSR of x with some stored zeros."""
    row, column = np.nonzero((x != 0) | (rng.random(x.shape) < 0.3))
    return sp.csr_matrix((x[row, column], (row, column)), shape=x.shape)


def shuffled(x, rng):
    """CSR of x with unsorted columns within rows, and without the flag for it."""
    m = sp.csr_matrix(x)
    for r in range(m.shape[0]):
        part = slice(m.indptr[r], m.indptr[r + 1])
        order = rng.permutation(m.indptr[r + 1] - m.indptr[r])
        m.indices[part], m.data[part] = m.indices[part][order], m.data[part][order]
    return sp.csr_matrix((m.data, m.indices, m.indptr), shape=m.shape)


def duplicated(x, rng):
    """CSR of x with each value stored as two duplicates."""
    m = sp.csr_matrix(x)
    low = m.data // 2
    data = np.stack([low, m.data - low], axis=1).ravel()
    return sp.csr_matrix((data, np.repeat(m.indices, 2), m.indptr * 2), shape=m.shape)


LAYOUTS = {
    "csr_matrix": lambda x, rng: sp.csr_matrix(x),
    "csr_array": lambda x, rng: sp.csr_array(x),
    "csc_matrix": lambda x, rng: sp.csc_matrix(x),
    "csc_array": lambda x, rng: sp.csc_array(x),
    "dense_c": lambda x, rng: np.ascontiguousarray(x),
    "dense_f": lambda x, rng: np.asfortranarray(x),
    "stored_zeros": with_stored_zeros,
    "shuffled": shuffled,
    "duplicated": duplicated,
}


def parts(layer):
    if sp.issparse(layer):
        return [layer.data.copy(), layer.indices.copy(), layer.indptr.copy()]
    return [layer.copy()]


@pytest.fixture(params=[None, 1, 40])
def block(request, monkeypatch):
    """One block, single rows, and a few rows per block."""
    if request.param is not None:
        monkeypatch.setattr(_blocks, "BLOCK", request.param)


@pytest.mark.parametrize("cluster", LAYOUTS)
@pytest.mark.parametrize("junction", LAYOUTS)
@pytest.mark.usefixtures("block")
def test_every_layout(junction, cluster):
    rng = np.random.default_rng(3)
    y, n = random_counts(rng)
    n[4] = 0
    y[4] = 0
    layers = LAYOUTS[junction](y, rng), LAYOUTS[cluster](n, rng)
    adata = data_set(*layers)
    before = [p for name in (JUNCTION, CLUSTER) for p in parts(adata.layers[name])]
    held = [adata.layers[name] for name in (JUNCTION, CLUSTER)]
    assert_entries(observed_entries(adata), y, n)
    after = [p for name in (JUNCTION, CLUSTER) for p in parts(adata.layers[name])]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
    assert all(adata.layers[k] is v for k, v in zip((JUNCTION, CLUSTER), held, strict=True))


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint8", "int32", "uint64", "float32", "float64"]
)
@pytest.mark.parametrize("layout", ["csr_matrix", "csc_matrix", "dense_c"])
def test_every_dtype(dtype, layout):
    rng = np.random.default_rng(4)
    y, n = (x.astype(dtype) for x in random_counts(rng, high=2 if dtype == "bool" else 9))
    adata = data_set(LAYOUTS[layout](y, rng), LAYOUTS[layout](n, rng))
    assert_entries(observed_entries(adata), y, n)


def test_small_integers_do_not_wrap_when_duplicates_are_summed():
    n = sp.csr_matrix((np.array([200, 200], np.uint8), [1, 1], [0, 2]), shape=(1, 3))
    y = sp.csr_matrix((1, 3), dtype=np.uint8)
    assert observed_entries(data_set(y, n)).total.tolist() == [400]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    junction=st.sampled_from(sorted(LAYOUTS)),
    cluster=st.sampled_from(sorted(LAYOUTS)),
)
def test_random_shapes(seed, shape, junction, cluster):
    rng = np.random.default_rng(seed)
    y, n = random_counts(rng, shape)
    adata = data_set(LAYOUTS[junction](y, rng), LAYOUTS[cluster](n, rng))
    assert_entries(observed_entries(adata), y, n)


def test_views_and_names_of_layers():
    rng = np.random.default_rng(5)
    y, n = random_counts(rng)
    adata = AnnData(layers={"a": sp.csr_matrix(y), "b": sp.csc_matrix(n)}, shape=y.shape)
    view = adata[[5, 2, 9], 3:11]
    assert_entries(observed_entries(view, "a", "b"), y[[5, 2, 9], 3:11], n[[5, 2, 9], 3:11])
    assert view.is_view


@pytest.mark.parametrize("layout", ["csr", "csc", "dense"])
def test_backed_layers(tmp_path, layout):
    rng = np.random.default_rng(6)
    y, n = random_counts(rng)
    with h5py.File(tmp_path / "layers.h5", "w") as file:
        for name, x in (("y", y), ("n", n)):
            value = x if layout == "dense" else sp.csr_matrix(x).asformat(layout)
            write_elem(file, name, value)
        kept = [file[k] if layout == "dense" else sparse_dataset(file[k]) for k in "yn"]
        assert_entries(observed_entries(data_set(*kept)), y, n)


def test_backed_file(tmp_path):
    rng = np.random.default_rng(7)
    y, n = random_counts(rng)
    adata = data_set(sp.csr_matrix(y), sp.csr_matrix(n))
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = read_h5ad(tmp_path / "a.h5ad", backed="r")
    assert_entries(observed_entries(backed), y, n)
    assert backed.isbacked


def test_large_counts_are_exact_and_those_beyond_float32_are_refused():
    y, n = np.array([[999_999, 0]]), np.array([[1_000_001, 1 << 24]])
    assert_entries(observed_entries(data_set(y, n)), y, n)
    n[0, 1] += 1
    with pytest.raises(ValueError, match=r"cell_by_cluster_matrix.* 16777217.*16,777,216"):
        observed_entries(data_set(y, n))


@pytest.mark.parametrize("largest", [255, 256, 32_767, 32_768, 1 << 24])
@pytest.mark.parametrize("layout", ["csr_matrix", "dense_c", "stored_zeros"])
def test_counts_use_the_smallest_dtype(monkeypatch, largest, layout):
    """Also if a large total follows many small ones, and with stored zeros."""
    monkeypatch.setattr(_blocks, "BLOCK", 1)
    rng = np.random.default_rng(8)
    y, n = random_counts(rng)
    n[7, 3] = y[7, 3] = 200
    n[11, 16], y[11, 16] = largest, largest - 1
    layers = LAYOUTS[layout](y, rng), LAYOUTS[layout](n, rng)
    entries = observed_entries(data_set(*layers))
    assert_entries(entries, y, n)
    assert entries.narrowed() is entries


def test_no_cells_x_junctions_array_is_formed():
    """A matrix of 10^12 values, which would not fit in memory if dense."""
    shape = (1_000_000, 1_000_000)
    row = np.array([0, 5, 999_999])
    column = np.array([999_999, 0, 999_999])
    y = sp.csr_matrix(([1, 3], (row[1:], column[1:])), shape=shape)
    n = sp.csr_matrix(([2, 3, 4], (row, column)), shape=shape)
    entries = observed_entries(data_set(y, n))
    assert entries.column.tolist() == column.tolist()
    assert entries.count.tolist() == [0, 1, 3]
    assert entries.rows().tolist() == row.tolist()


def test_real_data(chen):
    entries = observed_entries(chen)
    assert entries.n_entries == 3_965_894
    y, n = chen.layers[JUNCTION].toarray(), chen.layers[CLUSTER].toarray()
    assert_entries(entries, y, n)


def test_x_listed_among_layers_is_ignored():
    counts = sp.csr_matrix(np.eye(3))
    adata = SimpleNamespace(layers={"y": counts, None: counts, "n": counts}, shape=(3, 3))
    assert list(named_layers(adata)) == ["y", "n"]
    assert get_layer(adata, "y") is counts
    for name in ("z", None):
        with pytest.raises(KeyError, match=r"holds \['n', 'y'\]"):
            get_layer(adata, name)


def test_none_is_not_a_layer(small):
    assert small.X is not None
    with pytest.raises(KeyError, match="Layer None is missing"):
        lfa.LeafletFAModel.setup_anndata(small, junction_layer=None)

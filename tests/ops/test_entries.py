"""Blocks of observed entries: selection, masks, coefficients; and what importing ops needs."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.special import gammaln

from leafletfa_scvi import ops
from leafletfa_scvi.ops import _entries


@pytest.fixture
def dense():
    rng = np.random.default_rng(0)
    total = rng.integers(0, 4, (9, 7)) * 3
    total[4] = 0
    return rng.integers(0, total + 1), total


def entries_of(count, total):
    matrix = sp.csr_matrix(total)
    rows = np.repeat(np.arange(len(total)), np.diff(matrix.indptr))
    return ops.ObservedEntries(
        torch.tensor(matrix.indptr, dtype=torch.int64),
        torch.tensor(matrix.indices, dtype=torch.int32),
        torch.tensor(count[rows, matrix.indices], dtype=torch.float32),
        torch.tensor(matrix.data, dtype=torch.float32),
        total.shape[1],
    )


def to_dense(entries):
    layout = (entries.column.numpy(), entries.indptr.numpy())
    shape = (entries.n_cells, entries.n_junctions)
    return tuple(
        sp.csr_matrix((v.numpy(), *layout), shape).toarray()
        for v in (entries.count, entries.total)
    )


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("has_numba", [True, False])
def test_select_takes_cells_in_order_with_repeats(dense, has_numba, narrow, monkeypatch):
    if not has_numba:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    entries = entries_of(*dense)
    entries = entries.narrowed() if narrow else entries
    cells = [8, 4, 0, 0, 3]
    part = entries.select(torch.tensor(cells))
    assert part.count.dtype == part.total.dtype == entries.count.dtype
    for found, whole in zip(to_dense(part), dense, strict=True):
        np.testing.assert_array_equal(found, whole[cells])
    nothing = entries.select(torch.tensor([], dtype=torch.int64))
    assert nothing.n_cells == nothing.n_entries == 0


@pytest.mark.parametrize("block", [1, 10, 1000])
def test_keep_drops_entries_not_cells(dense, block, monkeypatch):
    monkeypatch.setattr(_entries, "_BLOCK", block)
    entries = entries_of(*dense).narrowed()
    mask = torch.arange(entries.n_entries) % 3 == 0
    part = entries.keep(mask)
    assert part.count.dtype == part.total.dtype == torch.uint8
    kept = np.zeros(dense[1].shape, bool)
    kept[entries.rows()[mask], entries.column[mask].long()] = True
    for found, whole in zip(to_dense(part), dense, strict=True):
        np.testing.assert_array_equal(found, whole * kept)
    assert entries.keep(torch.zeros_like(mask)).indptr.tolist() == [0] * 10


def test_seen_junctions_and_bytes(dense):
    entries = entries_of(*dense)
    part = entries.keep(entries.column != 2)
    assert part.seen_junctions().tolist() == [j != 2 for j in range(7)]
    assert entries.nbytes() == 10 * 8 + 12 * entries.n_entries
    assert entries.narrowed().nbytes() == 10 * 8 + 6 * entries.n_entries


@pytest.mark.parametrize("limit", [1, 5, 1000])
def test_blocks_cover_all_cells_once(dense, limit):
    entries = entries_of(*dense)
    found = np.zeros_like(dense[1])
    seen = []
    for cells, part in entries.blocks(limit):
        assert part.n_entries <= limit or part.n_cells == 1
        found[cells] = to_dense(part)[1]
        seen += range(9)[cells]
    assert seen == list(range(9))
    np.testing.assert_array_equal(found, dense[1])


def test_log_coefficient(dense):
    count, total = dense
    expected = gammaln(total + 1) - gammaln(count + 1) - gammaln(total - count + 1)
    entries = entries_of(count, total)
    np.testing.assert_allclose(entries.log_coefficient(), expected.sum(1), atol=1e-12)
    part = entries.select(torch.tensor([2, 7]))
    np.testing.assert_allclose(part.log_coefficient(), expected.sum(1)[[2, 7]], atol=1e-12)
    masked = entries.keep(entries.count > 0)
    np.testing.assert_allclose(
        masked.log_coefficient(), (expected * (count > 0)).sum(1), atol=1e-12
    )


def test_moving_to_the_same_device_returns_the_same_object(dense):
    entries = entries_of(*dense)
    entries.log_coefficient()
    assert entries.to("cpu") is entries
    moved = entries.to("meta")
    assert moved.device.type == "meta"
    assert moved.log_coefficient().device.type == "meta"


def test_ops_needs_torch_alone():
    """With everything but torch and numpy refused, ops imports and computes."""
    script = """
import sys
for name in "scvi pyro anndata scanpy numba triton pandas lightning scipy sklearn".split():
    sys.modules[name] = None
import torch
from leafletfa_scvi import ops
e = ops.ObservedEntries(torch.tensor([0, 1]), torch.tensor([0]).int(), torch.tensor([1.0]),
                        torch.tensor([2.0]), 1)
half = torch.full((1, 1), 0.5, dtype=torch.float64)
one = torch.ones(1, 1, dtype=torch.float64)
value = ops.log_likelihood(e, one, half, backend="torch")
assert abs(float(value) - float(torch.tensor(0.5).log())) < 1e-6, value
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)

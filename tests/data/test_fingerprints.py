from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from leafletfa_scvi.data import _blocks, cell_fingerprints, match_cells, observed_entries
from leafletfa_scvi.data._fingerprints import layer_digest, mix64
from leafletfa_scvi.ops import ObservedEntries


def entries_of(cells, n_junctions=10):
    """Entries from one list of (column, count, total) per cell."""
    flat = np.array([t for cell in cells for t in cell]).reshape(-1, 3)
    indptr = np.concatenate([[0], np.cumsum([len(c) for c in cells])])
    column, count, total = torch.from_numpy(flat.T.copy())
    return ObservedEntries(
        torch.from_numpy(indptr), column.int(), count.float(), total.float(), n_junctions
    )


def test_splitmix64_reference_values():
    """First outputs of the generator seeded with 1234567 (Rosetta Code, splitmix64)."""
    step = 0x9E3779B97F4A7C15
    state = np.array([(1234567 + i * step) % 2**64 for i in range(3)], np.uint64)
    wanted = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert mix64(state).tolist() == wanted


def test_hashes_do_not_depend_on_order_or_other_cells():
    a, b, c = [(0, 1, 2), (4, 0, 7)], [(3, 3, 3)], []
    together = cell_fingerprints(entries_of([a, b, c]))
    assert together.dtype == np.uint64
    assert cell_fingerprints(entries_of([c, a[::-1], b])).tolist() == together[[2, 0, 1]].tolist()


def test_hashes_depend_on_every_part():
    cells = [
        [(0, 1, 2), (4, 0, 7)], [(1, 1, 2), (4, 0, 7)], [(0, 0, 2), (4, 0, 7)],
        [(0, 1, 3), (4, 0, 7)], [(0, 2, 1), (4, 0, 7)], [(0, 0, 7), (4, 1, 2)],
        [(0, 1, 2)], [(0, 1, 2), (0, 1, 2)], [],
    ]  # fmt: skip
    assert len(set(cell_fingerprints(entries_of(cells)).tolist())) == len(cells)


def test_hashes_do_not_depend_on_dtype_or_blocks(small, monkeypatch):
    entries = observed_entries(small)
    wanted = cell_fingerprints(entries)
    assert len(set(wanted.tolist())) == small.n_obs
    whole = ObservedEntries(
        entries.indptr, entries.column, entries.count.int(), entries.total.int(), small.n_vars
    )
    assert (cell_fingerprints(whole) == wanted).all()
    for block in (1, 100):
        monkeypatch.setattr(_blocks, "BLOCK", block)
        assert (cell_fingerprints(entries) == wanted).all()
    some = torch.tensor([3, 70, 3])
    assert (cell_fingerprints(entries.select(some)) == wanted[some]).all()


@pytest.mark.parametrize("n_cells", [0, 2])
def test_without_entries(n_cells):
    found = cell_fingerprints(entries_of([[]] * n_cells))
    assert len(found) == n_cells
    assert len(set(found.tolist())) == min(n_cells, 1)


def matched(cells, known):
    """Match cells written as a name and a digit for the content."""
    parts = [
        (np.array([c[0] for c in group]), np.array([int(c[1]) for c in group], np.uint64))
        for group in (cells, known)
    ]
    return match_cells(*parts[0], *parts[1]).tolist()


@pytest.mark.parametrize(
    ("cells", "known", "wanted"),
    [
        (["b2", "a1"], ["a1", "b2"], [1, 0]),  # by name
        (["x2", "y1", "z3"], ["a1", "b2"], [1, 0, -1]),  # renamed, and a new one
        (["a2", "b1"], ["a1", "b2"], [1, 0]),  # names exchanged
        (["a9"], ["a1"], [-1]),  # a known name with another content
        (["b1", "a1"], ["a1", "b1"], [1, 0]),  # twins keep their names
        (["x1", "y1"], ["a1", "b1"], [0, 1]),  # renamed twins their order
        (["x1", "b1", "y1"], ["a1", "b1", "c1"], [0, 1, 2]),
        (["x1", "y1", "z1"], ["a1", "b1"], [0, 1, 0]),  # more than there were
        (["b1", "x1"], ["b1"], [0, 0]),
        ([], ["b1"], []),
    ],
)
def test_cells_are_matched_by_content_then_by_name(cells, known, wanted):
    assert matched(cells, known) == wanted


LAYOUTS = {
    "csr": sp.csr_matrix, "csc": sp.csc_matrix, "dense": np.array, "fortran": np.asfortranarray,
    "strided": lambda x: np.repeat(np.repeat(x, 2, 0), 2, 1)[::2, ::2],
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_digests_detect_every_change(layout):
    values = np.arange(12).reshape(3, 4) % 5

    def made(values):
        return LAYOUTS[layout](values)

    first = layer_digest(made(values))
    assert layer_digest(made(values)) == first
    digests = {first}
    for at in np.ndindex(3, 4):
        other = values.copy()
        other[at] += 1
        digests.add(layer_digest(made(other)))
    digests.add(layer_digest(made(values.astype(np.float64))))
    digests.add(layer_digest(made(values[::-1])))
    digests.add(layer_digest(made(values.reshape(4, 3))))
    assert len(digests) == 16
    assert None not in digests


def test_digests_differ_between_layouts():
    square = np.array([[0, 1], [1, 0]])
    assert len({layer_digest(LAYOUTS[name](square)) for name in ("csr", "csc", "dense")}) == 3


@pytest.mark.parametrize(
    "layer",
    [np.ma.MaskedArray([[1]]), np.array([["a"]], dtype=object), [[1]], sp.coo_array([[1]])],
)
def test_no_digest_of_other_types(layer):
    assert layer_digest(layer) is None

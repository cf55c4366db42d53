"""Entries gathered by ATSE, and the Dirichlet-multinomial against its definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from helpers.likelihood import random_atses, random_factors
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import dirichlet_multinomial, multinomial

from leafletfa_scvi import ops

F64 = torch.float64


def by_pair(entries, atse):
    """{(cell, ATSE): (total, {junction: count})} from observed entries, in plain Python."""
    pairs: dict = {}
    rows = entries.rows().tolist()
    for c, j, y, n in zip(
        rows, entries.column.tolist(), entries.count.tolist(), entries.total.tolist(), strict=True
    ):
        _, counts = pairs.setdefault((c, int(atse[j])), (n, {}))
        if y:
            counts[j] = y
    return pairs


@settings(max_examples=60, deadline=None)
@given(
    n_cells=st.integers(0, 8),
    n_junctions=st.integers(1, 12),
    density=st.sampled_from([0.0, 0.5, 1.0]),
    max_count=st.sampled_from([1, 40, 300, 40_000]),
    seed=st.integers(0, 2**16),
)
def test_reads_and_totals_are_those_of_the_entries(n_cells, n_junctions, density, max_count, seed):
    entries, atse = random_atses(n_cells, n_junctions, density, max_count, seed)
    found = ops.multinomial_entries(entries, atse)
    pairs = by_pair(entries, atse)
    implicit = sorted({a for (_, a), (n, y) in pairs.items() if n > sum(y.values())})
    assert found.atse.tolist() == atse.tolist() + implicit
    for (_, a), (n, counts) in pairs.items():
        rest = n - sum(counts.values())
        if rest:
            counts[n_junctions + implicit.index(a)] = rest
    expected_totals = {pair: n for pair, (n, _) in pairs.items()}
    expected_reads = {(c, j): y for (c, _), (_, ys) in pairs.items() for j, y in ys.items()}
    for part, expected in ((found.totals, expected_totals), (found.reads, expected_reads)):
        keys = list(zip(part.rows().tolist(), part.column.tolist(), strict=True))
        assert keys == sorted(keys)
        assert dict(zip(keys, part.count.tolist(), strict=True)) == expected
        largest = max(expected_totals.values(), default=0)
        narrow = torch.uint8 if largest < 256 else torch.int16 if largest < 2**15 else torch.int32
        assert part.count.dtype == (narrow if part.n_cells else torch.uint8)
    of_read = [expected_totals[c, int(found.atse[j])] for c, j in sorted(expected_reads)]
    assert found.reads.total.tolist() == of_read


def test_blocks_and_selection_agree(monkeypatch):
    entries, atse = random_atses(40, 15, 0.7, 30, 3)
    whole = ops.multinomial_entries(entries, atse)
    monkeypatch.setattr("leafletfa_scvi.ops._multinomial._BLOCK", 17)
    blocked = ops.multinomial_entries(entries, atse)
    assert torch.equal(whole.reads.count, blocked.reads.count)
    assert torch.equal(whole.totals.indptr, blocked.totals.indptr)
    phi, psi = random_factors(whole, 3, 3)
    kappa = torch.tensor(4.0, dtype=F64)
    value = ops.log_likelihood(whole, phi, psi, kappa)
    cells = torch.tensor([3, 3, 0, 39])
    part = ops.log_likelihood(whole.select(cells), phi[cells], psi, kappa)
    torch.testing.assert_close(part, value[cells])
    parts = [ops.log_likelihood(b, phi[s], psi, kappa) for s, b in whole.blocks(9)]
    torch.testing.assert_close(torch.cat(parts), value)


@pytest.mark.parametrize("kappa", [None, 0.3, 8.0])
@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_value_equals_scipy(kappa, backend):
    entries, atse = random_atses(12, 14, 0.7, 25, 5)
    found = ops.multinomial_entries(entries, atse)
    phi, psi = random_factors(found, 3, 5)
    mean = (phi @ psi.T).numpy()
    expected = np.zeros(12)
    rows = found.totals.rows().tolist()
    reads = np.zeros((12, found.n_junctions))
    reads[found.reads.rows(), found.reads.column.long()] = found.reads.count
    for c, a, n in zip(
        rows, found.totals.column.tolist(), found.totals.total.tolist(), strict=True
    ):
        columns = np.flatnonzero(found.atse.numpy() == a)
        y, p = reads[c, columns], mean[c, columns] / mean[c, columns].sum()
        if kappa is None:
            expected[c] += multinomial.logpmf(y, n, p)
        else:
            expected[c] += dirichlet_multinomial.logpmf(y.astype(int), kappa * p, n)
    concentration = None if kappa is None else torch.tensor(kappa, dtype=F64)
    value = ops.log_likelihood(found, phi, psi, concentration, backend=backend)
    np.testing.assert_allclose(value, expected, rtol=2e-5, atol=1e-4)


def test_probabilities_of_all_outcomes_sum_to_one():
    atse = torch.tensor([0, 0, 0])
    outcomes = [y for y in itertools.product(range(5), repeat=3) if sum(y) == 4]
    count = torch.tensor(outcomes, dtype=torch.float32).reshape(-1)
    entries = ops.ObservedEntries(
        torch.arange(len(outcomes) + 1) * 3,
        torch.arange(3, dtype=torch.int32).repeat(len(outcomes)),
        count,
        torch.full_like(count, 4.0),
        3,
    )
    found = ops.multinomial_entries(entries, atse)
    phi = torch.tensor([[0.3, 0.7]], dtype=F64).repeat(len(outcomes), 1)
    psi = torch.tensor([[0.2, 0.5], [0.7, 0.1], [0.1, 0.4]], dtype=F64)
    for kappa in (None, torch.tensor([2.5], dtype=F64)):
        value = ops.log_likelihood(found, phi, psi, kappa)
        assert float(value.exp().sum()) == pytest.approx(1.0, abs=1e-5)


def test_two_junctions_are_beta_binomial():
    """With two junctions the second adds nothing: its own beta-binomial says the same."""
    entries, _ = random_atses(10, 1, 1.0, 30, 0)
    found = ops.multinomial_entries(entries, torch.tensor([0]), implicit=torch.tensor([0]))
    phi, psi = random_factors(found, 2, 0)
    kappa = torch.tensor(6.0, dtype=F64)
    shared = ops.log_likelihood(found, phi, psi, kappa)
    torch.testing.assert_close(shared, ops.log_likelihood(entries, phi, psi[:1], kappa))


def test_surplus_reads_can_be_dropped():
    """Those without an implicit junction to go to; and totals below the reads are raised."""
    entries, atse = random_atses(30, 20, 0.7, 5, 2)
    needed = ops.implicit_junctions(entries, atse)
    kept = needed[1:]
    found = ops.multinomial_entries(entries, atse, kept, surplus="drop")
    whole = ops.multinomial_entries(entries, atse)
    assert found.atse.tolist() == atse.tolist() + kept.tolist()
    lost, n = needed[0], len(atse)
    column = whole.reads.column.long()
    other = whole.reads.keep(column != n)
    assert torch.equal(found.reads.count, other.count)
    moved = torch.where(other.column > n, other.column - 1, other.column)
    assert torch.equal(found.reads.column, moved.to(torch.int32))
    same = found.atse[found.reads.column.long()] != lost
    assert torch.equal(found.reads.total[same], other.total[same])
    sums = torch.zeros(30, whole.n_atses)
    where = found.reads.rows(), found.atse[found.reads.column.long()]
    sums.index_put_(where, found.reads.count.float(), accumulate=True)
    totals = torch.zeros(30, whole.n_atses)
    totals[found.totals.rows(), found.totals.column.long()] = found.totals.total.float()
    assert torch.equal(sums, totals)
    assert (found.totals.total > 0).all()
    assert torch.equal(found.reads.total.float(), totals[where])
    # Junctions of two ATSEs of a query can be one of the reference's, and then y adds up past n.
    low = ops.ObservedEntries(
        torch.tensor([0, 2]),
        torch.tensor([0, 1], dtype=torch.int32),
        torch.tensor([3.0, 4.0]),
        torch.tensor([3.0, 4.0]),
        2,
    )
    for implicit in ([], [0]):
        one = ops.multinomial_entries(
            low, torch.tensor([0, 0]), torch.tensor(implicit, dtype=torch.int64), surplus="drop"
        )
        assert one.totals.total.tolist() == [7]
        assert one.reads.count.tolist() == [3, 4]
        assert one.reads.total.tolist() == [7, 7]


def test_bytes_are_those_of_all_arrays():
    entries, atse = random_atses(30, 20, 0.7, 5, 2)
    found = ops.multinomial_entries(entries, atse)
    assert found.nbytes() == found.reads.nbytes() + found.totals.nbytes() + 8 * len(found.atse)


def test_errors_name_cell_and_atse():
    entries, atse = random_atses(10, 9, 1.0, 5, 1)
    with pytest.raises(ValueError, match=r"shape \(3,\): expected \(9,\)"):
        ops.multinomial_entries(entries, atse[:3])
    needed = ops.implicit_junctions(entries, atse)
    assert len(needed)
    with pytest.raises(ValueError, match=r"Cell \d+ has \d+ reads in ATSE 0, \d+ more than"):
        ops.multinomial_entries(entries, atse, implicit=needed[1:])

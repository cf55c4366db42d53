"""Programs shifted in batches, against plain loops and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.likelihood import random_atses, random_entries

from leafletfa_scvi import ops
from leafletfa_scvi.likelihoods import LIKELIHOODS, BatchShift, Factors

F64 = torch.float64
ATSE = torch.tensor([0, 0, 1, 1, 1, 2])
KINDS = pytest.mark.parametrize("atse", [None, ATSE], ids=["logit", "within ATSEs"])


def example(atse, n_batches=3, n_programs=2, seed=0):
    """Shifts and programs in float64; programs sum to one in ATSEs."""
    generator = torch.Generator().manual_seed(seed)
    shift = torch.randn(n_batches, len(ATSE), generator=generator, dtype=F64)
    psi = torch.rand(len(ATSE), n_programs, generator=generator, dtype=F64) * 0.8 + 0.1
    if atse is not None:
        psi = psi / ops.sum_within_groups(psi, atse)
    return BatchShift(shift, atse), psi


@KINDS
def test_programs_of_each_batch(atse):
    shift, psi = example(atse)
    table = shift.programs(psi).reshape(3, 6, 2)
    for b in range(3):
        for k in range(2):
            for j in range(6):
                odds = psi[j, k] * torch.exp(shift.values[b, j])
                if atse is None:
                    want = odds / (odds + 1 - psi[j, k])
                else:
                    same = [i for i in range(6) if ATSE[i] == ATSE[j]]
                    want = odds / sum(psi[i, k] * torch.exp(shift.values[b, i]) for i in same)
                assert table[b, j, k] == pytest.approx(float(want), rel=1e-9)
    for b in range(3):
        torch.testing.assert_close(shift.programs_in(b, psi), table[b])


@KINDS
def test_base_counts_have_the_derivative_and_information_of_all_batches(atse):
    """For the logit of psi, or its logarithm within an ATSE."""
    shift, psi = example(atse)
    shift = BatchShift(0.5 * shift.values, atse)
    generator = torch.Generator().manual_seed(1)
    inclusion = 9.0 * torch.rand(18, 2, generator=generator, dtype=F64)
    exclusion = 9.0 * torch.rand(18, 2, generator=generator, dtype=F64)
    logit = (psi.logit() if atse is None else psi.log()).requires_grad_()
    if atse is None:
        table = shift.programs(torch.sigmoid(logit))
        value = (inclusion * table.log() + exclusion * torch.log1p(-table)).sum()
    else:
        exclusion = torch.zeros_like(inclusion)
        raised = logit.exp()
        table = shift.programs(raised / ops.sum_within_groups(raised, atse))
        value = (inclusion * table.log()).sum()
    value.backward()
    reads = inclusion + exclusion
    parts = [x.detach().reshape(3, 6, 2) for x in (table, inclusion, exclusion)]
    each = [shift.base_counts(psi, *(x[b] for x in parts)) for b in range(3)]
    found = [sum(x) for x in zip(*each, strict=True)]
    for x, y in zip(shift.limited(*found), found, strict=True):
        torch.testing.assert_close(x, y)
    size = sum(found) if atse is None else ops.sum_within_groups(found[0], atse)
    assert (found[0] > 0).all()  # not limited, so that the derivative is exact
    torch.testing.assert_close(found[0] - size * psi, logit.grad, rtol=1e-4, atol=1e-4)
    reads = reads.reshape(3, 6, 2)
    own, spread = psi * (1 - psi), parts[0] * (1 - parts[0])
    if atse is not None:
        own, *parts = (ops.sum_within_groups(x, atse) for x in (own, *reads, *spread))
        reads, spread = torch.stack(parts[:3]), torch.stack(parts[3:])
    torch.testing.assert_close(size * own, (reads * spread).sum(0))


@KINDS
def test_limited_counts_are_not_negative_and_keep_the_total(atse):
    shift, psi = example(atse)
    inclusion = torch.tensor([[-1.0, 2.0], [5.0, 3.0]])
    exclusion = torch.tensor([[4.0, -0.5], [1.0, 1.0]] if atse is None else [[0.0, 0.0]] * 2)
    found = shift.limited(inclusion, exclusion)
    assert min(x.min() for x in found) >= 0
    if atse is None:
        torch.testing.assert_close(sum(found), inclusion + exclusion)
        torch.testing.assert_close(found[0], torch.tensor([[0.0, 1.5], [5.0, 3.0]]))
    else:
        torch.testing.assert_close(found[0], torch.tensor([[0.0, 2.0], [5.0, 3.0]]))


def test_base_information_is_that_of_the_logits():
    shift, psi = example(None)
    information = torch.rand(18, 2, generator=torch.Generator().manual_seed(2), dtype=F64)
    table = shift.programs(psi).reshape(3, 6, 2)

    def converted(about_table):
        parts = about_table.reshape(3, 6, -1)
        return sum(shift.base_information(psi, table[b], parts[b]) for b in range(3))

    eps = 1e-6
    slope = (shift.programs(psi + eps) - shift.programs(psi - eps)) / (2 * eps)
    want = (information * slope**2).reshape(3, 6, 2).sum(0)
    torch.testing.assert_close(converted(information), want, rtol=1e-5, atol=1e-8)
    first, second = torch.triu_indices(2, 2)
    pairs = torch.rand(18, 3, generator=torch.Generator().manual_seed(3), dtype=F64)
    want = (pairs * slope[:, first] * slope[:, second]).reshape(3, 6, 3).sum(0)
    torch.testing.assert_close(converted(pairs), want, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", list(LIKELIHOODS))
def test_a_cell_is_scored_with_the_programs_of_its_batch(name):
    likelihood, n_cells = LIKELIHOODS[name], 12
    if likelihood.shares_reads:
        entries, atse, *_ = random_atses(n_cells, 8, 0.8, 30, 0)
        rows = torch.as_tensor(likelihood.program_atse(entries, atse.numpy(), 8))
    else:
        entries, rows = random_entries(n_cells, 8, 0.8, 30, 0), torch.arange(8)
    pooled = likelihood.entries(entries, rows)
    generator = torch.Generator().manual_seed(4)
    batch = torch.randint(3, (n_cells,), generator=generator)
    values = torch.randn(3, len(rows), generator=generator)
    shift = BatchShift(values, rows if likelihood.shares_reads else None)
    psi = torch.rand(len(rows), 2, generator=generator) * 0.8 + 0.1
    if likelihood.shares_reads:
        psi = psi / ops.sum_within_groups(psi, rows)
    phi = torch.distributions.Dirichlet(torch.ones(2)).sample((n_cells,))
    n = likelihood.n_dispersions(len(rows), int(rows.max()) + 1)
    kappa = torch.linspace(5, 40, n) if likelihood.has_concentration else None
    together = ops.split_by_batch(pooled, batch, 3)
    factors = Factors(phi, psi, kappa, shift)
    found = factors.log_likelihood(together)
    counts = factors.expected_counts(together)
    table = shift.programs(psi).reshape(3, len(rows), 2)
    inclusion = torch.zeros(3, len(rows), 2)
    for c in range(n_cells):
        own = Factors(phi[c : c + 1], table[batch[c]], kappa)
        one = pooled.select(torch.tensor([c]))
        assert float(found[c]) == pytest.approx(float(own.log_likelihood(one)), rel=1e-5)
        alone = own.expected_counts(one)
        torch.testing.assert_close(counts.activity[c], alone.activity[0], rtol=1e-4, atol=1e-4)
        inclusion[batch[c]] += alone.inclusion
    assert counts.inclusion.shape == psi.shape
    if kappa is not None:
        assert counts.concentration_grad.shape == kappa.shape
        kappa = kappa.clone().requires_grad_()
        Factors(phi, psi, kappa, shift).log_likelihood(together).sum().backward()
        grad = counts.concentration_grad.float()
        torch.testing.assert_close(grad, kappa.grad, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", list(LIKELIHOODS))
def test_sums_batch_by_batch_are_those_over_one_table(name):
    """Expected counts and log-likelihoods with the programs of all batches as one table."""
    likelihood, n_cells = LIKELIHOODS[name], 40
    if likelihood.shares_reads:
        entries, atse, *_ = random_atses(n_cells, 30, 0.5, 30, 0)
        rows = torch.as_tensor(likelihood.program_atse(entries, atse.numpy(), 30))
    else:
        entries, rows = random_entries(n_cells, 30, 0.5, 30, 0), torch.arange(30)
    pooled = likelihood.entries(entries, rows)
    generator = torch.Generator().manual_seed(5)
    batch = torch.randint(4, (n_cells,), generator=generator)
    values = 1.5 * torch.randn(4, len(rows), generator=generator)
    values[:, ::2] = 0.0
    shift = BatchShift(values, rows if likelihood.shares_reads else None)
    psi = torch.rand(len(rows), 3, generator=generator) * 0.8 + 0.1
    if likelihood.shares_reads:
        psi = psi / ops.sum_within_groups(psi, rows)
    phi = torch.distributions.Dirichlet(torch.ones(3)).sample((n_cells,))
    kappa = torch.tensor(12.0) if likelihood.has_concentration else None
    together = ops.split_by_batch(pooled, batch, 4)
    table = shift.programs(psi)
    dense = ops.expected_counts(together, phi, table, kappa)
    incl, excl = (x.double().reshape(4, -1, 3) for x in (dense.inclusion, dense.exclusion))
    total = incl + excl
    if likelihood.shares_reads:
        total = torch.stack([ops.sum_within_groups(x, rows) for x in incl])
    table = table.double().reshape(total.shape)
    own, spread = psi.double() * (1 - psi), table * (1 - table)
    if likelihood.shares_reads:
        own, *spread = (ops.sum_within_groups(x, rows) for x in (own, *spread))
        spread = torch.stack(spread)
    size = total * (spread + 1e-9) / (own + 1e-9)
    base = (size * psi + incl - total * table).sum(0).clamp(min=0.0)
    factors = Factors(phi, psi, kappa, shift)
    found = factors.expected_counts(together)
    near = {"rtol": 1e-4, "atol": 1e-3, "check_dtype": False}
    if likelihood.shares_reads:
        torch.testing.assert_close(found.inclusion, base, **near)
    else:
        base = torch.minimum(base, size.sum(0))
        torch.testing.assert_close(found.inclusion, base, **near)
        torch.testing.assert_close(found.exclusion, size.sum(0) - base, **near)
    for part in ("log_likelihood", "activity", "concentration_grad"):
        torch.testing.assert_close(getattr(found, part), getattr(dense, part), **near)
    with torch.no_grad():
        alone = factors.log_likelihood(together)
    torch.testing.assert_close(alone, factors.log_likelihood(together), **near)
    torch.testing.assert_close(alone, dense.log_likelihood, **near)


def test_cells_of_each_batch():
    entries = random_entries(20, 7, 0.5, 9, 1)
    kept = torch.ones(entries.n_entries, dtype=torch.bool)
    kept[entries.indptr[3] : entries.indptr[4]] = False
    entries = entries.keep(kept)  # cell 3 has no entry
    batch = torch.tensor([2, 0] * 10)
    split = ops.split_by_batch(entries, batch, 4)
    parts = ops.cells_by_batch(split, 4)
    assert ops.cells_by_batch(split, 4) is parts
    assert [part.batch for part in parts] == [0, 2]
    assert sorted(torch.cat([part.cells for part in parts]).tolist()) == list(range(20))
    for part in parts:
        own = entries.select(part.cells)
        assert (batch[part.cells[own.indptr.diff() > 0]] == part.batch).all()
        assert part.entries.n_junctions == 7
        for name in ("indptr", "column", "count", "total"):
            assert torch.equal(getattr(part.entries, name), getattr(own, name))


def test_columns_of_each_batch():
    entries = random_entries(20, 7, 0.5, 9, 1)
    batch = torch.from_numpy(np.random.default_rng(0).integers(4, size=20))
    found = ops.split_by_batch(entries, batch, 4)
    assert found.n_junctions == 28
    assert torch.equal(found.column % 7, entries.column)
    assert torch.equal(found.column // 7, batch[entries.rows()].int())
    assert torch.equal(found.log_coefficient(), entries.log_coefficient())
    order = found.select(torch.tensor([3, 1]))
    assert torch.equal(order.column // 7, batch[[3, 1]][order.rows()].int())
    with pytest.raises(OverflowError, match="junctions times batches"):
        ops.split_by_batch(entries, batch, 1 << 30)


@KINDS
def test_steps_by_base_counts_do_not_overshoot(atse):
    """PSI is extreme, but not in the batch that has most of the reads."""
    psi = torch.full((6, 1), 0.03, dtype=F64)
    if atse is not None:
        psi[:] = torch.tensor([0.03, 0.97, 0.02, 0.01, 0.97, 1.0])[:, None]
    sign = torch.ones(6) if atse is None else torch.tensor([1, -1, 1, 1, -1, 1]) / 2
    shift = BatchShift(torch.tensor([-2.0, 2.0], dtype=F64)[:, None] * sign, atse)
    reads = torch.tensor([20.0, 400.0], dtype=F64)[:, None, None]
    counts = reads * shift.programs(psi).unflatten(0, (2, 6))
    rest = reads - counts if atse is None else torch.zeros_like(counts)
    optimum, psi = psi, psi + 0.01
    if atse is not None:
        psi = psi / ops.sum_within_groups(psi, atse)
    for _ in range(8):
        tables = [shift.programs_in(b, psi) for b in range(2)]
        parts = [
            shift.base_counts(psi, tables[b], counts[b].clone(), rest[b].clone()) for b in (0, 1)
        ]
        up, down = shift.limited(*(sum(x) for x in zip(*parts, strict=True)))
        psi = up / (up + down if atse is None else ops.sum_within_groups(up, atse))
    torch.testing.assert_close(psi, optimum, rtol=1e-3, atol=1e-3)

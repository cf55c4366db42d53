"""Random entries of both kinds, factors, and float64 references with the size of what they sum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from leafletfa_scvi import ops
from leafletfa_scvi.ops import _reference

F64 = torch.float64


def random_entries(n_cells, n_junctions, density, max_total, seed):
    """Entries with empty cells, y = 0 and y = n among them."""
    rng = np.random.default_rng(seed)
    observed = rng.random((n_cells, n_junctions)) < density
    observed[rng.random(n_cells) < 0.2] = False
    rows, column = observed.nonzero()
    total = rng.integers(1, max_total + 1, len(rows))
    share = rng.choice([0.0, 1.0, 0.5], len(rows))
    count = np.where(share == 0.5, rng.integers(0, total + 1), share * total)
    indptr = np.r_[0, observed.sum(1).cumsum()]
    return ops.ObservedEntries(
        torch.tensor(indptr),
        torch.tensor(column, dtype=torch.int32),
        torch.tensor(count, dtype=torch.float32),
        torch.tensor(total, dtype=torch.float32),
        n_junctions,
    )


def random_atses(n_cells, n_junctions, density, max_count, seed):
    """Entries whose ATSEs of one to four scattered junctions share totals, and those ATSEs.

    Every third ATSE has reads beyond those of its junctions in some cells.
    """
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 5, n_junctions)
    atse = rng.permutation(np.repeat(np.arange(n_junctions), size)[:n_junctions])
    atse = np.unique(atse, return_inverse=True)[1]
    seen = rng.random((n_cells, atse.max() + 1)) < density
    seen[rng.random(n_cells) < 0.2] = False
    count = rng.integers(0, max_count + 1, (n_cells, n_junctions))
    count *= (rng.random(count.shape) < 0.6) & seen[:, atse]
    total = np.zeros(seen.shape, int)
    np.add.at(total.T, atse, count.T)
    total[:, ::3] += rng.integers(0, 3, total[:, ::3].shape) * seen[:, ::3]
    observed = total[:, atse] > 0
    rows, column = observed.nonzero()
    entries = ops.ObservedEntries(
        torch.tensor(np.r_[0, observed.sum(1).cumsum()]),
        torch.tensor(column, dtype=torch.int32),
        torch.tensor(count[rows, column], dtype=torch.float32),
        torch.tensor(total[:, atse][rows, column], dtype=torch.float32),
        n_junctions,
    )
    return entries, torch.tensor(atse)


def random_factors(entries, n_programs, seed, dtype=F64, extreme=False):
    """Activities, and programs that sum to 1 within an ATSE where entries are gathered by it."""
    generator = torch.Generator().manual_seed(seed)
    phi = torch.rand(entries.n_cells, n_programs, generator=generator, dtype=F64) ** 3 + 1e-9
    psi = torch.rand(entries.n_junctions, n_programs, generator=generator, dtype=F64)
    if extreme:
        psi = psi.round()
    if isinstance(entries, ops.MultinomialEntries):
        whole = torch.zeros(entries.n_atses, n_programs, dtype=F64)
        whole.index_add_(0, entries.atse, psi)
        psi = psi / whole.clamp(min=1e-9)[entries.atse]
    return (phi / phi.sum(1, keepdim=True)).to(dtype), psi.to(dtype)


@dataclass
class Reference:
    """Float64 values and gradients, and the sums of the absolute values of their terms."""

    value: torch.Tensor
    gradients: list[torch.Tensor]
    value_size: torch.Tensor
    gradient_sizes: list[torch.Tensor]


def reference(entries, phi, psi, kappa, weight):
    """Value per cell, gradients of their weighted sum, and how large their terms are."""
    leaves = [phi.double().requires_grad_(), psi.double().requires_grad_()]
    if kappa is not None:
        leaves.append(kappa.double().requires_grad_())
    at = leaves[2] if kappa is not None else None
    value = _reference.log_likelihood(entries, *leaves[:2], at)
    gradients = torch.autograd.grad((value * weight).sum(), leaves)
    with torch.no_grad():
        scored = entries.scored
        shared = isinstance(entries, ops.MultinomialEntries)
        rows, column = scored.rows(), scored.column.long()
        p, q = _reference.entry_probability(entries, *leaves[:2])
        rate1, rate0 = (abs(g) for g in _reference.table_rates(entries, p, q, at))
        # q = 1 - p is rounded to a unit in the last place of 1, not of q.
        g = rate1 + rate0 / q
        f, s = leaves[0][rows], leaves[1][column]
        total = scored.total.double()
        sizes = [
            torch.zeros_like(leaves[0]).index_add_(0, rows, g[:, None] * s) * abs(weight)[:, None],
            torch.zeros_like(leaves[1]).index_add_(
                0, column, (g * abs(weight)[rows])[:, None] * f
            ),
        ]
        value_size = torch.zeros(entries.n_cells, dtype=F64)
        value_size.index_add_(0, rows, total + rate1 * p + rate0)
        if kappa is not None:
            k = at[column] if at.ndim and not shared else at
            k = at[entries.atse][column] if at.ndim and shared else k
            each = (rate1 * p + rate0) / k + torch.digamma(k + total) - torch.digamma(k)
            each = each * abs(weight)[rows]
            size = torch.zeros_like(at)
            where = entries.atse[column] if shared else column
            sizes.append(size.index_add_(0, where, each) if at.ndim else each.sum())
    return Reference(value.detach(), list(gradients), value_size + abs(value.detach()), sizes)

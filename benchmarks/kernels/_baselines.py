"""What a user of PyTorch would write without this package, in float32 with autograd."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from leafletfa_scvi import ops
from leafletfa_scvi.ops import MISASSIGNMENT_RATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks._entries import Problem

_MATRICES = 24
"""Arrays of cells x junctions that autograd keeps alive in the dense way, about."""


def gathers(
    given: Problem, memory: int, with_gradient: bool = True
) -> tuple[Callable[[], object], int]:
    """Rows of phi and psi gathered for every entry, in blocks of cells that fit ``memory``.

    Returns
    -------
    call
        Computes the log-likelihood and, ``with_gradient``, adds up the gradients of phi, psi and
        kappa over the blocks.
    block
        Entries in a block.
    """
    scored = given.entries
    if isinstance(scored, ops.MultinomialEntries):
        scored = scored.reads
    # Two gathered rows and their product, their gradients, and some thirty values per entry.
    per_entry = (8 * given.phi.shape[1] + 60) * 4
    limit = max(memory // per_entry, 1)
    blocks = [
        (cells, part.rows(), part.column.long(), part.count.float(), part.total.float())
        for cells, part in scored.blocks(limit)
    ]
    terms = _totals(given)

    def call() -> object:
        phi, psi, kappa = _leaves(given, with_gradient)
        value = 0.0
        for cells, rows, columns, y, n in blocks:
            with torch.set_grad_enabled(with_gradient):
                p = (phi[cells][rows] * psi[columns]).sum(-1)
                total = _of_entries(given, p, y, n, kappa).sum()
                if with_gradient:
                    total.backward()
            value += float(total.detach())
        if terms is not None and kappa is not None:
            with torch.set_grad_enabled(with_gradient):
                total = (torch.lgamma(kappa) - torch.lgamma(kappa + terms)).sum()
                if with_gradient:
                    total.backward()
            value += float(total.detach())
        return value, phi.grad, psi.grad, None if kappa is None else kappa.grad

    return call, min(limit, scored.n_entries)


def dense(given: Problem, memory: int) -> Callable[[], object] | None:
    """``phi @ psi.T`` and the likelihood of all pairs, masked; None where it does not fit."""
    scored = given.entries
    if isinstance(scored, ops.MultinomialEntries):
        scored = scored.reads
    shape = (scored.n_cells, scored.n_junctions)
    if shape[0] * shape[1] * 4 * _MATRICES > memory:
        return None
    y, n = torch.zeros(2, *shape, device=scored.device)
    at = scored.rows(), scored.column.long()
    y[at], n[at] = scored.count.float(), scored.total.float()
    mask = torch.zeros(shape, dtype=torch.bool, device=scored.device)
    mask[at] = True
    terms = _totals(given)

    def call() -> object:
        phi, psi, kappa = _leaves(given, True)
        value = (_of_entries(given, phi @ psi.T, y, n, kappa) * mask).sum()
        if terms is not None and kappa is not None:
            value = value + (torch.lgamma(kappa) - torch.lgamma(kappa + terms)).sum()
        value.backward()
        return value, phi.grad, psi.grad

    return call


def _leaves(given: Problem, with_gradient: bool) -> Iterator[torch.Tensor | None]:
    for x in (given.phi, given.psi, given.concentration):
        yield None if x is None else x.detach().clone().requires_grad_(with_gradient)


def _totals(given: Problem) -> torch.Tensor | None:
    """Totals of the (cell, ATSE) pairs, whose terms are not those of entries."""
    entries = given.entries
    if isinstance(entries, ops.MultinomialEntries) and given.concentration is not None:
        return entries.totals.total.float()
    return None


def _of_entries(
    given: Problem,
    mean: torch.Tensor,
    y: torch.Tensor,
    n: torch.Tensor,
    kappa: torch.Tensor | None,
) -> torch.Tensor:
    """Log-likelihood of each entry without terms that do not depend on the parameters."""
    p = MISASSIGNMENT_RATE + (1.0 - 2.0 * MISASSIGNMENT_RATE) * mean
    shared = isinstance(given.entries, ops.MultinomialEntries)
    if kappa is None:
        value = y * p.log()
        return value if shared else value + (n - y) * (1.0 - p).log()
    a = kappa * p
    value = torch.lgamma(y + a) - torch.lgamma(a)
    if shared:
        return value
    b = kappa - a
    whole = torch.lgamma(kappa) - torch.lgamma(kappa + n)
    return value + torch.lgamma(n - y + b) - torch.lgamma(b) + whole

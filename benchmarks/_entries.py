"""Random observed entries with ATSEs, for benchmarks."""

from __future__ import annotations

from typing import NamedTuple

import torch

from leafletfa_scvi import ops
from leafletfa_scvi.ops._entries import smallest_int_dtype

ATSE_SIZE = 4
MAX_TOTAL = 30
CONCENTRATION = 5.0

LIKELIHOODS = ("beta-binomial", "binomial", "dirichlet-multinomial", "multinomial")


class Size(NamedTuple):
    """Cells, junctions and the share of (cell, ATSE) pairs observed."""

    cells: int
    junctions: int
    coverage: float = 0.1


SIZES = {
    "1M": Size(2_000, 5_000),
    "4M": Size(4_000, 10_000),
    "10M": Size(20_000, 50_000, 0.01),
    "20M": Size(10_000, 20_000),
    "40M": Size(20_000, 20_000),
    "45M": Size(15_000, 30_000),
    "100M": Size(200_000, 50_000, 0.01),
}


class Problem(NamedTuple):
    """Arguments of a likelihood call.

    Attributes
    ----------
    entries
        Observed entries, or the same ATSE by ATSE.
    phi, psi
        ``(B, K)`` activities and ``(P, K)`` programs, float32.
    concentration
        Scalar kappa, or None.
    n_observed
        Number of observed entries, also where only those with reads are scored.
    """

    entries: ops.ObservedEntries | ops.MultinomialEntries
    phi: torch.Tensor
    psi: torch.Tensor
    concentration: torch.Tensor | None
    n_observed: int

    def to(self, device: torch.device | str) -> Problem:
        """The same on ``device``."""
        kappa = self.concentration
        return Problem(
            self.entries.to(device),
            self.phi.to(device),
            self.psi.to(device),
            None if kappa is None else kappa.to(device),
            self.n_observed,
        )

    def input_bytes(self) -> int:
        """Bytes of entries, phi and psi."""
        parts = [self.phi, self.psi]
        entries = self.entries
        blocks = [entries]
        if isinstance(entries, ops.MultinomialEntries):
            blocks, parts = [entries.reads, entries.totals], [*parts, entries.atse]
        for b in blocks:
            parts += [b.indptr, b.column, b.count, b.total]
        return sum(x.numel() * x.element_size() for x in parts)


def random_entries(
    n_cells: int, n_junctions: int, coverage: float, max_total: int = MAX_TOTAL, seed: int = 0
) -> ops.ObservedEntries:
    """ATSEs of four adjacent junctions, each observed in a cell with probability ``coverage``.

    Totals are 1 to ``max_total`` reads alike, shared among the junctions in unequal parts, so that
    many counts are 0; counts of an ATSE sum to its total. Written block by block to their place:
    temporaries are bounded.
    """
    generator = torch.Generator().manual_seed(seed)
    n_atses = n_junctions // ATSE_SIZE
    expected = n_cells * n_atses * coverage  # ten standard deviations are not exceeded
    capacity = int(expected + 10 * expected**0.5 + 10) * ATSE_SIZE
    column = torch.empty(capacity, dtype=torch.int32)
    count, totals = torch.empty(2, capacity, dtype=smallest_int_dtype(max_total))
    indptr = torch.zeros(n_cells + 1, dtype=torch.int64)
    within = torch.arange(ATSE_SIZE, dtype=torch.int32)
    step = max(1, 4_000_000 // n_atses)
    end = 0
    for first in range(0, n_cells, step):
        shape = (min(step, n_cells - first), n_atses)
        seen = torch.rand(shape, generator=generator) < coverage
        indptr[first + 1 : first + 1 + shape[0]] = seen.sum(1) * ATSE_SIZE
        atse = seen.nonzero()[:, 1].to(torch.int32)
        total = torch.randint(1, max_total + 1, (len(atse), 1), generator=generator)
        share = torch.rand((len(atse), ATSE_SIZE), generator=generator) ** 4
        edge = (share.cumsum(1) / share.sum(1, keepdim=True) * total).round().to(total.dtype)
        edge[:, -1:] = total
        new = slice(end, end + len(atse) * ATSE_SIZE)
        column[new] = (atse[:, None] * ATSE_SIZE + within).reshape(-1)
        count[new] = edge.diff(dim=1, prepend=torch.zeros_like(total)).reshape(-1)
        totals[new] = total.expand_as(edge).reshape(-1)
        end = new.stop
    return ops.ObservedEntries(
        indptr.cumsum(0), column[:end], count[:end], totals[:end], n_junctions
    )


def atse_of(n_junctions: int) -> torch.Tensor:
    """ATSE of each junction, ``(P,)`` int64."""
    return torch.arange(n_junctions) // ATSE_SIZE


def problem(
    entries: ops.ObservedEntries,
    n_programs: int,
    likelihood: str,
    concentration: float | torch.Tensor = CONCENTRATION,
    seed: int = 0,
) -> Problem:
    """Random activities and programs for some entries, under one of ``LIKELIHOODS``."""
    generator = torch.Generator().manual_seed(seed)
    phi = torch.rand(entries.n_cells, n_programs, generator=generator) ** 3 + 1e-6
    psi = torch.rand(entries.n_junctions, n_programs, generator=generator)
    n_observed = entries.n_entries
    arranged: ops.ObservedEntries | ops.MultinomialEntries = entries
    if likelihood.endswith("multinomial"):
        arranged = ops.multinomial_entries(entries, atse_of(entries.n_junctions))
        extra = arranged.n_junctions - entries.n_junctions
        psi = torch.cat([psi, torch.rand(extra, n_programs, generator=generator)])
        whole = torch.zeros(arranged.n_atses, n_programs).index_add_(0, arranged.atse, psi)
        psi = psi / whole[arranged.atse]
    arranged.log_coefficient()
    kappa = torch.as_tensor(concentration, dtype=torch.float32)
    has_kappa = likelihood in ("beta-binomial", "dirichlet-multinomial")
    return Problem(
        arranged, phi / phi.sum(1, keepdim=True), psi, kappa if has_kappa else None, n_observed
    )

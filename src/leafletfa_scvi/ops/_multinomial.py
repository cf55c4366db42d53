"""Reads of a splicing data set ATSE by ATSE, as the Dirichlet-multinomial takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from leafletfa_scvi.ops._entries import _BLOCK, ObservedEntries

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class MultinomialEntries:
    """Junctions with reads, and the ATSE totals that those reads are shares of.

    Where the total of an ATSE exceeds the reads of its junctions, the rest belongs to an implicit
    further junction: a column after those of the data set.

    Attributes
    ----------
    reads
        Entries with a junction count above zero, over P junctions and R implicit ones. Within a
        cell and ATSE the counts sum to the total.
    totals
        The observed (cell, ATSE) pairs: a column is an ATSE, ``count`` and ``total`` its total.
    atse
        ``(P + R,)`` int64, 0-based ATSE of each column of ``reads``.
    """

    reads: ObservedEntries
    totals: ObservedEntries
    atse: torch.Tensor

    @property
    def n_cells(self) -> int:
        """Number of cells B."""
        return self.reads.n_cells

    @property
    def n_entries(self) -> int:
        """Number of junctions with reads, over all cells."""
        return self.reads.n_entries

    @property
    def n_junctions(self) -> int:
        """Number of columns P + R, implicit junctions included."""
        return self.reads.n_junctions

    @property
    def n_atses(self) -> int:
        """Number of ATSEs."""
        return self.totals.n_junctions

    @property
    def device(self) -> torch.device:
        """Device of the tensors."""
        return self.reads.device

    @property
    def scored(self) -> ObservedEntries:
        """Entries that kernels score: junctions with reads."""
        return self.reads

    @property
    def observed(self) -> ObservedEntries:
        """Observed pairs, one for each cell and concentration: those of cell and ATSE."""
        return self.totals

    def rows(self) -> torch.Tensor:
        """Cell of each entry of ``reads``, int64."""
        return self.reads.rows()

    def to(self, device: torch.device | str, non_blocking: bool = False) -> MultinomialEntries:
        """The same entries on ``device``; itself where they already are there."""
        if torch.device(device) == self.device:
            return self
        return MultinomialEntries(
            self.reads.to(device, non_blocking),
            self.totals.to(device, non_blocking),
            self.atse.to(device, non_blocking=non_blocking),
        )

    def log_coefficient(self) -> torch.Tensor:
        """Sum of log multinomial coefficients, log n! - sum log y!, of each cell, ``(B,)``."""
        return self.totals.log_factorial() - self.reads.log_factorial()

    def nbytes(self) -> int:
        """Bytes of the arrays."""
        own = self.atse.numel() * self.atse.element_size()
        return self.reads.nbytes() + self.totals.nbytes() + own

    def select(self, cells: torch.Tensor) -> MultinomialEntries:
        """Entries of the given cells, ``(B',)`` integer positions, in the given order."""
        return MultinomialEntries(self.reads.select(cells), self.totals.select(cells), self.atse)

    def blocks(self, max_entries: int = _BLOCK) -> Iterator[tuple[slice, MultinomialEntries]]:
        """Consecutive cells with at most ``max_entries`` of ``reads`` (or one cell), as views.

        Yields
        ------
        The cells as a slice, and their entries.
        """
        for cells, reads in self.reads.blocks(max_entries):
            yield cells, MultinomialEntries(reads, self.totals.slice_cells(cells), self.atse)


def implicit_junctions(entries: ObservedEntries, atse: torch.Tensor) -> torch.Tensor:
    """ATSEs whose total exceeds the reads of their junctions in some cell.

    Parameters
    ----------
    entries
        Observed entries of B cells and P junctions.
    atse
        ``(P,)`` 0-based ATSE of each junction.

    Returns
    -------
    Their numbers, int64, ascending.
    """
    found = [torch.zeros(0, dtype=torch.int64, device=entries.device)]
    n_atses = _n_atses(atse)
    for _, block in entries.blocks(_BLOCK):
        pair, _, rest, _ = _pairs(block, atse, n_atses)
        found.append((pair[rest > 0] % n_atses).unique())
    return torch.cat(found).unique()


def multinomial_entries(
    entries: ObservedEntries,
    atse: torch.Tensor,
    implicit: torch.Tensor | None = None,
    surplus: Literal["raise", "drop"] = "raise",
) -> MultinomialEntries:
    """Gather observed entries by ATSE.

    Parameters
    ----------
    entries
        Observed entries of B cells and P junctions; an ATSE observed in a cell has the same total
        at all its junctions there.
    atse
        ``(P,)`` whole numbers, 0-based ATSE of each junction.
    implicit
        ATSEs that get an implicit further junction, ascending; those that need one in ``entries``
        where None (:func:`implicit_junctions`). Column ``P + i`` is that of ``implicit[i]``.
    surplus
        What to do where a total is not the reads of its junctions and there is no implicit one to
        take the rest: ``"drop"`` the surplus, the total becoming what the junctions have, or
        ``"raise"``. Reads of junctions that a reference lacks are dropped in this way.

    Raises
    ------
    ValueError
        There is not one ATSE for each junction, or an ATSE that is not among ``implicit`` has
        more reads in a cell than its junctions.
    """
    if atse.shape != (entries.n_junctions,):
        raise ValueError(
            f"atse has shape {tuple(atse.shape)}: expected ({entries.n_junctions},), one ATSE "
            "for each junction."
        )
    atse = atse.to(entries.device, torch.int64)
    n_atses = _n_atses(atse)
    implicit = implicit_junctions(entries, atse) if implicit is None else implicit.to(atse)
    extra = torch.full((n_atses,), -1, dtype=torch.int64, device=atse.device)
    extra[implicit] = entries.n_junctions + torch.arange(len(implicit), device=atse.device)
    n_columns = entries.n_junctions + len(implicit)
    reads, totals = [], []
    for cells, block in entries.blocks(_BLOCK):
        pair, total, rest, of = _pairs(block, atse, n_atses)
        if surplus == "drop":
            lost = torch.where(extra[pair % n_atses] < 0, rest, rest.clamp(max=0))
            total, rest = total - lost, rest - lost
        some = total > 0
        totals.append(_csr(pair[some], total[some], total[some], block.n_cells, n_atses))
        left = rest > 0
        added = extra[pair[left] % n_atses]
        if len(added) and int(added.min()) < 0:
            at = int(torch.nonzero(left)[int(added.argmin())])
            raise ValueError(
                f"Cell {cells.start + int(pair[at]) // n_atses} has {int(total[at])} reads in "
                f"ATSE {int(pair[at]) % n_atses}, {int(rest[at])} more than its junctions: name "
                "the ATSE among the implicit junctions, or mend the totals."
            )
        some = block.count > 0
        key = torch.cat([
            block.rows()[some] * n_columns + block.column[some],
            pair[left] // n_atses * n_columns + added,
        ])  # fmt: skip
        count = torch.cat([block.count[some].to(rest.dtype), rest[left]])
        of_pair = torch.cat([total[of[some]], total[left]])
        key, order = key.sort()
        reads.append(_csr(key, count[order], of_pair[order], block.n_cells, n_columns))
    return MultinomialEntries(
        ObservedEntries.join(reads, n_columns, device=entries.device),
        ObservedEntries.join(totals, n_atses, device=entries.device),
        torch.cat([atse, implicit]),
    )


def _n_atses(atse: torch.Tensor) -> int:
    return int(atse.max()) + 1 if len(atse) else 0


def _pairs(
    block: ObservedEntries, atse: torch.Tensor, n_atses: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Observed (cell, ATSE) pairs as ``cell * n_atses + atse``, their totals and reads left.

    And the pair of each entry.
    """
    atse = atse.to(block.device, torch.int64)
    key = block.rows() * n_atses + atse[block.column.long()]
    pair, where = key.unique(return_inverse=True)
    total = torch.zeros_like(pair).scatter_(0, where, block.total.long())
    rest = total - torch.zeros_like(pair).scatter_add_(0, where, block.count.long())
    return pair, total, rest, where


def _csr(
    key: torch.Tensor, count: torch.Tensor, total: torch.Tensor, n_cells: int, n_columns: int
) -> ObservedEntries:
    """Entries from ascending keys ``cell * n_columns + column``."""
    edges = torch.arange(n_cells + 1, device=key.device) * n_columns
    column = (key % max(n_columns, 1)).to(torch.int32)
    indptr = torch.searchsorted(key, edges)
    return ObservedEntries(indptr, column, count, total, n_columns).narrowed()

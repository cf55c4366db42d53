"""Reads of a splicing data set ATSE by ATSE, as the Dirichlet-multinomial takes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

from leafletfa_scvi.ops._entries import _BLOCK, ObservedEntries

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class MultinomialEntries:
    """Junctions with reads, and the ATSE totals that those reads are shares of.

    If the total of an ATSE exceeds the reads of its junctions, the surplus belongs to an implicit
    junction: a column after those of the data set.

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
        """Observed pairs of cell and concentration: those of cell and ATSE."""
        return self.totals

    def cell_by_cell(self) -> MultinomialEntries:
        """Return the same reads; see :meth:`ObservedEntries.cell_by_cell`."""
        return replace(self, reads=self.reads.cell_by_cell())

    def rows(self) -> torch.Tensor:
        """Return the cell of each entry of ``reads``, int64."""
        return self.reads.rows()

    def to(self, device: torch.device | str, non_blocking: bool = False) -> MultinomialEntries:
        """Return the entries on ``device``; the same object if they are already on it."""
        if torch.device(device) == self.device:
            return self
        return MultinomialEntries(
            self.reads.to(device, non_blocking),
            self.totals.to(device, non_blocking),
            self.atse.to(device, non_blocking=non_blocking),
        )

    def log_coefficient(self) -> torch.Tensor:
        """Sum the log multinomial coefficients, log n! - sum log y!, of each cell, ``(B,)``."""
        return self.totals.log_factorial() - self.reads.log_factorial()

    def nbytes(self) -> int:
        """Return the number of bytes of the arrays."""
        labels = self.atse.numel() * self.atse.element_size()
        return self.reads.nbytes() + self.totals.nbytes() + labels

    def select(self, cells: torch.Tensor) -> MultinomialEntries:
        """Select entries of the given cells, ``(B',)`` integer positions, in the given order."""
        return MultinomialEntries(self.reads.select(cells), self.totals.select(cells), self.atse)

    def blocks(self, max_entries: int = _BLOCK) -> Iterator[tuple[slice, MultinomialEntries]]:
        """Split into consecutive cells with at most ``max_entries`` of ``reads`` (or one cell).

        Yields
        ------
        The cells as a slice, and their entries.
        """
        for cells, reads in self.reads.blocks(max_entries):
            yield cells, MultinomialEntries(reads, self.totals.slice_cells(cells), self.atse)


def implicit_junctions(entries: ObservedEntries, atse: torch.Tensor) -> torch.Tensor:
    """Find ATSEs whose total exceeds the reads of their junctions in any cell.

    Parameters
    ----------
    entries
        Observed entries of B cells and P junctions.
    atse
        ``(P,)`` 0-based ATSE of each junction.

    Returns
    -------
    Numbers of these ATSEs, int64, ascending.
    """
    implicit = [torch.zeros(0, dtype=torch.int64, device=entries.device)]
    n_atses = _n_atses(atse)
    for _, block in entries.blocks(_BLOCK):
        pairs = _pairs(block, atse, n_atses)
        implicit.append((pairs.key[pairs.excess > 0] % n_atses).unique())
    return torch.cat(implicit).unique()


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
        at all its junctions.
    atse
        ``(P,)`` whole numbers, 0-based ATSE of each junction.
    implicit
        ATSEs that get an implicit junction, ascending; column ``P + i`` is that of
        ``implicit[i]``. If None, those of :func:`implicit_junctions`.
    surplus
        How to treat a total that exceeds the reads of its junctions in an ATSE without an
        implicit junction. ``"drop"`` reduces the total to these reads, as for reads of junctions
        that a reference lacks; ``"raise"`` raises an error.

    Raises
    ------
    ValueError
        ``atse`` does not have one value per junction, or an ATSE that is not among ``implicit``
        has more reads in a cell than its junctions.
    """
    if atse.shape != (entries.n_junctions,):
        raise ValueError(
            f"atse has shape {tuple(atse.shape)}: expected ({entries.n_junctions},), one ATSE "
            "for each junction."
        )
    atse = atse.to(entries.device, torch.int64)
    n_atses = _n_atses(atse)
    implicit = implicit_junctions(entries, atse) if implicit is None else implicit.to(atse)
    # Column of the implicit junction of each ATSE, -1 if it has none.
    implicit_column = torch.full((n_atses,), -1, dtype=torch.int64, device=atse.device)
    implicit_column[implicit] = entries.n_junctions + torch.arange(
        len(implicit), device=atse.device
    )
    n_columns = entries.n_junctions + len(implicit)
    reads, totals = [], []
    for cells, block in entries.blocks(_BLOCK):
        pair, total, excess, pair_of_entry = _pairs(block, atse, n_atses)
        if surplus == "drop":
            # Fewer reads than those of the junctions (a negative excess) are corrected as well.
            without = implicit_column[pair % n_atses] < 0
            dropped = torch.where(without, excess, excess.clamp(max=0))
            total, excess = total - dropped, excess - dropped
        observed = total > 0
        totals.append(
            _csr(pair[observed], total[observed], total[observed], block.n_cells, n_atses)
        )
        # What is left of a total goes to the implicit junction of its ATSE.
        has_excess = excess > 0
        added_column = implicit_column[pair[has_excess] % n_atses]
        if len(added_column) and int(added_column.min()) < 0:
            i = int(torch.nonzero(has_excess)[int(added_column.argmin())])
            raise ValueError(
                f"Cell {cells.start + int(pair[i]) // n_atses} has {int(total[i])} reads in "
                f"ATSE {int(pair[i]) % n_atses}, {int(excess[i])} more than its junctions: name "
                "the ATSE among the implicit junctions, or correct the totals."
            )
        has_reads = block.count > 0
        key = torch.cat([
            block.rows()[has_reads] * n_columns + block.column[has_reads],
            pair[has_excess] // n_atses * n_columns + added_column,
        ])  # fmt: skip
        count = torch.cat([block.count[has_reads].to(excess.dtype), excess[has_excess]])
        total = torch.cat([total[pair_of_entry[has_reads]], total[has_excess]])
        # Implicit junctions come after the others, so entries of a cell have to be sorted again.
        key, order = key.sort()
        reads.append(_csr(key, count[order], total[order], block.n_cells, n_columns))
    return MultinomialEntries(
        ObservedEntries.join(reads, n_columns, device=entries.device),
        ObservedEntries.join(totals, n_atses, device=entries.device),
        torch.cat([atse, implicit]),
    )


def _n_atses(atse: torch.Tensor) -> int:
    return int(atse.max()) + 1 if len(atse) else 0


class _Pairs(NamedTuple):
    """Observed (cell, ATSE) pairs of a block.

    Attributes
    ----------
    key
        ``cell * n_atses + atse``, ascending.
    total
        ATSE total.
    excess
        ATSE total less the reads of the junctions.
    of_entry
        ``(nnz,)`` position of the pair of each entry.
    """

    key: torch.Tensor
    total: torch.Tensor
    excess: torch.Tensor
    of_entry: torch.Tensor


def _pairs(block: ObservedEntries, atse: torch.Tensor, n_atses: int) -> _Pairs:
    """Gather the entries of a block by cell and ATSE."""
    atse = atse.to(block.device, torch.int64)
    key = block.rows() * n_atses + atse[block.column.long()]
    pair, of_entry = key.unique(return_inverse=True)
    total = torch.zeros_like(pair).scatter_(0, of_entry, block.total.long())
    reads = torch.zeros_like(pair).scatter_add_(0, of_entry, block.count.long())
    return _Pairs(pair, total, total - reads, of_entry)


def _csr(
    key: torch.Tensor, count: torch.Tensor, total: torch.Tensor, n_cells: int, n_columns: int
) -> ObservedEntries:
    """Make entries from ascending keys ``cell * n_columns + column``."""
    # Keys of a cell lie between its edge and the next: a search gives the row pointers.
    edges = torch.arange(n_cells + 1, device=key.device) * n_columns
    column = (key % max(n_columns, 1)).to(torch.int32)
    indptr = torch.searchsorted(key, edges)
    return ObservedEntries(indptr, column, count, total, n_columns).narrowed()

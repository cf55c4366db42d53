"""Observed entries of a splicing data set as one CSR block of torch tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 1 << 22
"""Entries handled at a time where float64 temporaries are made."""


@dataclass(frozen=True)
class ObservedEntries:
    """The (cell, junction) pairs with an ATSE total above zero, row by row (CSR).

    Entries with a junction count of zero are part of it: they are evidence against the junction.

    Attributes
    ----------
    indptr
        ``(B + 1,)`` int64; entries of cell ``c`` are ``indptr[c]:indptr[c + 1]``.
    column
        ``(nnz,)`` int32, 0-based junction of each entry, ascending within a cell.
    count
        ``(nnz,)`` float32 or int32, junction counts y, whole numbers with 0 <= y <= n.
    total
        ``(nnz,)`` same dtype as ``count``, ATSE totals n > 0.
    n_junctions
        Number of junctions P, the columns of the data set.
    """

    indptr: torch.Tensor
    column: torch.Tensor
    count: torch.Tensor
    total: torch.Tensor
    n_junctions: int
    _log_coefficient: torch.Tensor | None = field(default=None, repr=False, compare=False)

    @property
    def n_cells(self) -> int:
        """Number of cells B."""
        return self.indptr.shape[0] - 1

    @property
    def n_entries(self) -> int:
        """Number of observed entries."""
        return self.column.shape[0]

    @property
    def device(self) -> torch.device:
        """Device of the tensors."""
        return self.indptr.device

    def rows(self) -> torch.Tensor:
        """Cell of each entry, ``(nnz,)`` int64."""
        return torch.repeat_interleave(
            torch.arange(self.n_cells, device=self.device), self.indptr.diff()
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ObservedEntries:
        """The same entries on ``device``; itself where they already are there."""
        if torch.device(device) == self.device:
            return self
        names = ("indptr", "column", "count", "total")
        moved = {k: getattr(self, k).to(device, non_blocking=non_blocking) for k in names}
        coefficient = self._log_coefficient
        if coefficient is not None:
            coefficient = coefficient.to(device, non_blocking=non_blocking)
        return ObservedEntries(**moved, n_junctions=self.n_junctions, _log_coefficient=coefficient)

    def log_coefficient(self) -> torch.Tensor:
        """Sum of log binomial coefficients log C(n, y) of each cell, ``(B,)`` float64.

        Computed at the first call and kept, for this block and those selected from it.
        """
        if self._log_coefficient is None:
            out = torch.zeros(self.n_cells, dtype=torch.float64, device=self.device)
            largest = int(self.total.max()) if self.n_entries else 0
            rows = self.rows()
            steps = torch.arange(largest + 2, dtype=torch.float64, device=self.device)
            log_factorial = torch.lgamma(steps + 1.0)
            for i in range(0, self.n_entries, _BLOCK):
                y, n = self.count[i : i + _BLOCK].long(), self.total[i : i + _BLOCK].long()
                value = log_factorial[n] - log_factorial[y] - log_factorial[n - y]
                out.index_add_(0, rows[i : i + _BLOCK], value)
            object.__setattr__(self, "_log_coefficient", out)
        assert self._log_coefficient is not None
        return self._log_coefficient

    def select(self, cells: torch.Tensor) -> ObservedEntries:
        """Entries of the given cells, in the given order.

        Parameters
        ----------
        cells
            ``(B',)`` integer positions of cells, repeats allowed.
        """
        cells = cells.to(self.device, torch.int64)
        start, length = self.indptr[cells], self.indptr.diff()[cells]
        indptr = torch.zeros(cells.shape[0] + 1, dtype=torch.int64, device=self.device)
        torch.cumsum(length, 0, out=indptr[1:])
        shift = torch.repeat_interleave(start - indptr[:-1], length)
        take = shift + torch.arange(int(indptr[-1]), device=self.device)
        coefficient = self._log_coefficient
        return ObservedEntries(
            indptr,
            self.column[take],
            self.count[take],
            self.total[take],
            self.n_junctions,
            None if coefficient is None else coefficient[cells],
        )

    def keep(self, mask: torch.Tensor) -> ObservedEntries:
        """The entries where ``mask`` (``(nnz,)`` bool) is true; cells stay, maybe empty."""
        running = torch.zeros(self.n_entries + 1, dtype=torch.int64, device=self.device)
        torch.cumsum(mask, 0, out=running[1:])
        return ObservedEntries(
            running[self.indptr],
            self.column[mask],
            self.count[mask],
            self.total[mask],
            self.n_junctions,
        )

    def blocks(self, max_entries: int = _BLOCK) -> Iterator[tuple[slice, ObservedEntries]]:
        """Consecutive cells with at most ``max_entries`` entries (or one cell), as views.

        Yields
        ------
        The cells as a slice, and their entries.
        """
        start = 0
        while start < self.n_cells:
            goal = int(self.indptr[start]) + max_entries
            stop = int(torch.searchsorted(self.indptr, goal, right=True)) - 1
            stop = min(max(stop, start + 1), self.n_cells)
            first, last = int(self.indptr[start]), int(self.indptr[stop])
            coefficient = self._log_coefficient
            yield (
                slice(start, stop),
                ObservedEntries(
                    self.indptr[start : stop + 1] - first,
                    self.column[first:last],
                    self.count[first:last],
                    self.total[first:last],
                    self.n_junctions,
                    None if coefficient is None else coefficient[start:stop],
                ),
            )
            start = stop

"""Observed entries of a splicing data set as one CSR block of torch tensors."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_BLOCK = 1 << 20
"""Number of entries in a block for which float64 temporary arrays are formed."""


class ColumnOrder(NamedTuple):
    """Entries column by column (CSC).

    Attributes
    ----------
    indptr
        ``(P + 1,)`` int64; entries of column j are ``indptr[j]:indptr[j + 1]`` in this order.
    row
        ``(nnz,)`` int32, cell of each entry, ascending within a column.
    order
        ``(nnz,)`` position of each entry in the order by row; int32 if possible, otherwise int64.
    """

    indptr: torch.Tensor
    row: torch.Tensor
    order: torch.Tensor


@dataclass(frozen=True)
class ObservedEntries:
    """Pairs (cell, junction) with an ATSE total above zero, row by row (CSR).

    Entries with a junction count of zero are included, as they count against the junction.

    Attributes
    ----------
    indptr
        ``(B + 1,)`` int64; entries of cell ``c`` are ``indptr[c]:indptr[c + 1]``.
    column
        ``(nnz,)`` int32, 0-based junction of each entry, ascending within a cell.
    count
        ``(nnz,)`` uint8, int16, int32 or float32, junction counts y, whole numbers, 0 <= y <= n.
    total
        ``(nnz,)`` same dtype as ``count``, ATSE totals n > 0, below 2**24.
    n_junctions
        Number of junctions P, the columns of the data set.
    batch
        ``(B,)`` int64, 0-based batch of each cell; None without batches.
    apart
        Whether the kernel on the CPU adds up each cell apart: see :meth:`cell_by_cell`.
    """

    indptr: torch.Tensor
    column: torch.Tensor
    count: torch.Tensor
    total: torch.Tensor
    n_junctions: int
    batch: torch.Tensor | None = field(default=None, kw_only=True)
    apart: bool = field(default=False, kw_only=True)
    _cache: dict[str, torch.Tensor] = field(default_factory=dict, repr=False, compare=False)
    _derived: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

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

    @property
    def scored(self) -> ObservedEntries:
        """Entries that kernels score: all of them."""
        return self

    @property
    def observed(self) -> ObservedEntries:
        """Observed pairs of cell and concentration: the entries themselves."""
        return self

    def cell_by_cell(self) -> ObservedEntries:
        """Return the same entries, for sums of a cell that the other cells do not change.

        On the CPU, log-likelihoods and gradients of a cell are then bitwise the same in any block
        of cells. It takes longer if cells have fewer entries than some hundreds.
        """
        return replace(self, apart=True)

    def rows(self) -> torch.Tensor:
        """Return the cell of each entry, ``(nnz,)`` int64."""
        return torch.repeat_interleave(
            torch.arange(self.n_cells, device=self.device), self.indptr.diff()
        )

    def derived(self, name: str, make: Callable[[], T]) -> T:
        """Return the result of ``make``, computed once for this block of entries."""
        if name not in self._derived:
            self._derived[name] = make()
        return self._derived[name]

    def by_column(self) -> ColumnOrder:
        """Return the order of the entries by column, sorted at the first call and cached."""

        def make() -> ColumnOrder:
            column, order = self.column.sort(stable=True)
            edges = torch.arange(self.n_junctions + 1, dtype=torch.int32, device=self.device)
            indptr = torch.searchsorted(column, edges)
            row = self.rows().to(torch.int32)[order]
            return ColumnOrder(
                indptr, row, order.to(torch.int32) if len(order) < 1 << 31 else order
            )

        return self.derived("by_column", make)

    def max_total(self) -> int:
        """Return the largest ATSE total, 0 if nothing is observed; computed once."""
        if "max_total" not in self._cache:
            largest = self.total.max() if self.n_entries else self.total.new_zeros(())
            self._cache["max_total"] = largest.to(torch.int64)
        return int(self._cache["max_total"])

    def narrowed(self) -> ObservedEntries:
        """Return the entries with counts in the smallest dtype that holds the largest total."""
        dtype = smallest_int_dtype(self.max_total())
        if self.count.dtype == self.total.dtype == dtype:
            return self
        count, total = self.count.to(dtype), self.total.to(dtype)
        return replace(self, count=count, total=total, _cache=dict(self._cache), _derived={})

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ObservedEntries:
        """Return the entries on ``device``; the same object if they are already on it."""
        if torch.device(device) == self.device:
            return self
        return ObservedEntries(
            self.indptr.to(device, non_blocking=non_blocking),
            self.column.to(device, non_blocking=non_blocking),
            self.count.to(device, non_blocking=non_blocking),
            self.total.to(device, non_blocking=non_blocking),
            self.n_junctions,
            {k: v.to(device, non_blocking=non_blocking) for k, v in self._cache.items()},
            batch=None if self.batch is None else self.batch.to(device),
        )

    def log_coefficient(self) -> torch.Tensor:
        """Sum the log binomial coefficients log C(n, y) of each cell, ``(B,)`` float64.

        Computed at the first call and cached, for this block and those selected from it.
        """
        return self._cached_sum("log_coefficient", lambda f, y, n: f[n] - f[y] - f[n - y])

    def log_factorial(self) -> torch.Tensor:
        """Sum log y! of each cell, ``(B,)`` float64; cached in the same way."""
        return self._cached_sum("log_factorial", lambda f, y, n: f[y])

    def _cached_sum(self, name: str, value: Callable[..., torch.Tensor]) -> torch.Tensor:
        """Sum a function of log factorials, counts and totals over each cell."""
        if name not in self._cache:
            out = torch.zeros(self.n_cells, dtype=torch.float64, device=self.device)
            steps = torch.arange(self.max_total() + 2, dtype=torch.float64, device=self.device)
            log_factorial = torch.lgamma(steps + 1.0)
            for cells, block in self.blocks(_BLOCK):
                y, n = block.count.long(), block.total.long()
                out[cells].index_add_(0, block.rows(), value(log_factorial, y, n))
            self._cache[name] = out
        return self._cache[name]

    def select(self, cells: torch.Tensor) -> ObservedEntries:
        """Select the entries of the given cells, in the given order.

        Parameters
        ----------
        cells
            ``(B',)`` integer positions of cells, repeats allowed.
        """
        # Coefficients are kept for the selected cells, so that they are not computed again.
        cells = cells.to(self.device, torch.int64)
        start, length = self.indptr[cells], self.indptr.diff()[cells]
        indptr = torch.zeros(cells.shape[0] + 1, dtype=torch.int64, device=self.device)
        torch.cumsum(length, 0, out=indptr[1:])
        arrays = self.column, self.count, self.total
        if self.device.type == "cpu" and importlib.util.find_spec("numba") is not None:
            from leafletfa_scvi.ops._copy import copy_rows
            from leafletfa_scvi.ops._threads import run_kernel

            column, count, total = (x.new_empty(int(indptr[-1])) for x in arrays)
            arguments = start, indptr, *arrays, column, count, total
            run_kernel(copy_rows, *(x.numpy() for x in arguments))
        else:
            shift = torch.repeat_interleave(start - indptr[:-1], length)
            take = shift + torch.arange(len(shift), device=self.device)
            column, count, total = (x[take] for x in arrays)
        cache = self._cache_of(cells)
        batch = self._batch_of(cells)
        return ObservedEntries(indptr, column, count, total, self.n_junctions, cache, batch=batch)

    def _cache_of(self, cells: torch.Tensor | slice) -> dict[str, torch.Tensor]:
        return {k: v[cells] for k, v in self._cache.items() if v.ndim}

    def _batch_of(self, cells: torch.Tensor | slice) -> torch.Tensor | None:
        return None if self.batch is None else self.batch[cells]

    def keep(self, mask: torch.Tensor) -> ObservedEntries:
        """Select entries by ``mask``, ``(nnz,)`` bool; all cells are kept, even if empty."""
        indptr = torch.zeros_like(self.indptr)
        # Block by block, as a running count of all entries would take more memory than they do.
        size = int(mask.sum())
        column, count, total = (x.new_empty(size) for x in (self.column, self.count, self.total))
        for cells, block in self.blocks(_BLOCK):
            first = int(self.indptr[cells.start])
            block_mask = mask[first : first + block.n_entries]
            running = torch.zeros(len(block_mask) + 1, dtype=torch.int64, device=self.device)
            torch.cumsum(block_mask, 0, out=running[1:])
            begin = int(indptr[cells.start])
            indptr[cells.start + 1 : cells.stop + 1] = begin + running[block.indptr[1:]]
            into = slice(begin, begin + int(running[-1]))
            column[into], count[into] = block.column[block_mask], block.count[block_mask]
            total[into] = block.total[block_mask]
        return ObservedEntries(indptr, column, count, total, self.n_junctions, batch=self.batch)

    def seen_junctions(self) -> torch.Tensor:
        """Return whether each junction is observed in any cell, ``(P,)`` bool."""
        seen = torch.zeros(self.n_junctions, dtype=torch.bool, device=self.device)
        for _, block in self.blocks(_BLOCK):
            seen[block.column.long()] = True
        return seen

    def nbytes(self) -> int:
        """Return the number of bytes of the arrays."""
        arrays = (self.indptr, self.column, self.count, self.total)
        return sum(x.numel() * x.element_size() for x in arrays)

    def slice_cells(self, cells: slice) -> ObservedEntries:
        """Select the entries of the cells ``cells.start:cells.stop``, as views."""
        first, last = int(self.indptr[cells.start]), int(self.indptr[cells.stop])
        return ObservedEntries(
            self.indptr[cells.start : cells.stop + 1] - first,
            self.column[first:last],
            self.count[first:last],
            self.total[first:last],
            self.n_junctions,
            self._cache_of(cells),
            batch=self._batch_of(cells),
        )

    def blocks(self, max_entries: int = _BLOCK) -> Iterator[tuple[slice, ObservedEntries]]:
        """Split into views of consecutive cells with at most ``max_entries`` entries, or one cell.

        Yields
        ------
        The cells as a slice, and their entries.
        """
        start = 0
        while start < self.n_cells:
            # The last cell whose entries still end within the block; at least one cell.
            goal = int(self.indptr[start]) + max_entries
            stop = int(torch.searchsorted(self.indptr, goal, right=True)) - 1
            stop = min(max(stop, start + 1), self.n_cells)
            cells = slice(start, stop)
            yield cells, self.slice_cells(cells)
            start = stop

    @staticmethod
    def join(
        parts: list[ObservedEntries],
        n_junctions: int,
        device: torch.device | str = "cpu",
    ) -> ObservedEntries:
        """Concatenate the entries of consecutive cells; without parts, return no entries."""
        if not parts:
            empty = torch.zeros(0, dtype=torch.uint8, device=device)
            indptr = torch.zeros(1, dtype=torch.int64, device=device)
            return ObservedEntries(indptr, empty.to(torch.int32), empty, empty, n_junctions)
        length = torch.cat([part.indptr.diff() for part in parts])
        indptr = torch.zeros(len(length) + 1, dtype=torch.int64, device=device)
        torch.cumsum(length, 0, out=indptr[1:])
        return ObservedEntries(
            indptr,
            torch.cat([part.column for part in parts]),
            torch.cat([part.count for part in parts]),
            torch.cat([part.total for part in parts]),
            n_junctions,
        )


def smallest_int_dtype(largest: int) -> torch.dtype:
    """Return the smallest of uint8, int16 and int32 that holds whole numbers up to ``largest``."""
    for dtype in (torch.uint8, torch.int16):
        if largest <= torch.iinfo(dtype).max:
            return dtype
    return torch.int32

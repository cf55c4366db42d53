"""Segments of consecutive entries: cutting rows into them, summing over them, running kernels.

Rows are cut by a rule that depends on the data alone, so that a few cells or junctions with many
entries keep a whole device busy, and sums over segments are added in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from triton import cdiv, next_power_of_2

from leafletfa_scvi.ops import _triton_kernels as kernels

if TYPE_CHECKING:
    from leafletfa_scvi.ops._entries import ObservedEntries

N_SEGMENTS = 8192
"""Approximate number of segments, in addition to one for each row."""

MIN_LENGTH = 256
"""Minimum number of entries of a segment that is cut from a row."""


class Segments(NamedTuple):
    """Segments of the rows of a CSR layout; row r has segments ``first[r]:first[r + 1]``.

    ``table`` ``(3, n)`` has the row, first entry and end of each segment; segments after those of
    the last row are empty.
    """

    first: torch.Tensor
    table: torch.Tensor

    @property
    def n(self) -> int:
        """Number of segments, including empty ones."""
        return self.table.shape[1]


def row_segments(entries: ObservedEntries) -> Segments:
    """Return the segments of the cells, cut once for these entries."""
    return entries.derived("row_segments", lambda: cut_rows(entries.indptr, entries.n_entries))


def cut_rows(indptr: torch.Tensor, n_entries: int) -> Segments:
    """Cut rows into segments of about equal length.

    The number of segments is an upper bound that the host knows, because reading the exact one
    would wait for the device.
    """
    n_rows = len(indptr) - 1
    length = max(MIN_LENGTH, cdiv(n_entries, N_SEGMENTS))
    first = torch.zeros_like(indptr)
    torch.cumsum((indptr.diff() + length - 1) // length, 0, out=first[1:])
    number = torch.arange(min(n_rows, n_entries) + n_entries // length, device=indptr.device)
    row = (torch.searchsorted(first, number, right=True) - 1).clamp(max=n_rows - 1)
    stop = torch.minimum(indptr[row] + (number - first[row] + 1) * length, indptr[row + 1])
    start = torch.minimum(indptr[row] + (number - first[row]) * length, stop)
    return Segments(first, torch.stack([row, start, stop]))


def sum_segments(
    first: torch.Tensor, part: torch.Tensor, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Sum rows ``first[r]:first[r + 1]`` of ``part`` for each r, one after the other."""
    n_rows, width = len(first) - 1, part.shape[1:].numel()
    out = torch.empty(n_rows, *part.shape[1:], dtype=dtype or part.dtype, device=part.device)
    block = next_power_of_2(width)
    rows = max(1, 512 // block)
    run_kernel(
        kernels.sum_kernel,
        cdiv(n_rows, rows),
        first,
        part,
        out,
        n_rows,
        WIDTH=width,
        BLOCK_R=rows,
        BLOCK_W=block,
    )
    return out


def run_kernel(kernel: Any, n_programs: int, *args: Any, **constants: Any) -> None:
    """Run a Triton kernel on the device of its first argument; with no programs, do nothing."""
    if n_programs:
        with torch.cuda.device_of(args[0]):
            kernel[(n_programs,)](*args, enable_fp_fusion=True, **constants)

"""Triton kernels launched: the contract of :mod:`leafletfa_scvi.ops._cpu` on a CUDA device.

Computed in float32; log-likelihoods and derivatives for kappa are summed over segments in float64.
No cells x junctions array is made, nor one of entries x K.

Work is cut into segments of consecutive entries, by a rule that knows the data alone, so that a
few cells or junctions with many entries keep a whole device busy. Sums over columns are made in
one of two ways:

- in column order, where the sweep keeps one to three floats of each entry and a second pass
  gathers them and rows of phi column by column: no atomics, the same bits at each call;
- with atomic additions of float32, whose order is left to the device.

The first needs an index of the columns, sorted once and kept with the entries. It pays where
entries are used again and again; for a block that is used once, atomics are cheaper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn.functional import pad
from triton import cdiv, next_power_of_2

from leafletfa_scvi.ops import _triton_kernels as kernels
from leafletfa_scvi.ops._multinomial import MultinomialEntries
from leafletfa_scvi.ops._reference import ExpectedCounts, column_concentration, swept
from leafletfa_scvi.ops._triton_config import config

if TYPE_CHECKING:
    from leafletfa_scvi.ops._entries import ObservedEntries
    from leafletfa_scvi.ops._reference import Entries

_SEGMENTS = 8192
"""Segments that entries are cut into, about, besides one for each cell or column."""

_SHORTEST = 256
"""Entries below which nothing is cut."""

_TABLE = {torch.uint8: 1 << 8, torch.int16: 1 << 15}
"""Totals that a count dtype holds, where a table of all of them is worth it."""


class _Segments(NamedTuple):
    """Pieces of the rows of a CSR layout: ``first[r]:first[r + 1]`` are those of row r.

    ``table`` ``(3, n)`` has the row, first entry and end of each piece; pieces after those of the
    last row are empty.
    """

    first: torch.Tensor
    table: torch.Tensor

    @property
    def n(self) -> int:
        """Number of pieces."""
        return self.table.shape[1]


@dataclass
class _Calls:
    """How often entries were swept for derivatives."""

    n: int = 0


class _Sums(NamedTuple):
    """Sums over cells ``(B,)`` and ``(B, K)``, over columns, and for kappa, float64 and flat."""

    value: torch.Tensor
    by_row: torch.Tensor
    by_column: tuple[torch.Tensor, ...]
    concentration_grad: torch.Tensor


def log_likelihood(
    entries: Entries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    concentration: torch.Tensor | None,
) -> torch.Tensor:
    """Log-likelihood of each cell, ``(B,)`` float64; as in the reference, without autograd."""
    return _sweep(entries, phi, psi, concentration, 0).value


def gradients(
    entries: Entries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    concentration: torch.Tensor | None,
    weight: torch.Tensor | None = None,
    *,
    deterministic: bool | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-likelihood of each cell and gradients of its ``weight``-ed sum for phi, psi and kappa.

    Parameters
    ----------
    entries, phi, psi, concentration
        As in :func:`leafletfa_scvi.ops.log_likelihood`.
    weight
        ``(B,)``; None stands for ones.
    deterministic
        True: sums over columns in column order. False: by atomics. None: in column order where
        torch is told to be deterministic, or where these entries were swept before.

    Returns
    -------
    Log-likelihoods ``(B,)`` float64; gradients ``(B, K)`` and ``(P, K)`` float32; that of kappa,
    float64 and flat.
    """
    sums = _sweep(entries, phi, psi, concentration, 1, weight, deterministic)
    return sums.value, sums.by_row, sums.by_column[0], sums.concentration_grad


def expected_counts(
    entries: Entries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    concentration: torch.Tensor | None = None,
    *,
    deterministic: bool | None = None,
) -> ExpectedCounts:
    """Expected table counts of the EM, as in the reference; values per cell in float64."""
    n_factors = 1 if isinstance(entries, MultinomialEntries) else 2
    sums = _sweep(entries, phi, psi, concentration, n_factors, None, deterministic)
    dtype = torch.promote_types(phi.dtype, psi.dtype)
    inclusion, *rest = sums.by_column
    return ExpectedCounts(
        sums.value,
        (phi * sums.by_row).to(dtype),
        (psi * inclusion).to(dtype),
        ((1.0 - psi) * rest[0] if rest else torch.zeros_like(psi)).to(dtype),
        sums.concentration_grad.reshape(() if concentration is None else concentration.shape),
    )


def _sweep(
    entries: Entries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    concentration: torch.Tensor | None,
    n_factors: int,
    weight: torch.Tensor | None = None,
    deterministic: bool | None = None,
) -> _Sums:
    """All sums of a sweep; ``n_factors`` as in :func:`_triton_kernels.row_kernel`."""
    in_order = n_factors > 0 and _in_column_order(swept(entries), deterministic)
    kappa = None if concentration is None else _float32(concentration.reshape(-1), entries)
    if kappa is not None and kappa.numel() == 1 and torch.isinf(kappa):
        kappa = None
    weight = None if weight is None else _float32(weight, entries)
    sums = _entry_sums(entries, phi, psi, kappa, n_factors, weight, in_order)
    value, grad = sums.value + entries.log_coefficient(), sums.concentration_grad
    if kappa is not None and isinstance(entries, MultinomialEntries):
        whole, of_totals = _total_sums(entries.totals, kappa, n_factors, weight, in_order)
        value += whole
        if n_factors:
            grad = of_totals + (_by_atse(entries, grad) if kappa.numel() > 1 else grad)
    return sums._replace(value=value, concentration_grad=grad)


def _entry_sums(
    entries: Entries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    kappa: torch.Tensor | None,
    n_factors: int,
    weight: torch.Tensor | None,
    in_order: bool,
) -> _Sums:
    """Sums over the swept entries; those for kappa by column."""
    visited, reads = swept(entries), isinstance(entries, MultinomialEntries)
    (n_columns, n_programs), device = psi.shape, visited.device
    table, per_column = None, False
    if kappa is not None and kappa.numel() > 1:
        kappa, per_column = column_concentration(entries, kappa), True
    elif kappa is not None and not reads:
        table = _table(kappa, visited)
    phi, psi = _padded(phi, entries), _padded(psi, entries)
    stride = psi.shape[1]
    segments = _row_segments(visited)
    single: Any = {"dtype": torch.float32, "device": device}
    value = torch.empty(segments.n, **single)
    by_row = torch.empty(segments.n if n_factors else 0, stride, **single)
    by_column = rates = kappa_sum = kappa_by_column = None
    if in_order:
        rates = torch.empty(visited.n_entries, n_factors + per_column, **single)
    elif n_factors:
        by_column = torch.zeros(n_factors, n_columns, stride, **single)
        kappa_by_column = torch.zeros(n_columns, **single) if per_column else None
    if n_factors and kappa is not None and not per_column:
        kappa_sum = torch.empty(segments.n, **single)
    chosen = config("rows", stride)
    _launch(
        kernels.row_kernel,
        segments.n,
        segments.table,
        segments.n,
        visited.column,
        visited.count,
        visited.total,
        phi,
        psi,
        kappa,
        table,
        weight,
        value,
        by_row,
        kappa_sum,
        by_column,
        n_columns * stride,
        kappa_by_column,
        rates,
        STRIDE=stride,
        BLOCK_K=next_power_of_2(stride),
        BLOCK_E=chosen.entries,
        STAGES=chosen.stages,
        N_FACTORS=n_factors,
        READS=reads,
        PER_COLUMN=per_column,
        num_warps=chosen.warps,
    )
    value = _sum_segments(segments.first, value, torch.float64)
    if not n_factors:
        return _Sums(value, by_row, (), by_row)
    if rates is not None:
        columns, kappa_by_column = _column_sums(visited, rates, phi, n_factors)
    elif by_column is not None:
        columns = by_column.unbind()
    return _Sums(
        value,
        _sum_segments(segments.first, by_row)[:, :n_programs],
        tuple(x[:, :n_programs] for x in columns),
        _kappa_grad(kappa_sum, kappa_by_column, device),
    )


def _kappa_grad(
    scalar: torch.Tensor | None, by_column: torch.Tensor | None, device: torch.device
) -> torch.Tensor:
    """Derivative for kappa in float64: the sum over segments of a scalar one, or by column."""
    if scalar is not None:
        return scalar.sum(dtype=torch.float64).reshape(1)
    if by_column is not None:
        return by_column.double()
    return torch.zeros(1, dtype=torch.float64, device=device)


def _column_sums(
    visited: ObservedEntries, rates: torch.Tensor, phi: torch.Tensor | None, n_factors: int
) -> tuple[tuple[torch.Tensor, ...], torch.Tensor | None]:
    """Sums over columns of factors times rows of phi, ``n_factors`` arrays; and of dL/dkappa."""
    index = visited.by_column()
    segments = visited.derived("column_segments", lambda: _segments(index.indptr, len(index.row)))
    stride = 4 if phi is None else phi.shape[1]
    width = rates.shape[1]
    part = rates.new_empty(segments.n, n_factors * stride)
    kappa_sum = rates.new_empty(segments.n) if width > n_factors else None
    chosen = config("columns", stride)
    _launch(
        kernels.column_kernel,
        segments.n,
        segments.table,
        segments.n,
        index.order,
        index.row,
        rates,
        phi,
        part,
        kappa_sum,
        STRIDE=stride,
        BLOCK_K=next_power_of_2(stride),
        BLOCK_E=chosen.entries,
        STAGES=chosen.stages,
        N_FACTORS=n_factors,
        WIDTH=width,
        num_warps=chosen.warps,
    )
    grad = None if kappa_sum is None else _sum_segments(segments.first, kappa_sum, torch.float64)
    if not n_factors:
        return (), grad
    summed = _sum_segments(segments.first, part)
    return summed.reshape(-1, n_factors, stride).unbind(1), grad


def _total_sums(
    totals: ObservedEntries,
    kappa: torch.Tensor,
    n_factors: int,
    weight: torch.Tensor | None,
    in_order: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Terms that hold the totals of ATSEs and kappa alone: of each cell, and their derivative."""
    per_column = kappa.numel() > 1
    segments = _row_segments(totals)
    single: Any = {"dtype": torch.float32, "device": totals.device}
    value = torch.empty(segments.n, **single)
    kappa_sum = kappa_by_column = rates = None
    if n_factors and not per_column:
        kappa_sum = torch.empty(segments.n, **single)
    elif in_order:
        rates = torch.empty(totals.n_entries, 1, **single)
    elif n_factors:
        kappa_by_column = torch.zeros(totals.n_junctions, **single)
    chosen = config("totals", 1)
    _launch(
        kernels.totals_kernel,
        segments.n,
        segments.table,
        segments.n,
        totals.column,
        totals.total,
        kappa,
        None if per_column else _table(kappa, totals),
        weight,
        value,
        kappa_sum,
        kappa_by_column,
        rates,
        BLOCK_E=chosen.entries,
        PER_COLUMN=per_column,
        num_warps=chosen.warps,
    )
    if rates is not None:
        _, kappa_by_column = _column_sums(totals, rates, None, 0)
    grad = _kappa_grad(kappa_sum, kappa_by_column, totals.device)
    return _sum_segments(segments.first, value, torch.float64), grad


def _by_atse(entries: MultinomialEntries, value: torch.Tensor) -> torch.Tensor:
    """Sum of a value of each column over the columns of each ATSE."""

    def index() -> tuple[torch.Tensor, torch.Tensor]:
        atse, order = entries.atse.sort(stable=True)
        edges = torch.arange(entries.n_atses + 1, device=atse.device)
        return order, torch.searchsorted(atse, edges)

    order, first = entries.reads.derived("columns_of_atses", index)
    return _sum_segments(first, value[order])


def _sum_segments(
    first: torch.Tensor, part: torch.Tensor, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Sums of rows ``first[r]:first[r + 1]`` of ``part``, one after the other, for each r."""
    n_rows, width = len(first) - 1, part.shape[1:].numel()
    out = torch.empty(n_rows, *part.shape[1:], dtype=dtype or part.dtype, device=part.device)
    block = next_power_of_2(width)
    rows = max(1, 512 // block)
    _launch(
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


def _table(kappa: torch.Tensor, entries: ObservedEntries) -> torch.Tensor | None:
    """What a scalar kappa makes of each total that the dtype of the totals holds, if few."""
    size = _TABLE.get(entries.total.dtype)
    if size is None:
        return None
    table = torch.empty(size, 2, dtype=torch.float32, device=kappa.device)
    _launch(kernels.table_kernel, cdiv(size, 1024), kappa, table, SIZE=size, BLOCK=1024)
    return table


def _row_segments(entries: ObservedEntries) -> _Segments:
    return entries.derived("row_segments", lambda: _segments(entries.indptr, entries.n_entries))


def _segments(indptr: torch.Tensor, n_entries: int) -> _Segments:
    """Cut rows into segments of about equal length without waiting for the device."""
    n_rows = len(indptr) - 1
    length = max(_SHORTEST, cdiv(n_entries, _SEGMENTS))
    first = torch.zeros_like(indptr)
    torch.cumsum((indptr.diff() + length - 1) // length, 0, out=first[1:])
    number = torch.arange(min(n_rows, n_entries) + n_entries // length, device=indptr.device)
    row = (torch.searchsorted(first, number, right=True) - 1).clamp(max=n_rows - 1)
    stop = torch.minimum(indptr[row] + (number - first[row] + 1) * length, indptr[row + 1])
    start = torch.minimum(indptr[row] + (number - first[row]) * length, stop)
    return _Segments(first, torch.stack([row, start, stop]))


def _in_column_order(entries: ObservedEntries, deterministic: bool | None) -> bool:
    """The way to sum over columns; entries that come a second time are worth sorting."""
    calls = entries.derived("calls", _Calls)
    calls.n += 1
    if deterministic is None:
        return calls.n > 1 or torch.are_deterministic_algorithms_enabled()
    return deterministic


def _float32(x: torch.Tensor, entries: Entries) -> torch.Tensor:
    return x.detach().to(entries.device, torch.float32).contiguous()


def _padded(x: torch.Tensor, entries: Entries) -> torch.Tensor:
    """Rows in float32, with zeros up to a multiple of 4 so that each begins on 16 bytes."""
    return pad(_float32(x, entries), (0, -x.shape[1] % 4))


def _launch(kernel: Any, n_programs: int, *args: Any, **constants: Any) -> None:
    if n_programs:
        with torch.cuda.device_of(args[0]):
            kernel[(n_programs,)](*args, enable_fp_fusion=True, **constants)

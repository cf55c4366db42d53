"""Triton backend: the functions of :mod:`leafletfa_scvi.ops._cpu` on CUDA devices.

Kernels compute in float32; log-likelihoods and derivatives for kappa are summed over segments in
float64. Arrays of cells x junctions or entries x K are never formed.

Each kernel program works on a segment of consecutive entries
(:mod:`leafletfa_scvi.ops._triton_segments`). Sums over columns use one of two methods:

- in column order: the first pass stores one to three floats per entry, and a second pass gathers
  them and rows of phi by column. It needs no atomics and gives the same bits at each call;
- atomic additions of float32, whose order is up to the device.

The first needs an index of the columns, which is sorted once and kept with the entries. It pays
off if entries are used repeatedly; for a block that is used once, atomics are cheaper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn.functional import pad
from triton import cdiv, next_power_of_2

from leafletfa_scvi.ops import _triton_kernels as kernels
from leafletfa_scvi.ops import _triton_segments as segments
from leafletfa_scvi.ops._multinomial import MultinomialEntries
from leafletfa_scvi.ops._reference import ExpectedCounts, column_concentration
from leafletfa_scvi.ops._triton_config import config

if TYPE_CHECKING:
    from leafletfa_scvi.ops._entries import ObservedEntries
    from leafletfa_scvi.ops._reference import Entries

_TABLE = {torch.uint8: 1 << 8, torch.int16: 1 << 15}
"""Number of values of a count dtype that is small enough to tabulate all totals."""


@dataclass
class _Calls:
    """Number of calls with these entries."""

    n: int = 0


class _Sums(NamedTuple):
    """Sums over cells ``(B,)`` and ``(B, K)``, over columns, and for kappa (flat, float64)."""

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
    """Compute the log-likelihood of each cell, ``(B,)`` float64, without autograd."""
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
    """Compute log-likelihoods of cells and gradients of their ``weight``-ed sum.

    Parameters
    ----------
    entries, phi, psi, concentration
        As in :func:`leafletfa_scvi.ops.log_likelihood`.
    weight
        ``(B,)`` weights. If None, ones.
    deterministic
        If True, sums over columns are computed in column order; if False, with atomics. If None,
        in column order if torch uses deterministic algorithms or the entries were used before.

    Returns
    -------
    Log-likelihoods ``(B,)`` float64, gradients for phi ``(B, K)`` and psi ``(P, K)`` float32, and
    for kappa (flat, float64).
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
    """Compute the expected table counts of EM; values per cell are float64."""
    n_factors = 1 if isinstance(entries, MultinomialEntries) else 2
    sums = _sweep(entries, phi, psi, concentration, n_factors, None, deterministic)
    dtype = torch.promote_types(phi.dtype, psi.dtype)
    inclusion, *exclusion = sums.by_column
    return ExpectedCounts(
        sums.value,
        (phi * sums.by_row).to(dtype),
        (psi * inclusion).to(dtype),
        ((1.0 - psi) * exclusion[0] if exclusion else torch.zeros_like(psi)).to(dtype),
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
    """Compute all sums; ``n_factors`` as in :func:`_triton_kernels.row_kernel`."""
    in_order = n_factors > 0 and _in_column_order(entries.scored, deterministic)
    # An infinite kappa is the binomial, whose kernel has no terms of kappa.
    kappa = None if concentration is None else _float32(concentration.reshape(-1), entries)
    if kappa is not None and kappa.numel() == 1 and torch.isinf(kappa):
        kappa = None
    weight = None if weight is None else _float32(weight, entries)
    sums = _entry_sums(entries, phi, psi, kappa, n_factors, weight, in_order)
    value, grad = sums.value + entries.log_coefficient(), sums.concentration_grad
    if kappa is not None and isinstance(entries, MultinomialEntries):
        total_value, total_grad = _total_sums(entries.totals, kappa, n_factors, weight, in_order)
        value += total_value
        if n_factors:
            grad = total_grad + (_by_atse(entries, grad) if kappa.numel() > 1 else grad)
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
    """Compute sums over entries; those for kappa are by column."""
    scored, reads = entries.scored, isinstance(entries, MultinomialEntries)
    (n_columns, n_programs), device = psi.shape, scored.device
    table, per_column = None, False
    if kappa is not None and kappa.numel() > 1:
        kappa, per_column = column_concentration(entries, kappa), True
    elif kappa is not None and not reads:
        table = _table(kappa, scored)
    phi, psi = _padded(phi, entries), _padded(psi, entries)
    stride = psi.shape[1]
    rows = segments.row_segments(scored)
    single: Any = {"dtype": torch.float32, "device": device}
    value = torch.empty(rows.n, **single)
    by_row = torch.empty(rows.n if n_factors else 0, stride, **single)
    by_column = slopes = kappa_sum = kappa_by_column = None
    # Sums over columns, which many cells add to: either each entry stores its derivatives, which
    # a second kernel sums in column order, or atomics add them in any order.
    if in_order:
        slopes = torch.empty(scored.n_entries, n_factors + per_column, **single)
    elif n_factors:
        by_column = torch.zeros(n_factors, n_columns, stride, **single)
        kappa_by_column = torch.zeros(n_columns, **single) if per_column else None
    if n_factors and kappa is not None and not per_column:
        kappa_sum = torch.empty(rows.n, **single)
    blocks = config("rows", stride)
    segments.run_kernel(
        kernels.row_kernel,
        rows.n,
        rows.table,
        rows.n,
        scored.column,
        scored.count,
        scored.total,
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
        slopes,
        STRIDE=stride,
        BLOCK_K=next_power_of_2(stride),
        BLOCK_E=blocks.entries,
        STAGES=blocks.stages,
        N_FACTORS=n_factors,
        READS=reads,
        PER_COLUMN=per_column,
        num_warps=blocks.warps,
    )
    value = segments.sum_segments(rows.first, value, torch.float64)
    if not n_factors:
        return _Sums(value, by_row, (), by_row)
    if slopes is not None:
        columns, kappa_by_column = _column_sums(scored, slopes, phi, n_factors)
    elif by_column is not None:
        columns = by_column.unbind()
    return _Sums(
        value,
        segments.sum_segments(rows.first, by_row)[:, :n_programs],
        tuple(x[:, :n_programs] for x in columns),
        _kappa_grad(kappa_sum, kappa_by_column, device),
    )


def _kappa_grad(
    scalar: torch.Tensor | None, by_column: torch.Tensor | None, device: torch.device
) -> torch.Tensor:
    """Return the derivative for kappa in float64: summed for a scalar kappa, or by column."""
    if scalar is not None:
        return scalar.sum(dtype=torch.float64).reshape(1)
    if by_column is not None:
        return by_column.double()
    return torch.zeros(1, dtype=torch.float64, device=device)


def _column_sums(
    scored: ObservedEntries, slopes: torch.Tensor, phi: torch.Tensor | None, n_factors: int
) -> tuple[tuple[torch.Tensor, ...], torch.Tensor | None]:
    """Sum slopes times rows of phi over columns (``n_factors`` arrays), and dL/dkappa."""
    index = scored.by_column()
    columns = scored.derived(
        "column_segments", lambda: segments.cut_rows(index.indptr, len(index.row))
    )
    stride = 4 if phi is None else phi.shape[1]
    width = slopes.shape[1]
    part = slopes.new_empty(columns.n, n_factors * stride)
    kappa_sum = slopes.new_empty(columns.n) if width > n_factors else None
    blocks = config("columns", stride)
    segments.run_kernel(
        kernels.column_kernel,
        columns.n,
        columns.table,
        columns.n,
        index.order,
        index.row,
        slopes,
        phi,
        part,
        kappa_sum,
        STRIDE=stride,
        BLOCK_K=next_power_of_2(stride),
        BLOCK_E=blocks.entries,
        STAGES=blocks.stages,
        N_FACTORS=n_factors,
        WIDTH=width,
        num_warps=blocks.warps,
    )
    grad = (
        None
        if kappa_sum is None
        else segments.sum_segments(columns.first, kappa_sum, torch.float64)
    )
    if not n_factors:
        return (), grad
    summed = segments.sum_segments(columns.first, part)
    return summed.reshape(-1, n_factors, stride).unbind(1), grad


def _total_sums(
    totals: ObservedEntries,
    kappa: torch.Tensor,
    n_factors: int,
    weight: torch.Tensor | None,
    in_order: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the terms of ATSE totals and kappa: by cell, and their derivative for kappa."""
    per_column = kappa.numel() > 1
    rows = segments.row_segments(totals)
    single: Any = {"dtype": torch.float32, "device": totals.device}
    value = torch.empty(rows.n, **single)
    kappa_sum = kappa_by_column = slopes = None
    if n_factors and not per_column:
        kappa_sum = torch.empty(rows.n, **single)
    elif in_order:
        slopes = torch.empty(totals.n_entries, 1, **single)
    elif n_factors:
        kappa_by_column = torch.zeros(totals.n_junctions, **single)
    blocks = config("totals", 1)
    segments.run_kernel(
        kernels.totals_kernel,
        rows.n,
        rows.table,
        rows.n,
        totals.column,
        totals.total,
        kappa,
        None if per_column else _table(kappa, totals),
        weight,
        value,
        kappa_sum,
        kappa_by_column,
        slopes,
        BLOCK_E=blocks.entries,
        PER_COLUMN=per_column,
        num_warps=blocks.warps,
    )
    if slopes is not None:
        _, kappa_by_column = _column_sums(totals, slopes, None, 0)
    grad = _kappa_grad(kappa_sum, kappa_by_column, totals.device)
    return segments.sum_segments(rows.first, value, torch.float64), grad


def _by_atse(entries: MultinomialEntries, value: torch.Tensor) -> torch.Tensor:
    """Sum a value of each column over the columns of each ATSE."""

    def index() -> tuple[torch.Tensor, torch.Tensor]:
        atse, order = entries.atse.sort(stable=True)
        edges = torch.arange(entries.n_atses + 1, device=atse.device)
        return order, torch.searchsorted(atse, edges)

    order, first = entries.reads.derived("columns_of_atses", index)
    return segments.sum_segments(first, value[order])


def _table(kappa: torch.Tensor, entries: ObservedEntries) -> torch.Tensor | None:
    """Tabulate the log rising factorial of a scalar kappa for every possible total, if few."""
    size = _TABLE.get(entries.total.dtype)
    if size is None:
        return None
    table = torch.empty(size, 2, dtype=torch.float32, device=kappa.device)
    segments.run_kernel(
        kernels.table_kernel, cdiv(size, 1024), kappa, table, SIZE=size, BLOCK=1024
    )
    return table


def _in_column_order(entries: ObservedEntries, deterministic: bool | None) -> bool:
    """Decide whether to sum in column order; sorting pays off for entries used again."""
    calls = entries.derived("calls", _Calls)
    calls.n += 1
    if deterministic is None:
        return calls.n > 1 or torch.are_deterministic_algorithms_enabled()
    return deterministic


def _float32(x: torch.Tensor, entries: Entries) -> torch.Tensor:
    return x.detach().to(entries.device, torch.float32).contiguous()


def _padded(x: torch.Tensor, entries: Entries) -> torch.Tensor:
    """Pad rows in float32 with zeros to a multiple of 4, so that each is aligned to 16 bytes."""
    return pad(_float32(x, entries), (0, -x.shape[1] % 4))

"""The numba kernel of the numerical core: dot products, likelihood and gradients in one pass.

Each block of cells adds to its own gradient for psi, so that results do not depend on the number
of threads. Within a block, groups of cells are processed tile by tile of columns, so that the rows
of psi and its gradient in use stay in the L2 cache. Entries are gathered into chunks that may span
cells, unless ``apart``: the likelihood of a chunk is vectorized over entries, the products before
and after it over programs.

``d_p`` and ``d_q`` are derivatives for the expected PSI and its complement, as if both were free;
``d_kappa`` is that for kappa, and a ``slope`` is the derivative of a log rising factorial.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from leafletfa_scvi.ops._numba_simd import gather_dot, scatter_add_rows
from leafletfa_scvi.ops._reference import MISASSIGNMENT_RATE
from leafletfa_scvi.ops._rising import VECTOR, log, rising

CHUNK = 512
GROUP = 512
_MISASSIGNMENT_RATE = np.float32(MISASSIGNMENT_RATE)
_SCALE = np.float32(1.0 - 2.0 * MISASSIGNMENT_RATE)
_ONE = np.float32(1.0)
# Rows of the chunk's buffers.
_MEAN, _COUNT, _TOTAL, _KAPPA, _VALUE, _D_P, _D_Q, _D_KAPPA = range(8)


@njit(**VECTOR)
def _total_terms(total, kappa, table, value, d_kappa, size):
    """Compute the terms of kappa and n alone, from the table if available."""
    if table.shape[0]:
        for i in range(size):
            n = np.int64(total[i])
            value[i] = table[n, 0]
            d_kappa[i] = table[n, 1]
    else:
        for i in range(size):
            value[i], d_kappa[i] = rising(kappa[i], total[i], _ONE / (kappa[i] + total[i]))


@njit(**VECTOR)
def _beta_binomial(mean, count, total, kappa, value, d_p, d_q, d_kappa, size):
    """Compute beta-binomial entries; ``value`` and ``d_kappa`` hold their :func:`_total_terms`."""
    for i in range(size):
        y, n, k = count[i], total[i], kappa[i]
        p = _MISASSIGNMENT_RATE + _SCALE * mean[i]
        q = _MISASSIGNMENT_RATE + _SCALE * (_ONE - mean[i])
        # The scale of the logs cancels between the three terms, as y + (n - y) - n = 0.
        inverse = _ONE / (k + n)
        value1, slope_p = rising(k * p, y, inverse)
        value0, slope_q = rising(k * q, n - y, inverse)
        value[i] = value1 + value0 - value[i]
        d_p[i] = _SCALE * k * slope_p
        d_q[i] = _SCALE * k * slope_q
        d_kappa[i] = p * slope_p + q * slope_q - d_kappa[i]


@njit(**VECTOR)
def _dirichlet_multinomial(mean, count, total, kappa, value, d_p, d_kappa, size):
    for i in range(size):
        y, k = count[i], kappa[i]
        p = _MISASSIGNMENT_RATE + _SCALE * mean[i]
        value1, slope_p = rising(k * p, y, _ONE / (k + total[i]))
        value[i] = value1
        d_p[i] = _SCALE * k * slope_p
        d_kappa[i] = p * slope_p


@njit(**VECTOR)
def _binomial(mean, count, total, value, d_p, d_q, size):
    for i in range(size):
        y, n = count[i], total[i]
        p = _MISASSIGNMENT_RATE + _SCALE * mean[i]
        q = _MISASSIGNMENT_RATE + _SCALE * (_ONE - mean[i])
        value[i] = y * log(p) + (n - y) * log(q)
        d_p[i] = _SCALE * y / p
        d_q[i] = _SCALE * (n - y) / q


@njit(**VECTOR)
def _multinomial(mean, count, value, d_p, size):
    for i in range(size):
        p = _MISASSIGNMENT_RATE + _SCALE * mean[i]
        value[i] = count[i] * log(p)
        d_p[i] = _SCALE * count[i] / p


@njit(**VECTOR)
def _likelihood(chunk, table, shares_reads, finite, size):
    """Compute log-likelihood and derivatives of the entries of a chunk."""
    mean, count, total, kappa = chunk[_MEAN], chunk[_COUNT], chunk[_TOTAL], chunk[_KAPPA]
    value, d_p, d_q, d_kappa = chunk[_VALUE], chunk[_D_P], chunk[_D_Q], chunk[_D_KAPPA]
    if shares_reads:
        # The complement of a share of an ATSE is not a term of the likelihood, and the terms of
        # its total are those of no single entry: see :func:`subtract_totals`.
        d_q[:size] = 0.0
        if finite:
            _dirichlet_multinomial(mean, count, total, kappa, value, d_p, d_kappa, size)
        else:
            _multinomial(mean, count, value, d_p, size)
    elif finite:
        _total_terms(total, kappa, table, value, d_kappa, size)
        _beta_binomial(mean, count, total, kappa, value, d_p, d_q, d_kappa, size)
    else:
        _binomial(mean, count, total, value, d_p, d_q, size)


@njit(error_model="numpy", fastmath=True)
def _sum(values):
    """Sum in float64, because a cell may have many entries."""
    out = 0.0
    for i in range(values.shape[0]):
        out += np.float64(values[i])
    return out


# Slices are indexed from 0: for an index of unknown sign, numba adds a test for negative values,
# which keeps the loop scalar.
@njit(inline="always")
def _gather(entries_from, entries_to):
    for i in range(entries_to.shape[0]):
        entries_to[i] = entries_from[i]


@njit(inline="always")
def _first_from(column, start, stop, bound):
    """Find the first position in ``start:stop`` whose column is at least ``bound``."""
    while start < stop:
        middle = (start + stop) // 2
        if column[middle] < bound:
            start = middle + 1
        else:
            stop = middle
    return start


@njit(**VECTOR)
def _flush(
    b, chunk, columns, cells, ends, n_segments, phi, psi, table, weight, shares_reads, finite,
    value, sum_d_q, dphi, dpsi, dkappa,
):  # fmt: skip
    """Compute the likelihood of a chunk, and add to the sums of cells, junctions and kappa."""
    size = ends[n_segments - 1]
    _likelihood(chunk, table, shares_reads, finite, size)
    width = psi.shape[1]
    n_planes = dpsi.shape[1]
    d_p, d_q, d_kappa = chunk[_D_P], chunk[_D_Q], chunk[_D_KAPPA]
    start = 0
    for s in range(n_segments):
        cell, stop = cells[s], ends[s]
        value[cell] += _sum(chunk[_VALUE, start:stop])
        # Expected counts of activities are sum d_p psi + d_q (1 - psi): the part that does not
        # depend on the program is summed here, the rest with the rows of psi below.
        if n_planes == 2:
            sum_d_q[cell] += _sum(d_q[start:stop])
        # Weights belong to the derivatives alone: ``value`` is that of each cell.
        if weight.shape[0]:
            w = np.float32(weight[cell])
            for i in range(start, stop):
                d_p[i] *= w
                d_q[i] *= w
                d_kappa[i] *= w
        start = stop
    if n_planes == 0:
        return
    if finite:
        if dkappa.shape[1] == 1:
            dkappa[b, 0] += _sum(d_kappa[:size])
        else:
            for i in range(size):
                dkappa[b, columns[i]] += d_kappa[i]
    if n_planes == 1:
        # Gradients need the derivative for PSI alone; expected counts need both apart.
        for i in range(size):
            d_p[i] -= d_q[i]
    plane = b * n_planes * psi.shape[0]
    start = 0
    for s in range(n_segments):
        cell, stop = cells[s], ends[s]
        scatter_add_rows(d_p, phi, cell, psi, columns, start, stop, width, dphi, dpsi, plane)
        start = stop
    if n_planes == 1:
        return
    # The second plane gets the expected counts against a junction, which are those of q.
    for i in range(size):
        d_q[i] = -d_q[i]
    start = 0
    for s in range(n_segments):
        cell, stop = cells[s], ends[s]
        other = plane + psi.shape[0]
        scatter_add_rows(d_q, phi, cell, psi, columns, start, stop, width, dphi, dpsi, other)
        start = stop


@njit(**VECTOR)
def _sweep_block(
    b, first, last, indptr, column, count, total, phi, psi, kappa, table, weight, shares_reads,
    apart, tile, value, sum_d_q, dphi, dpsi, dkappa,
):  # fmt: skip
    width = psi.shape[1]
    finite = kappa[0] != np.inf
    per_column = kappa.shape[0] > 1
    chunk = np.empty((8, CHUNK), np.float32)
    chunk[_KAPPA] = kappa[0]  # overwritten entry by entry if kappa is by column
    columns = np.empty(CHUNK, np.int32)
    cells, ends = np.empty(CHUNK, np.int64), np.empty(CHUNK, np.int64)
    position = np.empty(GROUP, np.int64)
    for low in range(first, last, GROUP):
        high = min(low + GROUP, last)
        for cell in range(low, high):
            position[cell - low] = indptr[cell]
        # One tile of columns at a time for all cells of the group: its rows of psi and of the
        # gradient then stay in the L2 cache. Columns ascend within a cell, so
        # ``position`` is where its next tile begins.
        for edge in range(tile, psi.shape[0] + tile, tile):
            size = n_segments = 0
            for cell in range(low, high):
                start, stop = position[cell - low], indptr[cell + 1]
                if edge < psi.shape[0]:
                    stop = _first_from(column, start, stop, edge)
                position[cell - low] = stop
                while start < stop:
                    n = min(stop - start, CHUNK - size)
                    _gather(column[start:], columns[size : size + n])
                    _gather(count[start:], chunk[_COUNT, size : size + n])
                    _gather(total[start:], chunk[_TOTAL, size : size + n])
                    if per_column:
                        for i in range(size, size + n):
                            chunk[_KAPPA, i] = kappa[columns[i]]
                    chunk[_MEAN, size : size + n] = 0.0
                    gather_dot(phi, cell, psi, columns, size, size + n, width, chunk[_MEAN])
                    start += n
                    size += n
                    cells[n_segments], ends[n_segments] = cell, size
                    n_segments += 1
                    if size == CHUNK or (apart and start == stop):
                        _flush(
                            b, chunk, columns, cells, ends, n_segments, phi, psi, table, weight,
                            shares_reads, finite, value, sum_d_q, dphi, dpsi, dkappa,
                        )  # fmt: skip
                        size = n_segments = 0
            if n_segments:
                _flush(
                    b, chunk, columns, cells, ends, n_segments, phi, psi, table, weight,
                    shares_reads, finite, value, sum_d_q, dphi, dpsi, dkappa,
                )  # fmt: skip


@njit(parallel=True, cache=True)
def sweep(
    blocks, indptr, column, count, total, phi, psi, kappa, table, weight, shares_reads, apart,
    tile, value, sum_d_q, dphi, dpsi, dkappa,
):  # fmt: skip
    """Process the entries of all cells, and add to the last five arguments.

    Parameters
    ----------
    blocks
        ``(n_blocks + 1,)`` int64, first cell of each block.
    indptr, column, count, total
        The entries.
    phi, psi
        ``(B, W)`` and ``(P, W)`` float32, with W a multiple of the lanes and zeros beyond K.
    kappa
        ``(1,)`` or ``(P,)`` float32; the first is infinite for binomial and multinomial entries.
    table
        Result of :func:`rising_table`, or empty to compute terms for each entry.
    weight
        ``(B,)`` weights of cells in the gradients, or empty for ones.
    shares_reads
        Whether the junctions of an ATSE share its reads, so that entries have no complement.
    apart
        Whether chunks end with each cell, so that sums of a cell do not depend on the others.
    tile
        Number of columns in a tile.
    value
        ``(B,)`` float64 log-likelihood without coefficients.
    sum_d_q
        ``(B,)`` float64 sum of d_q of each cell; used with two planes of ``dpsi``.
    dphi
        ``(B, W)`` float32 sum of (d_p - d_q) psi.
    dpsi
        ``(n_blocks, planes, P, W)`` float32: no plane for values only, one for the sum of
        (d_p - d_q) phi, two for those of d_p phi and -d_q phi.
    dkappa
        ``(n_blocks, 1 or P)`` float64.
    """
    for b in prange(blocks.shape[0] - 1):
        _sweep_block(
            b, blocks[b], blocks[b + 1], indptr, column, count, total, phi, psi, kappa, table,
            weight, shares_reads, apart, tile, value, sum_d_q, dphi, dpsi, dkappa,
        )  # fmt: skip


@njit(parallel=True, cache=True, **VECTOR)
def subtract_totals(blocks, indptr, atse, total, kappa, table, weight, value, dkappa):
    """Subtract the terms of kappa and n of each (cell, ATSE) from ``value`` and ``dkappa``.

    Arguments are those of :func:`sweep`, with ATSEs instead of columns.
    """
    per_atse = kappa.shape[0] > 1
    for b in prange(blocks.shape[0] - 1):
        for cell in range(blocks[b], blocks[b + 1]):
            w = weight[cell] if weight.shape[0] else 1.0
            for e in range(indptr[cell], indptr[cell + 1]):
                index = np.int64(atse[e]) if per_atse else 0
                if table.shape[0]:
                    total_value = table[np.int64(total[e]), 0]
                    d_kappa = table[np.int64(total[e]), 1]
                else:
                    k, n = kappa[index], np.float32(total[e])
                    total_value, d_kappa = rising(k, n, _ONE / (k + n))
                value[cell] -= total_value
                dkappa[b, index] -= w * d_kappa

"""The numba kernel that visits every entry once: dot products, likelihood, gradients.

Cells are cut into blocks; each block adds to a gradient of psi of its own. Within a block, groups
of cells are visited one tile of columns after the other, so that the rows of psi and of its
gradient in use stay in the second-level cache. Entries are gathered into chunks that may span
cells, whose likelihoods are vector code over entries; the products before and after it are vector
code over programs. Nothing depends on the number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from leafletfa_scvi.ops._lanes import dots, exchange
from leafletfa_scvi.ops._reference import LEAK
from leafletfa_scvi.ops._rising import VECTOR, log, rising

CHUNK = 512
GROUP = 512
_LEAK = np.float32(LEAK)
_SCALE = np.float32(1.0 - 2.0 * LEAK)
_ONE = np.float32(1.0)
# Rows of the chunk's buffers.
_MEAN, _COUNT, _TOTAL, _KAPPA, _VALUE, _FOR, _AGAINST, _RATE = range(8)


@njit(**VECTOR)
def _whole(total, kappa, table, value, rate, size):
    """Log-likelihood terms of kappa and n alone, from the table where there is one."""
    if table.shape[0]:
        for i in range(size):
            n = np.int64(total[i])
            value[i] = table[n, 0]
            rate[i] = table[n, 1]
    else:
        for i in range(size):
            value[i], rate[i] = rising(kappa[i], total[i], _ONE / (kappa[i] + total[i]))


@njit(**VECTOR)
def _beta_binomial(mean, count, total, kappa, value, g1, g0, rate, size):
    """Adds both sides of beta-binomial entries to minus what :func:`_whole` left."""
    for i in range(size):
        y, n, k = count[i], total[i], kappa[i]
        p = _LEAK + _SCALE * mean[i]
        q = _LEAK + _SCALE * (_ONE - mean[i])
        inverse = _ONE / (k + n)
        value1, rate1 = rising(k * p, y, inverse)
        value0, rate0 = rising(k * q, n - y, inverse)
        value[i] = value1 + value0 - value[i]
        g1[i] = _SCALE * k * rate1
        g0[i] = _SCALE * k * rate0
        rate[i] = p * rate1 + q * rate0 - rate[i]


@njit(**VECTOR)
def _dirichlet_multinomial(mean, count, total, kappa, value, g1, rate, size):
    for i in range(size):
        y, k = count[i], kappa[i]
        p = _LEAK + _SCALE * mean[i]
        value1, rate1 = rising(k * p, y, _ONE / (k + total[i]))
        value[i] = value1
        g1[i] = _SCALE * k * rate1
        rate[i] = p * rate1


@njit(**VECTOR)
def _binomial(mean, count, total, value, g1, g0, size):
    for i in range(size):
        y, n = count[i], total[i]
        p = _LEAK + _SCALE * mean[i]
        q = _LEAK + _SCALE * (_ONE - mean[i])
        value[i] = y * log(p) + (n - y) * log(q)
        g1[i] = _SCALE * y / p
        g0[i] = _SCALE * (n - y) / q


@njit(**VECTOR)
def _multinomial(mean, count, value, g1, size):
    for i in range(size):
        p = _LEAK + _SCALE * mean[i]
        value[i] = count[i] * log(p)
        g1[i] = _SCALE * count[i] / p


@njit(**VECTOR)
def _likelihood(chunk, table, shared, finite, size):
    """Log-likelihood and derivatives of the entries of a chunk."""
    mean, count, total, kappa = chunk[_MEAN], chunk[_COUNT], chunk[_TOTAL], chunk[_KAPPA]
    value, g1, g0, rate = chunk[_VALUE], chunk[_FOR], chunk[_AGAINST], chunk[_RATE]
    if shared:
        g0[:size] = 0.0
        if finite:
            _dirichlet_multinomial(mean, count, total, kappa, value, g1, rate, size)
        else:
            _multinomial(mean, count, value, g1, size)
    elif finite:
        _whole(total, kappa, table, value, rate, size)
        _beta_binomial(mean, count, total, kappa, value, g1, g0, rate, size)
    else:
        _binomial(mean, count, total, value, g1, g0, size)


@njit(error_model="numpy", fastmath=True)
def _sum(values):
    """Sum in float64."""
    out = 0.0
    for i in range(values.shape[0]):
        out += np.float64(values[i])
    return out


# Slices counted from 0: an index of unknown sign would be wrapped around, in scalar code.
@njit(inline="always")
def _gather(entries_from, entries_to):
    for i in range(entries_to.shape[0]):
        entries_to[i] = entries_from[i]


@njit(inline="always")
def _first_from(column, start, stop, bound):
    """First position in ``start:stop`` whose column is ``bound`` or more."""
    while start < stop:
        middle = (start + stop) // 2
        if column[middle] < bound:
            start = middle + 1
        else:
            stop = middle
    return start


@njit(**VECTOR)
def _flush(
    b, chunk, columns, cells, ends, n_segments, phi, psi, table, weight, shared, finite,
    value, against, dphi, rates, dkappa,
):  # fmt: skip
    """Likelihood of a chunk, and what it adds to the sums of cells, junctions and kappa."""
    size = ends[n_segments - 1]
    _likelihood(chunk, table, shared, finite, size)
    width = psi.shape[1]
    n_planes = rates.shape[1]
    g1, g0, rate = chunk[_FOR], chunk[_AGAINST], chunk[_RATE]
    start = 0
    for s in range(n_segments):
        cell, stop = cells[s], ends[s]
        value[cell] += _sum(chunk[_VALUE, start:stop])
        if n_planes == 2:
            against[cell] += _sum(g0[start:stop])
        if weight.shape[0]:
            w = np.float32(weight[cell])
            for i in range(start, stop):
                g1[i] *= w
                g0[i] *= w
                rate[i] *= w
        start = stop
    if n_planes == 0:
        return
    if finite:
        if dkappa.shape[1] == 1:
            dkappa[b, 0] += _sum(rate[:size])
        else:
            for i in range(size):
                dkappa[b, columns[i]] += rate[i]
    if n_planes == 1:
        for i in range(size):
            g1[i] -= g0[i]
    plane = b * n_planes * psi.shape[0]
    start = 0
    for s in range(n_segments):
        cell, stop = cells[s], ends[s]
        exchange(g1, phi, cell, psi, columns, start, stop, width, dphi, rates, plane)
        start = stop
    if n_planes == 1:
        return
    for i in range(size):
        g0[i] = -g0[i]
    start = 0
    for s in range(n_segments):
        cell, stop = cells[s], ends[s]
        other = plane + psi.shape[0]
        exchange(g0, phi, cell, psi, columns, start, stop, width, dphi, rates, other)
        start = stop


@njit(**VECTOR)
def _sweep_block(
    b, first, last, indptr, column, count, total, phi, psi, kappa, table, weight, shared, tile,
    value, against, dphi, rates, dkappa,
):  # fmt: skip
    width = psi.shape[1]
    finite = kappa[0] != np.inf
    per_column = kappa.shape[0] > 1
    chunk = np.empty((8, CHUNK), np.float32)
    chunk[_KAPPA] = kappa[0]
    columns = np.empty(CHUNK, np.int32)
    cells, ends = np.empty(CHUNK, np.int64), np.empty(CHUNK, np.int64)
    position = np.empty(GROUP, np.int64)
    for low in range(first, last, GROUP):
        high = min(low + GROUP, last)
        for cell in range(low, high):
            position[cell - low] = indptr[cell]
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
                    dots(phi, cell, psi, columns, size, size + n, width, chunk[_MEAN])
                    start += n
                    size += n
                    cells[n_segments], ends[n_segments] = cell, size
                    n_segments += 1
                    if size == CHUNK:
                        _flush(
                            b, chunk, columns, cells, ends, n_segments, phi, psi, table, weight,
                            shared, finite, value, against, dphi, rates, dkappa,
                        )  # fmt: skip
                        size = n_segments = 0
            if n_segments:
                _flush(
                    b, chunk, columns, cells, ends, n_segments, phi, psi, table, weight,
                    shared, finite, value, against, dphi, rates, dkappa,
                )  # fmt: skip


@njit(parallel=True, cache=True)
def sweep(
    blocks, indptr, column, count, total, phi, psi, kappa, table, weight, shared, tile,
    value, against, dphi, rates, dkappa,
):  # fmt: skip
    """Visit the entries of all cells; adds to the last five arguments.

    Parameters
    ----------
    blocks
        ``(n_blocks + 1,)`` int64, first cell of each block.
    indptr, column, count, total
        The entries.
    phi, psi
        ``(B, W)`` and ``(P, W)`` float32, W a multiple of the lanes, zeros beyond K.
    kappa
        ``(1,)`` or ``(P,)`` float32; the first one infinite for (multi)binomial entries.
    table
        Of :func:`rising_table`, or empty: computed for each entry.
    weight
        ``(B,)`` weights of the cells in the gradients, or empty for ones.
    shared
        The junctions of an ATSE share its total: only their own terms count.
    tile
        Columns in a tile.
    value
        ``(B,)`` float64 log-likelihood without coefficients.
    against
        ``(B,)`` float64 sum of g0 of each cell; used with two planes of ``rates``.
    dphi
        ``(B, W)`` float32 sum of (g1 - g0) psi.
    rates
        ``(n_blocks, planes, P, W)`` float32: no plane for values only, one for the sum of
        (g1 - g0) phi, two for those of g1 phi and -g0 phi.
    dkappa
        ``(n_blocks, 1 or P)`` float64.
    """
    for b in prange(blocks.shape[0] - 1):
        _sweep_block(
            b, blocks[b], blocks[b + 1], indptr, column, count, total, phi, psi, kappa, table,
            weight, shared, tile, value, against, dphi, rates, dkappa,
        )  # fmt: skip


@njit(parallel=True, cache=True, **VECTOR)
def subtract_totals(blocks, indptr, atse, total, kappa, table, weight, value, dkappa):
    """The terms of kappa and n alone of each (cell, ATSE), off ``value`` and ``dkappa``.

    Arguments as in :func:`sweep`, with an ATSE in place of a column.
    """
    per_atse = kappa.shape[0] > 1
    for b in prange(blocks.shape[0] - 1):
        for cell in range(blocks[b], blocks[b + 1]):
            w = weight[cell] if weight.shape[0] else 1.0
            for e in range(indptr[cell], indptr[cell + 1]):
                at = np.int64(atse[e]) if per_atse else 0
                if table.shape[0]:
                    whole = table[np.int64(total[e]), 0]
                    rate = table[np.int64(total[e]), 1]
                else:
                    k, n = kappa[at], np.float32(total[e])
                    whole, rate = rising(k, n, _ONE / (k + n))
                value[cell] -= whole
                dkappa[b, at] -= w * rate

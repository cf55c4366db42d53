"""Triton kernels of the numerical core, run by :mod:`leafletfa_scvi.ops._triton`.

Each program processes one segment: consecutive entries of one cell, or of one column. It reads
rows of ``psi`` (or ``phi``) as a tile of entries x programs, and keeps its sums in registers. Rows
are ``STRIDE`` floats apart, a multiple of 4, so that each is read in aligned loads of 16 bytes;
``BLOCK_K``, the next power of 2, exists in registers only.

All computations are in float32. Differences of lgamma and digamma use four steps of the recurrence
and Stirling's series, in a form without cancellation of large numbers.

Derivatives are named by what they are derivatives for: ``d_p`` is dL/dp, ``d_q`` is dL/dq for the
complement q = 1 - p (both as if free), and ``d_kappa`` is dL/dkappa; a ``slope`` is the derivative
of a log rising factorial for its first argument.
"""

from __future__ import annotations

import triton
import triton.language as tl

from leafletfa_scvi.ops._reference import MAX_CONCENTRATION, MISASSIGNMENT_RATE

_MISASSIGNMENT_RATE = tl.constexpr(MISASSIGNMENT_RATE)
_SCALE = tl.constexpr(1.0 - 2.0 * MISASSIGNMENT_RATE)
_LARGEST = tl.constexpr(MAX_CONCENTRATION)


@triton.jit
def _stirling(r):
    """Compute the remainder of Stirling's series of lgamma at 1 / r."""
    r2 = r * r
    return r * (1.0 / 12 - r2 * (1.0 / 360 - r2 * (1.0 / 1260)))


@triton.jit
def _stirling_slope(r):
    """Compute the series of log(z) - digamma(z) at z = 1 / r."""
    r2 = r * r
    return 0.5 * r + r2 * (1.0 / 12 - r2 * (1.0 / 120 - r2 * (1.0 / 252)))


@triton.jit
def _rising(a, m, inverse):
    """Compute log a (a + 1) .. (a + m - 1) + m log(inverse), and its derivative for a.

    ``inverse`` is 1 / (kappa + n). Its logs cancel between the terms of an entry, and remove the
    largest part of each, which float32 could not represent precisely.
    """
    b = a + m
    a1, a2, a3 = a + 1.0, a + 2.0, a + 3.0
    b1, b2, b3 = b + 1.0, b + 2.0, b + 3.0
    low_a, low_b, high_a, high_b = a * a1, b * b1, a2 * a3, b2 * b3
    low = 1.0 / (low_a * low_b)
    high = 1.0 / (high_a * high_b)
    shift_slope = m * ((a * b + a1 * b1) * low + (a2 * b2 + a3 * b3) * high)
    shift = (low_a * low_a * low) * (high_a * high_a * high)
    a4, b4 = a + 4.0, b + 4.0
    both = 1.0 / (a4 * b4)
    ra, rb = b4 * both, a4 * both
    x = m * ra
    u = 1.0 + x
    growth = tl.log(u) + (x - (u - 1.0)) * (a4 * rb)
    value = m * tl.log(b4 * inverse) + ((a4 - 0.5) * growth - m)
    value += _stirling(rb) - _stirling(ra) + tl.log(shift)
    slope = shift_slope + growth + _stirling_slope(ra) - _stirling_slope(rb)
    return tl.where(m > 0.0, value, 0.0), slope


@triton.jit
def _probability(f, s):
    """Compute the probability p of each entry of a tile, and its complement q.

    The gather changes no value. It moves the sums from the layout of the tile, where all threads
    of a row hold the same one, to one entry per thread; otherwise all following computations
    would be repeated by these threads.
    """
    mean = tl.sum(f[None, :] * s, axis=1)
    mean = tl.minimum(tl.gather(mean, tl.arange(0, mean.shape[0]), 0), 1.0)
    return mean * _SCALE + _MISASSIGNMENT_RATE, (1.0 - mean) * _SCALE + _MISASSIGNMENT_RATE


@triton.jit
def _binomial(p, q, y, other_reads):
    """Compute the log-likelihood of each entry, dL/dp and dL/dq (p and q free)."""
    return y * tl.log(p) + other_reads * tl.log(q), y / p, other_reads / q


@triton.jit
def _total_terms(n, kappa, table):
    """Compute log kappa .. (kappa + n - 1) / (kappa + n)^n, and its derivative for kappa."""
    if table is not None:
        pointer = table + 2 * n.to(tl.int32)
        value, slope = tl.load(pointer), tl.load(pointer + 1)
    else:
        value, slope = _rising(kappa + tl.zeros_like(n), n, 1.0 / (kappa + n))
    return value, slope


@triton.jit
def _beta_binomial(p, q, y, other_reads, n, kappa, table, READS: tl.constexpr):
    """Compute the same with a concentration, and dL/dkappa.

    If ``READS``, entries are shares of an ATSE: they have no complement, and
    :func:`totals_kernel` computes the terms of n and kappa alone.
    """
    inverse = 1.0 / (kappa + n)
    value, slope_p = _rising(kappa * p, y, inverse)
    d_p = kappa * slope_p
    d_kappa = p * slope_p
    d_q = tl.zeros_like(d_p)
    if not READS:
        value0, slope_q = _rising(kappa * q, other_reads, inverse)
        total_value, slope = _total_terms(n, kappa, table)
        value += value0 - total_value
        d_q = kappa * slope_q
        d_kappa += q * slope_q - slope
    return value, d_p, d_q, d_kappa


@triton.jit
def table_kernel(kappa, table, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    """Tabulate :func:`_total_terms` for a scalar kappa and each n below ``SIZE``."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value, slope = _total_terms(n.to(tl.float32), tl.minimum(tl.load(kappa), _LARGEST), None)
    tl.store(table + 2 * n, value, mask=n < SIZE)
    tl.store(table + 2 * n + 1, slope, mask=n < SIZE)


@triton.jit
def row_kernel(
    segments,
    n_segments,
    column,
    count,
    total,
    phi,
    psi,
    kappa,
    table,
    weight,
    value,
    by_row,
    kappa_sum,
    by_column,
    plane,
    kappa_by_column,
    slopes,
    STRIDE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_E: tl.constexpr,
    STAGES: tl.constexpr,
    N_FACTORS: tl.constexpr,
    READS: tl.constexpr,
    PER_COLUMN: tl.constexpr,
):
    """Process the entries of one segment of a cell.

    Parameters
    ----------
    segments
        ``(3, n_segments)`` cell, first entry and end of each segment.
    kappa
        ``(1,)``, or ``(P,)`` if ``PER_COLUMN``; None for the binomial and the multinomial.
    table
        From :func:`table_kernel`, or None.
    weight
        ``(B,)`` factor of each cell's derivatives, or None.
    value, by_row, kappa_sum
        Sums of each segment: the log-likelihood, the derivatives for phi (or the expected counts
        over phi), ``STRIDE`` of them, and the derivative for a scalar kappa.
    by_column, kappa_by_column
        Zeros to which the derivatives for psi (or the expected counts: two arrays ``(P, STRIDE)``,
        ``plane`` apart) and those for kappa are added by atomics.
    slopes
        ``(nnz, C)`` derivatives of each entry for :func:`column_kernel`, instead of atomics.
    N_FACTORS
        0 for the log-likelihood only. 1 for derivatives, in which dL/dm is the factor of phi. 2
        for expected counts, in which dL/dp and dL/dq are factors. If ``READS``, dL/dq is 0, and 1
        gives expected counts, too.
    """
    segment = tl.program_id(0).to(tl.int64)
    cell = tl.load(segments + segment)
    start = tl.load(segments + n_segments + segment)
    n_entries = (tl.load(segments + 2 * n_segments + segment) - start).to(tl.int32)
    k = tl.arange(0, BLOCK_K)
    f = tl.load(phi + cell * STRIDE + k, mask=k < STRIDE, other=0.0)
    factor = 1.0
    if weight is not None:
        factor = tl.load(weight + cell)
    # One sum for each entry of the tile: threads are reduced only once, after the loop.
    value_sum = tl.zeros([BLOCK_E], tl.float32)
    grad_sum = tl.zeros([BLOCK_E], tl.float32)
    row_sum = tl.zeros([BLOCK_K], tl.float32)
    for offset in tl.range(0, n_entries, BLOCK_E, num_stages=STAGES):
        i = offset + tl.arange(0, BLOCK_E)
        inside = i < n_entries
        entry = start + i
        j = tl.load(column + entry, mask=inside, other=0).to(tl.int64)
        y = tl.load(count + entry, mask=inside, other=0).to(tl.float32)
        n = tl.load(total + entry, mask=inside, other=0).to(tl.float32)
        programs = (j * STRIDE)[:, None] + k[None, :]
        s = tl.load(psi + programs, mask=(k < STRIDE)[None, :], other=0.0)
        p, q = _probability(f, s)
        other_reads = tl.zeros_like(y) if READS else n - y
        if kappa is None:
            v, d_p, d_q = _binomial(p, q, y, other_reads)
        elif PER_COLUMN:
            kappa_j = tl.minimum(tl.load(kappa + j), _LARGEST)
            v, d_p, d_q, d_kappa = _beta_binomial(p, q, y, other_reads, n, kappa_j, table, READS)
        else:
            kappa_j = tl.minimum(tl.load(kappa), _LARGEST)
            v, d_p, d_q, d_kappa = _beta_binomial(p, q, y, other_reads, n, kappa_j, table, READS)
        value_sum += v
        if N_FACTORS > 0:
            d_p *= factor * _SCALE
            d_q *= factor * _SCALE
            if N_FACTORS == 1:
                d_p -= d_q  # dL/dm: q = 1 - p moves with p
                row_sum += tl.sum(d_p[:, None] * s, axis=0)
            else:
                row_sum += tl.sum(d_p[:, None] * s + d_q[:, None] * (1.0 - s), axis=0)
            width: tl.constexpr = N_FACTORS + PER_COLUMN
            if slopes is not None:
                tl.store(slopes + entry * width, d_p, mask=inside)
                if N_FACTORS == 2:
                    tl.store(slopes + entry * width + 1, d_q, mask=inside)
            else:
                both = inside[:, None] & (k < STRIDE)[None, :]
                # Relaxed, as no other memory operation depends on the order of these additions.
                target = by_column + programs
                tl.atomic_add(target, d_p[:, None] * f[None, :], mask=both, sem="relaxed")
                if N_FACTORS == 2:
                    target += plane
                    tl.atomic_add(target, d_q[:, None] * f[None, :], mask=both, sem="relaxed")
            if kappa is not None:
                d_kappa *= factor
                if not PER_COLUMN:
                    grad_sum += d_kappa
                elif slopes is not None:
                    tl.store(slopes + entry * width + N_FACTORS, d_kappa, mask=inside)
                else:
                    tl.atomic_add(kappa_by_column + j, d_kappa, mask=inside, sem="relaxed")
    tl.store(value + segment, tl.sum(value_sum, axis=0))
    if N_FACTORS > 0:
        tl.store(by_row + segment * STRIDE + k, row_sum, mask=k < STRIDE)
        if kappa_sum is not None:
            tl.store(kappa_sum + segment, tl.sum(grad_sum, axis=0))


@triton.jit
def totals_kernel(
    segments,
    n_segments,
    column,
    total,
    kappa,
    table,
    weight,
    value,
    kappa_sum,
    kappa_by_column,
    slopes,
    BLOCK_E: tl.constexpr,
    PER_COLUMN: tl.constexpr,
):
    """Process the ATSE totals of one segment of a cell: terms of n and kappa alone.

    Parameters are those of :func:`row_kernel`; ``kappa`` is ``(1,)`` or one value per ATSE. The
    derivative is omitted if no output for it is given.
    """
    segment = tl.program_id(0).to(tl.int64)
    cell = tl.load(segments + segment)
    start = tl.load(segments + n_segments + segment)
    n_entries = (tl.load(segments + 2 * n_segments + segment) - start).to(tl.int32)
    factor = 1.0
    if weight is not None:
        factor = tl.load(weight + cell)
    value_sum = tl.zeros([BLOCK_E], tl.float32)
    grad_sum = tl.zeros([BLOCK_E], tl.float32)
    for offset in range(0, n_entries, BLOCK_E):
        i = offset + tl.arange(0, BLOCK_E)
        inside = i < n_entries
        n = tl.load(total + start + i, mask=inside, other=0).to(tl.float32)
        j = tl.load(column + start + i, mask=inside, other=0)
        kappa_j = tl.load(kappa + j) if PER_COLUMN else tl.load(kappa)
        v, g = _total_terms(n, tl.minimum(kappa_j, _LARGEST), table)
        value_sum += v
        g *= -factor
        if slopes is not None:
            tl.store(slopes + start + i, g, mask=inside)
        elif kappa_by_column is not None:
            tl.atomic_add(kappa_by_column + j, g, mask=inside, sem="relaxed")
        else:
            grad_sum += g
    tl.store(value + segment, -tl.sum(value_sum, axis=0))
    if kappa_sum is not None:
        tl.store(kappa_sum + segment, tl.sum(grad_sum, axis=0))


@triton.jit
def column_kernel(
    segments,
    n_segments,
    order,
    row,
    slopes,
    phi,
    by_column,
    kappa_sum,
    STRIDE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_E: tl.constexpr,
    STAGES: tl.constexpr,
    N_FACTORS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Sum the derivatives stored by :func:`row_kernel` over one segment of a column.

    Parameters
    ----------
    order, row
        Position of each entry of the column order in the row order, and its cell.
    slopes
        ``(nnz, WIDTH)``: ``N_FACTORS`` factors of phi, then dL/dkappa if ``kappa_sum`` is given.
    by_column, kappa_sum
        Sums of each segment, ``(n_segments, N_FACTORS, STRIDE)`` and ``(n_segments,)``.
    """
    segment = tl.program_id(0).to(tl.int64)
    start = tl.load(segments + n_segments + segment)
    n_entries = (tl.load(segments + 2 * n_segments + segment) - start).to(tl.int32)
    k = tl.arange(0, BLOCK_K)
    sum1 = tl.zeros([BLOCK_E, BLOCK_K], tl.float32)
    sum0 = tl.zeros([BLOCK_E, BLOCK_K], tl.float32)
    grad_sum = tl.zeros([BLOCK_E], tl.float32)
    for offset in tl.range(0, n_entries, BLOCK_E, num_stages=STAGES):
        i = offset + tl.arange(0, BLOCK_E)
        inside = i < n_entries
        entry = tl.load(order + start + i, mask=inside, other=0).to(tl.int64) * WIDTH
        if N_FACTORS > 0:
            cell = tl.load(row + start + i, mask=inside, other=0).to(tl.int64)
            activities = (cell * STRIDE)[:, None] + k[None, :]
            f = tl.load(phi + activities, mask=(k < STRIDE)[None, :], other=0.0)
            d_p = tl.load(slopes + entry, mask=inside, other=0.0)
            sum1 += d_p[:, None] * f
            if N_FACTORS == 2:
                d_q = tl.load(slopes + entry + 1, mask=inside, other=0.0)
                sum0 += d_q[:, None] * f
        if kappa_sum is not None:
            grad_sum += tl.load(slopes + entry + N_FACTORS, mask=inside, other=0.0)
    if N_FACTORS > 0:
        target = by_column + segment * N_FACTORS * STRIDE + k
        tl.store(target, tl.sum(sum1, axis=0), mask=k < STRIDE)
        if N_FACTORS == 2:
            tl.store(target + STRIDE, tl.sum(sum0, axis=0), mask=k < STRIDE)
    if kappa_sum is not None:
        tl.store(kappa_sum + segment, tl.sum(grad_sum, axis=0))


@triton.jit
def sum_kernel(
    first,
    part,
    out,
    n_rows,
    WIDTH: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_W: tl.constexpr,
):
    """Sum rows ``first[r]:first[r + 1]`` of ``part`` to row r of ``out``, one after the other."""
    r = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    w = tl.arange(0, BLOCK_W)
    exists = r < n_rows
    begin = tl.load(first + r, mask=exists, other=0)
    end = tl.load(first + r + 1, mask=exists, other=0)
    acc = tl.zeros([BLOCK_R, BLOCK_W], out.dtype.element_ty)
    for i in range(0, tl.max(end - begin, axis=0).to(tl.int32)):
        row = begin + i
        mask = (row < end)[:, None] & (w < WIDTH)[None, :]
        value = tl.load(part + row[:, None] * WIDTH + w[None, :], mask=mask, other=0.0)
        acc += value.to(acc.dtype)
    mask = exists[:, None] & (w < WIDTH)[None, :]
    tl.store(out + r[:, None] * WIDTH + w[None, :], acc, mask=mask)

"""Triton kernels of the numerical core; :mod:`leafletfa_scvi.ops._triton` launches them.

One program sweeps one segment: consecutive entries of one cell, or of one column. It reads rows of
``psi`` (or ``phi``) as a tile of entries x programs, and keeps its sums in registers until the
end. Rows in memory are ``STRIDE`` floats apart, a multiple of 4, so that a row is read in aligned
loads of 16 bytes; ``BLOCK_K``, the power of 2 above it, exists in registers alone.

Everything is float32. The differences of lgamma and digamma are taken by a shift of four and
Stirling's series, in a form that subtracts no large numbers from each other.
"""

from __future__ import annotations

import triton
import triton.language as tl

from leafletfa_scvi.ops._reference import LEAK, MAX_CONCENTRATION

_LEAK = tl.constexpr(LEAK)
_SCALE = tl.constexpr(1.0 - 2.0 * LEAK)
_LARGEST = tl.constexpr(MAX_CONCENTRATION)


@triton.jit
def _stirling(r):
    """Rest of Stirling's series of lgamma at 1 / r."""
    r2 = r * r
    return r * (1.0 / 12 - r2 * (1.0 / 360 - r2 * (1.0 / 1260)))


@triton.jit
def _stirling_rate(r):
    """Rest of the series of log(z) - digamma(z) at z = 1 / r."""
    r2 = r * r
    return 0.5 * r + r2 * (1.0 / 12 - r2 * (1.0 / 120 - r2 * (1.0 / 252)))


@triton.jit
def _rising(a, m, inverse):
    """Log of a (a + 1) .. (a + m - 1), plus m log(inverse); and its derivative in a.

    ``inverse`` is 1 / (kappa + n). Its logs cancel between the terms of an entry, and with them
    the largest part of each.
    """
    b = a + m
    a1, a2, a3 = a + 1.0, a + 2.0, a + 3.0
    b1, b2, b3 = b + 1.0, b + 2.0, b + 3.0
    low_a, low_b, high_a, high_b = a * a1, b * b1, a2 * a3, b2 * b3
    low = 1.0 / (low_a * low_b)
    high = 1.0 / (high_a * high_b)
    shift_rate = m * ((a * b + a1 * b1) * low + (a2 * b2 + a3 * b3) * high)
    shift = (low_a * low_a * low) * (high_a * high_a * high)
    a4, b4 = a + 4.0, b + 4.0
    both = 1.0 / (a4 * b4)
    ra, rb = b4 * both, a4 * both
    x = m * ra
    u = 1.0 + x
    growth = tl.log(u) + (x - (u - 1.0)) * (a4 * rb)
    value = m * tl.log(b4 * inverse) + ((a4 - 0.5) * growth - m)
    value += _stirling(rb) - _stirling(ra) + tl.log(shift)
    rate = shift_rate + growth + _stirling_rate(ra) - _stirling_rate(rb)
    return tl.where(m > 0.0, value, 0.0), rate


@triton.jit
def _probability(f, s):
    """Probability p of each entry of a tile, and its complement q.

    The gather changes no value. It moves the sums from the layout of the tile, where all threads
    of a row hold the same one, to one entry per thread: what follows would be done several times.
    """
    mean = tl.sum(f[None, :] * s, axis=1)
    mean = tl.minimum(tl.gather(mean, tl.arange(0, mean.shape[0]), 0), 1.0)
    return mean * _SCALE + _LEAK, (1.0 - mean) * _SCALE + _LEAK


@triton.jit
def _binomial(p, q, y, rest):
    """Log-likelihood of each entry, dL/dp and dL/dq (p and q free)."""
    return y * tl.log(p) + rest * tl.log(q), y / p, rest / q


@triton.jit
def _whole(n, kappa, table):
    """Log of kappa (kappa + 1) .. (kappa + n - 1) / (kappa + n)^n and its derivative in kappa."""
    if table is not None:
        at = table + 2 * n.to(tl.int32)
        value, rate = tl.load(at), tl.load(at + 1)
    else:
        value, rate = _rising(kappa + tl.zeros_like(n), n, 1.0 / (kappa + n))
    return value, rate


@triton.jit
def _beta_binomial(p, q, y, rest, n, kappa, table, READS: tl.constexpr):
    """The same with a concentration, and dL/dkappa.

    Where ``READS``, entries are shares of an ATSE: there is no rest, and :func:`totals_kernel` has
    the terms that hold n and kappa alone.
    """
    inverse = 1.0 / (kappa + n)
    value, rate1 = _rising(kappa * p, y, inverse)
    g1 = kappa * rate1
    gk = p * rate1
    g0 = tl.zeros_like(g1)
    if not READS:
        value0, rate0 = _rising(kappa * q, rest, inverse)
        whole, rate = _whole(n, kappa, table)
        value += value0 - whole
        g0 = kappa * rate0
        gk += q * rate0 - rate
    return value, g1, g0, gk


@triton.jit
def table_kernel(kappa, table, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    """Both results of :func:`_whole` for a scalar kappa and each n below ``SIZE``."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value, rate = _whole(n.to(tl.float32), tl.minimum(tl.load(kappa), _LARGEST), None)
    tl.store(table + 2 * n, value, mask=n < SIZE)
    tl.store(table + 2 * n + 1, rate, mask=n < SIZE)


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
    rates,
    STRIDE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_E: tl.constexpr,
    STAGES: tl.constexpr,
    N_FACTORS: tl.constexpr,
    READS: tl.constexpr,
    PER_COLUMN: tl.constexpr,
):
    """Sweep the entries of one segment of a cell.

    Parameters
    ----------
    segments
        ``(3, n_segments)`` cell, first entry and end of each segment.
    kappa
        ``(1,)``, or ``(P,)`` where ``PER_COLUMN``; None for the binomial and the multinomial.
    table
        From :func:`table_kernel`, or None.
    weight
        ``(B,)`` factor of each cell's derivatives, or None.
    value, by_row, kappa_sum
        Sums of each segment: the log-likelihood, the derivatives for phi (or the expected counts
        over phi), ``STRIDE`` of them, and the derivative for a scalar kappa.
    by_column, kappa_by_column
        Zeros to which the derivatives for psi (or the expected counts: two arrays ``(P, STRIDE)``,
        ``plane`` apart) and those for kappa are added.
    rates
        Or else, ``(nnz, C)``: what :func:`column_kernel` needs of each entry.
    N_FACTORS
        0: log-likelihood alone. 1: derivatives, where dL/dm is the factor of phi in that for psi.
        2: expected counts, where dL/dp and dL/dq are. With ``READS`` there is no dL/dq, and 1
        gives expected counts as well.
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
    value_sum = tl.zeros([BLOCK_E], tl.float32)
    grad_sum = tl.zeros([BLOCK_E], tl.float32)
    row_sum = tl.zeros([BLOCK_K], tl.float32)
    for at in tl.range(0, n_entries, BLOCK_E, num_stages=STAGES):
        i = at + tl.arange(0, BLOCK_E)
        inside = i < n_entries
        entry = start + i
        j = tl.load(column + entry, mask=inside, other=0).to(tl.int64)
        y = tl.load(count + entry, mask=inside, other=0).to(tl.float32)
        n = tl.load(total + entry, mask=inside, other=0).to(tl.float32)
        programs = (j * STRIDE)[:, None] + k[None, :]
        s = tl.load(psi + programs, mask=(k < STRIDE)[None, :], other=0.0)
        p, q = _probability(f, s)
        rest = tl.zeros_like(y) if READS else n - y
        if kappa is None:
            v, g1, g0 = _binomial(p, q, y, rest)
        elif PER_COLUMN:
            own = tl.minimum(tl.load(kappa + j), _LARGEST)
            v, g1, g0, gk = _beta_binomial(p, q, y, rest, n, own, table, READS)
        else:
            own = tl.minimum(tl.load(kappa), _LARGEST)
            v, g1, g0, gk = _beta_binomial(p, q, y, rest, n, own, table, READS)
        value_sum += v
        if N_FACTORS > 0:
            g1 *= factor * _SCALE
            g0 *= factor * _SCALE
            if N_FACTORS == 1:
                g1 -= g0
                row_sum += tl.sum(g1[:, None] * s, axis=0)
            else:
                row_sum += tl.sum(g1[:, None] * s + g0[:, None] * (1.0 - s), axis=0)
            width: tl.constexpr = N_FACTORS + PER_COLUMN
            if rates is not None:
                tl.store(rates + entry * width, g1, mask=inside)
                if N_FACTORS == 2:
                    tl.store(rates + entry * width + 1, g0, mask=inside)
            else:
                both = inside[:, None] & (k < STRIDE)[None, :]
                target = by_column + programs
                tl.atomic_add(target, g1[:, None] * f[None, :], mask=both, sem="relaxed")
                if N_FACTORS == 2:
                    target += plane
                    tl.atomic_add(target, g0[:, None] * f[None, :], mask=both, sem="relaxed")
            if kappa is not None:
                gk *= factor
                if not PER_COLUMN:
                    grad_sum += gk
                elif rates is not None:
                    tl.store(rates + entry * width + N_FACTORS, gk, mask=inside)
                else:
                    tl.atomic_add(kappa_by_column + j, gk, mask=inside, sem="relaxed")
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
    rates,
    BLOCK_E: tl.constexpr,
    PER_COLUMN: tl.constexpr,
):
    """Sweep the ATSE totals of one segment of a cell: terms that hold n and kappa alone.

    Parameters are as in :func:`row_kernel`; ``kappa`` is ``(1,)`` or one value per ATSE, and the
    derivative is skipped where there is nowhere to put it.
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
    for at in range(0, n_entries, BLOCK_E):
        i = at + tl.arange(0, BLOCK_E)
        inside = i < n_entries
        n = tl.load(total + start + i, mask=inside, other=0).to(tl.float32)
        j = tl.load(column + start + i, mask=inside, other=0)
        own = tl.load(kappa + j) if PER_COLUMN else tl.load(kappa)
        v, g = _whole(n, tl.minimum(own, _LARGEST), table)
        value_sum += v
        g *= -factor
        if rates is not None:
            tl.store(rates + start + i, g, mask=inside)
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
    rates,
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
    """Sum over one segment of a column what :func:`row_kernel` kept of each entry.

    Parameters
    ----------
    order, row
        Position of each entry, column by column, among the entries row by row; and its cell.
    rates
        ``(nnz, WIDTH)``: ``N_FACTORS`` factors of phi, then dL/dkappa if ``kappa_sum`` is there.
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
    for at in tl.range(0, n_entries, BLOCK_E, num_stages=STAGES):
        i = at + tl.arange(0, BLOCK_E)
        inside = i < n_entries
        entry = tl.load(order + start + i, mask=inside, other=0).to(tl.int64) * WIDTH
        if N_FACTORS > 0:
            cell = tl.load(row + start + i, mask=inside, other=0).to(tl.int64)
            activities = (cell * STRIDE)[:, None] + k[None, :]
            f = tl.load(phi + activities, mask=(k < STRIDE)[None, :], other=0.0)
            g1 = tl.load(rates + entry, mask=inside, other=0.0)
            sum1 += g1[:, None] * f
            if N_FACTORS == 2:
                g0 = tl.load(rates + entry + 1, mask=inside, other=0.0)
                sum0 += g0[:, None] * f
        if kappa_sum is not None:
            grad_sum += tl.load(rates + entry + N_FACTORS, mask=inside, other=0.0)
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
        at = begin + i
        mask = (at < end)[:, None] & (w < WIDTH)[None, :]
        value = tl.load(part + at[:, None] * WIDTH + w[None, :], mask=mask, other=0.0)
        acc += value.to(acc.dtype)
    mask = exists[:, None] & (w < WIDTH)[None, :]
    tl.store(out + r[:, None] * WIDTH + w[None, :], acc, mask=mask)

"""Fused numba kernels: one pass over the observed entries, no array of entries x K.

Cells are cut into a number of blocks that depends on the data alone. Each block has its own
gradient of psi and kappa, and the blocks are added in order, so results repeat bitwise for any
number of threads. Sums over cells are made in the dtype of psi, everything per entry in float64.

Counts are small integers, so lgamma(a + m) - lgamma(a) is the log of the product
a (a + 1) .. (a + m - 1) and its derivative the sum of reciprocals, kept as one rational number
until the end; above 16 factors the asymptotic series of both ends takes over.
"""

from __future__ import annotations

import logging
import threading
from math import log, log1p
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch
from numba import njit, prange

from leafletfa_scvi.ops._reference import LEAK, ExpectedCounts

if TYPE_CHECKING:
    from collections.abc import Callable

    from leafletfa_scvi.ops._entries import ObservedEntries

logger = logging.getLogger(__name__)

_FASTMATH = {"reassoc", "contract", "arcp", "nsz"}
_GRADIENT_BYTES = 64 << 20
_TABLE = 4096
_SCALE = 1.0 - 2.0 * LEAK
# One kernel at a time: concurrent calls abort under numba's workqueue layer.
_lock = threading.Lock()
_announced = False


@njit(fastmath=_FASTMATH, inline="always")
def _rising(a, m):
    """Log and derivative in a of a (a + 1) .. (a + m - 1)."""
    numerator = 0.0
    product = 1.0
    if m <= 16.0 and a < 1e15:  # beyond, the product of 16 factors overflows
        for _ in range(int(m)):
            numerator = numerator * a + product
            product *= a
            a += 1.0
        return log(product), numerator / product
    while a < 10.0:
        numerator = numerator * a + product
        product *= a
        a += 1.0
        m -= 1.0
    b = a + m
    growth = log1p(m / a)
    ra, rb = 1.0 / a, 1.0 / b
    ra2, rb2 = ra * ra, rb * rb
    stirling_a = ra * (1.0 / 12 - ra2 * (1.0 / 360 - ra2 * (1.0 / 1260 - ra2 / 1680)))
    stirling_b = rb * (1.0 / 12 - rb2 * (1.0 / 360 - rb2 * (1.0 / 1260 - rb2 / 1680)))
    value = m * log(b) + (a - 0.5) * growth - m + stirling_b - stirling_a
    psi_a = 0.5 * ra + ra2 * (1.0 / 12 - ra2 * (1.0 / 120 - ra2 * (1.0 / 252 - ra2 / 240)))
    psi_b = 0.5 * rb + rb2 * (1.0 / 12 - rb2 * (1.0 / 120 - rb2 * (1.0 / 252 - rb2 / 240)))
    return value + log(product), growth + psi_a - psi_b + numerator / product


@njit(fastmath=_FASTMATH, inline="always")
def _entry(mean, y, n, kappa, table):
    """Log-likelihood without coefficient, dL/dp, dL/dq (p, q free) and dL/dkappa of one entry."""
    p = LEAK + _SCALE * mean
    q = LEAK + _SCALE * (1.0 - mean)
    if kappa == np.inf:
        return y * log(p) + (n - y) * log(q), y / p, (n - y) / q, 0.0
    value1, rate1 = _rising(kappa * p, y)
    value0, rate0 = _rising(kappa * q, n - y)
    if n < table.shape[0]:
        value, rate = table[int(n), 0], table[int(n), 1]
    else:
        value, rate = _rising(kappa, n)
    return value1 + value0 - value, kappa * rate1, kappa * rate0, p * rate1 + q * rate0 - rate


@njit(cache=True)
def _rising_table(kappa, size):
    out = np.empty((size, 2))
    for m in range(size):
        out[m, 0], out[m, 1] = _rising(kappa, float(m))
    return out


@njit(parallel=True, fastmath=_FASTMATH, cache=True)
def _value_kernel(blocks, indptr, column, count, total, phi, psi, kappa, table, value):
    n_programs = phi.shape[1]
    stride = 1 if kappa.shape[0] > 1 else 0
    for b in prange(blocks.shape[0] - 1):
        for c in range(blocks[b], blocks[b + 1]):
            cell_value = 0.0
            for e in range(indptr[c], indptr[c + 1]):
                j = column[e]
                mean = psi.dtype.type(0.0)
                for k in range(n_programs):
                    mean += phi[c, k] * psi[j, k]
                v, _, _, _ = _entry(
                    float(mean), float(count[e]), float(total[e]), kappa[j * stride], table
                )
                cell_value += v
            value[c] = cell_value


@njit(parallel=True, fastmath=_FASTMATH, cache=True)
def _gradient_kernel(
    blocks, indptr, column, count, total, phi, psi, kappa, table, weight, value, dphi, dpsi, dkappa
):
    n_programs = phi.shape[1]
    stride = 1 if kappa.shape[0] > 1 else 0
    weighted = weight.shape[0] > 0
    for b in prange(blocks.shape[0] - 1):
        for c in range(blocks[b], blocks[b + 1]):
            cell_value = 0.0
            w = weight[c] if weighted else 1.0
            for e in range(indptr[c], indptr[c + 1]):
                j = column[e]
                mean = psi.dtype.type(0.0)
                for k in range(n_programs):
                    mean += phi[c, k] * psi[j, k]
                v, g1, g0, gk = _entry(
                    float(mean), float(count[e]), float(total[e]), kappa[j * stride], table
                )
                cell_value += v
                dkappa[b, j * stride] += w * gk
                g = psi.dtype.type(w * _SCALE * (g1 - g0))
                for k in range(n_programs):
                    dphi[c, k] += g * psi[j, k]
                    dpsi[b, j, k] += g * phi[c, k]
            value[c] = cell_value


@njit(parallel=True, fastmath=_FASTMATH, cache=True)
def _counts_kernel(
    blocks, indptr, column, count, total, phi, psi, kappa, table, value, activity, rate, dkappa
):
    n_programs = phi.shape[1]
    stride = 1 if kappa.shape[0] > 1 else 0
    for b in prange(blocks.shape[0] - 1):
        for c in range(blocks[b], blocks[b + 1]):
            cell_value = 0.0
            cell_rate = 0.0
            for e in range(indptr[c], indptr[c + 1]):
                j = column[e]
                mean = psi.dtype.type(0.0)
                for k in range(n_programs):
                    mean += phi[c, k] * psi[j, k]
                v, g1, g0, gk = _entry(
                    float(mean), float(count[e]), float(total[e]), kappa[j * stride], table
                )
                cell_value += v
                cell_rate += _SCALE * g0
                dkappa[b, j * stride] += gk
                r1 = psi.dtype.type(_SCALE * g1)
                r0 = psi.dtype.type(_SCALE * g0)
                d = r1 - r0
                for k in range(n_programs):
                    activity[c, k] += d * psi[j, k]
                    rate[b, 0, j, k] += r1 * phi[c, k]
                    rate[b, 1, j, k] += r0 * phi[c, k]
            value[c] = cell_value
            for k in range(n_programs):
                activity[c, k] = phi[c, k] * (activity[c, k] + cell_rate)


def _blocks(indptr: np.ndarray, bytes_per_block: int) -> np.ndarray:
    """Boundaries of cell blocks with about equal numbers of entries; a function of the data."""
    n_blocks = int(np.clip(_GRADIENT_BYTES // max(bytes_per_block, 1), 2, 16))
    goal = np.linspace(0, indptr[-1], n_blocks + 1)
    bounds = np.searchsorted(indptr, goal)
    bounds[0], bounds[-1] = 0, indptr.shape[0] - 1
    return bounds.astype(np.int64)


def _launch(kernel: Callable[..., Any], *args: Any) -> None:
    """Run a kernel on torch's number of threads and leave torch's setting as it was."""
    global _announced
    if not _announced and not kernel.signatures:  # type: ignore[attr-defined]
        logger.info("Preparing CPU kernels; they are compiled once per machine.")
        _announced = True
    with _lock:
        n_threads, numba_threads = torch.get_num_threads(), numba.get_num_threads()
        numba.set_num_threads(max(1, min(n_threads, numba.config.NUMBA_NUM_THREADS)))
        try:
            kernel(*args)
        finally:
            numba.set_num_threads(numba_threads)
            if torch.get_num_threads() != n_threads:
                torch.set_num_threads(n_threads)


def _array(tensor: torch.Tensor, dtype: torch.dtype) -> np.ndarray:
    return np.asarray(tensor.detach().to(dtype).contiguous().numpy())


class _Arguments:
    """Inputs of a kernel as contiguous arrays, and the table of the terms that hold only n."""

    def __init__(
        self,
        entries: ObservedEntries,
        phi: torch.Tensor,
        psi: torch.Tensor,
        concentration: torch.Tensor | None,
        psi_buffers: int,
    ) -> None:
        dtype = torch.promote_types(phi.dtype, psi.dtype)
        self.phi, self.psi = _array(phi, dtype), _array(psi, dtype)
        if concentration is None:
            self.kappa = np.array([np.inf])
        else:
            self.kappa = _array(concentration.reshape(-1), torch.float64)
        if self.kappa.shape[0] == 1 and np.isfinite(self.kappa[0]):
            self.table = _rising_table(self.kappa[0], _TABLE)
        else:
            self.table = np.empty((0, 2))
        indptr = entries.indptr.numpy()
        self.blocks = _blocks(indptr, psi_buffers * self.psi.nbytes)
        self.n_blocks = self.blocks.shape[0] - 1
        self.value = np.empty(entries.n_cells)
        self.inputs = (
            self.blocks,
            indptr,
            entries.column.numpy(),
            entries.count.numpy(),
            entries.total.numpy(),
            self.phi,
            self.psi,
            self.kappa,
            self.table,
        )

    def result(self, entries: ObservedEntries) -> torch.Tensor:
        return torch.from_numpy(self.value) + entries.log_coefficient()


def log_likelihood(
    entries: ObservedEntries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    concentration: torch.Tensor | None,
) -> torch.Tensor:
    """Log-likelihood of each cell, ``(B,)`` float64; as in the reference, without autograd."""
    args = _Arguments(entries, phi, psi, concentration, 0)
    _launch(_value_kernel, *args.inputs, args.value)
    return args.result(entries)


def gradients(
    entries: ObservedEntries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    concentration: torch.Tensor | None,
    weight: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-likelihood of each cell and gradients of its ``weight``-ed sum for phi, psi and kappa.

    ``weight`` is ``(B,)``; None stands for ones. The gradient of kappa is ``(1,)`` or ``(P,)``.
    """
    args = _Arguments(entries, phi, psi, concentration, 1)
    weights = np.empty(0) if weight is None else _array(weight, torch.float64)
    dphi = np.zeros_like(args.phi)
    dpsi = np.zeros((args.n_blocks, *args.psi.shape), dtype=args.psi.dtype)
    dkappa = np.zeros((args.n_blocks, args.kappa.shape[0]))
    _launch(_gradient_kernel, *args.inputs, weights, args.value, dphi, dpsi, dkappa)
    return (
        args.result(entries),
        torch.from_numpy(dphi),
        torch.from_numpy(dpsi.sum(0)),
        torch.from_numpy(dkappa.sum(0)),
    )


def expected_counts(
    entries: ObservedEntries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    concentration: torch.Tensor | None = None,
) -> ExpectedCounts:
    """Expected table counts of the EM, as in the reference; values per cell in float64."""
    args = _Arguments(entries, phi, psi, concentration, 2)
    activity = np.zeros_like(args.phi)
    rate = np.zeros((args.n_blocks, 2, *args.psi.shape), dtype=args.psi.dtype)
    dkappa = np.zeros((args.n_blocks, args.kappa.shape[0]))
    _launch(_counts_kernel, *args.inputs, args.value, activity, rate, dkappa)
    rates = torch.from_numpy(rate.sum(0))
    shape = () if concentration is None else concentration.shape
    program = torch.from_numpy(args.psi)
    return ExpectedCounts(
        args.result(entries),
        torch.from_numpy(activity),
        program * rates[0],
        (1.0 - program) * rates[1],
        torch.from_numpy(dkappa.sum(0)).reshape(shape),
    )

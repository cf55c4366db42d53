"""Log-likelihood, gradients and expected counts from the numba kernels, in float32.

Cells are cut into a number of blocks that depends on the data alone, and the gradients of the
blocks are added in order, so results repeat bitwise for any number of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from leafletfa_scvi.ops._multinomial import MultinomialEntries
from leafletfa_scvi.ops._numba_simd import LANES
from leafletfa_scvi.ops._reference import (
    MAX_CONCENTRATION,
    ExpectedCounts,
    column_concentration,
)
from leafletfa_scvi.ops._rising import rising_table
from leafletfa_scvi.ops._sweep import subtract_totals, sweep
from leafletfa_scvi.ops._threads import run_kernel

if TYPE_CHECKING:
    from leafletfa_scvi.ops._entries import ObservedEntries
    from leafletfa_scvi.ops._reference import Entries

_GRADIENT_BYTES = 64 << 20
_TILE_BYTES = 1 << 19
_TABLE = 1 << 16


def _blocks(indptr: np.ndarray, n_gradient: int) -> np.ndarray:
    """Return boundaries of cell blocks with about equal numbers of entries.

    They depend on the data alone. Each block has a gradient of ``n_gradient`` floats, so that
    their number is limited by memory and by the time to add them up.
    """
    fitting = _GRADIENT_BYTES // max(4 * n_gradient, 1)
    cheap = indptr[-1] // max(2 * n_gradient, 1)
    # Of few entries, most of the time is that of the gradients: one will do.
    fewest = 4 if 2 * indptr[-1] >= n_gradient else 1
    n_blocks = int(np.clip(min(fitting, cheap), fewest, 64))
    goal = np.linspace(0, indptr[-1], n_blocks + 1)
    bounds = np.searchsorted(indptr, goal)
    bounds[0], bounds[-1] = 0, indptr.shape[0] - 1
    return bounds.astype(np.int64)


def _padded(tensor: torch.Tensor) -> np.ndarray:
    """Copy to float32, with rows padded by zeros to a multiple of the vector length."""
    rows, width = tensor.shape
    out = np.zeros((rows, -(-max(width, 1) // LANES) * LANES), dtype=np.float32)
    out[:, :width] = tensor.detach().numpy()
    return out


def _kappa(concentration: torch.Tensor | None) -> np.ndarray:
    """Return kappa as ``(1,)`` or ``(n,)`` float32; one infinite value for the binomial."""
    if concentration is None or (concentration.ndim == 0 and concentration.isinf()):
        return np.array([np.inf], dtype=np.float32)
    kappa = concentration.detach().reshape(-1).double().clamp(max=MAX_CONCENTRATION)
    return np.asarray(kappa.float().numpy())


class _Sweep:
    """Run of the kernels, with the sums over cells, columns and for kappa.

    ``planes`` is 0 for values only, 1 for gradients, and 2 for ``d_p`` and ``-d_q`` separately.
    """

    def __init__(
        self,
        entries: Entries,
        phi: torch.Tensor,
        psi: torch.Tensor,
        concentration: torch.Tensor | None,
        planes: int,
        weight: torch.Tensor | None = None,
    ) -> None:
        scored, shares_reads = entries.scored, isinstance(entries, MultinomialEntries)
        self.entries, self.n_programs = entries, phi.shape[1]
        self.concentration = concentration
        phi_rows, psi_rows = _padded(phi), _padded(psi)
        # A tile of psi and of its gradients fits into the L2 cache.
        row_bytes = psi_rows.shape[1] * 4 * (1 + planes)
        tile = max(_TILE_BYTES // row_bytes, 64)
        if concentration is None:
            kappa = _kappa(None)
        else:
            kappa = _kappa(column_concentration(entries, concentration))
        weights = np.empty(0) if weight is None else weight.detach().double().numpy()
        blocks = _blocks(scored.indptr.numpy(), planes * psi_rows.size)
        n_blocks = blocks.shape[0] - 1
        table = self._table(scored.max_total(), kappa)
        self.value = np.zeros(entries.n_cells)
        self.sum_d_q = np.zeros(entries.n_cells if planes == 2 else 0)
        self.dphi = np.zeros(phi_rows.shape if planes else (0, 0), dtype=np.float32)
        # One for each block, not for each thread: their sum is the same for any number of threads.
        self.dpsi = np.zeros((n_blocks, planes, *psi_rows.shape), dtype=np.float32)
        # Without gradients it is not read: one column is cheaper to add up than P.
        self.dkappa = np.zeros((n_blocks, kappa.shape[0] if planes else 1))
        run_kernel(
            sweep,
            blocks,
            *_arrays(scored),
            phi_rows,
            psi_rows,
            kappa,
            table,
            weights,
            shares_reads,
            scored.apart,
            tile,
            self.value,
            self.sum_d_q,
            self.dphi,
            self.dpsi,
            self.dkappa,
        )
        self.concentration_grad = torch.from_numpy(self.dkappa.sum(0))
        if isinstance(entries, MultinomialEntries) and np.isfinite(kappa[0]):
            self._subtract_totals(entries, table, weights)

    @staticmethod
    def _table(max_total: int, kappa: np.ndarray) -> np.ndarray:
        if kappa.shape[0] > 1 or not np.isfinite(kappa[0]) or max_total >= _TABLE:
            return np.empty((0, 2), dtype=np.float32)
        return rising_table(float(kappa[0]), max_total + 1)

    def _subtract_totals(
        self, entries: MultinomialEntries, table: np.ndarray, weights: np.ndarray
    ) -> None:
        """Subtract the terms of ATSE totals; sum the gradient of columns by ATSE."""
        kappa = _kappa(self.concentration)
        indptr, atse, _, total = _arrays(entries.totals)
        blocks = _blocks(indptr, 2 * kappa.shape[0])
        dkappa = np.zeros((blocks.shape[0] - 1, kappa.shape[0]))
        run_kernel(
            subtract_totals, blocks, indptr, atse, total, kappa, table, weights, self.value, dkappa
        )
        grad = torch.from_numpy(dkappa.sum(0))
        # The kernel sums by column: columns of an ATSE share its kappa.
        columns = self.concentration_grad
        per_column = (
            entries.atse
            if columns.shape[0] > 1
            else torch.zeros(1, dtype=torch.int64, device="cpu")
        )
        grad.index_add_(0, per_column, columns)
        self.concentration_grad = grad

    def log_likelihood(self) -> torch.Tensor:
        """Return log-likelihoods ``(B,)`` float64, including coefficients."""
        return torch.from_numpy(self.value) + self.entries.log_coefficient()

    def activity_sum(self) -> torch.Tensor:
        """Return the sum of (d_p - d_q) psi, ``(B, K)``."""
        return torch.from_numpy(self.dphi[:, : self.n_programs])

    def program_sum(self, plane: int = 0) -> torch.Tensor:
        """Return the sum over blocks, ``(P, K)``; in order, so that results are reproducible."""
        blocks = self.dpsi[:, plane]
        total = blocks[0] if len(blocks) == 1 else blocks.sum(0)
        return torch.from_numpy(total[:, : self.n_programs])


def _arrays(entries: ObservedEntries) -> tuple[np.ndarray, ...]:
    names = ("indptr", "column", "count", "total")
    return tuple(getattr(entries, name).numpy() for name in names)


def log_likelihood(
    entries: Entries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    concentration: torch.Tensor | None,
) -> torch.Tensor:
    """Compute the log-likelihood of each cell, ``(B,)`` float64, without autograd."""
    return _Sweep(entries, phi, psi, concentration, 0).log_likelihood()


def gradients(
    entries: Entries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    concentration: torch.Tensor | None,
    weight: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute log-likelihoods of cells and gradients of their ``weight``-ed sum.

    ``weight`` is ``(B,)``; if None, ones. The gradient for kappa is one-dimensional.
    """
    run = _Sweep(entries, phi, psi, concentration, 1, weight)
    return run.log_likelihood(), run.activity_sum(), run.program_sum(), run.concentration_grad


def expected_counts(
    entries: Entries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    concentration: torch.Tensor | None = None,
) -> ExpectedCounts:
    """Compute the expected table counts of EM; values per cell are float64."""
    shares_reads = isinstance(entries, MultinomialEntries)
    run = _Sweep(entries, phi, psi, concentration, 1 if shares_reads else 2)
    activity, inclusion = run.activity_sum(), psi * run.program_sum()
    if shares_reads:
        exclusion = torch.zeros_like(psi)
    else:
        # The kernel sums (d_p - d_q) psi; with the sum of d_q it is d_p psi + d_q (1 - psi).
        activity = activity + torch.from_numpy(run.sum_d_q)[:, None]
        exclusion = (psi - 1.0) * run.program_sum(1)
    shape = () if concentration is None else concentration.shape
    grad = run.concentration_grad.reshape(shape)
    counts = (phi * activity).to(phi.dtype), inclusion.to(psi.dtype), exclusion.to(psi.dtype)
    return ExpectedCounts(run.log_likelihood(), *counts, grad)

"""Expected PSI of cells, for a dense table or for the observed entries alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
import torch

from leafletfa_scvi.likelihoods import Factors
from leafletfa_scvi.ops import split_by_batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leafletfa_scvi.model._base import SplicingModelBase
    from leafletfa_scvi.model._cells import CellPosterior
    from leafletfa_scvi.ops import ObservedEntries

_BLOCK_ENTRIES = 1 << 20


def expected_splicing(
    cells: CellPosterior, psi: torch.Tensor, junctions: np.ndarray, kappa: np.ndarray | None
) -> np.ndarray:
    """Expected PSI of some junctions.

    Parameters
    ----------
    cells
        Posterior of the activities of n cells.
    psi
        ``(P, K)`` programs.
    junctions
        ``(m,)`` positions of junctions, in any order and possibly repeated.
    kappa
        ``(P,)`` concentrations by which a cell's own reads are weighed against the expectation;
        None to leave them out.

    Returns
    -------
    ``(n, m)`` float32.
    """
    distinct, column_of = np.unique(junctions, return_inverse=True)
    expected = Factors(cells.mean, psi[distinct]).expected_psi().numpy()
    if kappa is not None:
        entries = cells.observed()
        # Column in the result of each junction of the model, -1 for those not asked for.
        result_column = np.full(entries.n_junctions, -1)
        result_column[distinct] = np.arange(len(distinct))
        column = result_column[entries.column.numpy()]
        keep = column >= 0
        rows, column = entries.rows().numpy()[keep], column[keep]
        y, n = entries.count.numpy()[keep], entries.total.numpy()[keep]
        p, weight = expected[rows, column], kappa[entries.column.numpy()[keep]]
        expected[rows, column] = (weight * p + y) / (weight + n)
    if np.array_equal(column_of, np.arange(len(distinct))):
        return expected
    return expected[:, column_of]


def expected_observed(
    cells: CellPosterior, psi: torch.Tensor, kappa: np.ndarray | None
) -> sp.csr_matrix:
    """Expected PSI of the observed entries of all junctions, as in :func:`expected_splicing`."""
    entries, phi = cells.observed(), cells.mean
    values = np.empty(entries.n_entries, dtype=np.float32)
    for rows, block in entries.blocks(_BLOCK_ENTRIES):
        p = Factors(phi[rows], psi).expected_psi(block)
        if kappa is not None:
            weight = torch.from_numpy(kappa)[block.column.long()]
            p = (weight * p + block.count) / (weight + block.total)
        first = int(entries.indptr[rows.start])
        values[first : first + block.n_entries] = p.numpy()
    layout = (values, entries.column.numpy(), entries.indptr.numpy())
    return sp.csr_matrix(layout, shape=(entries.n_cells, entries.n_junctions))


def in_own_batch(
    model: SplicingModelBase, cells: CellPosterior
) -> tuple[CellPosterior, torch.Tensor]:
    """Return cells and programs whose product is expected PSI in the batch of each cell.

    With B batches there are B K programs, those of each batch, and the activities of a cell are 0
    for programs of other batches. Without batches, both are those of the model.
    """
    by_batch = model.module.programs_by_batch()
    if by_batch is None:
        return cells, model.module.programs().detach().cpu()
    by_batch = by_batch.cpu()
    batch = cells.observed().batch
    assert batch is not None
    n_batches, n_junctions, n_programs = by_batch.shape
    activities = cells.concentration.new_zeros(len(batch), n_batches, n_programs)
    activities[torch.arange(len(batch)), batch.cpu()] = cells.concentration
    programs = by_batch.permute(1, 0, 2).reshape(n_junctions, -1)
    return replace(cells, concentration=activities.flatten(1)), programs


def programs_of_batches(
    model: SplicingModelBase, variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return programs and their variances in the first batch, then in the second, and so on.

    Parameters
    ----------
    model
        Trained model.
    variance
        ``(P, K)`` variances of its programs, which scale with the square of the slope of the
        shifted programs.

    Returns
    -------
    ``(batches P, K)`` float64 each, on the CPU; without batches, the programs and ``variance``.
    """
    psi = model.module.programs().detach().cpu().double().numpy()
    by_batch = model.module.programs_by_batch()
    if by_batch is None:
        return psi, variance
    shifted = by_batch.flatten(0, 1).cpu().double().numpy()
    of_each = len(by_batch), 1
    slope = shifted * (1.0 - shifted) / np.tile(psi * (1.0 - psi), of_each).clip(1e-6)
    return shifted, np.tile(variance, of_each) * np.square(slope)


def own_expected_psi(
    block: ObservedEntries, phi: torch.Tensor, by_batch: torch.Tensor
) -> torch.Tensor:
    """Expected PSI of observed entries in the batch of their cell, ``(nnz,)``.

    Parameters
    ----------
    block
        Entries of B cells, with their batches.
    phi
        ``(B, K)`` activities.
    by_batch
        ``(batches, P, K)`` programs in each batch.
    """
    assert block.batch is not None
    own = split_by_batch(block, block.batch, len(by_batch))
    return Factors(phi, by_batch.flatten(0, 1)).expected_psi(own)


def expected_blocks(
    cells: CellPosterior, psi: torch.Tensor, kappa: np.ndarray | None, n_values: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Expected PSI of all junctions, for blocks of consecutive cells.

    Parameters
    ----------
    cells, psi, kappa
        As in :func:`expected_splicing`.
    n_values
        Maximum number of values of a block; it has one cell at least.

    Yields
    ------
    The cells as a slice, and ``(B, P)`` float32.
    """
    n_cells, junctions = len(cells.names), np.arange(len(psi))
    step = max(n_values // max(len(psi), 1), 1)
    for start in range(0, n_cells, step):
        rows = slice(start, min(start + step, n_cells))
        entries = None
        if kappa is not None:
            entries = cells.observed().select(torch.arange(rows.start, rows.stop, device="cpu"))
        block = replace(
            cells,
            names=cells.names[rows],
            concentration=cells.concentration[rows],
            entries=entries,
            position=cells.position[rows],
        )
        yield rows, expected_splicing(block, psi, junctions, kappa)

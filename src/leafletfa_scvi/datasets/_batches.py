"""Batches of simulated cells, and how they shift PSI."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Batches(NamedTuple):
    """Batches of C cells and P junctions.

    Attributes
    ----------
    batch
        ``(C,)`` 0-based batch of each cell.
    shift
        ``(P, B)`` shift of the logarithm of PSI of each junction in each batch.
    shifts
        ``(n_atses,)`` bool, ATSEs with shifts.
    atse
        ``(P,)`` 0-based ATSE of each junction, ascending.
    """

    batch: np.ndarray
    shift: np.ndarray
    shifts: np.ndarray
    atse: np.ndarray

    def programs(self, psi: np.ndarray) -> np.ndarray:
        """Return PSI ``(P,)`` as it is in each batch, ``(P, B)``."""
        if not self.shifts.any():
            return np.repeat(psi[:, None], self.shift.shape[1], axis=1)
        raised = psi[:, None] * np.exp(self.shift)
        first = np.flatnonzero(np.diff(self.atse, prepend=-1))
        result: np.ndarray = raised / np.add.reduceat(raised, first)[self.atse]
        return result


def draw_batches(
    n_cells: int, atse: np.ndarray, n_batches: int, share: float, scale: float, seed: int
) -> Batches:
    """Assign cells to batches, and draw the shifts of a share of the ATSEs.

    Random numbers are apart from those of the rest of the simulation, so that the same seed gives
    the same cells with and without batches.
    """
    rng = np.random.default_rng([seed, 1])
    n_atses = int(atse.max()) + 1
    batch = rng.permutation(n_cells) % n_batches
    shifts = rng.permutation(n_atses) < round(share * n_atses) * (n_batches > 1)
    shift = rng.normal(0.0, scale, (len(atse), n_batches)) * shifts[atse][:, None]
    shift -= shift.mean(1, keepdims=True)
    return Batches(batch, shift, shifts, atse)

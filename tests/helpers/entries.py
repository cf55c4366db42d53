"""Observed entries of dense arrays, and groups of cells with separate programs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from leafletfa_scvi.ops import ObservedEntries


def entries_of(y, n):
    """Observed entries of dense counts and totals."""
    y, n = np.asarray(y), np.asarray(n)
    row, column = np.nonzero(n)
    return ObservedEntries(
        torch.from_numpy(np.searchsorted(row, np.arange(len(n) + 1))),
        torch.from_numpy(column.astype(np.int32)),
        torch.from_numpy(y[row, column].astype(np.float32)),
        torch.from_numpy(n[row, column].astype(np.float32)),
        n.shape[1],
    )


def grouped(n_groups=3, per_group=30, n_junctions=80, seed=0, coverage=0.5):
    """Counts of groups of cells, each with its own PSI in half of the junctions."""
    rng = np.random.default_rng(seed)
    psi = np.where(np.arange(n_junctions) % 2, rng.random((n_groups, n_junctions)).round(), 0.5)
    psi = 0.05 + 0.9 * psi
    group = np.repeat(np.arange(n_groups), per_group)
    shape = (len(group), n_junctions)
    n = rng.poisson(12, shape) * (rng.random(shape) < coverage)
    return rng.binomial(n, psi[group]), n, group, psi


def atse_codes(adata):
    """0-based ATSE of each junction of simulated data."""
    key = "atse_id" if "atse_id" in adata.var else "atse"
    return torch.from_numpy(np.unique(adata.var[key], return_inverse=True)[1])


class FarEntries:
    """Entries that say that they are on another device, and remember which blocks they made."""

    def __init__(self, entries):
        self.entries, self.blocks_made = entries, []
        self.device = SimpleNamespace(type="elsewhere")
        self.n_cells, self.n_junctions = entries.n_cells, entries.n_junctions

    def blocks(self, size):
        for cells, block in self.entries.blocks(size):
            self.blocks_made.append(cells)
            yield cells, block

    def to(self, device):
        assert torch.device(device).type == "cpu"
        return self.entries

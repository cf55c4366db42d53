"""Expected table counts of EM, of entries on any device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from leafletfa_scvi import ops

if TYPE_CHECKING:
    from leafletfa_scvi.likelihoods import Factors
    from leafletfa_scvi.ops import Entries

_BLOCK = 1 << 24
"""Entries moved to the device at a time if they are elsewhere."""


def sweep(entries: Entries, factors: Factors, backend: str | None = None) -> ops.ExpectedCounts:
    """Compute expected counts on the device of ``factors``, in blocks if entries are elsewhere."""
    device = factors.phi.device
    if entries.device.type == device.type:
        return factors.expected_counts(entries, backend)
    each = factors.by_column()  # of all columns, so that shifts are taken out of the sums
    value, activity = [], []
    sums: tuple[torch.Tensor, ...] | None = None
    for cells, block in entries.blocks(_BLOCK):
        part = each.select(cells).expected_counts(block.to(device), backend)
        value.append(part.log_likelihood)
        activity.append(part.activity)
        # Sums over cells: those of programs, and the derivative for kappa.
        added = part[2:]
        sums = added if sums is None else tuple(a + b for a, b in zip(sums, added, strict=True))
    if sums is None:
        return factors.expected_counts(entries.to(device), backend)
    counts = ops.ExpectedCounts(torch.cat(value), torch.cat(activity), *sums)
    return factors.without_shifts(counts, each.psi)

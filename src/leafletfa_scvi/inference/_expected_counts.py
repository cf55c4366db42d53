"""Expected table counts of EM, of entries on any device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from leafletfa_scvi import ops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leafletfa_scvi.likelihoods import Factors
    from leafletfa_scvi.ops import Entries

_BLOCK = 1 << 24
"""Entries moved to the device at a time if they are elsewhere."""


def on_device(entries: Entries, device: torch.device) -> Iterator[tuple[slice, Entries]]:
    """Iterate over blocks of cells on ``device``: one of all cells if they are already on it."""
    if entries.device.type == device.type:
        yield slice(None), entries
        return
    for cells, block in entries.blocks(_BLOCK):
        yield cells, block.to(device)


def sweep(entries: Entries, factors: Factors, backend: str | None = None) -> ops.ExpectedCounts:
    """Compute expected counts on the device of ``factors``, in blocks if entries are elsewhere."""
    value, activity = [], []
    sums: tuple[torch.Tensor, ...] | None = None
    for cells, block in on_device(entries, factors.phi.device):
        part = factors.select(cells).unlimited_counts(block, backend)
        value.append(part.log_likelihood)
        activity.append(part.activity)
        # Sums over cells: those of programs, and the derivative for kappa.
        added = part[2:]
        sums = added if sums is None else tuple(a + b for a, b in zip(sums, added, strict=True))
    if sums is None:
        return factors.expected_counts(entries.to(factors.phi.device), backend)
    if len(value) > 1:
        return factors.limited(ops.ExpectedCounts(torch.cat(value), torch.cat(activity), *sums))
    return factors.limited(ops.ExpectedCounts(value[0], activity[0], *sums))

"""Mean PSI of junctions over cells, and the weight of reads in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from leafletfa_scvi.ops import MultinomialEntries, ObservedEntries

_OVERDISPERSION = 0.1
PSEUDO_READS = 2.0


def precision(total: torch.Tensor) -> torch.Tensor:
    """Compute the weight n / (1 + rho (n - 1)) of n overdispersed reads, rho = 0.1."""
    n = total.float()
    return n / (1.0 + _OVERDISPERSION * (n - 1.0))


def composite_weight(atse: torch.Tensor) -> torch.Tensor:
    """Compute the composite weight ``(P,)`` of each junction, (m - 1) / m for m per ATSE.

    The beta-binomial scores the m junctions of an ATSE as independent although they share their
    reads: only m - 1 of them are.
    """
    size = torch.bincount(atse)[atse].float()
    return (size - 1.0).clamp(min=1.0) / size


def junction_mean_psi(
    entries: ObservedEntries, pseudo_reads: float = PSEUDO_READS
) -> torch.Tensor:
    """Compute the mean PSI of each junction over cells, ``(P,)`` float32 in (0, 1).

    Reads of a cell are weighted by :func:`precision`. The mean is shrunk by ``pseudo_reads``
    toward the mean of all junctions, which is that of a junction without any observed entry.
    """
    used, seen = torch.zeros(2, entries.n_junctions, dtype=torch.float32, device=entries.device)
    for _, block in entries.blocks():
        column, weight = block.column.long(), precision(block.total)
        used.index_add_(0, column, weight * (block.count.float() / block.total))
        seen.index_add_(0, column, weight)
    overall = used.sum() / seen.sum().clamp(min=1e-12)
    mean = (used + pseudo_reads * overall) / (seen + pseudo_reads)
    usage: torch.Tensor = mean.clamp(1e-4, 1.0 - 1e-4)
    return usage


def normalized_mean_psi(
    entries: MultinomialEntries, pseudo_reads: float = PSEUDO_READS
) -> torch.Tensor:
    """Compute the mean PSI ``(P + R,)`` of junctions and implicit junctions; sums to 1 in an ATSE.

    As :func:`junction_mean_psi`, but shrunk toward equal PSI of the junctions of an ATSE.
    """
    used = torch.zeros(entries.n_junctions, dtype=torch.float32, device=entries.device)
    for _, block in entries.blocks():
        reads = block.reads
        share = precision(reads.total) * (reads.count.float() / reads.total)
        used.index_add_(0, reads.column.long(), share)
    size = torch.bincount(entries.atse, minlength=entries.n_atses)[entries.atse]
    used = used + pseudo_reads / size.float()
    whole = used.new_zeros(entries.n_atses).index_add_(0, entries.atse, used)
    return used / whole[entries.atse]


def normalized_programs(psi: torch.Tensor, entries: MultinomialEntries) -> torch.Tensor:
    """Extend programs to implicit junctions, and normalize them to sum to one within ATSEs.

    Parameters
    ----------
    psi
        ``(P, K)`` PSI of the junctions of the data set.
    entries
        Entries whose columns are these junctions and R implicit ones.

    Returns
    -------
    ``(P + R, K)``.
    """
    atse, n_junctions = entries.atse.to(psi.device), len(psi)
    sums = psi.new_zeros(entries.n_atses, psi.shape[1])
    explicit = sums.index_add(0, atse[:n_junctions], psi)
    implicit = (1.0 - explicit[atse[n_junctions:]]).clamp(min=1e-2)
    complete = torch.cat([psi, implicit]).clamp(min=1e-4)
    return complete / sums.index_add(0, atse, complete)[atse]

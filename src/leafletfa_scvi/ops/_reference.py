"""The numerical core in plain torch: the specification that every other backend must equal.

For an entry (c, j) with count y, total n, activities phi_c and programs psi_j,

    p = e + (1 - 2 e) m,   q = e + (1 - 2 e) (1 - m),   m = sum_k phi_ck psi_jk

with the misassignment rate e, ``MISASSIGNMENT_RATE``, so that p + q = 1 and neither is ever 0.

- :class:`ObservedEntries`: y given n is beta-binomial with parameters (kappa p, kappa q), or
  binomial without a concentration kappa.
- :class:`MultinomialEntries`: the counts of an ATSE are Dirichlet-multinomial with parameters
  kappa p_j, or multinomial. Only entries with y > 0 are scored; the terms of n and kappa are added
  once for each cell and ATSE. psi_k sums to 1 within an ATSE (p to 1 up to e times its number of
  junctions).

Memory is O(entries x K), so this backend serves tests and devices without a fused kernel, in
blocks of cells.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import torch

from leafletfa_scvi.ops._entries import ObservedEntries
from leafletfa_scvi.ops._multinomial import MultinomialEntries

MISASSIGNMENT_RATE = 1e-6
"""Probability that a read is assigned to another junction."""

MAX_CONCENTRATION = 1e9
"""Upper limit of the kappa of a junction or ATSE in float32 kernels."""

Entries: TypeAlias = ObservedEntries | MultinomialEntries


class ExpectedCounts(NamedTuple):
    """Log-likelihood and expected table counts of one pass over the data, for EM.

    Attributes
    ----------
    log_likelihood
        ``(B,)`` log-likelihood of each cell.
    activity
        ``(B, K)`` expected tables of each cell that belong to each program.
    inclusion
        ``(P, K)`` expected tables for each junction under each program.
    exclusion
        ``(P, K)`` expected tables against each junction; zeros for the Dirichlet-multinomial,
        where they are those for the other junctions of the ATSE.
    concentration_grad
        Derivative of the summed log-likelihood for kappa, shaped like kappa; 0 without one.
    """

    log_likelihood: torch.Tensor
    activity: torch.Tensor
    inclusion: torch.Tensor
    exclusion: torch.Tensor
    concentration_grad: torch.Tensor


def column_concentration(entries: Entries, concentration: torch.Tensor) -> torch.Tensor:
    """Return kappa of each column ``(P,)`` (given per junction or per ATSE), or the scalar."""
    if concentration.ndim and isinstance(entries, MultinomialEntries):
        return concentration[entries.atse]
    return concentration


def expected_psi(
    phi: torch.Tensor, psi: torch.Tensor, entries: ObservedEntries | None = None
) -> torch.Tensor:
    """Compute expected PSI, sum_k phi_ck psi_jk: ``(B, P)``, or ``(nnz,)`` at ``entries``."""
    if entries is None:
        return phi @ psi.T
    return (phi[entries.rows()] * psi[entries.column.long()]).sum(-1)


def entry_probability(
    entries: Entries, phi: torch.Tensor, psi: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the probability p of each scored entry and its complement q, both ``(nnz,)``.

    Parameters
    ----------
    entries
        Entries of B cells and P columns.
    phi
        ``(B, K)`` activities, rows on the simplex.
    psi
        ``(P, K)`` programs in [0, 1].
    """
    mean = expected_psi(phi, psi, entries.scored)
    scale = 1.0 - 2.0 * MISASSIGNMENT_RATE
    return MISASSIGNMENT_RATE + scale * mean, MISASSIGNMENT_RATE + scale * (1.0 - mean)


def _entry_concentration(entries: Entries, concentration: torch.Tensor) -> torch.Tensor:
    kappa = column_concentration(entries, concentration)
    return kappa[entries.scored.column.long()] if kappa.ndim else kappa


def _rising(a: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
    """Compute the log of the rising factorial a (a + 1) .. (a + m - 1)."""
    return torch.lgamma(a + m) - torch.lgamma(a)


def _rising_rate(a: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
    return torch.digamma(a + m) - torch.digamma(a)


def entry_log_likelihood(
    entries: ObservedEntries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    concentration: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute the log-likelihood of each observed entry, with its coefficient, ``(nnz,)``.

    Parameters
    ----------
    entries, phi, psi
        As in :func:`entry_probability`; entries grouped by ATSE have no separate likelihoods.
    concentration
        kappa, a scalar tensor or one value per junction ``(P,)``; None for the binomial.
    """
    p, q = entry_probability(entries, phi, psi)
    y, n = entries.count.to(p.dtype), entries.total.to(p.dtype)
    value = torch.lgamma(n + 1.0) - torch.lgamma(y + 1.0) - torch.lgamma(n - y + 1.0)
    if concentration is None:
        return value + y * p.log() + (n - y) * q.log()
    kappa = _entry_concentration(entries, concentration)
    return value + _rising(kappa * p, y) + _rising(kappa * q, n - y) - _rising(kappa, n)


def _sum_by_cell(entries: ObservedEntries, value: torch.Tensor) -> torch.Tensor:
    out = torch.zeros(entries.n_cells, dtype=value.dtype, device=value.device)
    return out.index_add(0, entries.rows(), value)


def _multinomial_log_likelihood(
    entries: MultinomialEntries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    concentration: torch.Tensor | None,
) -> torch.Tensor:
    p, _ = entry_probability(entries, phi, psi)
    y = entries.reads.count.to(p.dtype)
    coefficient = entries.log_coefficient().to(p.dtype)
    if concentration is None:
        return coefficient + _sum_by_cell(entries.reads, y * p.log())
    share = _rising(_entry_concentration(entries, concentration) * p, y)
    totals = entries.totals
    kappa = concentration[totals.column.long()] if concentration.ndim else concentration
    whole = _rising(kappa, totals.total.to(p.dtype))
    return coefficient + _sum_by_cell(entries.reads, share) - _sum_by_cell(totals, whole)


def log_likelihood(
    entries: Entries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    concentration: torch.Tensor | None = None,
) -> torch.Tensor:
    """Log-likelihood of each cell, ``(B,)``; differentiable by torch.

    Parameters
    ----------
    entries, phi, psi
        As in :func:`entry_probability`.
    concentration
        kappa, a scalar tensor, one value per junction ``(P,)`` of :class:`ObservedEntries`, or one
        per ATSE of :class:`MultinomialEntries`; None for the binomial and the multinomial.
    """
    if isinstance(entries, MultinomialEntries):
        return _multinomial_log_likelihood(entries, phi, psi, concentration)
    return _sum_by_cell(entries, entry_log_likelihood(entries, phi, psi, concentration))


def table_rates(
    entries: Entries,
    p: torch.Tensor,
    q: torch.Tensor,
    concentration: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute derivatives dL/dp and dL/dq of each scored entry, as if p and q were free.

    p g1 and q g0 are the expected table counts of the beta-binomial
    (kappa p [digamma(y + kappa p) - digamma(kappa p)]), and y and n - y for the binomial. g0 is 0
    for the Dirichlet-multinomial.
    """
    scored = entries.scored
    y, n = scored.count.to(p.dtype), scored.total.to(p.dtype)
    other_reads = torch.zeros_like(n) if isinstance(entries, MultinomialEntries) else n - y
    if concentration is None:
        return y / p, other_reads / q
    kappa = _entry_concentration(entries, concentration)
    return kappa * _rising_rate(kappa * p, y), kappa * _rising_rate(kappa * q, other_reads)


def expected_counts(
    entries: Entries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    concentration: torch.Tensor | None = None,
) -> ExpectedCounts:
    """Compute the expected table counts of the EM; see :class:`ExpectedCounts`.

    A table belongs to one of the K programs or to misassignment; the share of misassignment is
    counted for no program.
    """
    scored = entries.scored
    rows, column = scored.rows(), scored.column.long()
    p, q = entry_probability(entries, phi, psi)
    g1, g0 = (
        g * (1.0 - 2.0 * MISASSIGNMENT_RATE) for g in table_rates(entries, p, q, concentration)
    )
    f, s = phi[rows], psi[column]
    t1, t0 = f * s * g1[:, None], f * (1.0 - s) * g0[:, None]
    activity = torch.zeros_like(phi).index_add_(0, rows, t1 + t0)
    inclusion = torch.zeros_like(psi).index_add_(0, column, t1)
    exclusion = torch.zeros_like(psi).index_add_(0, column, t0)
    if concentration is None:
        value, grad = log_likelihood(entries, phi, psi), psi.new_zeros(())
    else:
        with torch.enable_grad():
            kappa = concentration.detach().clone().requires_grad_()
            value = log_likelihood(entries, phi.detach(), psi.detach(), kappa)
            (grad,) = torch.autograd.grad(value.sum(), kappa)
    return ExpectedCounts(value.detach(), activity, inclusion, exclusion, grad)

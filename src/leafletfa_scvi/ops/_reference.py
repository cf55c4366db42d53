"""The numerical core in plain torch: the specification that every other backend must equal.

For an observed entry (c, j) with count y, total n, activities phi_c and programs psi_j,

    p = LEAK + (1 - 2 LEAK) m,   q = LEAK + (1 - 2 LEAK) (1 - m),   m = sum_k phi_ck psi_jk

so that p + q = 1 and neither is ever 0: a share ``LEAK`` of reads is taken to be misassigned. The
likelihood is beta-binomial with parameters (kappa p, kappa q), or binomial where no concentration
kappa is given. Memory is O(entries x K): for tests, for devices without a kernel of their own, and
in blocks of cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from leafletfa_scvi.ops._entries import ObservedEntries

LEAK = 1e-6


class ExpectedCounts(NamedTuple):
    """What one sweep gives the expected-table EM.

    Attributes
    ----------
    log_likelihood
        ``(B,)`` log-likelihood of each cell.
    activity
        ``(B, K)`` expected tables of each cell that belong to each program.
    inclusion, exclusion
        ``(P, K)`` expected tables for and against each junction under each program.
    concentration_grad
        Derivative of the summed log-likelihood for kappa, shaped like kappa; 0 for the binomial.
    """

    log_likelihood: torch.Tensor
    activity: torch.Tensor
    inclusion: torch.Tensor
    exclusion: torch.Tensor
    concentration_grad: torch.Tensor


def entry_probability(
    entries: ObservedEntries, phi: torch.Tensor, psi: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Probability p of each observed entry and its complement q, both ``(nnz,)``.

    Parameters
    ----------
    entries
        Observed entries of B cells and P junctions.
    phi
        ``(B, K)`` activities, rows on the simplex.
    psi
        ``(P, K)`` programs in [0, 1].
    """
    mean = (phi[entries.rows()] * psi[entries.column.long()]).sum(-1)
    scale = 1.0 - 2.0 * LEAK
    return LEAK + scale * mean, LEAK + scale * (1.0 - mean)


def _entry_concentration(entries: ObservedEntries, concentration: torch.Tensor) -> torch.Tensor:
    return concentration[entries.column.long()] if concentration.ndim else concentration


def entry_log_likelihood(
    entries: ObservedEntries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    concentration: torch.Tensor | None = None,
) -> torch.Tensor:
    """Log-likelihood of each observed entry, ``(nnz,)``, with the binomial coefficient.

    Parameters
    ----------
    entries, phi, psi
        As in :func:`entry_probability`.
    concentration
        kappa, a scalar tensor or one value per junction ``(P,)``; None for the binomial.
    """
    p, q = entry_probability(entries, phi, psi)
    y, n = entries.count.to(p.dtype), entries.total.to(p.dtype)
    value = torch.lgamma(n + 1.0) - torch.lgamma(y + 1.0) - torch.lgamma(n - y + 1.0)
    if concentration is None:
        return value + y * p.log() + (n - y) * q.log()
    kappa = _entry_concentration(entries, concentration)
    a, b = kappa * p, kappa * q
    return (
        value
        + (torch.lgamma(a + y) - torch.lgamma(a))
        + (torch.lgamma(b + (n - y)) - torch.lgamma(b))
        - (torch.lgamma(kappa + n) - torch.lgamma(kappa))
    )


def log_likelihood(
    entries: ObservedEntries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    concentration: torch.Tensor | None = None,
) -> torch.Tensor:
    """Log-likelihood of each cell, ``(B,)``; differentiable by torch."""
    value = entry_log_likelihood(entries, phi, psi, concentration)
    out = torch.zeros(entries.n_cells, dtype=value.dtype, device=value.device)
    return out.index_add(0, entries.rows(), value)


def table_rates(
    entries: ObservedEntries,
    p: torch.Tensor,
    q: torch.Tensor,
    concentration: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Derivatives g1 = dL/dp and g0 = dL/dq of each entry, p and q taken as free, ``(nnz,)`` each.

    p g1 and q g0 are the expected table counts of the beta-binomial
    (kappa p [digamma(y + kappa p) - digamma(kappa p)]), and y and n - y for the binomial.
    """
    y, n = entries.count.to(p.dtype), entries.total.to(p.dtype)
    if concentration is None:
        return y / p, (n - y) / q
    kappa = _entry_concentration(entries, concentration)
    a, b = kappa * p, kappa * q
    g1 = kappa * (torch.digamma(a + y) - torch.digamma(a))
    g0 = kappa * (torch.digamma(b + (n - y)) - torch.digamma(b))
    return g1, g0


def expected_counts(
    entries: ObservedEntries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    concentration: torch.Tensor | None = None,
) -> ExpectedCounts:
    """Expected table counts of the EM; see :class:`ExpectedCounts`.

    The mixture has K programs and the leak; what the leak explains is given to no program.
    """
    rows, column = entries.rows(), entries.column.long()
    p, q = entry_probability(entries, phi, psi)
    g1, g0 = (g * (1.0 - 2.0 * LEAK) for g in table_rates(entries, p, q, concentration))
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

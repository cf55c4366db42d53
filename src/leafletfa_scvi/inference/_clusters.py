"""Soft clusters of cells with one splicing program each, from which programs are initialized.

A mixture of cells that each use a single program is a simpler model than the factor model, and
its EM finds programs in data too sparse for distances between cells to mean much. Reads are
weighted as their over-dispersion asks for (quasi-likelihood), and programs are shrunk toward the
junction's mean if the ATSE does not differ between clusters (the mixture prior): without that,
noise of the many ATSEs that do not differ outweighs those that do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

if TYPE_CHECKING:
    import scipy.sparse as sp

    from leafletfa_scvi.priors import PriorFit

_FLOOR = 1e-4
_MIN_ODDS = 1e-30
_REFIT_EVERY = 3
_EVEN_SHARE = 0.5
"""Of equal weights in the prior's concentrations, and of equal shares in those of clusters: with
uncertain memberships clusters look alike, so that learned weights alone would shrink programs
until they are, and learned shares leave few clusters."""
_DROPPED_SHARE = 1 / 3
"""Fraction of the excess clusters that is dropped at a time."""


class WeightedReads(NamedTuple):
    """Reads of cells, each weighted as its over-dispersion asks for.

    Attributes
    ----------
    count, total
        ``(B, P)`` float32 CSR of one pattern: weighted junction counts and ATSE totals.
    composite_weight
        ``(P,)`` weight of each junction, (m - 1) / m in an ATSE of m junctions.
    """

    count: sp.csr_matrix  # type: ignore[assignment] # hides the method of tuples
    total: sp.csr_matrix
    composite_weight: np.ndarray


class SoftClusters:
    """Mixture of cells that use one program each.

    Parameters
    ----------
    reads
        Reads of B cells.
    prior
        Prior of the programs.
    membership
        ``(B, G)`` initial probabilities of each cell's clusters.

    Attributes
    ----------
    membership
        ``(B, G)`` float32, rows sum to one.
    programs
        ``(P, G)`` PSI of each cluster; after the first :meth:`run`.
    log_likelihood
        Quasi-log-likelihood of all cells before the last update.
    """

    def __init__(self, reads: WeightedReads, prior: PriorFit, membership: np.ndarray) -> None:
        self.reads, self.prior = reads, prior
        self._by_junction = reads.count.T.tocsr(), reads.total.T.tocsr()
        self.membership = membership.astype(np.float32)
        self.programs = np.empty((len(reads.composite_weight), membership.shape[1]), np.float32)
        self.log_likelihood = -np.inf

    def run(self, n_iterations: int) -> SoftClusters:
        """Update programs and memberships in turn."""
        for i in range(n_iterations):
            count, total = (torch.from_numpy(m @ self.membership) for m in self._by_junction)
            if i % _REFIT_EVERY == 0:
                self.prior = self.prior.refit(count, total - count).evened(_EVEN_SHARE)
            psi = self.prior.programs(count, total - count)
            self.programs = psi.clamp(_FLOOR, 1.0 - _FLOOR).numpy()
            self._assign(self.log_joint(self.reads))
        return self

    def log_joint(self, reads: WeightedReads) -> np.ndarray:
        """Compute the log of cluster share times quasi-likelihood of cells in it, ``(B, G)``."""
        psi, weight = self.programs, reads.composite_weight[:, None]
        log_complement = np.log1p(-psi)
        value = reads.count @ (weight * (np.log(psi) - log_complement))
        value += reads.total @ (weight * log_complement)
        share = self.membership.mean(0, dtype=np.float64)
        share = (1.0 - _EVEN_SHARE) * share + _EVEN_SHARE / len(share)
        joint: np.ndarray = value + np.log(share)
        return joint

    def _assign(self, log_joint: np.ndarray) -> None:
        """Update memberships from log joint probabilities; cells without reads get the shares."""
        top = log_joint.max(1, keepdims=True)
        odds = np.exp(log_joint - top)
        # Memberships that add nothing would be denormal numbers, which are slow to multiply.
        odds[odds < _MIN_ODDS] = 0.0
        total = odds.sum(1, keepdims=True)
        self.log_likelihood = float((top + np.log(total)).sum())
        self.membership = (odds / total).astype(np.float32)

    def merge_to(self, n_clusters: int, n_iterations: int) -> SoftClusters:
        """Drop clusters that others explain best, a third of those in excess at a time.

        The loss of a cluster is the decrease of the log-likelihood if its cells were assigned to
        their next best clusters. One of several copies of a cluster therefore stays.
        """
        while (excess := self.membership.shape[1] - n_clusters) > 0:
            log_joint = self.log_joint(self.reads)
            remaining = np.arange(log_joint.shape[1])
            for _ in range(max(1, int(excess * _DROPPED_SHARE))):
                remaining = np.delete(remaining, _losses(log_joint[:, remaining]).argmin())
            self.prior = self.prior.select(torch.from_numpy(remaining))
            self._assign(log_joint[:, remaining])
            self.run(n_iterations)
        return self


def _losses(log_joint: np.ndarray) -> np.ndarray:
    """Compute the decrease of the log-likelihood if each cluster is dropped, ``(G,)``."""
    best = log_joint.argmax(1)
    top = log_joint.max(1, keepdims=True)
    odds = np.exp(log_joint - top)
    total = odds.sum(1)
    rows = np.arange(len(odds))
    without = np.maximum(total[:, None] - odds, 1e-30)
    loss = np.log(total)[:, None] - np.log(without)
    # For the best cluster of a cell the difference is only rounding error: sum the others again.
    others = log_joint.copy()
    others[rows, best] = -np.inf
    second = others.max(1, keepdims=True)
    log_others = second[:, 0] + np.log(np.exp(others - second).sum(1))
    loss[rows, best] = top[:, 0] + np.log(total) - log_others
    summed: np.ndarray = loss.sum(0)
    return summed

"""Counts summed over the cells of each donor and group, and rank tests on their PSI."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.stats import mannwhitneyu, wilcoxon


@dataclass(frozen=True)
class Pseudobulk:
    """Counts of S samples, each the cells of one donor in one group.

    Attributes
    ----------
    count, total
        ``(S, P)`` sums of y and n.
    first
        ``(S,)`` bool: the sample belongs to group 1.
    donor
        ``(S,)`` donor of each sample, from 0.
    """

    count: np.ndarray
    total: np.ndarray
    first: np.ndarray
    donor: np.ndarray

    @classmethod
    def of(
        cls, y: sp.csr_matrix, n: sp.csr_matrix, first: np.ndarray, donor: np.ndarray
    ) -> Pseudobulk:
        """Sum the counts of cells; ``first`` and ``donor`` are ``(C,)``."""
        _, donor = np.unique(donor, return_inverse=True)
        key, sample = np.unique(2 * donor + ~first, return_inverse=True)
        member = sp.csr_matrix((np.ones(len(sample)), (sample, np.arange(len(sample)))))
        sums = [np.asarray((member @ m).todense(), dtype=float) for m in (y, n)]
        return cls(*sums, key % 2 == 0, key // 2)

    @property
    def n_paired(self) -> int:
        """Number of donors with cells in both groups."""
        return len(set(self.donor[self.first]) & set(self.donor[~self.first]))

    @property
    def paired(self) -> bool:
        """Whether groups are compared within donors."""
        return self.n_paired >= 2

    @property
    def psi(self) -> np.ndarray:
        """``(S, P)`` y / n, NaN without reads."""
        return self.count / np.where(self.total > 0, self.total, np.nan)

    @property
    def logit(self) -> np.ndarray:
        """``(S, P)`` logit of PSI with half a read added for and against, NaN without reads."""
        odds = np.log(self.count + 0.5) - np.log(self.total - self.count + 0.5)
        return np.where(self.total > 0, odds, np.nan)

    def design(self) -> np.ndarray:
        """``(S, Q)`` columns of the linear model; the last is 1 in group 1.

        The others are donors if groups are compared within them, otherwise the intercept.
        """
        if self.paired:
            block = np.equal.outer(self.donor, np.unique(self.donor))
        else:
            block = np.ones((len(self.donor), 1))
        return np.column_stack([block, self.first]).astype(float)

    def testable(self) -> np.ndarray:
        """``(P,)`` bool: reads in two donors of each group, the same two if paired."""
        covered = self.total > 0
        if self.paired:
            pairs: np.ndarray = self._by_donor(covered)
            return pairs.all(axis=0).sum(axis=0) >= 2
        return np.minimum(covered[self.first].sum(0), covered[~self.first].sum(0)) >= 2

    def differences(self, values: np.ndarray) -> np.ndarray:
        """``(donors, P)`` differences of ``(S, P)`` values within donors, NaN where one lacks."""
        one, other = self._by_donor(values)
        return one - other

    def _by_donor(self, values: np.ndarray) -> np.ndarray:
        """``(2, donors, P)`` values of groups 1 and 2; donors of one group have NaN or False."""
        missing = False if values.dtype == bool else np.nan
        found = np.full((2, self.donor.max() + 1, values.shape[1]), missing)
        found[np.where(self.first, 0, 1), self.donor] = values
        return found


def rank_test(bulk: Pseudobulk) -> tuple[np.ndarray, np.ndarray]:
    """Compare logit PSI of donors by Mann-Whitney, or by Wilcoxon's signed ranks if paired.

    Returns
    -------
    ``(P,)`` two-sided p values, exact without ties, NaN where not testable, and ``(P,)``
    differences in mean PSI of donors.
    """
    logit, psi = bulk.logit, bulk.psi
    p = np.full(logit.shape[1], np.nan)
    effect = p.copy()
    within = bulk.differences(logit), bulk.differences(psi)
    for j in np.flatnonzero(bulk.testable()):
        if bulk.paired:
            difference = within[0][:, j]
            difference = difference[~np.isnan(difference)]
            p[j] = wilcoxon(difference).pvalue if difference.any() else 1.0
            effect[j] = np.nanmean(within[1][:, j])
        else:
            groups = [logit[of, j] for of in (bulk.first, ~bulk.first)]
            p[j] = mannwhitneyu(*(g[~np.isnan(g)] for g in groups)).pvalue
            effect[j] = np.nanmean(psi[bulk.first, j]) - np.nanmean(psi[~bulk.first, j])
    return p, effect

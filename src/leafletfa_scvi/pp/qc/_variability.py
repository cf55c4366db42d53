"""Variability of the usage of an ATSE between cells, beyond the noise of counting reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from leafletfa_scvi.data import row_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    import scipy.sparse as sp


@dataclass
class Agreement:
    """Sums over cells for each of A ATSEs, each ``(A,)`` float64; those of batches add up.

    Two reads agree if they support the same junction. A cell with n reads counts 1/n for each of
    its ordered pairs of reads, so n - 1 in all.

    Attributes
    ----------
    n_cells
        Cells with two reads or more.
    excess
        Weighted pairs of reads of a cell that agree, less those expected if the reads of the ATSE
        were dealt to the cells at random.
    pairs
        Weighted pairs of reads of a cell.
    possible
        Largest value of ``excess``: all pairs of reads within cells agree.
    null_variance
        Exact variance of ``excess`` if reads were dealt at random.
    null_mean
        Mean, likewise, of ``excess`` counted from its smallest possible value on.
    squared_error
        Variance of ``excess - variability * possible``, estimated from the spread over cells.
    squared_error_of_variance
        Variance of ``excess - psi_variance * pairs``, likewise.
    """

    n_cells: np.ndarray
    excess: np.ndarray
    pairs: np.ndarray
    possible: np.ndarray
    null_variance: np.ndarray
    null_mean: np.ndarray
    squared_error: np.ndarray
    squared_error_of_variance: np.ndarray

    def __add__(self, other: Agreement) -> Agreement:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Agreement(*(a + b for a, b in pairs))

    @property
    def variability(self) -> np.ndarray:
        """``excess / possible``; 0 if nothing can vary."""
        return _ratio(self.excess, self.possible)

    @property
    def standard_error(self) -> np.ndarray:
        """Standard error of ``variability``; at least that without variation between cells."""
        squared = np.maximum(self.squared_error, self.null_variance)
        return _ratio(np.sqrt(squared), self.possible)

    @property
    def psi_variance(self) -> np.ndarray:
        """``excess / pairs``, an estimate of the variance of PSI summed over junctions."""
        return _ratio(self.excess, self.pairs)

    @property
    def null_error(self) -> np.ndarray:
        """Standard error of ``psi_variance`` if usage does not vary between cells."""
        return _ratio(np.sqrt(self.null_variance), self.pairs)

    @property
    def z(self) -> np.ndarray:
        """``excess`` in standard deviations of the case without variation between cells."""
        return _ratio(self.excess, np.sqrt(self.null_variance))

    def p_value(self, psi_variance: float = 0.0) -> np.ndarray:
        """Compute the probability of such an ``excess`` or more.

        By the gamma distribution of the same mean and variance; 1 if nothing can vary.

        Parameters
        ----------
        psi_variance
            True variance of PSI between cells, from 0. If 0, reads are assigned at random and the
            variance of ``excess`` is exact; otherwise it is that over cells.
        """
        from scipy.stats import gamma

        p = np.ones(len(self.excess))
        spread = self.null_variance
        if psi_variance > 0:
            spread = np.maximum(spread, self.squared_error_of_variance)
        ok = (self.null_variance > 0) & (self.null_mean > 0)
        mean, variance = self.null_mean[ok] + psi_variance * self.pairs[ok], spread[ok]
        value = np.maximum(self.excess[ok] + self.null_mean[ok], 0)
        p[ok] = gamma.sf(value, mean**2 / variance, scale=variance / mean)
        return p


def agreement(counts: sp.csr_matrix, codes: np.ndarray, n_atses: int) -> Agreement:
    """Compute the agreement of the reads of cells; see :class:`Agreement`.

    With f the (weighted) probability that two reads of a cell agree, and h that of any two reads
    of the ATSE, the variability is (f - h) / (1 - h): F_ST of population genetics, or the
    intra-class correlation of a Dirichlet-multinomial. Given all margins, h is the mean of f if
    reads are assigned at random; the variability is then 0 on average at any coverage. Its
    variance is that of Mantel's statistic under permutations (Cancer Res. 27:209, 1967).

    Parameters
    ----------
    counts
        ``(C, P)`` reads, in canonical order, without stored zeros.
    codes
        ``(P,)`` ATSE of each junction, 0-based.
    n_atses
        Number A of ATSEs.
    """
    used = np.bincount(counts.indices, counts.data, counts.shape[1])
    n_reads = np.bincount(codes, used, n_atses)
    usage = _ratio(used, n_reads[codes])

    def by_atse(values: np.ndarray) -> np.ndarray:
        return np.bincount(codes, values, n_atses)

    # Sums over cells: pairs that agree; weights of pairs, their squares, those of their row sums.
    cells, agree, weight, weight2, row2 = np.zeros((5, n_atses))
    for pair in _pairs(counts, codes, n_atses):
        for into, values in (
            (cells, pair.reads >= 2),
            (agree, pair.same / pair.reads),
            (weight, pair.reads - 1),
            (weight2, (pair.reads - 1) / pair.reads),
            (row2, (pair.reads - 1) ** 2 / pair.reads),
        ):
            into += np.bincount(pair.atse, values, n_atses)
    n_pairs = n_reads * (n_reads - 1)
    same = by_atse(used * (used - 1))
    h = _ratio(same, n_pairs)
    variance = _mantel_variance(
        n_reads, (weight, weight2, row2), (same, same, by_atse(used * (used - 1) ** 2))
    )
    excess, possible = agree - weight * h, weight * (1 - h)
    # The sum over cells of |y - n p|^2 / n, which is never negative, is that of agreeing pairs
    # plus the number of cells, n_reads - weight, less the sum of squares of used over n_reads.
    null_mean = weight * h + n_reads - weight - _ratio(by_atse(used.astype(float) ** 2), n_reads)

    f, rho = _ratio(agree, weight), _ratio(excess, possible)
    squared, squared_of_variance = np.zeros((2, n_atses))
    # Slopes in h, with the sign turned, of excess - rho * possible and excess - (f - h) * pairs.
    slopes = (
        (squared, _ratio(weight * (1 - rho), n_reads)),
        (squared_of_variance, _ratio(weight, n_reads)),
    )
    for pair in _pairs(counts, codes, n_atses, usage):
        a, n = pair.atse, pair.reads
        agreeing = pair.same / n - f[a] * (n - 1)
        pooled = 2 * (pair.usage - n * h[a])
        for into, slope in slopes:
            into += np.bincount(a, (agreeing - pooled * slope[a]) ** 2, n_atses)
    can_vary = (possible > 1e-9 * np.maximum(weight, 1)) & (variance > 0)
    values = (excess, weight, possible, variance, null_mean, squared, squared_of_variance)
    return Agreement(cells, *(np.where(can_vary, x, 0.0) for x in values))


@dataclass
class _Pairs:
    """Observed (cell, ATSE) pairs of a run of cells."""

    atse: np.ndarray
    reads: np.ndarray
    same: np.ndarray
    usage: np.ndarray


def _pairs(
    counts: sp.csr_matrix, codes: np.ndarray, n_atses: int, usage: np.ndarray | None = None
) -> Iterator[_Pairs]:
    """Count reads and agreeing pairs of each (cell, ATSE), and sum their pooled usage."""
    for start, stop in row_blocks(counts.indptr):
        stored = slice(counts.indptr[start], counts.indptr[stop])
        column, count = counts.indices[stored], counts.data[stored].astype(np.float64)
        if not len(column):
            continue
        length = np.diff(counts.indptr[start : stop + 1])
        key = np.repeat(np.arange(stop - start, dtype=np.int64) * n_atses, length) + codes[column]
        if not (key[1:] >= key[:-1]).all():
            order = np.argsort(key, kind="stable")
            key, column, count = key[order], column[order], count[order]
        first = np.flatnonzero(np.diff(key, prepend=-1))
        weighted = count if usage is None else count * usage[column]
        yield _Pairs(
            key[first] % n_atses,
            np.add.reduceat(count, first),
            np.add.reduceat(count * (count - 1), first),
            np.add.reduceat(weighted, first),
        )


def _mantel_variance(
    n: np.ndarray,
    a: tuple[np.ndarray, np.ndarray, np.ndarray],
    b: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> np.ndarray:
    """Compute the variance of ``sum_{u != v} a_uv b_uv`` if the n items of b are permuted.

    Each of ``a`` and ``b`` is given by its sum over ordered pairs, that of its squares, and that
    of the squares of its row sums; both are centered first.
    """
    pairs, triples = n * (n - 1), n * (n - 1) * (n - 2)
    quadruples = triples * (n - 3)
    squares, chains, rests = [], [], []
    for total, squared, rows in (a, b):
        two = np.maximum(squared - _ratio(total**2, pairs), 0)
        three = np.maximum(rows - _ratio(total**2, n), 0) - two
        squares.append(two)
        chains.append(three)
        rests.append(-2 * two - 4 * three)
    variance = (
        2 * _ratio(squares[0] * squares[1], pairs)
        + 4 * _ratio(chains[0] * chains[1], triples)
        + _ratio(rests[0] * rests[1], quadruples)
    )
    scale = _ratio(2 * squares[0] * squares[1], pairs)
    return np.where(variance > 1e-9 * scale, variance, 0.0)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Return the quotient; 0 if the denominator is not positive."""
    quotient = np.zeros(len(below))
    np.divide(above, below, out=quotient, where=below > 0)
    return quotient


def beyond_typical(psi_variance: np.ndarray, null_error: np.ndarray) -> tuple[np.ndarray, float]:
    """Compute how far variances of PSI are above the typical one, relative to their noise.

    The *relative difference* of SAM (Tusher et al., PNAS 98:5116, 2001), ``d = (v - v0) /
    (s + s0)``: with the constant s0, ATSEs of many reads are ranked by their variance, and those
    of few by how well it is known.

    Parameters
    ----------
    psi_variance
        ``(N,)`` variance of PSI between cells.
    null_error
        ``(N,)`` its standard error if nothing varied, above 0.

    Returns
    -------
    tuple
        The scores, ``(N,)``, with v0 the typical variance and s0 the median of ``null_error``;
        and v0, the median of ``psi_variance``, or 0 if that is negative.
    """
    if not len(psi_variance):
        return psi_variance.copy(), 0.0
    typical = max(float(np.median(psi_variance)), 0.0)
    score: np.ndarray = (psi_variance - typical) / (null_error + np.median(null_error))
    return score, typical

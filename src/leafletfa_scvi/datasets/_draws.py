"""Random draws of simulations: programs, observed pairs of cell and ATSE, reads."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from leafletfa_scvi.data import row_blocks

_MIN_PSI = 0.01
"""Minimum PSI before the PSI of an ATSE are scaled to sum to one."""
_COMMON, _DIFFERENTIAL = 1.0, 0.6
"""Dirichlet parameters of the PSI of ATSEs that are common to programs, and that differ."""
_CELL_SPREAD, _ATSE_SPREAD = 0.4, 1.0
"""Standard deviations of the logarithms of cell depth and ATSE expression."""


def draw_programs(
    rng: np.random.Generator, size: np.ndarray, differs: np.ndarray, n_programs: int
) -> np.ndarray:
    """Draw the PSI of each junction under each program, ``(P, K)``; sums to 1 within an ATSE."""
    first = np.cumsum(size) - size

    def draw_psi(parameter: float, columns: int) -> np.ndarray:
        weight = rng.standard_gamma(parameter, (size.sum(), columns))
        for _ in range(2):  # scale before and after small values are raised
            weight /= np.repeat(np.add.reduceat(weight, first), size, axis=0)
            np.maximum(weight, _MIN_PSI, out=weight)
        psi: np.ndarray = weight / np.repeat(np.add.reduceat(weight, first), size, axis=0)
        return psi

    differential, common = draw_psi(_DIFFERENTIAL, n_programs), draw_psi(_COMMON, 1)
    return np.where(np.repeat(differs, size)[:, None], differential, common)


def draw_pairs(
    rng: np.random.Generator,
    n_cells: int,
    n_atses: int,
    coverage: float,
    cell_depth: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw observed (cell, ATSE) pairs in order, and their expression with mean 1.

    ``cell_depth`` multiplies the depth of each cell.
    """
    depth = rng.lognormal(0, _CELL_SPREAD, n_cells)
    if cell_depth is not None:
        depth *= cell_depth
    expression = rng.lognormal(0, _ATSE_SPREAD, n_atses)
    scale = _scale_to_coverage(depth, expression, coverage)
    cells, atses = [], []
    for start, stop in row_blocks(np.arange(n_cells + 1) * n_atses):
        missed = np.exp(-scale * depth[start:stop, None] * expression)
        cell, atse = np.nonzero(rng.random(missed.shape) >= missed)
        cells.append((cell + start).astype(np.int32))
        atses.append(atse.astype(np.int32))
    cell, atse = np.concatenate(cells), np.concatenate(atses)
    level = np.sqrt(depth[cell] * expression[atse])
    return cell, atse, level / level.mean() if len(level) else level


def _scale_to_coverage(depth: np.ndarray, expression: np.ndarray, coverage: float) -> float:
    """Solve for the scale at which ``1 - exp(-scale * depth * expression)`` averages coverage."""
    if coverage == 1:
        return np.inf
    # 400 quantiles of each represent all pairs.
    quantiles = [np.quantile(x, (np.arange(400) + 0.5) / 400) for x in (depth, expression)]
    product = np.outer(*quantiles)
    low, high = -40.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        reached = -np.expm1(-np.exp(middle) * product).mean()
        low, high = (middle, high) if reached < coverage else (low, middle)
    return float(np.exp(middle))


class SimulatedEntries(NamedTuple):
    """Observed entries of the layers, row by row, and the (cell, ATSE) pairs that they belong to.

    Attributes
    ----------
    row, column, total
        ``(nnz,)`` cell, junction and ATSE total of each entry.
    reads, start, length
        ``(pairs,)`` reads of each pair, its first entry and number of entries.
    """

    row: np.ndarray
    column: np.ndarray
    total: np.ndarray
    reads: np.ndarray
    start: np.ndarray
    length: np.ndarray


def draw_reads(
    rng: np.random.Generator,
    cell: np.ndarray,
    atse: np.ndarray,
    expression: np.ndarray,
    size: np.ndarray,
    mean_depth: float,
) -> SimulatedEntries:
    """Draw the reads of pairs, 1 + negative binomial, and list the entries of their junctions."""
    rate = (mean_depth - 1) * expression * rng.standard_exponential(len(cell))
    reads = 1 + rng.poisson(rate).astype(np.int32)
    length = size[atse]
    start = np.cumsum(length) - length
    row, total = np.repeat(cell, length), np.repeat(reads, length)
    first = np.cumsum(size) - size
    column = np.arange(len(row)) - np.repeat(start - first[atse], length)
    return SimulatedEntries(row, column, total, reads, start, length)


def draw_share(
    rng: np.random.Generator, p: np.ndarray, rest: np.ndarray, concentration: float
) -> np.ndarray:
    """Draw the share of ``p`` in ``p + rest`` from a beta distribution."""
    rest = np.maximum(rest, 1e-12)
    if np.isinf(concentration):
        share: np.ndarray = p / (p + rest)
        return share
    return rng.beta(concentration * p, concentration * rest)


def draw_shared_reads(
    rng: np.random.Generator,
    p: np.ndarray,
    pairs: SimulatedEntries,
    concentration: float,
) -> np.ndarray:
    """Draw Dirichlet-multinomial counts of each pair by stick breaking over its junctions."""
    reads, start, length = pairs.reads, pairs.start, pairs.length
    count = np.zeros(len(p), np.int64)
    remaining, rest = reads.copy(), np.ones(len(reads))
    for i in range(int(length.max(initial=0))):
        # The last junction of a pair receives the remaining reads.
        last = np.flatnonzero(length == i + 1)
        count[start[last] + i] = remaining[last]
        pair = np.flatnonzero((length > i + 1) & (remaining > 0))
        at = start[pair] + i
        rest[pair] -= p[at]
        share = draw_share(rng, p[at], rest[pair], concentration)
        count[at] = rng.binomial(remaining[pair], share)
        remaining[pair] -= count[at]
    return count

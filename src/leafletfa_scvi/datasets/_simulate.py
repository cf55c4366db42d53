"""Simulation of full-length splicing data with known splicing programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_at_least, check_inside, check_one_of, check_positive
from leafletfa_scvi._constants import ATSE_KEY, program_names
from leafletfa_scvi._deprecated import renamed_arguments
from leafletfa_scvi._narrow_stubs import categorical
from leafletfa_scvi.data import row_blocks, splicing_anndata
from leafletfa_scvi.datasets._coordinates import draw_coordinates

if TYPE_CHECKING:
    from anndata import AnnData

_MIN_PSI = 0.01
"""Minimum PSI before the PSI of an ATSE are scaled to sum to one."""
_COMMON, _DIFFERENTIAL = 1.0, 0.6
"""Dirichlet parameters of the PSI of ATSEs that are common to programs, and that differ."""
_CELL_SPREAD, _ATSE_SPREAD = 0.4, 1.0
"""Standard deviations of the logarithms of cell depth and ATSE expression."""

_Likelihood = Literal["dirichlet-multinomial", "betabinomial"]


@renamed_arguments(differing="frac_differential")
def simulate_splicing(
    n_cells: int = 500,
    n_atses: int = 300,
    n_programs: int = 5,
    *,
    frac_differential: float = 0.25,
    coverage: float = 0.2,
    mean_depth: float = 15.0,
    concentration: float = 20.0,
    activity_concentration: float | None = None,
    junctions_per_atse: tuple[int, int] = (2, 5),
    likelihood: _Likelihood = "dirichlet-multinomial",
    seed: int = 0,
) -> AnnData:
    """Simulate a data set similar to Smart-seq2 data from known splicing programs.

    Activities are Dirichlet with mean prevalence; the expected PSI of a junction in a cell is p =
    phi psi. A (cell, ATSE) pair is observed with a probability that increases with the depth of
    the cell and the expression of the ATSE, and then has 1 + negative binomial reads.

    Parameters
    ----------
    n_cells, n_atses, n_programs
        Numbers of cells C, ATSEs and programs K.
    frac_differential
        Share of ATSEs whose PSI is drawn for each program, from ``Dirichlet(0.6)``; in the others
        all programs have the same PSI, from ``Dirichlet(1)``.
    coverage
        Expected share of (cell, ATSE) pairs that are observed, in (0, 1].
    mean_depth
        Expected number of reads of an observed pair, at least 1.
    concentration
        Positive beta-binomial concentration kappa; infinity gives multinomial noise only.
    activity_concentration
        Sum delta of the Dirichlet parameters of activities. If None, ``0.2 * n_programs``, so that
        one or two programs dominate most cells.
    junctions_per_atse
        Minimum and maximum number of junctions of an ATSE, drawn uniformly; at least 1.
    likelihood
        ``"dirichlet-multinomial"``: junctions share the reads of their ATSE, so that counts sum to
        the total and are marginally beta-binomial. ``"betabinomial"``: each junction is drawn
        independently, as the model assumes. Counts of an ATSE then need not sum to its total, so
        labels are stored in ``var["atse"]``, which is not checked, instead of ``var["atse_id"]``.
    seed
        Non-negative integer; the same seed gives the same data.

    Returns
    -------
    AnnData
        C x P, both layers int32 CSR on the pattern of observed entries, ``X`` the junction counts
        as float32. Truth: ``obsm["phi_true"]`` (C x K), ``varm["psi_true"]`` (P x K),
        ``var["differs"]``, ``obs["program_true"]`` (the largest activity) and ``uns["truth"]``
        (prevalence, concentration, activity_concentration). Programs are ordered by prevalence.
        ``var`` also has coordinates (1-based, inclusive introns) and genes.

    Raises
    ------
    ValueError
        An argument is out of its range.

    Examples
    --------
    >>> adata = simulate_splicing(n_cells=100, n_atses=50, n_programs=3)
    >>> adata.obsm["phi_true"].shape
    (100, 3)
    """
    check_at_least(1, n_cells=n_cells, n_atses=n_atses, n_programs=n_programs)
    fewest, most = junctions_per_atse
    delta = 0.2 * n_programs if activity_concentration is None else activity_concentration
    check_inside("frac_differential", frac_differential, "[0, 1]")
    check_inside("coverage", coverage, "(0, 1]")
    check_at_least(1, mean_depth=mean_depth)
    check_positive("concentration", concentration)
    check_positive("activity_concentration", delta, finite=True)
    if not 1 <= fewest <= most:
        raise ValueError(
            "Expected junctions_per_atse to be (fewest, most) with 1 <= fewest <= most, found "
            f"{junctions_per_atse}."
        )
    check_one_of("likelihood", likelihood, _Likelihood)
    rng = np.random.default_rng(seed)

    size = rng.integers(fewest, most + 1, n_atses)
    first = np.cumsum(size) - size
    atse = np.repeat(np.arange(n_atses), size)
    differs = rng.permutation(n_atses) < round(frac_differential * n_atses)
    psi = _draw_programs(rng, size, differs, n_programs)
    prevalence = np.geomspace(4, 1, n_programs) if n_programs > 1 else np.ones(1)
    prevalence /= prevalence.sum()
    phi = rng.dirichlet(delta * prevalence, n_cells)

    cell, pair_atse, expression = _draw_pairs(rng, n_cells, n_atses, coverage)
    rate = (mean_depth - 1) * expression * rng.standard_exponential(len(cell))
    reads = 1 + rng.poisson(rate).astype(np.int32)
    length = size[pair_atse]
    start = np.cumsum(length) - length
    row, total = np.repeat(cell, length), np.repeat(reads, length)
    column = np.arange(len(row)) - np.repeat(start - first[pair_atse], length)
    p = np.zeros(len(row))
    for k in range(n_programs):
        p += phi[row, k] * psi[column, k]
    if likelihood == "betabinomial":
        count = rng.binomial(total, _draw_share(rng, p, 1 - p, concentration))
    else:
        count = _draw_shared_reads(rng, p, reads, start, length, concentration)

    var = draw_coordinates(atse, rng)
    var["differs"] = differs[atse]
    if likelihood == "betabinomial":
        var = var.rename(columns={ATSE_KEY: "atse"})
    names = program_names(n_programs)
    program = categorical(phi.argmax(axis=1), names)
    obs = pd.DataFrame({"program_true": program}, index=[f"cell_{c}" for c in range(n_cells)])
    indptr = np.searchsorted(row, np.arange(n_cells + 1))
    adata = splicing_anndata(
        indptr,
        column,
        count,
        total,
        obs,
        var,
        "simulate_splicing",
        n_programs=n_programs,
        frac_differential=frac_differential,
        coverage=coverage,
        mean_depth=mean_depth,
        likelihood=likelihood,
        seed=seed,
    )
    adata.obsm["phi_true"], adata.varm["psi_true"] = phi, psi
    adata.uns["truth"] = {
        "prevalence": prevalence,
        "concentration": float(concentration),
        "activity_concentration": float(delta),
    }
    return adata


def _draw_programs(
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


def _draw_pairs(
    rng: np.random.Generator, n_cells: int, n_atses: int, coverage: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw observed (cell, ATSE) pairs in order, and their expression with mean 1."""
    depth = rng.lognormal(0, _CELL_SPREAD, n_cells)
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


def _draw_share(
    rng: np.random.Generator, p: np.ndarray, rest: np.ndarray, concentration: float
) -> np.ndarray:
    """Draw the share of ``p`` in ``p + rest`` from a beta distribution."""
    rest = np.maximum(rest, 1e-12)
    if np.isinf(concentration):
        share: np.ndarray = p / (p + rest)
        return share
    return rng.beta(concentration * p, concentration * rest)


def _draw_shared_reads(
    rng: np.random.Generator,
    p: np.ndarray,
    reads: np.ndarray,
    start: np.ndarray,
    length: np.ndarray,
    concentration: float,
) -> np.ndarray:
    """Draw Dirichlet-multinomial counts of each pair by stick breaking over its junctions."""
    count = np.zeros(len(p), np.int64)
    remaining, rest = reads.copy(), np.ones(len(reads))
    for i in range(int(length.max(initial=0))):
        # The last junction of a pair receives the remaining reads.
        last = np.flatnonzero(length == i + 1)
        count[start[last] + i] = remaining[last]
        pair = np.flatnonzero((length > i + 1) & (remaining > 0))
        at = start[pair] + i
        rest[pair] -= p[at]
        share = _draw_share(rng, p[at], rest[pair], concentration)
        count[at] = rng.binomial(remaining[pair], share)
        remaining[pair] -= count[at]
    return count

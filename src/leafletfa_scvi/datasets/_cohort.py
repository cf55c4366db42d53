"""Simulation of cells of several donors, in groups whose populations are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from leafletfa_scvi._arguments import check_at_least, check_inside, check_one_of, check_positive
from leafletfa_scvi._constants import program_names
from leafletfa_scvi._narrow_stubs import categorical
from leafletfa_scvi.data import splicing_anndata
from leafletfa_scvi.datasets._coordinates import draw_coordinates
from leafletfa_scvi.datasets._draws import (
    draw_pairs,
    draw_programs,
    draw_reads,
    draw_shared_reads,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

GROUPS = ("A", "B")
_UNEQUAL = 0.6
"""Standard deviation of the logarithms of numbers of cells and of depths of unequal donors."""
_CELLS_OF_POPULATION, _DONORS_OF_POPULATION = 2000, 20_000
"""Cells and donors over which the PSI and the activity of a population without closed form are
averaged."""

_Shift = Literal["activities", "psi"]


def simulate_cohort(
    n_donors: Sequence[int] = (5, 5),
    n_cells: int = 1100,
    n_atses: int = 500,
    n_programs: int = 5,
    *,
    paired: bool = False,
    donor_concentration: float = 8.0,
    shift: float = 0.0,
    shift_of: _Shift = "activities",
    frac_shifted: float = 0.25,
    unequal: bool = False,
    gene_spread: float = 0.0,
    coverage: float = 0.2,
    mean_depth: float = 15.0,
    concentration: float = 20.0,
    activity_concentration: float | None = None,
    seed: int = 0,
) -> AnnData:
    """Simulate cells of donors in two groups, whose populations are equal or differ.

    The mean activity of a donor is drawn around that of its group, and the activities of its cells
    around that of the donor. Programs, coverage and reads are those of :func:`simulate_splicing`
    with shared reads.

    Parameters
    ----------
    n_donors
        Numbers of donors of group A and of group B; if ``paired``, only the first is used, and
        each donor has cells of both groups.
    n_cells, n_atses, n_programs
        Numbers of cells, divided evenly among donors (and groups), of ATSEs, and of programs K.
    paired
        Whether the groups are two types of cells of the same donors.
    donor_concentration
        Dirichlet concentration per program of the mean activity of a donor; infinity for donors
        that are alike.
    shift
        Difference of the populations of the groups, in [0, 1): the activity that group B has more
        of program 2, and less of program 1 (``shift_of="activities"``), or the share by which the
        PSI of some ATSEs in group B moves to other random PSI (``"psi"``).
    shift_of
        What differs between the groups.
    frac_shifted
        Share of ATSEs that shift, with ``shift_of="psi"``.
    unequal
        Whether numbers of cells and depth vary between donors.
    gene_spread
        Standard deviation of a normal variable of each cell and gene that shifts the log odds of
        the first junctions of all its ATSEs, which the model does not know.
    coverage, mean_depth, concentration, activity_concentration
        As in :func:`simulate_splicing`.
    seed
        Non-negative integer; the same seed gives the same data.

    Returns
    -------
    AnnData
        As of :func:`simulate_splicing`, with ``obs["group"]``, ``obs["donor"]``. Truth:
        ``varm["psi_group_true"]``, a DataFrame (P x groups) with the PSI of the population of each
        group, ``varm["psi_true"]`` and ``obsm["phi_true"]`` (programs, activities without shifts
        of psi and of genes), ``uns["truth"]["activity"]``, mean activity of each population.

    Raises
    ------
    ValueError
        An argument is out of its range.

    Examples
    --------
    >>> adata = simulate_cohort((3, 3), n_cells=60, n_atses=20, n_programs=3)
    >>> adata.obs.groupby("group", observed=True)["donor"].nunique().tolist()
    [3, 3]
    """
    check_at_least(1, n_cells=n_cells, n_atses=n_atses, n_programs=n_programs)
    check_positive("donor_concentration", donor_concentration)
    check_inside("shift", shift, "[0, 1)")
    check_inside("frac_shifted", frac_shifted, "[0, 1]")
    check_one_of("shift_of", shift_of, _Shift)
    delta = 0.2 * n_programs if activity_concentration is None else activity_concentration
    rng = np.random.default_rng(seed)
    size = rng.integers(2, 6, n_atses)
    atse = np.repeat(np.arange(n_atses), size)
    differs = rng.permutation(n_atses) < round(0.25 * n_atses)
    psi = draw_programs(rng, size, differs, n_programs)
    prevalence = np.geomspace(4, 1, n_programs) if n_programs > 1 else np.ones(1)
    prevalence /= prevalence.sum()
    population = np.stack([prevalence, prevalence])
    if shift_of == "activities" and shift:
        moved = min(shift, prevalence[0] - 0.01)
        population[1, 0] -= moved
        population[1, min(1, n_programs - 1)] += moved
    donors = _draw_donors(rng, n_donors, paired, donor_concentration, population)
    population = donors.population
    unit, depth = _share_cells(rng, n_cells, donors.donor, unequal)
    phi = _draw_activities(rng, delta * donors.activity[unit])
    psi_of = np.stack([psi, psi])
    if shift_of == "psi" and shift:
        shifted = np.repeat(rng.permutation(n_atses) < round(frac_shifted * n_atses), size)
        other = draw_programs(rng, size, np.zeros(n_atses, bool), 1)
        psi_of[1, shifted] = (1 - shift) * psi[shifted] + shift * other[shifted]

    cell, pair_atse, expression = draw_pairs(rng, n_cells, n_atses, coverage, depth)
    pairs = draw_reads(rng, cell, pair_atse, expression, size, mean_depth)
    p = np.zeros(len(pairs.row))
    for k in range(n_programs):
        p += phi[pairs.row, k] * psi_of[donors.group[unit][pairs.row], pairs.column, k]
    var = draw_coordinates(atse, rng)
    gene = pd.factorize(var["gene_id"])[0]
    first = np.cumsum(size) - size
    if gene_spread:
        latent = rng.normal(0, gene_spread, (n_cells, gene.max() + 1))
        p = _tilt(p, pairs.start, pairs.length, latent[cell, gene[first[pair_atse]]])
    count = draw_shared_reads(rng, p, pairs, concentration)

    var["differs"] = differs[atse]
    obs = pd.DataFrame(
        {
            "group": categorical(donors.group[unit], GROUPS),
            "donor": pd.Categorical([f"donor_{d + 1}" for d in donors.donor[unit]]),
        },
        index=[f"cell_{c}" for c in range(n_cells)],
    )
    indptr = np.searchsorted(pairs.row, np.arange(n_cells + 1))
    adata = splicing_anndata(
        indptr,
        pairs.column,
        count,
        pairs.total,
        obs,
        var,
        "simulate_cohort",
        n_programs=n_programs,
        paired=paired,
        donor_concentration=donor_concentration,
        shift=shift,
        shift_of=shift_of,
        coverage=coverage,
        mean_depth=mean_depth,
        seed=seed,
    )
    truth = np.einsum("gk,gpk->pg", population, psi_of)
    if gene_spread:
        truth = _mean_tilted_psi(seed, donors, delta, psi_of, gene_spread, first)
    adata.obsm["phi_true"], adata.varm["psi_true"] = phi, psi
    adata.varm["psi_group_true"] = pd.DataFrame(truth, var.index, list(GROUPS))
    adata.uns["truth"] = {
        "activity": pd.DataFrame(population, list(GROUPS), program_names(n_programs)),
        "concentration": float(concentration),
        "activity_concentration": float(delta),
    }
    return adata


class _Donors(NamedTuple):
    """Donor, group and mean activity of each unit, and the mean activity of each population."""

    donor: np.ndarray
    group: np.ndarray
    activity: np.ndarray
    population: np.ndarray


def _draw_donors(
    rng: np.random.Generator,
    n_donors: Sequence[int],
    paired: bool,
    concentration: float,
    population: np.ndarray,
) -> _Donors:
    """Draw the mean activities of donors around those of their group.

    A donor with both groups multiplies the activities of both by the same factors.
    """
    n_programs = population.shape[1]

    def around(mean: np.ndarray, n: int) -> np.ndarray:
        if np.isinf(concentration):
            return np.tile(mean, (n, 1))
        drawn: np.ndarray = rng.dirichlet(concentration * n_programs * mean, n)
        return drawn

    if not paired:
        group = np.repeat([0, 1], n_donors)
        activity = np.concatenate([around(population[g], n_donors[g]) for g in (0, 1)])
        return _Donors(np.arange(len(group)), group, activity, population)

    def of_groups(common: np.ndarray) -> np.ndarray:
        """Activities ``(donors, groups, K)``."""
        product = common[:, None, :] / population[0] * population
        activities: np.ndarray = product / product.sum(2, keepdims=True)
        return activities

    both = of_groups(around(population[0], n_donors[0]))
    mean = of_groups(around(population[0], _DONORS_OF_POPULATION)).mean(0)
    n = n_donors[0]
    return _Donors(np.repeat(np.arange(n), 2), np.tile([0, 1], n), both.reshape(2 * n, -1), mean)


def _share_cells(
    rng: np.random.Generator, n_cells: int, donor: np.ndarray, unequal: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Assign cells to units, and draw the factor of each cell's depth that its donor gives."""
    n_units = len(donor)
    if not unequal:
        return np.arange(n_cells) * n_units // n_cells, np.ones(n_cells)
    weight = rng.lognormal(0, _UNEQUAL, n_units)
    ends = np.round(np.cumsum(weight) / weight.sum() * n_cells).astype(int)
    unit = np.minimum(np.searchsorted(ends, np.arange(n_cells), side="right"), n_units - 1)
    depth = rng.lognormal(0, _UNEQUAL, donor.max() + 1)
    return unit, depth[donor[unit]]


def _draw_activities(rng: np.random.Generator, parameters: np.ndarray) -> np.ndarray:
    """Draw a Dirichlet variable for each row of parameters."""
    drawn = rng.standard_gamma(np.maximum(parameters, 1e-3))
    drawn = np.maximum(drawn, 1e-300)
    activities: np.ndarray = drawn / drawn.sum(1, keepdims=True)
    return activities


def _tilt(
    p: np.ndarray, start: np.ndarray, length: np.ndarray, log_odds: np.ndarray
) -> np.ndarray:
    """Shift the log odds of the first of the junctions of each pair; the others share the rest."""
    before = np.clip(p[start], 1e-9, 1 - 1e-9)
    after: np.ndarray = expit(logit(before) + log_odds)
    tilted: np.ndarray = p * np.repeat((1 - after) / (1 - before), length)
    tilted[start] = after
    return tilted


def _mean_tilted_psi(
    seed: int,
    donors: _Donors,
    delta: float,
    psi: np.ndarray,
    gene_spread: float,
    first: np.ndarray,
) -> np.ndarray:
    """Average tilted PSI over cells of each population, ``(P, groups)``."""
    length = np.diff(np.append(first, psi.shape[1]))
    means = []
    for g in (0, 1):
        # The same draws for both groups, so that equal populations are exactly equal.
        rng = np.random.default_rng([seed, 1])
        total = np.zeros(psi.shape[1])
        for _ in range(_CELLS_OF_POPULATION):
            phi = _draw_activities(rng, delta * donors.population[g][None])[0]
            latent = rng.normal(0, gene_spread, len(first))
            total += _tilt(psi[g] @ phi, first, length, latent)
        means.append(total / _CELLS_OF_POPULATION)
    return np.stack(means, axis=1)

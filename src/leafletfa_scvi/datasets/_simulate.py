"""Simulation of full-length splicing data with known splicing programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_at_least, check_inside, check_one_of, check_positive
from leafletfa_scvi._constants import ATSE_KEY, program_names
from leafletfa_scvi._deprecated import renamed_arguments
from leafletfa_scvi._narrow_stubs import categorical
from leafletfa_scvi.data import splicing_anndata
from leafletfa_scvi.datasets._batches import draw_batches
from leafletfa_scvi.datasets._coordinates import draw_coordinates
from leafletfa_scvi.datasets._draws import (
    draw_pairs,
    draw_programs,
    draw_reads,
    draw_share,
    draw_shared_reads,
)

if TYPE_CHECKING:
    from anndata import AnnData

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
    n_batches: int = 1,
    frac_batch: float = 0.0,
    batch_scale: float = 1.5,
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
    n_batches
        Number of batches, to which cells are assigned at random.
    frac_batch
        Share of ATSEs whose PSI differs between batches.
    batch_scale
        Standard deviation of the shift of the logarithm of PSI of each junction of these ATSEs in
        each batch, before its mean over batches is subtracted; PSI is then scaled to sum to 1.
        Shifts are the same for all programs.
    seed
        Non-negative integer; the same seed gives the same data.

    Returns
    -------
    AnnData
        C x P, both layers int32 CSR on the pattern of observed entries, ``X`` the junction counts
        as float32. Truth: ``obsm["phi_true"]`` (C x K), ``varm["psi_true"]`` (P x K),
        ``var["differs"]``, ``obs["program_true"]`` (the largest activity) and ``uns["truth"]``
        (prevalence, concentration, activity_concentration). Programs are ordered by prevalence.
        ``var`` also has coordinates (1-based, inclusive introns) and genes. With several batches,
        ``obs["batch"]``, ``varm["batch_shift_true"]`` (P x batches) and ``var["shifts"]``; without
        their effects, the data are otherwise those of the same seed.

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
    check_at_least(1, n_batches=n_batches)
    check_inside("frac_batch", frac_batch, "[0, 1]")
    check_at_least(0.0, batch_scale=batch_scale)
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
    atse = np.repeat(np.arange(n_atses), size)
    differs = rng.permutation(n_atses) < round(frac_differential * n_atses)
    psi = draw_programs(rng, size, differs, n_programs)
    prevalence = np.geomspace(4, 1, n_programs) if n_programs > 1 else np.ones(1)
    prevalence /= prevalence.sum()
    phi = rng.dirichlet(delta * prevalence, n_cells)

    cell, pair_atse, expression = draw_pairs(rng, n_cells, n_atses, coverage)
    pairs = draw_reads(rng, cell, pair_atse, expression, size, mean_depth)
    row, column, total = pairs.row, pairs.column, pairs.total
    batches = draw_batches(n_cells, atse, n_batches, frac_batch, batch_scale, seed)
    p = np.zeros(len(row))
    for k in range(n_programs):
        shifted = batches.programs(psi[:, k])
        p += phi[row, k] * shifted[column, batches.batch[row]]
    if likelihood == "betabinomial":
        count = rng.binomial(total, draw_share(rng, p, 1 - p, concentration))
    else:
        count = draw_shared_reads(rng, p, pairs, concentration)

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
    if n_batches > 1:
        names = [f"batch_{b}" for b in range(n_batches)]
        adata.obs["batch"] = categorical(batches.batch, names)
        adata.varm["batch_shift_true"] = batches.shift
        adata.var["shifts"] = batches.shifts[atse]
    adata.uns["truth"] = {
        "prevalence": prevalence,
        "concentration": float(concentration),
        "activity_concentration": float(delta),
    }
    return adata

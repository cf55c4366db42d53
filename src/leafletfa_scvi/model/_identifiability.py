"""How far the data of a fit determine its activities and programs."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from leafletfa_scvi import inference
from leafletfa_scvi._name_index import name_index
from leafletfa_scvi._warnings import IdentifiabilityWarning
from leafletfa_scvi.model._base import SplicingModelBase
from leafletfa_scvi.model._cells import (
    Indices,
    cell_posterior,
    cell_variance,
    larger_variance,
)
from leafletfa_scvi.model._expected import programs_of_batches
from leafletfa_scvi.model._program_table import program_table, program_variance

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from leafletfa_scvi.ops import ObservedEntries

log = logging.getLogger(__name__)

MIN_CELLS = 2.0
"""Effective number of cells below which a program is the PSI of one cell."""
MIN_DIFFERENCE = 2.0
"""Largest difference of two programs, in its standard deviations, below which they are equal."""
MIN_RELIABILITY = 0.16
"""Reliability below which activities are not to be trusted; the square of 0.4.

The estimate is low where data are sparse. In the simulations of ``benchmarks/quality/limits.py``
at most half of the programs are found below this bound, and nearly all in all but one case above.
"""
_MAX_SLOPE = 10.0
"""Slope above which predicted deviations are nothing but noise."""
_NAMED = 5
"""Number of programs that a message names."""


@dataclass(frozen=True, eq=False, repr=False)
class Identifiability:
    """How far the data determine the activities of cells and the programs of a fit.

    Printing it shows the main numbers.

    Attributes
    ----------
    cells
        One row for each cell: ``n_entries`` (observed entries), ``n_reads`` (sum of its junction
        counts), ``information`` (of its reads about its activities, in pseudo-counts, of which
        the prior has ``prior_concentration``), ``prior_share`` (posterior variance of its
        activities as a share of that of the prior, from 0, all data, to 1, all prior),
        ``main_program`` and ``main_activity`` (the program with the highest activity).
    programs
        One row for each program: ``prevalence``, ``n_cells`` (cells of which it is the main
        program), ``effective_cells`` (number of equally active cells that would say as much about
        its PSI), ``reliability`` (expected squared correlation of its activities with the true
        ones, if the programs are right), ``nearest`` (the program with the smallest mean
        difference in PSI), ``mean_difference`` and ``max_difference`` (mean and largest absolute
        difference from it over junctions), ``mean_z`` and ``max_z`` (the same in standard
        deviations of the difference; NaN if programs were given without their uncertainty).
    prior_concentration
        Sum of the Dirichlet prior of activities, delta.
    calibration, calibration_se
        Slope of observed on predicted deviations from junction means, where each (cell, ATSE) pair
        is predicted without its own reads, and its standard error: 1 if they are as large as
        predicted, 0 if the fit has followed noise; NaN for one program.
    problems
        What makes the fit unreliable, one sentence each; ``train`` warns of these.
    """

    cells: pd.DataFrame
    programs: pd.DataFrame
    prior_concentration: float
    calibration: float
    calibration_se: float
    problems: tuple[str, ...]

    @property
    def reliability(self) -> float:
        """Estimate of the squared correlation of activities with the true ones.

        It is 1 minus the mean of ``prior_share``, which takes the programs as known, times the
        calibration (between 0 and 1), which tells how much of the programs is noise.
        """
        share = self.cells["prior_share"].to_numpy()
        return _reliability(share, inference.Calibration(self.calibration, self.calibration_se))

    def describe(self) -> str:
        """Return the main numbers as one line."""
        calibration = inference.Calibration(self.calibration, self.calibration_se)
        return _description(self.cells["prior_share"].to_numpy(), self.programs, calibration)

    def __repr__(self) -> str:
        cells = self.cells
        low, middle, high = cells["prior_share"].quantile([0.05, 0.5, 0.95])
        lines = [
            f"Identifiability: {self.describe()}.",
            f"  Median of cells: {cells['n_entries'].median():,.0f} observed entries and "
            f"{cells['n_reads'].median():,.0f} reads",
        ]
        if len(self.programs) > 1:
            lines += [
                f"  Reads of a cell are worth {cells['information'].median():.3g} pseudo-counts "
                f"(median), the prior {self.prior_concentration:.3g}",
                f"  Share of the prior: median {middle:.0%}, 90 % of cells {low:.0%} to "
                f"{high:.0%}",
            ]
        return "\n".join([*lines, *(f"  {problem}" for problem in self.problems)])


class IdentifiabilityMixin(SplicingModelBase):
    """``identifiability`` of :class:`~leafletfa_scvi.LeafletFAModel`."""

    @torch.no_grad()
    def identifiability(
        self, adata: AnnData | MuData | None = None, indices: Indices = None
    ) -> Identifiability:
        """Measure how much of the activities is data, and how distinct the programs are.

        ``train`` logs the main numbers and warns of the ``problems``.

        Parameters
        ----------
        adata, indices
            Cells, as in :meth:`get_cell_activities`. ``n_cells``, ``effective_cells`` and
            ``reliability`` of programs are those of these cells.

        Returns
        -------
        :class:`~leafletfa_scvi.model.Identifiability` with a table of cells and one of programs.

        Raises
        ------
        RuntimeError
            The model is not trained.
        ValueError
            The model was loaded without data, or the junctions of ``adata`` are not those of the
            model.

        Notes
        -----
        The mean posterior variance and the variance of posterior means add up to the variance of
        the prior (law of total variance). The share of the latter that is left, ``prior_share``,
        is therefore 1 minus the reliability, the squared correlation of estimates with what they
        estimate, of classical test theory. Posterior variances take the programs as known. How
        much of these is noise is told by reads that are left out, see
        :func:`~leafletfa_scvi.inference.left_out_calibration`.

        ``effective_cells`` is (sum of phi^2)^2 / (sum of phi^4), the effective sample size (Kish)
        of the weights phi^2 that cells have in the information about a program.

        Examples
        --------
        >>> import leafletfa_scvi as lfa
        >>> adata = lfa.datasets.simulate_splicing(n_cells=300, n_programs=3)
        >>> lfa.LeafletFAModel.setup_anndata(adata)
        >>> model = lfa.LeafletFAModel(adata, n_programs=3)
        >>> model.train(method="em")
        >>> result = model.identifiability()
        >>> result.cells["prior_share"].median(), result.programs["max_z"].min()
        """
        cells = cell_posterior(self, adata, indices)
        entries, phi = cells.observed(), cells.mean.numpy().astype(np.float64)
        variance = larger_variance(cells.concentration, cell_variance(self, cells))
        share = _prior_share(self, variance)
        table = {
            "n_entries": entries.indptr.diff().numpy(),
            "n_reads": _reads(entries),
            "information": _information(self, entries, cells.mean, cells.position),
            "prior_share": share,
            "main_program": pd.Categorical.from_codes(phi.argmax(1), pd.Index(self.program_names)),
            "main_activity": phi.max(1),
        }
        programs = program_table(self, phi, variance)
        calibration = _calibration(self, entries, phi, cells.position)
        return Identifiability(
            pd.DataFrame(table, name_index(cells.names)),
            programs,
            float(self.module.activity_prior().sum()),
            *calibration,
            _problems(self, share, programs, calibration),
        )


def report_identifiability(model: SplicingModelBase, entries: ObservedEntries) -> None:
    """Log the main numbers of a trained model, and warn the caller of ``train`` of problems.

    Parameters
    ----------
    model
        Trained model.
    entries
        Observed entries that it was trained on.
    """
    with torch.no_grad():
        concentration = model._trained_concentration()
        phi = (concentration / concentration.sum(1, keepdim=True)).numpy().astype(np.float64)
        variance = larger_variance(concentration, model.module.guide.phi_variance.cpu())
        share, programs = _prior_share(model, variance), program_table(model, phi, variance)
        calibration = _calibration(model, entries, phi, np.arange(len(phi)))
    log.info("Fit of %d cells: %s.", len(phi), _description(share, programs, calibration))
    problems = _problems(model, share, programs, calibration)
    model._is_identified = not problems
    if problems:
        warnings.warn(
            f"This fit cannot be trusted: {' '.join(problems)} model.identifiability() has the "
            "numbers.",
            IdentifiabilityWarning,
            stacklevel=3,
        )


def _prior_share(model: SplicingModelBase, variance: np.ndarray) -> np.ndarray:
    """Posterior variance of each cell as a share of that of the prior; NaN for one program."""
    alpha = model.module.activity_prior().detach().cpu().double().numpy()
    pi = alpha / alpha.sum()
    prior = float((pi * (1.0 - pi)).sum() / (alpha.sum() + 1.0))
    if model.n_programs == 1:
        return np.full(len(variance), np.nan)
    share: np.ndarray = np.clip(variance.sum(1) / prior, 0.0, 1.0)
    return share


def _calibration(
    model: SplicingModelBase, entries: ObservedEntries, phi: np.ndarray, position: np.ndarray
) -> inference.Calibration:
    """Calibration of the fit by reads that are left out; NaN for one program or no cells."""
    if model.n_programs == 1 or not len(phi):
        return inference.Calibration(float("nan"), float("nan"))
    module = model.module
    psi = module.programs().cpu().double().numpy()
    variance = program_variance(model) if model.has_program_posterior_ else np.zeros_like(psi)
    learned = module.junction_concentration()
    concentration = np.inf if learned is None else learned.cpu().double().numpy()
    kappa = np.broadcast_to(concentration, len(psi))
    psi, variance = programs_of_batches(model, variance)
    return inference.left_out_calibration(
        entries,
        phi,
        psi,
        variance,
        kappa,
        module.activity_prior().detach().cpu().double().numpy(),
        model.atse_codes_,
        (position >= 0) & (not model.fits_activities_only),
    )


def _reliability(
    share: np.ndarray, calibration: inference.Calibration, n_se: float = 0.0
) -> float:
    """Reliability of activities, with the slope ``n_se`` standard errors higher."""
    slope = calibration.slope + n_se * calibration.se
    known = 1.0 if np.isnan(slope) else min(max(slope, 0.0), 1.0)
    return float(np.mean(1.0 - share)) * known


def _reads(entries: ObservedEntries) -> np.ndarray:
    """Sum the junction counts of each cell, ``(n,)``."""
    reads = np.zeros(entries.n_cells, np.int64)
    for cells, block in entries.blocks():
        reads[cells] = np.bincount(block.rows(), block.count, block.n_cells)
    return reads


def _information(
    model: SplicingModelBase, entries: ObservedEntries, phi: torch.Tensor, position: np.ndarray
) -> np.ndarray:
    """Pseudo-counts ``(n,)`` that the reads of each cell are worth for its activities.

    See :func:`inference.pseudo_counts`.
    """
    value = np.empty(len(phi))
    is_query = model.fits_activities_only
    for is_new in (False, True):
        rows = torch.from_numpy(np.flatnonzero(((position < 0) | is_query) == is_new))
        if not len(rows):
            continue
        chosen, module = phi[rows], model.module
        factors = module.predictive_factors(chosen) if is_new else module.factors(chosen)
        fitted = model._likelihood_entries(entries.select(rows))
        info = inference.information(fitted, factors.to("cpu")).activity
        value[rows.numpy()] = inference.pseudo_counts(chosen, info).numpy()
    return value * float(model.module.model.activity_weight)


def _description(
    share: np.ndarray, programs: pd.DataFrame, calibration: inference.Calibration
) -> str:
    """Return the main numbers as one line."""
    if len(programs) == 1:
        return "one program, whose activity is 1 in every cell"
    if not len(share):
        return "no cells"
    data = float(np.mean(1.0 - share))
    smallest = programs["effective_cells"].idxmin()
    nearest = programs["mean_difference"].idxmin()
    pair = programs.loc[nearest]
    return (
        f"activities are {data:.0%} data and {1.0 - data:.0%} prior; "
        f"{_left_out(calibration)}; expected correlation with the true activities about "
        f"{np.sqrt(_reliability(share, calibration)):.2f}; {smallest} rests on "
        f"{programs.loc[smallest, 'effective_cells']:,.3g} cells, the fewest; the PSI of "
        f"{nearest} and {pair['nearest']}, the most similar, differs by up to "
        f"{pair['max_difference']:.2g}"
    )


def _problems(
    model: SplicingModelBase,
    share: np.ndarray,
    programs: pd.DataFrame,
    calibration: inference.Calibration,
) -> tuple[str, ...]:
    """Say what makes a fit unreliable; programs of a reference are not judged by other cells."""
    if model.n_programs == 1 or not len(share):
        return ()
    problems = []
    n_known = model.n_reference_programs_
    if model.frozen_programs_ and n_known is None:
        n_known = model.n_programs
    own = programs.iloc[n_known or 0 :]
    single = own.index[own["effective_cells"] < MIN_CELLS]
    if len(single):
        problems.append(
            f"{len(single)} of {len(programs)} programs ({_named(single)}) rest on fewer than "
            f"{MIN_CELLS:.0f} cells each, so that they are the PSI of single cells, noise "
            "included: fit fewer programs, or more cells."
        )
    equal = own.index[own["max_z"] < MIN_DIFFERENCE]
    if len(equal):
        largest = own.loc[equal, "max_difference"].max()
        problems.append(
            f"{len(equal)} of {len(programs)} programs ({_named(equal)}) differ from another one "
            f"by less than {MIN_DIFFERENCE:.0f} standard deviations at every junction (by "
            f"{largest:.2g} in PSI at most), so that the data do not tell them apart: fit fewer "
            "programs, or more cells or ATSEs."
        )
    data = float(np.mean(1.0 - share))
    if _reliability(share, calibration, n_se=2.0) < MIN_RELIABILITY:
        r = np.sqrt(_reliability(share, calibration))
        problems.append(
            f"Activities are expected to correlate with the true ones by about {r:.2f} only: "
            f"they are {1.0 - data:.0%} prior, and "
            f"{_left_out(calibration)}. The cells have too few reads, or no "
            "programs: pool similar cells (lfa.pp.metacells), fit these, and place the cells on "
            "their programs (load_query_data)."
        )
    return tuple(problems)


def _left_out(calibration: inference.Calibration) -> str:
    """Say how far reads that are left out deviate as predicted."""
    if 0.0 <= calibration.slope <= _MAX_SLOPE:
        how = f"deviate {calibration.slope:.2f} times as much"
    else:  # predictions that hardly differ: any slope
        how = "do not deviate"
    return f"reads left out {how} from junction means as predicted"


def _named(names: pd.Index) -> str:
    """Join the first names of programs."""
    more = ", ..." if len(names) > _NAMED else ""
    return ", ".join(map(str, names[:_NAMED])) + more

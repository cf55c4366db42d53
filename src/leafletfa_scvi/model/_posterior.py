"""Programs, activities and expected PSI from the posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from leafletfa_scvi import inference, ops
from leafletfa_scvi._arguments import check_inside
from leafletfa_scvi.model._cells import CellPosterior, CellsMixin, Indices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

_LEAST = 0.1


class CredibleInterval(NamedTuple):
    """Lower and upper ends of equal-tailed credible intervals, as DataFrames of one shape."""

    lower: pd.DataFrame
    upper: pd.DataFrame


class PosteriorMixin(CellsMixin):
    """Means and intervals of :class:`~leafletfa_scvi.LeafletFAModel`."""

    @torch.no_grad()
    def get_splicing_programs(self) -> pd.DataFrame:
        """Posterior mean of the programs psi, PSI of each junction under each program.

        Returns
        -------
        Junctions x programs (P x K), values in (0, 1), columns ``SP_1`` .. by prevalence.
        """
        self._require_trained()
        return self._programs_frame(self.module.programs())

    def get_cell_activities(
        self, adata: AnnData | None = None, indices: Indices = None
    ) -> pd.DataFrame:
        """Posterior mean of the activities phi of cells.

        Parameters
        ----------
        adata
            Cells to describe, with the junctions of the model in any order; None for the model's
            own AnnData, or, where it was loaded without, the cells it was trained on. What counts
            is what ``adata`` holds now, its own AnnData included: a cell with the counts of a
            training cell is that cell, whatever its name; any other cell is fitted, programs
            fixed, and never given another cell's activities. On the CPU these do not depend on the
            order of cells and junctions, or on what other cells there are, but for rounding.
            Nothing is written to ``adata``.
        indices
            Cells of ``adata`` to use, by position or as a mask; None for all. A mask by names
            of cells (a Series) must have the order of ``adata``.

        Returns
        -------
        Cells x programs (C x K), rows sum to 1. Cells without any observed entry have the prior
        mean, the prevalence.

        Raises
        ------
        ValueError
            The junctions of ``adata`` are not those of the model, or its data break the contract.
            Within an ATSE of the model, junctions with total 0 count as not observed in the cell;
            the others must have the same total there and share its reads.
        """
        cells = self._cells(adata, indices)
        return pd.DataFrame(cells.mean.numpy(), _labels(cells.names), self.program_names)

    def get_latent_representation(
        self, adata: AnnData | None = None, indices: Indices = None
    ) -> np.ndarray:
        """Activities as an array, ``(C, K)``; see :meth:`get_cell_activities`."""
        return self._cells(adata, indices).mean.numpy()

    @torch.no_grad()
    def get_program_prevalence(self) -> pd.Series:
        """Posterior mean of the prevalence pi, ``(K,)``, falling; sums to 1."""
        self._require_trained()
        pi = self.module.guide.pi().mean.cpu().numpy()
        return pd.Series(pi, self.program_names, name="prevalence")

    @torch.no_grad()
    def get_concentrations(self) -> pd.Series:
        """Posterior mean of the concentration kappa of each junction, ``(P,)`` by junction name.

        A kappa that all junctions share is repeated; it is infinity for the binomial.
        """
        self._require_trained()
        kappa = self.module.junction_concentration()
        values = np.array(np.inf) if kappa is None else kappa.cpu().double().numpy().reshape(-1)
        n_junctions = len(self.junction_names)
        return pd.Series(
            np.broadcast_to(values, n_junctions).copy(), self.junction_names, name="concentration"
        )

    @torch.no_grad()
    def get_credible_intervals(
        self,
        parameter: str,
        level: float = 0.9,
        adata: AnnData | None = None,
        indices: Indices = None,
    ) -> CredibleInterval:
        """Equal-tailed credible intervals of programs or activities, one entry at a time.

        Ends are quantiles of a Beta distribution with the posterior mean, and the larger of two
        variances: that of the mean-field posterior, which takes the programs of a junction (the
        activities of a cell) as independent, and that of a Laplace approximation, which does not.
        Where junctions share the reads of an ATSE and are scored as independent, evidence about
        activities is weighted by (m - 1) / m in an ATSE of m junctions. Intervals of activities
        within two standard deviations of 0 begin at 0. See the user guide for how often they
        cover the truth.

        Parameters
        ----------
        parameter
            ``"psi"`` (P x K) or ``"phi"`` (C x K).
        level
            Probability inside, in (0, 1).
        adata, indices
            Cells, for ``"phi"``, as in :meth:`get_cell_activities`.
        """
        from scipy.stats import beta

        self._require_trained()
        level = check_inside("level", level)
        if parameter == "psi":
            index, guide = self.junction_names, self.module.guide
            given = *guide.psi_marginal(), guide.psi_variance
            a, b = _widened(*(x[: len(index)].cpu() for x in given))
        elif parameter == "phi":
            cells = self._cells(adata, indices)
            a, index = cells.concentration, _labels(cells.names)
            a, b = _widened(a, a.sum(1, keepdim=True) - a, self._cell_variance(cells))
            if self.n_programs == 1:
                ones = pd.DataFrame(np.ones(a.shape), index, self.program_names)
                return CredibleInterval(ones, ones.copy())
        else:
            raise ValueError(f"Expected parameter 'psi' or 'phi', found {parameter!r}.")
        at, rest, tail = a.numpy(), b.numpy(), (1.0 - level) / 2.0
        certain = rest == 0.0  # to be 1
        lower, upper = (np.where(certain, 1.0, beta.ppf(q, at, rest)) for q in (tail, 1.0 - tail))
        if parameter == "phi":
            lower[_near_zero(at, rest)] = 0.0
        frames = (pd.DataFrame(end, index, self.program_names) for end in (lower, upper))
        return CredibleInterval(*frames)

    @torch.no_grad()
    def get_normalized_splicing(
        self,
        adata: AnnData | None = None,
        indices: Indices = None,
        junction_list: Sequence[str] | None = None,
        *,
        shrink: bool = False,
        observed_only: bool = False,
        return_numpy: bool = False,
    ) -> pd.DataFrame | np.ndarray | sp.csr_matrix:
        """Expected PSI of cells, phi psi, where reads were observed and where not (imputation).

        Parameters
        ----------
        adata, indices
            Cells, as in :meth:`get_cell_activities`.
        junction_list
            Names of junctions; None for all. The result is dense: choose cells or junctions where
            all of them would not fit.
        shrink
            Combine with the cell's own reads: (kappa p + y) / (kappa + n), with the kappa of the
            junction or ATSE where there are many. The binomial, whose kappa is infinite, gives p.
        observed_only
            A CSR matrix of the observed entries instead of a dense table.
        return_numpy
            An array instead of a DataFrame.

        Returns
        -------
        Cells x junctions, values in [0, 1]; junctions as in ``junction_list``, or as they stand in
        the AnnData, so that the result can be stored as a layer of it.

        Raises
        ------
        KeyError
            A name in ``junction_list`` is not a junction of the model.
        """
        data = self.adata if adata is None else adata
        cells = self._cells(data, indices)
        place = None if data is None else self._junction_places(data)
        in_order = junction_list is None and place is None
        if junction_list is None and place is not None:
            columns = place
        else:
            columns = self._junction_positions(junction_list)
        psi = self.module.programs().cpu()
        strength = None
        if shrink and self.module.site_mean("kappa") is not None:
            strength = self.get_concentrations().to_numpy(np.float32)
        if observed_only:
            matrix = self._expected_observed(cells, psi, strength)
            if not in_order:
                matrix = matrix[:, columns]
                matrix.sort_indices()
            return matrix
        chosen, place_of = np.unique(columns, return_inverse=True)
        expected = (cells.mean @ psi[chosen].T).numpy()
        if strength is not None:
            entries = cells.observed()
            place = np.full(entries.n_junctions, -1)
            place[chosen] = np.arange(len(chosen))
            at = place[entries.column.numpy()]
            rows, keep = entries.rows().numpy()[at >= 0], at >= 0
            y, n = entries.count.numpy()[keep], entries.total.numpy()[keep]
            p, kappa = expected[rows, at[keep]], strength[entries.column.numpy()[keep]]
            expected[rows, at[keep]] = (kappa * p + y) / (kappa + n)
        if not in_order:
            expected = expected[:, place_of]
        if return_numpy:
            return expected
        return pd.DataFrame(expected, _labels(cells.names), _labels(self.junction_names[columns]))

    def _expected_observed(
        self, cells: CellPosterior, psi: torch.Tensor, concentrations: np.ndarray | None
    ) -> sp.csr_matrix:
        entries, phi = cells.observed(), cells.mean
        values = np.empty(entries.n_entries, dtype=np.float32)
        for rows, block in entries.blocks(1 << 20):
            p = (phi[rows][block.rows()] * psi[block.column.long()]).sum(1)
            if concentrations is not None:
                kappa = torch.from_numpy(concentrations)[block.column.long()]
                p = (kappa * p + block.count) / (kappa + block.total)
            first = int(entries.indptr[rows.start])
            values[first : first + block.n_entries] = p.numpy()
        layout = (values, entries.column.numpy(), entries.indptr.numpy())
        return sp.csr_matrix(layout, shape=(entries.n_cells, entries.n_junctions))

    @torch.no_grad()
    def get_log_likelihood(
        self, adata: AnnData | None = None, indices: Indices = None
    ) -> pd.Series:
        """Log-likelihood of the observed entries of each cell at the posterior means.

        Parameters
        ----------
        adata, indices
            Cells, as in :meth:`get_cell_activities`.

        Returns
        -------
        One value per cell, in nats, with the binomial (multinomial) coefficients; its sum is the
        data's. Likelihoods of different kinds do not compare: the Dirichlet-multinomial counts
        each read once, the others once for each junction of its ATSE.
        """
        cells = self._cells(adata, indices)
        psi, kappa = self.module.guide.psi().mean.cpu(), self.module.site_mean("kappa")
        kappa = None if kappa is None else kappa.cpu()
        entries = self._likelihood_entries(cells.observed())
        value = ops.log_likelihood(entries, cells.mean, psi, kappa)
        return pd.Series(value.double().numpy(), _labels(cells.names), name="log_likelihood")

    def _programs_frame(self, values: torch.Tensor) -> pd.DataFrame:
        return pd.DataFrame(values.cpu().numpy(), self.junction_names, self.program_names)

    def _junction_positions(self, junction_list: Sequence[str] | None) -> np.ndarray:
        if junction_list is None:
            return np.arange(len(self.junction_names))
        wanted = [junction_list] if isinstance(junction_list, str) else list(junction_list)
        positions = pd.Index(self.junction_names).get_indexer(wanted)
        missing = [name for name, at in zip(wanted, positions, strict=True) if at < 0]
        if missing:
            raise KeyError(
                f"{len(missing)} of {len(wanted)} junctions are not in the model, "
                f"the first of them {missing[0]!r}."
            )
        return positions


def _widened(
    a: torch.Tensor, b: torch.Tensor, variance: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Beta(a, b) with at least the given variance and the same mean; b = 0 stays.

    Neither parameter falls below 0.1 for that: a distribution with nearly all of its mass
    at 0 or 1 would have intervals that leave its mean out.
    """
    a, b = a.double(), b.double()
    total = a + b
    mean = a / total
    own = mean * (1.0 - mean) / (total + 1.0)
    wide = inference.beta_of_moments(mean, torch.maximum(own, variance.double()))
    size = torch.maximum(wide[0] + wide[1], _LEAST / mean.clamp(min=1e-12))
    size = torch.maximum(size, _LEAST / (1.0 - mean).clamp(min=1e-12))
    size = torch.minimum(size, total)
    return torch.where(b == 0.0, a, size * mean), torch.where(b == 0.0, b, size * (1.0 - mean))


def _labels(names: np.ndarray) -> pd.Index:
    """Names as an index of the type that pandas gives strings, also where there are none."""
    return pd.Index(names, dtype=pd.Index(["SP_1"]).dtype)


def _near_zero(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where the mean of Beta(a, b) is less than two standard deviations."""
    mean = a / (a + b)
    return mean < 4.0 * (1.0 - mean) / (a + b + 1.0)

"""Programs, activities and expected PSI from the posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from leafletfa_scvi import ops
from leafletfa_scvi.model._cells import CellPosterior, CellsMixin, Indices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


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
            Cells to describe; None for those the model was trained on. A cell is known by its name
            together with its counts; any other cell is fitted, programs fixed, and never given
            another cell's activities. Nothing is written to ``adata``. Of its own AnnData the
            model holds a copy of the counts: later changes there are not seen.
        indices
            Cells of ``adata`` to use, by position or as a mask; None for all.

        Returns
        -------
        Cells x programs (C x K), rows sum to 1. Cells without any observed entry have the prior
        mean, the prevalence.

        Raises
        ------
        ValueError
            The junctions of ``adata`` are not those of the model, or its data break the contract.
        """
        cells = self._cells(adata, indices)
        return pd.DataFrame(cells.mean.numpy(), cells.names, self.program_names)

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

        They come from the mean-field posterior, which takes the other parameters' uncertainty as
        independent; see the user guide for how often they cover the truth.

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
        if not 0.0 < level < 1.0:
            raise ValueError(f"Expected level in (0, 1), found {level}.")
        if parameter == "psi":
            index = self.junction_names
            a, b = (x[: len(index)].cpu().numpy() for x in self.module.guide.psi_marginal())
        elif parameter == "phi":
            cells = self._cells(adata, indices)
            a = cells.concentration.numpy()
            b, index = a.sum(1, keepdims=True) - a, cells.names
            if self.n_programs == 1:
                ones = pd.DataFrame(np.ones_like(a), index, self.program_names)
                return CredibleInterval(ones, ones.copy())
        else:
            raise ValueError(f"Expected parameter 'psi' or 'phi', found {parameter!r}.")
        a, b, tail = a.astype(np.float64), b.astype(np.float64), (1.0 - level) / 2.0
        certain = b == 0.0  # to be 1
        ends = [np.where(certain, 1.0, beta.ppf(q, a, b)) for q in (tail, 1.0 - tail)]
        return CredibleInterval(*(pd.DataFrame(e, index, self.program_names) for e in ends))

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
        Cells x junctions, values in [0, 1].

        Raises
        ------
        KeyError
            A name in ``junction_list`` is not a junction of the model.
        """
        cells = self._cells(adata, indices)
        columns = self._junction_positions(junction_list)
        psi = self.module.programs().cpu()
        strength = None
        if shrink and self.module.site_mean("kappa") is not None:
            strength = self.get_concentrations().to_numpy(np.float32)
        if observed_only:
            matrix = self._expected_observed(cells, psi, strength)
            return matrix if junction_list is None else matrix[:, columns]
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
        if junction_list is not None:
            expected = expected[:, place_of]
        if return_numpy:
            return expected
        return pd.DataFrame(expected, cells.names, self.junction_names[columns])

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
        return pd.Series(value.double().numpy(), cells.names, name="log_likelihood")

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

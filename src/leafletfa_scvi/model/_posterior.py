"""Programs, activities, expected PSI and global parameters from the posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from leafletfa_scvi._arguments import check_whole
from leafletfa_scvi._name_index import name_index
from leafletfa_scvi.data import cell_loader
from leafletfa_scvi.model._base import SplicingModelBase
from leafletfa_scvi.model._cells import Indices, cell_posterior
from leafletfa_scvi.model._expected import expected_observed, expected_splicing, in_own_batch
from leafletfa_scvi.model._export import export_posterior
from leafletfa_scvi.model._intervals import (
    CredibleInterval,
    credible_intervals,
    posterior_summary,
)
from leafletfa_scvi.module import ClosedFormELBO, pyro_alone

if TYPE_CHECKING:
    from collections.abc import Sequence

    import scipy.sparse as sp
    from anndata import AnnData
    from mudata import MuData


class PosteriorMixin(SplicingModelBase):
    """Results of a trained :class:`~leafletfa_scvi.LeafletFAModel`."""

    @torch.no_grad()
    def get_splicing_programs(self) -> pd.DataFrame:
        """Posterior mean of the programs psi, the PSI of each junction under each program.

        Returns
        -------
        Junctions x programs (P x K), values in (0, 1); columns ``SP_1``, ``SP_2``, ..., ordered by
        prevalence.
        """
        self._require_trained()
        psi = self.module.programs().cpu().numpy()
        return pd.DataFrame(psi, self.junction_names, self.program_names)

    def get_cell_activities(
        self, adata: AnnData | MuData | None = None, indices: Indices = None
    ) -> pd.DataFrame:
        """Posterior mean of the activities phi of cells.

        Parameters
        ----------
        adata
            Cells, with the junctions of the model in any order. If None, the AnnData of the model,
            or the training cells if it was loaded without data. Cells are recognized by their
            current counts: a cell with the counts of a training cell is that cell, whatever its
            name; any other cell is fitted with the programs fixed. On the CPU the activities of a
            new cell depend neither on the order of cells and junctions nor on other cells, not
            even in their last digit. Nothing is written to ``adata``.
        indices
            Positions or a mask of the cells of ``adata`` to use; None for all. A mask by names of
            cells (a Series) must have the order of ``adata``.

        Returns
        -------
        Cells x programs (C x K), rows sum to 1. Cells without observed entries have the prior
        mean, which is the prevalence.

        Raises
        ------
        ValueError
            The junctions of ``adata`` are not those of the model, or the data are invalid. Within
            a cell and an ATSE of the model, junctions with total 0 count as not observed; all
            others must have the same total and share its reads.
        """
        cells = cell_posterior(self, adata, indices)
        return pd.DataFrame(cells.mean.numpy(), name_index(cells.names), self.program_names)

    def get_latent_representation(
        self, adata: AnnData | MuData | None = None, indices: Indices = None
    ) -> np.ndarray:
        """Posterior mean of the activities as an array, ``(C, K)``.

        Parameters
        ----------
        adata, indices
            As in :meth:`get_cell_activities`.
        """
        return cell_posterior(self, adata, indices).mean.numpy()

    @torch.no_grad()
    def get_program_prevalence(self) -> pd.Series:
        """Posterior mean of the prevalence pi, ``(K,)``, in descending order; sums to 1.

        The prevalence of a query is that of its reference, or, with ``query_prevalence="query"``,
        that learned from its own cells, in the order of the reference's programs.
        """
        self._require_trained()
        pi = self.module.guide.pi().mean.cpu().numpy()
        return pd.Series(pi, self.program_names, name="prevalence")

    @torch.no_grad()
    def get_concentrations(self) -> pd.Series:
        """Posterior mean of the concentration kappa of each junction, ``(P,)`` by junction name.

        A kappa common to all junctions is repeated; it is infinite for the binomial.
        """
        self._require_trained()
        kappa = self.module.junction_concentration()
        values = np.array(np.inf) if kappa is None else kappa.cpu().double().numpy().reshape(-1)
        n_junctions = len(self.junction_names)
        return pd.Series(
            np.broadcast_to(values, n_junctions).copy(), self.junction_names, name="concentration"
        )

    def get_credible_intervals(
        self,
        parameter: str,
        level: float = 0.9,
        adata: AnnData | MuData | None = None,
        indices: Indices = None,
    ) -> CredibleInterval:
        """Marginal equal-tailed credible intervals of programs or activities.

        The ends are quantiles of a Beta distribution with the posterior mean and the larger of two
        variances: that of the mean-field posterior, which treats the programs of a junction (the
        activities of a cell) as independent, and that of a Laplace approximation, which does not.
        If the junctions of an ATSE share its reads but are scored as independent, information
        about activities is weighted by (m - 1) / m in an ATSE of m junctions. Intervals of
        activities within two standard deviations of 0 begin at 0. See the user guide for their
        coverage.

        Parameters
        ----------
        parameter
            ``"psi"`` (P x K) or ``"phi"`` (C x K).
        level
            Probability of the interval, in (0, 1).
        adata, indices
            Cells for ``"phi"``, as in :meth:`get_cell_activities`.
        """
        return credible_intervals(self, parameter, level, adata, indices)

    @torch.no_grad()
    def get_normalized_splicing(
        self,
        adata: AnnData | MuData | None = None,
        indices: Indices = None,
        junction_list: Sequence[str] | None = None,
        *,
        transform_batch: str | Sequence[str] | None = None,
        shrink: bool = False,
        observed_only: bool = False,
        return_numpy: bool = False,
    ) -> pd.DataFrame | np.ndarray | sp.csr_matrix:
        """Expected PSI of cells, phi psi, of observed and unobserved junctions (imputation).

        Parameters
        ----------
        adata, indices
            Cells, as in :meth:`get_cell_activities`.
        junction_list
            Names of junctions; None for all. The result is dense: select cells or junctions if it
            would not fit in memory.
        transform_batch
            Batch whose shifts apply to all cells, or several, over which expected PSI is averaged.
            If None, those of the batch of each cell apply.
        shrink
            Combine the expectation p with the cell's own reads, (kappa p + y) / (kappa + n), where
            kappa is that of the junction or ATSE if there are several. The binomial, whose kappa
            is infinite, gives p.
        observed_only
            Return a CSR matrix of the observed entries instead of a dense table.
        return_numpy
            Return an array instead of a DataFrame.

        Returns
        -------
        Cells x junctions, values in [0, 1]; junctions are ordered as in ``junction_list``, or as
        in the AnnData, so that the result can be stored as one of its layers.

        Raises
        ------
        KeyError
            A name in ``junction_list`` is not a junction of the model.
        ValueError
            ``transform_batch`` is not a batch of the model, or is combined with ``shrink``: the
            reads of a cell are those of its own batch.
        """
        data = self._data(adata)
        cells = cell_posterior(self, data, indices)
        indexer = None if data is None else self._junction_indexer(data)
        in_order = junction_list is None and indexer is None
        if junction_list is None and indexer is not None:
            columns = indexer
        else:
            columns = self._junction_positions(junction_list)
        if transform_batch is None:
            cells, psi = in_own_batch(self, cells)
        else:
            psi = self._programs_in_batches(transform_batch, shrink)
        kappa = None
        if shrink and self.module.site_mean("kappa") is not None:
            kappa = self.get_concentrations().to_numpy(np.float32)
        if observed_only:
            matrix = expected_observed(cells, psi, kappa)
            if not in_order:
                matrix = matrix[:, columns]
                matrix.sort_indices()
            return matrix
        expected = expected_splicing(cells, psi, columns, kappa)
        if return_numpy:
            return expected
        junctions = name_index(self.junction_names[columns])
        return pd.DataFrame(expected, name_index(cells.names), junctions)

    @torch.no_grad()
    def get_log_likelihood(
        self, adata: AnnData | MuData | None = None, indices: Indices = None
    ) -> pd.Series:
        """Log-likelihood of the observed entries of each cell at the posterior means.

        Parameters
        ----------
        adata, indices
            Cells, as in :meth:`get_cell_activities`.

        Returns
        -------
        One value per cell, in nats, including binomial (multinomial) coefficients; the sum is the
        log-likelihood of the data. Values of different likelihoods are not comparable: the
        Dirichlet-multinomial counts each read once, the others once per junction of its ATSE.
        """
        cells = cell_posterior(self, adata, indices)
        factors = self.module.factors(cells.mean).to("cpu")
        entries = self._likelihood_entries(cells.observed())
        value = factors.log_likelihood(entries)
        return pd.Series(value.double().numpy(), name_index(cells.names), name="log_likelihood")

    @torch.no_grad()
    def get_elbo(self, n_particles: int = 10, batch_size: int | None = None) -> float:
        """Evidence lower bound of the training data, in nats, averaged over draws.

        The training data are the counts the model was built on, even if its AnnData has changed.
        Each junction counts the reads it shares with others of its ATSE in full, although training
        gives them a lower weight for activities; see the user guide.

        Parameters
        ----------
        n_particles
            Number of draws from the guide.
        batch_size
            Number of cells in a minibatch; each is scaled to all cells and weighted by its size,
            so that the expectation is the same. If None, all cells are one batch.
        """
        self._require_trained()
        check_whole("n_particles", n_particles, 1)
        if batch_size is not None:
            batch_size = check_whole("batch_size", batch_size, 1)
        entries = self._training_entries()
        loss = ClosedFormELBO(num_particles=n_particles)
        module, total = self.module, 0.0
        with pyro_alone():
            for batch in cell_loader(self._likelihood_entries(entries), batch_size):
                cells = batch["cells"].to(module.device)
                part = batch["entries"].to(module.device)
                value = loss.loss(module.model, module.guide, cells, part)
                total -= value * len(cells) / entries.n_cells
        return float(total)

    def posterior_summary(self, level: float = 0.9) -> pd.DataFrame:
        """Posterior of the global parameters.

        Parameters
        ----------
        level
            Probability of the equal-tailed interval, in (0, 1).

        Returns
        -------
        One row per parameter (kappa, delta, alpha_pi, a_shape, ..., pi of each program; a and b of
        the global prior; ``strength[c]``, the fraction of ATSEs with concentration c, of the
        mixture; kappa_median and kappa_spread, the standard deviation of log kappa, if each
        junction has its own kappa), columns ``mean``, ``sd``, ``lower``, ``upper``. Fixed
        parameters have ``sd`` 0; the binomial has no kappa.
        """
        return posterior_summary(self, level)

    @torch.no_grad()
    def export_posterior(
        self, adata: AnnData | MuData | None = None, *, overwrite: bool = False
    ) -> None:
        """Write the results to an AnnData, which no other method changes.

        ``obsm["X_PHI"]`` (C x K) activities, ``varm["psi_learned"]`` (P x K) programs,
        ``obs["SP_1"]`` .. activities by name, and ``uns["leafletfa"]`` with prevalence (``pi``),
        ``kappa`` (a number, or ``(P,)`` with ``dispersion="junction"``), ``delta``, options,
        ``elbo_history``, ``em_objective``, ``version`` and what :meth:`from_programs` restores the
        posterior of the programs from (``junctions``, ``psi_concentration``, ``psi_variance``,
        ``activity_weight``). Everything is computed before anything is written.

        Parameters
        ----------
        adata
            AnnData to write to, with the junctions of the model in any order and any cells, whose
            activities are those of their current counts. If None, that of the model. Results of a
            MuData are written to the modality with the junctions.
        overwrite
            Replace columns and slots of these names that no earlier export wrote.

        Raises
        ------
        RuntimeError
            The model is not trained.
        ValueError
            The model was loaded without data, or a column or slot of these names was not written
            by an earlier export.
        """
        export_posterior(self, adata, overwrite)

    def _programs_in_batches(self, batches: str | Sequence[str], shrink: bool) -> torch.Tensor:
        """Average the programs ``(P, K)`` over batches, on the CPU."""
        names = [batches] if isinstance(batches, str) else list(batches)
        rows = [self._batch_position(name) for name in names]
        by_batch = self.module.programs_by_batch()
        if shrink or by_batch is None or not rows:
            raise ValueError(
                "Expected batches and shrink=False for transform_batch, found "
                + (
                    "shrink=True: the reads of a cell are those of its batch."
                    if shrink
                    else "none."
                )
            )
        return by_batch[rows].mean(0).cpu()

    def _junction_positions(self, junction_list: Sequence[str] | None) -> np.ndarray:
        """Find the positions of junctions in the model by name; None for all."""
        if junction_list is None:
            return np.arange(len(self.junction_names))
        names = [junction_list] if isinstance(junction_list, str) else list(junction_list)
        positions = pd.Index(self.junction_names).get_indexer(pd.Index(names, tupleize_cols=False))
        missing = [name for name, i in zip(names, positions, strict=True) if i < 0]
        if missing:
            raise KeyError(
                f"{len(missing)} of {len(names)} junctions are not in the model, "
                f"the first of them {missing[0]!r}."
            )
        return positions

"""Programs, activities and expected PSI from the posterior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from leafletfa_scvi import inference, ops

if TYPE_CHECKING:
    from anndata import AnnData

    from leafletfa_scvi.ops import ObservedEntries

Indices = Sequence[int] | Sequence[bool] | np.ndarray | slice | None


class CredibleInterval(NamedTuple):
    """Lower and upper ends of equal-tailed credible intervals, as DataFrames of one shape."""

    lower: pd.DataFrame
    upper: pd.DataFrame


@dataclass(frozen=True)
class CellPosterior:
    """Dirichlet posterior of the activities of some cells.

    Attributes
    ----------
    names
        ``(n,)`` cell names.
    concentration
        ``(n, K)`` Dirichlet concentrations, on the CPU.
    entries
        Their observed entries; None where the model holds no data.
    """

    names: np.ndarray
    concentration: torch.Tensor
    entries: ObservedEntries | None

    @property
    def mean(self) -> torch.Tensor:
        """Mean activities, ``(n, K)``."""
        return self.concentration / self.concentration.sum(1, keepdim=True)

    def observed(self) -> ObservedEntries:
        """The observed entries, or an error where there are none to be had."""
        if self.entries is None:
            raise ValueError(
                "This needs the counts of the cells: pass adata, or load the model with it, "
                "LeafletFAModel.load(path, adata=adata)."
            )
        return self.entries


class PosteriorMixin:
    """Means and intervals of :class:`~leafletfa_scvi.LeafletFAModel`."""

    @torch.no_grad()
    def get_splicing_programs(self) -> pd.DataFrame:
        """Posterior mean of the programs psi, PSI of each junction under each program.

        Returns
        -------
        Junctions x programs (P x K), values in (0, 1), columns ``SP_1`` .. by prevalence.
        """
        self._require_trained()
        return self._programs_frame(self.module.guide.psi().mean)

    def get_cell_activities(
        self, adata: AnnData | None = None, indices: Indices = None
    ) -> pd.DataFrame:
        """Posterior mean of the activities phi of cells.

        Parameters
        ----------
        adata
            Cells to describe; None for those the model was trained on. A cell is known by its name
            together with its counts; any other cell is fitted, programs fixed, and never given
            another cell's activities. Nothing is written to ``adata``.
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
            posterior = self.module.guide.psi()
            a, b = posterior.concentration1.cpu().numpy(), posterior.concentration0.cpu().numpy()
            index = self.junction_names
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
        ends = (beta.ppf(tail, a, b), beta.ppf(1.0 - tail, a, b))
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
            Combine with the cell's own reads: (kappa p + y) / (kappa + n). The binomial, whose
            kappa is infinite, gives p.
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
        psi = self.module.guide.psi().mean.cpu()
        kappa = self.module.site_mean("kappa")
        shrink = shrink and kappa is not None
        if observed_only:
            return self._expected_observed(cells, psi, float(kappa) if shrink else None, columns)
        expected = (cells.mean @ psi[columns].T).numpy()
        if shrink:
            entries, strength = cells.observed(), float(kappa)
            place = np.full(entries.n_junctions, -1)
            place[columns] = np.arange(len(columns))
            at = place[entries.column.numpy()]
            rows, keep = entries.rows().numpy()[at >= 0], at >= 0
            y, n = entries.count.numpy()[keep], entries.total.numpy()[keep]
            p = expected[rows, at[keep]]
            expected[rows, at[keep]] = (strength * p + y) / (strength + n)
        if return_numpy:
            return expected
        return pd.DataFrame(expected, cells.names, self.junction_names[columns])

    def _expected_observed(
        self, cells: CellPosterior, psi: torch.Tensor, kappa: float | None, columns: np.ndarray
    ) -> sp.csr_matrix:
        entries, phi = cells.observed(), cells.mean
        values = np.empty(entries.n_entries, dtype=np.float32)
        for rows, block in entries.blocks(1 << 20):
            p = (phi[rows][block.rows()] * psi[block.column.long()]).sum(1)
            if kappa is not None:
                p = (kappa * p + block.count) / (kappa + block.total)
            first = int(entries.indptr[rows.start])
            values[first : first + block.n_entries] = p.numpy()
        layout = (values, entries.column.numpy(), entries.indptr.numpy())
        matrix = sp.csr_matrix(layout, shape=(entries.n_cells, entries.n_junctions))
        return matrix if len(columns) == matrix.shape[1] else matrix[:, columns]

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
        One value per cell, in nats, with the binomial coefficients; its sum is the data's.
        """
        cells = self._cells(adata, indices)
        psi, kappa = self.module.guide.psi().mean.cpu(), self.module.site_mean("kappa")
        kappa = None if kappa is None else kappa.cpu()
        value = ops.log_likelihood(cells.observed(), cells.mean, psi, kappa)
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

    @torch.no_grad()
    def _cells(self, adata: AnnData | None, indices: Indices) -> CellPosterior:
        """Posterior of cells: looked up where they were trained on, fitted where not."""
        self._require_trained()
        trained = self.module.guide.phi().concentration.cpu()
        if adata is None or adata is self.adata:
            at = positions(indices, len(self.cell_names_))
            chosen = None if self._entries is None else self._entries
            if chosen is not None and indices is not None:
                chosen = chosen.select(torch.from_numpy(at))
            return CellPosterior(self.cell_names_[at], trained[torch.from_numpy(at)], chosen)
        self._check_junctions(adata)
        entries = self._read_entries(adata, check=True)
        at = positions(indices, adata.n_obs)
        names = adata.obs_names.astype(str).to_numpy()[at]
        if indices is not None:
            entries = entries.select(torch.from_numpy(at))
        known = self._recognise(names, entries)
        concentration = torch.empty(len(names), self.n_programs)
        seen = torch.from_numpy(known >= 0)
        concentration[seen] = trained[torch.from_numpy(known[known >= 0])]
        if not bool(seen.all()):
            new = (~seen).nonzero()[:, 0]
            concentration[new] = self._fit_new(entries.select(new))
        return CellPosterior(names, concentration, entries)

    def _recognise(self, names: np.ndarray, entries: ObservedEntries) -> np.ndarray:
        """Position of each cell among those trained on, -1 for a cell that is not one of them."""
        from leafletfa_scvi.data import cell_fingerprints

        known = pd.Index(self.cell_names_).get_indexer(names)
        same = cell_fingerprints(entries) == self.cell_fingerprints_[known]
        return np.where(same, known, -1)

    def _fit_new(self, entries: ObservedEntries, n_steps: int = 150) -> torch.Tensor:
        """Dirichlet concentrations ``(n, K)`` of new cells, programs fixed at their posterior."""
        module = self.module
        kappa = module.site_mean("kappa")
        programs = module.guide.psi()
        return inference.fit_activities(
            entries,
            programs.mean.detach(),
            programs.sample,
            None if kappa is None else float(kappa),
            module.activity_prior().detach(),
            n_steps=n_steps,
        )

    def _check_junctions(self, adata: AnnData) -> None:
        """The junctions of ``adata`` are those of the model, in its order."""
        ours, theirs = pd.Index(self.junction_names), adata.var_names.astype(str)
        if len(ours) == len(theirs) and bool((ours == theirs).all()):
            return
        missing = ours.difference(theirs, sort=False)
        if len(missing) == 0:
            raise ValueError(
                "The junctions of adata hold the model's in another order or with others: "
                "pass adata[:, model.junction_names]."
            )
        raise ValueError(
            f"adata lacks {len(missing)} of the model's {len(ours)} junctions, the first of them "
            f"{missing[0]!r}: LeafletFAModel.prepare_query_anndata(adata, model) reorders them and "
            "fills in missing ones as not observed."
        )


def positions(indices: Indices, n: int) -> np.ndarray:
    """Positions ``(m,)`` int64 chosen from ``n`` by positions, a mask, a slice, or None (all).

    Raises
    ------
    IndexError
        A position is out of range, or a mask has another length.
    """
    if indices is None:
        return np.arange(n)
    if isinstance(indices, slice):
        return np.arange(n)[indices]
    chosen = np.asarray(indices)
    if chosen.size == 0:
        return np.empty(0, dtype=np.int64)
    if chosen.dtype == bool and chosen.shape != (n,):
        raise IndexError(f"Expected a mask of {n} cells, found shape {chosen.shape}.")
    if chosen.dtype != bool and chosen.dtype.kind not in "iu":
        raise IndexError(f"Expected positions or a mask of cells, found {chosen.dtype} values.")
    return np.arange(n)[chosen].reshape(-1)

"""Models of programs alone, such as those of a published atlas, as references of new cells."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from leafletfa_scvi._arguments import check_one_of
from leafletfa_scvi._choices import Likelihood
from leafletfa_scvi.likelihoods import LIKELIHOODS
from leafletfa_scvi.model._base import SplicingModelBase
from leafletfa_scvi.model._program_parameters import (
    DEFAULT_CONCENTRATION,
    ProgramRows,
    activity_concentration_of,
    concentration_of,
    estimated_concentration,
    prevalence_of,
    program_concentration_of,
    program_rows,
)
from leafletfa_scvi.model._program_source import ProgramSource, plain_table
from leafletfa_scvi.model._variances import composite_weight
from leafletfa_scvi.priors import MixturePrior

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData

    from leafletfa_scvi.model._model import LeafletFAModel

_KNOWN_SCALE = 1e-3
"""Standard deviation of the logarithm of a known kappa, the least that the guide has."""


class FromProgramsMixin(SplicingModelBase):
    """``from_programs`` of :class:`~leafletfa_scvi.LeafletFAModel`."""

    @classmethod
    def from_programs(
        cls,
        programs: pd.DataFrame | AnnData,
        *,
        prevalence: Sequence[float] | np.ndarray | pd.Series | None = None,
        concentration: float | Sequence[float] | np.ndarray | pd.Series | None = None,
        activity_concentration: float | None = None,
        atse_id: Sequence[Any] | np.ndarray | pd.Series | None = None,
        var: pd.DataFrame | None = None,
        likelihood: Likelihood | None = None,
        program_concentration: float | np.ndarray | pd.Series | pd.DataFrame | None = None,
    ) -> LeafletFAModel:
        """Create a trained model without cells from programs alone, as a reference of new cells.

        The model is saved, loaded and queried like a trained one, but cannot be trained. Programs
        keep their order, so that ``SP_1`` of the model is ``SP_1`` of the atlas.

        What is not given is taken from what :meth:`export_posterior` wrote to an AnnData, which
        restores the exported model; otherwise it is estimated from activities and layers of the
        AnnData, if it has them; otherwise it has a default, named in a warning. Cells are sampled
        if the layers hold millions of observed entries; ``programs`` is not changed.

        Parameters
        ----------
        programs
            PSI of junctions under programs (P x K): a DataFrame with names of junctions as index
            and of programs as columns, or an AnnData with ``varm["psi_learned"]``, as LeafletFA
            publishes atlases and :meth:`export_posterior` writes. Activities of its cells are read
            from ``obsm["X_PHI"]``, or the columns ``SP_1`` .. of ``obs``.
        prevalence
            ``(K,)`` prevalence of the programs, which sums to 1. If None, the mean activity of the
            cells of the AnnData; without cells 1 / K each.
        concentration
            Concentration kappa of the counts: a number, or one for each junction ``(P,)``. If
            None, it is fitted to the layers of the AnnData for each junction; without layers or
            activities it is 10, the median of the prior.
        activity_concentration
            Concentration delta of activities, phi ~ Dirichlet(delta pi). If None, it is estimated
            from the variances of the activities in the AnnData (method of moments); without cells
            it is 1, the mean of the prior.
        atse_id
            ``(P,)`` label of the ATSE of each junction. If None, the column ``"atse_id"`` of
            ``var``; if that is missing, too, the model has no ATSEs.
        var
            Annotation of the junctions, by name. If None, ``var`` of the AnnData.
        likelihood
            As of the model. If None, that of the exported model, or ``"betabinomial"``.
        program_concentration
            Pseudo-counts S of the posterior Beta(S psi, S (1 - psi)) of the programs (of the
            Dirichlet within each ATSE, if its junctions share reads): a number, or an array or
            table ``(P,)`` or ``(P, K)``. If None, and unless a model exported them, the programs
            are taken as known exactly. Their uncertainty being unknown,
            ``get_credible_intervals("psi")`` and :meth:`program_markers` then raise an error, and
            intervals of activities are given the programs.

        Returns
        -------
        LeafletFAModel
            Trained model without cells.

        Raises
        ------
        KeyError
            The AnnData has no programs.
        TypeError
            ``programs`` or ``var`` is of another class.
        ValueError
            A PSI is missing or not inside (0, 1), there are fewer than two programs, names of
            junctions or programs are repeated, the prevalence does not sum to 1, a length differs,
            a label is missing, or a concentration is not above 0.

        Warns
        -----
        UserWarning
            If prevalence, concentration or activity concentration have their defaults.
        """
        source = ProgramSource.read(programs, atse_id, var)
        exported = str(source.results.get("params", {}).get("likelihood", "betabinomial"))
        check_one_of("likelihood", likelihood or exported, Likelihood)
        kind = LIKELIHOODS[likelihood or exported]  # type: ignore[index] # checked
        if kind.name != exported:
            source = source.without_posterior()
        source.check_values(shares_reads=kind.shares_reads)
        size = program_concentration_of(program_concentration, source)
        rows = program_rows(source, size, shares_reads=kind.shares_reads)
        phi = source.activities()
        defaults: list[str] = []
        pi, pi_size = prevalence_of(prevalence, phi, source, defaults)
        delta = activity_concentration_of(activity_concentration, phi, source, defaults)
        kappa, spread = concentration_of(concentration, source, kind)
        if kappa is None and kind.has_concentration:
            kappa, spread = estimated_concentration(source, phi, rows, pi * delta, kind)
            if kappa is None:
                kappa = DEFAULT_CONCENTRATION
                defaults.append(f"concentration={kappa:g} for all junctions")
        is_vector = isinstance(kappa, np.ndarray)
        model = cls(
            registry=cls._registry_of(source.psi.index, *source.layers, source.atse_key),
            columns=rows.atse,
            n_programs=len(pi),
            likelihood=kind.name,
            dispersion="junction" if is_vector else None,
            concentration=None if is_vector else kappa,
            activity_concentration=delta,
        )
        if defaults:
            warnings.warn(
                f"Nothing is known about {_listed(defaults)}: these are defaults. Pass what "
                "describes the cells of the reference.",
                UserWarning,
                stacklevel=2,
            )
        model.cell_names_ = np.empty(0, dtype=object)
        model.cell_fingerprints_ = np.empty(0, dtype=np.uint64)
        model.atse_codes_, model.atse_labels_ = source.codes, source.labels
        model.junction_annotation_ = plain_table(source.var)
        model.has_program_posterior_ = size is not None
        model._set_known(rows, pi, pi_size)
        if isinstance(kappa, np.ndarray):
            model._set_concentrations(kappa, spread)
        model._set_uncertainty(source, given=program_concentration is not None)
        model.is_trained_, model.history_ = True, {}
        model.module.eval()
        return model

    @torch.no_grad()
    def _set_known(self, rows: ProgramRows, pi: np.ndarray, pi_size: float) -> None:
        """Set the posterior of programs and prevalence, and what depends on them."""
        model, guide = self.module.model, self.module.guide
        guide.set_programs((rows.inclusion, rows.exclusion))
        guide.pi_log.copy_(torch.from_numpy(pi * pi_size).clamp(min=1e-2).log())
        guide.set_scalar("alpha_pi", 1.0, scale=1.0)  # about as uncertain as under its prior
        prior = model.prior
        assert isinstance(prior, MixturePrior)
        prior.set_mean(model, guide.psi().mean @ torch.from_numpy(pi).float())

    @torch.no_grad()
    def _set_uncertainty(self, source: ProgramSource, *, given: bool) -> None:
        """Set variances of the programs, if they were exported, and the composite weight."""
        variance = source.results.get("psi_variance")
        if variance is not None and self.has_program_posterior_ and not given:
            values = torch.as_tensor(np.asarray(variance), dtype=torch.float32)
            self.module.guide.psi_variance[: len(values)] = values
        weights, exported = composite_weight(self), source.results.get("activity_weight")
        if weights is not None:
            weight = float(weights.mean()) if exported is None else float(exported)
            self.module.model.activity_weight.fill_(weight)

    @torch.no_grad()
    def _set_concentrations(self, kappa: np.ndarray, spread: float | None) -> None:
        """Set one kappa for each junction or ATSE, and their distribution."""
        guide = self.module.guide
        log_kappa = torch.from_numpy(np.log(kappa)).float()
        guide.kappa.log_scale.fill_(np.log(_KNOWN_SCALE))
        guide.kappa.loc.copy_(log_kappa - 0.5 * _KNOWN_SCALE**2)  # so that kappa is the mean
        spread = max(float(log_kappa.std(correction=0)), 0.1) if spread is None else spread
        n = len(kappa)
        guide.set_scalar("kappa_median", float(log_kappa.mean().exp()), scale=spread / n**0.5)
        guide.set_scalar("kappa_spread", spread, scale=(2.0 * n) ** -0.5)


def _listed(items: list[str]) -> str:
    """Join items as a sentence lists them."""
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last

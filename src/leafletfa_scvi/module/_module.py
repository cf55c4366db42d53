"""The scvi module that ties generative model and guide together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from scvi.module.base import PyroBaseModuleClass

from leafletfa_scvi.inference import predictive_concentration
from leafletfa_scvi.likelihoods import Factors
from leafletfa_scvi.module._axes import Axis, axes_of, take
from leafletfa_scvi.module._generative import SplicingGenerativeModel, activity_prior
from leafletfa_scvi.module._guide import SplicingGuide
from leafletfa_scvi.module._initialize import initialize

if TYPE_CHECKING:
    from leafletfa_scvi.inference import EMResult
    from leafletfa_scvi.ops import Entries


class LeafletFAModule(PyroBaseModuleClass):  # type: ignore[misc] # scvi has no types
    """Generative model and guide of splicing programs.

    Parameters
    ----------
    n_obs, n_junctions, n_programs
        Numbers of cells C, junctions P and programs K.
    **options
        Passed to :class:`SplicingGenerativeModel`.
    """

    def __init__(self, n_obs: int, n_junctions: int, n_programs: int, **options: Any) -> None:
        super().__init__()
        self._model = SplicingGenerativeModel(n_obs, n_junctions, n_programs, **options)
        self._guide = SplicingGuide(self._model)

    @property
    def model(self) -> SplicingGenerativeModel:
        """The generative model."""
        return self._model

    @property
    def guide(self) -> SplicingGuide:
        """The guide."""
        return self._guide

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self._guide.pi_log.device

    @property
    def list_obs_plate_vars(self) -> dict[str, Any]:
        """Plate and local sites, in the form that samplers of scvi-tools take."""
        return {"name": "cells", "in": [], "sites": {"phi": self.model.n_programs}, "event_dim": 1}

    @staticmethod
    def _get_fn_args_from_batch(
        tensor_dict: dict[str, Any],
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (tensor_dict["cells"], tensor_dict["entries"]), {}

    def on_load(self, model: Any, **kwargs: Any) -> None:
        """Do nothing before the state is loaded: all parameters exist since construction."""

    def has_axis(self, name: str, axis: Axis) -> bool:
        """Return True if a parameter or buffer, by its name in the state, has an axis."""
        return axis in axes_of(name, self.model.prior)

    def selected_state(self, axis: Axis, positions: torch.Tensor) -> dict[str, torch.Tensor]:
        """Select the given positions of an axis of the state, ``(n,)`` int64, in their order."""
        return take(self.state_dict(), axis, positions, self.model.prior)

    def site_mean(self, name: str) -> torch.Tensor | None:
        """Return the posterior mean of a site, its fixed value, or None (kappa of the binomial).

        A scalar; kappa with ``dispersion="junction"`` has one value per junction, or per ATSE if
        junctions share its reads.
        """
        if name in self.guide.scalars:
            return self.guide.scalar(name).mean
        if name == "kappa" and self.guide.has_kappas:
            return self.guide.site("kappa").mean
        value = self.model.fixed(name)
        return None if value is None else self.model.one.new_tensor(float(value))

    def factors(self, phi: torch.Tensor) -> Factors:
        """Return the factors of cells with given activities, and posterior means otherwise.

        Parameters
        ----------
        phi
            ``(B, K)`` activities of any cells.
        """
        psi, kappa = self.guide.psi().mean, self.site_mean("kappa")
        return Factors(phi, psi, kappa, self.model.shift)

    def junction_concentration(self) -> torch.Tensor | None:
        """Return the posterior mean of kappa, ``(P,)`` or a scalar; None for the binomial."""
        kappa = self.site_mean("kappa")
        if kappa is None:
            return None
        atse = self.model.program_atse[: self.model.n_junctions]
        return self.model.likelihood.junction_concentration(kappa, atse)

    @torch.no_grad()
    def predictive_factors(self, phi: torch.Tensor, alpha: torch.Tensor | None = None) -> Factors:
        """Return the factors of new cells: kappa is lower, as the programs are uncertain.

        Parameters
        ----------
        phi
            ``(B, K)`` activities of cells that the programs were not fitted to.
        alpha
            ``(K,)`` prior concentrations of their activities. If None, :meth:`activity_prior`.
        """
        model, guide = self.model, self.guide
        psi, (part, rest) = guide.psi().mean, guide.psi_marginal()
        total = part + rest
        variance = part * rest / (total.square() * (total + 1.0))
        kappa = predictive_concentration(
            self.site_mean("kappa"),
            psi,
            torch.maximum(variance, guide.psi_variance),
            self.activity_prior() if alpha is None else alpha,
            model.likelihood,
            model.program_atse,
        )
        return Factors(phi, psi, kappa, model.shift)

    def programs(self) -> torch.Tensor:
        """Return the posterior mean of the programs of the P junctions, ``(P, K)``."""
        return self.guide.psi().mean[: self.model.n_junctions]

    @torch.no_grad()
    def programs_by_batch(self) -> torch.Tensor | None:
        """Return the programs of the P junctions in each batch, ``(batches, P, K)``.

        None with one batch.
        """
        shift = self.model.shift
        if shift is None:
            return None
        table = shift.by_batch(shift.programs(self.guide.psi().mean))
        return table[:, : self.model.n_junctions]

    @torch.no_grad()
    def restore_prior(self, entries: Entries) -> None:
        """Set the programs and concentrations of what was never observed exactly to their prior.

        Parameters
        ----------
        entries
            Entries that the model was trained on, without columns for each batch.
        """
        model, guide = self.model, self.guide
        entries = model.likelihood.entries(entries, model.program_atse)
        observed = entries.observed.seen_junctions().to(self.device)
        rows = ~model.likelihood.observed_rows(observed, model.program_atse)
        if model.has_reference and not guide.n_fixed:
            rows &= ~self.reference_rows()
        guide.set_programs(model.prior.unobserved_programs(model, guide), rows)
        # The kappas of a model with a reference are those of the reference.
        if guide.has_kappas and not model.has_reference:
            guide.kappa.loc[~observed] = guide.scalar("kappa_median").mean.log()
            guide.kappa.log_scale[~observed] = guide.scalar("kappa_spread").mean.log()

    def reference_rows(self) -> torch.Tensor:
        """Find the rows of the programs that a reference has seen reads of, ``(P',)`` bool."""
        model = self.model
        seen: torch.Tensor = (model.reference_inclusion + model.reference_exclusion > 0).any(1)
        if model.likelihood.shares_reads:
            seen = model.groups.spread(model.groups.sum(seen.float()[:, None]))[:, 0] > 0
        return seen

    def activity_prior(self) -> torch.Tensor:
        """Compute the prior concentrations ``(K,)`` of activities at the posterior means."""
        delta = self.site_mean("delta")
        assert delta is not None
        return activity_prior(self.guide.pi().mean, delta)

    @torch.no_grad()
    def initialize(self, fit: EMResult, entries: Entries) -> None:
        """Initialize every site of the guide at an EM fit; see :mod:`._initialize`.

        Parameters
        ----------
        fit
            Outcome of the EM on the same cells and junctions.
        entries
            The entries it was fitted to, as the likelihood takes them.
        """
        # All parameters are reset first: an earlier training may have failed half-way.
        self.guide.load_state_dict(SplicingGuide(self.model).state_dict())
        initialize(self.model, self.guide, fit, entries)

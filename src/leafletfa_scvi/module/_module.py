"""The scvi module that ties generative model and guide together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from scvi.module.base import PyroBaseModuleClass

from leafletfa_scvi.inference import (
    EMResult,
    beta_from_curvature,
    dirichlet_from_curvature,
    information,
)
from leafletfa_scvi.module._generative import EPS, SplicingGenerativeModel, activity_prior
from leafletfa_scvi.module._guide import SplicingGuide

if TYPE_CHECKING:
    from leafletfa_scvi.ops import ObservedEntries


class LeafletFAModule(PyroBaseModuleClass):
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
        """Plate and local sites, as scvi's samplers want them."""
        return {"name": "cells", "in": [], "sites": {"phi": self.model.n_programs}, "event_dim": 1}

    @staticmethod
    def _get_fn_args_from_batch(tensor_dict: dict[str, Any]) -> tuple[tuple[Any, ...], dict]:
        return (tensor_dict["cells"], tensor_dict["entries"]), {}

    def on_load(self, model: Any, **kwargs: Any) -> None:
        """Nothing to run before the state is loaded: all parameters exist since construction."""

    def site_mean(self, name: str) -> torch.Tensor | None:
        """Posterior mean of a scalar site, its fixed value, or None (kappa of the binomial)."""
        if name in self.guide.scalars:
            return self.guide.scalar(name).mean
        value = self.model.fixed(name)
        return None if value is None else torch.tensor(float(value), device=self.device)

    def junction_prior(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Posterior means of a and b with the offset of the model, ``(P, 1)`` or ``(1, 1)``."""
        return self.guide.a.distribution().mean + EPS, self.guide.b.distribution().mean + EPS

    def unseen_junction_prior(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Scalars a and b of the Beta prior of a junction that was never observed."""
        if self.model.junction_prior == "global":
            a, b = self.junction_prior()
            return a.reshape(()), b.reshape(())
        mean = {name: self.guide.scalar(name).mean for name in self.guide.scalars}
        return mean["a_shape"] / mean["a_rate"] + EPS, mean["b_shape"] / mean["b_rate"] + EPS

    def activity_prior(self) -> torch.Tensor:
        """Concentrations ``(K,)`` of the activities' prior at the posterior mean of delta, pi."""
        delta = self.site_mean("delta")
        assert delta is not None
        return activity_prior(self.guide.pi().mean, delta)

    @torch.no_grad()
    def start_from(
        self,
        fit: EMResult,
        entries: ObservedEntries,
        prior_inclusion: torch.Tensor,
        prior_exclusion: torch.Tensor,
        activity_concentration: float,
    ) -> None:
        """Start every site of the guide at an EM fit, widths from the curvature of the likelihood.

        Parameters
        ----------
        fit
            Outcome of the EM on the same cells and junctions.
        entries
            The observed entries it was fitted to.
        prior_inclusion, prior_exclusion
            a and b of the EM's prior of psi, ``(P,)``.
        activity_concentration
            delta of the EM's prior of phi.
        """
        guide, device = self.guide, self.device
        # Everything anew: an earlier training may have failed half-way.
        guide.load_state_dict(SplicingGuide(self.model).state_dict())
        info = information(entries, fit.phi, fit.psi, fit.concentration)
        alpha = activity_prior(fit.prevalence, activity_concentration).cpu()
        a, b = prior_inclusion.cpu().reshape(-1, 1), prior_exclusion.cpu().reshape(-1, 1)
        inclusion, exclusion = beta_from_curvature(fit.psi.cpu(), info.program, a + b)
        guide.psi_log_inclusion.copy_(inclusion.log().to(device))
        guide.psi_log_exclusion.copy_(exclusion.log().to(device))
        phi = dirichlet_from_curvature(fit.phi.cpu(), info.activity, alpha)
        guide.phi_log.copy_(phi.log().to(device))
        # As sure of pi as a prior with that many well-determined cells would be.
        pi_precision = min(float(entries.n_cells), 100.0) * activity_concentration
        guide.pi_log.copy_((fit.prevalence.to(device) * pi_precision + 0.1).log())
        if self.model.junction_prior == "global":
            a, b = a.mean().reshape(1, 1), b.mean().reshape(1, 1)
        guide.a.loc.copy_(a.log().to(device))
        guide.b.loc.copy_(b.log().to(device))
        if "delta" in guide.scalars:
            guide.set_scalar("delta", activity_concentration)
        if "kappa" in guide.scalars and fit.concentration is not None:
            guide.set_scalar("kappa", fit.concentration)

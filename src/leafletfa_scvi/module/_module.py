"""The scvi module that ties generative model and guide together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from scvi.module.base import PyroBaseModuleClass

from leafletfa_scvi.module._generative import EPS, SplicingGenerativeModel, activity_prior
from leafletfa_scvi.module._guide import SplicingGuide
from leafletfa_scvi.module._start import start_guide
from leafletfa_scvi.ops import MultinomialEntries

if TYPE_CHECKING:
    from leafletfa_scvi.inference import EMResult
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
        """Posterior mean of a site, its fixed value, or None (kappa of the binomial).

        A scalar; kappa with ``dispersion="junction"`` has one value per junction, or per ATSE for
        the Dirichlet-multinomial.
        """
        if name in self.guide.scalars:
            return self.guide.scalar(name).mean
        if name == "kappa" and self.guide.has_kappas:
            return self.guide.site("kappa").mean
        value = self.model.fixed(name)
        return None if value is None else self.model.one.new_tensor(float(value))

    def junction_concentration(self) -> torch.Tensor | None:
        """Posterior mean of kappa of junctions, ``(P,)`` or a scalar; None for the binomial."""
        kappa = self.site_mean("kappa")
        if kappa is None or not kappa.ndim or not self.model.shared:
            return kappa
        return kappa[self.model.columns[: self.model.n_junctions]]

    def programs(self) -> torch.Tensor:
        """Posterior mean of the programs of the P junctions, ``(P, K)``."""
        return self.guide.psi().mean[: self.model.n_junctions]

    def unseen_programs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Concentrations ``(P', 1)`` for and against that a junction never observed has.

        They are those of the prior at the posterior means of its parameters; of the mixture, those
        of the Beta (or Dirichlet) with the same mean and variance.
        """
        model, guide = self.model, self.guide
        if model.junction_prior == "mixture":
            weights = guide.strength_weights().mean
            strengths = model.mixture(weights).prior_concentrations
            strength = 1.0 / (weights / (strengths + 1.0)).sum() - 1.0
            mean = model.program_mean[:, None]
            return strength * mean, strength * (1.0 - mean)
        values = []
        for name in model.prior_sites:
            if model.junction_prior == "global":
                value = guide.site(name).mean.reshape(())
            else:
                shape, rate = (guide.scalar(f"{name}_{part}").mean for part in ("shape", "rate"))
                value = shape / rate
            values.append((value + EPS).expand(model.n_columns, 1))
        return values[0], values[-1]

    @torch.no_grad()
    def restore_prior(self, entries: ObservedEntries | MultinomialEntries) -> None:
        """Give the programs and concentrations of what was never observed their prior exactly."""
        model, guide = self.model, self.guide
        lost = ~self._seen(entries)  # junctions, or ATSEs where they share their reads
        unseen = lost[model.columns] if model.shared else lost
        inclusion, exclusion = self.unseen_programs()
        guide.psi_log_inclusion[unseen] = inclusion.log()[unseen]
        if not model.shared:
            guide.psi_log_exclusion[unseen] = exclusion.log()[unseen]
        if guide.has_kappas:
            guide.kappa.loc[lost] = guide.scalar("kappa_median").mean.log()
            guide.kappa.log_scale[lost] = guide.scalar("kappa_spread").mean.log()

    def _seen(self, entries: ObservedEntries | MultinomialEntries) -> torch.Tensor:
        """Which junctions, or ATSEs where they share their reads, are observed in some cell."""
        model = self.model
        if isinstance(entries, MultinomialEntries):
            return entries.totals.seen_junctions().to(self.device)
        seen = entries.seen_junctions().to(self.device)
        if not model.shared:
            return seen
        atses = torch.zeros(model.groups.n_groups, dtype=torch.bool, device=self.device)
        atses[model.columns[: model.n_junctions][seen]] = True
        return atses

    def activity_prior(self) -> torch.Tensor:
        """Concentrations ``(K,)`` of the activities' prior at the posterior mean of delta, pi."""
        delta = self.site_mean("delta")
        assert delta is not None
        return activity_prior(self.guide.pi().mean, delta)

    @torch.no_grad()
    def start_from(
        self,
        fit: EMResult,
        entries: ObservedEntries | MultinomialEntries,
    ) -> None:
        """Start every site of the guide at an EM fit, widths from the curvature of the likelihood.

        Parameters
        ----------
        fit
            Outcome of the EM on the same cells and junctions.
        entries
            The entries it was fitted to, ATSE by ATSE for the Dirichlet-multinomial.
        """
        # Everything anew: an earlier training may have failed half-way.
        self.guide.load_state_dict(SplicingGuide(self.model).state_dict())
        start_guide(self.model, self.guide, fit, entries)

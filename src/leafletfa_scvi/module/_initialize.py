"""Initialization of model and guide at an EM fit, as certain as the likelihood is curved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from leafletfa_scvi.inference import dirichlet_from_curvature, information
from leafletfa_scvi.module._generative import activity_prior

if TYPE_CHECKING:
    from leafletfa_scvi.inference import EMResult
    from leafletfa_scvi.module._generative import SplicingGenerativeModel
    from leafletfa_scvi.module._guide import SplicingGuide
    from leafletfa_scvi.ops import Entries

_PI_CELLS = 100.0


@torch.no_grad()
def initialize(
    model: SplicingGenerativeModel, guide: SplicingGuide, fit: EMResult, entries: Entries
) -> None:
    """Move every site of a new ``guide`` to ``fit``, which was fitted to ``entries``."""
    device, prior, delta = guide.pi_log.device, fit.prior, fit.activity_concentration
    psi, prior_concentration = fit.psi.cpu(), (prior.concentration + prior.reads).cpu()
    prior_concentration = prior_concentration.reshape(len(psi), -1)
    info = information(entries, fit.factors)
    concentrations = model.likelihood.first_concentrations(
        psi, info.program, prior_concentration, model.program_atse.cpu()
    )
    guide.set_programs(concentrations)
    alpha = activity_prior(fit.prevalence, delta).cpu()
    activity_info = info.activity * model.activity_weight.cpu()
    phi = dirichlet_from_curvature(fit.phi.cpu(), activity_info, alpha)
    guide.phi_log.copy_(phi.log().to(device))
    # As certain of pi as a prior with that many well-determined cells would be.
    pi_precision = min(float(entries.n_cells), _PI_CELLS) * delta
    guide.pi_log.copy_((fit.prevalence.to(device) * pi_precision + 0.1).log())
    model.prior.initialize(model, guide, prior)
    if fit.effects is not None:
        model.set_batch_effects(fit.effects)
    if "delta" in guide.scalars:
        guide.set_scalar("delta", delta)
    if model.learns_concentration and fit.concentration is not None:
        _initialize_concentration(guide, fit)


def _initialize_concentration(guide: SplicingGuide, fit: EMResult) -> None:
    log_kappa = torch.as_tensor(
        fit.concentration, dtype=torch.float32, device=guide.pi_log.device
    ).log()
    if not guide.has_kappas:
        guide.set_scalar("kappa", float(log_kappa.mean().exp()))
        return
    guide.kappa.loc.copy_(log_kappa.expand(guide.kappa.loc.shape))
    guide.set_scalar("kappa_median", float(log_kappa.mean().exp()))
    spread = fit.concentration_spread
    guide.set_scalar("kappa_spread", 1.0 if spread is None else spread)

"""Posterior variances from the curvature of the likelihood, beside those of the guide."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from leafletfa_scvi import inference
from leafletfa_scvi.priors import ReferenceFit

if TYPE_CHECKING:
    from leafletfa_scvi.model._base import SplicingModelBase
    from leafletfa_scvi.ops import Entries, ObservedEntries
    from leafletfa_scvi.priors import PriorFit

_PRIOR_REFITS = 3


def composite_weight(model: SplicingModelBase) -> torch.Tensor | None:
    """Weight ``(P,)`` of each junction's information about activities; None if all are 1."""
    if model.atse_codes_ is None:
        return None
    return model.module.model.likelihood.composite_weight(torch.from_numpy(model.atse_codes_))


def set_activity_weight(model: SplicingModelBase, entries: ObservedEntries) -> None:
    """Scale the gradient of activities by the mean composite weight of the entries."""
    weight = composite_weight(model)
    if weight is None or entries.n_entries == 0:
        return
    n_observed = torch.bincount(entries.column.long(), minlength=entries.n_junctions)
    mean = float((n_observed * weight).sum() / n_observed.sum())
    model.module.model.activity_weight.fill_(mean)


@torch.no_grad()
def activity_variance(
    model: SplicingModelBase, entries: Entries, phi: torch.Tensor, is_new: bool
) -> torch.Tensor:
    """Compute variances ``(B, K)`` of the activities of cells, on the CPU.

    Parameters
    ----------
    model
        Trained model.
    entries
        Observed entries of B cells.
    phi
        ``(B, K)`` their mean activities.
    is_new
        If True, the programs were not fitted to these cells.
    """
    module = model.module
    return inference.activity_variance(
        model._likelihood_entries(entries),
        module.predictive_factors(phi) if is_new else module.factors(phi),
        float(module.activity_prior().sum()),
        composite_weight(model),
    )


@torch.no_grad()
def set_variances(model: SplicingModelBase, entries: ObservedEntries) -> None:
    """Store the variances of the training cells and of the programs in the guide."""
    module, guide = model.module, model.module.guide
    factors = module.factors(guide.phi().mean)
    is_query = model.fits_activities_only
    guide.phi_variance.copy_(activity_variance(model, entries, factors.phi, is_query))
    if is_query:
        return
    fitted = model._likelihood_entries(entries)
    counts = inference.sweep(fitted, factors)
    prior = initial_prior(model, entries).to(module.device)
    for _ in range(_PRIOR_REFITS):
        prior = prior.refit(counts.inclusion, counts.exclusion)
    first = model.n_programs - model.n_extra_programs if model.frozen_programs_ else 0
    variance = inference.program_variance(fitted, factors, prior)
    guide.psi_variance[:, first:] = variance[:, first:].to(guide.psi_variance.device)


def initial_prior(model: SplicingModelBase, entries: ObservedEntries) -> PriorFit:
    """Prior of the programs before its concentrations are fitted.

    With a reference, it is the reference's, and only the means of junctions of which it has no
    reads are those of the entries.
    """
    module, generative = model.module, model.module.model
    mean_psi = generative.likelihood.mean_psi(model._pooled_entries(entries))
    fit = generative.prior.first_fit(mean_psi, generative.program_atse)
    if not generative.has_reference:
        return fit
    guide = module.guide
    trained = generative.prior.trained_fit(generative, guide)
    seen = module.reference_rows()
    concentration = fit.concentration.to(trained.mean)
    n_fixed = guide.n_fixed
    return ReferenceFit(
        prior=trained.prior,
        mean=torch.where(seen, trained.mean, fit.mean.to(trained.mean)),
        concentration=torch.where(seen[:, None], trained.concentration, concentration),
        atse=trained.atse,
        weights=trained.weights,
        inclusion_reads=generative.reference_inclusion,
        exclusion_reads=generative.reference_exclusion,
        fixed=guide.psi().mean[:, :n_fixed] if n_fixed else None,
    )

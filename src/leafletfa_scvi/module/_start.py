"""Where the guide starts: an EM fit, with widths from the curvature of the likelihood."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from leafletfa_scvi.inference import beta_from_curvature, dirichlet_from_curvature, information
from leafletfa_scvi.module._generative import activity_prior

if TYPE_CHECKING:
    from leafletfa_scvi.inference import EMResult
    from leafletfa_scvi.module._generative import SplicingGenerativeModel
    from leafletfa_scvi.module._guide import SplicingGuide
    from leafletfa_scvi.ops import Groups, MultinomialEntries, ObservedEntries

_MAX_PRECISION = 400.0
_OFFSET = 0.2
_PI_CELLS = 100.0
_MAX_ATSES = 1000.0
_MIN_SHAPE, _MAX_SHAPE = 0.1, 10.0


def grouped_from_curvature(
    psi: torch.Tensor, info: torch.Tensor, strength: torch.Tensor, groups: Groups
) -> torch.Tensor:
    """Concentrations ``(P', K)`` of the first guide of programs that share their reads.

    A Dirichlet(S psi) has the information S psi_j (1 - psi_j) about the softmax coordinates of an
    ATSE; S is the trace of that of the data over the trace of that of one read, plus the strength
    of the prior, in [1, 400].

    Parameters
    ----------
    psi
        ``(P', K)`` programs, summing to one within each ATSE.
    info
        ``(P', K)`` information of the data about each, taken as free.
    strength
        ``(P', 1)`` or ``(P', K)``, total concentration of the prior of the ATSE.
    groups
        ATSE of each row.
    """
    square = psi.square()
    others = groups.spread(groups.sum(square)) - square
    data = groups.sum(info * square * ((1.0 - psi).square() + others))
    one_read = groups.sum(psi * (1.0 - psi)).clamp(min=1e-6)
    total = groups.spread(data / one_read) + strength
    size = groups.spread(groups.sum(torch.ones_like(psi[:, :1])))
    return _OFFSET / size + total.clamp(1.0, _MAX_PRECISION) * psi


@torch.no_grad()
def start_guide(
    model: SplicingGenerativeModel,
    guide: SplicingGuide,
    fit: EMResult,
    entries: ObservedEntries | MultinomialEntries,
) -> None:
    """Put every site of a fresh ``guide`` at ``fit``, of the same ``entries``."""
    device, prior, delta = guide.pi_log.device, fit.prior, fit.activity_concentration
    psi, strength = fit.psi.cpu(), prior.strength.cpu()
    strength = strength.reshape(len(psi), -1)
    info = information(entries, fit.phi, fit.psi, fit.concentration)
    if model.shared:
        groups = type(model.groups)(model.columns.cpu())
        inclusion = grouped_from_curvature(psi, info.program, strength, groups)
    else:
        inclusion, exclusion = beta_from_curvature(psi, info.program, strength)
        guide.psi_log_exclusion.copy_(exclusion.log().to(device))
    guide.psi_log_inclusion.copy_(inclusion.log().to(device))
    alpha = activity_prior(fit.prevalence, delta).cpu()
    known = info.activity * model.activity_weight.cpu()
    phi = dirichlet_from_curvature(fit.phi.cpu(), known, alpha)
    guide.phi_log.copy_(phi.log().to(device))
    # As sure of pi as a prior with that many well-determined cells would be.
    pi_precision = min(float(entries.n_cells), _PI_CELLS) * delta
    guide.pi_log.copy_((fit.prevalence.to(device) * pi_precision + 0.1).log())
    if model.junction_prior == "mixture":
        assert prior.weights is not None
        model.set_program_mean(prior.mean)
        seen = min(float(model.groups.n_groups), _MAX_ATSES)
        guide.strength_log.copy_((prior.weights.to(device) * seen + 1.0).log())
    _start_priors(model, guide, prior.mean.cpu().reshape(-1, 1), strength.mean(1, keepdim=True))
    if "delta" in guide.scalars:
        guide.set_scalar("delta", delta)
    if model.learns_concentration and fit.concentration is not None:
        _start_concentration(guide, fit)


def _start_priors(
    model: SplicingGenerativeModel,
    guide: SplicingGuide,
    mean: torch.Tensor,
    strength: torch.Tensor,
) -> None:
    """Sites a and b of the priors of psi, and those that a and b come from.

    From afar, these would take longer than a training to arrive. With K programs a known, log a
    has the information K a^2 (trigamma(a) - trigamma(a + b)), and that of its Gamma prior.
    """
    for name, site in zip(model.prior_sites, (mean, 1.0 - mean), strict=False):
        value = (strength * site).clamp(min=1e-6)
        slack = torch.polygamma(1, value) - torch.polygamma(1, strength)
        known = model.n_programs * value.square() * slack.clamp(min=0.0)
        if model.junction_prior == "global":
            value, known = value.mean().reshape(1, 1), known.sum().reshape(1, 1)
        shape, rate = gamma_fit(value)
        guide.set_scalar(f"{name}_shape", shape)
        guide.set_scalar(f"{name}_rate", rate)
        own = getattr(guide, name)
        own.loc.copy_(value.log())
        own.log_scale.copy_(-0.5 * (known + shape).log())


def gamma_fit(values: torch.Tensor) -> tuple[float, float]:
    """Shape and rate of the Gamma of highest likelihood, nearly; of one value, shape 1.

    The shape is that of Minka (2002), kept in [0.1, 10].
    """
    mean = values.double().mean()
    gap = float(mean.log() - values.double().log().mean())
    shape = 1.0
    if values.numel() > 1:
        gap = max(gap, 1e-6)
        shape = (3.0 - gap + ((gap - 3.0) ** 2 + 24.0 * gap) ** 0.5) / (12.0 * gap)
        shape = min(max(shape, _MIN_SHAPE), _MAX_SHAPE)
    return shape, shape / float(mean)


def _start_concentration(guide: SplicingGuide, fit: EMResult) -> None:
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

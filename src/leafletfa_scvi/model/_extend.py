"""Models that extend a reference: by the reads of new cells, or by further programs.

A reference enters as pseudo-reads of each junction and program, which its programs have beside
their prior: see :class:`~leafletfa_scvi.priors.ReferenceFit`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from leafletfa_scvi import inference
from leafletfa_scvi._arguments import check_at_least, check_whole
from leafletfa_scvi.data import cell_fingerprints
from leafletfa_scvi.likelihoods import Factors
from leafletfa_scvi.model._intervals import program_posterior
from leafletfa_scvi.model._variances import initial_prior, set_activity_weight
from leafletfa_scvi.module._generative import activity_prior
from leafletfa_scvi.train import fits_on_device

if TYPE_CHECKING:
    from leafletfa_scvi.data import CheckedContent
    from leafletfa_scvi.model._base import SplicingModelBase
    from leafletfa_scvi.model._training_options import TrainingOptions
    from leafletfa_scvi.module import SplicingGuide
    from leafletfa_scvi.ops import ObservedEntries

_REFITS = 5
_EXTRA_PREVALENCE = 0.1
"""Prevalence of all extra programs before training."""


class Extension(NamedTuple):
    """How a model extends its reference.

    Attributes
    ----------
    freeze
        Whether the programs of the reference do not change.
    strength
        Factor of the information of the reference, if they do.
    n_extra
        Number of programs to add.
    """

    freeze: bool
    strength: float
    n_extra: int

    @classmethod
    def checked(cls, freeze: Any, strength: Any, n_extra: Any) -> Extension:
        """Check the arguments of ``load_query_data``.

        Raises
        ------
        ValueError
            One is out of range, or ``strength`` is given for frozen programs.
        """
        if not isinstance(freeze, bool):
            raise ValueError(f"Expected freeze_programs to be True or False, found {freeze!r}.")
        n_extra = check_whole("n_extra_programs", n_extra, 0)
        if strength is None:
            return cls(freeze, 1.0, n_extra)
        check_at_least(0.0, prior_strength=strength)
        if freeze:
            raise ValueError(
                f"Expected no prior_strength with freeze_programs=True, found {strength!r}: the "
                "programs of the reference do not change. Leave it out, or pass "
                "freeze_programs=False."
            )
        # With infinite information, nothing that new cells say changes the programs.
        return cls(math.isinf(strength), float(strength), n_extra)

    @property
    def is_query(self) -> bool:
        """True if nothing but activities is fitted."""
        return self.freeze and self.n_extra == 0

    @property
    def has_reference(self) -> bool:
        """True if programs have pseudo-reads of the reference."""
        return self.freeze or self.strength > 0.0

    def check_reference(self, reference: SplicingModelBase) -> None:
        """Raise an error if a reference cannot be extended."""
        if not self.is_query and reference.n_programs == 1:
            raise ValueError(
                "Expected a reference of at least 2 programs to extend, found 1: its only program "
                "is the mean PSI of its cells. Train a model of both data sets instead."
            )
        if not self.freeze and self.strength > 0.0 and not reference.has_program_posterior_:
            raise ValueError(
                "Expected a reference that knows the uncertainty of its programs for "
                "freeze_programs=False, found programs without it. Pass "
                "program_concentration= to from_programs, prior_strength=0 for a start alone, or "
                "freeze_programs=True."
            )


@torch.no_grad()
def copy_reference(model: SplicingModelBase, reference: SplicingModelBase, by: Extension) -> None:
    """Set a new model, whose programs begin with those of the reference, to the reference."""
    target, source, n_known = model.module, reference.module, reference.n_programs
    saved, own = source.state_dict(), target.state_dict()
    rows = _known_rows(model, reference)
    if len(rows) < target.model.n_rows:
        _initialize_new(model, model._training_entries())
    for name, value in own.items():
        if name not in saved or source.has_axis(name, "cells"):
            continue
        part = value[..., :n_known] if source.has_axis(name, "programs") else value
        if source.has_axis(name, "rows"):
            part[rows] = saved[name].to(part)
        elif source.has_axis(name, "dispersions"):
            part[: len(saved[name])] = saved[name].to(part)
            part[len(saved[name]) :] = _new_kappa(source.guide, name)
        else:
            part.copy_(saved[name])
    if by.n_extra:
        share = _EXTRA_PREVALENCE / (1.0 - _EXTRA_PREVALENCE) / by.n_extra
        known = target.guide.pi().concentration[:n_known].sum()
        target.guide.pi_log[n_known:] = (share * known).log()
    if by.has_reference:
        strength = 1.0 if by.freeze else by.strength
        for name, reads in zip(_READS, reference_reads(reference, strength), strict=True):
            buffer = getattr(target.model, name)
            buffer.zero_()
            buffer[rows, :n_known] = reads.to(buffer)
    model.n_reference_programs_ = n_known


_READS = ("reference_inclusion", "reference_exclusion")
_NEW_CONCENTRATION = 3.0


def joined_rows(
    reference: SplicingModelBase, checked: CheckedContent, codes: np.ndarray
) -> np.ndarray:
    """Return the ATSE of each row of the programs of a model with more junctions.

    Implicit junctions, which come last, are those of the reference and those of new ATSEs.

    Parameters
    ----------
    reference
        The reference.
    checked
        Data of the new cells.
    codes
        ``(P,)`` ATSE of each junction, new ones last.
    """
    generative = reference.module.model
    n_known, known = generative.n_junctions, generative.program_atse.cpu().numpy()
    found = generative.likelihood.program_atse(checked.entries, codes, len(codes))[len(codes) :]
    first_new = int(known.max(initial=-1)) + 1
    rows: np.ndarray = np.r_[codes, known[n_known:], found[found >= first_new]]
    return rows


def _known_rows(model: SplicingModelBase, reference: SplicingModelBase) -> torch.Tensor:
    """Find the row of the model for each row of the programs of the reference, ``(P',)``."""
    n, n_known = model.module.model.n_junctions, reference.module.model.n_junctions
    n_implicit = reference.module.model.n_rows - n_known
    return torch.cat([torch.arange(n_known), n + torch.arange(n_implicit)])


def _initialize_new(model: SplicingModelBase, entries: ObservedEntries) -> None:
    """Set all programs to the mean PSI of the new cells, for those that a reference lacks."""
    generative = model.module.model
    mean = generative.likelihood.mean_psi(model._likelihood_entries(entries))[:, None]
    mean = mean.clamp(1e-3, 1.0 - 1e-3)
    model.module.guide.set_programs((_NEW_CONCENTRATION * mean, _NEW_CONCENTRATION * (1.0 - mean)))


def _new_kappa(guide: SplicingGuide, name: str) -> torch.Tensor:
    """Return location or log-scale of the kappa of a junction that a reference lacks."""
    site = "kappa_median" if name.endswith("loc") else "kappa_spread"
    return guide.scalar(site).mean.log()


@torch.no_grad()
def reference_reads(
    model: SplicingModelBase, strength: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the reads that a trained model is worth, for and against each program.

    At strength 1, they are what its posterior says in addition to its prior, so that prior and
    reads give that posterior again: for Beta(A, B) with the posterior's
    mean and the larger of its two variances (of the guide, and of the curvature with all programs
    of the junction unknown), and prior Beta(c m, c (1 - m)), A - c m and B - c (1 - m). c is
    lowered where one of them would be negative. With the Dirichlet-multinomial, the concentration
    of an ATSE is the one with the sum of the variances of its junctions. At a strength s below 1,
    they are s times as many. Above 1, (s - 1) A and (s - 1) B are added: multiples of the former
    would not tend to the programs of the reference, but to those without its prior.

    Returns
    -------
    ``(P', K)`` float64 on the CPU each; 0 for junctions that the model has not observed.
    """
    generative, guide = model.module.model, model.module.guide
    inclusion, exclusion = program_posterior(model)
    shares_reads = generative.likelihood.shares_reads
    mean = inclusion / (inclusion + exclusion)
    if shares_reads:
        size = _size_within_atses(model, mean, inclusion + exclusion)
        inclusion, exclusion = size * mean, size * (1.0 - mean)
    fit = generative.prior.trained_fit(generative, guide).to(torch.device("cpu"))
    m = fit.mean.double()[:, None].clamp(1e-6, 1.0 - 1e-6)
    # The most that can be subtracted.
    most = inclusion / m
    if shares_reads:
        most = _smallest_within(most, fit.atse)
    else:
        most = torch.minimum(most, exclusion / (1.0 - m))
    # The concentration of the prior in an ATSE and these reads follow from each other.
    reads = inclusion, exclusion
    concentration = fit.concentration.double()
    for _ in range(_REFITS):
        if generative.prior.samples_psi_jointly:
            concentration = fit.refit(*reads).concentration.double()
        c = torch.minimum(concentration, most)
        reads = (inclusion - c * m).clamp(min=0.0), (exclusion - c * (1.0 - m)).clamp(min=0.0)
    # What was never observed has the prior, which is the same for all programs.
    psi = guide.psi().mean.cpu()
    seen = (psi != psi[:, :1]).any(1, keepdim=True)
    if generative.has_reference:
        seen |= model.module.reference_rows().cpu()[:, None]
    share, more = min(strength, 1.0), max(strength - 1.0, 0.0)
    for_it = seen * (share * reads[0] + more * inclusion)
    against = seen * (share * reads[1] + more * exclusion)
    return for_it, torch.zeros_like(against) if shares_reads else against


def _size_within_atses(
    model: SplicingModelBase, mean: torch.Tensor, total: torch.Tensor
) -> torch.Tensor:
    """Compute the concentration of each ATSE with the sum of its variances, ``(P', K)``."""
    groups = model.module.model.groups
    atse = groups.index.cpu()
    sums = torch.zeros(int(atse.max()) + 1, mean.shape[1], dtype=mean.dtype, device="cpu")
    spread = mean * (1.0 - mean)
    one_read = sums.index_add(0, atse, spread)
    variance = sums.index_add(0, atse, spread / (total + 1.0))
    size = one_read / variance.clamp(min=1e-12) - 1.0
    return size.clamp(min=0.05)[atse]


def _smallest_within(values: torch.Tensor, atse: torch.Tensor) -> torch.Tensor:
    """Find the smallest value of each ATSE, ``(P', K)``."""
    index = atse[:, None].expand(values.shape)
    least = values.new_full((int(atse.max()) + 1, values.shape[1]), math.inf)
    return least.scatter_reduce(0, index, values, "amin")[atse]


def freeze(model: SplicingModelBase) -> None:
    """Exclude from training what a query or an extended model takes from its reference.

    A query trains nothing but activities; one with extra programs also these and the prevalence.
    A model that continues a reference keeps kappa, which few new cells say little about.
    """
    module, extra = model.module, model.n_extra_programs
    module.guide.n_fixed = 0
    if model.frozen_programs_ and extra:
        module.guide.n_fixed = model.n_programs - extra
    for name, parameter in module.named_parameters():
        if model.frozen_programs_:
            free = module.has_axis(name, "cells") or (
                bool(extra) and module.has_axis(name, "programs")
            )
        else:
            free = not (module.model.has_reference and _is_kappa(name))
        parameter.requires_grad_(free)


def _is_kappa(name: str) -> bool:
    """Return True for a parameter of the concentrations kappa."""
    return name.removeprefix("_guide.").removeprefix("scalars.").startswith("kappa")


class FixedState(NamedTuple):
    """Values that training must not change, by name; of programs, the first ones."""

    values: dict[str, torch.Tensor]

    @torch.no_grad()
    def restore(self, model: SplicingModelBase) -> None:
        """Give a model these values."""
        state = model.module.state_dict()
        for name, value in self.values.items():
            whole = state[name].shape == value.shape
            (state[name] if whole else state[name][:, : value.shape[1]]).copy_(value)


def fixed_state(model: SplicingModelBase) -> FixedState:
    """Copy what training must not change; see :func:`freeze`."""
    module = model.module
    trained = {name for name, x in module.named_parameters() if x.requires_grad}
    n_fixed, values = module.guide.n_fixed, {}
    for name, value in module.state_dict().items():
        by_program = module.has_axis(name, "programs") and module.has_axis(name, "rows")
        if module.has_axis(name, "cells"):
            continue
        if by_program and n_fixed:
            values[name] = value[:, :n_fixed].clone()
        elif name not in trained and (model.frozen_programs_ or _is_kappa(name)):
            values[name] = value.clone()
    return FixedState(values)


@torch.no_grad()
def initialize_extension(
    model: SplicingModelBase, entries: ObservedEntries, options: TrainingOptions
) -> inference.EMResult:
    """Initialize the guide of a model that extends a reference, by EM from the reference.

    Activities start at those under the reference's programs, and extra programs at cells that
    these do not explain: see :func:`inference.residual_programs`.
    """
    module, generative = model.module, model.module.model
    known = model.n_programs - model.n_extra_programs
    psi, kappa, seed = module.guide.psi().mean, module.site_mean("kappa"), model._seed()
    delta, pi = module.site_mean("delta"), module.guide.pi().mean[:known]
    assert delta is not None
    if not model.frozen_programs_:
        set_activity_weight(model, entries)
    fitted, fixed = model._likelihood_entries(entries), fixed_state(model)
    first = psi[:, :known]
    alpha = activity_prior(pi / pi.sum(), delta)
    device = options.device
    on_device = fitted.to(device) if fits_on_device(device, fitted) else fitted
    concentration = inference.fit_activities(
        on_device,
        first.to(device),
        kappa,
        alpha.to(device),
        streams=cell_fingerprints(entries),
        weight=float(generative.activity_weight),
        n_steps=0,
    )
    phi = concentration / concentration.sum(1, keepdim=True)
    start = inference.Initialization(phi, first.cpu())
    if model.n_extra_programs:
        atse = None if model.atse_codes_ is None else torch.from_numpy(model.atse_codes_)
        junctions = first.cpu()[: generative.n_junctions]
        start = inference.residual_programs(
            entries, Factors(phi, junctions), model.n_extra_programs, atse, seed
        )
        programs = generative.likelihood.complete_programs(start.psi, fitted).cpu()
        start = start._replace(psi=torch.cat([first.cpu(), programs[:, known:]], 1))
    keeps_kappa = generative.has_reference or not generative.learns_concentration
    fit = inference.fit_em(
        on_device,
        start,
        initial_prior(model, entries),
        concentration=kappa,
        dispersion=generative.dispersion,
        learn_concentration=not keeps_kappa,
        activity_concentration=float(delta),
        activity_weight=float(generative.activity_weight),
        n_iterations=options.em_iterations,
        callback=options.report_em,
        device=device,
        seed=seed,
    )
    module.initialize(fit, fitted)
    fixed.restore(model)
    return fit

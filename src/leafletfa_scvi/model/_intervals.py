"""Credible intervals of programs, activities and global parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch

from leafletfa_scvi import inference
from leafletfa_scvi._arguments import check_inside
from leafletfa_scvi._name_index import name_index
from leafletfa_scvi.model._cells import Indices, cell_posterior, cell_variance

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from leafletfa_scvi.model._base import SplicingModelBase

_MIN_BETA = 0.1


class CredibleInterval(NamedTuple):
    """Lower and upper ends of equal-tailed credible intervals, as DataFrames of one shape."""

    lower: pd.DataFrame
    upper: pd.DataFrame


@torch.no_grad()
def credible_intervals(
    model: SplicingModelBase,
    parameter: str,
    level: float,
    adata: AnnData | MuData | None,
    indices: Indices,
) -> CredibleInterval:
    """Compute equal-tailed credible intervals; see ``LeafletFAModel.get_credible_intervals``."""
    model._require_trained()
    level = check_inside("level", level)
    index: np.ndarray | pd.Index
    if parameter == "psi":
        index = model.junction_names
        a, b = (x[: len(index)] for x in widened_programs(model))
    elif parameter == "phi":
        cells = cell_posterior(model, adata, indices)
        a, index = cells.concentration, name_index(cells.names)
        a, b = _widened(a, a.sum(1, keepdim=True) - a, cell_variance(model, cells))
        if model.n_programs == 1:
            ones = pd.DataFrame(np.ones(a.shape), index, model.program_names)
            return CredibleInterval(ones, ones.copy())
    else:
        raise ValueError(f"Expected parameter to be 'psi' or 'phi', found {parameter!r}.")
    alpha, rest = a.numpy(), b.numpy()
    lower, upper = _quantiles(alpha, rest, level)
    if parameter == "phi":
        lower[_near_zero(alpha, rest)] = 0.0
    frames = (pd.DataFrame(end, index, model.program_names) for end in (lower, upper))
    return CredibleInterval(*frames)


def exported_program_intervals(
    psi: np.ndarray, concentration: np.ndarray, variance: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the intervals of programs from what an export writes, each array ``(P, K)``.

    Parameters
    ----------
    psi
        Programs, ``varm["psi_learned"]``.
    concentration, variance
        ``psi_concentration`` and ``psi_variance`` of ``uns["leafletfa"]``.
    level
        Probability of the intervals.

    Returns
    -------
    Lower and upper ends, as :func:`credible_intervals` has them.
    """
    given = (psi * concentration, (1.0 - psi) * concentration, variance)
    a, b = _widened(*(torch.from_numpy(np.asarray(x, np.float64)) for x in given))
    return _quantiles(a.numpy(), b.numpy(), level)


@torch.no_grad()
def widened_programs(model: SplicingModelBase) -> tuple[torch.Tensor, torch.Tensor]:
    """Return :func:`program_posterior`, if the uncertainty of the programs is known."""
    model._require_program_posterior()
    return program_posterior(model)


def program_posterior(model: SplicingModelBase) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the Beta posterior of each entry of the programs, ``(P', K)`` float64 each.

    Its variance is the larger of that of the guide and that from the curvature. Implicit
    junctions come last; the second parameter is 0 where PSI is known to be 1. Programs that were
    given without their uncertainty are as good as certain.
    """
    guide = model.module.guide
    given = *guide.psi_marginal(), guide.psi_variance
    inclusion, exclusion, variance = (x.cpu() for x in given)
    return _widened(inclusion, exclusion, variance)


def program_variance(
    psi: np.ndarray, concentration: np.ndarray, variance: np.ndarray
) -> np.ndarray:
    """Return the variance of each entry of the programs, ``(P, K)``, from what was exported.

    Parameters
    ----------
    psi, concentration
        Mean, and sum of the parameters, of the guide's Beta distributions.
    variance
        Variance from the curvature.
    """
    a, b = (torch.from_numpy(x * concentration).double() for x in (psi, 1.0 - psi))
    return beta_variance(*_widened(a, b, torch.from_numpy(variance)))


def beta_variance(a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    """Return the variances of Beta distributions."""
    mean, total = a / (a + b), a + b
    variance: np.ndarray = (mean * (1.0 - mean) / (total + 1.0)).detach().numpy()
    return variance


@torch.no_grad()
def posterior_summary(model: SplicingModelBase, level: float) -> pd.DataFrame:
    """Summarize global parameters; see ``LeafletFAModel.posterior_summary``."""
    from scipy.stats import beta

    model._require_trained()
    level = check_inside("level", level)
    guide, tail = model.module.guide, (1.0 - level) / 2.0
    quantiles = model.module.model.one.new_tensor([tail, 1.0 - tail])
    rows: dict[str, tuple[float, float, float, float]] = {}
    prior_sites, prior_weights = model.module.model.prior.summary(guide)
    sites = {name: guide.scalar(name) for name in guide.scalars} | prior_sites
    for name, site in sites.items():
        low, high = site.icdf(quantiles).reshape(-1).tolist()
        rows[name] = float(site.mean), float(site.stddev), low, high
    for name in ("kappa", "delta"):
        value = model.module.site_mean(name)
        if name not in rows and value is not None and not value.ndim:
            rows[name] = float(value), 0.0, float(value), float(value)
    shares = {
        f"pi[{name}]": g for name, g in zip(model.program_names, _parts(guide.pi()), strict=True)
    }
    if prior_weights is not None:
        names, weights = prior_weights
        shares |= dict(zip(names, _parts(weights), strict=True))
    for key, (part, rest) in shares.items():
        total = part + rest
        if rest == 0.0:
            rows[key] = 1.0, 0.0, 1.0, 1.0
            continue
        sd = np.sqrt(part * rest / (total**2 * (total + 1.0)))
        low, high = (float(beta.ppf(q, part, rest)) for q in (tail, 1.0 - tail))
        rows[key] = part / total, float(sd), low, high
    columns = ["mean", "sd", "lower", "upper"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def _parts(shares: torch.distributions.Dirichlet) -> list[tuple[float, float]]:
    """Concentration of each part of a Dirichlet, and the sum of all others."""
    g = shares.concentration.double().cpu().numpy()
    return [(float(part), float(np.delete(g, i).sum())) for i, part in enumerate(g)]


def _widened(
    a: torch.Tensor, b: torch.Tensor, variance: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Widen Beta(a, b) to at least the given variance with the same mean; b = 0 is kept.

    Neither parameter is lowered below 0.1: a distribution with nearly all of its mass at 0 or 1
    would have intervals that exclude its mean.
    """
    a, b = a.double(), b.double()
    total = a + b
    mean = a / total
    own = mean * (1.0 - mean) / (total + 1.0)
    wide = inference.beta_of_moments(mean, torch.maximum(own, variance.double()))
    size = torch.maximum(wide[0] + wide[1], _MIN_BETA / mean.clamp(min=1e-12))
    size = torch.maximum(size, _MIN_BETA / (1.0 - mean).clamp(min=1e-12))
    size = torch.minimum(size, total)
    return torch.where(b == 0.0, a, size * mean), torch.where(b == 0.0, b, size * (1.0 - mean))


def _quantiles(a: np.ndarray, b: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Return both ends of the equal-tailed interval of Beta(a, b), 1 where b is 0."""
    from scipy.stats import beta

    tail = (1.0 - level) / 2.0
    lower, upper = (np.where(b == 0.0, 1.0, beta.ppf(q, a, b)) for q in (tail, 1.0 - tail))
    return lower, upper


def _near_zero(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Find means of Beta(a, b) below two standard deviations."""
    mean = a / (a + b)
    mask: np.ndarray = mean < 4.0 * (1.0 - mean) / (a + b + 1.0)
    return mask

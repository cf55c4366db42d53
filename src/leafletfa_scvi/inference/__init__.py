"""Inference without Pyro: initialization, expected-table EM, curvature, query cells."""

from leafletfa_scvi.inference._curvature import dirichlet_from_curvature, information
from leafletfa_scvi.inference._dispersion import fit_concentration
from leafletfa_scvi.inference._em import EMResult, fit_em, sweep
from leafletfa_scvi.inference._laplace import (
    activity_variance,
    beta_of_moments,
    program_variance,
)
from leafletfa_scvi.inference._project import fit_activities
from leafletfa_scvi.inference._start import Start, Waypoints, random_start, waypoints
from leafletfa_scvi.likelihoods._beta_binomial import beta_from_curvature
from leafletfa_scvi.likelihoods._usage import (
    composite_weight,
    junction_usage,
    shared_programs,
    shared_usage,
)
from leafletfa_scvi.priors import program_prior

__all__ = [
    "EMResult",
    "Start",
    "Waypoints",
    "activity_variance",
    "beta_from_curvature",
    "beta_of_moments",
    "composite_weight",
    "dirichlet_from_curvature",
    "fit_activities",
    "fit_concentration",
    "fit_em",
    "information",
    "junction_usage",
    "program_prior",
    "program_variance",
    "random_start",
    "shared_programs",
    "shared_usage",
    "sweep",
    "waypoints",
]

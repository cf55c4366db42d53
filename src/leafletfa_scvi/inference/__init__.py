"""Inference beside Pyro: starts, expected-table EM, curvature, activities of new cells."""

from leafletfa_scvi._choices import JunctionPrior
from leafletfa_scvi.inference._curvature import (
    beta_from_curvature,
    dirichlet_from_curvature,
    information,
)
from leafletfa_scvi.inference._dispersion import fit_concentration
from leafletfa_scvi.inference._em import EMResult, fit_em, sweep
from leafletfa_scvi.inference._laplace import (
    activity_variance,
    beta_of_moments,
    program_variance,
)
from leafletfa_scvi.inference._prior import ProgramPrior, program_prior
from leafletfa_scvi.inference._project import fit_activities
from leafletfa_scvi.inference._start import Start, Waypoints, random_start, waypoints
from leafletfa_scvi.inference._usage import (
    composite_weight,
    junction_usage,
    shared_programs,
    shared_usage,
)

__all__ = [
    "EMResult",
    "JunctionPrior",
    "ProgramPrior",
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

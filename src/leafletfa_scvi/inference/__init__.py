"""Inference without Pyro: initialization, expected-table EM, curvature, query cells."""

from leafletfa_scvi._deprecated import renamed_attributes
from leafletfa_scvi.inference._batch_effects import (
    BatchEffects,
    first_batch_effects,
    fit_batch_effects,
    without_batch_effects,
)
from leafletfa_scvi.inference._curvature import (
    dirichlet_from_curvature,
    information,
    pseudo_counts,
)
from leafletfa_scvi.inference._dispersion import fit_concentration
from leafletfa_scvi.inference._em import EMResult, EMRun, fit_em
from leafletfa_scvi.inference._expected_counts import sweep
from leafletfa_scvi.inference._given_programs import (
    fit_dispersion_of_programs,
    moment_activity_concentration,
)
from leafletfa_scvi.inference._initialization import (
    Initialization,
    Waypoints,
    random_initialization,
    waypoint_path,
    waypoints,
)
from leafletfa_scvi.inference._laplace import (
    activity_variance,
    beta_of_moments,
    program_variance,
)
from leafletfa_scvi.inference._left_out import Calibration, leave_out, left_out_calibration
from leafletfa_scvi.inference._prevalence import fit_prevalence
from leafletfa_scvi.inference._project import fit_activities, predictive_concentration
from leafletfa_scvi.inference._residual_programs import residual_programs
from leafletfa_scvi.likelihoods._beta_binomial import beta_from_curvature
from leafletfa_scvi.likelihoods._mean_psi import (
    composite_weight,
    junction_mean_psi,
    normalized_mean_psi,
    normalized_programs,
)
from leafletfa_scvi.priors import program_prior

__all__ = [
    "BatchEffects",
    "Calibration",
    "EMResult",
    "EMRun",
    "Initialization",
    "Waypoints",
    "activity_variance",
    "beta_from_curvature",
    "beta_of_moments",
    "composite_weight",
    "dirichlet_from_curvature",
    "first_batch_effects",
    "fit_activities",
    "fit_batch_effects",
    "fit_concentration",
    "fit_dispersion_of_programs",
    "fit_em",
    "fit_prevalence",
    "information",
    "junction_mean_psi",
    "leave_out",
    "left_out_calibration",
    "moment_activity_concentration",
    "predictive_concentration",
    "program_prior",
    "pseudo_counts",
    "program_variance",
    "random_initialization",
    "residual_programs",
    "normalized_programs",
    "normalized_mean_psi",
    "sweep",
    "waypoint_path",
    "waypoints",
    "without_batch_effects",
]

__getattr__ = renamed_attributes(
    __name__,
    Start="Initialization",
    random_start="random_initialization",
    junction_usage="junction_mean_psi",
)

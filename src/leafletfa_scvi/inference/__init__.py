"""Inference beside Pyro: starts, expected-table EM, curvature, activities of new cells."""

from leafletfa_scvi.inference._curvature import (
    beta_from_curvature,
    dirichlet_from_curvature,
    information,
)
from leafletfa_scvi.inference._em import EMResult, fit_concentration, fit_em
from leafletfa_scvi.inference._project import fit_activities
from leafletfa_scvi.inference._start import Start, junction_usage, random_start, waypoints

__all__ = [
    "EMResult",
    "Start",
    "beta_from_curvature",
    "dirichlet_from_curvature",
    "fit_activities",
    "fit_concentration",
    "fit_em",
    "information",
    "junction_usage",
    "random_start",
    "waypoints",
]

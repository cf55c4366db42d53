"""Distributions in Pyro, on the random numbers and divergences of :mod:`leafletfa_scvi.ops`."""

from leafletfa_scvi.distributions._beta_dirichlet import Beta, Dirichlet
from leafletfa_scvi.distributions._concentration_mixture import (
    PRIOR_CONCENTRATIONS,
    ConcentrationMixture,
    mixture_constants,
)
from leafletfa_scvi.distributions._grouped_dirichlet import GroupedDirichlet
from leafletfa_scvi.distributions._with_reads import WithReads

__all__ = [
    "PRIOR_CONCENTRATIONS",
    "Beta",
    "ConcentrationMixture",
    "Dirichlet",
    "GroupedDirichlet",
    "WithReads",
    "mixture_constants",
]

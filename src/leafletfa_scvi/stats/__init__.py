"""Statistics on arrays, of junctions, samples and groups; knows neither models nor AnnData."""

from leafletfa_scvi.stats._difference_posterior import DifferencePosterior, difference_posterior
from leafletfa_scvi.stats._effective_number import effective_number
from leafletfa_scvi.stats._false_discovery import (
    expected_false_discovery,
    false_discovery_set,
    log_odds,
)
from leafletfa_scvi.stats._moderation import ModeratedVariances, moderate_variances
from leafletfa_scvi.stats._population_difference import (
    PopulationDifference,
    SampleValues,
    population_difference,
)

__all__ = [
    "DifferencePosterior",
    "ModeratedVariances",
    "PopulationDifference",
    "SampleValues",
    "difference_posterior",
    "effective_number",
    "expected_false_discovery",
    "false_discovery_set",
    "log_odds",
    "moderate_variances",
    "population_difference",
]

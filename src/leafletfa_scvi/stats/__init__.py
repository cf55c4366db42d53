"""Statistics on arrays, of junctions, samples and groups; knows neither models nor AnnData."""

from leafletfa_scvi.stats._difference_posterior import DifferencePosterior, difference_posterior
from leafletfa_scvi.stats._effective_number import effective_number
from leafletfa_scvi.stats._explained_variance import SumsOfSquares, sums_of_squares
from leafletfa_scvi.stats._false_discovery import (
    expected_false_discovery,
    false_discovery_set,
    log_odds,
)
from leafletfa_scvi.stats._mixed_model import MixedModelFit, fit_mixed_model
from leafletfa_scvi.stats._moderation import ModeratedVariances, moderate_variances
from leafletfa_scvi.stats._multiple_testing import adjust_pvalues
from leafletfa_scvi.stats._partial_regression import (
    PartialRegression,
    PartialRegressions,
)
from leafletfa_scvi.stats._permutation import (
    PermutationTest,
    permute_samples,
    permute_within_samples,
)
from leafletfa_scvi.stats._pooled_share import PooledShare, pooled_share
from leafletfa_scvi.stats._population_difference import (
    PopulationDifference,
    SampleValues,
    population_difference,
)

__all__ = [
    "DifferencePosterior",
    "MixedModelFit",
    "ModeratedVariances",
    "PartialRegression",
    "PartialRegressions",
    "PermutationTest",
    "PooledShare",
    "PopulationDifference",
    "SampleValues",
    "SumsOfSquares",
    "adjust_pvalues",
    "difference_posterior",
    "effective_number",
    "expected_false_discovery",
    "false_discovery_set",
    "fit_mixed_model",
    "log_odds",
    "moderate_variances",
    "permute_samples",
    "permute_within_samples",
    "pooled_share",
    "population_difference",
    "sums_of_squares",
]

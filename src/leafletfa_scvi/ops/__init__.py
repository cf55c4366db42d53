"""The numerical core: likelihoods over observed entries and their derivatives.

Needs torch and numpy; numba makes it fast on the CPU, triton on CUDA devices.
"""

from leafletfa_scvi._deprecated import renamed_attributes
from leafletfa_scvi.ops import _fork  # noqa: F401 - heeds forks from the import on
from leafletfa_scvi.ops._autograd import choose_backend, expected_counts, log_likelihood
from leafletfa_scvi.ops._batch_columns import CellsOfBatch, cells_by_batch, split_by_batch
from leafletfa_scvi.ops._beta_dirichlet import (
    beta_divergence,
    dirichlet_divergence,
    draw_beta,
    draw_dirichlet,
)
from leafletfa_scvi.ops._entries import ObservedEntries, smallest_int_dtype
from leafletfa_scvi.ops._gamma_terms import gamma_terms
from leafletfa_scvi.ops._grouped_dirichlet import Groups, draw_grouped_dirichlet, sum_within_groups
from leafletfa_scvi.ops._multinomial import (
    MultinomialEntries,
    implicit_junctions,
    multinomial_entries,
)
from leafletfa_scvi.ops._random import drawing, random_alone
from leafletfa_scvi.ops._reference import (
    MISASSIGNMENT_RATE,
    Entries,
    ExpectedCounts,
    column_concentration,
    entry_log_likelihood,
    entry_probability,
    expected_psi,
)

__all__ = [
    "MISASSIGNMENT_RATE",
    "CellsOfBatch",
    "Entries",
    "ExpectedCounts",
    "Groups",
    "MultinomialEntries",
    "ObservedEntries",
    "beta_divergence",
    "cells_by_batch",
    "choose_backend",
    "column_concentration",
    "dirichlet_divergence",
    "draw_beta",
    "draw_dirichlet",
    "draw_grouped_dirichlet",
    "drawing",
    "entry_log_likelihood",
    "entry_probability",
    "expected_counts",
    "expected_psi",
    "gamma_terms",
    "implicit_junctions",
    "log_likelihood",
    "multinomial_entries",
    "smallest_int_dtype",
    "split_by_batch",
    "random_alone",
    "sum_within_groups",
]

__getattr__ = renamed_attributes(__name__, LEAK="MISASSIGNMENT_RATE")

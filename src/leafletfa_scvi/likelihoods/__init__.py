"""Likelihoods of junction counts, one class each, and the factors they are evaluated at.

To add one: write its class, its kernels in :mod:`leafletfa_scvi.ops` for the entries it takes, and
add its name here and to :data:`leafletfa_scvi._choices.Likelihood`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leafletfa_scvi.likelihoods._base import Likelihood
from leafletfa_scvi.likelihoods._batch_shift import BatchShift
from leafletfa_scvi.likelihoods._beta_binomial import BetaBinomial
from leafletfa_scvi.likelihoods._binomial import Binomial
from leafletfa_scvi.likelihoods._dirichlet_multinomial import DirichletMultinomial
from leafletfa_scvi.likelihoods._factors import Factors

if TYPE_CHECKING:
    from leafletfa_scvi import _choices
    from leafletfa_scvi.ops import Entries

LIKELIHOODS: dict[_choices.Likelihood, Likelihood] = {
    "betabinomial": BetaBinomial(),
    "binomial": Binomial(),
    "dirichlet-multinomial": DirichletMultinomial(),
}
"""Likelihoods by the names that ``LeafletFAModel(likelihood=)`` takes."""


def likelihood_of(entries: Entries) -> Likelihood:
    """Look up the likelihood whose kernels take these entries.

    Kernels go by the type of the entries too. The binomial is the beta-binomial without a
    concentration, and the same object serves both here.
    """
    return next(x for x in LIKELIHOODS.values() if isinstance(entries, x.entries_type))


__all__ = [
    "LIKELIHOODS",
    "BatchShift",
    "BetaBinomial",
    "Binomial",
    "DirichletMultinomial",
    "Factors",
    "Likelihood",
    "likelihood_of",
]

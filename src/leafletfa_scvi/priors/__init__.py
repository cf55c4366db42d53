"""Priors of the programs, one class each.

To add one, write its class, and add its name here and to
:data:`leafletfa_scvi._choices.JunctionPrior`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leafletfa_scvi.likelihoods import LIKELIHOODS
from leafletfa_scvi.priors._base import EPS, ProgramPrior, ScalarPriors, plates
from leafletfa_scvi.priors._fit import PriorFit
from leafletfa_scvi.priors._global import GlobalPrior
from leafletfa_scvi.priors._junction import JunctionPrior
from leafletfa_scvi.priors._mixture import MixturePrior
from leafletfa_scvi.priors._reference import ReferenceFit
from leafletfa_scvi.priors._sites import SINGLE, LogNormalSite, bounded_exp

if TYPE_CHECKING:
    import torch

    from leafletfa_scvi import _choices

PRIORS: dict[_choices.JunctionPrior, type[ProgramPrior]] = {
    "mixture": MixturePrior,
    "junction": JunctionPrior,
    "global": GlobalPrior,
}
"""Priors of psi by the names that ``LeafletFAModel(junction_prior=)`` takes."""


def program_prior(
    name: _choices.JunctionPrior,
    mean_psi: torch.Tensor,
    atse: torch.Tensor | None = None,
    shares_reads: bool = False,
) -> PriorFit:
    """Make the initial prior for :func:`leafletfa_scvi.inference.fit_em`.

    Parameters
    ----------
    name
        Name of the prior.
    mean_psi
        ``(P,)`` mean PSI of each junction.
    atse
        ``(P,)`` 0-based ATSE of each junction. If None, each junction is its own.
    shares_reads
        Whether the junctions of an ATSE share its reads (Dirichlet-multinomial).
    """
    likelihood = LIKELIHOODS["dirichlet-multinomial" if shares_reads else "betabinomial"]
    return PRIORS[name](likelihood).first_fit(mean_psi, atse)


__all__ = [
    "EPS",
    "PRIORS",
    "SINGLE",
    "GlobalPrior",
    "JunctionPrior",
    "LogNormalSite",
    "MixturePrior",
    "PriorFit",
    "ProgramPrior",
    "ReferenceFit",
    "ScalarPriors",
    "bounded_exp",
    "plates",
    "program_prior",
]

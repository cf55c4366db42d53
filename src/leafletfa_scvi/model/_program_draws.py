"""Draws of the programs, in which junctions of an ATSE exclude each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from leafletfa_scvi.distributions import GroupedDirichlet
from leafletfa_scvi.model._intervals import widened_programs
from leafletfa_scvi.ops import Groups

if TYPE_CHECKING:
    from leafletfa_scvi.model._base import SplicingModelBase

_MIN_CONCENTRATION = 1e-3
_MAX_CONCENTRATION = 1e6


class ProgramDraws:
    """Posterior of the programs as a scaled Dirichlet within each ATSE.

    The beta-binomial likelihood has a Beta posterior for each junction. Drawn independently,
    both junctions of an ATSE of two would have their own chance to differ, though PSI of one is
    1 minus that of the other. Here the PSI of an ATSE under a program are T Dirichlet(S m): T m
    are their posterior means, T is 1 or their sum, if that is larger, and S gives the sum of
    their variances. What is missing to a sum of 1 is the share of another junction. A junction
    without ATSE keeps its Beta posterior.

    Parameters
    ----------
    model
        Trained model.
    """

    def __init__(self, model: SplicingModelBase) -> None:
        inclusion, exclusion = widened_programs(model)
        groups = Groups(model.module.model.program_atse.cpu())
        concentration = inclusion + exclusion
        mean = inclusion / concentration
        variance = mean * (1.0 - mean) / (concentration + 1.0)
        scale = groups.sum(mean).clamp(min=1.0)
        self._scale = groups.spread(scale).float()
        share = mean / groups.spread(scale)
        rest = (1.0 - groups.sum(share)).clamp(min=0.0)
        of_one_read = scale.square() * groups.sum(share * (1.0 - share))
        size = (of_one_read / groups.sum(variance) - 1.0).nan_to_num(_MAX_CONCENTRATION)
        size = size.clamp(_MIN_CONCENTRATION, _MAX_CONCENTRATION)
        rows = torch.cat([groups.spread(size) * share, size * rest])
        index = torch.cat([groups.index, torch.arange(groups.n_groups, device="cpu")])
        rows = rows.clamp(min=_MIN_CONCENTRATION).float()
        self._dirichlet = GroupedDirichlet(rows, Groups(index), rows.shape[1])
        self._n_junctions = len(model.junction_names)

    def draw(self) -> torch.Tensor:
        """Draw the programs once, ``(P, K)`` float32, from torch's random state."""
        n = self._n_junctions
        drawn: torch.Tensor = self._dirichlet.sample()
        return drawn[:n] * self._scale[:n]

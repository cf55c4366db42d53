"""Dirichlet-multinomial: the junctions of an ATSE compete for its reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from leafletfa_scvi import ops
from leafletfa_scvi.distributions import GroupedDirichlet
from leafletfa_scvi.likelihoods._base import MAX_PROGRAM_PRECISION, Likelihood
from leafletfa_scvi.likelihoods._mean_psi import normalized_mean_psi, normalized_programs

if TYPE_CHECKING:
    from leafletfa_scvi.likelihoods._base import ProgramPosterior

_OFFSET = 0.2
_MIN_CONCENTRATION = 1e-2


class DirichletMultinomial(Likelihood):
    """Counts of an ATSE are Dirichlet-multinomial with parameters kappa p_j.

    Reads of an ATSE that belong to none of its junctions are those of an implicit further
    junction, a row after those of the data set.
    """

    name = "dirichlet-multinomial"
    shares_reads = True
    entries_type = ops.MultinomialEntries
    prior_sites = ("a",)
    program_parameters = ("psi_log_inclusion",)

    def program_atse(
        self, observed: ops.ObservedEntries | None, atse: np.ndarray | None, n_junctions: int
    ) -> np.ndarray:
        """Return the ATSE of each junction and of each implicit junction.

        Raises
        ------
        ValueError
            ATSE labels are missing.
        """
        if observed is None or atse is None:
            raise ValueError(
                "The Dirichlet-multinomial needs the ATSE of each junction, and no labels were "
                "registered: name their column, setup_anndata(adata, atse_key=...), or use "
                "likelihood='betabinomial'."
            )
        implicit = ops.implicit_junctions(observed, torch.from_numpy(atse)).numpy()
        joined: np.ndarray = np.r_[atse, implicit]
        return joined

    def entries(self, observed: ops.Entries, program_atse: torch.Tensor) -> ops.Entries:
        """Gather the entries by ATSE.

        Implicit junctions are those of the training data. If an ATSE has more reads in a cell than
        its junctions (a query with junctions that the reference lacks), and no implicit junction,
        its total is reduced to the reads of the junctions in the model.
        """
        if isinstance(observed, ops.MultinomialEntries):
            return observed
        n = observed.n_junctions
        atse = program_atse.to(observed.device)
        gathered = ops.multinomial_entries(observed, atse[:n], atse[n:], surplus="drop")
        gathered.log_coefficient()  # computed here once, for all blocks selected from it
        return gathered

    def mean_psi(self, entries: ops.Entries) -> torch.Tensor:
        """Compute mean PSI, which sums to one in an ATSE; see :func:`normalized_mean_psi`."""
        assert isinstance(entries, ops.MultinomialEntries)
        return normalized_mean_psi(entries)

    def complete_programs(self, psi: torch.Tensor, entries: ops.Entries) -> torch.Tensor:
        """Extend to implicit junctions and normalize: see :func:`normalized_programs`."""
        assert isinstance(entries, ops.MultinomialEntries)
        return normalized_programs(psi, entries)

    def observed_rows(self, observed: torch.Tensor, program_atse: torch.Tensor) -> torch.Tensor:
        """Find the rows whose ATSE was observed."""
        return observed[program_atse]

    def n_dispersions(self, n_junctions: int, n_atses: int) -> int:
        """Return the number of ATSEs."""
        return n_atses

    def junction_concentration(
        self, kappa: torch.Tensor, junction_atse: torch.Tensor
    ) -> torch.Tensor:
        """Return the concentration of the ATSE of each junction."""
        return kappa[junction_atse] if kappa.ndim else kappa

    def sum_by_dispersion(self, values: torch.Tensor, program_atse: torch.Tensor) -> torch.Tensor:
        """Sum over the junctions of each ATSE."""
        n_atses = int(program_atse.max()) + 1
        return values.new_zeros(n_atses).index_add_(0, program_atse, values)

    def information(
        self, scored: ops.ObservedEntries, p: torch.Tensor, q: torch.Tensor
    ) -> torch.Tensor:
        """Compute the observed information y / p^2.

        It replaces the expected information n / p, which would be a sum over all junctions, as
        only junctions with reads are stored.
        """
        return scored.count.double() / p.square()

    def program_information(self, information: np.ndarray, p: np.ndarray) -> np.ndarray:
        """Compute the information of the margin of a junction, n / (p q)."""
        return information / (1.0 - p)

    def program_posterior(
        self, concentrations: tuple[torch.Tensor, ...], groups: ops.Groups, n_programs: int
    ) -> ProgramPosterior:
        """Return a Dirichlet within each ATSE."""
        (concentration,) = concentrations
        return GroupedDirichlet(concentration, groups, n_programs)

    def marginal(self, posterior: ProgramPosterior) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the Beta marginals of the Dirichlet.

        The second concentration is 0 for the only junction of an ATSE, whose PSI is 1.
        """
        assert isinstance(posterior, GroupedDirichlet)
        groups, concentration = posterior.groups, posterior.concentration
        single = groups.spread(groups.sum(torch.ones_like(posterior.unexpanded[:, :1]))) == 1
        others = (posterior.total - concentration).clamp(min=_MIN_CONCENTRATION)
        return concentration, others.masked_fill(single, 0.0)

    def first_concentrations(
        self,
        psi: torch.Tensor,
        information: torch.Tensor,
        prior_concentration: torch.Tensor,
        program_atse: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """See :func:`dirichlet_programs_from_curvature`."""
        groups = ops.Groups(program_atse)
        return (dirichlet_programs_from_curvature(psi, information, prior_concentration, groups),)

    def draw_programs(
        self, concentrations: tuple[torch.Tensor, torch.Tensor], program_atse: torch.Tensor
    ) -> torch.Tensor:
        """Draw Gamma variables and normalize them within each ATSE."""
        drawn = torch._standard_gamma(concentrations[0]).clamp(min=1e-10)
        return drawn / ops.sum_within_groups(drawn, program_atse)


def dirichlet_programs_from_curvature(
    psi: torch.Tensor,
    information: torch.Tensor,
    prior_concentration: torch.Tensor,
    groups: ops.Groups,
) -> torch.Tensor:
    """Compute concentrations ``(P', K)`` of the first posterior of programs that share reads.

    A Dirichlet(S psi) has the information S psi_j (1 - psi_j) about the softmax coordinates of an
    ATSE; S is the trace of that of the data over the trace of that of one read, plus the
    concentration of the prior, in [1, 400].

    Parameters
    ----------
    psi
        ``(P', K)`` programs, summing to one within each ATSE.
    information
        ``(P', K)`` information of the data about each, taken as free.
    prior_concentration
        ``(P', 1)`` or ``(P', K)``, sum of the concentrations of the prior of the ATSE.
    groups
        ATSE of each row.
    """
    square = psi.square()
    others = groups.spread(groups.sum(square)) - square
    data = groups.sum(information * square * ((1.0 - psi).square() + others))
    one_read = groups.sum(psi * (1.0 - psi)).clamp(min=1e-6)
    total = groups.spread(data / one_read) + prior_concentration
    size = groups.spread(groups.sum(torch.ones_like(psi[:, :1])))
    return _OFFSET / size + total.clamp(1.0, MAX_PROGRAM_PRECISION) * psi

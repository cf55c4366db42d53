"""Interface of the likelihoods of junction counts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import torch

    from leafletfa_scvi import ops
    from leafletfa_scvi.distributions import Beta, GroupedDirichlet

    ProgramPosterior: TypeAlias = Beta | GroupedDirichlet

MAX_PROGRAM_PRECISION = 400.0
"""Largest precision of the first posterior of a program."""


class Likelihood(ABC):
    """Distribution of junction counts given expected PSI.

    It decides on the entries that its kernels take, on the rows of the programs, and on the family
    of their posterior. Objects have no state; :data:`leafletfa_scvi.likelihoods.LIKELIHOODS` holds
    one of each.
    """

    name: ClassVar[str]
    """Name that ``LeafletFAModel(likelihood=)`` takes."""
    has_concentration: ClassVar[bool] = True
    """If True, counts vary more than those of a binomial, with a concentration kappa."""
    shares_reads: ClassVar[bool] = False
    """If True, junctions compete for the reads of their ATSE: programs sum to one in it."""
    entries_type: ClassVar[type[ops.ObservedEntries | ops.MultinomialEntries]]
    """Type of the entries that its kernels take."""
    prior_sites: ClassVar[tuple[str, ...]]
    """Names of the parameters of a program's prior."""
    program_parameters: ClassVar[tuple[str, ...]]
    """Parameters of the guide, whose exponentials are the concentrations of the programs."""

    # Data

    @abstractmethod
    def program_atse(
        self, observed: ops.ObservedEntries | None, atse: np.ndarray | None, n_junctions: int
    ) -> np.ndarray:
        """Return the ATSE of each row of the programs, ``(P',)`` int64, 0-based.

        Parameters
        ----------
        observed
            Observed entries of the training data.
        atse
            ``(P,)`` ATSE of each junction; None without labels.
        n_junctions
            Number of junctions P.
        """

    @abstractmethod
    def entries(self, observed: ops.Entries, program_atse: torch.Tensor) -> ops.Entries:
        """Convert observed entries to those that the kernels take, unless already converted.

        Parameters
        ----------
        observed
            Observed entries of any cells.
        program_atse
            ``(P',)`` ATSE of each row of the programs.
        """

    @abstractmethod
    def mean_psi(self, entries: ops.Entries) -> torch.Tensor:
        """Compute the mean PSI over cells of each row of the programs, ``(P',)``."""

    @abstractmethod
    def complete_programs(self, psi: torch.Tensor, entries: ops.Entries) -> torch.Tensor:
        """Extend programs of the junctions, ``(P, K)``, to all rows, ``(P', K)``."""

    def observed_rows(self, observed: torch.Tensor, program_atse: torch.Tensor) -> torch.Tensor:
        """Find the rows of the programs that were observed, ``(P',)`` bool.

        Parameters
        ----------
        observed
            ``(D,)`` bool, junctions (ATSEs, if they share reads) that were observed.
        program_atse
            ``(P',)`` ATSE of each row.
        """
        return observed

    def composite_weight(self, atse: torch.Tensor) -> torch.Tensor | None:
        """Compute the weight ``(P,)`` of each junction's information; None if all are 1.

        Parameters
        ----------
        atse
            ``(P,)`` 0-based ATSE of each junction.
        """
        return None

    # Concentration

    def n_dispersions(self, n_junctions: int, n_atses: int) -> int:
        """Count the concentrations if each junction (ATSE, if it shares its reads) has one."""
        return n_junctions

    def junction_concentration(
        self, kappa: torch.Tensor, junction_atse: torch.Tensor
    ) -> torch.Tensor:
        """Return the concentration of each junction, ``(P,)``, from all concentrations."""
        return kappa

    def sum_by_dispersion(self, values: torch.Tensor, program_atse: torch.Tensor) -> torch.Tensor:
        """Sum values of the rows of the programs, ``(P',)``, that have one concentration.

        Returns
        -------
        ``(D,)``, one per junction (ATSE, if junctions share its reads).
        """
        return values

    # Curvature

    @abstractmethod
    def information(
        self, scored: ops.ObservedEntries, p: torch.Tensor, q: torch.Tensor
    ) -> torch.Tensor:
        """Compute the information of binomial (multinomial) entries about p, ``(nnz,)`` float64.

        Parameters
        ----------
        scored
            Entries that the kernels score.
        p, q
            ``(nnz,)`` float64 probability of each and its complement.
        """

    def program_information(self, information: np.ndarray, p: np.ndarray) -> np.ndarray:
        """Return the information of entries about programs of their junction, ``(nnz,)``."""
        return information

    # Posterior of the programs

    @abstractmethod
    def program_posterior(
        self, concentrations: tuple[torch.Tensor, ...], groups: ops.Groups, n_programs: int
    ) -> ProgramPosterior:
        """Return the posterior of programs with the given concentrations."""

    @abstractmethod
    def marginal(self, posterior: ProgramPosterior) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the concentrations of the Beta marginal of each entry of psi, ``(P', K)`` each.

        The second is 0 if psi is known to be 1.
        """

    @abstractmethod
    def first_concentrations(
        self,
        psi: torch.Tensor,
        information: torch.Tensor,
        prior_concentration: torch.Tensor,
        program_atse: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Compute concentrations ``(P', K)`` of the first posterior from the curvature.

        Parameters
        ----------
        psi
            ``(P', K)`` programs.
        information
            ``(P', K)`` information of the data about each.
        prior_concentration
            ``(P', 1)`` or ``(P', K)``, sum of the concentrations of the prior.
        program_atse
            ``(P',)`` ATSE of each row.
        """

    @abstractmethod
    def draw_programs(
        self, concentrations: tuple[torch.Tensor, torch.Tensor], program_atse: torch.Tensor
    ) -> torch.Tensor:
        """Draw programs ``(P', K)`` of given Beta concentrations, for and against."""

"""Interface of the priors of psi, in EM and in Pyro."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import pyro
import pyro.distributions as dist
import torch

from leafletfa_scvi.distributions import PRIOR_CONCENTRATIONS, Beta, WithReads
from leafletfa_scvi.priors._fit import PriorFit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leafletfa_scvi.likelihoods import Likelihood

EPS = 1e-3
"""Added to concentrations, so that no Beta or Dirichlet is improper in float32."""
_MIN_MEAN = 1e-3
_FIRST_CONCENTRATION = 3.0


ScalarPriors: TypeAlias = dict[str, Callable[[], dist.Gamma | dist.LogNormal]]
"""Prior of each positive scalar site, by the site's name."""


class ProgramPrior(ABC):
    """Prior of the programs psi.

    EM fits it as a :class:`PriorFit`, which calls this class for all that differs between kinds
    of prior. In Pyro it adds its buffers to the generative model and its parameters to the guide,
    samples psi, and is initialized from the fit.

    Parameters
    ----------
    likelihood
        Likelihood, whose programs are independent (Beta) or sum to one within ATSEs (Dirichlet).
    """

    name: ClassVar[str]
    """Name that ``LeafletFAModel(junction_prior=)`` takes."""
    axes: ClassVar[Mapping[str, tuple[str | None, ...]]] = {}
    """Axes of its parameters and buffers; see :mod:`leafletfa_scvi.module`."""
    samples_psi_jointly: ClassVar[bool]
    """If True, psi is one site without plates, as its prior does not factorize over junctions."""

    def __init__(self, likelihood: Likelihood) -> None:
        self.likelihood = likelihood

    # EM

    def first_fit(self, mean_psi: torch.Tensor, atse: torch.Tensor | None = None) -> PriorFit:
        """Make the initial prior, of intermediate concentration, around the mean PSI.

        Parameters
        ----------
        mean_psi
            ``(P',)`` mean PSI of each row of the programs.
        atse
            ``(P',)`` 0-based ATSE of each row. If None, each row is its own.
        """
        device = mean_psi.device
        rows = torch.arange(len(mean_psi), device=device)
        atse = rows if atse is None else atse.to(device, torch.int64)
        mean = self._prior_mean(mean_psi.float().clamp(_MIN_MEAN, 1.0 - _MIN_MEAN))
        weights = mean.new_full((len(PRIOR_CONCENTRATIONS),), 1.0 / len(PRIOR_CONCENTRATIONS))
        concentration = mean.new_full((len(mean), 1), _FIRST_CONCENTRATION)
        fit = PriorFit(self, mean, concentration, atse, weights)
        if not self.likelihood.shares_reads:
            return fit
        return PriorFit(self, fit.normalized(mean[:, None])[:, 0], concentration, atse, weights)

    def _prior_mean(self, mean_psi: torch.Tensor) -> torch.Tensor:
        """Compute the prior mean of each row, before it is normalized."""
        return mean_psi

    @abstractmethod
    def groups_of_concentrations(self, atse: torch.Tensor) -> torch.Tensor:
        """Return the 0-based group ``(P',)`` of each row: a group has one concentration."""

    def posterior_concentration(
        self, posterior: torch.Tensor, total: torch.Tensor
    ) -> torch.Tensor:
        """Summarize the posterior by one concentration, ``(P', 1)`` or ``(P', K)``.

        Parameters
        ----------
        posterior
            ``(P', R)`` float64 probabilities of each of :data:`PRIOR_CONCENTRATIONS`.
        total
            ``(P', K)`` float64 table counts.
        """
        log_grid = posterior.new_tensor(PRIOR_CONCENTRATIONS).log()
        return (posterior @ log_grid).exp()[:, None]

    # Generative model

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of its log-normal sites that are not scalars."""
        return ()

    def scalar_priors(self, one: torch.Tensor) -> ScalarPriors:
        """Return the priors of its positive scalar sites, by name."""
        return {}

    def add_to_model(self, model: Any) -> None:
        """Register its buffers with the generative model."""
        return

    @abstractmethod
    def sample(self, model: Any, scalars: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Sample its parameters and psi, ``(P', K)``.

        Parameters
        ----------
        model
            The generative model.
        scalars
            Values of the scalar sites.
        """

    def sample_psi(self, model: Any, prior: dist.TorchDistribution) -> torch.Tensor:
        """Sample psi, ``(P', K)``, from its prior and the pseudo-reads of a reference, if any."""
        reads = model.reference_reads
        if reads is not None:
            return pyro.sample("psi", WithReads(prior, *reads))
        if not isinstance(prior, Beta):
            return pyro.sample("psi", prior)
        rows, programs = plates(model.n_rows, model.n_programs)
        with rows, programs:
            return pyro.sample("psi", prior)

    # Guide

    @abstractmethod
    def add_to_guide(self, guide: Any, n_rows: int) -> None:
        """Register its parameters with the guide; programs have ``n_rows`` rows."""

    @abstractmethod
    def sample_guide(self, guide: Any, n_rows: int) -> None:
        """Sample its parameters from the guide."""

    @abstractmethod
    def initialize(self, model: Any, guide: Any, fit: PriorFit) -> None:
        """Move buffers and guide to a fit of the EM."""

    # Posterior

    @abstractmethod
    def trained_fit(self, model: Any, guide: Any) -> PriorFit:
        """Return the prior at the posterior means of its parameters.

        The mixture has one concentration for each ATSE, but does not keep it: it is to be fitted
        by :meth:`.PriorFit.refit`.
        """

    @abstractmethod
    def unobserved_programs(self, model: Any, guide: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute concentrations ``(P', 1)`` for and against of unobserved junctions.

        They are those of the prior at the posterior means of its parameters.
        """

    def summary(
        self, guide: Any
    ) -> tuple[dict[str, dist.LogNormal], tuple[list[str], dist.Dirichlet] | None]:
        """Return posteriors for the summary of the model.

        Returns
        -------
        Those of positive parameters by name, and names and posterior of weights, if it has some.
        """
        return {}, None


def plates(n_rows: int, n_programs: int) -> tuple[pyro.plate, pyro.plate]:
    """Make the plates of psi if it is independent over junctions and programs."""
    return pyro.plate("junctions", n_rows, dim=-2), pyro.plate("programs", n_programs, dim=-1)

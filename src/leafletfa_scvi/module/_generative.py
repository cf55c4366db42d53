"""The generative model: Beta-Dirichlet factors of junction counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from leafletfa_scvi import ops
from leafletfa_scvi.distributions import (
    PRIOR_CONCENTRATIONS,
    Beta,
    ConcentrationMixture,
    Dirichlet,
    GroupedDirichlet,
    mixture_constants,
)
from leafletfa_scvi.module._composite import weigh_evidence

if TYPE_CHECKING:
    from collections.abc import Callable

    from leafletfa_scvi._choices import (
        ConcentrationPrior,
        Dispersion,
        JunctionPrior,
        Likelihood,
    )
    from leafletfa_scvi.ops import MultinomialEntries, ObservedEntries

EPS = 1e-3
"""Added to a and b, so that no Beta of psi is improper in float32."""
MIN_MEAN = 1e-3
"""Least distance of a mean of the mixture from 0 and 1, where junctions do not share reads."""


class SplicingGenerativeModel(nn.Module):
    """Pyro model of the observed entries of a minibatch of cells.

    Parameters
    ----------
    n_obs
        Number of cells C.
    n_junctions
        Number of junctions P.
    n_programs
        Number of programs K.
    likelihood
        ``"betabinomial"``, ``"binomial"``, or ``"dirichlet-multinomial"``, in which the junctions
        of an ATSE share its reads and programs sum to one within it.
    dispersion
        ``"global"``: one concentration kappa; ``"junction"``: one for each junction (ATSE for
        the Dirichlet-multinomial), log-normal about a common median.
    junction_prior
        ``"junction"``: each junction has its own Beta prior, or each column its own a of the
        Dirichlet; ``"global"``: all share one; ``"mixture"``: each ATSE has a strength around
        the mean usage of its junctions, see :class:`ConcentrationMixture`.
    concentration
        Fixed kappa, maybe infinite; None to learn it.
    activity_concentration
        Fixed delta; None to learn it.
    concentration_prior
        Prior of a learned kappa, or of the median: ``"weak"``, LogNormal(log 10, 2), or
        ``"leafletfa"``, Gamma(10, 10) as published.
    columns
        ``(P',)`` int64, 0-based ATSE of each row of the programs: the P junctions and then, for
        the Dirichlet-multinomial, the implicit ones. None makes each junction its own ATSE.

    Notes
    -----
    ``activity_weight`` multiplies the evidence about activities; see :func:`weigh_evidence`.

    The means of the mixture are no site: they are set by :meth:`set_program_mean` from the reads
    themselves (empirical Bayes) and saved with the parameters.
    """

    one: torch.Tensor
    columns: torch.Tensor
    program_mean: torch.Tensor
    activity_weight: torch.Tensor

    def __init__(
        self,
        n_obs: int,
        n_junctions: int,
        n_programs: int,
        likelihood: Likelihood = "betabinomial",
        dispersion: Dispersion = "global",
        junction_prior: JunctionPrior = "junction",
        concentration: float | None = None,
        activity_concentration: float | None = None,
        concentration_prior: ConcentrationPrior = "weak",
        columns: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        self.n_obs = n_obs
        self.n_junctions = n_junctions
        self.n_programs = n_programs
        self.likelihood = likelihood
        self.dispersion = dispersion
        self.junction_prior = junction_prior
        self.concentration = concentration
        self.activity_concentration = activity_concentration
        self.concentration_prior = concentration_prior
        if columns is None:
            columns = torch.arange(n_junctions, device="cpu")
        self.n_columns = len(columns)
        one = torch.ones((), dtype=torch.float32, device=columns.device)
        self.register_buffer("one", one, persistent=False)
        self.register_buffer("columns", columns, persistent=False)
        self.register_buffer("activity_weight", one.clone())
        self._groups: ops.Groups | None = None
        self._constants: tuple[torch.Tensor, int, torch.Tensor] | None = None
        if junction_prior == "mixture":
            size = ops.Groups(columns).sum(one.expand(self.n_columns, 1))[columns, 0]
            mean = 1.0 / size if self.shared else torch.full_like(size, 0.5)
            self.register_buffer("program_mean", mean)

    @property
    def shared(self) -> bool:
        """Whether the junctions of an ATSE share its reads."""
        return self.likelihood == "dirichlet-multinomial"

    @property
    def learns_concentration(self) -> bool:
        """Whether kappa is in the model and not fixed."""
        return self.likelihood != "binomial" and self.concentration is None

    @property
    def n_dispersions(self) -> int:
        """Number of kappas: of junctions or ATSEs, or a single one."""
        if self.dispersion == "global":
            return 1
        return self.groups.n_groups if self.shared else self.n_junctions

    @property
    def prior_sites(self) -> tuple[str, ...]:
        """Sites of the Beta priors, a and b, or of the Dirichlet, a; none for the mixture."""
        if self.junction_prior == "mixture":
            return ()
        return ("a",) if self.shared else ("a", "b")

    @property
    def groups(self) -> ops.Groups:
        """ATSEs of the rows of the programs."""
        if self._groups is None or self._groups.device != self.columns.device:
            self._groups = ops.Groups(self.columns)
        return self._groups

    @torch.no_grad()
    def set_program_mean(self, mean: torch.Tensor) -> None:
        """Put the means ``(P',)`` of the mixture, at least 1e-3 from 0 and, unless shared, 1."""
        mean = mean.to(self.program_mean).reshape(-1).clamp(MIN_MEAN, 1.0 - MIN_MEAN)
        if self.shared:
            mean = mean / self.groups.spread(self.groups.sum(mean[:, None]))[:, 0]
        self.program_mean.copy_(mean)

    def scalar_priors(self) -> dict[str, Callable[[], dist.Distribution]]:
        """Prior of each positive scalar site, by the site's name."""
        one = self.one
        hyper = [f"{site}_{part}" for site in self.prior_sites for part in ("shape", "rate")]
        priors: dict[str, Callable[[], dist.Distribution]] = {
            name: lambda: dist.Gamma(one, one) for name in (*hyper, "alpha_pi")
        }
        if self.activity_concentration is None:
            priors["delta"] = lambda: dist.Gamma(2.0 * one, 2.0 * one)
        if self.learns_concentration:
            name = "kappa" if self.dispersion == "global" else "kappa_median"
            if self.concentration_prior == "weak":
                priors[name] = lambda: dist.LogNormal(one * 2.302585, 2.0 * one)
            else:
                priors[name] = lambda: dist.Gamma(10.0 * one, 10.0 * one)
            if self.dispersion == "junction":
                priors["kappa_spread"] = lambda: dist.Gamma(2.0 * one, 2.0 * one)
        return priors

    def fixed(self, name: str) -> float | None:
        """Value of kappa or delta where it is fixed; None where learned or not in the model."""
        if name == "kappa" and self.concentration == float("inf"):
            return None
        return {"kappa": self.concentration, "delta": self.activity_concentration}.get(name)

    def _site(self, drawn: dict[str, torch.Tensor], name: str) -> torch.Tensor | None:
        value = self.fixed(name)
        return drawn.get(name) if value is None else self.one * value

    def junction_plate(self) -> pyro.plate:
        """Plate of the priors of psi: one per row of the programs, or a single one for all."""
        size = self.n_columns if self.junction_prior == "junction" else 1
        return pyro.plate("junction_priors", size, dim=-2)

    def dispersion_plate(self) -> pyro.plate:
        """Plate of the concentrations where each junction or ATSE has its own."""
        return pyro.plate("dispersions", self.n_dispersions, dim=-1)

    def forward(self, cells: torch.Tensor, entries: ObservedEntries | MultinomialEntries) -> None:
        """Draw every site and score the observed entries.

        Parameters
        ----------
        cells
            ``(B,)`` positions of the minibatch's cells among all C.
        entries
            Observed entries of these cells; ATSE by ATSE for the Dirichlet-multinomial.
        """
        scalars = {
            name: pyro.sample(name, prior()) for name, prior in self.scalar_priors().items()
        }
        k, one = self.n_programs, self.one
        pi = pyro.sample("pi", dist.Dirichlet(scalars["alpha_pi"] / k * one.expand(k)))
        psi = self._programs(scalars)
        kappa, delta = self._site(scalars, "kappa"), self._site(scalars, "delta")
        if self.learns_concentration and self.dispersion == "junction":
            with self.dispersion_plate():
                median, spread = scalars["kappa_median"], scalars["kappa_spread"]
                kappa = pyro.sample("kappa", dist.LogNormal(median.log(), spread))
        assert delta is not None
        with pyro.plate("cells", self.n_obs, subsample=cells, dim=-1):
            phi = pyro.sample("phi", Dirichlet(activity_prior(pi, delta)))
            weighted = weigh_evidence(phi, self.activity_weight)
            # As pyro.factor, but unchecked: the training plan reports a loss that is not finite.
            reads = dist.Unit(
                ops.log_likelihood(entries, weighted, psi, kappa), validate_args=False
            )
            pyro.sample("reads", reads, obs=reads.sample(), infer={"is_auxiliary": True})

    def _programs(self, scalars: dict[str, torch.Tensor]) -> torch.Tensor:
        """Draw psi ``(P', K)`` and what its prior has of its own."""
        if self.junction_prior == "mixture":
            flat = self.one.expand(len(PRIOR_CONCENTRATIONS))
            weights = pyro.sample("strength_weights", dist.Dirichlet(flat))
            return pyro.sample("psi", self.mixture(weights))
        with self.junction_plate():
            a, *b = (
                pyro.sample(
                    name,
                    dist.Gamma(scalars[f"{name}_shape"], scalars[f"{name}_rate"]).expand([1, 1]),
                )
                for name in self.prior_sites
            )
        if self.shared:
            return pyro.sample("psi", GroupedDirichlet(a + EPS, self.groups, self.n_programs))
        with (
            pyro.plate("junctions", self.n_columns, dim=-2),
            pyro.plate("programs", self.n_programs, dim=-1),
        ):
            return pyro.sample("psi", Beta(a + EPS, b[0] + EPS))

    def mixture(self, weights: torch.Tensor) -> ConcentrationMixture:
        """Prior of psi with given weights ``(R,)`` of the strengths."""
        mean = self.program_mean
        known = self._constants
        if known is None or known[0] is not mean or known[1] != mean._version:
            constants = mixture_constants(mean, self.groups, self.shared)
            known = self._constants = (mean, mean._version, constants)
        return ConcentrationMixture(
            mean, weights, self.groups, self.n_programs, self.shared, known[2]
        )


def activity_prior(pi: torch.Tensor, delta: torch.Tensor | float) -> torch.Tensor:
    """Concentrations ``(K,)`` of the Dirichlet prior of activities, delta pi, at least 1e-3."""
    return (pi * delta).clamp(min=EPS)

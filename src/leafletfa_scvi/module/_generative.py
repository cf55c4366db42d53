"""The generative model: Beta-Dirichlet factors of junction counts (DESIGN: section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from leafletfa_scvi import ops
from leafletfa_scvi.module._distributions import Beta, Dirichlet

if TYPE_CHECKING:
    from collections.abc import Callable

    from leafletfa_scvi.ops import ObservedEntries

Likelihood = Literal["betabinomial", "binomial"]
JunctionPrior = Literal["junction", "global"]
ConcentrationPrior = Literal["weak", "leafletfa"]

EPS = 1e-3
"""Added to a and b, so that no Beta of psi is improper in float32."""


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
        ``"betabinomial"`` or ``"binomial"``.
    junction_prior
        ``"junction"``: each junction has its own Beta prior; ``"global"``: all share one.
    concentration
        Fixed kappa; None to learn it.
    activity_concentration
        Fixed delta; None to learn it.
    concentration_prior
        Prior of a learned kappa: ``"weak"``, LogNormal(log 10, 2), or ``"leafletfa"``,
        Gamma(10, 10) as published.
    """

    one: torch.Tensor

    def __init__(
        self,
        n_obs: int,
        n_junctions: int,
        n_programs: int,
        likelihood: Likelihood = "betabinomial",
        junction_prior: JunctionPrior = "junction",
        concentration: float | None = None,
        activity_concentration: float | None = None,
        concentration_prior: ConcentrationPrior = "weak",
    ) -> None:
        super().__init__()
        self.n_obs = n_obs
        self.n_junctions = n_junctions
        self.n_programs = n_programs
        self.likelihood = likelihood
        self.junction_prior = junction_prior
        self.concentration = concentration
        self.activity_concentration = activity_concentration
        self.concentration_prior = concentration_prior
        self.register_buffer("one", torch.ones(()), persistent=False)

    def scalar_priors(self) -> dict[str, Callable[[], dist.Distribution]]:
        """Prior of each positive scalar site, by the site's name."""
        one = self.one
        priors: dict[str, Callable[[], dist.Distribution]] = {
            name: lambda: dist.Gamma(one, one)
            for name in ("a_shape", "a_rate", "b_shape", "b_rate", "alpha_pi")
        }
        if self.activity_concentration is None:
            priors["delta"] = lambda: dist.Gamma(2.0 * one, 2.0 * one)
        if self.likelihood == "betabinomial" and self.concentration is None:
            if self.concentration_prior == "weak":
                priors["kappa"] = lambda: dist.LogNormal(one * 2.302585, 2.0 * one)
            else:
                priors["kappa"] = lambda: dist.Gamma(10.0 * one, 10.0 * one)
        return priors

    def fixed(self, name: str) -> float | None:
        """Value of kappa or delta where it is fixed; None where learned or not in the model."""
        return {"kappa": self.concentration, "delta": self.activity_concentration}.get(name)

    def _site(self, drawn: dict[str, torch.Tensor], name: str) -> torch.Tensor | None:
        value = self.fixed(name)
        return drawn.get(name) if value is None else self.one * value

    def junction_plate(self) -> pyro.plate:
        """Plate of the Beta priors: one per junction, or a single one for all."""
        size = self.n_junctions if self.junction_prior == "junction" else 1
        return pyro.plate("junction_priors", size, dim=-2)

    def forward(self, cells: torch.Tensor, entries: ObservedEntries) -> None:
        """Draw every site and score the observed entries.

        Parameters
        ----------
        cells
            ``(B,)`` positions of the minibatch's cells among all C.
        entries
            Observed entries of these cells.
        """
        scalars = {
            name: pyro.sample(name, prior()) for name, prior in self.scalar_priors().items()
        }
        k, one = self.n_programs, self.one
        pi = pyro.sample("pi", dist.Dirichlet(scalars["alpha_pi"] / k * one.expand(k)))
        with self.junction_plate():
            a = pyro.sample("a", dist.Gamma(scalars["a_shape"], scalars["a_rate"]).expand([1, 1]))
            b = pyro.sample("b", dist.Gamma(scalars["b_shape"], scalars["b_rate"]).expand([1, 1]))
        with pyro.plate("junctions", self.n_junctions, dim=-2), pyro.plate("programs", k, dim=-1):
            psi = pyro.sample("psi", Beta(a + EPS, b + EPS))
        kappa, delta = self._site(scalars, "kappa"), self._site(scalars, "delta")
        assert delta is not None
        with pyro.plate("cells", self.n_obs, subsample=cells, dim=-1):
            phi = pyro.sample("phi", Dirichlet(activity_prior(pi, delta)))
            pyro.factor("reads", ops.log_likelihood(entries, phi, psi, kappa))


def activity_prior(pi: torch.Tensor, delta: torch.Tensor | float) -> torch.Tensor:
    """Concentrations ``(K,)`` of the Dirichlet prior of activities, delta pi, at least 1e-3."""
    return (pi * delta).clamp(min=EPS)

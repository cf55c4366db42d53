"""The generative model: Beta-Dirichlet factors of junction counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from leafletfa_scvi import ops
from leafletfa_scvi.distributions import Dirichlet
from leafletfa_scvi.likelihoods import LIKELIHOODS, BatchShift, Factors
from leafletfa_scvi.module._gradient_scale import scale_gradient
from leafletfa_scvi.priors import EPS, PRIORS

if TYPE_CHECKING:
    from leafletfa_scvi import _choices
    from leafletfa_scvi.inference import BatchEffects
    from leafletfa_scvi.ops import Entries
    from leafletfa_scvi.priors import ScalarPriors


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
        Name of the likelihood; see :data:`leafletfa_scvi.likelihoods.LIKELIHOODS`.
    dispersion
        ``"global"``: one concentration kappa; ``"junction"``: one for each junction (ATSE, if
        junctions share its reads), log-normal around a common median.
    junction_prior
        Name of the prior of psi; see :data:`leafletfa_scvi.priors.PRIORS`.
    concentration
        Fixed kappa, possibly infinite. If None, it is learned.
    activity_concentration
        Fixed delta. If None, it is learned.
    concentration_prior
        Prior of a learned kappa, or of the median: ``"weak"``, LogNormal(log 10, 2), or
        ``"leafletfa"``, Gamma(10, 10) as published.
    program_atse
        ``(P',)`` int64, 0-based ATSE of each row of the programs: the P junctions and then, if
        they share the reads of their ATSE, the implicit ones. If None, each junction is its own
        ATSE.
    n_batches
        Number of batches, each of which shifts the programs; see :class:`.BatchShift`.
    has_reference
        Whether programs have pseudo-reads of a reference, the buffers ``reference_inclusion`` and
        ``reference_exclusion``, in addition to their prior.

    Notes
    -----
    ``activity_weight`` scales the gradient of the activities; see :func:`scale_gradient`.
    """

    one: torch.Tensor
    program_atse: torch.Tensor
    program_mean: torch.Tensor
    reference_inclusion: torch.Tensor
    reference_exclusion: torch.Tensor
    activity_weight: torch.Tensor
    batch_shift: torch.Tensor
    batch_shift_variance: torch.Tensor
    batch_probability_zero: torch.Tensor

    def __init__(
        self,
        n_obs: int,
        n_junctions: int,
        n_programs: int,
        likelihood: _choices.Likelihood = "betabinomial",
        dispersion: _choices.Dispersion = "global",
        junction_prior: _choices.JunctionPrior = "junction",
        concentration: float | None = None,
        activity_concentration: float | None = None,
        concentration_prior: _choices.ConcentrationPrior = "weak",
        program_atse: torch.Tensor | None = None,
        n_batches: int = 1,
        has_reference: bool = False,
    ) -> None:
        super().__init__()
        self.n_obs = n_obs
        self.n_junctions = n_junctions
        self.n_programs = n_programs
        self.likelihood = LIKELIHOODS[likelihood]
        self.prior = PRIORS[junction_prior](self.likelihood)
        self.dispersion = dispersion
        self.concentration = concentration
        self.activity_concentration = activity_concentration
        self.concentration_prior = concentration_prior
        if program_atse is None:
            program_atse = torch.arange(n_junctions, device="cpu")
        self.n_rows = len(program_atse)
        one = torch.ones((), dtype=torch.float32, device=program_atse.device)
        self.register_buffer("one", one, persistent=False)
        self.register_buffer("program_atse", program_atse, persistent=False)
        self.register_buffer("activity_weight", one.clone())
        self._groups: ops.Groups | None = None
        self.prior.add_to_model(self)
        self.n_batches = n_batches
        if n_batches > 1:
            self._add_batches()
        self.has_reference = has_reference
        if has_reference:
            for name in ("reference_inclusion", "reference_exclusion"):
                self.register_buffer(name, one.new_zeros(self.n_rows, n_programs))

    def _add_batches(self) -> None:
        """Register the shifts of batches, which EM fits and training keeps."""
        zero = self.one.new_zeros(self.n_batches, self.n_rows)
        self.register_buffer("batch_shift", zero)
        self.register_buffer("batch_shift_variance", zero.clone())
        self.register_buffer("batch_probability_zero", torch.ones_like(zero))

    @property
    def shift(self) -> BatchShift | None:
        """Shifts of the programs in each batch; None with one batch."""
        if self.n_batches == 1:
            return None
        atse = self.program_atse if self.likelihood.shares_reads else None
        return BatchShift(self.batch_shift, atse)

    @torch.no_grad()
    def set_batch_effects(self, effects: BatchEffects) -> None:
        """Set the shifts of batches and what is known of them."""
        self.batch_shift.copy_(effects.shift.values)
        self.batch_shift_variance.copy_(effects.variance)
        self.batch_probability_zero.copy_(effects.probability_zero)

    @property
    def learns_concentration(self) -> bool:
        """If True, kappa is a parameter of the model; otherwise it is fixed or absent."""
        return self.likelihood.has_concentration and self.concentration is None

    @property
    def n_dispersions(self) -> int:
        """Number of kappas: of junctions or ATSEs, or a single one."""
        if self.dispersion == "global":
            return 1
        return self.likelihood.n_dispersions(self.n_junctions, self.groups.n_groups)

    @property
    def reference_reads(self) -> tuple[torch.Tensor, torch.Tensor | None] | None:
        """Pseudo-reads ``(P', K)`` for and against each program; None without a reference.

        The latter are None if junctions share reads.
        """
        if not self.has_reference:
            return None
        shares_reads = self.likelihood.shares_reads
        return self.reference_inclusion, None if shares_reads else self.reference_exclusion

    @property
    def groups(self) -> ops.Groups:
        """ATSEs of the rows of the programs."""
        if self._groups is None or self._groups.device != self.program_atse.device:
            self._groups = ops.Groups(self.program_atse)
        return self._groups

    def scalar_priors(self) -> ScalarPriors:
        """Return the prior of each positive scalar site, by the site's name."""
        one = self.one
        priors = self.prior.scalar_priors(one)
        priors["alpha_pi"] = lambda: dist.Gamma(one, one)
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
        """Return kappa or delta if it is fixed; None if it is learned or not in the model."""
        if name == "kappa" and self.concentration == float("inf"):
            return None
        return {"kappa": self.concentration, "delta": self.activity_concentration}.get(name)

    def _site(self, drawn: dict[str, torch.Tensor], name: str) -> torch.Tensor | None:
        value = self.fixed(name)
        return drawn.get(name) if value is None else self.one * value

    def dispersion_plate(self) -> pyro.plate:
        """Make the plate of the concentrations if each junction or ATSE has its own."""
        return pyro.plate("dispersions", self.n_dispersions, dim=-1)

    def forward(self, cells: torch.Tensor, entries: Entries) -> None:
        """Sample every site and score the observed entries.

        Parameters
        ----------
        cells
            ``(B,)`` positions of the minibatch's cells among all C.
        entries
            Entries of these cells, as the likelihood takes them.
        """
        scalars = {
            name: pyro.sample(name, prior()) for name, prior in self.scalar_priors().items()
        }
        k, one = self.n_programs, self.one
        pi = pyro.sample("pi", dist.Dirichlet(scalars["alpha_pi"] / k * one.expand(k)))
        psi = self.prior.sample(self, scalars)
        kappa, delta = self._site(scalars, "kappa"), self._site(scalars, "delta")
        if self.learns_concentration and self.dispersion == "junction":
            with self.dispersion_plate():
                median, spread = scalars["kappa_median"], scalars["kappa_spread"]
                kappa = pyro.sample("kappa", dist.LogNormal(median.log(), spread))
        assert delta is not None
        with pyro.plate("cells", self.n_obs, subsample=cells, dim=-1):
            phi = pyro.sample("phi", Dirichlet(activity_prior(pi, delta)))
            scaled = scale_gradient(phi, self.activity_weight)
            # As pyro.factor, but unchecked: the training plan reports a loss that is not finite.
            value = Factors(scaled, psi, kappa, self.shift).log_likelihood(entries)
            reads = dist.Unit(value, validate_args=False)
            pyro.sample("reads", reads, obs=reads.sample(), infer={"is_auxiliary": True})


def activity_prior(pi: torch.Tensor, delta: torch.Tensor | float) -> torch.Tensor:
    """Compute delta pi, the prior concentrations ``(K,)`` of activities, at least 1e-3."""
    return (pi * delta).clamp(min=EPS)

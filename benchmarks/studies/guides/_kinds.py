"""Guides over the package's generative model, and how each is started at one EM fit.

They differ in the posteriors of phi and psi alone; all other sites are the package's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from benchmarks.studies.guides._normal import LogitNormal, SoftmaxNormal, StickBreaking
from sklearn.utils.extmath import randomized_svd
from torch import nn

from leafletfa_scvi import inference
from leafletfa_scvi.distributions import Dirichlet
from leafletfa_scvi.inference._initialization import _residuals
from leafletfa_scvi.module import SplicingGuide
from leafletfa_scvi.module._generative import activity_prior
from leafletfa_scvi.priors import bounded_exp

if TYPE_CHECKING:
    from leafletfa_scvi.inference import EMResult
    from leafletfa_scvi.module import LeafletFAModule
    from leafletfa_scvi.ops import ObservedEntries

_FLOOR = 0.002
_OWN_INFORMATION = 0.25
_LEAST_SCALE, _MOST_SCALE = 0.02, 2.0
_HIDDEN, _PRETRAINING, _PRETRAINING_LR = 128, 300, 0.01


def _scale(log_scale: torch.Tensor) -> torch.Tensor:
    return log_scale.clamp(np.log(1e-3), np.log(5.0)).exp()


class NormalGuide(SplicingGuide):
    """Logit-normal psi, or Beta as in the package, and logistic-normal phi.

    ``phi_kind``: :class:`SoftmaxNormal` or :class:`StickBreaking`.
    """

    def __init__(
        self, module: LeafletFAModule, phi_kind: type[SoftmaxNormal | StickBreaking], psi: bool
    ) -> None:
        super().__init__(module.model)
        self.phi_kind, self.normal_psi = phi_kind, psi
        shape = self.phi_log.shape
        free = shape[1] - (phi_kind is StickBreaking)
        self.phi_loc = nn.Parameter(torch.zeros(shape[0], free))
        self.phi_log_scale = nn.Parameter(torch.zeros(shape[0], free))
        self.psi_loc = nn.Parameter(torch.zeros_like(self.psi_log_inclusion))
        self.psi_log_scale = nn.Parameter(torch.zeros_like(self.psi_log_inclusion))

    def phi(self, cells=slice(None)):
        return self.phi_kind(self.phi_loc[cells], _scale(self.phi_log_scale[cells]))

    def psi(self):
        if not self.normal_psi:
            return super().psi()
        return LogitNormal(self.psi_loc, _scale(self.psi_log_scale))

    @torch.no_grad()
    def start(self, fit: EMResult, entries: ObservedEntries) -> None:
        """Locations at the fit; precisions are the curvature in logits, with 1/4 of their own.

        Those of sticks have the variances of the logits of the sticks of the package's Dirichlet.
        """
        info = inference.information(entries, fit.factors)
        phi = fit.phi.clamp(min=_FLOOR)
        phi = phi / phi.sum(1, keepdim=True)
        if self.phi_kind is StickBreaking:
            rest = phi.flip(1).cumsum(1).flip(1)[:, 1:]
            loc = (phi[:, :-1] / rest).log()
            a = self.phi_log.exp()
            others = a.flip(1).cumsum(1).flip(1)[:, 1:]
            variance = torch.polygamma(1, a[:, :-1]) + torch.polygamma(1, others)
        else:
            loc = phi.log()
            curvature = phi.square() * info.activity + fit.activity_concentration * phi
            variance = 1.0 / (curvature + _OWN_INFORMATION)
        self.phi_loc.copy_(loc)
        self.phi_log_scale.copy_(variance.sqrt().clamp(_LEAST_SCALE, _MOST_SCALE).log())
        psi = fit.psi.clamp(_FLOOR, 1.0 - _FLOOR)
        own = psi * (1.0 - psi)
        curvature = own.square() * info.program + own * fit.prior.concentration
        self.psi_loc.copy_(psi.logit())
        spread = (curvature + _OWN_INFORMATION).rsqrt().clamp(_LEAST_SCALE, _MOST_SCALE)
        self.psi_log_scale.copy_(spread.log())


class EncoderGuide(SplicingGuide):
    """Dirichlet phi from a network of two layers; psi as in the package.

    It sees each cell's scores on 3 K components of centered, weighted PSI (the package's own for
    its start) and the log number of its entries, and gives the K log concentrations.
    """

    features: torch.Tensor

    def __init__(self, module: LeafletFAModule, entries: ObservedEntries) -> None:
        super().__init__(module.model)
        values = cell_features(entries, 3 * self.n_programs)
        self.register_buffer("features", values, persistent=False)
        self.encoder = nn.Sequential(
            nn.Linear(values.shape[1], _HIDDEN),
            nn.SiLU(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.SiLU(),
            nn.Linear(_HIDDEN, self.n_programs),
        )

    def phi(self, cells=slice(None)):
        return Dirichlet(bounded_exp(self.encoder(self.features[cells])))

    def start(self) -> None:
        """Fit the network to the package's start, by the divergence of one Dirichlet from it."""
        target = Dirichlet(self.phi_log.detach().exp())
        optimizer = torch.optim.Adam(self.encoder.parameters(), _PRETRAINING_LR)
        decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.05 ** (1.0 / _PRETRAINING))
        for _ in range(_PRETRAINING):
            optimizer.zero_grad()
            torch.distributions.kl_divergence(target, self.phi()).mean().backward()
            optimizer.step()
            decay.step()


def cell_features(entries: ObservedEntries, n_components: int) -> torch.Tensor:
    """Standardized scores of cells, ``(B, n_components + 1)``."""
    matrix = _residuals(entries, inference.junction_mean_psi(entries), "centered")
    n_components = min(n_components, min(matrix.shape) - 1)
    u, s, _ = randomized_svd(matrix, n_components, random_state=0)
    size = np.log1p(np.diff(matrix.indptr))[:, None]
    scores = np.concatenate([u * s / s[:1], size - size.mean()], 1)
    return torch.from_numpy(scores / np.maximum(scores.std(0), 1e-6)).float()


@torch.no_grad()
def start_from_tables(
    module: LeafletFAModule, fit: EMResult, entries: ObservedEntries
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Concentrations of phi, psi and 1 - psi: prior and table counts of the EM, as if known."""
    counts = inference.sweep(entries, fit.factors)
    alpha = activity_prior(fit.prevalence, fit.activity_concentration)
    return (
        alpha + counts.activity,
        fit.prior.inclusion + counts.inclusion,
        fit.prior.exclusion + counts.exclusion,
    )


@torch.no_grad()
def set_concentrations(
    guide: SplicingGuide, phi: torch.Tensor, inclusion: torch.Tensor, exclusion: torch.Tensor
) -> None:
    """Put the concentrations of the package's guide."""
    for parameter, values in (
        (guide.phi_log, phi),
        (guide.psi_log_inclusion, inclusion),
        (guide.psi_log_exclusion, exclusion),
    ):
        parameter.copy_(values.float().log())


def unstarted(module: LeafletFAModule) -> None:
    """Forget the start of every site but phi and psi."""
    kept = {"phi_log", "psi_log_inclusion", "psi_log_exclusion"}
    fresh = SplicingGuide(module.model).state_dict()
    started = module.guide.state_dict()
    state = {name: started[name] if name in kept else fresh[name] for name in started}
    module.guide.load_state_dict(state)

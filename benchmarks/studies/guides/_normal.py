"""Logistic-normal distributions for other guides: of programs, and two of activities.

Their divergences from the package's priors need means of log psi and log phi only. Where these
are integrals over one normal variable, 16 points of Gauss-Hermite quadrature take them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from pyro.distributions import TorchDistribution
from torch.distributions import Dirichlet, constraints
from torch.distributions.kl import register_kl
from torch.nn.functional import logsigmoid

from leafletfa_scvi.distributions import ConcentrationMixture

_NODES, _WEIGHTS = (torch.from_numpy(x).float() for x in np.polynomial.hermite_e.hermegauss(16))
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_DRAWS = 400
"""Draws for moments and quantiles without a closed form."""
_EDGE = 1e-7


def _points(loc: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return loc[..., None] + scale[..., None] * _NODES


def _entropy(scale: torch.Tensor) -> torch.Tensor:
    """Of independent normal variables."""
    return scale.log() + 0.5 * math.log(2.0 * math.pi * math.e)


class LogitNormal(TorchDistribution):
    """Programs ``(P, K)`` whose logits are independent and normal, as one event."""

    arg_constraints: dict[str, Any] = {}
    has_rsample = True
    support = constraints.independent(constraints.unit_interval, 2)

    def __init__(self, loc: torch.Tensor, scale: torch.Tensor) -> None:
        self.loc, self.scale = loc, scale
        super().__init__(torch.Size(), loc.shape, validate_args=False)

    def to_event(self, reinterpreted_batch_ndims: int | None = None) -> LogitNormal:
        """Itself: programs are one event already."""
        return self

    def rsample(self, sample_shape: Any = ()) -> torch.Tensor:
        """Draws, kept from 0 and 1 by 1e-7."""
        noise = torch.randn(*sample_shape, *self.loc.shape)
        return (self.loc + self.scale * noise).sigmoid().clamp(_EDGE, 1.0 - _EDGE)

    @property
    def mean(self) -> torch.Tensor:
        """Mean programs."""
        return _points(self.loc, self.scale).sigmoid() @ _WEIGHTS

    @property
    def variance(self) -> torch.Tensor:
        """Variances of the programs."""
        return _points(self.loc, self.scale).sigmoid().square() @ _WEIGHTS - self.mean.square()

    def ends(self, z: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Quantiles ``z`` standard deviations below and above the median of the logit."""
        return (self.loc - z * self.scale).sigmoid(), (self.loc + z * self.scale).sigmoid()


@register_kl(LogitNormal, ConcentrationMixture)
def _programs_from_mixture(q: LogitNormal, p: ConcentrationMixture) -> torch.Tensor:
    up = logsigmoid(_points(q.loc, q.scale)) @ _WEIGHTS
    down = up - q.loc
    return -(_entropy(q.scale) + up + down).sum() - p._marginalized(up, down)


class _NormalActivities(TorchDistribution):
    """Activities ``(B, K)`` that are a function of normal variables."""

    arg_constraints: dict[str, Any] = {}
    has_rsample = True
    support = constraints.simplex

    def __init__(self, loc: torch.Tensor, scale: torch.Tensor, n_programs: int) -> None:
        self.loc, self.scale = loc, scale
        super().__init__(loc.shape[:-1], torch.Size((n_programs,)), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> _NormalActivities:
        """Itself: it has the shape of the plate of cells."""
        assert torch.Size(batch_shape) == self.batch_shape
        return self

    def log_draw(self) -> torch.Tensor:
        """Log of a draw ``(B, K)``."""
        raise NotImplementedError

    def mean_log(self) -> torch.Tensor:
        """Mean log activities, or those of the last draw."""
        raise NotImplementedError

    def mean_log_density(self, mean_log: torch.Tensor) -> torch.Tensor:
        """Mean of the log density on the simplex."""
        raise NotImplementedError

    def rsample(self, sample_shape: Any = ()) -> torch.Tensor:
        """One draw."""
        assert not sample_shape
        return self.log_draw().exp()

    @torch.no_grad()
    def draws(self) -> torch.Tensor:
        """400 draws ``(400, B, K)``, from torch's random state."""
        return torch.stack([self.log_draw().exp() for _ in range(_DRAWS)])

    @property
    def mean(self) -> torch.Tensor:
        """Mean activities, of draws that are the same at every call."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            mean = self.draws().mean(0)
        return mean / mean.sum(-1, keepdim=True)


class SoftmaxNormal(_NormalActivities):
    """Softmax of K independent normal variables, one for each program.

    The density on the simplex is that of their K - 1 contrasts: with v = 1 / scale^2, W = sum v,
    r = log phi - loc and rbar = sum v r / W,

        log q = -sum v (r - rbar)^2 / 2 + sum log v / 2 - log W / 2 - (K - 1) log(2 pi) / 2
                - sum log phi,

    whose quadratic term has the mean (K - 1) / 2.
    """

    def __init__(self, loc: torch.Tensor, scale: torch.Tensor) -> None:
        super().__init__(loc, scale, loc.shape[-1])
        self._whole: torch.Tensor | None = None

    def log_draw(self) -> torch.Tensor:
        z = self.loc + self.scale * torch.randn(self.loc.shape)
        self._whole = z.logsumexp(-1, keepdim=True)
        return z - self._whole

    def mean_log(self) -> torch.Tensor:
        if self._whole is None:
            self.log_draw()
        assert self._whole is not None
        return self.loc - self._whole

    def mean_log_density(self, mean_log: torch.Tensor) -> torch.Tensor:
        free, v = self.loc.shape[-1] - 1, self.scale.square().reciprocal()
        value = 0.5 * v.log().sum(-1) - 0.5 * v.sum(-1).log() - mean_log.sum(-1)
        return value - 0.5 * free * (1.0 + math.log(2.0 * math.pi))


class StickBreaking(_NormalActivities):
    """Sticks broken at sigmoids of K - 1 independent normal variables, in program order.

    log phi_k = log s_k + sum_{l < k} log(1 - s_l), and the Jacobian of phi is prod_k phi_k.
    """

    def __init__(self, loc: torch.Tensor, scale: torch.Tensor) -> None:
        super().__init__(loc, scale, loc.shape[-1] + 1)

    def _log(self, on: torch.Tensor, off: torch.Tensor) -> torch.Tensor:
        left, none = off.cumsum(-1), torch.zeros_like(off[..., :1])
        return torch.cat([on, none], -1) + torch.cat([none, left], -1)

    def log_draw(self) -> torch.Tensor:
        z = self.loc + self.scale * torch.randn(self.loc.shape)
        return self._log(logsigmoid(z), logsigmoid(-z))

    def mean_log(self) -> torch.Tensor:
        on = logsigmoid(_points(self.loc, self.scale)) @ _WEIGHTS
        return self._log(on, on - self.loc)

    def mean_log_density(self, mean_log: torch.Tensor) -> torch.Tensor:
        return -_entropy(self.scale).sum(-1) - mean_log.sum(-1)


@register_kl(_NormalActivities, Dirichlet)
def _activities_from_dirichlet(q: _NormalActivities, p: Dirichlet) -> torch.Tensor:
    a, mean_log = p.concentration, q.mean_log()
    constant = torch.lgamma(a.sum(-1)) - torch.lgamma(a).sum(-1)
    return q.mean_log_density(mean_log) - ((a - 1.0) * mean_log).sum(-1) - constant

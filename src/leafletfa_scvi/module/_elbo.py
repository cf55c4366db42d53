"""ELBO with closed-form KL divergences, without computing anything else."""

from __future__ import annotations

from typing import Any

import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.infer import ELBO
from pyro.poutine.util import prune_subsample_sites
from torch.distributions import Distribution, Gamma, LogNormal, kl_divergence


def divergence(q: Distribution, p: Distribution) -> torch.Tensor:
    """Compute KL(q || p) in closed form, one value per element of the batch.

    Beside the pairs that torch knows, log-normal against Gamma(a, b): with q = LogNormal(m, s),
    the entropy is m + log s + log(2 pi e) / 2 and E log p is
    a log b - lgamma(a) + (a - 1) m - b exp(m + s^2 / 2).
    """
    if isinstance(q, LogNormal) and isinstance(p, Gamma):
        a, b = p.concentration, p.rate
        entropy: torch.Tensor = q.base_dist.entropy() + q.loc
        mean = (q.loc + 0.5 * q.scale.square()).exp()
        return b * mean - entropy - a * b.log() + torch.lgamma(a) - (a - 1.0) * q.loc
    return kl_divergence(q, p)


class ClosedFormELBO(ELBO):
    """Expected log-likelihood from draws of the guide, minus the KL divergence of every site.

    :class:`pyro.infer.TraceMeanField_ELBO` also evaluates the density of every draw under model
    and guide, which takes longer than the likelihood and is not used. Model and guide must have
    the same sites, and those of the guide must not depend on each other.
    """

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Any:
        """Compute the negative ELBO, averaged over ``num_particles`` draws, as a tensor."""
        total = sum(self._particle(model, guide, args, kwargs) for _ in range(self.num_particles))
        return total / self.num_particles

    def loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """Compute the negative ELBO as a number."""
        with torch.no_grad():
            return float(self.differentiable_loss(model, guide, *args, **kwargs))

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> Any:
        """Trace the guide, and the model replayed on its draws."""
        drawn = poutine.trace(guide).get_trace(*args, **kwargs)
        replayed = poutine.trace(poutine.replay(model, trace=drawn)).get_trace(*args, **kwargs)
        return prune_subsample_sites(replayed), prune_subsample_sites(drawn)

    def _particle(self, model: Any, guide: Any, args: Any, kwargs: Any) -> torch.Tensor | float:
        replayed, drawn = self._get_trace(model, guide, args, kwargs)
        loss: torch.Tensor | float = 0.0
        for name, site in replayed.nodes.items():
            if site["type"] != "sample":
                continue
            if site["is_observed"]:
                term = -site["fn"].log_prob(site["value"])
            else:
                term = divergence(drawn.nodes[name]["fn"], site["fn"])
            loss = loss + scale_and_mask(term, scale=site["scale"], mask=site["mask"]).sum()
        return loss

"""Parameters of the guide behind positive sites, and their bounds."""

from __future__ import annotations

import math
from typing import Any, Final

import pyro.distributions as dist
import torch
from torch import nn

MIN_LOG, MAX_LOG = math.log(1e-2), math.log(1e6)
_MIN_SCALE, _MAX_SCALE = math.log(1e-3), math.log(2.0)

SINGLE: Final[dict[str, Any]] = {"dtype": torch.float32, "device": "cpu"}
"""Type and device that parameters are made with, whatever torch's defaults."""


def bounded_exp(log_value: torch.Tensor) -> torch.Tensor:
    """Compute the exponential, limited to values between 0.01 and a million."""
    return log_value.clamp(MIN_LOG, MAX_LOG).exp()


class LogNormalSite(nn.Module):
    """Location and log-scale of log-normal sites of one shape."""

    def __init__(self, shape: tuple[int, ...], loc: float = 0.0, scale: float = 0.1) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.full(shape, loc, **SINGLE))
        self.log_scale = nn.Parameter(torch.full(shape, math.log(scale), **SINGLE))

    def distribution(self) -> dist.LogNormal:
        """Return the posterior of the sites."""
        return dist.LogNormal(self.loc, self.log_scale.clamp(_MIN_SCALE, _MAX_SCALE).exp())

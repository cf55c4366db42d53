"""Log-gamma and digamma of each element, both differentiable, in one pass on the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from leafletfa_scvi.ops._beta_dirichlet import _fused


class _GammaTerms(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        from leafletfa_scvi.ops import _divergence
        from leafletfa_scvi.ops._threads import run_kernel

        value, first, second = (x.new_empty(x.shape) for _ in range(3))
        flat = x.detach().contiguous()
        run_kernel(
            _divergence.gamma_kernel,
            *(t.reshape(-1).numpy() for t in (flat, value, first, second)),
        )
        ctx.save_for_backward(first, second)
        return value, first

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_value: torch.Tensor, d_first: torch.Tensor) -> torch.Tensor:
        first, second = ctx.saved_tensors
        return d_value * first + d_first * second


def gamma_terms(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute log-gamma and digamma of ``x`` > 0, in its shape."""
    if _fused(x):
        return _GammaTerms.apply(x)
    return torch.lgamma(x), torch.digamma(x)

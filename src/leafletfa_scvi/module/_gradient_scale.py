"""Gradient of the activities, scaled if reads are scored more than once.

If the m junctions of an ATSE are scored as independent although they share its reads, m - 1 of
them determine the last (composite likelihood). Programs of different junctions are fitted
independently, so that only the activities of a cell, fitted to all of its junctions, become
overconfident: the gradient for them is scaled (magnitude adjustment of composite likelihoods:
Pauli, Racugno and Ventura 2011), the value of the likelihood and its derivatives for everything
else are unchanged.
"""

from __future__ import annotations

from typing import Any

import torch


class _ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(scale)
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        return grad * ctx.saved_tensors[0], None


def scale_gradient(values: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return the same values, whose derivatives are multiplied by the scalar ``scale``."""
    scaled: torch.Tensor = _ScaledGradient.apply(values, scale)
    return scaled

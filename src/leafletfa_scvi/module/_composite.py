"""Evidence about activities, of reads that are counted more than once.

Where the m junctions of an ATSE are scored as independent though they share its reads, m - 1 of
them say all (composite likelihood). Programs of different junctions are fitted apart, so it is the
activities of a cell, fitted to all of its junctions, that this makes overconfident: their evidence
is weighted (magnitude adjustment of composite likelihoods: Pauli, Racugno and Ventura 2011), the
value of the likelihood and its derivatives for everything else stay.
"""

from __future__ import annotations

from typing import Any

import torch


class _Weighted(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(weight)
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        return grad * ctx.saved_tensors[0], None


def weigh_evidence(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The same values, whose derivatives are multiplied by the scalar ``weight``."""
    return _Weighted.apply(values, weight)

"""Sums and Dirichlet draws within groups of rows: the junctions of each ATSE."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from leafletfa_scvi.ops._beta_dirichlet import _fused, _seed


class Groups:
    """Groups of P rows.

    Parameters
    ----------
    index
        ``(P,)`` int64, 0-based group of each row; every group has a row.
    """

    def __init__(self, index: torch.Tensor) -> None:
        self.index = index
        self.n_groups = int(index.max()) + 1 if len(index) else 0
        order = index.sort(stable=True).indices
        size = torch.bincount(index, minlength=self.n_groups)
        self.single = bool((index == torch.arange(len(index), device=index.device)).all())
        self.order = order.cpu().numpy()
        self.offsets = np.concatenate([[0], size.cumsum(0).cpu().numpy()])

    @property
    def device(self) -> torch.device:
        """Device of the index."""
        return self.index.device

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over the rows of each group, ``(..., P, K)`` to ``(..., G, K)``."""
        if self.single:
            return values
        shape = (*values.shape[:-2], self.n_groups, values.shape[-1])
        index = self.index[:, None].expand(values.shape)
        return values.new_zeros(shape).scatter_add(-2, index, values)

    def spread(self, values: torch.Tensor) -> torch.Tensor:
        """Return the value of its group at each row, ``(..., G, K)`` to ``(..., P, K)``."""
        return values if self.single else values.index_select(-2, self.index)


def sum_within_groups(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Sum of ``(P, K)`` over the rows of a group, at each of its rows.

    Parameters
    ----------
    values
        ``(P, K)`` values.
    index
        ``(P,)`` int64, 0-based group of each row.
    """
    n_groups = int(index.max()) + 1 if len(index) else 0
    sums = values.new_zeros(n_groups, values.shape[1]).index_add_(0, index, values)
    return sums[index]


class _GroupedDirichletDraw(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, concentration: torch.Tensor, groups: Groups) -> torch.Tensor:
        from leafletfa_scvi.ops import _gamma
        from leafletfa_scvi.ops._threads import run_kernel

        derivative = ctx.needs_input_grad[0]
        value = concentration.new_empty(concentration.shape)
        slope = concentration.new_empty(concentration.shape if derivative else (1, 1))
        run_kernel(
            _gamma.grouped_kernel,
            _seed(),
            concentration.detach().contiguous().numpy(),
            groups.order,
            groups.offsets,
            derivative,
            value.numpy(),
            slope.numpy(),
        )
        ctx.save_for_backward(value, slope)
        ctx.groups = groups
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        value, slope = ctx.saved_tensors
        return slope * (grad - ctx.groups.spread(ctx.groups.sum(value * grad))), None


def draw_grouped_dirichlet(concentration: torch.Tensor, groups: Groups) -> torch.Tensor:
    """Draw from a Dirichlet within each group and column, with pathwise derivatives.

    Parameters
    ----------
    concentration
        ``(P, K)``.
    groups
        Groups of the P rows.

    Returns
    -------
    Positive draws of the same shape that sum to 1 over the rows of a group, column by column.
    """
    if _fused(concentration):
        return _GroupedDirichletDraw.apply(concentration, groups)
    # Logs, of gamma variates one shape up: those of small shapes would all be 0.
    uniform = torch.rand_like(concentration).clamp(min=torch.finfo(concentration.dtype).tiny)
    log_x = torch._standard_gamma(concentration + 1.0).log() + uniform.log() / concentration
    index = groups.index[:, None].expand(log_x.shape)
    most = log_x.new_zeros(groups.n_groups, log_x.shape[1])
    most = most.scatter_reduce(0, index, log_x.detach(), "amax", include_self=False)
    share = (log_x - groups.spread(most)).exp()
    share = share / groups.spread(groups.sum(share))
    return share.clamp(min=torch.finfo(share.dtype).tiny)

"""Differentiable draws and KL divergences of Beta and Dirichlet.

On the CPU in float32 they are fused numba kernels; elsewhere torch's own.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable
from torch.distributions import Beta, Dirichlet, kl_divergence


@cache
def _has_numba() -> bool:
    return importlib.util.find_spec("numba") is not None


def _fused(*tensors: torch.Tensor) -> bool:
    kinds = {(t.device.type, t.dtype) for t in tensors}
    return kinds == {("cpu", torch.float32)} and all(t.numel() for t in tensors) and _has_numba()


def _rows(tensor: torch.Tensor) -> np.ndarray:
    """Return a contiguous matrix of rows of the last dimension."""
    return np.asarray(tensor.detach().reshape(-1, tensor.shape[-1]).contiguous().numpy())


def _seed() -> np.uint64:
    """Draw the seed of one call's random numbers from torch's generator."""
    return np.uint64(int(torch.randint(1 << 62, (), device="cpu")))


class _BetaDraw(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inclusion: torch.Tensor, exclusion: torch.Tensor) -> torch.Tensor:
        from leafletfa_scvi.ops import _gamma
        from leafletfa_scvi.ops._threads import run_kernel

        derivative = any(ctx.needs_input_grad)
        value = inclusion.new_empty(inclusion.shape)
        shape = inclusion.shape if derivative else (1, 1)
        slopes = [inclusion.new_empty(shape) for _ in range(2)]
        inputs, outputs = (inclusion, exclusion), (value, *slopes)
        run_kernel(
            _gamma.beta_kernel,
            _seed(),
            *(_rows(t).reshape(-1) for t in inputs),
            derivative,
            *(_rows(t).reshape(-1) for t in outputs),
        )
        ctx.save_for_backward(*slopes)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        return tuple(grad * slope for slope in ctx.saved_tensors)


class _DirichletDraw(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, concentration: torch.Tensor, streams: np.ndarray | None) -> torch.Tensor:
        from leafletfa_scvi.ops import _gamma
        from leafletfa_scvi.ops._threads import run_kernel

        derivative = any(ctx.needs_input_grad)
        value = concentration.new_empty(concentration.shape)
        slope = concentration.new_empty(concentration.shape if derivative else (1, 1))
        rows, outputs = _rows(concentration), (_rows(value), _rows(slope))
        if streams is None:
            streams = np.arange(len(rows), dtype=np.uint64) * np.uint64(rows.shape[1])
        run_kernel(_gamma.dirichlet_kernel, _seed(), streams, rows, derivative, *outputs)
        ctx.save_for_backward(value, slope)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        value, slope = ctx.saved_tensors
        return slope * (grad - (value * grad).sum(-1, keepdim=True)), None


class _BetaDivergence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *concentrations: torch.Tensor) -> torch.Tensor:
        from leafletfa_scvi.ops import _divergence
        from leafletfa_scvi.ops._threads import run_kernel

        shape = concentrations[0].shape
        value, *slopes = (concentrations[0].new_empty(shape) for _ in range(5))
        arrays = [_rows(t) for t in (*concentrations, value, *slopes)]
        run_kernel(_divergence.beta_kernel, *arrays)
        ctx.save_for_backward(*slopes)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        a1, a0, b1, b0 = (grad * slope for slope in ctx.saved_tensors)
        return a1, a0, b1.sum(-1, keepdim=True), b0.sum(-1, keepdim=True)


class _DirichletDivergence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        from leafletfa_scvi.ops import _divergence
        from leafletfa_scvi.ops._threads import run_kernel

        value, d_a, d_b = (a.new_empty(shape) for shape in (a.shape[:-1], a.shape, a.shape))
        arrays = _rows(a), _rows(b), value.reshape(-1).numpy(), _rows(d_a), _rows(d_b)
        run_kernel(_divergence.dirichlet_kernel, *arrays)
        ctx.save_for_backward(d_a, d_b)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        d_a, d_b = ctx.saved_tensors
        d_prior = grad.reshape(1, -1) @ d_b.reshape(-1, d_b.shape[-1])
        return grad[..., None] * d_a, d_prior.reshape(-1)


def draw_beta(inclusion: torch.Tensor, exclusion: torch.Tensor) -> torch.Tensor:
    """Draw from Beta distributions, with pathwise derivatives.

    Parameters
    ----------
    inclusion, exclusion
        Concentrations of one shape, at least one dimension.

    Returns
    -------
    Draws strictly between 0 and 1, of the same shape.
    """
    if _fused(inclusion, exclusion):
        return _BetaDraw.apply(inclusion, exclusion)
    return Beta(inclusion, exclusion, validate_args=False).rsample()


def draw_dirichlet(concentration: torch.Tensor, streams: np.ndarray | None = None) -> torch.Tensor:
    """Draw from Dirichlet distributions, with pathwise derivatives.

    Parameters
    ----------
    concentration
        ``(..., K)``.
    streams
        uint64, one for each row: rows of one stream are drawn with the same random numbers,
        wherever they stand. Used on the CPU in float32 alone. None for a stream each.

    Returns
    -------
    Positive draws whose last dimension sums to 1, of the same shape.
    """
    if _fused(concentration):
        return _DirichletDraw.apply(concentration, streams)
    return Dirichlet(concentration, validate_args=False).rsample()


def beta_divergence(
    inclusion: torch.Tensor,
    exclusion: torch.Tensor,
    prior_inclusion: torch.Tensor,
    prior_exclusion: torch.Tensor,
) -> torch.Tensor:
    """Compute KL(Beta || prior Beta) of each element.

    Parameters
    ----------
    inclusion, exclusion
        Concentrations, ``(..., K)``.
    prior_inclusion, prior_exclusion
        Concentrations of the prior, ``(..., 1)`` or whatever expands to the shape of the others.
    """
    q, p = (inclusion, exclusion), (prior_inclusion, prior_exclusion)
    if _fused(*q, *p) and all(t.dim() and t.shape[-1] == 1 for t in p):
        rows = (*inclusion.shape[:-1], 1)
        return _BetaDivergence.apply(*q, *(t.expand(rows) for t in p))
    return kl_divergence(Beta(*q, validate_args=False), Beta(*p, validate_args=False))


def dirichlet_divergence(concentration: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
    """Compute KL(Dirichlet || prior Dirichlet) of each row.

    Parameters
    ----------
    concentration
        ``(..., K)``.
    prior
        Concentrations of the prior, ``(K,)`` or ``(..., K)``.

    Returns
    -------
    One value for each row.
    """
    if _fused(concentration, prior) and prior.dim() == 1:
        return _DirichletDivergence.apply(concentration, prior)
    q, p = (Dirichlet(t, validate_args=False) for t in (concentration, prior))
    return kl_divergence(q, p)

"""One differentiable log-likelihood over the backends, and the choice of a backend."""

from __future__ import annotations

import importlib.util
import os
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch.utils.checkpoint import checkpoint

from leafletfa_scvi.ops import _reference
from leafletfa_scvi.ops._multinomial import MultinomialEntries
from leafletfa_scvi.ops._reference import ExpectedCounts

if TYPE_CHECKING:
    from collections.abc import Callable

    from leafletfa_scvi.ops._reference import Entries

Backend = Literal["numba", "torch", "triton"]

_NATIVE: dict[str, Backend] = {"cpu": "numba", "cuda": "triton"}

_TORCH_BLOCK = 1 << 20
"""Entries handled at a time where an array of entries x K is made."""


def choose_backend(
    device: torch.device, backend: str | None = None, dtype: torch.dtype = torch.float32
) -> Backend:
    """Backend for tensors on ``device``.

    That is numba on the CPU and triton on CUDA devices, where they are installed, else torch.

    Parameters
    ----------
    device
        Where the entries are.
    backend
        A choice that overrides this one, ``"numba"``, ``"torch"`` or ``"triton"``.
    dtype
        Dtype of phi and psi. The kernels compute in float32, so float64 goes to torch unless
        ``backend`` says otherwise.

    Raises
    ------
    ValueError
        ``backend`` is unknown, ``"numba"`` on a device that is not the CPU, or ``"triton"`` on one
        that is not CUDA (the CPU will do where ``TRITON_INTERPRET=1`` is set).
    ImportError
        The package of the chosen ``backend`` is not installed.
    """
    native = _NATIVE.get(device.type, "torch")
    if backend is None:
        return native if dtype != torch.float64 and _installed(native) else "torch"
    if backend == "torch":
        return "torch"
    if backend == "numba":
        if native != "numba":
            raise ValueError(f"Backend 'numba' runs on the CPU, found entries on {device}.")
        if not _installed("numba"):
            raise ImportError("Backend 'numba' needs the package numba: pip install numba")
        return "numba"
    if backend != "triton":
        raise ValueError(f"Expected backend 'numba', 'torch' or 'triton', found {backend!r}.")
    interpreted = native == "numba" and os.environ.get("TRITON_INTERPRET") == "1"
    if native != "triton" and not interpreted:
        raise ValueError(
            f"Backend 'triton' runs on CUDA devices, found entries on {device}; on the CPU set "
            "TRITON_INTERPRET=1 before triton is imported, for tests."
        )
    if not _installed("triton"):
        raise ImportError("Backend 'triton' needs triton 3.3 or later: pip install triton")
    return "triton"


def _installed(package: str) -> bool:
    """Whether a package is there; of triton, a version that has ``tl.gather``."""
    if importlib.util.find_spec(package) is None:
        return False
    return package != "triton" or hasattr(importlib.import_module("triton.language"), "gather")


class _Kernels(NamedTuple):
    """What a backend of fused kernels offers."""

    log_likelihood: Callable[..., torch.Tensor]
    gradients: Callable[..., tuple[torch.Tensor, ...]]
    expected_counts: Callable[..., ExpectedCounts]


def _kernels(backend: Backend, deterministic: bool | None) -> _Kernels:
    if backend == "numba":
        from leafletfa_scvi.ops import _cpu

        return _Kernels(_cpu.log_likelihood, _cpu.gradients, _cpu.expected_counts)
    from leafletfa_scvi.ops import _triton

    return _Kernels(
        _triton.log_likelihood,
        partial(_triton.gradients, deterministic=deterministic),
        partial(_triton.expected_counts, deterministic=deterministic),
    )


class _FusedLogLikelihood(torch.autograd.Function):
    """Log-likelihood per cell whose gradients come from the same sweep as its value.

    The gradients are made in the forward pass for an upstream gradient of one and multiplied by it
    in the backward pass. Only where it differs between cells is the sweep repeated with weights.
    """

    @staticmethod
    def forward(
        ctx: Any, phi: Any, psi: Any, concentration: Any, entries: Entries, kernels: _Kernels
    ) -> torch.Tensor:
        ctx.entries, ctx.kernels = entries, kernels
        ctx.has_concentration = concentration is not None
        if not any(ctx.needs_input_grad[:3]):
            return kernels.log_likelihood(entries, phi, psi, concentration)
        value, *gradients = kernels.gradients(entries, phi, psi, concentration)
        saved = [phi, psi, *gradients] + ([concentration] if ctx.has_concentration else [])
        ctx.save_for_backward(*saved)
        return value

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        phi, psi, dphi, dpsi, dkappa, *rest = ctx.saved_tensors
        concentration = rest[0] if rest else None
        if grad.numel() and bool((grad == grad[0]).all()):
            scale = grad[0]
            dphi, dpsi, dkappa = dphi * scale, dpsi * scale, dkappa * scale
        elif grad.numel():
            _, dphi, dpsi, dkappa = ctx.kernels.gradients(
                ctx.entries, phi, psi, concentration, grad
            )
        if concentration is not None:
            dkappa = dkappa.reshape(concentration.shape).to(concentration.dtype)
        return dphi.to(phi.dtype), dpsi.to(psi.dtype), dkappa if rest else None, None, None


def _check(
    entries: Entries, phi: torch.Tensor, psi: torch.Tensor, concentration: torch.Tensor | None
) -> None:
    """Shapes and devices; the kernels read where they are told, within an array or not."""
    k = psi.shape[1] if psi.ndim == 2 else phi.shape[-1]
    for name, found, expected, what in (
        ("psi", psi, (entries.n_junctions, k), "junctions x programs"),
        ("phi", phi, (entries.n_cells, k), "cells x programs"),
    ):
        if tuple(found.shape) != expected:
            raise ValueError(
                f"{name} has shape {tuple(found.shape)}: expected {expected}, {what} of these "
                "entries."
            )
        if found.device.type != entries.device.type:
            raise ValueError(
                f"{name} is on {found.device}, the entries on {entries.device}: move one of them."
            )
    if concentration is not None and concentration.ndim:
        n, what = entries.n_junctions, "junction"
        if isinstance(entries, MultinomialEntries):
            n, what = entries.n_atses, "ATSE"
        if tuple(concentration.shape) != (n,):
            raise ValueError(
                f"concentration has shape {tuple(concentration.shape)}: expected a scalar, or "
                f"({n},), one value for each {what}."
            )


def _log_likelihood_in_blocks(
    entries: Entries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    concentration: torch.Tensor | None,
) -> torch.Tensor:
    """The reference on blocks of cells, recomputed in the backward pass to bound the memory.

    In float64: differences of lgamma lose all digits of float32 at a large concentration.
    """
    phi, psi, concentration = _widened(phi, psi, concentration)
    parts = [
        checkpoint(
            _reference.log_likelihood, part, phi[cells], psi, concentration, use_reentrant=False
        )
        for cells, part in entries.blocks(_TORCH_BLOCK)
    ]
    return torch.cat(parts) if parts else phi.new_zeros(0)


def _expected_counts_in_blocks(
    entries: Entries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    concentration: torch.Tensor | None,
) -> ExpectedCounts:
    dtype = torch.promote_types(phi.dtype, psi.dtype)
    phi, psi, concentration = _widened(phi, psi, concentration)
    parts = [
        _reference.expected_counts(part, phi[cells], psi, concentration)
        for cells, part in entries.blocks(_TORCH_BLOCK)
    ]
    if not parts:
        parts = [_reference.expected_counts(entries, phi, psi, concentration)]
    value, activity, *summed = zip(*parts, strict=True)
    inclusion, exclusion, grad = (torch.stack(s).sum(0) for s in summed)
    return ExpectedCounts(
        torch.cat(value),
        torch.cat(activity).to(dtype),
        inclusion.to(dtype),
        exclusion.to(dtype),
        grad,
    )


def _widened(
    phi: torch.Tensor, psi: torch.Tensor, concentration: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """The same in float64, on devices that have it."""
    if phi.device.type == "mps":
        return phi, psi, concentration
    kappa = None if concentration is None else concentration.double()
    return phi.double(), psi.double(), kappa


def log_likelihood(
    entries: Entries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    concentration: torch.Tensor | None = None,
    *,
    backend: str | None = None,
    deterministic: bool | None = None,
) -> torch.Tensor:
    """Log-likelihood of each cell, differentiable for phi, psi and kappa.

    Parameters
    ----------
    entries
        Observed entries of B cells and P junctions (beta-binomial or binomial), or the same ATSE
        by ATSE (Dirichlet-multinomial or multinomial).
    phi
        ``(B, K)`` activities, rows on the simplex.
    psi
        ``(P, K)`` programs in [0, 1].
    concentration
        kappa > 0: a scalar tensor, ``(P,)`` for observed entries, or one value per ATSE; None for
        the binomial or multinomial likelihood.
    backend
        ``"numba"``, ``"triton"`` or ``"torch"``; None chooses by device and dtype. numba and
        triton compute in float32.
    deterministic
        Of triton: True sums over junctions in a fixed order, so that gradients repeat bitwise;
        False by atomic additions; None chooses the first where
        :func:`torch.use_deterministic_algorithms` asks for it, or where the same entries are used
        a second time and an index of their columns pays. Results of numba always repeat, those of
        torch do on the CPU.

    Returns
    -------
    ``(B,)`` float64 tensor with the binomial coefficients (float32 on devices without float64).

    Raises
    ------
    ValueError
        A shape or a device does not fit the entries, or the backend does not fit the device.
    ImportError
        The package of the chosen backend is not installed.
    """
    _check(entries, phi, psi, concentration)
    chosen = choose_backend(entries.device, backend, torch.promote_types(phi.dtype, psi.dtype))
    if chosen == "torch":
        return _log_likelihood_in_blocks(entries, phi, psi, concentration)
    kernels = _kernels(chosen, deterministic)
    return _FusedLogLikelihood.apply(phi, psi, concentration, entries, kernels)


@torch.no_grad()
def expected_counts(
    entries: Entries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    concentration: torch.Tensor | None = None,
    *,
    backend: str | None = None,
    deterministic: bool | None = None,
) -> ExpectedCounts:
    """Expected table counts for the EM; arguments as in :func:`log_likelihood`.

    The log-likelihood per cell in the result is float64, as there.
    """
    _check(entries, phi, psi, concentration)
    chosen = choose_backend(entries.device, backend, torch.promote_types(phi.dtype, psi.dtype))
    if chosen == "torch":
        return _expected_counts_in_blocks(entries, phi, psi, concentration)
    return _kernels(chosen, deterministic).expected_counts(entries, phi, psi, concentration)

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
"""Number of entries in a block for which an array of entries x K is formed."""


def choose_backend(
    device: torch.device, backend: str | None = None, dtype: torch.dtype = torch.float32
) -> Backend:
    """Choose the backend for tensors on ``device``.

    By default numba on the CPU and Triton on CUDA devices if installed, otherwise torch.

    Parameters
    ----------
    device
        Device of the entries.
    backend
        ``"numba"``, ``"torch"`` or ``"triton"`` to override the default.
    dtype
        Dtype of phi and psi. The kernels compute in float32, so float64 goes to torch unless
        ``backend`` says otherwise.

    Raises
    ------
    ValueError
        ``backend`` is unknown, ``"numba"`` on a device that is not the CPU, or ``"triton"`` on one
        that is not CUDA (the CPU is allowed if ``TRITON_INTERPRET=1`` is set).
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
    """Return whether a package is importable, and Triton recent enough for ``tl.gather``."""
    if importlib.util.find_spec(package) is None:
        return False
    return package != "triton" or hasattr(importlib.import_module("triton.language"), "gather")


class _Kernels(NamedTuple):
    """Functions of a backend with fused kernels."""

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
    """Log-likelihood per cell with gradients from the same pass over the data.

    Gradients are computed in the forward pass for an upstream gradient of one, and scaled in the
    backward pass. Only if the upstream gradient differs between cells is the pass repeated.
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
        phi, psi, dphi, dpsi, dkappa, *kappa = ctx.saved_tensors
        concentration = kappa[0] if kappa else None
        # Equal for all cells if the result was summed, as in training.
        if grad.numel() and bool((grad == grad[0]).all()):
            scale = grad[0]
            dphi, dpsi, dkappa = dphi * scale, dpsi * scale, dkappa * scale
        elif grad.numel():
            _, dphi, dpsi, dkappa = ctx.kernels.gradients(
                ctx.entries, phi, psi, concentration, grad
            )
        if concentration is not None:
            dkappa = dkappa.reshape(concentration.shape).to(concentration.dtype)
        return dphi.to(phi.dtype), dpsi.to(psi.dtype), dkappa if kappa else None, None, None


def _check(
    entries: Entries, phi: torch.Tensor, psi: torch.Tensor, concentration: torch.Tensor | None
) -> None:
    """Check shapes and devices, because kernels do not check bounds."""
    k = psi.shape[1] if psi.ndim == 2 else phi.shape[-1]
    for name, factor, expected, axes in (
        ("psi", psi, (entries.n_junctions, k), "junctions x programs"),
        ("phi", phi, (entries.n_cells, k), "cells x programs"),
    ):
        if tuple(factor.shape) != expected:
            raise ValueError(
                f"{name} has shape {tuple(factor.shape)}: expected {expected}, {axes} of these "
                "entries."
            )
        if factor.device.type != entries.device.type:
            raise ValueError(
                f"{name} is on {factor.device}, the entries on {entries.device}: move one of them."
            )
    if concentration is not None and concentration.ndim:
        n, unit = entries.n_junctions, "junction"
        if isinstance(entries, MultinomialEntries):
            n, unit = entries.n_atses, "ATSE"
        if tuple(concentration.shape) != (n,):
            raise ValueError(
                f"concentration has shape {tuple(concentration.shape)}: expected a scalar, or "
                f"({n},), one value for each {unit}."
            )


def _log_likelihood_in_blocks(
    entries: Entries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    concentration: torch.Tensor | None,
) -> torch.Tensor:
    """Compute the reference in blocks of cells, recomputed in the backward pass to limit memory.

    In float64, because differences of lgamma cancel in float32 at a large concentration.
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
    """Convert to float64 on devices that support it."""
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
    """Compute the log-likelihood of each cell, differentiable for phi, psi and kappa.

    Parameters
    ----------
    entries
        Observed entries of B cells and P junctions (beta-binomial or binomial), or grouped by ATSE
        (Dirichlet-multinomial or multinomial).
    phi
        ``(B, K)`` activities, rows on the simplex.
    psi
        ``(P, K)`` programs in [0, 1].
    concentration
        kappa > 0: a scalar tensor, ``(P,)`` for observed entries, or one value per ATSE; None for
        the binomial or multinomial likelihood.
    backend
        ``"numba"``, ``"triton"`` or ``"torch"``. If None, chosen by device and dtype. numba and
        Triton compute in float32.
    deterministic
        Triton only. If True, sums over cells are computed in a fixed order, so that gradients are
        bitwise reproducible; if False, by atomic additions. If None, True if
        :func:`torch.use_deterministic_algorithms` is set or the entries are used repeatedly.
        Results of numba are always reproducible, those of torch on the CPU.

    Returns
    -------
    ``(B,)`` float64 tensor with the binomial coefficients (float32 on devices without float64).

    Raises
    ------
    ValueError
        A shape or device does not match the entries, or the backend does not support the device.
    ImportError
        The package of the chosen backend is not installed.
    """
    _check(entries, phi, psi, concentration)
    name = choose_backend(entries.device, backend, torch.promote_types(phi.dtype, psi.dtype))
    if name == "torch":
        return _log_likelihood_in_blocks(entries, phi, psi, concentration)
    kernels = _kernels(name, deterministic)
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
    """Compute the expected table counts of EM; arguments are those of :func:`log_likelihood`.

    The log-likelihood per cell in the result is float64.
    """
    _check(entries, phi, psi, concentration)
    name = choose_backend(entries.device, backend, torch.promote_types(phi.dtype, psi.dtype))
    if name == "torch":
        return _expected_counts_in_blocks(entries, phi, psi, concentration)
    return _kernels(name, deterministic).expected_counts(entries, phi, psi, concentration)

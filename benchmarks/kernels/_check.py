"""The kernels of a device, and whether they equal the float64 reference there."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from benchmarks._entries import LIKELIHOODS, Problem, problem, random_entries

from leafletfa_scvi.ops import _reference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

TOLERANCE = 1e-4
"""Largest error as a share of the largest value that the reference has in the same array."""


def load_kernels(device: torch.device) -> ModuleType:
    """The fused kernels for ``device``: numba on the CPU, Triton on a GPU."""
    if device.type == "cpu":
        from leafletfa_scvi.ops import _cpu

        return _cpu
    try:
        from leafletfa_scvi.ops import _triton
    except ImportError as error:
        raise SystemExit(f"No kernels for {device}: {error}") from error
    return _triton


def variants(kernels: ModuleType) -> dict[str, dict[str, Any]]:
    """How gradients may be summed, by a label: by atomics or in order, where there is a choice."""
    if "deterministic" in inspect.signature(kernels.gradients).parameters:
        return {"atomic": {"deterministic": False}, "in order": {"deterministic": True}}
    return {"": {}}


def problems(likelihood: str) -> Iterator[tuple[str, Problem]]:
    """Small problems with few and many programs, small and large counts, one kappa and many."""
    for n_programs in (1, 5, 20, 50, 128):
        for max_total in (30, 3000):
            entries = random_entries(37, 64, 0.4, max_total, seed=n_programs)
            for kappa in (0.05, 5.0, 300.0):
                what = f"K={n_programs}, n<={max_total}, kappa={kappa}"
                one = problem(entries, n_programs, likelihood, kappa)
                yield what, one
                if one.concentration is None:
                    break
                many = one.psi.shape[0]
                if likelihood == "dirichlet-multinomial":
                    many = one.entries.n_atses
                each = kappa * torch.linspace(0.5, 2.0, many)
                yield what + " each", one._replace(concentration=each)


def check(
    kernels: ModuleType, device: torch.device, likelihoods: tuple[str, ...] = LIKELIHOODS
) -> int:
    """Compare value, gradients and expected counts with the reference.

    Returns
    -------
    int
        Number of arrays compared.

    Raises
    ------
    SystemExit
        One is wrong; the message says which.
    """
    n_compared = 0
    for likelihood in likelihoods:
        for what, given in problems(likelihood):
            given = given.to(device)
            for name, found, wanted in _pairs(kernels, given):
                n_compared += 1
                error = (found.double() - wanted).abs().max()
                bound = TOLERANCE * wanted.abs().max() + 1e-6
                if not bool(error <= bound):  # also where it is NaN
                    raise SystemExit(
                        f"{likelihood}, {what}: {name} is off by {float(error):.3g} where the "
                        f"reference has values up to {float(wanted.abs().max()):.3g}. Not timed."
                    )
    return n_compared


def _pairs(
    kernels: ModuleType, given: Problem
) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """What the kernels give and what the reference does, with a name."""
    entries, phi, psi, kappa = given[:4]
    exact = [phi.double().requires_grad_(), psi.double().requires_grad_()]
    if kappa is not None:
        exact.append(kappa.double().requires_grad_())
    k64 = exact[2] if kappa is not None else None
    value = _reference.log_likelihood(entries, exact[0], exact[1], k64)
    yield "value", kernels.log_likelihood(entries, phi, psi, kappa), value.detach()
    weight = torch.linspace(-0.5, 2.0, entries.n_cells, device=phi.device, dtype=torch.float64)
    names = ("phi", "psi", "kappa")
    for label, options in variants(kernels).items():
        for w in (None, weight):
            ones = torch.ones_like(value)
            graded = value @ (ones if w is None else w)
            wanted = torch.autograd.grad(graded, exact, retain_graph=True)
            _, *found = kernels.gradients(entries, phi, psi, kappa, w, **options)
            for name, ours, theirs in zip(names, found, wanted, strict=False):
                yield f"gradient of {name} {label}", ours.reshape(theirs.shape), theirs
        counted = _reference.expected_counts(
            entries, phi.double(), psi.double(), None if kappa is None else kappa.double()
        )
        ours = kernels.expected_counts(entries, phi, psi, kappa, **options)
        for name, x, y in zip(counted._fields, ours, counted, strict=True):
            yield f"expected {name} {label}", x, y

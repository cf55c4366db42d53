"""The least time that a call can take on a machine, from bytes and operations.

Bytes: each entry's junction, count and total are read once; phi and psi are read once, and what
the call returns is written once (gathers of psi are taken to hit a cache). Operations: 2 K for the
dot product of an entry, 2 K for each of the sums it adds to (phi, psi; the EM adds to psi twice),
and those of its likelihood. The floor is the larger of bytes / bandwidth and operations /
arithmetic throughput, both measured in the same run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leafletfa_scvi import ops

if TYPE_CHECKING:
    from benchmarks._entries import Problem

LIKELIHOOD_OPERATIONS = {
    "beta-binomial": 300,
    "binomial": 60,
    "dirichlet-multinomial": 150,
    "multinomial": 30,
}
"""Float32 operations of an entry beside its sums: about 150 for value and derivative of a rising
factorial (two logarithms, four steps, two ends of Stirling's series), 25 for a logarithm."""

SUMS = {"value": 0, "gradients": 2, "counts": 3}


def moved_bytes(given: Problem, call: str) -> int:
    """Bytes that must cross the memory bus."""
    sums_of_psi = max(SUMS[call] - 1, 0)
    results = sums_of_psi * given.psi.numel() + (given.phi.numel() if sums_of_psi else 0)
    return given.input_bytes() + 4 * results


def operations(given: Problem, likelihood: str, call: str) -> int:
    """Float32 operations."""
    scored = given.entries
    if isinstance(scored, ops.MultinomialEntries):
        scored = scored.reads
    n_programs = given.phi.shape[1]
    each = 2 * n_programs * (1 + SUMS[call]) + LIKELIHOOD_OPERATIONS[likelihood]
    return scored.n_entries * each


def floor_seconds(
    given: Problem, likelihood: str, call: str, bandwidth: float, arithmetic: float
) -> float:
    """The floor in seconds."""
    by_bytes = moved_bytes(given, call) / bandwidth
    return max(by_bytes, operations(given, likelihood, call) / arithmetic)

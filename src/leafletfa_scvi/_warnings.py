"""Categories of the warnings that other parts of the package act on."""

from __future__ import annotations


class ConvergenceWarning(UserWarning):
    """Training ended before it had converged."""


class IdentifiabilityWarning(UserWarning):
    """The data do not determine the programs or activities of a fit."""

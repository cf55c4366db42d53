"""Selection of hypotheses with a bound on the expected proportion of false discoveries."""

from __future__ import annotations

import numpy as np

_EPS = 1e-8


def false_discovery_set(probability: np.ndarray, target: float) -> np.ndarray:
    """Select as many of the most probable hypotheses as keep the expected FDR at the target.

    Parameters
    ----------
    probability
        ``(P,)`` posterior probabilities.
    target
        Bound on the expected false discovery proportion.

    Returns
    -------
    ``(P,)`` bool, in the order of ``probability``.
    """
    return expected_false_discovery(probability) <= target


def expected_false_discovery(probability: np.ndarray) -> np.ndarray:
    """Expected proportion of false discoveries among each hypothesis and all more probable ones.

    Parameters
    ----------
    probability
        ``(P,)`` posterior probabilities.

    Returns
    -------
    ``(P,)``, in the order of ``probability``; ascending from the most probable.
    """
    order = np.argsort(-probability, kind="stable")
    expected = np.empty(len(order))
    expected[order] = np.cumsum(1.0 - probability[order]) / np.arange(1, len(order) + 1)
    return expected


def log_odds(probability: np.ndarray) -> np.ndarray:
    """Natural logarithm of p / (1 - p), finite at 0 and 1, as scvi-tools' ``bayes_factor``."""
    odds: np.ndarray = np.log(probability + _EPS) - np.log(1.0 - probability + _EPS)
    return odds

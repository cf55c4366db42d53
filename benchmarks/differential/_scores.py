"""Scores of calls, ranks and intervals against the populations that were simulated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from benchmarks.differential._cases import DELTA, FDR_TARGET

DIFFERS = 0.05
"""Difference of the populations above which junctions truly differ, for coverage of intervals."""


@dataclass(frozen=True)
class Found:
    """What a method says of each of H hypotheses (junctions or ATSEs).

    Attributes
    ----------
    called
        ``(H,)`` bool.
    rank
        ``(H,)`` larger for what is more likely to differ by more than delta; -inf where not
        tested.
    lower, upper
        ``(H,)`` ends of 90 % intervals of the difference, NaN where there are none.
    """

    called: np.ndarray
    rank: np.ndarray
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None


def score(found: Found, difference: np.ndarray, atse: np.ndarray) -> dict[str, float]:
    """Compare with the true differences, ``(H,)``; NaN where a score has no meaning.

    Parameters
    ----------
    found
        Results of a method.
    difference
        ``(H,)`` true differences of the populations.
    atse
        ``(H,)`` labels of ATSEs.
    """
    true = np.abs(difference) > DELTA
    called = found.called
    scores = {
        "calls": float(called.sum()),
        "any call": float(called.any()),
        "FDP": _false_share(called, true),
        "power": _share(called, true),
        "power, ATSEs": _share_of_atses(called & true, true, atse),
        "power at 5 % FDP": _share(_first_calls(found.rank, true), true),
    }
    if found.lower is not None and found.upper is not None:
        known = ~np.isnan(found.lower)
        inside = (found.lower <= difference) & (difference <= found.upper)
        scores["covered"] = _share(inside, known)
        scores["covered, differ"] = _share(inside, known & (np.abs(difference) > DIFFERS))
    return scores


def ranked(evidence: np.ndarray, effect: np.ndarray) -> np.ndarray:
    """Position by evidence, then by size of effect; -inf where there is no evidence."""
    order = np.lexsort([np.abs(effect), evidence])
    rank = np.empty(len(evidence))
    rank[order] = np.arange(len(evidence))
    return np.where(np.isnan(evidence), -np.inf, rank)


def by_atse(difference: np.ndarray, atse: np.ndarray) -> pd.Series:
    """Largest of the true differences of the junctions of each ATSE."""
    return pd.Series(np.abs(difference)).groupby(atse).max()


def _share(of: np.ndarray, among: np.ndarray) -> float:
    return float(of[among].mean()) if among.any() else np.nan


def _false_share(called: np.ndarray, true: np.ndarray) -> float:
    return float((called & ~true).sum() / max(called.sum(), 1))


def _share_of_atses(found: np.ndarray, true: np.ndarray, atse: np.ndarray) -> float:
    table = pd.DataFrame({"found": found, "true": true}).groupby(atse).max()
    return _share(table["found"].to_numpy(bool), table["true"].to_numpy(bool))


def _first_calls(rank: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The longest list of the first of the ranking whose false share is the FDR target."""
    order = np.argsort(-rank, kind="stable")
    order = order[np.isfinite(rank[order])]
    false = np.cumsum(~true[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(false <= FDR_TARGET)
    selected = np.zeros(len(rank), dtype=bool)
    selected[order[: good[-1] + 1 if len(good) else 0]] = True
    return selected

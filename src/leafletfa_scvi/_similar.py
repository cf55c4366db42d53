"""Names that resemble one that was not found, for messages."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def similar_names(name: str, known: Iterable[str], n: int = 3) -> list[str]:
    """Return up to ``n`` of the known names that resemble a name, the nearest first.

    Upper and lower case are the same. If few are alike, names that begin with the name follow.
    """
    by_lower: dict[str, list[str]] = {}
    for other in known:
        by_lower.setdefault(other.lower(), []).append(other)
    lower = name.lower()
    close = get_close_matches(lower, by_lower, n, cutoff=0.6)
    longer = sorted(other for other in by_lower if lower and other.startswith(lower))
    found = [other for key in dict.fromkeys([*close, *longer]) for other in by_lower[key]]
    return found[:n]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence with the known names that resemble a name; empty if none does."""
    found = similar_names(name, known)
    return f" Did you mean {' or '.join(map(repr, found))}?" if found else ""

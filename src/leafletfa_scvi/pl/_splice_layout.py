"""Layout of a splice graph: scale of the axis, heights of arcs, positions of labels.

Positions are edges between bases: base b, counted from 1, lies between edges b - 1 and b. An exon
or intron of the bases start to end spans the edges start - 1 to end, so that an intron ends at the
very edge where the next exon begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

_LIMITS = (1000, 500, 300, 200, 100, 50)
"""Lengths from which introns may be compressed, in bases."""
_SHARE = 2.0
"""Largest length of introns as drawn, relative to that of exons, if the limits allow it."""
_SHORT = 300
"""Length up to which a stretch between two splice sites counts as an exon if exons are unknown."""


@dataclass(frozen=True)
class AxisScale:
    """Piecewise linear scale of the axis, to scale beyond its ends.

    Attributes
    ----------
    bases
        ``(n,)`` edges in the genome, ascending.
    drawn
        ``(n,)`` where they are drawn, in bases of the exons.
    limit
        Length in bases above which introns are compressed; None if all is to scale.
    """

    bases: np.ndarray
    drawn: np.ndarray
    limit: int | None

    def forward(self, position: np.ndarray) -> np.ndarray:
        """Return where edges in the genome are drawn."""
        return _extended(np.asarray(position, float), self.bases, self.drawn)

    def inverse(self, drawn: np.ndarray) -> np.ndarray:
        """Return the edges that are drawn somewhere."""
        return _extended(np.asarray(drawn, float), self.drawn, self.bases)

    def middle(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Return the edge that is drawn midway between two others."""
        return self.inverse((self.forward(left) + self.forward(right)) / 2)


def axis_scale(sites: np.ndarray, exons: np.ndarray, *, compress: bool) -> AxisScale:
    """Choose a scale on which exons are visible between long introns.

    A stretch of L > c bases outside of exons is drawn c (1 + log(L / c)) long, and everything
    else to scale. c is the largest of a few numbers for which introns take at most two thirds
    of the axis.

    Parameters
    ----------
    sites
        ``(n,)`` edges of introns.
    exons
        ``(e, 2)`` edges of known exons; empty if none is known. Then all stretches between sites
        are treated alike.
    compress
        If False, all is to scale.
    """
    low, high = sites.min(), sites.max()
    inside = exons[(exons[:, 1] > low) & (exons[:, 0] < high)] if len(exons) else exons
    bases = np.unique(np.concatenate([sites, inside.ravel().clip(low, high)]))
    length = np.diff(bases).astype(float)
    if not compress:
        return AxisScale(bases, bases.astype(float), None)
    middle = (bases[1:] + bases[:-1]) / 2
    is_exon = np.zeros(len(length), bool)
    for left, right in inside:
        is_exon |= (middle > left) & (middle < right)
    size = length[is_exon].sum() if is_exon.any() else length[length <= _SHORT].sum()
    for limit in _LIMITS:
        drawn = np.where(is_exon | (length <= limit), length, _shortened(length, limit))
        if drawn[~is_exon].sum() <= _SHARE * size:
            break
    if np.array_equal(drawn, length):
        return AxisScale(bases, bases.astype(float), None)
    return AxisScale(bases, np.concatenate([[0.0], np.cumsum(drawn)]), limit)


def arc_levels(left: np.ndarray, right: np.ndarray, label_width: float) -> np.ndarray:
    """Give each arc a level such that neither arcs nor labels of one level overlap.

    An arc lies above those that it encloses; labels are in the middle of their arcs.

    Parameters
    ----------
    left, right
        ``(m,)`` ends of arcs as drawn.
    label_width
        Width of the labels in the same unit.

    Returns
    -------
    ``(m,)`` levels, the lowest being 0.
    """
    middle = (left + right) / 2
    low = np.minimum(left, middle - label_width / 2)
    high = np.maximum(right, middle + label_width / 2)
    levels = np.zeros(len(left), int)
    placed: list[int] = []
    for i in np.lexsort((left, right - left)):
        if placed:
            others = np.array(placed)
            inside = others[(left[others] >= left[i]) & (right[others] <= right[i])]
            overlapping = others[(low[others] < high[i]) & (high[others] > low[i])]
            level = levels[inside].max(initial=-1) + 1
            while level in levels[overlapping]:
                level += 1
            levels[i] = level
        placed.append(int(i))
    return levels


def spaced(positions: Sequence[float] | np.ndarray, distance: float) -> np.ndarray:
    """Choose positions, ascending, that keep a distance; always the first and last of them."""
    ordered = np.unique(np.asarray(positions, float))
    chosen = [ordered[0]]
    for position in ordered[1:-1]:
        if position - chosen[-1] >= distance and ordered[-1] - position >= distance:
            chosen.append(position)
    if len(ordered) > 1 and ordered[-1] - ordered[0] >= distance:
        chosen.append(ordered[-1])
    return np.array(chosen)


def _shortened(length: np.ndarray, limit: int) -> np.ndarray:
    drawn: np.ndarray = limit * (1.0 + np.log(np.maximum(length, limit) / limit))
    return drawn


def _extended(value: np.ndarray, at: np.ndarray, result: np.ndarray) -> np.ndarray:
    """Interpolate; beyond the ends with slope 1."""
    inner: np.ndarray = np.interp(value, at, result)
    inner = inner + np.minimum(value - at[0], 0.0) + np.maximum(value - at[-1], 0.0)
    return inner

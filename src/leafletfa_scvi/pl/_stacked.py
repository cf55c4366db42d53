"""Panels one above the other, which share the x axis."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

GivenAxes = Axes | Sequence[Axes] | None
"""Axes of the first panel alone, of each panel, or None for a new figure."""


def stacked_panels(
    ax: GivenAxes,
    names: Sequence[str],
    heights: Sequence[float],
    figsize: tuple[float, float] | None,
) -> dict[str, Axes]:
    """Create panels, or take the axes that the user gave.

    Parameters
    ----------
    ax
        Argument of the user.
    names
        Names of the panels, from the top.
    heights
        Their heights in inches, axis labels included.
    figsize
        Width and height of a new figure. If None, 5.5 inches and the sum of the heights.

    Returns
    -------
    dict
        Axes by name; the first panel only if a single ``ax`` was given.

    Raises
    ------
    ValueError
        Axes of another number were given.
    """
    if ax is None:
        size = (5.5, sum(heights)) if figsize is None else figsize
        _, created = plt.subplots(
            len(names),
            sharex=True,
            squeeze=False,
            figsize=size,
            height_ratios=list(heights),
            layout="constrained",
        )
        return dict(zip(names, created[:, 0], strict=True))
    if isinstance(ax, Axes):
        return {names[0]: ax}
    given = list(np.ravel(np.asarray(ax, dtype=object)))
    if len(given) != len(names):
        raise ValueError(
            f"Expected ax to be one Axes, or {len(names)} ({', '.join(names)}), found "
            f"{len(given)}."
        )
    return dict(zip(names, given, strict=True))

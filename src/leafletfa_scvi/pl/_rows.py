"""Groups as the rows of a figure: names on the left, numbers and a dendrogram on the right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from scipy.cluster.hierarchy import dendrogram, linkage

from leafletfa_scvi.pl._panels import beside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

CHARACTER = 0.075
"""Width of a character of a tick label, in inches."""
_TREE = 0.45
"""Width of a dendrogram, in inches."""


def names_width(names: Sequence[str]) -> float:
    """Space for horizontal names, in inches."""
    return 0.2 + CHARACTER * max(map(len, names))


def cluster(activities: np.ndarray) -> np.ndarray | None:
    """Cluster compositions ``(N, K)`` by Hellinger distance and average linkage.

    Returns
    -------
    The linkage matrix of SciPy ``(N - 1, 4)``, leaves ordered so that neighbors are similar; None
    for fewer than two rows.
    """
    if len(activities) < 2:
        return None
    tree: np.ndarray = linkage(
        np.sqrt(activities), "average", optimal_ordering=len(activities) <= 500
    )
    return tree


def leaves(tree: np.ndarray | None) -> np.ndarray:
    """Order of the rows that a linkage matrix puts side by side."""
    if tree is None:
        return np.zeros(1, int)
    return np.asarray(dendrogram(tree, no_plot=True)["leaves"], dtype=int)


def label_rows(
    ax: Axes, at: np.ndarray, names: Sequence[str], sizes: Sequence[int], unit: str
) -> float:
    """Write names on the left, numbers on the right; return the width of the latter, in inches.

    Parameters
    ----------
    ax
        Axes whose y axis has the rows.
    at
        ``(N,)`` positions of the rows.
    names
        N names.
    sizes
        N numbers of cells or samples.
    unit
        What they are numbers of.
    """
    ax.set_yticks(at, list(names), fontsize="small")
    texts = [f"{size:,}" for size in sizes]
    for y, text in zip(at, texts, strict=True):
        ax.annotate(
            text,
            (1, float(y)),
            xycoords=ax.get_yaxis_transform(),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
            alpha=0.7,
        )
    ax.annotate(
        unit,
        (1, 1),
        xycoords="axes fraction",
        xytext=(5, 4),
        textcoords="offset points",
        fontsize="small",
        alpha=0.7,
    )
    return 0.15 + CHARACTER * max(map(len, (*texts, unit)))


def draw_tree(ax: Axes, tree: np.ndarray | None, at: np.ndarray, left: float) -> float:
    """Draw a dendrogram of rows to the right of axes; return the width used, in inches.

    Parameters
    ----------
    ax
        Axes whose y axis has the rows.
    tree
        Linkage matrix of N rows.
    at
        ``(N,)`` positions, in the order of the leaves.
    left
        Distance from the axes, in inches.
    """
    if tree is None:
        return 0.0
    drawn = dendrogram(tree, no_plot=True)
    where = beside(ax, left, _TREE)
    middle = 10.0 * np.arange(len(at)) + 5.0
    for y, x in zip(drawn["icoord"], drawn["dcoord"], strict=True):
        where.plot(x, np.interp(y, middle, at), color=plt.rcParams["text.color"], linewidth=0.8)
    where.set(xlim=(0, None), ylim=ax.get_ylim())
    where.set_axis_off()
    return left + _TREE

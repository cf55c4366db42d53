"""Groups of cells, and colors that depend on the background."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from leafletfa_scvi._colors import LEAST_CONTRAST, categories_of, contrast

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from matplotlib.colors import Colormap
    from matplotlib.patheffects import AbstractPathEffect
    from matplotlib.typing import ColorType

_EDGE = 0.4
"""Width of the outline of a dot, in points."""
_BLUE_BLACK_RED = ("#b3dcf7", "#4393d3", "#1d4467", "#1c1c1c", "#6d2a18", "#dd6a3f", "#ffd0b8")
"""As dark in the middle as RdBu of ColorBrewer is light."""
MISSING = "#d3d3d3"
"""Color of what was not observed."""


def cells_by_group(adata: AnnData, groupby: str) -> dict[str, np.ndarray]:
    """Return the positions of the cells of each group, in the order of the categories.

    Cells with a missing value belong to none; categories without cells are left out.

    Raises
    ------
    KeyError
        ``adata.obs`` has no such column.
    TypeError
        ``groupby`` is not the name of one column.
    ValueError
        No cell has a value, or the column is there twice.
    """
    labels = categories_of(adata, groupby)
    groups = {str(c): np.flatnonzero(labels.codes == i) for i, c in enumerate(labels.categories)}
    groups = {name: cells for name, cells in groups.items() if len(cells)}
    if not groups:
        raise ValueError(f"Expected groups in adata.obs[{groupby!r}], found missing values only.")
    return groups


def is_light(background: ColorType) -> bool:
    """Return whether a background is nearer to white than to black, as people see it."""
    return contrast(background, "black") > 5


def diverging_map(cmap: str | None, background: ColorType) -> str | Colormap:
    """Return ``cmap``; if None, from blue to red through about the color of the background.

    White in the middle of a color map would be the most prominent color on black.
    """
    if cmap is not None:
        return cmap
    if is_light(background):
        return "RdBu_r"
    return LinearSegmentedColormap.from_list("blue_black_red", _BLUE_BLACK_RED)


def missing_color(background: ColorType) -> str:
    """Return the grey of what was not observed, faint on a light or dark background."""
    return MISSING if is_light(background) else "#383838"


def outline(color: ColorType, background: ColorType, width: float) -> list[AbstractPathEffect]:
    """Return path effects that outline a line of a color too close to that of the background."""
    if contrast(color, background) >= LEAST_CONTRAST:
        return []
    edge = mpl.rcParams["axes.edgecolor"]
    return [withStroke(linewidth=width + 0.8, foreground=edge)]


def edge_widths(colors: Iterable[ColorType], background: ColorType) -> np.ndarray:
    """Return widths of the edges of dots: some for colors too close to the background, else 0."""
    return np.array([_EDGE * (contrast(c, background) < LEAST_CONTRAST) for c in colors])


def legend_dot(name: str, color: ColorType, background: ColorType) -> Line2D:
    """Return the entry of a group of cells in a legend, outlined like its dots."""
    (width,) = edge_widths([color], background)
    edge = mpl.rcParams["axes.edgecolor"] if width else color
    style: dict[str, Any] = {"markeredgecolor": edge, "markeredgewidth": max(width, 0.1)}
    return Line2D(
        [], [], linestyle="", marker="o", markersize=5.5, color=color, label=name, **style
    )


def subsampled(
    groups: dict[str, np.ndarray], max_cells: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draw ``max_cells`` positions in proportion to the groups, at least 10 of each."""
    total = sum(map(len, groups.values()))
    if total <= max_cells:
        return groups
    subset = {}
    for name, cells in groups.items():
        size = min(len(cells), max(10, round(len(cells) * max_cells / total)))
        subset[name] = rng.choice(cells, size, replace=False)
    return subset

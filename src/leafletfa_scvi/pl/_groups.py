"""Groups of cells, and colors that depend on the background."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patheffects import withStroke

from leafletfa_scvi._colors import categories_of

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.patheffects import AbstractPathEffect
    from matplotlib.typing import ColorType

_LEAST_CONTRAST = 1.4
"""Contrast to the background, below which lines have an outline."""
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


def missing_color(background: ColorType) -> str:
    """Return the grey of what was not observed, faint on a light or dark background."""
    return MISSING if _luminance(background) > 0.2 else "#4d4d4d"


def outline(color: ColorType, background: ColorType, width: float) -> list[AbstractPathEffect]:
    """Return path effects that outline a line of a color too close to that of the background."""
    if _contrast(color, background) >= _LEAST_CONTRAST:
        return []
    edge = mpl.rcParams["axes.edgecolor"]
    return [withStroke(linewidth=width + 0.8, foreground=edge)]


def _contrast(color: ColorType, other: ColorType) -> float:
    """Return the contrast of two colors, 1 to 21, as WCAG 2 defines it."""
    bright, dark = sorted((_luminance(color), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def _luminance(color: ColorType) -> float:
    channel = np.array(to_rgb(color))
    linear = np.where(channel <= 0.04045, channel / 12.92, ((channel + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


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

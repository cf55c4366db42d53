"""Groups of cells and their colors, as scanpy keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import is_color_like, to_hex, to_rgb
from matplotlib.patheffects import withStroke

from leafletfa_scvi._arguments import check_column, check_once

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.patheffects import AbstractPathEffect
    from matplotlib.typing import ColorType

Palette = str | Sequence[str] | Mapping[str, str]
"""A color map's name, colors in the order of the categories, or a color by category."""

OKABE_ITO = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#999999",
)
"""Colors that people with any color vision tell apart (Okabe and Ito 2008)."""
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
    labels = _categories(adata, groupby)
    groups = {str(c): np.flatnonzero(labels.codes == i) for i, c in enumerate(labels.categories)}
    groups = {name: cells for name, cells in groups.items() if len(cells)}
    if not groups:
        raise ValueError(f"Expected groups in adata.obs[{groupby!r}], found missing values only.")
    return groups


def group_colors(adata: AnnData, groupby: str, palette: Palette | None = None) -> dict[str, str]:
    """Return a color for each category of a column of ``obs``, unused ones included.

    Without ``palette``, colors are those of ``adata.uns["{groupby}_colors"]``, which scanpy
    writes, or, if there are too few, Okabe and Ito's for up to eight categories and scanpy's
    for more. ``adata`` is not changed.

    Raises
    ------
    ValueError
        ``palette`` has fewer colors than there are categories, or something that is no color.
    """
    names = [str(name) for name in _categories(adata, groupby).categories]
    if palette is not None:
        return palette_colors(names, palette)
    kept = adata.uns.get(f"{groupby}_colors")
    if kept is not None and len(kept) >= len(names) and all(map(is_color_like, kept)):
        return {name: to_hex(color) for name, color in zip(names, kept, strict=False)}
    if len(names) <= len(OKABE_ITO):
        return dict(zip(names, OKABE_ITO, strict=False))
    from scanpy.plotting import palettes

    for colors in (palettes.default_20, palettes.default_28, palettes.default_102):
        if len(names) <= len(colors):
            return {name: to_hex(color) for name, color in zip(names, colors, strict=False)}
    shades = mpl.colormaps["turbo"](np.linspace(0.03, 0.97, len(names)))
    return {name: to_hex(color) for name, color in zip(names, shades, strict=True)}


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


def palette_colors(
    names: Sequence[str], palette: Palette, what: str = "categories"
) -> dict[str, str]:
    """Return a color of ``palette`` for each name.

    Parameters
    ----------
    names
        Categories, programs or others.
    palette
        Color map, colors in the order of the names, or a color by name.
    what
        What the names are, in the plural, for messages.

    Raises
    ------
    ValueError
        ``palette`` has fewer colors than there are names, or something that is no color.
    """
    if isinstance(palette, str):
        if palette not in mpl.colormaps:
            near = get_close_matches(palette, list(mpl.colormaps), 1)
            remedy = f"Did you mean {near[0]!r}? " if near else ""
            raise ValueError(
                f"Expected palette to be a color map of matplotlib, found {palette!r}. {remedy}"
                f"Pass a name such as 'tab20', a list of colors, or a dictionary of colors by "
                f"{what}."
            )
        cmap = mpl.colormaps[palette]
        listed = getattr(cmap, "colors", ())
        # Qualitative color maps are lists; of continuous ones, colors are taken at even distances.
        discrete = 0 < len(listed) <= 40
        shades = listed if discrete else cmap(np.linspace(0.03, 0.97, len(names)))
        colors = dict(zip(names, shades, strict=False))
    elif isinstance(palette, Mapping):
        colors = {str(name): color for name, color in palette.items()}
    else:
        colors = dict(zip(names, palette, strict=False))
    without = [name for name in names if name not in colors]
    if without:
        raise ValueError(
            f"Expected palette to have a color for each of {len(names)} {what}, found none "
            f"for {', '.join(map(repr, without[:5]))}."
        )
    wrong = [colors[name] for name in names if not is_color_like(colors[name])]
    if wrong:
        raise ValueError(f"Expected palette to have colors of matplotlib, found {wrong[0]!r}.")
    return {name: to_hex(colors[name]) for name in names}


def _categories(adata: AnnData, groupby: str) -> pd.Categorical:
    check_column("groupby", groupby)
    if groupby not in adata.obs:
        raise KeyError(
            f"Expected groupby to be a column of adata.obs, one of {list(adata.obs)}, found "
            f"{groupby!r}."
        )
    check_once(adata.obs, groupby)
    return pd.Categorical(adata.obs[groupby])

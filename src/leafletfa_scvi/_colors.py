"""Colors of groups of cells, as scanpy keeps them, and of programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import is_color_like, to_hex, to_rgb

from leafletfa_scvi._arguments import check_column, check_once

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.typing import ColorType

LEAST_CONTRAST = 1.6
"""Contrast to the background, below which a color is hardly visible."""
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
PROGRAM_COLORS = (
    "#cc6677",
    "#332288",
    "#ddcc77",
    "#117733",
    "#88ccee",
    "#882255",
    "#44aa99",
    "#999933",
    "#aa4499",
    "#661100",
    "#0fffd2",
    "#5a4b00",
    "#9687f0",
    "#e1b4b4",
    "#693c96",
    "#96c33c",
    "#f087c3",
    "#6969c3",
    "#785a69",
    "#7887a5",
)
"""Colors of programs, other ones than those of groups of cells (Okabe and Ito's).

The first nine are the muted scheme of Tol (2021, https://sro.sron.nl/pt/), which people with any
color vision tell apart. Each of the others was chosen as the color that is farthest from those
before it, in OKLab, also as people with deuteranopia or protanopia see them (Machado et al. 2009).
"""


def group_colors(adata: AnnData, groupby: str, palette: Palette | None = None) -> dict[str, str]:
    """Return a color for each category of a column of ``obs``, unused ones included.

    Without ``palette``, colors are those of ``adata.uns["{groupby}_colors"]``, which scanpy
    writes, or, if there are too few, Okabe and Ito's for up to eight categories and scanpy's
    for more, without those that are hardly visible on white or black. ``adata`` is not changed.

    Raises
    ------
    ValueError
        ``palette`` has fewer colors than there are categories, or something that is no color.
    """
    names = [str(name) for name in categories_of(adata, groupby).categories]
    if palette is not None:
        return palette_colors(names, palette)
    kept = adata.uns.get(f"{groupby}_colors")
    if kept is not None and len(kept) >= len(names) and all(map(is_color_like, kept)):
        return {name: to_hex(color) for name, color in zip(names, kept, strict=False)}
    if len(names) <= len(OKABE_ITO):
        return dict(zip(names, OKABE_ITO, strict=False))
    from scanpy.plotting import palettes

    visible = [color for color in palettes.default_102 if _is_visible(color)]
    for colors in (palettes.default_20, visible):
        if len(names) <= len(colors):
            return {name: to_hex(color) for name, color in zip(names, colors, strict=False)}
    shades = mpl.colormaps["turbo"](np.linspace(0.03, 0.97, len(names)))
    return {name: to_hex(color) for name, color in zip(names, shades, strict=True)}


def contrast(color: ColorType, other: ColorType) -> float:
    """Return the contrast of two colors, 1 to 21, as WCAG 2.2 defines it."""
    bright, dark = sorted((_luminance(color), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def _luminance(color: ColorType) -> float:
    channel = np.array(to_rgb(color))
    linear = np.where(channel <= 0.04045, channel / 12.92, ((channel + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def _is_visible(color: ColorType) -> bool:
    return (
        contrast(color, "white") >= LEAST_CONTRAST and contrast(color, "black") >= LEAST_CONTRAST
    )


def program_colors(n_programs: int) -> list[str]:
    """Return a color for each program, :data:`PROGRAM_COLORS` for up to 20 programs."""
    if n_programs <= len(PROGRAM_COLORS):
        return list(PROGRAM_COLORS[:n_programs])
    return [to_hex(c) for c in mpl.colormaps["turbo"](np.linspace(0.03, 0.97, n_programs))]


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


def categories_of(adata: AnnData, groupby: str) -> pd.Categorical:
    check_column("groupby", groupby)
    if groupby not in adata.obs:
        raise KeyError(
            f"Expected groupby to be a column of adata.obs, one of {list(adata.obs)}, found "
            f"{groupby!r}."
        )
    check_once(adata.obs, groupby)
    return pd.Categorical(adata.obs[groupby])

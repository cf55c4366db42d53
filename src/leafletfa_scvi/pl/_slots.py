"""Result slots, colors of programs and tick labels common to all figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex, to_rgb

from leafletfa_scvi._arguments import check_anndata
from leafletfa_scvi._constants import program_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData
    from matplotlib.axes import Axes


def result_slot(adata: AnnData, slot: str, key: str) -> pd.DataFrame:
    """Return ``adata.<slot>[key]`` with programs in columns, or raise a KeyError."""
    mapping = getattr(check_anndata(adata), slot)
    if key not in mapping:
        raise KeyError(
            f"Expected adata.{slot} to contain {key!r}, found "
            f"{', '.join(map(repr, mapping)) or 'no keys'}. Call model.export_posterior(adata) "
            "first, or pass another key."
        )
    values = mapping[key]
    if isinstance(values, pd.DataFrame):
        return values
    values = np.asarray(values)
    names = adata.obs_names if slot == "obsm" else adata.var_names
    return pd.DataFrame(values, index=names, columns=program_names(values.shape[1]))


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
GRAY = "0.5"
"""Color of notes and helping lines, legible on white and on black."""


def program_colors(n_programs: int) -> list[str]:
    """Return a color for each program, :data:`PROGRAM_COLORS` for up to 20 programs."""
    if n_programs <= len(PROGRAM_COLORS):
        return list(PROGRAM_COLORS[:n_programs])
    return [to_hex(c) for c in matplotlib.colormaps["turbo"](np.linspace(0.03, 0.97, n_programs))]


def short_number(value: float, _: object = None) -> str:
    """Format a tick label, 1500000 as ``1.5M``."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:g}{letter}"
    return f"{value:g}"


def text_on(shade: Any, ax: Axes, alpha: float = 1.0) -> str:
    """Return black or white, whichever contrasts more with a color drawn over the axes.

    Luminance and contrast are those of the Web Content Accessibility Guidelines 2.2.
    """
    rgb = alpha * np.array(to_rgb(shade)) + (1 - alpha) * np.array(to_rgb(ax.get_facecolor()))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return "black" if linear @ [0.2126, 0.7152, 0.0722] > 0.179 else "white"


def program_ticks(
    set_ticks: Callable[..., object], names: list[str], *, top: bool = False
) -> None:
    """Label columns with programs, turned where they are long or many."""
    wide = max(map(len, names)) > 4 or len(names) > 12
    turn: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    turn = ({"rotation": 90} if top else turn) if wide else {}
    set_ticks(range(len(names)), names, fontsize="small", **turn)

"""Result slots, colors of programs and tick labels common to all figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb

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


GRAY = "0.5"
"""Color of notes and helping lines, legible on white and on black."""


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

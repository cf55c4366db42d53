"""Result slots, colors of programs and tick labels common to all figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex, to_rgb
from matplotlib.ticker import (
    Formatter,
    FuncFormatter,
    LogLocator,
    NullFormatter,
    NullLocator,
)

from leafletfa_scvi._arguments import check_anndata
from leafletfa_scvi._colors import contrast
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
            return Formatter.fix_minus(f"{value / unit:g}{letter}")
    return Formatter.fix_minus(f"{value:g}")


def log_ticks(ax: Axes) -> None:
    """Set ticks at powers of 10, and at 2 and 5 times these if the axis spans few of them."""
    low, high = ax.get_xlim()
    wide = high > 300 * low
    minor = LogLocator(10, subs=range(2, 10), numticks=12) if wide else NullLocator()
    ax.xaxis.set_major_locator(LogLocator(10, subs=(1,) if wide else (1, 2, 5), numticks=12))
    ax.xaxis.set_minor_locator(minor)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: short_number(x) if x >= 1 else ""))
    ax.xaxis.set_minor_formatter(NullFormatter())


def text_on(shade: Any, ax: Axes, alpha: float = 1.0) -> str:
    """Return black or white, whichever contrasts more with a color drawn over the axes."""
    rgb = alpha * np.array(to_rgb(shade)) + (1 - alpha) * np.array(to_rgb(ax.get_facecolor()))
    mixed = to_hex((rgb[0], rgb[1], rgb[2]))
    return "black" if contrast(mixed, "black") > contrast(mixed, "white") else "white"


def program_ticks(
    set_ticks: Callable[..., object], names: list[str], *, top: bool = False
) -> None:
    """Label columns with programs, turned where they are long or many."""
    wide = max(map(len, names)) > 4 or len(names) > 12
    turn: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    turn = ({"rotation": 90} if top else turn) if wide else {}
    set_ticks(range(len(names)), names, fontsize="small", **turn)

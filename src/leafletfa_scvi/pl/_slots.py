"""Result slots, colors of programs and tick labels common to all figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from leafletfa_scvi._arguments import check_anndata
from leafletfa_scvi._constants import program_names

if TYPE_CHECKING:
    from anndata import AnnData


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


def program_colors(n_programs: int) -> list[str]:
    """Return a color for each program; distinct for up to 20 programs."""
    if n_programs <= 20:
        # The dark shades of tab20 come first, so that up to 10 programs look like tab10.
        shades = [to_hex(c) for c in matplotlib.colormaps["tab20"](np.arange(20))]
        return (shades[::2] + shades[1::2])[:n_programs]
    return [to_hex(c) for c in matplotlib.colormaps["turbo"](np.linspace(0.03, 0.97, n_programs))]


def short_number(value: float, _: object = None) -> str:
    """Format a tick label, 1500000 as ``1.5M``."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:g}{letter}"
    return f"{value:g}"

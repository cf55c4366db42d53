"""Reading result slots, and what all figures share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from leafletfa_scvi._arguments import check_anndata
from leafletfa_scvi._constants import program_names

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes


def result_slot(adata: AnnData, slot: str, key: str) -> pd.DataFrame:
    """``adata.<slot>[key]`` with programs in columns; a KeyError that says how to fill it."""
    mapping = getattr(check_anndata(adata), slot)
    if key not in mapping:
        raise KeyError(
            f"adata.{slot} has no {key!r}: run model.export_posterior(adata) first, or name the "
            f"slot with key=. Found: {', '.join(map(repr, mapping)) or 'none'}."
        )
    values = mapping[key]
    if isinstance(values, pd.DataFrame):
        return values
    values = np.asarray(values)
    names = adata.obs_names if slot == "obsm" else adata.var_names
    return pd.DataFrame(values, index=names, columns=program_names(values.shape[1]))


def program_colors(n_programs: int) -> list[str]:
    """A colour for each program, distinct up to 20 of them."""
    if n_programs <= 20:
        # The strong shades of tab20 first, so that few programs look as in tab10.
        shades = [to_hex(c) for c in matplotlib.colormaps["tab20"](np.arange(20))]
        return (shades[::2] + shades[1::2])[:n_programs]
    return [to_hex(c) for c in matplotlib.colormaps["turbo"](np.linspace(0.03, 0.97, n_programs))]


def new_axes(width: float, height: float) -> Axes:
    """Axes of a new figure of that size, in inches."""
    return plt.subplots(figsize=(width, height), layout="constrained")[1]

"""PSI of junctions by group of cells, with samples and the expectation of a model."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from leafletfa_scvi import tl
from leafletfa_scvi._arguments import check_anndata, check_names, check_whole
from leafletfa_scvi._colors import OKABE_ITO, group_colors
from leafletfa_scvi.pl._docs import shared_docs
from leafletfa_scvi.pl._figures import finish
from leafletfa_scvi.pl._groups import outline
from leafletfa_scvi.pl._splice_target import find_junctions

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

    from leafletfa_scvi import LeafletFAModel
    from leafletfa_scvi._colors import Palette

_ROW = 0.27
"""Height of a group, in inches; of each of its parts, if it has several, 0.6 of this."""
_LEAST_WIDTH = 4.2
"""Least width of a figure, for its legend."""
_WIDTH = 2.3
"""Width of a panel."""
_SPREAD = 0.1
"""Largest distance of samples from their line, relative to that of groups."""
_LINES = {1: (0.0,), 2: (-0.17, 0.19), 3: (-0.27, 0.0, 0.27)}
"""Lines of reads, samples and model of a group, by their number."""
_SAMPLE = "#808080"


@shared_docs
def psi(
    adata: AnnData,
    junctions: str | Sequence[str],
    groupby: str | None = None,
    *,
    groups: Sequence[str] | None = None,
    sample_key: str | None = None,
    model: LeafletFAModel | None = None,
    level: float = 0.95,
    palette: Palette | None = None,
    ncols: int = 4,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
    return_fig: bool = False,
) -> Any:
    """Plot PSI of junctions by group of cells, one panel for each junction.

    Dots are the PSI of the pooled reads of a group, with intervals. Small points are samples, and
    diamonds the mean expected PSI of a model. Groups without reads are marked as such.

    Parameters
    ----------
    adata
        Cells x junctions with both layers of counts.
    $junctions
    $groupby
        If None, all cells are one group.
    $groups
    sample_key
        Column of ``adata.obs`` with samples, which are drawn as points and are what intervals are
        over. If None, intervals are over cells.
    model
        Trained model whose expected PSI is drawn beside the observed one.
    level
        Probability of the intervals; see :func:`~leafletfa_scvi.tl.psi_by_group`.
    $palette
    $ncols
    $title_of_panels
    $figsize
    ax
        Axes to draw into, for one junction. If None, a new figure is created.
    $output

    Returns
    -------
    matplotlib.axes.Axes, or dict of str to Axes
        Axes of the junction, or of each by name if there are several.

    Raises
    ------
    KeyError
        A junction, ATSE, gene, group, column or layer is unknown; the message offers the nearest.
    ValueError
        ``ax`` is given for several junctions.

    See Also
    --------
    leafletfa_scvi.tl.psi_by_group : The numbers drawn.

    Examples
    --------
    Reads and model side by side:

    >>> names = ["Ncam1_2:inclusion", "Cadm1_6:inclusion", "Gnas_4:inclusion"]
    >>> lfa.pl.psi(adata, names, "cell_type", model=model)

    .. image:: /_static/gallery/psi.png
       :alt: Three panels with PSI of four types of cells, dots with intervals and
           diamonds.

    With a point for each simulated donor, and intervals over donors:

    >>> lfa.pl.psi(adata, "ATSE_9", "group", sample_key="donor")

    .. image:: /_static/gallery/psi_samples.png
       :alt: PSI of two groups of donors, small points around each dot.
    """
    check_anndata(adata)
    names = junctions_named(adata, junctions)
    check_whole("ncols", ncols, 1)
    if ax is not None and len(names) > 1:
        raise ValueError(
            f"Expected one junction with ax, found {len(names)}. Leave ax out, or draw each into "
            "axes of its own."
        )
    options: dict[str, Any] = {"groups": groups, "sample_key": sample_key, "level": level}
    table = tl.psi_by_group(adata, groupby, names, model=model, **options)
    samples = None
    if sample_key is not None:
        samples = tl.psi_by_group(adata, groupby, names, by_sample=True, **options)
    shown = list(table["group"].cat.categories)
    colors = {} if groupby is None else group_colors(adata, groupby, palette)

    parts = ["reads", *["samples"] * (samples is not None), *["model"] * (model is not None)]
    lines = dict(zip(parts, _LINES[len(parts)], strict=True))
    if ax is None:
        n_rows, n_columns = panel_grid(len(names), ncols)
        longest = max(map(len, shown))
        height = _ROW * (1.0 if len(lines) == 1 else 0.6 * len(lines))
        size = (
            max(_LEAST_WIDTH, 0.6 + 0.075 * longest + n_columns * _WIDTH),
            0.8 + n_rows * (1.0 + height * len(shown)),
        )
        figure, grid = plt.subplots(
            n_rows,
            n_columns,
            figsize=size if figsize is None else figsize,
            layout=ConstrainedLayoutEngine(wspace=0.06),
            sharey=True,
            squeeze=False,
        )
        for unused in grid.ravel()[len(names) :]:
            unused.set_axis_off()
        drawn = dict(zip(names, grid.ravel(), strict=False))
    else:
        drawn = {names[0]: ax}
    for name, axes in drawn.items():
        rows = table[table["junction"] == name]
        _draw_groups(axes, rows, shown, colors, lines)
        if samples is not None:
            _draw_samples(axes, samples[samples["junction"] == name], shown, lines["samples"])
        _finish_axes(axes, shown)
        if len(names) > 1 or title is None:
            axes.set_title(heading(adata, name), fontsize="small")
    first = drawn[names[0]]
    figure = first.figure
    handles = _handles(level, sample_key, model is not None)
    legend: dict[str, Any] = {"frameon": False, "fontsize": "small", "handlelength": 1.5}
    if ax is None:
        width = sum(0.5 + 0.068 * len(str(handle.get_label())) for handle in handles)
        columns = len(handles) if width < figure.get_figwidth() else 1
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, **legend)
    else:
        ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), **legend)
    result = first if len(names) == 1 else drawn
    return finish(result, title=title, show=show, save=save, return_fig=return_fig)


def junctions_named(adata: AnnData, junctions: str | Sequence[str]) -> list[str]:
    """Return names of junctions, given as such or by the name of an ATSE or gene."""
    if not isinstance(junctions, str):
        return list(dict.fromkeys(check_names("junctions", junctions)))
    if junctions in adata.var_names:
        return [junctions]
    rows, _ = find_junctions(adata.var, junctions)
    return [str(name) for name in adata.var_names[rows]]


def panel_grid(n_panels: int, n_columns: int) -> tuple[int, int]:
    """Return rows and columns of panels, as even as they can be."""
    n_rows = math.ceil(n_panels / n_columns)
    return n_rows, math.ceil(n_panels / n_rows)


def _draw_groups(
    ax: Axes,
    rows: pd.DataFrame,
    shown: list[str],
    colors: dict[str, str],
    lines: dict[str, float],
) -> None:
    """Draw PSI of groups, and that of the model if there is one, on the lines of each group."""
    edge = mpl.rcParams["axes.edgecolor"]
    columns = ["psi", "lower", "upper", *["psi_model"] * ("model" in lines)]
    for i, (value, lower, upper, *model) in enumerate(rows[columns].to_numpy(float)):
        color = colors.get(shown[i], OKABE_ITO[0])
        effects = outline(color, ax.get_facecolor(), 1.6)
        y = i + lines["reads"]
        if np.isfinite(value):
            if np.isfinite(lower):
                ax.plot([lower, upper], [y, y], color=color, linewidth=1.6,
                        path_effects=effects, zorder=2)  # fmt: skip
            ax.plot(value, y, "o", color=color, markersize=6, markeredgecolor=edge,
                    markeredgewidth=0.5, zorder=4, clip_on=False)  # fmt: skip
        else:
            ax.text(0.5, y, "no reads", ha="center", va="center", style="italic",
                    fontsize="small", color=_SAMPLE)  # fmt: skip
        if model:
            ax.plot(model[0], i + lines["model"], "D", color=color, markersize=5,
                    markerfacecolor="none", markeredgewidth=1.3, path_effects=effects, zorder=4,
                    clip_on=False)  # fmt: skip


def _draw_samples(ax: Axes, rows: pd.DataFrame, shown: list[str], line: float) -> None:
    """Draw PSI of the samples of each group, spread around a line in the order of samples."""
    for i, name in enumerate(shown):
        values = rows["psi"][(rows["group"] == name).to_numpy()].dropna().to_numpy()
        offset = np.linspace(-_SPREAD, _SPREAD, len(values)) if len(values) > 1 else 0.0
        ax.plot(values, i + line + offset + np.zeros(len(values)), linestyle="none", marker="o",
                markersize=2.6, color=_SAMPLE, zorder=3, clip_on=False)  # fmt: skip


def _finish_axes(ax: Axes, shown: list[str]) -> None:
    ax.set(xlim=(-0.02, 1.02), ylim=(len(shown) - 0.5, -0.5), xlabel="PSI")
    ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    ax.set_yticks(range(len(shown)), shown)
    ax.tick_params(axis="y", length=0)
    ax.hlines(np.arange(len(shown)), 0, 1, color=_SAMPLE, alpha=0.25, linewidth=0.6, zorder=0)
    ax.spines[["top", "right", "left"]].set_visible(False)


def heading(adata: AnnData, name: str) -> str:
    """Return the gene and the name of a junction, on lines that fit."""
    lines = textwrap.wrap(name, 34, break_on_hyphens=False)
    if "gene_name" in adata.var:
        gene = str(adata.var["gene_name"].iloc[adata.var_names.get_loc(name)])
        if gene not in ("", "nan") and not name.startswith(gene):
            lines.insert(0, gene)
    return "\n".join(lines)


def _handles(level: float, sample_key: str | None, has_model: bool) -> list[Line2D]:
    line = mpl.rcParams["axes.edgecolor"]
    over = "cells" if sample_key is None else "samples"
    label = f"reads of the group, {level:.0%} interval over {over}"
    handles = [Line2D([], [], color=line, linewidth=1.6, marker="o", markersize=6, label=label)]
    if sample_key is not None:
        handles.append(
            Line2D(
                [],
                [],
                color=_SAMPLE,
                linestyle="none",
                marker="o",
                markersize=2.6,
                label=sample_key,
            )  # fmt: skip
        )
    if has_model:
        handles.append(
            Line2D(
                [],
                [],
                color=line,
                linestyle="none",
                marker="D",
                markersize=5,
                markerfacecolor="none",
                label="model, mean of cells",
            )  # fmt: skip
        )
    return handles

"""Quality of a data set at a glance, before any model is fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
    PercentFormatter,
)

from leafletfa_scvi._constants import ATSE_KEY
from leafletfa_scvi.pp.qc._matrices import require_splicing
from leafletfa_scvi.pp.qc._metrics import qc_metrics

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CELLS, _ATSES, _DARK = "#3b6ea5", "#c7793a", "0.25"
_MOST_BARS = 10
"""Sizes of ATSEs with a bar of their own, and event types listed."""
_MANY_CELLS = 3000
"""Cells above which a panel shows how densely points lie, not the points."""


def dataset_qc(adata: AnnData, *, atse_key: str = ATSE_KEY, title: str | None = None) -> Figure:
    """Coverage of cells and ATSEs, sizes and types of events, and missing values.

    Six panels: reads per cell, ATSEs observed per cell, share of ATSEs missing in a cell against
    its reads; cells per ATSE, junctions per ATSE, ATSEs of each event type. A dashed line is the
    median. On a logarithmic axis what is 0 cannot be drawn and is told in words.

    Parameters
    ----------
    adata
        Splicing data set; left as it is. ``var["event_type"]`` is used where there.
    atse_key
        Column of ``adata.var`` with ATSE labels.
    title
        Written above a line with the size of the data set.

    Returns
    -------
    matplotlib.figure.Figure
        A new figure with six axes, in the order above.

    Raises
    ------
    KeyError
        A layer or the column of labels is missing.
    ValueError
        There is no cell or no junction, or a count is not a whole number.
    """
    require_splicing(adata)
    if 0 in adata.shape:
        raise ValueError(f"adata has the shape {adata.shape}: there is nothing to draw.")
    metrics = qc_metrics(adata, atse_key=atse_key, inplace=False)
    assert metrics is not None
    cells, junctions = metrics
    first = ~adata.var[atse_key].duplicated().to_numpy()
    atses = junctions[first]

    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1, hspace=0.04, wspace=0.03)
    figure, axes = plt.subplots(2, 3, figsize=(11.5, 6.6), layout=layout)
    panels = axes.ravel()
    for ax in panels:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize="small")
        ax.set_axisbelow(True)
    _histogram(panels[0], cells["atse_reads"], "reads per cell", "cells", _CELLS)
    _histogram(panels[1], cells["n_atses"], "ATSEs observed per cell", "cells", _CELLS)
    _missing(panels[2], cells)
    _histogram(panels[3], atses["atse_n_cells"], "cells per ATSE", "ATSEs", _ATSES)
    _sizes(panels[4], atses["atse_n_junctions"])
    if "event_type" in adata.var:
        _types(panels[5], adata.var["event_type"][first])
    else:
        _words(panels[5], 'no event types in adata.var["event_type"]')
    heading = _summary(adata, cells, atses)
    if title is None:
        figure.suptitle(heading, x=0.012, ha="left", fontsize=11, color=_DARK)
    else:
        figure.suptitle(f"{title}\n{heading}", x=0.012, ha="left", fontsize=11, color=_DARK)
    return figure


def _summary(adata: AnnData, cells: pd.DataFrame, atses: pd.DataFrame) -> str:
    missing = 1 - cells["n_atses"].sum() / (len(cells) * len(atses))
    parts = [
        _counted(len(cells), "cell"),
        f"{_counted(adata.n_vars, 'junction')} in {_counted(len(atses), 'ATSE')}",
        _counted(int(cells["atse_reads"].sum()), "read"),
        f"{100 * missing:.1f} % of (cell, ATSE) pairs missing",
    ]
    return "   ·   ".join(parts)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _histogram(ax: Axes, values: pd.Series, label: str, what: str, color: str) -> None:
    """Histogram of counts; logarithmic where they span more than a factor of 30."""
    array = values.to_numpy(float)
    above = array[array > 0]
    ax.set(xlabel=label, ylabel=what)
    if not len(above):
        _words(ax, f"no reads in any of {_counted(len(array), what[:-1])}")
        return
    low, high = above.min(), above.max()
    logarithmic = high > 30 * low and len(above) > 1
    shown = above if logarithmic else array
    n_bins = int(np.clip(2 * len(shown) ** 0.5, 6, 40))
    if logarithmic:
        edges = np.unique(np.floor(np.geomspace(low, high + 1, n_bins + 1))) - 0.5
        ax.set_xscale("log")
    else:
        edges = _whole_edges(shown.min(), high, n_bins)
        ax.xaxis.set_major_locator(_whole_ticks(6))
        ax.xaxis.set_major_formatter(FuncFormatter(_short))
    slim = 0.85 if len(edges) <= 12 and not logarithmic else 1.0
    ax.hist(shown, edges.tolist(), rwidth=slim, color=color, edgecolor="white", linewidth=0.5)
    if logarithmic:
        ax.set_xlim(edges[0] / 1.15, edges[-1] * 1.15)
        _log_ticks(ax)
    median = float(np.median(array))
    if len(array) > 1 and (median > 0 or not logarithmic):
        ax.axvline(median, color=_DARK, linestyle="--", linewidth=1)
    zeros = len(array) - len(above)
    note = f"median {median:,.{0 if median == round(median) or median >= 100 else 1}f}"
    if zeros and logarithmic:
        note += f"; {_counted(zeros, what[:-1])} with 0 not shown"
    ax.set_title(note, loc="right", fontsize="small", color=_DARK)
    ax.yaxis.set_major_locator(_whole_ticks(5))
    ax.yaxis.set_major_formatter(FuncFormatter(_short))
    ax.grid(axis="y", color="0.92")


def _whole_edges(low: float, high: float, n_bins: int) -> np.ndarray:
    """Edges of bins that hold equally many whole numbers."""
    width = max(1, int(np.ceil((high - low + 1) / n_bins)))
    edges = np.arange(low, high + width + 1, width) - 0.5
    # A lone value is drawn as one slim bar, not as a wall.
    return np.concatenate([[edges[0] - 1], edges, [edges[-1] + 1]]) if high == low else edges


def _missing(ax: Axes, cells: pd.DataFrame) -> None:
    """Share of missing ATSEs of each cell against its reads."""
    has_reads = cells["atse_reads"].to_numpy() > 0
    reads = cells["atse_reads"].to_numpy(float)[has_reads]
    missing = 100 - cells["pct_atses_observed"].to_numpy()[has_reads]
    ax.set(xlabel="reads per cell", ylabel="ATSEs missing in the cell")
    if not len(reads):
        _words(ax, f"no reads in any of {_counted(len(cells), 'cell')}")
        return
    logarithmic = reads.max() > 30 * reads.min()
    if logarithmic:
        ax.set_xscale("log")
    if len(reads) > _MANY_CELLS:
        scale: Literal["log", "linear"] = "log" if logarithmic else "linear"
        image = ax.hexbin(
            reads, missing, gridsize=(38, 24), xscale=scale, bins="log", mincnt=1, cmap="Blues",
            linewidths=0.1, rasterized=True,
        )  # fmt: skip
        image.set_clim(vmin=0.5)
        bar = ax.figure.colorbar(image, ax=ax, aspect=24, pad=0.01)
        bar.set_label("cells", fontsize="small")
        bar.ax.tick_params(labelsize="x-small")
        bar.outline.set_visible(False)
    else:
        size = float(np.clip(4000 / len(reads), 5, 40))
        ax.scatter(reads, missing, s=size, color=_CELLS, alpha=0.5, linewidths=0, rasterized=True)
    if logarithmic:
        ax.set_xlim(reads.min() / 1.3, reads.max() * 1.3)
        _log_ticks(ax)
    else:
        ax.xaxis.set_major_locator(_whole_ticks(5))
        ax.xaxis.set_major_formatter(FuncFormatter(_short))
        space = max(1.0, 0.08 * (reads.max() - reads.min()))
        ax.set_xlim(reads.min() - space, reads.max() + space)
    low = max(0.0, missing.min() - 8)
    ax.set_ylim(low - 2 if low == 0 else low, 102)
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_formatter(PercentFormatter(decimals=0))
    ax.set_title(f"median {np.median(missing):.1f} %", loc="right", fontsize="small", color=_DARK)
    ax.grid(color="0.92")


def _sizes(ax: Axes, size: pd.Series) -> None:
    """Bars of ATSEs of each number of junctions; the largest in one."""
    sizes = size.to_numpy(int)
    low = int(sizes.min())
    last = min(int(sizes.max()), low + _MOST_BARS - 1)
    number = np.bincount(np.minimum(sizes, last), minlength=last + 1)[low:]
    place = np.arange(low, last + 1)
    ax.bar(place, number, width=0.8 if len(place) > 1 else 0.3, color=_ATSES)
    if len(place) == 1:
        ax.set_xlim(low - 1, low + 1)
    more = sizes.max() > last
    ax.set_xticks(place, [f"{p}+" if more and p == last else str(p) for p in place])
    ax.set(xlabel="junctions per ATSE", ylabel="ATSEs")
    note = f"median {np.median(sizes):g}, most {sizes.max():,}"
    ax.set_title(note, loc="right", fontsize="small", color=_DARK)
    ax.yaxis.set_major_locator(_whole_ticks(5))
    ax.yaxis.set_major_formatter(FuncFormatter(_short))
    ax.grid(axis="y", color="0.92")


def _types(ax: Axes, types: pd.Series) -> None:
    """Bars of ATSEs of each event type, most frequent first."""
    number = types.astype(object).fillna("none").astype(str).value_counts()
    if len(number) > _MOST_BARS:
        rest = number.iloc[_MOST_BARS - 1 :].sum()
        number = pd.concat([number.iloc[: _MOST_BARS - 1], pd.Series({"other": rest})])
    names = [_readable(name) for name in number.index]
    place = np.arange(len(names))[::-1]
    ax.barh(place, number, height=min(0.7, 0.15 * len(names)), color=_ATSES)
    for y, value in zip(place, number, strict=True):
        ax.annotate(
            f"{value:,}", (value, y), (3, 0), textcoords="offset points", va="center",
            fontsize="small", color=_DARK,
        )  # fmt: skip
    size = "small" if len(names) < 7 else "x-small"
    ax.set_yticks(place, names, fontsize=size)
    ax.set_ylim(-0.6 - 0.3 * (len(names) < 3), len(names) - 0.4 + 0.3 * (len(names) < 3))
    ax.margins(x=0.16)
    ax.set_xlabel("ATSEs")
    ax.xaxis.set_major_locator(_whole_ticks(4))
    ax.xaxis.set_major_formatter(FuncFormatter(_short))
    ax.tick_params(axis="y", length=0)


def _readable(name: str) -> str:
    """``alternative_5ss`` as words, in two lines if long."""
    words = name.replace("_", " ")
    for short, long in (("alternative", "alt."), ("5ss", "5′ site"), ("3ss", "3′ site")):
        words = words.replace(short, long)
    head, _, tail = words.rpartition(" ")
    return f"{head}\n{tail}" if len(words) > 20 and head else words


def _words(ax: Axes, text: str) -> None:
    ax.text(
        0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes, color="0.5",
        fontsize="small", wrap=True,
    )  # fmt: skip
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _whole_ticks(number: int) -> MaxNLocator:
    return MaxNLocator(number, integer=True, steps=[1, 2, 5, 10])


def _log_ticks(ax: Axes) -> None:
    """Ticks at 1, 10, 100, ..., or also at 2 and 5 where there are few of them."""
    low, high = ax.get_xlim()
    wide = high > 300 * low
    minor = LogLocator(10, subs=range(2, 10), numticks=12) if wide else NullLocator()
    ax.xaxis.set_major_locator(LogLocator(10, subs=(1,) if wide else (1, 2, 5), numticks=12))
    ax.xaxis.set_minor_locator(minor)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _short(x) if x >= 1 else ""))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _short(value: float, _: object = None) -> str:
    """``1500000`` as ``1.5M``."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:g}{letter}"
    return f"{value:g}"

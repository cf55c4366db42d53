"""Quality control figure of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import (
    FuncFormatter,
    MaxNLocator,
    PercentFormatter,
)

from leafletfa_scvi._constants import ATSE_KEY
from leafletfa_scvi.pl._docs import shared_docs
from leafletfa_scvi.pl._figures import finish
from leafletfa_scvi.pl._slots import GRAY, log_ticks, short_number
from leafletfa_scvi.pp import qc_metrics
from leafletfa_scvi.pp.qc import require_splicing

if TYPE_CHECKING:
    import os

    from anndata import AnnData
    from matplotlib.axes import Axes

_CELLS, _ATSES = "#3b6ea5", "#c7793a"
_GRID: dict[str, Any] = {"color": GRAY, "alpha": 0.15}
_PANELS = ("junction_reads", "n_atses", "pct_atses_observed", "atse_n_cells", "atse_n_junctions")
_MAX_BARS = 10
"""Maximum number of bars for sizes of ATSEs and for event types."""
_MANY_CELLS = 3000
"""Number of cells above which the density of points is drawn instead of points."""


@shared_docs
def dataset_qc(
    adata: AnnData,
    *,
    atse_key: str = ATSE_KEY,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
    return_fig: bool = False,
) -> Any:
    """Plot coverage of cells and ATSEs, and sizes and types of events.

    Six panels, of columns of :func:`leafletfa_scvi.pp.qc_metrics`: ``junction_reads`` and
    ``n_atses`` of cells; their ``pct_atses_observed`` against their reads; ``atse_n_cells`` and
    ``atse_n_junctions`` of ATSEs; and the ``event_type`` of ATSEs, or, where the data set has
    none, ``atse_minor_usage``. Dashed lines are medians. Zeros are omitted from logarithmic axes
    and counted in the title.

    Parameters
    ----------
    adata
        Splicing data set; not modified. ``var["event_type"]`` is used if present.
    atse_key
        Column of ``adata.var`` with ATSE labels.
    title
        Title, written above a line with the size of the data set.
    $figsize
    $output

    Returns
    -------
    dict
        The six axes of a new figure by the names of the columns, in the order above.

    Raises
    ------
    KeyError
        A layer or the column of labels is missing.
    ValueError
        ``adata`` has no cell or no junction, or a count is not an integer.

    Examples
    --------
    Reads of cells, cells of ATSEs, and how much ATSEs are spliced otherwise:

    >>> lfa.pl.dataset_qc(adata)

    .. image:: /_static/gallery/dataset_qc.png
       :alt: Six panels of histograms and points, each with its median.
    """
    require_splicing(adata)
    if 0 in adata.shape:
        raise ValueError(f"Expected cells and junctions to draw, found the shape {adata.shape}.")
    metrics = qc_metrics(adata, atse_key=atse_key, inplace=False)
    assert metrics is not None
    cells, junctions = metrics
    first = ~adata.var[atse_key].duplicated().to_numpy()
    atses = junctions[first]

    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1, hspace=0.04, wspace=0.03)
    figure, axes = plt.subplots(2, 3, figsize=figsize or (11.5, 6.6), layout=layout)
    panels = axes.ravel()
    for ax in panels:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize="small")
        ax.set_axisbelow(True)
    _histogram(panels[0], cells["junction_reads"], "junction reads per cell", "cells", _CELLS)
    _histogram(panels[1], cells["n_atses"], "ATSEs observed per cell", "cells", _CELLS)
    _observed(panels[2], cells)
    _histogram(panels[3], atses["atse_n_cells"], "cells per ATSE", "ATSEs", _ATSES)
    _sizes(panels[4], atses["atse_n_junctions"])
    if "event_type" in adata.var:
        _types(panels[5], adata.var["event_type"][first])
        last = "event_type"
    else:
        _minor_usage(panels[5], atses["atse_minor_usage"])
        last = "atse_minor_usage"
    heading = _summary(cells, junctions, len(atses))
    heading = heading if title is None else f"{title}\n{heading}"
    figure.suptitle(heading, x=0.012, ha="left", fontsize=11)
    drawn = dict(zip([*_PANELS, last], panels, strict=True))
    return finish(drawn, show=show, save=save, return_fig=return_fig)


def _summary(cells: pd.DataFrame, junctions: pd.DataFrame, n_atses: int) -> str:
    observed = junctions["atse_n_cells"].sum() / (len(cells) * len(junctions))
    parts = [
        _counted(len(cells), "cell"),
        f"{_counted(len(junctions), 'junction')} in {_counted(n_atses, 'ATSE')}",
        _counted(int(cells["junction_reads"].sum()), "junction read"),
        f"{100 * observed:.1f} % of entries observed",
    ]
    return "   ·   ".join(parts)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _histogram(ax: Axes, values: pd.Series, label: str, what: str, color: str) -> None:
    """Draw a histogram of counts, logarithmic if they span more than a factor of 30."""
    array = values.to_numpy(float)
    above = array[array > 0]
    ax.set(xlabel=label, ylabel=what)
    if not len(above):
        _message(ax, f"no reads in any of {_counted(len(array), what[:-1])}")
        return
    low, high = above.min(), above.max()
    logarithmic = high > 30 * low and len(above) > 1
    shown = above if logarithmic else array
    n_bins = int(np.clip(2 * len(shown) ** 0.5, 6, 40))
    if logarithmic:
        edges = np.unique(np.floor(np.geomspace(low, high + 1, n_bins + 1))) - 0.5
        ax.set_xscale("log")
    else:
        edges = _integer_edges(shown.min(), high, n_bins)
        ax.xaxis.set_major_locator(_integer_ticks(6))
        ax.xaxis.set_major_formatter(FuncFormatter(short_number))
    bar_width = 0.85 if len(edges) <= 12 and not logarithmic else 1.0
    ax.hist(
        shown,
        edges.tolist(),
        rwidth=bar_width,
        color=color,
        edgecolor=ax.get_facecolor(),
        linewidth=0.5,
    )
    if logarithmic:
        ax.set_xlim(edges[0] / 1.15, edges[-1] * 1.15)
        log_ticks(ax)
    median = float(np.median(array))
    if len(array) > 1 and (median > 0 or not logarithmic):
        ax.axvline(median, color=GRAY, linestyle="--", linewidth=1)
    zeros = len(array) - len(above)
    note = f"median {median:,.{0 if median == round(median) or median >= 100 else 1}f}"
    if zeros and logarithmic:
        note += f"; {_counted(zeros, what[:-1])} with 0 not shown"
    ax.set_title(note, loc="right", fontsize="small")
    ax.yaxis.set_major_locator(_integer_ticks(5))
    ax.yaxis.set_major_formatter(FuncFormatter(short_number))
    ax.grid(axis="y", **_GRID)


def _integer_edges(low: float, high: float, n_bins: int) -> np.ndarray:
    """Return edges of bins that contain equally many integers."""
    width = max(1, int(np.ceil((high - low + 1) / n_bins)))
    edges = np.arange(low, high + width + 1, width) - 0.5
    # Pad a single value with empty bins, so that its bar does not fill the axes.
    return np.concatenate([[edges[0] - 1], edges, [edges[-1] + 1]]) if high == low else edges


def _observed(ax: Axes, cells: pd.DataFrame) -> None:
    """Plot the share of ATSEs that are observed in each cell against its reads."""
    has_reads = cells["junction_reads"].to_numpy() > 0
    reads = cells["junction_reads"].to_numpy(float)[has_reads]
    observed = cells["pct_atses_observed"].to_numpy()[has_reads]
    ax.set(xlabel="junction reads per cell", ylabel="ATSEs observed in the cell")
    if not len(reads):
        _message(ax, f"no reads in any of {_counted(len(cells), 'cell')}")
        return
    logarithmic = reads.max() > 30 * reads.min()
    if logarithmic:
        ax.set_xscale("log")
    if len(reads) > _MANY_CELLS:
        scale: Literal["log", "linear"] = "log" if logarithmic else "linear"
        image = ax.hexbin(
            reads, observed, gridsize=(38, 24), xscale=scale, bins="log", mincnt=1, cmap="Blues",
            linewidths=0.1, rasterized=True,
        )  # fmt: skip
        image.set_clim(vmin=0.5)
        bar = ax.figure.colorbar(image, ax=ax, aspect=24, pad=0.01)
        bar.set_label("cells", fontsize="small")
        bar.ax.tick_params(labelsize="x-small")
        bar.outline.set_visible(False)
    else:
        size = float(np.clip(4000 / len(reads), 5, 40))
        ax.scatter(reads, observed, s=size, color=_CELLS, alpha=0.5, linewidths=0, rasterized=True)
    if logarithmic:
        ax.set_xlim(reads.min() / 1.3, reads.max() * 1.3)
        log_ticks(ax)
    else:
        ax.xaxis.set_major_locator(_integer_ticks(5))
        ax.xaxis.set_major_formatter(FuncFormatter(short_number))
        space = max(1.0, 0.08 * (reads.max() - reads.min()))
        ax.set_xlim(reads.min() - space, reads.max() + space)
    high = min(100.0, observed.max() + 8)
    ax.set_ylim(-2, high + 2 if high == 100 else high)
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_formatter(PercentFormatter(decimals=0))
    ax.set_title(f"median {np.median(observed):.1f} %", loc="right", fontsize="small")
    ax.grid(**_GRID)


def _sizes(ax: Axes, size: pd.Series) -> None:
    """Draw the number of ATSEs by size; the largest sizes share a bar."""
    sizes = size.to_numpy(int)
    low = int(sizes.min())
    last = min(int(sizes.max()), low + _MAX_BARS - 1)
    number = np.bincount(np.minimum(sizes, last), minlength=last + 1)[low:]
    x = np.arange(low, last + 1)
    ax.bar(x, number, width=0.8 if len(x) > 1 else 0.3, color=_ATSES)
    if len(x) == 1:
        ax.set_xlim(low - 1, low + 1)
    truncated = sizes.max() > last
    ax.set_xticks(x, [f"{i}+" if truncated and i == last else str(i) for i in x])
    ax.set(xlabel="junctions per ATSE", ylabel="ATSEs")
    note = f"median {np.median(sizes):g}, max {sizes.max():,}"
    ax.set_title(note, loc="right", fontsize="small")
    ax.yaxis.set_major_locator(_integer_ticks(5))
    ax.yaxis.set_major_formatter(FuncFormatter(short_number))
    ax.grid(axis="y", **_GRID)


def _types(ax: Axes, types: pd.Series) -> None:
    """Draw the number of ATSEs by event type, most frequent first."""
    number = types.astype(object).fillna("none").astype(str).value_counts()
    if len(number) > _MAX_BARS:
        other = number.iloc[_MAX_BARS - 1 :].sum()
        number = pd.concat([number.iloc[: _MAX_BARS - 1], pd.Series({"other": other})])
    names = [_readable(name) for name in number.index]
    rows = np.arange(len(names))[::-1]
    ax.barh(rows, number, height=min(0.7, 0.15 * len(names)), color=_ATSES)
    for y, value in zip(rows, number, strict=True):
        ax.annotate(
            f"{value:,}", (value, y), (3, 0), textcoords="offset points", va="center",
            fontsize="small",
        )  # fmt: skip
    size = "small" if len(names) < 7 else "x-small"
    ax.set_yticks(rows, names, fontsize=size)
    ax.set_ylim(-0.6 - 0.3 * (len(names) < 3), len(names) - 0.4 + 0.3 * (len(names) < 3))
    ax.margins(x=0.16)
    ax.set_xlabel("ATSEs")
    ax.xaxis.set_major_locator(_integer_ticks(4))
    ax.xaxis.set_major_formatter(FuncFormatter(short_number))
    ax.tick_params(axis="y", length=0)


def _minor_usage(ax: Axes, usage: pd.Series) -> None:
    """Draw how much of the reads of ATSEs is not on their most used junction."""
    percent = 100 * usage.dropna().to_numpy(float)
    ax.set(xlabel="reads outside the most used junction", ylabel="ATSEs")
    if not len(percent):
        _message(ax, f"no reads in any of {_counted(len(usage), 'ATSE')}")
        return
    n_bins = int(np.clip(2 * len(percent) ** 0.5, 6, 40))
    edges = np.linspace(0, max(50.0, percent.max()), n_bins + 1)
    ax.hist(percent, edges.tolist(), color=_ATSES, edgecolor=ax.get_facecolor(), linewidth=0.5)
    median = float(np.median(percent))
    ax.axvline(median, color=GRAY, linestyle="--", linewidth=1)
    ax.set_title(f"median {median:.1f} %", loc="right", fontsize="small")
    ax.xaxis.set_major_formatter(PercentFormatter(decimals=0))
    ax.yaxis.set_major_locator(_integer_ticks(5))
    ax.yaxis.set_major_formatter(FuncFormatter(short_number))
    ax.grid(axis="y", **_GRID)


def _readable(name: str) -> str:
    """Convert an event type such as ``mutually_exclusive_exons`` to words, long ones in two lines.

    Words are those of the tables of ``leafletfa make-dataset``.
    """
    words = name.replace("_", " ")
    head, _, tail = words.rpartition(" ")
    return f"{head}\n{tail}" if len(words) > 20 and head else words


def _message(ax: Axes, text: str) -> None:
    ax.text(
        0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes, color=GRAY,
        fontsize="small", wrap=True,
    )  # fmt: skip
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _integer_ticks(number: int) -> MaxNLocator:
    return MaxNLocator(number, integer=True, steps=[1, 2, 5, 10])

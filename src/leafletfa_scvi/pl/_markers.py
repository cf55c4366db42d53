"""Dot plot of marker junctions, by program or by group of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.colors import Normalize
from matplotlib.transforms import ScaledTranslation

from leafletfa_scvi._arguments import check_anndata, check_whole
from leafletfa_scvi.pl._choice import called_rows, check_table, choose, label_texts
from leafletfa_scvi.pl._docs import shared_docs
from leafletfa_scvi.pl._figures import finish, new_axes
from leafletfa_scvi.pl._group_psi import group_psi
from leafletfa_scvi.pl._groups import diverging_map
from leafletfa_scvi.pl._marker_choice import top_markers
from leafletfa_scvi.pl._panels import color_bar, size_legend
from leafletfa_scvi.pl._rows import CHARACTER, names_width

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from leafletfa_scvi.model import LeafletFAModel

_SOURCE = "model.program_markers"
_COLUMNS = ("program", "effect_size", "proba_ds")
_LARGEST = 130.0
"""Area of the largest dot, in points squared."""
_GAP = 0.5
"""Space between the markers of two programs, in columns."""


class _Dots(NamedTuple):
    """What is drawn: R rows by P junctions.

    Attributes
    ----------
    rows
        Names of rows.
    effect
        ``(R, P)`` deviations of PSI; NaN where there is none.
    size
        ``(R, P)`` shares from 0 to 1.
    ringed
        ``(R, P)`` bool.
    labels
        Labels of the colors, of the sizes, and of missing values.
    format
        How to write sizes.
    """

    rows: list[str]
    effect: np.ndarray
    size: np.ndarray
    ringed: np.ndarray
    labels: tuple[str, str, str]
    format: str


@shared_docs
def markers(
    data: pd.DataFrame | AnnData | LeafletFAModel,
    groupby: str | None = None,
    *,
    adata: AnnData | None = None,
    programs: str | Sequence[str] | None = None,
    n_junctions: int = 3,
    junctions: Sequence[str] | None = None,
    label: str = "gene_name",
    cmap: str | None = None,
    vmax: float | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
    return_fig: bool = False,
) -> Any:
    """Plot how marker junctions of programs deviate in PSI, in each program or group of cells.

    Markers are those of ``model.program_markers`` within its bound on false discoveries, the most
    probable first. An ATSE is drawn once, under the program in which it deviates most, by one
    junction: the one that deviates most, or, of the two sides of a cassette exon, the one that is
    used more under this program.

    Parameters
    ----------
    data
        Result of :meth:`leafletfa_scvi.LeafletFAModel.program_markers` with all rows, a model, or
        an AnnData to which ``model.export_posterior`` wrote programs; it is then computed.
    $groupby
        If None, rows are programs.
    adata
        Cells for ``groupby``, if ``data`` is a table.
    programs
        Name or names of programs whose markers are drawn, in order. If None, all.
    n_junctions
        Maximum number of markers of a program.
    junctions
        Names of junctions to draw instead, in order.
    label
        Column with the names to write. The junction is named where it has none, and in addition
        where several junctions have the same.
    $diverging
    vmax
        Deviation of the last color. If None, the largest drawn.
    $figure

    Returns
    -------
    matplotlib.axes.Axes
        Axes with junctions on the x axis. Colors of dots are PSI under a program minus that under
        the others, and areas the probability of a difference; rings are within the bound on false
        discoveries. By group, colors are the PSI of its pooled reads minus that of the other
        groups, and areas the share of its cells with reads. Crosses are where there is no value.

    Raises
    ------
    KeyError
        A column is missing, or there is no such program or junction.
    TypeError
        ``data`` is none of the three, or ``adata`` not an AnnData.
    ValueError
        There are no markers, the table is of ATSEs, which have other junctions in other programs,
        or ``groupby`` is given without cells.

    Examples
    --------
    Three junctions that tell each program from the others:

    >>> lfa.pl.markers(model)

    .. image:: /_static/gallery/markers.png
       :alt: Red and blue dots in eight rows of programs, red ones on the diagonal.

    The same junctions in the reads of groups of cells:

    >>> lfa.pl.markers(model, "cell_type")

    .. image:: /_static/gallery/markers_groups.png
       :alt: Red and blue dots in four rows of types of cells.
    """
    n_junctions = check_whole("n_junctions", n_junctions, 1)
    table = _marker_table(data)
    names = choose("programs", programs, pd.unique(table["program"].astype(str)))
    if junctions is None:
        blocks = top_markers(table, names, n_junctions)
    else:
        blocks = {"": choose("junctions", junctions, pd.unique(table.index.astype(str)))}
    drawn = [name for block in blocks.values() for name in block]
    if groupby is None:
        dots = _by_program(table, names, drawn)
    else:
        dots = _by_group(_cells(data, adata), groupby, drawn)
    texts = label_texts(table, drawn, label)
    at = np.concatenate([[], *(np.arange(len(b)) for b in blocks.values())]) + np.repeat(
        _starts(blocks), [len(b) for b in blocks.values()]
    )
    if ax is None:
        width = names_width(dots.rows) + 0.25 * (at[-1] + 1) + 2.2
        below = CHARACTER * max(map(len, texts))
        ax = new_axes(width, 0.9 + below + max(1.3, 0.26 * len(dots.rows)), figsize)
    _draw(ax, dots, at, cmap, vmax)
    ax.set_xticks(at, texts, rotation=90, fontsize="small")
    ax.set_yticks(range(len(dots.rows)), dots.rows, fontsize="small")
    ax.set_ylabel(groupby or "")
    _brackets(ax, blocks)
    return finish(ax, title=title, show=show, save=save, return_fig=return_fig)


def _marker_table(data: Any) -> pd.DataFrame:
    """Return the table of markers by junction, computed if a model or an AnnData is given."""
    if isinstance(data, AnnData):
        from leafletfa_scvi.model import LeafletFAModel

        data = LeafletFAModel.from_programs(data)
    if hasattr(data, "program_markers"):
        data = data.program_markers()
    table = check_table("data", data, _COLUMNS, _SOURCE)
    if "junctions" in table:
        raise ValueError(
            "Expected data to be a table of junctions, found one of ATSEs, each with the junction "
            "that differs most under a program. Pass program_markers(level='junction')."
        )
    return table


def _cells(data: Any, adata: AnnData | None) -> AnnData:
    if adata is None:
        adata = data if isinstance(data, AnnData) else getattr(data, "adata", None)
    if adata is None:
        raise ValueError("Expected adata with the cells for groupby, found None. Pass them.")
    return check_anndata(adata, "adata")


def _by_program(table: pd.DataFrame, names: list[str], drawn: list[str]) -> _Dots:
    """Deviations of programs, with their probabilities."""
    called, bound = called_rows(table, "is_ds_fdr_")
    keyed = pd.DataFrame(
        {
            "effect": table["effect_size"].to_numpy(float),
            "size": table["proba_ds"].to_numpy(float),
            "called": called.to_numpy(float),
        },
        index=pd.MultiIndex.from_arrays(
            [table["program"].astype(str), table.index.astype(str)], names=["program", "junction"]
        ),
    )
    wanted = pd.MultiIndex.from_product([names, drawn])
    found = keyed.reindex(wanted)
    shape = len(names), len(drawn)
    effect, size, ringed = (found[c].to_numpy().reshape(shape) for c in found)
    ring = f"\n(ring: {bound})" if bound else ""
    labels = "PSI, program\nminus others", f"probability{ring}", "not in the table"
    return _Dots(names, effect, size, np.nan_to_num(ringed) > 0, labels, "g")


def _by_group(adata: AnnData, groupby: str, drawn: list[str]) -> _Dots:
    """Deviations of groups, with the shares of cells that have reads."""
    found = group_psi(adata, groupby, drawn)
    labels = "PSI, group\nminus others", "cells with\nreads", "no reads"
    effect = found.psi - found.psi_others
    ringed = np.zeros(effect.shape, bool)
    return _Dots(found.groups, effect, found.observed, ringed, labels, ".0%")


def _draw(ax: Axes, dots: _Dots, at: np.ndarray, cmap: str | None, vmax: float | None) -> None:
    """Draw dots and legends."""
    x, y = np.meshgrid(at, np.arange(len(dots.rows)))
    has = np.isfinite(dots.effect)
    top = float(np.abs(dots.effect[has]).max(initial=1e-6)) if vmax is None else vmax
    ink = plt.rcParams["text.color"]
    edges: Any = np.where(dots.ringed[has], ink, "#808080")
    widths: Any = np.where(dots.ringed[has], 1.0, 0.3)
    points = ax.scatter(
        x[has],
        y[has],
        s=_LARGEST * dots.size[has],
        c=dots.effect[has],
        cmap=diverging_map(cmap, ax.get_facecolor()),
        norm=Normalize(-top, top),
        edgecolors=edges,
        linewidths=widths,
    )
    ax.scatter(x[~has], y[~has], s=16, marker="x", color="#8c8c8c", linewidths=0.8)
    ax.set(xlim=(-0.7, at[-1] + 0.7), ylim=(len(dots.rows) - 0.4, -0.6))
    ax.tick_params(length=0)
    colors, sizes, missing = dots.labels
    color_bar(ax, points, colors, top=0.2)
    shares = (0.1, 0.5, 1.0)
    areas = {f"{share:{dots.format}}": _LARGEST * share for share in shares}
    where = size_legend(ax, areas, sizes, left=1.3, top=0.2)
    if not has.all():
        where.annotate(
            f"x  {missing}",
            (0, 0),
            xycoords="axes fraction",
            xytext=(0, -4),
            textcoords="offset points",
            va="top",
            fontsize="small",
        )


def _starts(blocks: dict[str, list[str]]) -> np.ndarray:
    """First column of each block."""
    sizes = [len(block) + _GAP for block in blocks.values()]
    return np.concatenate([[0.0], np.cumsum(sizes)[:-1]])


def _brackets(ax: Axes, blocks: dict[str, list[str]]) -> None:
    """Draw a bracket with the name of the program over its markers."""
    names = [name for name in blocks if name]
    if not names:
        return
    starts = _starts(blocks)
    ends = starts + [len(block) - 1 for block in blocks.values()]
    figure: Any = ax.figure
    above = ax.get_xaxis_transform() + ScaledTranslation(0, 4 / 72, figure.dpi_scale_trans)
    for start, end in zip(starts, ends, strict=True):
        ax.plot(
            [start - 0.35, end + 0.35],
            [1, 1],
            transform=above,
            clip_on=False,
            color=plt.rcParams["text.color"],
            linewidth=1.2,
        )
    top = ax.secondary_xaxis("top")
    top.set_xticks((starts + ends) / 2, names, fontsize="small")
    top.tick_params(length=0, pad=7)
    top.spines[:].set_visible(False)
    for text, block in zip(top.get_xticklabels(), blocks.values(), strict=True):
        if CHARACTER * len(text.get_text()) > 0.22 * (len(block) + _GAP):
            text.set_rotation(90)

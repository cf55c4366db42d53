"""Splice graph: junctions as arcs between exons, by group of cells or program."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import matplotlib.pyplot as plt
import numpy as np

from leafletfa_scvi._arguments import check_anndata, check_at_least, check_one_of, check_whole
from leafletfa_scvi.pl._docs import shared_docs
from leafletfa_scvi.pl._figures import finish
from leafletfa_scvi.pl._splice_layout import arc_levels, axis_scale
from leafletfa_scvi.pl._splice_panels import (
    LABEL_SIZE,
    annotation_lanes,
    draw_annotation,
    draw_arcs,
    draw_axis,
    draw_legend,
    label_of,
    title_panel,
)
from leafletfa_scvi.pl._splice_target import splice_target
from leafletfa_scvi.pl._splice_values import group_panels, program_panels, without_rare

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from anndata import AnnData

    from leafletfa_scvi import LeafletFAModel
    from leafletfa_scvi._colors import Palette
    from leafletfa_scvi.pl._splice_values import Panel
    from leafletfa_scvi.pp import Annotation

_By = Literal["psi", "reads"]
_ROWS = 10
"""Number of panels above one another, from which they are drawn in several columns."""
_LEVEL = 0.31
"""Height of one level of arcs, in inches."""
_LANE = 0.17
"""Height of one line of the annotation."""
_NAMES = 1.5
"""Width of the names of transcripts."""
_PAD = 0.05
"""Part of the axis to draw beyond the outermost splice sites, on either side."""
_CHARACTERS = 13.0
"""Number of characters of the title of a panel in an inch."""


@shared_docs
def splice_graph(
    adata: AnnData,
    name: str,
    groupby: str | None = None,
    *,
    groups: Sequence[str] | None = None,
    programs: Sequence[str] | bool | None = None,
    gtf: str | os.PathLike[str] | Annotation | None = None,
    model: LeafletFAModel | None = None,
    sample_key: str | None = None,
    by: _By = "psi",
    min_psi: float = 0.0,
    intervals: bool = True,
    level: float = 0.95,
    compress: bool = True,
    max_transcripts: int = 6,
    palette: Palette | None = None,
    ncols: int | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
    return_fig: bool = False,
) -> Any:
    """Plot the junctions of an ATSE or gene as arcs, one panel for each group or program.

    Arcs end where introns do, at the borders of exons. They are as wide as their PSI, which
    labels them, with its interval below. Novel junctions are dashed, and those of ATSEs without
    reads in a group dotted. The genome runs from left to right on both strands; an arrow points
    from 5' to 3'.

    Parameters
    ----------
    adata
        Cells x junctions with both layers of counts. ``adata.var`` has the introns in ``chrom``,
        ``start``, ``end`` (1-based, inclusive) and ``strand``, or names of junctions are
        ``chrom:start-end:strand``.
    name
        An ATSE (``var["atse_id"]`` or ``"atse_label"``), a gene (``"gene_name"`` or
        ``"gene_id"``), or a junction, for its ATSE.
    $groupby
        If neither this nor ``programs`` is given, all cells are one group.
    $groups
    programs
        Programs to draw instead of groups, in this order; all if True. They are those of
        ``model``, or of ``varm["psi_learned"]``.
    gtf
        Annotation, from which exons and transcripts are drawn and novel junctions are told from
        known ones: a GTF or GFF3 file, or the result of :func:`~leafletfa_scvi.pp.read_annotation`
        (which saves reading a file for each figure). Without it no exon is drawn, and junctions
        are known or novel by ``var["known_junction"]`` or ``"annotation_status"``.
    model
        Trained model. With groups, their mean expected PSI is drawn in place of the observed one,
        without intervals.
    sample_key
        Column of ``adata.obs`` with samples, over which intervals are; see
        :func:`~leafletfa_scvi.tl.psi_by_group`. If None, they are over cells.
    by
        ``"psi"``, or ``"reads"`` for widths and labels by the number of reads.
    min_psi
        Junctions whose PSI is below this in all panels are not drawn, and counted in the title.
    intervals
        Whether to write intervals below PSI.
    level
        Probability of the intervals.
    compress
        Whether to compress long introns, so that exons are visible. The axis says from what length
        on. Exons, and distances within one intron, are to scale.
    max_transcripts
        Maximum number of transcripts to draw of each gene, chosen so that they have as many of the
        junctions as possible, and of other genes in the range, one line each.
        Transcripts that are the same between the ends of the graph are drawn as one.
    $palette
    ncols
        Number of columns of panels; if None, as many as needed for ten rows.
    title
        Title of the figure; the name of the gene and ATSE if None.
    $figsize
    $output

    Returns
    -------
    dict of str to matplotlib.axes.Axes
        Axes of each group or program by name, whose x are positions in the genome (edges between
        bases: an intron from base s to base e spans s - 1 to e). Below each column are axes of the
        annotation, ``"annotation"``, ``"annotation 2"``, ....

    Raises
    ------
    KeyError
        The name, a group or a program is unknown (the message offers the nearest), or a layer is
        missing.
    ValueError
        The junctions of the gene are on several strands or contigs, both groups and programs are
        asked for, or reads of programs are.

    See Also
    --------
    leafletfa_scvi.tl.psi_by_group : The numbers drawn, for groups.
    leafletfa_scvi.tl.psi_by_program : The numbers drawn, for programs.

    Examples
    --------
    A cassette exon that motor neurons include:

    >>> lfa.pl.splice_graph(adata, "Ncam1_2", "cell_type")

    .. image:: /_static/gallery/splice_graph.png
       :alt: Arcs of inclusion and skipping in four types of cells, labeled with PSI.

    The same under the programs of a model:

    >>> lfa.pl.splice_graph(adata, "Ncam1_2", programs=["SP_2", "SP_7", "SP_8"])

    .. image:: /_static/gallery/splice_graph_programs.png
       :alt: Arcs of inclusion and skipping under three programs.

    With an annotation (:func:`~leafletfa_scvi.pp.read_annotation`), exons and transcripts are
    drawn: exons 5a and 5b of Snap25, of which a transcript has one:

    >>> lfa.pl.splice_graph(adata, "Snap25", "cells", gtf=annotation)

    .. image:: /_static/gallery/splice_graph_annotation.png
       :alt: Arcs between the exons of Snap25 in three sorts of neurons, above its
           transcripts.
    """
    check_anndata(adata)
    check_one_of("by", by, _By)
    check_at_least(0, min_psi=min_psi)
    check_whole("max_transcripts", max_transcripts, 1)
    target = splice_target(adata, name, gtf)
    if programs is not None and programs is not False:
        if groupby is not None or by == "reads":
            found = f"groupby={groupby!r}" if groupby is not None else "by='reads'"
            raise ValueError(
                f"Expected programs without groups and by='psi', found {found}. Draw them apart."
            )
        chosen = None if programs is True else programs
        panels = program_panels(adata, target, chosen, model, level)
    else:
        panels = group_panels(
            adata, target, groupby, groups, sample_key, model, level, by, palette
        )
    n_all = len(target.junctions)
    target, panels = without_rare(target, panels, min_psi)
    if not intervals:
        none = np.full(len(target.junctions), np.nan)
        panels = [replace(panel, lower=none, upper=none) for panel in panels]

    n_columns = math.ceil(len(panels) / _ROWS) if ncols is None else check_whole("ncols", ncols, 1)
    n_columns = min(n_columns, len(panels))
    n_rows = math.ceil(len(panels) / n_columns)
    sites = np.concatenate([target.left, target.right])
    lanes, rest = annotation_lanes(target, max_transcripts)
    exons = [target.exons, *(lane.exons for lane in lanes if lane.is_shown)]
    scale = axis_scale(sites, np.concatenate(exons), compress=compress)
    low, high = scale.forward(np.array([sites.min(), sites.max()]))
    pad = _PAD * (high - low)
    first, last = scale.inverse(np.array([low - pad, high + pad])).tolist()
    space = _NAMES if lanes else 0.3
    width = _width(len(np.unique(sites)), n_columns)
    if figsize is not None:
        width = max(1.0, (figsize[0] - space) / n_columns - 0.25)
    label_width = _label_width(panels, by) / width * (high - low + 2 * pad)
    levels = arc_levels(scale.forward(target.left), scale.forward(target.right), label_width)

    two_lines = any(len(p.label) * 1.25 + len(p.note) > _CHARACTERS * width for p in panels)
    heights = [0.25 + 0.15 * two_lines + (levels.max() + 1.95) * _LEVEL] * n_rows
    heights.append((0.3 + (target.strand != "?") + len(lanes) + (rest != "")) * _LANE)
    size = (space + n_columns * (width + 0.25), sum(heights) + 1.1) if figsize is None else figsize
    figure = plt.figure(figsize=size, layout="constrained")
    grid = figure.subplots(
        n_rows + 1, n_columns, sharex=True, squeeze=False, height_ratios=heights
    )
    grid[0, 0].set_xscale("function", functions=(scale.forward, scale.inverse))
    grid[0, 0].set_xlim(first, last)
    most = 1.0 if by == "psi" else max(1.0, *(np.nanmax(p.value, initial=0.0) for p in panels))
    axes: dict[str, Any] = {}
    for i, ax in enumerate(grid[:-1].T.ravel()):
        if i >= len(panels):
            ax.set_axis_off()
            continue
        panel = panels[i]
        draw_arcs(ax, target, scale, levels, panel, by=by, most=most)
        title_panel(ax, panel, two_lines=two_lines)
        axes[panel.label] = ax
    for column, ax in enumerate(grid[-1]):
        draw_annotation(ax, target, lanes, rest, (first, last), names=column == 0)
        draw_axis(ax, target, scale, (first, last), width)
        axes["annotation" if column == 0 else f"annotation {column + 1}"] = ax
    draw_legend(figure, target, panels, _described(by, level, sample_key, model, panels))
    title = target.title if title is None else title
    if n_all > len(target.junctions):
        hidden = n_all - len(target.junctions)
        title += f"\n{hidden} of {n_all} junctions have PSI < {min_psi:g} and are not drawn"
    return finish(axes, title=title, show=show, save=save, return_fig=return_fig)


def _width(n_sites: int, n_columns: int) -> float:
    """Return the width of a panel, in inches."""
    least, most = (5.5, 14.0) if n_columns == 1 else (4.5, 9.0)
    return min(max(least, 2.0 + 0.3 * n_sites), most)


def _label_width(panels: list[Panel], by: str) -> float:
    """Return the width of the longest label of an arc, in inches."""
    longest = max(
        (
            len(line)
            for panel in panels
            for j in range(len(panel.value))
            for line in label_of(panel, j, by).split("\n")
        ),
        default=0,
    )
    return (longest * 0.58 + 0.6) * LABEL_SIZE / 72


def _described(
    by: str,
    level: float,
    sample_key: str | None,
    model: LeafletFAModel | None,
    panels: list[Panel],
) -> str:
    """Say what the labels of arcs are."""
    if by == "reads":
        return "labels are reads"
    if not any(np.isfinite(panel.lower).any() for panel in panels):
        return "labels are PSI" if model is None else "labels are mean expected PSI of the model"
    over = "" if panels[0].is_program else f" over {'cells' if sample_key is None else 'samples'}"
    return f"labels are PSI with {level:.0%} interval{over}"

"""Activities of groups of cells."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_one_of, check_whole
from leafletfa_scvi._colors import Palette, group_colors
from leafletfa_scvi.pl._activity_kinds import draw_dots, draw_heatmap, draw_matrix, draw_violins
from leafletfa_scvi.pl._choice import choose
from leafletfa_scvi.pl._docs import shared_docs
from leafletfa_scvi.pl._figures import finish, new_axes
from leafletfa_scvi.pl._groups import cells_by_group
from leafletfa_scvi.pl._rows import cluster, draw_tree, label_rows, leaves, names_width
from leafletfa_scvi.tl._activities import CellActivities, cell_activities
from leafletfa_scvi.tl._group_activities import GroupActivities, group_activities

if TYPE_CHECKING:
    import os

    from anndata import AnnData
    from matplotlib.axes import Axes

    from leafletfa_scvi.model import LeafletFAModel

log = logging.getLogger(__name__)

_Kind = Literal["violin", "matrix", "dotplot", "heatmap"]
_COLUMN = {"violin": 0.75, "matrix": 0.45, "dotplot": 0.36, "heatmap": 0.45}
"""Width of a program, in inches."""
_RIGHT = {"violin": 1.4, "matrix": 2.2, "dotplot": 3.3, "heatmap": 2.2}
"""Space for numbers, dendrogram and legends, in inches."""


@shared_docs
def activity(
    adata: AnnData | LeafletFAModel,
    groupby: str,
    *,
    programs: str | list[str] | None = None,
    sample_key: str | None = None,
    kind: _Kind = "violin",
    dendrogram: bool = False,
    max_cells: int = 2000,
    palette: Palette | None = None,
    cmap: str = "viridis",
    seed: int = 0,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
    return_fig: bool = False,
) -> Any:
    """Plot the activities of programs in groups of cells: groups in rows, programs in columns.

    Parameters
    ----------
    $cells
    $groupby
        Cells without a value are left out, and so are categories without cells, which is logged.
    $programs
    sample_key
        Column of ``obs`` with samples (donor, mouse, plate). Means of groups are then those of
        samples, each counting once, as in :func:`leafletfa_scvi.tl.differential_activity`. Violins
        get a point for each sample, and the heat map has a row for each sample of a group.
    kind
        ``"violin"``: distribution over cells, as wide as the others at its peak, with a line at
        the mean. ``"matrix"``: mean as color. ``"dotplot"``: mean as color, and the share of cells
        whose main program it is as area. ``"heatmap"``: a row for each cell, similar cells of a
        group side by side; each group has the height of a name, and more in proportion to its
        cells.
    dendrogram
        Order groups by similarity of their mean activities (Hellinger distance, average linkage),
        and draw the tree.
    max_cells
        Maximum number of cells of a heat map. Groups are subsampled in proportion, to at least 10
        cells each.
    $palette
        Only violins have them.
    cmap
        Name of a color map of activities.
    seed
        Seed of the subsampling.
    $figure

    Returns
    -------
    matplotlib.axes.Axes
        Axes with groups on the y axis and programs on the x axis; legends and dendrogram are inset
        axes to its right.

    Raises
    ------
    KeyError
        ``obs`` has no such column, or there is no such program.
    TypeError
        ``adata`` is neither an AnnData nor a model, or a column is not given by its name.
    ValueError
        There are no activities, no cell has a group, ``programs`` is empty, or an argument is
        none of its values.

    Examples
    --------
    Distribution over cells, with a line at the mean:

    >>> lfa.pl.activity(adata, "cell_type")

    .. image:: /_static/gallery/activity.png
       :alt: Violins of four types of cells in rows and eight programs in columns.

    Means as colors and numbers, similar groups side by side:

    >>> lfa.pl.activity(adata, "cell_type", kind="matrix", dendrogram=True)

    .. image:: /_static/gallery/activity_matrix.png
       :alt: A matrix of means with numbers, and a tree.

    How many cells each program leads, as areas:

    >>> lfa.pl.activity(adata, "cell_type", kind="dotplot")

    .. image:: /_static/gallery/activity_dotplot.png
       :alt: Dots of two scales, types of cells by programs.

    A row for each cell:

    >>> lfa.pl.activity(adata, "cell_type", kind="heatmap", dendrogram=True)

    .. image:: /_static/gallery/activity_heatmap.png
       :alt: Rows of cells in blocks by type, columns of programs, and a tree.

    With a point for each of six simulated donors in a group:

    >>> lfa.pl.activity(adata, "group", sample_key="donor")

    .. image:: /_static/gallery/activity_samples.png
       :alt: Violins of two groups with points of donors.
    """
    check_one_of("kind", kind, _Kind)
    max_cells = check_whole("max_cells", max_cells, 1)
    cells = cell_activities(adata, "adata")
    groups = _group(cells, groupby, programs, sample_key)
    colors = group_colors(cells.adata, groupby, palette)
    tree = cluster(groups.mean) if dendrogram else None
    if tree is not None:
        groups = _reordered(groups, leaves(tree))
    names = list(groups.rows)
    if ax is None:
        width = names_width(names) + _COLUMN[kind] * len(groups.programs) + _RIGHT[kind]
        least = 2.4 if kind == "heatmap" else 1.3
        ax = new_axes(width, 0.9 + max(least, 0.26 * len(names)), figsize)
    left = None
    if kind == "violin":
        at = draw_violins(ax, groups, [colors[name] for name in names])
    elif kind == "matrix":
        at, left = draw_matrix(ax, groups, cmap)
    elif kind == "dotplot":
        at, left = draw_dots(ax, groups, cmap)
    else:
        at, left = draw_heatmap(ax, groups, cmap, max_cells, np.random.default_rng(seed))
    sizes = [len(rows) for rows in groups.rows.values()]
    used = label_rows(ax, at, names, sizes, "cells")
    used = max(used, draw_tree(ax, tree, at, used))
    if left is not None:
        left(used + 0.15)
    ax.set_ylabel(groupby)
    return finish(ax, title=title, show=show, save=save, return_fig=return_fig)


def _group(
    cells: CellActivities, groupby: str, programs: str | list[str] | None, sample_key: str | None
) -> GroupActivities:
    """Collect the activities of the cells and samples of each group."""
    names = choose("programs", programs, cells.programs)
    members = cells_by_group(cells.adata, groupby)
    _log_empty(cells.adata, groupby, members)
    return group_activities(cells, members, names, sample_key)


def _reordered(groups: GroupActivities, order: np.ndarray) -> GroupActivities:
    names = [list(groups.rows)[i] for i in order]
    samples = groups.samples
    return groups._replace(
        rows={name: groups.rows[name] for name in names},
        samples=None if samples is None else {name: samples[name] for name in names},
        mean=groups.mean[order],
        leads=groups.leads[order],
    )


def _log_empty(adata: AnnData, groupby: str, members: dict[str, np.ndarray]) -> None:
    """Say which categories have no cells."""
    categories = pd.Categorical(adata.obs[groupby]).categories
    empty = [str(name) for name in categories if str(name) not in members]
    if empty:
        log.info(
            "%d categories of adata.obs[%r] have no cells and are left out, the first of them %r.",
            len(empty),
            groupby,
            empty[0],
        )

"""Activities of groups of cells."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_column, check_one_of, check_whole
from leafletfa_scvi._colors import Palette, group_colors
from leafletfa_scvi.pl._activity_kinds import draw_dots, draw_heatmap, draw_matrix, draw_violins
from leafletfa_scvi.pl._choice import choose
from leafletfa_scvi.pl._docs import shared_docs
from leafletfa_scvi.pl._figures import finish, new_axes
from leafletfa_scvi.pl._groups import cells_by_group
from leafletfa_scvi.pl._rows import cluster, draw_tree, label_rows, leaves, names_width
from leafletfa_scvi.tl._activities import CellActivities, cell_activities
from leafletfa_scvi.tl._labels import check_columns
from leafletfa_scvi.tl._units import mean_activities

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


class GroupActivities(NamedTuple):
    """Activities of G groups.

    Attributes
    ----------
    programs
        Names of the K programs drawn.
    rows
        For each group, activities of its cells ``(C_g, K)``.
    samples
        For each group, mean activities of its samples ``(S_g, K)``, samples in rows by name; None
        without samples.
    mean
        ``(G, K)`` means over cells, or over samples, each counting once.
    leads
        ``(G, K)`` share of the cells of a group whose main program this is.
    """

    programs: list[str]
    rows: dict[str, np.ndarray]
    samples: dict[str, pd.DataFrame] | None
    mean: np.ndarray
    leads: np.ndarray


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
    columns = [cells.programs.index(name) for name in names]
    members = cells_by_group(cells.adata, groupby)
    _log_empty(cells.adata, groupby, members)
    main = cells.mean.argmax(1)
    samples: dict[str, pd.DataFrame] | None = None
    if sample_key is not None:
        check_columns(cells.adata.obs, [check_column("sample_key", sample_key)], "sample_key")
        codes, labels = pd.factorize(cells.adata.obs[sample_key], sort=True)
        members = {name: rows[codes[rows] >= 0] for name, rows in members.items()}
        without = [name for name, rows in members.items() if not len(rows)]
        if without:
            raise ValueError(
                f"Expected samples of all groups in adata.obs[{sample_key!r}], found missing "
                f"values only for {without[0]!r}. Fill them in, or leave out these cells."
            )
        samples = {}
        for name, rows in members.items():
            used, unit = np.unique(codes[rows], return_inverse=True)
            means = mean_activities(cells.mean[rows], unit, len(used))[:, columns]
            samples[name] = pd.DataFrame(means, [str(labels[i]) for i in used], names)
    rows_of = {name: cells.mean[rows][:, columns] for name, rows in members.items()}
    if samples is None:
        size = [len(rows) for rows in rows_of.values()]
        stacked = np.concatenate(list(rows_of.values()))
        mean = mean_activities(stacked, np.repeat(np.arange(len(size)), size), len(size))
    else:
        mean = np.array([table.to_numpy().mean(0) for table in samples.values()])
    leads = [[np.mean(main[rows] == k) for k in columns] for rows in members.values()]
    return GroupActivities(names, rows_of, samples, mean, np.array(leads))


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

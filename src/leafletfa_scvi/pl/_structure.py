"""Structure plot of activities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from leafletfa_scvi._constants import ACTIVITY_SLOT
from leafletfa_scvi.pl._figures import finish, new_axes
from leafletfa_scvi.pl._groups import cells_by_group
from leafletfa_scvi.pl._slots import program_colors, result_slot

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes


def structure(
    adata: AnnData,
    groupby: str | None = None,
    *,
    key: str = ACTIVITY_SLOT,
    max_cells: int | None = 2000,
    colors: Sequence[str] | None = None,
    seed: int = 0,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
    return_fig: bool = False,
) -> Any:
    """Plot the activities of cells as stacked bars, one per cell, grouped and sorted.

    Within a group, cells are ordered by their main program, the most frequent one first, and by
    its activity.

    Parameters
    ----------
    adata
        AnnData with activities in ``adata.obsm[key]``, as written by ``model.export_posterior``.
    groupby
        Column of ``adata.obs`` with groups of cells, drawn in the order of its categories. Cells
        without a group are omitted.
    key
        Key of the activities in ``obsm``: cells x programs.
    max_cells
        Maximum number of cells to draw, because bars narrower than a pixel are invisible. Groups
        are subsampled in proportion, to at least 10 cells each. If None, all cells are drawn.
    colors
        A color for each program.
    seed
        Seed of the subsampling.
    title
        Title of the axes.
    figsize
        Width and height of a new figure, in inches.
    ax
        Axes to draw into. If None, a new figure is created.
    show
        Whether to call ``matplotlib.pyplot.show``.
    save
        File to write the figure to; its ending is the format. Text in vector formats stays text.
    return_fig
        Whether to return the figure in place of the axes.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with one filled area per program, in order; None if ``show`` is true.

    Raises
    ------
    KeyError
        ``adata.obsm[key]`` or ``adata.obs[groupby]`` is missing.
    TypeError
        ``groupby`` is not the name of one column.
    ValueError
        ``colors`` has fewer colors than programs, or no cell has a group.
    """
    activities = result_slot(adata, "obsm", key)
    phi = activities.to_numpy(float)
    groups = cells_by_group(adata, groupby) if groupby else {"": np.arange(adata.n_obs)}
    palette = program_colors(phi.shape[1]) if colors is None else list(colors)
    if len(palette) < phi.shape[1]:
        raise ValueError(f"Expected colors with {phi.shape[1]} colors, found {len(palette)}.")

    if max_cells is not None:
        groups = _subsample(groups, max_cells, np.random.default_rng(seed))
    groups = {name: cells[_order(phi[cells])] for name, cells in groups.items()}
    order = np.concatenate(list(groups.values()))
    ax = new_axes(9, 2.6, figsize) if ax is None else ax
    # Cell i fills the interval [i, i + 1), so each edge appears twice, as in a step plot.
    edges = np.repeat(np.arange(len(order) + 1), 2)[1:-1]
    heights = np.repeat(phi[order], 2, axis=0).T
    ax.stackplot(
        edges, heights, colors=palette, labels=activities.columns, linewidth=0, antialiased=False
    )
    ax.set(xlim=(0, len(order)), ylim=(0, 1), ylabel="activity", yticks=[0, 0.5, 1])
    _label_groups(ax, groups, groupby)
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(
        handles,
        labels,
        loc="upper left",
        bbox_to_anchor=(1.005, 1.03),
        frameon=False,
        fontsize="small",
        ncols=1 + (len(labels) - 1) // 10,
        handlelength=1,
        handleheight=1,
        borderaxespad=0.2,
    )
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    return finish(ax, title=title, show=show, save=save, return_fig=return_fig)


def _subsample(
    groups: dict[str, np.ndarray], max_cells: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    total = sum(map(len, groups.values()))
    if total <= max_cells:
        return groups
    subset = {}
    for name, cells in groups.items():
        size = min(len(cells), max(10, round(len(cells) * max_cells / total)))
        subset[name] = rng.choice(cells, size, replace=False)
    return subset


def _order(phi: np.ndarray) -> np.ndarray:
    """Order the cells of one group by main program, then by its activity."""
    main = phi.argmax(axis=1)
    rank = np.argsort(np.argsort(-np.bincount(main, minlength=phi.shape[1]), kind="stable"))
    return np.lexsort((-phi.max(axis=1), rank[main]))


def _label_groups(ax: Axes, groups: dict[str, np.ndarray], groupby: str | None) -> None:
    if groupby is None:
        ax.set(xticks=[], xlabel=f"{sum(map(len, groups.values())):,} cells")
        return
    ends = np.cumsum([len(cells) for cells in groups.values()])
    starts = ends - [len(cells) for cells in groups.values()]
    for end in ends[:-1]:
        ax.axvline(end, color="white", linewidth=2.5)
    names = list(groups)
    # About 11 characters of a tick label fit in an inch.
    per_cell = ax.get_window_extent().width / ax.figure.dpi * 11 / ends[-1]
    spans = zip(starts, ends, names, strict=True)
    space = min((end - start) * per_cell - len(name) for start, end, name in spans)
    rotation: dict[str, Any] = (
        {} if space > 1 else {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    )
    ax.set_xticks((starts + ends) / 2, names, **rotation)
    ax.tick_params(axis="x", length=0)
    ax.set_xlabel(groupby)

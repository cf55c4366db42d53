"""Structure plot of activities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.font_manager import FontProperties

from leafletfa_scvi._colors import Palette, palette_colors, program_colors
from leafletfa_scvi._constants import ACTIVITY_SLOT
from leafletfa_scvi._deprecated import renamed_arguments
from leafletfa_scvi.pl._docs import shared_docs
from leafletfa_scvi.pl._figures import finish, new_axes
from leafletfa_scvi.pl._groups import cells_by_group, subsampled
from leafletfa_scvi.pl._slots import GRAY, result_slot
from leafletfa_scvi.pl._spread import spread

if TYPE_CHECKING:
    import os

    from anndata import AnnData
    from matplotlib.axes import Axes

_WIDTH, _HEIGHT = 9.0, 2.6
_GAP = 0.0045
"""Largest gap between groups, as a share of all bars."""
_LEADER = 8.0
"""Distance of turned labels from the axes, in points."""


@renamed_arguments(colors="palette")
@shared_docs
def structure(
    adata: AnnData,
    groupby: str | None = None,
    *,
    key: str = ACTIVITY_SLOT,
    max_cells: int | None = 2000,
    palette: Palette | None = None,
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
    its activity. The first program is at the top of the bars and of the legend.

    Parameters
    ----------
    adata
        AnnData with activities in ``adata.obsm[key]``, as written by ``model.export_posterior``.
    $groupby
        They are labeled with their number of cells. Cells without a group are omitted.
    key
        Key of the activities in ``obsm``: cells x programs.
    max_cells
        Maximum number of cells to draw, because bars narrower than a pixel are invisible. Groups
        are subsampled in proportion, to at least 10 cells each. If None, all cells are drawn.
    palette
        Colors of the programs: the name of a color map such as ``"tab20"``, a list in the order
        of programs, or a dictionary by program. If None, colors that differ from those of cell
        types and that color-blind people tell apart, for up to 10 programs.
    seed
        Seed of the subsampling.
    $title
    $figsize
        If None, labels of groups make it higher.
    $ax
    $output

    Returns
    -------
    matplotlib.axes.Axes
        Axes with one filled area per program, in order.

    Raises
    ------
    KeyError
        ``adata.obsm[key]`` or ``adata.obs[groupby]`` is missing.
    TypeError
        ``groupby`` is not the name of one column.
    ValueError
        ``palette`` has fewer colors than programs or something that is no color, or no cell has a
        group.

    Examples
    --------
    Each cell is a bar, and its programs are the colors:

    >>> lfa.pl.structure(adata, groupby="cell_type")

    .. image:: /_static/gallery/structure.png
       :alt: Stacked bars of four types of cells in the colors of eight programs.
    """
    activities = result_slot(adata, "obsm", key)
    names, phi = [str(name) for name in activities.columns], activities.to_numpy(float)
    colors = program_colors(len(names))
    if palette is not None:
        colors = list(palette_colors(names, palette, "programs").values())
    groups = {"": np.arange(adata.n_obs)} if groupby is None else cells_by_group(adata, groupby)
    sizes = {name: len(cells) for name, cells in groups.items()}
    if max_cells is not None:
        groups = subsampled(groups, max_cells, np.random.default_rng(seed))
    groups = {name: cells[_order(phi[cells])] for name, cells in groups.items()}
    n_drawn = np.array([len(cells) for cells in groups.values()])
    starts = _starts(n_drawn)
    width = starts[-1] + n_drawn[-1]

    may_grow = ax is None and figsize is None
    ax = new_axes(max(_WIDTH, 2.5 + 0.15 * len(groups)), _HEIGHT, figsize) if ax is None else ax
    edges, heights = _steps(phi, groups, starts)
    below = heights[:, ::-1].cumsum(axis=1)[:, ::-1] - heights
    style: dict[str, Any] = {"linewidth": 0, "antialiased": False}
    for k, (name, color) in enumerate(zip(names, colors, strict=True)):
        lower, upper = below[:, k], below[:, k] + heights[:, k]
        ax.fill_between(edges, lower, upper, color=color, label=name, **style)
    ax.set(xlim=(0, width), ylim=(0, 1), ylabel="activity", yticks=[0, 0.5, 1])
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    ax.legend(
        loc="upper left",
        bbox_to_anchor=(1.005, 1.03),
        frameon=False,
        fontsize="small",
        ncols=1 + (len(names) - 1) // 10,
        handlelength=1,
        handleheight=1,
        borderaxespad=0.2,
    )
    total, drawn = sum(sizes.values()), int(n_drawn.sum())
    shown = f"{total:,} cells" if drawn == total else f"{drawn:,} of {total:,} cells"
    if groupby is None:
        ax.set(xticks=[], xlabel=shown)
    else:
        ax.set_xlabel(f"{groupby} (number of cells)" + f"; {shown}" * (drawn < total))
        _label_groups(ax, starts, n_drawn, sizes, may_grow)
    return finish(ax, title=title, show=show, save=save, return_fig=return_fig)


def _order(phi: np.ndarray) -> np.ndarray:
    """Order the cells of one group by main program, then by its activity."""
    main = phi.argmax(axis=1)
    rank = np.argsort(np.argsort(-np.bincount(main, minlength=phi.shape[1]), kind="stable"))
    return np.lexsort((-phi.max(axis=1), rank[main]))


def _starts(n_drawn: np.ndarray) -> np.ndarray:
    """Return where the bars of each group start: cells have width 1, gaps at most a tenth of all.

    Gaps are not lines over the bars, which would hide groups of few cells.
    """
    gap = float(n_drawn.sum()) * min(_GAP, 0.1 / len(n_drawn))
    starts: np.ndarray = n_drawn.cumsum() - n_drawn + gap * np.arange(len(n_drawn))
    return starts


def _steps(
    phi: np.ndarray, groups: dict[str, np.ndarray], starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return both edges of each cell and its activities at both, with NaN between the groups."""
    x: list[np.ndarray] = []
    y: list[np.ndarray] = []
    for cells, start in zip(groups.values(), starts, strict=True):
        x += [np.repeat(start + np.arange(len(cells) + 1.0), 2)[1:-1], np.array([np.nan])]
        y += [np.repeat(phi[cells], 2, axis=0), np.full((1, phi.shape[1]), np.nan)]
    return np.concatenate(x)[:-1], np.concatenate(y)[:-1]


def _label_groups(
    ax: Axes, starts: np.ndarray, n_drawn: np.ndarray, sizes: dict[str, int], may_grow: bool
) -> None:
    """Label groups with their sizes, level if all labels fit, else turned and moved apart."""
    centers, end = starts + n_drawn / 2, float(starts[-1] + n_drawn[-1])
    figure: Any = ax.figure.canvas.figure
    ax.set_xticks([])
    figure.draw_without_rendering()  # lays out, so that the width of the axes is known
    per_cell = ax.get_window_extent().width * 72 / figure.dpi / end  # in points
    ax.set_xticks(centers, [f"{name}\n({size:,})" for name, size in sizes.items()])
    ax.tick_params(axis="x", length=0)
    labels = ax.get_xticklabels()
    wide = np.array([t.get_window_extent().width for t in labels]) * 72 / figure.dpi
    if (wide + 4 <= n_drawn * per_cell).all():
        return
    line_height = 1.2 * FontProperties(size="small").get_size_in_points()
    places = spread(centers, line_height / per_cell, 0.0, end)
    names = [f"{name} ({size:,})" for name, size in sizes.items()]
    ax.set_xticks(places, names, rotation=90, fontsize="small")
    ax.tick_params(axis="x", length=0, pad=_LEADER + 2)
    for center, place in zip(centers, places, strict=True):
        ax.annotate(
            "",
            (center, 0),
            (place, -_LEADER),
            xycoords=("data", "axes fraction"),
            textcoords=("data", "offset points"),
            arrowprops={"arrowstyle": "-", "color": GRAY, "linewidth": 0.7, "shrinkA": 0},
            annotation_clip=False,
        )
    if may_grow:
        width, height = figure.get_size_inches()
        longest = max(t.get_window_extent().height for t in ax.get_xticklabels())
        figure.set_size_inches(width, height + longest / figure.dpi)

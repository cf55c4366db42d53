"""Structure plot: the activities of every cell as one stacked bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_column, check_once
from leafletfa_scvi._constants import ACTIVITY_SLOT
from leafletfa_scvi.pl._slots import new_axes, program_colors, result_slot

if TYPE_CHECKING:
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
    ax: Axes | None = None,
) -> Axes:
    """Activities of cells as stacked bars, one bar of height 1 per cell, grouped and sorted.

    Within a group, cells that share their strongest program stand together, the programs that
    lead most cells first, and are sorted by its activity.

    Parameters
    ----------
    adata
        Cells with activities in ``adata.obsm[key]``, as ``model.export_posterior`` writes them.
    groupby
        Column of ``adata.obs`` with groups of cells, drawn in the order of its categories. Cells
        without a group are left out.
    key
        Slot of the activities, cells x programs.
    max_cells
        More cells than this are thinned to a random subset, each group in proportion but with
        10 cells at least: a bar narrower than a pixel shows nothing. None draws every cell.
    colors
        A colour for each program.
    seed
        Seed of the subset.
    ax
        Axes to draw into.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with one filled area for each program, in the order of the programs.

    Raises
    ------
    KeyError
        If ``adata.obsm[key]`` or ``adata.obs[groupby]`` is missing.
    TypeError
        If ``groupby`` is several columns.
    ValueError
        If there are fewer colours than programs, or no cell has a group.
    """
    if groupby is not None:
        check_column("groupby", groupby)
    activities = result_slot(adata, "obsm", key)
    phi = activities.to_numpy(float)
    groups = _groups(adata, groupby)
    palette = program_colors(phi.shape[1]) if colors is None else list(colors)
    if len(palette) < phi.shape[1]:
        raise ValueError(f"Expected {phi.shape[1]} colours, found {len(palette)}.")

    if max_cells is not None:
        groups = _thin(groups, max_cells, np.random.default_rng(seed))
    groups = {name: cells[_order(phi[cells])] for name, cells in groups.items()}
    order = np.concatenate(list(groups.values()))
    ax = new_axes(9, 2.6) if ax is None else ax
    # Each cell is the interval [i, i + 1): constant there, so a step between the two edges.
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
    return ax


def _groups(adata: AnnData, groupby: str | None) -> dict[str, np.ndarray]:
    """Positions of the cells of each group, in the order of the categories."""
    if groupby is None:
        return {"": np.arange(adata.n_obs)}
    if groupby not in adata.obs:
        raise KeyError(f"adata.obs has no {groupby!r}. Found: {', '.join(adata.obs) or 'none'}.")
    check_once(adata.obs, groupby)
    labels = pd.Categorical(adata.obs[groupby])
    groups = {str(c): np.flatnonzero(labels.codes == i) for i, c in enumerate(labels.categories)}
    groups = {name: cells for name, cells in groups.items() if len(cells)}
    if not groups:
        raise ValueError(f"No cell has a value in adata.obs[{groupby!r}].")
    return groups


def _thin(
    groups: dict[str, np.ndarray], max_cells: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    total = sum(map(len, groups.values()))
    if total <= max_cells:
        return groups
    kept = {}
    for name, cells in groups.items():
        size = min(len(cells), max(10, round(len(cells) * max_cells / total)))
        kept[name] = rng.choice(cells, size, replace=False)
    return kept


def _order(phi: np.ndarray) -> np.ndarray:
    """Order of the cells of one group: by leading program, then by its activity."""
    leader = phi.argmax(axis=1)
    rank = np.argsort(np.argsort(-np.bincount(leader, minlength=phi.shape[1]), kind="stable"))
    return np.lexsort((-phi.max(axis=1), rank[leader]))


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
    room = ax.get_window_extent().width / ax.figure.dpi * 11 / ends[-1]
    ends_of = zip(starts, ends, names, strict=True)
    narrow = min((end - start) * room - len(name) for start, end, name in ends_of)
    turn: dict[str, Any] = (
        {} if narrow > 1 else {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    )
    ax.set_xticks((starts + ends) / 2, names, **turn)
    ax.tick_params(axis="x", length=0)
    ax.set_xlabel(groupby)

"""Waypoints: clusters of cells from which programs are initialized, on components of PSI."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from leafletfa_scvi._arguments import check_column
from leafletfa_scvi._colors import Palette, group_colors, palette_colors, program_colors
from leafletfa_scvi._narrow_stubs import categorical
from leafletfa_scvi.pl._docs import shared_docs
from leafletfa_scvi.pl._figures import finish, new_axes
from leafletfa_scvi.pl._groups import edge_widths, legend_dot, missing_color
from leafletfa_scvi.pl._slots import short_number

if TYPE_CHECKING:
    import os

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.legend import Legend

    from leafletfa_scvi.model import LeafletFAModel

_SIZE = (5.8, 4.2)
"""Width and height of a figure with a small legend, in inches."""
_SQUEEZED = 12.0
"""Range of an axis in interquartile ranges, above which it is not linear."""
_MARK_WIDTH, _CHARACTER, _LINE = 9.0, 5.2, 10.0
"""Width of a mark, width of a character and height of a line of its label, in points."""
_GAPS = (1.5, 9.0, 20.0, 34.0, 50.0, 70.0)
"""Possible distances of a label from its mark, in points."""


@shared_docs
def waypoints(
    model: LeafletFAModel,
    *,
    components: tuple[int, int] = (0, 1),
    color: str | None = None,
    palette: Palette | None = None,
    cmap: str = "viridis",
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
    return_fig: bool = False,
) -> Any:
    """Plot cells on two components of centered PSI, with the waypoints of programs.

    Waypoints are means of clusters of cells with similar splicing, found before training
    (``init="waypoints"``), and labeled with the programs that were initialized from them. Cells
    colored by main program show how far programs have moved from their initialization.

    If a few cells are so far away that they would squeeze all others, the axis is linear around 0
    and logarithmic far away from it (inverse hyperbolic sine), and says so.

    Parameters
    ----------
    model
        A trained model. Its data are needed only if ``color`` is given.
    components
        Two 0-based components; at most the leading 10 are kept. Higher components may separate
        clusters that overlap in the first two. Axes show the share of the variance of the
        weighted, centered PSI of observed entries that a component explains.
    color
        Column of ``model.adata.obs`` to color cells by. Categories use the colors in
        ``adata.uns["<color>_colors"]`` if available. Cells whose counts are no longer in
        ``model.adata`` are gray. If None, cells are colored by main program, the one with the
        largest activity.
    palette
        Colors of the categories or programs: the name of a color map, a list in their order, or a
        dictionary by name.
    cmap
        Color map of a numeric ``color``.
    $figure

    Returns
    -------
    matplotlib.axes.Axes
        Axes with a point for each cell and a diamond for each waypoint, in the order of programs.
        Programs without a cluster have no diamond.

    Raises
    ------
    RuntimeError
        The model is not trained.
    ValueError
        The model was not initialized from waypoints, has no data for ``color``, or a component
        is out of range; or ``palette`` has too few colors.
    KeyError
        ``model.adata.obs`` has no column ``color``.
    TypeError
        ``model`` is not a model, such as an AnnData, which does not contain waypoints.

    Examples
    --------
    Clusters that programs started from, and where the cells of each type are:

    >>> lfa.pl.waypoints(model, color="cell_type")

    .. image:: /_static/gallery/waypoints.png
       :alt: Cells as points colored by type, waypoints as diamonds labeled with
           programs.
    """
    if not hasattr(model, "waypoints_"):
        kind = type(model).__name__
        article = "an" if kind[0] in "AEIOU" else "a"
        raise TypeError(
            f"Expected model to be a LeafletFAModel, found {article} {kind}. Waypoints are kept "
            "in the model, LeafletFAModel.load(folder, adata=adata)."
        )
    model._require_trained()
    saved = model.waypoints_
    if saved is None:
        raise ValueError(
            "Expected a model initialized from waypoints, found another initialization. Train a "
            "new model with init='waypoints'; query models have no waypoints."
        )
    first, second = _components(components, saved["scores"].shape[1])
    cells = saved["cells"]
    names = np.array(model.program_names)
    shades = program_colors(len(names))
    if color is None:
        if palette is not None:
            shades = list(palette_colors(list(names), palette, "programs").values())
        main = model._trained_activities().to_numpy()[cells].argmax(axis=1)
        coloring = _Coloring(categorical(main, names), shades, "main program")
    else:
        coloring = _from_obs(model, check_column("color", color), cells, palette)

    may_grow = ax is None and figsize is None
    ax = new_axes(*_SIZE, figsize) if ax is None else ax
    ends = _scale(ax, saved["scores"][:, [first, second]])
    _draw_cells(ax, saved["scores"][:, [first, second]], coloring, cmap)
    positions = saved["positions"]
    # Programs without a cluster are stored as 0.
    programs = np.flatnonzero((positions != 0).any(axis=1))
    xy = positions[programs][:, [first, second]]
    legend = ax.get_legend()
    if may_grow and legend is not None:
        _make_room(ax, legend)
    faces = [shades[k] for k in programs] if color is None else "white"
    x, y = xy.T
    edge = plt.rcParams["text.color"] if color is None else "black"
    ax.scatter(x, y, s=55, marker="D", c=faces, edgecolors=edge, linewidths=1.1, zorder=3)
    parts = [f"component {first} of centered PSI", f"component {second}"]
    explained = saved.get("explained")
    for side, i, start, end in zip("xy", (first, second), parts, ends, strict=True):
        note = [] if explained is None else [f"{100 * explained[i]:.1f} % of variance"]
        note += [end] * (end != "")
        ax.set(**{f"{side}label": f"{start} ({', '.join(note)})" if note else start})
    for axis in (ax.xaxis, ax.yaxis):
        _set_asinh_ticks(axis)
    ax.spines[["top", "right"]].set_visible(False)
    figure: Any = ax.figure.canvas.figure
    figure.draw_without_rendering()  # lays out, so that the places of waypoints are known
    _label(ax, xy, names[programs])
    return finish(ax, title=title, show=show, save=save, return_fig=return_fig)


def _make_room(ax: Axes, legend: Legend) -> None:
    """Widen the figure by what a legend takes beyond the space there is for a small one."""
    figure: Any = ax.figure.canvas.figure
    size = legend.get_window_extent()
    width = max(_SIZE[0], _SIZE[0] - 1.3 + size.width / figure.dpi)
    figure.set_size_inches(width, max(_SIZE[1], 0.3 + size.height / figure.dpi))


def _scale(ax: Axes, xy: np.ndarray) -> list[str]:
    """Choose the scale of each axis; return what its label says of it."""
    notes = []
    for values, set_scale in zip(xy.T, (ax.set_xscale, ax.set_yscale), strict=True):
        low, high = np.quantile(values, [0.25, 0.75]) if len(values) else (0.0, 0.0)
        is_squeezed = len(values) > 0 and np.ptp(values) > _SQUEEZED * (high - low) > 0
        if is_squeezed:
            set_scale("asinh", linear_width=max(abs(low), abs(high)))
        notes.append("asinh scale" if is_squeezed else "")
    return notes


def _set_asinh_ticks(axis: Axis) -> None:
    """Set ticks at 0 and at 1, 2 and 5 times powers of 10, as far as their labels fit."""
    if axis.get_scale() != "asinh":
        return
    low, high = axis.get_view_interval()
    largest = max(abs(low), abs(high))
    steps = [m * 10.0**p for p in range(-6, 7) for m in (1, 2, 5) if m * 10.0**p <= largest]
    transform = axis.get_transform().transform
    space = 0.09 * np.ptp(transform([low, high]))
    ticks = [0.0]
    for sign in (-1.0, 1.0):
        at, end = 0.0, high if sign > 0 else -low
        for step in steps:
            if step <= end and transform([step])[0] - at >= space:
                ticks.append(sign * step)
                at = transform([step])[0]
    axis.set_major_locator(FixedLocator(sorted(t for t in ticks if low <= t <= high)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(short_number))


class _Coloring(NamedTuple):
    """Value of each cell: categories with their colors, or numbers without."""

    values: pd.Categorical | np.ndarray
    shades: list[Any] | None
    title: str


def _components(given: Any, n_kept: int) -> tuple[int, int]:
    is_valid = isinstance(given, (tuple, list)) and all(
        isinstance(i, Integral) and not isinstance(i, bool) for i in given
    )
    if not is_valid or len(given) != 2:
        raise ValueError(f"Expected components to be two integers, found {given!r}.")
    invalid = [i for i in given if not 0 <= i < n_kept]
    if invalid:
        raise ValueError(f"Expected components from 0 to {n_kept - 1}, found {invalid[0]}.")
    return int(given[0]), int(given[1])


def _from_obs(
    model: LeafletFAModel, color: str, cells: np.ndarray, palette: Palette | None = None
) -> _Coloring:
    """Return values of training cells; missing for cells that ``adata`` no longer contains."""
    adata = model._data(None)
    if adata is None:
        raise ValueError(
            f"Expected a model with its data for color={color!r}, found one that was loaded "
            "without them. Use LeafletFAModel.load(path, adata=adata)."
        )
    if color not in adata.obs:
        raise KeyError(
            f"Expected color to be a column of model.adata.obs, one of {list(adata.obs)}, found "
            f"{color!r}."
        )
    rows = model._training_rows(adata)[cells]
    column = adata.obs[color]
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        values = column.to_numpy(float, na_value=np.nan)[rows]
        return _Coloring(np.where(rows < 0, np.nan, values), None, color)
    groups = pd.Categorical(column)
    shades = list(group_colors(adata, color, palette).values())
    codes = np.where(rows < 0, -1, groups.codes[rows])
    # The stub takes no arrays of codes.
    values = pd.Categorical.from_codes(codes, dtype=groups.dtype)  # type: ignore[arg-type]
    return _Coloring(values, shades, color)


def _draw_cells(ax: Axes, xy: np.ndarray, coloring: _Coloring, cmap: str) -> None:
    """Draw a point for each cell, in random order so that no group covers another."""
    order = np.random.default_rng(0).permutation(len(xy))
    x, y = xy[order].T
    style: dict[str, Any] = {
        "s": float(np.clip(9000 / max(len(xy), 1), 2.0, 16.0)),
        "alpha": 0.8,
        "rasterized": True,
    }
    background = ax.get_facecolor()
    missing = missing_color(background)
    if coloring.shades is None:
        values = np.ma.masked_invalid(coloring.values[order])
        shades = matplotlib.colormaps[cmap].with_extremes(bad=missing)
        points = ax.scatter(x, y, c=values, cmap=shades, plotnonfinite=True, linewidths=0, **style)
        bar = ax.figure.colorbar(points, ax=ax, shrink=0.8, aspect=16, label=coloring.title)
        bar.outline.set_visible(False)
        return
    groups = coloring.values
    assert isinstance(groups, pd.Categorical)
    colors = np.array([*map(matplotlib.colors.to_rgba, [*coloring.shades, missing])])
    widths = np.array([*edge_widths(colors[:-1], background), 0.0])
    ax.scatter(
        x,
        y,
        c=colors[groups.codes[order]],
        edgecolors=plt.rcParams["axes.edgecolor"],
        linewidths=widths[groups.codes[order]],
        **style,
    )
    present = [i for i in range(len(groups.categories)) if (groups.codes == i).any()]
    entries = [(str(groups.categories[i]), colors[i]) for i in present]
    if (groups.codes < 0).any():
        entries.append(("none", colors[-1]))
    handles = [legend_dot(name, color, background) for name, color in entries]
    ax.legend(
        handles=handles,
        title=coloring.title,
        loc="upper left",
        bbox_to_anchor=(1.005, 1.03),
        frameon=False,
        fontsize="small",
        title_fontsize="small",
        alignment="left",
        ncols=1 + (len(handles) - 1) // 20,
        handletextpad=0.2,
        borderaxespad=0.2,
    )


def _label(ax: Axes, xy: np.ndarray, names: np.ndarray) -> None:
    """Label waypoints, each label where it overlaps least with other labels and marks."""
    if not len(xy):
        return
    marks = ax.transData.transform(xy) * 72.0 / ax.figure.dpi
    occupied = np.column_stack([marks, np.full_like(marks, _MARK_WIDTH)])
    angles = np.linspace(0.0, 2.0 * np.pi, 16, endpoint=False)
    # Waypoints with close neighbors have the fewest free positions, so they are labeled first.
    distance = np.linalg.norm(marks[:, None] - marks, axis=2) + np.diag(np.full(len(xy), np.inf))
    for i in distance.min(axis=1).argsort(kind="stable"):
        size = np.array([_CHARACTER * len(names[i]), _LINE])
        offsets = np.concatenate([_around(size, gap, angles) for gap in _GAPS])
        cost = np.repeat(np.arange(len(_GAPS)), len(angles)) * 0.15
        cost = cost + 6 * _overlap(marks[i] + offsets, size, occupied) / size.prod()
        best = int(cost.argmin())
        occupied = np.vstack([occupied, [*(marks[i] + offsets[best]), *size]])
        far = best >= len(angles)
        arrow = {
            "arrowstyle": "-",
            "linewidth": 0.8,
            "shrinkB": 4.0,
            "color": plt.rcParams["text.color"],
            "path_effects": [withStroke(linewidth=2.2, foreground=ax.get_facecolor())],
        }
        ax.annotate(
            str(names[i]),
            xy[i],
            xytext=offsets[best],
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize="small",
            path_effects=[withStroke(linewidth=2.5, foreground=ax.get_facecolor())],
            arrowprops=arrow if far else None,
            zorder=4,
        )


def _around(size: np.ndarray, gap: float, angles: np.ndarray) -> np.ndarray:
    """Return possible centers of a box around a mark, relative to it, in points."""
    reach = size / 2.0 + _MARK_WIDTH / 2.0 + gap
    return np.column_stack([np.cos(angles), np.sin(angles)]) * reach


def _overlap(centers: np.ndarray, size: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Compute the overlap of a box with others (center, size), for each possible center."""
    reach = (size + boxes[:, 2:]) / 2.0
    overlap = np.minimum(reach - np.abs(centers[:, None] - boxes[:, :2]), size)
    area: np.ndarray = overlap.clip(min=0.0).prod(axis=2).sum(axis=1)
    return area

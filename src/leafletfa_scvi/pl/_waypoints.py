"""Where programs started: groups of cells on the components of centred PSI."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from leafletfa_scvi._arguments import check_column
from leafletfa_scvi.pl._slots import new_axes, program_colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from leafletfa_scvi.model import LeafletFAModel

_MISSING = "0.75"
_MARK_WIDTH, _CHARACTER, _LINE = 9.0, 5.2, 10.0
"""Width of a mark, and of a character and height of a line of its name, in points."""
_GAPS = (1.5, 9.0, 20.0, 34.0)
"""Distances that a name may have from its mark, in points."""


def waypoints(
    model: LeafletFAModel,
    *,
    components: tuple[int, int] = (0, 1),
    color: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Cells on two components of centred PSI, and the waypoints that programs started from.

    Waypoints are the means of groups of cells with like splicing, found before training
    (``init="waypoints"``); names are those of the programs that came of them. Cells coloured by
    their main program show how far each has moved from its start.

    Parameters
    ----------
    model
        A trained model; one that was loaded without its data will do where ``color`` is None.
    components
        Two components, from 0; the leading 10 at most are kept. The further ones tell apart
        groups that lie on each other in the first two.
    color
        Column of ``model.adata.obs`` to colour cells by: groups in the order of the categories,
        with the colours of ``adata.uns["<color>_colors"]`` where they are there, or numbers.
        Cells whose counts are no longer in ``model.adata`` are grey. None for the main program of
        each cell, the one of largest activity.
    ax
        Axes to draw into.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with a point for each cell, then one diamond for each waypoint, in the order of the
        programs. Programs for which there was no group have none.

    Raises
    ------
    RuntimeError
        The model is not trained.
    ValueError
        It did not start from waypoints, has no data and ``color`` asks for them, or a component
        is not one of those kept.
    KeyError
        ``model.adata.obs`` has no column ``color``.
    """
    if not hasattr(model, "waypoints_"):
        raise TypeError(f"Expected a LeafletFAModel, found a {type(model).__name__}.")
    model._require_trained()
    found = model.waypoints_
    if found is None:
        raise ValueError(
            "The model did not start from waypoints, so there are none to draw: they are those "
            "of a first train(init='waypoints'), which a query model does without."
        )
    first, second = _components(components, found["scores"].shape[1])
    cells = found["cells"]
    names = np.array(model.program_names)
    palette = program_colors(len(names))
    if color is None:
        main = model._trained_activities().to_numpy()[cells].argmax(axis=1)
        shown = _Colouring(pd.Categorical.from_codes(main, names), palette, "main program")
    else:
        shown = _from_obs(model, check_column("color", color), cells)

    ax = new_axes(5.8, 4.2) if ax is None else ax
    _draw_cells(ax, found["scores"][:, [first, second]], shown)
    positions = found["positions"]
    started = np.flatnonzero((positions != 0).any(axis=1))
    at = positions[started][:, [first, second]]
    faces = [palette[k] for k in started] if color is None else "white"
    x, y = at.T
    ax.scatter(x, y, s=55, marker="D", c=faces, edgecolors="black", linewidths=1.1, zorder=3)
    _label(ax, at, names[started])
    ax.set(xlabel=f"component {first} of centred PSI", ylabel=f"component {second}")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


class _Colouring(NamedTuple):
    """Value of each cell: groups with a palette, or numbers without."""

    values: pd.Categorical | np.ndarray
    palette: list[Any] | None
    title: str


def _components(given: Any, n_kept: int) -> tuple[int, int]:
    whole = isinstance(given, (tuple, list)) and all(
        isinstance(i, Integral) and not isinstance(i, bool) for i in given
    )
    if not whole or len(given) != 2:
        raise ValueError(f"Expected components as two whole numbers, found {given!r}.")
    wrong = [i for i in given if not 0 <= i < n_kept]
    if wrong:
        raise ValueError(
            f"Expected components from 0 to {n_kept - 1}, which the model keeps, found {wrong[0]}."
        )
    return int(given[0]), int(given[1])


def _from_obs(model: LeafletFAModel, color: str, cells: np.ndarray) -> _Colouring:
    """Values of the training cells ``cells``, missing for those that ``adata`` no longer holds."""
    adata = model.adata
    if adata is None:
        raise ValueError(
            f"color={color!r} is a column of the training data, and the model was loaded without "
            "them: LeafletFAModel.load(path, adata=adata)."
        )
    if color not in adata.obs:
        raise KeyError(f"model.adata.obs has no {color!r}. Found: {', '.join(adata.obs)}.")
    rows = model._training_rows(adata)[cells]
    column = adata.obs[color]
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        values = column.to_numpy(float, na_value=np.nan)[rows]
        return _Colouring(np.where(rows < 0, np.nan, values), None, color)
    groups = pd.Categorical(column)
    known = adata.uns.get(f"{color}_colors")
    suits = known is not None and len(known) == len(groups.categories)
    palette = list(known) if suits else program_colors(len(groups.categories))
    codes = np.where(rows < 0, -1, groups.codes[rows])
    shown = pd.Categorical.from_codes(codes, dtype=groups.dtype)
    return _Colouring(shown, palette, color)


def _draw_cells(ax: Axes, xy: np.ndarray, shown: _Colouring) -> None:
    """A point for each cell, in an order that hides no group behind another."""
    order = np.random.default_rng(0).permutation(len(xy))
    x, y = xy[order].T
    style: dict[str, Any] = {
        "s": float(np.clip(9000 / max(len(xy), 1), 2.0, 16.0)),
        "linewidths": 0,
        "alpha": 0.8,
        "rasterized": True,
    }
    if shown.palette is None:
        values = np.ma.masked_invalid(shown.values[order])
        cmap = matplotlib.colormaps["viridis"].with_extremes(bad=_MISSING)
        points = ax.scatter(x, y, c=values, cmap=cmap, plotnonfinite=True, **style)
        bar = ax.figure.colorbar(points, ax=ax, shrink=0.8, aspect=16, label=shown.title)
        bar.outline.set_visible(False)
        return
    groups = shown.values
    assert isinstance(groups, pd.Categorical)
    colors = np.array([*map(matplotlib.colors.to_rgba, [*shown.palette, _MISSING])])
    ax.scatter(x, y, c=colors[groups.codes[order]], **style)
    present = [i for i in range(len(groups.categories)) if (groups.codes == i).any()]
    entries = [(str(groups.categories[i]), colors[i]) for i in present]
    if (groups.codes < 0).any():
        entries.append(("none", colors[-1]))
    handles = [
        Line2D([], [], linestyle="", marker="o", markersize=6, color=c, label=name)
        for name, c in entries
    ]
    ax.legend(
        handles=handles,
        title=shown.title,
        loc="upper left",
        bbox_to_anchor=(1.005, 1.03),
        frameon=False,
        fontsize="small",
        title_fontsize="small",
        alignment="left",
        ncols=1 + (len(handles) - 1) // 16,
        handletextpad=0.2,
        borderaxespad=0.2,
    )


def _label(ax: Axes, at: np.ndarray, names: np.ndarray) -> None:
    """Names beside their waypoints, each where it overlaps least with the others and the marks."""
    if not len(at):
        return
    ax.autoscale_view()
    marks = ax.transData.transform(at) * 72.0 / ax.figure.dpi
    taken = np.column_stack([marks, np.full_like(marks, _MARK_WIDTH)])
    angles = np.linspace(0.0, 2.0 * np.pi, 16, endpoint=False)
    # Names of waypoints with the nearest neighbours have the least choice: they come first.
    apart = np.linalg.norm(marks[:, None] - marks, axis=2) + np.diag(np.full(len(at), np.inf))
    for i in apart.min(axis=1).argsort(kind="stable"):
        size = np.array([_CHARACTER * len(names[i]), _LINE])
        offsets = np.concatenate([_around(size, gap, angles) for gap in _GAPS])
        cost = np.repeat(np.arange(len(_GAPS)), len(angles)) * 0.15
        cost = cost + _overlap(marks[i] + offsets, size, taken) / size.prod()
        best = int(cost.argmin())
        taken = np.vstack([taken, [*(marks[i] + offsets[best]), *size]])
        far = best >= len(angles)
        ax.annotate(
            str(names[i]),
            at[i],
            xytext=offsets[best],
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize="small",
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            arrowprops={"arrowstyle": "-", "linewidth": 0.7, "shrinkB": 4.0} if far else None,
            zorder=4,
        )


def _around(size: np.ndarray, gap: float, angles: np.ndarray) -> np.ndarray:
    """Centres of a box of that size around a mark, in points."""
    reach = size / 2.0 + _MARK_WIDTH / 2.0 + gap
    return np.column_stack([np.cos(angles), np.sin(angles)]) * reach


def _overlap(centres: np.ndarray, size: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Area that a box shares with others (centre, size), for each centre it may have."""
    reach = (size + boxes[:, 2:]) / 2.0
    shared = np.minimum(reach - np.abs(centres[:, None] - boxes[:, :2]), size)
    return shared.clip(min=0.0).prod(axis=2).sum(axis=1)

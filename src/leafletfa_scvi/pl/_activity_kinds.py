"""The kinds of :func:`leafletfa_scvi.pl.activity`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import Normalize
from scipy.ndimage import gaussian_filter1d

from leafletfa_scvi.pl._groups import subsampled
from leafletfa_scvi.pl._panels import color_bar, size_legend
from leafletfa_scvi.pl._rows import CHARACTER, cluster, leaves
from leafletfa_scvi.pl._slots import text_on

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes

    from leafletfa_scvi.tl._group_activities import GroupActivities

SPAN = 0.85
"""Width of the scale from 0 to 1 in the column of a program, which is 1 wide."""
_BINS = 200
_LARGEST_DOT = 170.0
"""Area of the dot of a share of 1, in points squared."""
_NAME = 0.17
"""Height of a name, in inches."""


def draw_violins(ax: Axes, groups: GroupActivities, colors: Sequence[str]) -> np.ndarray:
    """Draw a horizontal violin for each group and program; return the positions of groups.

    In the column of program k, activities run from k (0) to k + ``SPAN`` (1). Collections are the
    violins of each group, then lines at the means of groups, then points of samples.
    """
    n_programs, ink = len(groups.programs), plt.rcParams["text.color"]
    at = np.arange(len(groups.rows), dtype=float)
    for k in range(n_programs):
        ax.axvspan(k, k + SPAN, color=ink, alpha=0.05, linewidth=0)
        ax.axvline(k + SPAN / 2, color=ink, alpha=0.1, linewidth=0.6, zorder=0)
    for y, rows, color in zip(at, groups.rows.values(), colors, strict=True):
        shapes = [_violin(rows[:, k], k, y) for k in range(n_programs)]
        ax.add_collection(
            PolyCollection(shapes, facecolor=color, edgecolor=ink, linewidth=0.4), autolim=False
        )
    means = [
        [(k + SPAN * value, y - 0.4), (k + SPAN * value, y + 0.4)]
        for y, row in zip(at, groups.mean, strict=True)
        for k, value in enumerate(row)
    ]
    ax.add_collection(LineCollection(means, color=ink, linewidth=1.3, zorder=3), autolim=False)
    for y, table in zip(at, (groups.samples or {}).values(), strict=False):
        x = np.arange(n_programs) + SPAN * table.to_numpy()
        offsets = y + np.linspace(-0.22, 0.22, len(table)) if len(table) > 1 else np.array([y])
        ax.scatter(
            x.ravel(),
            np.repeat(offsets, n_programs),
            s=9,
            color=plt.rcParams["axes.facecolor"],
            edgecolors=ink,
            linewidths=0.7,
            zorder=4,
        )
    _program_axis(ax, groups.programs, np.arange(n_programs) + SPAN / 2)
    scale = np.ravel([[k, k + SPAN] for k in range(n_programs)])
    ax.set_xticks(scale, ["0", "1"] * n_programs, minor=True, fontsize="x-small")
    ax.tick_params(axis="x", which="minor", length=2, pad=1)
    ax.set(xlim=(-0.1, n_programs - 1 + SPAN + 0.1), ylim=(len(at) - 0.4, -0.6))
    ax.set_xlabel("activity" if groups.samples is None else "activity (points: samples)")
    ax.spines[["top", "right", "left"]].set_visible(False)
    return at


def draw_matrix(
    ax: Axes, groups: GroupActivities, cmap: str
) -> tuple[np.ndarray, Callable[[float], object]]:
    """Draw mean activities as colors, and as numbers where there is space.

    Returns
    -------
    Positions of groups, and a function that draws the legend at a distance from the axes.
    """
    mean = groups.mean
    image = ax.imshow(
        mean, aspect="auto", cmap=cmap, vmin=0, vmax=mean.max(), interpolation="nearest"
    )
    if mean.size <= 320:
        for i, k in np.ndindex(mean.shape):
            color = text_on(image.to_rgba(mean[i, k]), ax)
            text = f"{mean[i, k]:.2f}".removeprefix("0")
            ax.text(k, i, text, ha="center", va="center", fontsize="x-small", color=color)
    _program_axis(ax, groups.programs, np.arange(mean.shape[1]))
    ax.spines[:].set_visible(False)
    return np.arange(len(mean), dtype=float), lambda x: color_bar(
        ax, image, "mean activity", left=x
    )


def draw_dots(
    ax: Axes, groups: GroupActivities, cmap: str
) -> tuple[np.ndarray, Callable[[float], object]]:
    """Draw mean activities as colors of dots, whose area is the share of cells they lead."""
    mean = groups.mean
    rows, columns = np.indices(mean.shape)
    dots = ax.scatter(
        columns.ravel(),
        rows.ravel(),
        s=_LARGEST_DOT * groups.leads.ravel(),
        c=mean.ravel(),
        cmap=cmap,
        norm=Normalize(0, mean.max()),
        edgecolors=plt.rcParams["text.color"],
        linewidths=0.3,
    )
    _program_axis(ax, groups.programs, np.arange(mean.shape[1]))
    ax.set(xlim=(-0.6, mean.shape[1] - 0.4), ylim=(len(mean) - 0.4, -0.6))

    def legend(x: float) -> None:
        color_bar(ax, dots, "mean activity", left=x, top=0.1)
        areas = {f"{share:.0%}": _LARGEST_DOT * share for share in (0.1, 0.5, 1.0)}
        size_legend(ax, areas, "cells it\nleads", left=x + 1.1, top=0.1)

    return np.arange(len(mean), dtype=float), legend


def draw_heatmap(
    ax: Axes, groups: GroupActivities, cmap: str, max_cells: int, rng: np.random.Generator
) -> tuple[np.ndarray, Callable[[float], object]]:
    """Draw cells (or samples) of groups as rows, similar ones side by side, an image per group."""
    rows = groups.rows
    if groups.samples is not None:
        rows = {name: table.to_numpy() for name, table in groups.samples.items()}
    else:
        kept = subsampled({n: np.arange(len(r)) for n, r in rows.items()}, max_cells, rng)
        rows = {name: rows[name][kept[name]] for name in rows}
    n_programs = len(groups.programs)
    share = np.array([len(r) for r in rows.values()], dtype=float)
    # A name needs space, so that each group has that of a name, and its share of the rest.
    height = ax.get_window_extent().height / ax.figure.dpi
    least = min(_NAME / max(height - 0.4, _NAME), 1 / len(share))
    share = least + (1 - least * len(share)) * share / share.sum()
    ends = np.cumsum(share)
    starts = ends - share
    top = max(r.max() for r in rows.values())
    for start, end, values in zip(starts, ends, rows.values(), strict=True):
        order = leaves(cluster(values))
        image = ax.imshow(
            values[order],
            extent=(-0.5, n_programs - 0.5, end, start),
            aspect="auto",
            cmap=cmap,
            norm=Normalize(0, top),
            interpolation="nearest",
        )
    for edge in ends[:-1]:
        ax.axhline(edge, color=plt.rcParams["axes.facecolor"], linewidth=1.5)
    _program_axis(ax, groups.programs, np.arange(n_programs))
    ax.set(xlim=(-0.5, n_programs - 0.5), ylim=(1, 0))
    ax.spines[:].set_visible(False)
    label = "activity" if groups.samples is None else "mean activity\nof samples"
    return (starts + ends) / 2, lambda x: color_bar(ax, image, label, left=x, top=0.1)


def _violin(values: np.ndarray, left: float, row: float) -> np.ndarray:
    """Outline of the density of activities, within their range, ``(N, 2)``.

    The density is a histogram smoothed with a normal kernel of Scott's bandwidth, reflected at 0
    and 1.
    """
    low, high = float(values.min()), float(values.max())
    counts, edges = np.histogram(values, _BINS, (0.0, 1.0))
    bandwidth = max(float(values.std()) * len(values) ** -0.2, 0.5 / _BINS)
    density = gaussian_filter1d(counts.astype(float), bandwidth * _BINS, mode="reflect")
    x = np.concatenate([[low], edges[(edges > low) & (edges < high)], [high]])
    width = np.interp(x, (edges[1:] + edges[:-1]) / 2, density)
    width = 0.4 * width / width.max()
    x = left + SPAN * x
    return np.column_stack(
        [np.concatenate([x, x[::-1]]), np.concatenate([row - width, row + width[::-1]])]
    )


def _program_axis(ax: Axes, programs: Sequence[str], at: np.ndarray) -> None:
    """Write the names of programs above the axes, turned if they are wide."""
    inches = ax.get_window_extent().width / ax.figure.dpi / len(programs)
    rotation = 90 if CHARACTER * max(map(len, programs)) > inches else 0
    ax.set_xticks(at, list(programs), fontsize="small", rotation=rotation)
    ax.tick_params(
        axis="x",
        which="major",
        length=0,
        top=False,
        bottom=False,
        labeltop=True,
        labelbottom=False,
    )
    ax.tick_params(axis="y", length=0)

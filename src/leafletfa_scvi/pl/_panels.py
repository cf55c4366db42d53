"""Several axes in a figure: small multiples, and legends in inches beside axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.transforms import ScaledTranslation, blended_transform_factory

from leafletfa_scvi._arguments import check_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


def panel_grid(
    names: Sequence[str],
    width: float,
    height: float,
    *,
    ncols: int = 4,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    share: bool = True,
) -> dict[str, Axes]:
    """Create axes for each name, row by row.

    Parameters
    ----------
    names
        Names of the panels.
    width, height
        Size of a panel, in inches.
    ncols
        Largest number of panels in a row.
    figsize
        Size of the whole figure, in inches.
    ax
        Axes for the only panel.
    share
        Whether panels have the same limits.

    Raises
    ------
    ValueError
        ``ax`` is given for several panels.
    """
    if ax is not None:
        if len(names) > 1:
            raise ValueError(
                f"Expected one panel for ax, found {len(names)}: {', '.join(names[:4])}, ... "
                "Choose one of them, or leave ax out."
            )
        return {names[0]: ax}
    n_columns = min(len(names), check_whole("ncols", ncols, 1))
    n_rows = -(-len(names) // n_columns)
    size = (width * n_columns, height * n_rows) if figsize is None else figsize
    figure, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=size,
        layout="constrained",
        squeeze=False,
        sharex=share,
        sharey=share,
    )
    panels = dict(zip(names, axes.flat, strict=False))
    for unused in axes.flat[len(names) :]:
        unused.remove()
    return panels


def keep_outer_labels(panels: Mapping[str, Axes]) -> None:
    """Remove labels but at the left of each row and at the lowest panel of each column."""
    axes = list(panels.values())
    spec = axes[0].get_gridspec()
    if len(axes) == 1 or spec is None:
        return
    for i, panel in enumerate(axes):
        has_left, is_lowest = i % spec.ncols == 0, i + spec.ncols >= len(axes)
        panel.tick_params(labelleft=has_left, labelbottom=is_lowest)
        if not is_lowest:
            panel.set_xlabel("")
        if not has_left:
            panel.set_ylabel("")


def one_or_all(panels: Mapping[str, Axes]) -> Axes | Mapping[str, Axes]:
    """Return the axes of the only panel, or all by name."""
    return next(iter(panels.values())) if len(panels) == 1 else panels


def legend_below(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Write a legend below all panels, in as many rows as its texts need."""
    widest = 0.6 + 0.09 * max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, min(len(handles), int(figure.get_figwidth() / widest)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)


def beside(
    ax: Axes,
    left: float,
    width: float,
    top: float | None = None,
    height: float = 0.0,
) -> Axes:
    """Add axes to the right of ``ax``, of a size in inches, whatever the size of ``ax``.

    Parameters
    ----------
    ax
        Axes to stand beside.
    left
        Distance from the right edge of ``ax``, in inches.
    width, height
        Size, in inches.
    top
        Distance of the upper edge from that of ``ax``, in inches. If None, the new axes are as
        high as ``ax``.
    """
    figure: Any = ax.figure
    corner: Any = ax.transAxes
    inches = figure.dpi_scale_trans + ScaledTranslation(1, 1, corner)
    if top is None:
        bounds, transform = (
            (left, 0.0, width, 1.0),
            blended_transform_factory(inches, ax.transAxes),
        )
    else:
        bounds, transform = (left, -top - height, width, height), inches
    return ax.inset_axes(bounds, transform=transform)


def color_bar(
    ax: Axes, mappable: ScalarMappable, label: str, *, left: float = 0.2, top: float = 0.0
) -> Axes:
    """Add a color bar of fixed size to the right of ``ax``; return its axes."""
    where = beside(ax, left, 0.14, top, 1.1)
    bar = ax.figure.colorbar(mappable, cax=where)
    bar.outline.set_visible(False)
    where.tick_params(labelsize="small", length=2)
    where.set_title(label, fontsize="small", loc="left")
    return where


def size_legend(
    ax: Axes, areas: Mapping[str, float], label: str, *, left: float = 0.2, top: float = 0.0
) -> Axes:
    """Add a legend of dots by area, in points squared, to the right of ``ax``."""
    where = beside(ax, left, 0.2, top, 0.24 * len(areas))
    rows = np.arange(len(areas))
    color = plt.rcParams["text.color"]
    where.scatter(
        np.zeros(len(areas)), rows, s=list(areas.values()), color=color, alpha=0.6, linewidths=0
    )
    where.set(xlim=(-1, 1), ylim=(len(areas) - 0.5, -0.5), xticks=[])
    where.set_yticks(rows, list(areas), fontsize="small")
    where.yaxis.tick_right()
    where.tick_params(length=0)
    where.spines[:].set_visible(False)
    where.patch.set_visible(False)
    where.set_title(label, fontsize="small", loc="left")
    return where

"""Differences of activities between groups, with their intervals."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from natsort import natsorted

from leafletfa_scvi.pl._choice import called_rows, check_table, choose
from leafletfa_scvi.pl._differential_splicing import DOWN, OTHER, UP
from leafletfa_scvi.pl._docs import shared_docs
from leafletfa_scvi.pl._figures import finish
from leafletfa_scvi.pl._panels import keep_outer_labels, legend_below, one_or_all, panel_grid

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from matplotlib.axes import Axes

_SOURCE = "tl.differential_activity"
_COLUMNS = ("program", "effect", "effect_lower", "effect_upper", "padj")


@shared_docs
def differential_activity(
    table: pd.DataFrame,
    comparisons: str | Sequence[str] | None = None,
    *,
    programs: str | Sequence[str] | None = None,
    ncols: int = 5,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
    return_fig: bool = False,
) -> Any:
    """Plot differences of activities with 90 % intervals (forest plot), comparisons side by side.

    Differences within the bound on false discoveries are filled and colored by direction, others
    hollow. Programs that were not tested are gray crosses at 0.

    Parameters
    ----------
    table
        Result of :func:`leafletfa_scvi.tl.differential_activity`, with groups or a formula.
    comparisons
        Comparison or comparisons, such as ``"Epi vs rest"`` (terms of a formula), in the order to
        draw them. If None, all.
    $programs
        They are in the order of their numbers then.
    $ncols
    $title_of_panels
    $figsize
    ax
        Axes to draw the only comparison into. If None, a new figure is created.
    $output

    Returns
    -------
    matplotlib.axes.Axes or dict
        Axes of each comparison by name, or of the only one, which then has the adjusted p values
        on the right.

    Raises
    ------
    KeyError
        A column is missing, or there is no such comparison or program.
    TypeError
        ``table`` is not a DataFrame.
    ValueError
        The table has no rows, nothing is chosen, or ``ax`` is given for several comparisons.

    Examples
    --------
    Two groups of six simulated donors each:

    >>> table = lfa.tl.differential_activity(model, "group", "B", "A", sample_key="donor")
    >>> lfa.pl.differential_activity(table)

    .. image:: /_static/gallery/differential_activity.png
       :alt: A forest plot of the programs, with intervals and adjusted p values.
    """
    table = check_table("table", table, _COLUMNS, _SOURCE)
    facet = next((c for c in ("comparison", "term") if c in table), None)
    if facet is None:
        check_table("table", table, ["comparison"], _SOURCE)
    by_facet = table[facet].astype(str)
    chosen = choose("comparisons", comparisons, pd.unique(by_facet))
    names = choose("programs", programs, natsorted(pd.unique(table["program"].astype(str))))
    parts = {name: _in_order(table[by_facet == name], names) for name in chosen}
    alone = len(parts) == 1
    width, height = (4.2 if alone else 2.3), 1.3 + 0.24 * len(names)
    panels = panel_grid(chosen, width, height, ncols=ncols, figsize=figsize, ax=ax)
    lines = max(len(textwrap.wrap(name, 26)) for name in chosen)
    for (name, rows), panel in zip(parts.items(), panels.values(), strict=True):
        _draw(panel, rows)
        wrapped = textwrap.wrap(name, 32 if alone else 26)
        size = "medium" if alone or lines < 3 else "small"
        panel.set_title("\n".join(wrapped), fontsize=size)
    low, high = _limits(pd.concat(parts.values()))
    for panel in panels.values():
        panel.set(xlim=(low, high), ylim=(len(names) - 0.4, -0.6))
    keep_outer_labels(panels)
    if alone:
        _write_adjusted(next(iter(panels.values())), next(iter(parts.values())))
    _legend(panels, table, alone)
    return finish(one_or_all(panels), title=title, show=show, save=save, return_fig=return_fig)


def _in_order(rows: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Rows of one comparison, one for each program; NaN for those that it lacks."""
    return rows.set_index(rows["program"].astype(str)).reindex(names)


def _draw(ax: Axes, rows: pd.DataFrame) -> None:
    """Draw points and intervals of one comparison."""
    effect = rows["effect"].to_numpy(float)
    selected = called_rows(rows, "is_da_fdr_")[0].to_numpy(bool)
    at = np.arange(len(rows))
    ink = plt.rcParams["text.color"]
    ax.axvline(0, color=ink, linewidth=0.6, alpha=0.5, zorder=0)
    for y in at[::2]:
        ax.axhspan(y - 0.5, y + 0.5, color=ink, alpha=0.04, linewidth=0)
    tested = np.isfinite(effect)
    groups = (
        (tested & selected & (effect > 0), UP, UP),
        (tested & selected & (effect <= 0), DOWN, DOWN),
        (tested & ~selected, OTHER, "none"),
    )
    for which, color, face in groups:
        if not which.any():
            continue
        part = rows[which]
        bounds = [part["effect"] - part["effect_lower"], part["effect_upper"] - part["effect"]]
        ax.errorbar(
            part["effect"],
            at[which],
            xerr=np.array(bounds, dtype=float),
            fmt="o",
            color=color,
            mfc=plt.rcParams["axes.facecolor"] if face == "none" else face,
            markersize=5,
            linewidth=1.3,
        )
    ax.plot(np.zeros((~tested).sum()), at[~tested], "x", color=OTHER, markersize=5)
    ax.set_yticks(at, list(rows.index), fontsize="small")
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("log-ratio effect")
    ax.spines[["top", "right", "left"]].set_visible(False)


def _limits(rows: pd.DataFrame) -> tuple[float, float]:
    """Limits of the effects that hold all intervals and 0."""
    bounds = rows[["effect_lower", "effect_upper"]].to_numpy(float)
    bounds = bounds[np.isfinite(bounds)]
    low, high = float(bounds.min(initial=0.0)), float(bounds.max(initial=0.0))
    space = 0.05 * max(high - low, 1e-6)
    return low - space, high + space


def _write_adjusted(ax: Axes, rows: pd.DataFrame) -> None:
    """Write adjusted p values to the right of the axes."""
    style: dict[str, Any] = {
        "xytext": (5, 0),
        "textcoords": "offset points",
        "va": "center",
        "fontsize": "small",
    }
    for y, value in enumerate(rows["padj"].to_numpy(float)):
        text = "not tested" if np.isnan(value) else f"{value:.2g}"
        ax.annotate(text, (1, y), xycoords=ax.get_yaxis_transform(), **style)
    ax.annotate("FDR", (1, 1), xycoords="axes fraction", **{**style, "va": "bottom"})


def _legend(panels: dict[str, Axes], table: pd.DataFrame, alone: bool) -> None:
    first = next(iter(panels.values()))
    _, bound = called_rows(table, "is_da_fdr_")
    up, down = "more in the first group", "more in the second group"
    if alone and "group1" in table:
        row = table[table["comparison"].astype(str) == next(iter(panels))].iloc[0]
        up, down = f"more in {row['group1']}", f"more in {row['group2']}"
    elif "term" in table:
        up, down = "rises", "falls"
    style: dict[str, Any] = {"linestyle": "", "marker": "o", "ms": 5}
    handles = [
        Line2D([], [], color=UP, label=f"{up}, {bound}", **style),
        Line2D([], [], color=DOWN, label=f"{down}, {bound}", **style),
        Line2D([], [], color=OTHER, mfc="none", label="others", **style),
    ]
    if table["effect"].isna().any():
        handles.append(Line2D([], [], color=OTHER, label="not tested", **{**style, "marker": "x"}))
    if alone:
        first.legend(
            handles=handles,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.5 / first.bbox.height * first.figure.dpi),
            frameon=False,
            fontsize="small",
        )
        return
    figure: Any = first.figure
    legend_below(figure, handles)

"""Fit and overlap of a query, panels of :func:`leafletfa_scvi.pl.query`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np

from leafletfa_scvi.pl._groups import edge_widths

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.axes import Axes

FOUND, PART, ABSENT = "#0072b2", "#7fb8d8", "#d3d3d3"
"""Colors of what a query has, has in part, and lacks."""
_ROW = 0.55
"""Height of a bar with its text, in inches."""


def draw_fit(
    ax: Axes,
    fit: pd.DataFrame,
    groups: Mapping[str, np.ndarray],
    colors: Mapping[str, str],
    alpha: float,
    rng: np.random.Generator,
) -> None:
    """Draw scores of cells in a row for each group, their median, and the share below alpha."""
    z, p_value = fit["z"].to_numpy(float), fit["p_value"].to_numpy(float)
    ink = plt.rcParams["text.color"]
    ax.axvline(0, color=ink, linewidth=0.6, alpha=0.5, zorder=0)
    style: dict[str, Any] = {
        "xytext": (5, 0),
        "textcoords": "offset points",
        "va": "center",
        "fontsize": "small",
    }
    for y, (name, cells) in enumerate(groups.items()):
        own = cells[np.isfinite(z[cells])]
        ax.scatter(
            z[own],
            y + rng.uniform(-0.3, 0.3, len(own)),
            s=6,
            color=colors[name],
            alpha=0.7,
            edgecolors=plt.rcParams["axes.edgecolor"],
            linewidths=edge_widths([colors[name]], ax.get_facecolor())[0],
            rasterized=True,
        )
        text = "no reads"
        if len(own):
            ax.plot([np.median(z[own])] * 2, [y - 0.4, y + 0.4], color=ink, linewidth=1.4)
            text = f"{np.mean(p_value[own] < alpha):.0%}"
        ax.annotate(text, (1, y), xycoords=ax.get_yaxis_transform(), **style)
    header = {**style, "xytext": (5, 3), "va": "bottom"}
    ax.annotate(f"P < {alpha:g}", (1, 1), xycoords="axes fraction", **header)
    ax.set_yticks(range(len(groups)), list(groups), fontsize="small")
    ax.tick_params(axis="y", length=0)
    ax.set(ylim=(len(groups) - 0.4, -0.6), xlabel="z (higher: fits worse)")
    ax.set_title("fit to the programs", fontsize="medium")
    ax.spines[["top", "right", "left"]].set_visible(False)


def draw_overlap(ax: Axes, numbers: Mapping[str, Any]) -> None:
    """Draw shares of junctions, ATSEs and reads as stacked bars, with the numbers above each."""
    shared, lost = int(numbers["n_shared"]), int(numbers["n_lost"])
    junctions = {"shared": shared, "absent": lost}
    atses = {name: int(numbers[f"n_atses_{name}"]) for name in ("complete", "partial", "absent")}
    reads = float(numbers["share_of_reads"])
    rows: list[tuple[Mapping[str, float], str]] = []
    rows.append((junctions, f"junctions of the reference: {_counts(junctions)}"))
    if sum(atses.values()):
        rows.append((atses, f"its ATSEs: {_counts(atses)}"))
    if np.isfinite(reads):
        extra = int(numbers["n_extra"])
        text = f"reads of the query: {reads:.1%} at these, {extra:,} other junctions"
        rows.append(({"shared": reads, "absent": 1.0 - reads}, text))
    palette = {"shared": FOUND, "complete": FOUND, "partial": PART, "absent": ABSENT}
    for y, (parts, text) in enumerate(rows):
        total, start = float(sum(parts.values())) or 1.0, 0.0
        for name, value in parts.items():
            ax.barh(y, value / total, left=start, height=0.42, color=palette[name])
            start += value / total
        ax.annotate(
            text,
            (0, y - 0.21),
            xytext=(0, 3),
            textcoords="offset points",
            va="bottom",
            fontsize="small",
        )
    # Bars keep their height beside a panel of many rows.
    inches = ax.get_window_extent().height / ax.figure.dpi
    lowest = max(len(rows) - 0.6, inches / _ROW - 0.75)
    ax.set(xlim=(0, 1), ylim=(lowest, -0.75), xticks=[], yticks=[])
    ax.set_title("junctions", fontsize="medium")
    ax.spines[:].set_visible(False)


def _counts(parts: Mapping[str, int]) -> str:
    return ", ".join(f"{value:,} {name}" for name, value in parts.items())

"""Figures of the choice of the number of programs, and of stability over seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from leafletfa_scvi._deprecated import renamed_function
from leafletfa_scvi.pl._figures import new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from leafletfa_scvi.tl._select import ProgramSelection
    from leafletfa_scvi.tl._stability import ProgramStability


def program_selection(result: ProgramSelection, *, ax: Axes | None = None) -> Axes:
    """Plot held-out log-likelihood gain and stability against the number of programs.

    The gain rises while additional programs improve the prediction of held-out reads, and falls
    once programs fit noise; stability falls once programs are not reproduced over seeds.

    Parameters
    ----------
    result
        Result of :func:`leafletfa_scvi.tl.select_n_programs`.
    ax
        Axes to draw into. If None, a new figure is created.

    Returns
    -------
    matplotlib.axes.Axes
        Axes of the gain: mean and standard error, hollow for fits that were stopped early, a point
        for each seed, and the recommended number as a vertical line. With several seeds, stability
        is drawn on a secondary y axis.
    """
    summary, scores = result.summary, result.scores
    ax = new_axes(5.5, 3.5) if ax is None else ax
    numbers = summary.index.to_numpy(float)
    error = summary["se"].fillna(0.0).to_numpy() if len(scores) > len(summary) else None
    chosen = f"recommended: {result.n_programs}"
    lines = [ax.axvline(result.n_programs, color="0.6", linestyle=":", zorder=0, label=chosen)]
    ax.plot(
        scores["n_programs"],
        scores["log_likelihood_gain"],
        "o",
        color="C0",
        markersize=3.5,
        alpha=0.4,
        markeredgewidth=0,
    )
    gain = ax.errorbar(
        numbers,
        summary["log_likelihood_gain"],
        yerr=error,
        color="C0",
        marker="o",
        markersize=5,
        capsize=2.5,
        label="held-out gain",
    )
    stopped = summary["stopped"].to_numpy(bool)
    if stopped.any():  # hollow, as these are gains of unfinished fits
        gains = summary["log_likelihood_gain"].to_numpy()[stopped]
        ax.plot(numbers[stopped], gains, "o", markersize=5, mec="C0", mfc="white", zorder=4)
    ax.set_xlabel("number of programs")
    ax.set_ylabel("held-out log-likelihood gain\n(nats per entry)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.spines["top"].set_visible(False)
    stability = summary["stability"]
    if stability.isna().all():
        ax.spines["right"].set_visible(False)
        _legend_above(ax, [gain, *lines])
        return ax
    right = ax.twinx()
    right.set_zorder(ax.get_zorder() - 1)  # draw the gain, which decides, on top
    ax.patch.set_visible(False)
    right.spines["top"].set_visible(False)
    drawn = right.plot(
        numbers, stability, "s--", color="C1", markersize=4, linewidth=1.2, label="stability"
    )
    right.set_ylim(min(0.0, float(stability.min())), 1.05)
    right.set_ylabel("mean matched correlation of seeds")
    for side, color in ((ax, "C0"), (right, "C1")):
        side.yaxis.label.set_color(color)
        side.tick_params(axis="y", colors=color)
    _legend_above(ax, [gain, *drawn, *lines])
    return ax


n_programs = renamed_function(program_selection, "n_programs")
"""Deprecated name of :func:`program_selection`."""


def _legend_above(ax: Axes, handles: list[Any]) -> None:
    ax.legend(
        handles=handles,
        frameon=False,
        fontsize="small",
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=len(handles),
    )


def program_stability(
    result: ProgramStability, *, cmap: str = "viridis", ax: Axes | None = None
) -> Axes:
    """Plot the matched correlations of the programs of a reference model with all other models.

    Parameters
    ----------
    result
        Result of :func:`leafletfa_scvi.tl.program_stability`.
    cmap
        Name of a color map for correlations from 0 to 1; negative ones are drawn as 0.
    ax
        Axes to draw into. If None, a new figure is created.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with one image, programs of the reference model x other models. Correlations below
        the threshold (line in the color bar) are faded, missing matches are white, and names of
        programs that are not reproducible are gray.
    """
    values = result.correlation.to_numpy(float)
    n_rows, n_columns = values.shape
    if ax is None:
        ax = new_axes(max(3.4, 2.2 + 0.5 * n_columns), 1.3 + 0.36 * n_rows)
    reproduced = np.nan_to_num(values, nan=-1.0) >= result.threshold
    image = ax.imshow(
        values,
        aspect="auto",
        cmap=cmap,
        vmin=0,
        vmax=1,
        interpolation="nearest",
        alpha=np.where(reproduced, 1.0, 0.4),
    )
    for edge in range(1, n_rows):
        ax.axhline(edge - 0.5, color="white", linewidth=1.5)
    for edge in range(1, n_columns):
        ax.axvline(edge - 0.5, color="white", linewidth=1.5)
    if n_rows <= 40 and n_columns <= 12:
        for i, j in np.argwhere(np.isfinite(values)):
            color = "black" if values[i, j] > 0.65 else "white"
            color = color if reproduced[i, j] else "0.35"
            text = f"{values[i, j]:.2f}"
            ax.text(j, i, text, ha="center", va="center", color=color, fontsize=8)
    ax.set_xticks(range(n_columns), [str(name) for name in result.correlation.columns])
    ax.set_yticks(range(n_rows), [str(name) for name in result.correlation.index])
    reproducible = result.programs["reproducible"].to_numpy()
    for label, is_reproducible in zip(ax.get_yticklabels(), reproducible, strict=True):
        label.set_color("black" if is_reproducible else "0.6")
    ax.set(xlabel="other models", ylabel=f"programs of model {result.reference}")
    ax.set_title(
        f"{result.n_reproducible} of {n_rows} programs reproducible", fontsize="medium", loc="left"
    )
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    bar = ax.figure.colorbar(image, ax=ax, shrink=min(1.0, 6 / n_rows + 0.3), aspect=14)
    bar.ax.axhline(result.threshold, color="white", linewidth=1.5)
    bar.set_label("matched correlation")
    bar.outline.set_visible(False)
    return ax

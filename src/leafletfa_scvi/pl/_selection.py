"""Figures of the choice of the number of programs, and of stability over seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from leafletfa_scvi._deprecated import renamed_function
from leafletfa_scvi.pl._docs import shared_docs
from leafletfa_scvi.pl._figures import finish, new_axes
from leafletfa_scvi.pl._panels import one_or_all
from leafletfa_scvi.pl._slots import GRAY, text_on
from leafletfa_scvi.pl._stacked import GivenAxes, stacked_panels

if TYPE_CHECKING:
    import os

    from matplotlib.axes import Axes

    from leafletfa_scvi.tl._select import ProgramSelection
    from leafletfa_scvi.tl._stability import ProgramStability


@shared_docs
def program_selection(
    result: ProgramSelection,
    *,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: GivenAxes = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
    return_fig: bool = False,
) -> Any:
    """Plot held-out log-likelihood gain and stability against the number of programs.

    The gain rises while additional programs improve the prediction of held-out reads, and falls
    once programs fit noise; stability, in the panel below, falls once programs are not reproduced
    over seeds. The recommended number is a vertical line in both panels.

    Parameters
    ----------
    result
        Result of :func:`leafletfa_scvi.tl.select_n_programs`.
    $title_of_panels
    $figsize
    ax
        Axes of the gain, the only panel then, or a pair of axes for both panels. If None, a new
        figure is created.
    $output

    Returns
    -------
    matplotlib.axes.Axes or dict
        With several seeds, a dictionary of the axes ``"gain"`` (mean and standard error, hollow
        for fits that were stopped early, and a pale point for each seed) and ``"stability"``
        (mean matched correlation of seeds); with one seed, the axes of the gain.

    Raises
    ------
    ValueError
        ``ax`` are neither one nor two axes.

    Examples
    --------
    Held-out gain of two to eight programs, where five were simulated:

    >>> result = lfa.tl.select_n_programs(adata, range(2, 9), share_starts=False)
    >>> lfa.pl.program_selection(result)

    .. image:: /_static/gallery/program_selection.png
       :alt: Gain and stability against the number of programs, with a line at the
           recommended one.
    """
    summary = result.summary
    names, heights = ["gain"], [3.5]
    if not summary["stability"].isna().all():
        names, heights = ["gain", "stability"], [3.0, 1.9]
    panels = stacked_panels(ax, names, heights, figsize)
    for panel in panels.values():
        chosen = panel.axvline(
            result.n_programs,
            color=GRAY,
            linestyle=":",
            zorder=0,
            label=f"recommended: {result.n_programs}",
        )
        panel.spines[["top", "right"]].set_visible(False)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles = _gain(panels["gain"], result)
    _legend_above(panels["gain"], [*handles, chosen])
    if "stability" in panels:
        _stability(panels["stability"], result)
    list(panels.values())[-1].set_xlabel("number of programs")
    return finish(one_or_all(panels), title=title, show=show, save=save, return_fig=return_fig)


def _gain(ax: Axes, result: ProgramSelection) -> list[Any]:
    """Draw the gain of each seed, and its mean; return the handles of a legend."""
    summary, scores = result.summary, result.scores
    numbers, several = summary.index.to_numpy(float), len(scores) > len(summary)
    color, handles = "C0", list[Any]()
    if several:
        seeds = scores["n_programs"], scores["log_likelihood_gain"]
        style: dict[str, Any] = {"markersize": 3.5, "alpha": 0.5, "markeredgewidth": 0}
        handles += ax.plot(*seeds, "o", color=color, label="single seed", **style)
    mean = ax.errorbar(
        numbers,
        summary["log_likelihood_gain"],
        yerr=summary["se"].fillna(0.0).to_numpy() if several else None,
        color=color,
        marker="o",
        markersize=5,
        capsize=2.5,
        label="mean ± standard error" if several else "held-out gain",
    )
    handles.insert(0, mean)
    stopped = summary["stopped"].to_numpy(bool)
    if stopped.any():  # hollow, as these are gains of unfinished fits
        gains = summary["log_likelihood_gain"].to_numpy()[stopped]
        face = ax.get_facecolor()
        style = {"markersize": 5, "mec": color, "mfc": face, "zorder": 4}
        handles += ax.plot(numbers[stopped], gains, "o", label="stopped early", **style)
    ax.set_ylabel("held-out log-likelihood gain\n(nats per entry)")
    return handles


def _stability(ax: Axes, result: ProgramSelection) -> None:
    stability = result.summary["stability"]
    ax.plot(stability.index.to_numpy(float), stability, "s-", color="C1", markersize=4)
    ax.set_ylim(min(0.0, float(stability.min())) - 0.05, 1.05)
    ax.set_ylabel("stability (mean\ncorrelation of seeds)")


n_programs = renamed_function(program_selection, "n_programs")
"""Deprecated name of :func:`program_selection`."""


def _legend_above(ax: Axes, handles: list[Any]) -> None:
    ax.legend(
        handles=handles,
        frameon=False,
        fontsize="small",
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=len(handles) if len(handles) < 4 else 2,
    )


@shared_docs
def program_stability(
    result: ProgramStability,
    *,
    cmap: str = "viridis",
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
    return_fig: bool = False,
) -> Any:
    """Plot the matched correlations of the programs of a reference model with all other models.

    Parameters
    ----------
    result
        Result of :func:`leafletfa_scvi.tl.program_stability`.
    cmap
        Name of a color map for correlations from 0 to 1; negative ones are drawn as 0.
    $title
        If None, the number of reproducible programs.
    $figsize
    $ax
    $output

    Returns
    -------
    matplotlib.axes.Axes
        Axes with one image, programs of the reference model x other models. Correlations below
        the threshold (line in the color bar) are faded, missing matches are empty, and names of
        programs that are not reproducible are gray.

    Examples
    --------
    Three fits of six programs from different random numbers, where five were simulated:

    >>> result = lfa.tl.program_stability(models)
    >>> lfa.pl.program_stability(result)

    .. image:: /_static/gallery/program_stability.png
       :alt: A matrix of correlations, programs by models, those below the
           threshold faded.
    """
    values = result.correlation.to_numpy(float)
    n_rows, n_columns = values.shape
    if ax is None:
        ax = new_axes(max(3.4, 2.2 + 0.5 * n_columns), 1.3 + 0.36 * n_rows, figsize)
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
        ax.axhline(edge - 0.5, color=ax.get_facecolor(), linewidth=1.5)
    for edge in range(1, n_columns):
        ax.axvline(edge - 0.5, color=ax.get_facecolor(), linewidth=1.5)
    if n_rows <= 40 and n_columns <= 12:
        for i, j in np.argwhere(np.isfinite(values)):
            shade = image.to_rgba(values[i, j])
            color = text_on(shade, ax, 1.0 if reproduced[i, j] else 0.4)
            text = f"{values[i, j]:.2f}"
            ax.text(j, i, text, ha="center", va="center", color=color, fontsize=8)
    others = [str(name) for name in result.correlation.columns]
    turn: dict[str, Any] = {"rotation": 90} if max(map(len, others)) > 6 else {}
    ax.set_xticks(range(n_columns), others, **turn)
    ax.set_yticks(range(n_rows), [str(name) for name in result.correlation.index])
    reproducible = result.programs["reproducible"].to_numpy()
    for label, is_reproducible in zip(ax.get_yticklabels(), reproducible, strict=True):
        if not is_reproducible:
            label.set_color(GRAY)
    ax.set(xlabel="other models", ylabel=f"programs of model {result.reference}")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    bar = ax.figure.colorbar(image, ax=ax, shrink=min(1.0, 6 / n_rows + 0.3), aspect=14)
    bar.ax.axhline(result.threshold, color=ax.get_facecolor(), linewidth=1.5)
    bar.set_label("matched correlation")
    bar.outline.set_visible(False)
    if title is None:
        title = f"{result.n_reproducible} of {n_rows} programs reproducible"
    return finish(ax, title=title, show=show, save=save, return_fig=return_fig)

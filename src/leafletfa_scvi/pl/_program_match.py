"""Match of two sets of programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle
from scipy.optimize import linear_sum_assignment

from leafletfa_scvi.pl._docs import shared_docs
from leafletfa_scvi.pl._figures import finish, new_axes
from leafletfa_scvi.pl._groups import diverging_map
from leafletfa_scvi.pl._slots import program_ticks, text_on

if TYPE_CHECKING:
    import os

    from matplotlib.axes import Axes


@shared_docs
def program_match(
    correlation: pd.DataFrame | np.ndarray,
    *,
    cmap: str | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
    return_fig: bool = False,
) -> Any:
    """Plot correlations of reference and learned programs, with the matched pairs framed.

    Parameters
    ----------
    correlation
        ``(K1, K2)`` result of :func:`leafletfa_scvi.tl.program_correlation`: reference programs
        in rows, learned ones in columns. Columns are drawn in the order of their matches,
        unmatched ones last.
    $diverging
    $figure

    Returns
    -------
    matplotlib.axes.Axes
        Axes with one image, reference x reordered learned programs.

    Raises
    ------
    ValueError
        ``correlation`` is not a matrix of finite values.

    Examples
    --------
    Programs of a fit and those that were simulated:

    >>> correlation = lfa.tl.program_correlation(truth, model.get_splicing_programs())
    >>> lfa.pl.program_match(correlation)

    .. image:: /_static/gallery/program_match.png
       :alt: A matrix of correlations with matched pairs on the diagonal.
    """
    frame = pd.DataFrame(correlation)
    values = frame.to_numpy(float)
    if values.ndim != 2 or 0 in values.shape or not np.isfinite(values).all():
        raise ValueError(
            "Expected correlation to be a finite matrix, reference x learned programs, found "
            f"shape {values.shape} with {int((~np.isfinite(values)).sum())} non-finite values."
        )
    rows, partners = linear_sum_assignment(values, maximize=True)
    unmatched = np.setdiff1d(np.arange(values.shape[1]), partners)
    order = np.concatenate([partners, unmatched])
    shown = values[:, order]

    n_rows, n_columns = shown.shape
    if ax is None:
        ax = new_axes(1.8 + 0.5 * n_columns, 1.0 + 0.5 * n_rows, figsize)
    image = ax.imshow(
        shown,
        cmap=diverging_map(cmap, ax.get_facecolor()),
        vmin=-1,
        vmax=1,
        interpolation="nearest",
    )
    if max(n_rows, n_columns) <= 20:
        for i, j in np.ndindex(shown.shape):
            color = text_on(image.to_rgba(shown[i, j]), ax)
            ax.text(
                j,
                i,
                f"{shown[i, j].round(2) + 0.0:.2f}",
                ha="center",
                va="center",
                color=color,
                fontsize=8,
            )
    frame_style: dict[str, Any] = {
        "fill": False,
        "edgecolor": plt.rcParams["text.color"],
        "linewidth": 1.5,
        "clip_on": False,
    }
    for j, i in enumerate(rows):
        ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, **frame_style))
    program_ticks(ax.set_xticks, [str(frame.columns[j]) for j in order])
    ax.set_yticks(range(n_rows), [str(name) for name in frame.index])
    ax.set(xlabel="learned programs", ylabel="reference programs")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    bar = ax.figure.colorbar(
        image, ax=ax, shrink=0.8, aspect=max(14, 2 * n_rows), ticks=[-1, -0.5, 0, 0.5, 1]
    )
    bar.set_label("correlation")
    bar.outline.set_visible(False)
    return finish(ax, title=title, show=show, save=save, return_fig=return_fig)

"""Shifts of PSI in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_whole
from leafletfa_scvi.pl._choice import called_rows, check_table, choose, label_texts
from leafletfa_scvi.pl._differential_splicing import DOWN, OTHER, UP
from leafletfa_scvi.pl._docs import shared_docs
from leafletfa_scvi.pl._figures import finish
from leafletfa_scvi.pl._marker_choice import atse_of
from leafletfa_scvi.pl._rows import names_width

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from matplotlib.axes import Axes

_SOURCE = "model.get_batch_effects"
_COLUMNS = ("batch", "shift", "lower", "upper", "proba_zero")


@shared_docs
def batch_effects(
    effects: pd.DataFrame,
    batches: str | Sequence[str] | None = None,
    *,
    n_junctions: int = 15,
    label: str = "gene_name",
    seed: int = 0,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
    return_fig: bool = False,
) -> Any:
    """Plot what batches shift: the shifts of each batch, and the junctions with the largest.

    Parameters
    ----------
    effects
        Result of :meth:`leafletfa_scvi.LeafletFAModel.get_batch_effects`.
    batches
        Name or names of batches, in the order to draw them. If None, all.
    n_junctions
        Number of junctions to draw, one of each ATSE, those with the largest called shifts; those
        least likely to be unshifted if none is called.
    label
        Column with the names of junctions. The junction is named where it has none, and where
        several have the same.
    seed
        Seed of the scatter of points about their row.
    title
        Title of the figure.
    $figsize
    $output

    Returns
    -------
    dict
        ``"batches"``: axes with a row for each batch; points are called shifts, a bar spans the
        middle 99 % of all, and the number of called ones is on the right. ``"junctions"``: axes
        with the largest shift of each junction, its interval and its batch; small gray points are
        its shifts in other batches.

    Raises
    ------
    KeyError
        A column is missing, or there is no such batch.
    TypeError
        ``effects`` is not a DataFrame.
    ValueError
        The table has no rows, or nothing is chosen.

    Examples
    --------
    Three simulated batches:

    >>> lfa.pl.batch_effects(model.get_batch_effects())

    .. image:: /_static/gallery/batch_effects.png
       :alt: Shifts of each batch in rows, and the junctions with the largest.
    """
    n_junctions = check_whole("n_junctions", n_junctions, 1)
    effects = check_table("effects", effects, _COLUMNS, _SOURCE)
    known = pd.Categorical(effects["batch"]).categories
    names = choose("batches", batches, known)
    effects = effects[effects["batch"].astype(str).isin(names)]
    called, bound = called_rows(effects, "is_shifted_fdr_")
    top = _top(effects, called.to_numpy(), n_junctions)
    texts = label_texts(effects, [str(j) for j in top.index], label)
    shifted_in = [str(batch) for batch in top["batch"]]
    width = names_width(names) + names_width(texts) + names_width(shifted_in) + 6.4
    height = 1.2 + max(1.5, 0.27 * max(len(names), len(top)))
    _, (left, right) = plt.subplots(1, 2, figsize=figsize or (width, height), layout="constrained")
    _draw_batches(left, effects, called.to_numpy(), names, np.random.default_rng(seed))
    left.set_title(f"called: {bound}" if bound else "shifts", fontsize="medium")
    left.set_xlabel("shift of logit PSI (bar: middle 99% of all)")
    is_called = called.to_numpy()[_rows_of(effects, top)]
    _draw_junctions(right, effects, top, texts, is_called)
    what = "largest shifts" if is_called.any() else "no shift is called; most probable"
    right.set_title(what, fontsize="medium")
    panels = {"batches": left, "junctions": right}
    return finish(panels, title=title, show=show, save=save, return_fig=return_fig)


def _top(effects: pd.DataFrame, called: np.ndarray, number: int) -> pd.DataFrame:
    """Rows of the largest called shifts, one for each ATSE."""
    size = np.abs(effects["shift"].to_numpy(float))
    if called.any():
        order = np.argsort(-np.where(called, size, -1.0), kind="stable")[: int(called.sum())]
    else:
        order = np.lexsort((-size, effects["proba_zero"].to_numpy(float)))
    atse = pd.Series(atse_of(effects)[order])
    return effects.iloc[order[~atse.duplicated().to_numpy()][:number]]


def _rows_of(effects: pd.DataFrame, top: pd.DataFrame) -> np.ndarray:
    """Positions of rows in the table."""
    keys = (pd.MultiIndex.from_arrays([t.index, t["batch"].astype(str)]) for t in (effects, top))
    all_rows, wanted = keys
    rows: np.ndarray = all_rows.get_indexer(wanted)
    return rows


def _draw_batches(
    ax: Axes,
    effects: pd.DataFrame,
    called: np.ndarray,
    names: list[str],
    rng: np.random.Generator,
) -> None:
    """Draw called shifts as points, and the range of all, in a row for each batch."""
    shift, batch = effects["shift"].to_numpy(float), effects["batch"].astype(str).to_numpy()
    for y, name in enumerate(names):
        own = batch == name
        low, high = np.quantile(shift[own], [0.005, 0.995]) if own.any() else (0.0, 0.0)
        ax.plot([low, high], [y, y], color=OTHER, linewidth=7, alpha=0.4, solid_capstyle="butt")
        x = shift[own & called]
        ax.scatter(
            x,
            y + rng.uniform(-0.3, 0.3, len(x)),
            s=8,
            c=np.where(x > 0, UP, DOWN),
            alpha=0.8,
            linewidths=0,
            rasterized=len(x) > 2000,
        )
        _write_beside(ax, y, f"{len(x):,} of {int(own.sum()):,}")
    _row_axes(ax, names)


def _draw_junctions(
    ax: Axes, effects: pd.DataFrame, top: pd.DataFrame, texts: list[str], is_called: np.ndarray
) -> None:
    """Draw the shift of each junction with its interval, and those of other batches."""
    others = effects[effects.index.isin(top.index)]
    at = pd.Series(range(len(top)), index=top.index)
    ax.plot(others["shift"], at.loc[others.index], "o", color=OTHER, markersize=2.5, alpha=0.7)
    face = plt.rcParams["axes.facecolor"]
    values = top[["shift", "lower", "upper"]].to_numpy(float)
    for y, ((shift, lower, upper), called) in enumerate(zip(values, is_called, strict=True)):
        color = (UP if shift > 0 else DOWN) if called else OTHER
        ax.plot([lower, upper], [y, y], color=color, linewidth=1.4)
        ax.plot(shift, y, "o", color=color, mfc=color if called else face, markersize=5)
        _write_beside(ax, y, str(top["batch"].iloc[y]))
    _row_axes(ax, texts)


def _row_axes(ax: Axes, names: Sequence[str]) -> None:
    ink = plt.rcParams["text.color"]
    ax.axvline(0, color=ink, linewidth=0.6, alpha=0.5, zorder=0)
    ax.set_yticks(range(len(names)), list(names), fontsize="small")
    ax.tick_params(axis="y", length=0)
    ax.set(ylim=(len(names) - 0.4, -0.6), xlabel="shift of logit PSI")
    ax.spines[["top", "right", "left"]].set_visible(False)


def _write_beside(ax: Axes, y: float, text: str) -> None:
    ax.annotate(
        text,
        (1, y),
        xycoords=ax.get_yaxis_transform(),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize="small",
    )

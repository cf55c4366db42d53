"""Heatmap of programs, and the match of two sets of programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle
from scipy.optimize import linear_sum_assignment

from leafletfa_scvi._arguments import check_at_least, check_column
from leafletfa_scvi._constants import PROGRAM_SLOT
from leafletfa_scvi.pl._figures import new_axes
from leafletfa_scvi.pl._slots import result_slot

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData
    from matplotlib.axes import Axes


def program_heatmap(
    adata: AnnData,
    n_junctions: int = 5,
    *,
    key: str = PROGRAM_SLOT,
    label: str | None = None,
    cmap: str = "viridis",
    ax: Axes | None = None,
) -> Axes:
    """Plot the PSI of the most distinctive junctions of each program.

    A junction is assigned to the program in which its PSI is highest, and ranked by the
    difference to its mean over the other programs. The blocks on the diagonal are therefore
    junctions that a program includes and the others do not. For tested differences, see
    ``model.program_markers``.

    Parameters
    ----------
    adata
        AnnData with programs in ``adata.varm[key]``, as written by ``model.export_posterior``.
    n_junctions
        Maximum number of junctions per program.
    key
        Key of the programs in ``varm``: junctions x programs, PSI in [0, 1].
    label
        Column of ``adata.var`` to prepend to junction names, such as ``"gene_name"``.
    cmap
        Name of a color map for PSI.
    ax
        Axes to draw into. If None, a new figure is created.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with one image, selected junctions x programs.

    Raises
    ------
    KeyError
        ``adata.varm[key]`` or ``adata.var[label]`` is missing.
    TypeError
        ``label`` is not the name of one column.
    ValueError
        ``adata`` has a single program, or ``n_junctions`` is below 1.
    """
    programs = result_slot(adata, "varm", key)
    psi = programs.to_numpy(float)
    n_programs = psi.shape[1]
    if n_programs < 2:
        raise ValueError("Expected at least 2 programs to compare, found 1.")
    check_at_least(1, n_junctions=n_junctions)
    if label is not None and check_column("label", label, "var") not in adata.var:
        raise KeyError(
            f"Expected label to be a column of adata.var, one of {list(adata.var)}, found "
            f"{label!r}."
        )

    best = psi.argmax(axis=1)
    gap = psi.max(axis=1) - (psi.sum(axis=1) - psi.max(axis=1)) / (n_programs - 1)
    blocks = []
    for k in range(n_programs):
        assigned = np.flatnonzero(best == k)
        blocks.append(assigned[np.argsort(-gap[assigned], kind="stable")[:n_junctions]])
    rows = np.concatenate(blocks)

    names = pd.Series(adata.var_names.astype(str)[rows])
    if label is not None:
        names = adata.var[label].astype(str).iloc[rows].reset_index(drop=True) + "  " + names
    if ax is None:
        text = 0.075 * names.str.len().max()
        ax = new_axes(1.6 + text + 0.42 * n_programs, 1.0 + 0.21 * len(rows))
    image = ax.imshow(psi[rows], aspect="auto", cmap=cmap, vmin=0, vmax=1, interpolation="nearest")
    for edge in np.cumsum([len(block) for block in blocks])[:-1]:
        ax.axhline(edge - 0.5, color="white", linewidth=1.5)
    _program_ticks(ax.set_xticks, list(programs.columns))
    ax.set_yticks(range(len(rows)), names, fontsize="small")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    bar = ax.figure.colorbar(image, ax=ax, shrink=min(1.0, 6 / len(rows) + 0.3), aspect=14)
    bar.set_label("PSI")
    bar.outline.set_visible(False)
    return ax


def program_match(
    correlation: pd.DataFrame | np.ndarray,
    *,
    cmap: str = "RdBu_r",
    ax: Axes | None = None,
) -> Axes:
    """Plot correlations of reference and learned programs, with the matched pairs framed.

    Parameters
    ----------
    correlation
        ``(K1, K2)`` result of :func:`leafletfa_scvi.tl.program_correlation`: reference programs
        in rows, learned ones in columns. Columns are drawn in the order of their matches,
        unmatched ones last.
    cmap
        Name of a color map for correlations from -1 to 1.
    ax
        Axes to draw into. If None, a new figure is created.

    Returns
    -------
    matplotlib.axes.Axes
        Axes with one image, reference x reordered learned programs.

    Raises
    ------
    ValueError
        ``correlation`` is not a matrix of finite values.
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
    ax = new_axes(1.8 + 0.5 * n_columns, 1.0 + 0.5 * n_rows) if ax is None else ax
    image = ax.imshow(shown, cmap=cmap, vmin=-1, vmax=1, interpolation="nearest")
    if max(n_rows, n_columns) <= 20:
        for i, j in np.ndindex(shown.shape):
            color = "white" if abs(shown[i, j]) > 0.65 else "0.25"
            ax.text(j, i, f"{shown[i, j]:.2f}", ha="center", va="center", color=color, fontsize=8)
    frame_style: dict[str, Any] = {
        "fill": False,
        "edgecolor": "black",
        "linewidth": 1.5,
        "clip_on": False,
    }
    for j, i in enumerate(rows):
        ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, **frame_style))
    _program_ticks(ax.set_xticks, [str(frame.columns[j]) for j in order])
    ax.set_yticks(range(n_rows), [str(name) for name in frame.index])
    ax.set(xlabel="learned programs", ylabel="reference programs")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.8, aspect=14, ticks=[-1, -0.5, 0, 0.5, 1])
    bar.set_label("correlation")
    bar.outline.set_visible(False)
    return ax


def _program_ticks(set_ticks: Callable[..., object], names: list[str]) -> None:
    wide = max(map(len, names)) > 4 or len(names) > 12
    turn = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if wide else {}
    set_ticks(range(len(names)), names, fontsize="small", **turn)

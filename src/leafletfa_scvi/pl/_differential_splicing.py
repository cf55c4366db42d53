"""Differential splicing: effects against their evidence, or against coverage."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from leafletfa_scvi._arguments import check_one_of, check_whole
from leafletfa_scvi.pl._choice import called_rows, check_table, choose
from leafletfa_scvi.pl._docs import shared_docs
from leafletfa_scvi.pl._figures import finish
from leafletfa_scvi.pl._labels import place_labels
from leafletfa_scvi.pl._panels import keep_outer_labels, legend_below, one_or_all, panel_grid
from leafletfa_scvi.pl._slots import log_ticks

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from matplotlib.axes import Axes

_Kind = Literal["volcano", "coverage"]
_SOURCE = "model.differential_splicing"
UP, DOWN, OTHER = "#d55e00", "#3d8fd1", "#8c8c8c"
"""Colors of more in group 1, more in group 2, and neither."""
_SMALLEST = 1e-16
_P_VALUES = {"padj": "FDR", "fdr": "FDR", "qvalue": "FDR", "pvalue": "P"}


class _Evidence(NamedTuple):
    """Height of the points of a volcano.

    Attributes
    ----------
    height
        ``-log10`` of a P value, or of the probability that there is no difference.
    label
        Label of the axis.
    is_probability
        Whether ticks are probabilities of a difference.
    """

    height: np.ndarray
    label: str
    is_probability: bool


@shared_docs
def differential_splicing(
    table: pd.DataFrame,
    comparisons: str | Sequence[str] | None = None,
    *,
    kind: _Kind = "volcano",
    labels: int | str | Sequence[str] = 10,
    label: str = "gene_name",
    ncols: int = 3,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
    return_fig: bool = False,
) -> Any:
    """Plot differences in PSI against their evidence (volcano), or against coverage.

    Rows that the test selected are colored by direction; hollow points are selected ones whose
    pooled reads disagree. Rows that were not tested, because a group has no reads, are not drawn;
    the legend counts them. Of each ATSE one junction is labeled, as both sides of a cassette exon
    say the same.

    Parameters
    ----------
    table
        Result of :meth:`leafletfa_scvi.LeafletFAModel.differential_splicing`, of junctions or
        ATSEs, or of :meth:`~leafletfa_scvi.LeafletFAModel.program_markers`.
    comparisons
        Comparison or comparisons (programs), such as ``"Epi vs rest"``. If None, all.
    kind
        ``"volcano"``: probability of a difference (of its sign, with ``mode="vanilla"``; -log10 of
        FDR or P, in tables with ``padj`` or ``pvalue``) against the difference. ``"coverage"``:
        difference against the number of cells with reads, of the group with fewer.
    labels
        Number of selected ATSEs to label, the most probable first (of all, if the table has no
        selection), or names in the column ``label``, or of ATSEs or junctions.
    label
        Column with the names to write. Where it has none, the junction is named.
    $ncols
    $title_of_panels
    $figsize
    ax
        Axes to draw the only comparison into. If None, a new figure is created.
    $output

    Returns
    -------
    matplotlib.axes.Axes or dict
        Axes of each comparison by name, or of the only one.

    Raises
    ------
    KeyError
        A column is missing, or there is no such comparison or name to label.
    TypeError
        ``table`` is not a DataFrame.
    ValueError
        The table has no rows, ``kind`` is neither, or ``ax`` is given for several comparisons.

    Notes
    -----
    Labels are placed by adjustText. Those for which there is no space are left out.

    Examples
    --------
    Difference against its probability:

    >>> table = model.differential_splicing(groupby="cell_type")
    >>> lfa.pl.differential_splicing(table, "Motor neuron vs rest")

    .. image:: /_static/gallery/differential_splicing.png
       :alt: A volcano of points, those that differ in color, ten of them labeled.

    Difference against the number of cells with reads, of two types of cells:

    >>> table = model.differential_splicing(groupby="cell_type")
    >>> some = ["Epi vs rest", "Motor neuron vs rest"]
    >>> lfa.pl.differential_splicing(table, some, kind="coverage", labels=5)

    .. image:: /_static/gallery/differential_splicing_coverage.png
       :alt: Two panels of points around zero, those that differ in color.
    """
    check_one_of("kind", kind, _Kind)
    table = check_table("table", table, ["effect_size"], _SOURCE)
    facet = next((c for c in ("comparison", "program") if c in table), None)
    parts = {"": table}
    if facet is not None:
        found = dict(list(table.groupby(table[facet].astype(str), sort=False)))
        parts = {str(name): found[name] for name in choose("comparisons", comparisons, found)}
    _check_columns(table, kind, label, labels)
    panels = panel_grid(list(parts), 4.6, 4.4, ncols=ncols, figsize=figsize, ax=ax)
    alone = len(parts) == 1
    for (name, rows), panel in zip(parts.items(), panels.values(), strict=True):
        _draw(panel, rows, kind, alone)
        panel.set_title("\n".join(textwrap.wrap(name, 48)), fontsize="medium")
    if kind == "coverage":
        for panel in panels.values():
            log_ticks(panel)
    drawn = pd.concat(list(parts.values()))
    if not alone and (handles := _handles(drawn, of_programs=facet == "program")):
        figure: Any = next(iter(panels.values())).figure
        legend_below(figure, handles)
    keep_outer_labels(panels)
    for rows, panel in zip(parts.values(), panels.values(), strict=True):
        _label(panel, rows, kind, labels, label)
    return finish(one_or_all(panels), title=title, show=show, save=save, return_fig=return_fig)


def _check_columns(
    table: pd.DataFrame, kind: _Kind, label: str, labels: int | str | Sequence[str]
) -> None:
    """Check the columns and names that will be needed."""
    if kind == "coverage":
        check_table("table", table, ["n_obs_group1", "n_obs_group2"], _SOURCE)
    else:
        _evidence(table)
    if label not in table and label != "gene_name":
        raise KeyError(
            f"Expected label to be a column of table, one of {list(table.columns)}, found "
            f"{label!r}."
        )
    if isinstance(labels, bool | int | float):
        check_whole("labels", labels, 0)
    else:
        known = pd.unique(np.concatenate([_names(table, label), *_ids(table)]))
        wanted = [labels] if isinstance(labels, str) else list(labels)
        if wanted:
            choose("labels", wanted, known)


def _evidence(table: pd.DataFrame) -> _Evidence:
    """Return the height of the points, from what the table has."""
    if "proba_not_ds" in table:
        p, what = table["proba_not_ds"].to_numpy(float), "probability of a difference"
        return _Evidence(_minus_log(p), what, True)
    if "proba_m1" in table:
        p = np.fmin(table["proba_m1"].to_numpy(float), 1.0 - table["proba_m1"].to_numpy(float))
        return _Evidence(_minus_log(p), "probability of the sign of the difference", True)
    for column, what in _P_VALUES.items():
        if column in table:
            p = table[column].to_numpy(float)
            return _Evidence(_minus_log(p), f"$-\\log_{{10}}$ {what}", False)
    check_table("table", table, ["proba_ds"], _SOURCE)
    return _Evidence(_minus_log(1.0 - table["proba_ds"].to_numpy(float)), "", True)


def _minus_log(p: np.ndarray) -> np.ndarray:
    """Return -log10, of half of the smallest value above 0 where there is a 0."""
    positive = p[p > 0]
    floor = max(_SMALLEST, positive.min() / 2) if len(positive) else _SMALLEST
    height: np.ndarray = -np.log10(np.maximum(p, floor))
    return height


def _positions(rows: pd.DataFrame, kind: _Kind) -> tuple[np.ndarray, np.ndarray]:
    effect = rows["effect_size"].to_numpy(float)
    if kind == "volcano":
        return effect, _evidence(rows).height
    return rows[["n_obs_group1", "n_obs_group2"]].min(axis=1).to_numpy(float), effect


def _draw(ax: Axes, rows: pd.DataFrame, kind: _Kind, alone: bool) -> None:
    """Draw the points of one comparison."""
    x, y = _positions(rows, kind)
    effect = rows["effect_size"].to_numpy(float)
    called, bound = called_rows(rows, "is_ds_fdr_")
    up, down = (called & (effect > 0)).to_numpy(), (called & (effect < 0)).to_numpy()
    doubtful = np.zeros(len(rows), dtype=bool)
    if "reads_disagree" in rows:
        doubtful = rows["reads_disagree"].to_numpy(bool)
    drawn = np.isfinite(x) & np.isfinite(y)
    if kind == "coverage":
        drawn &= x > 0
    style: dict[str, Any] = {"linewidths": 0.9, "rasterized": len(rows) > 5000}
    rest = drawn & ~(up | down)
    ax.scatter(x[rest], y[rest], s=7, color=OTHER, alpha=0.45, **{**style, "linewidths": 0})
    for which, color in ((up, UP), (down, DOWN)):
        which = which & drawn
        faces = np.where(doubtful[which], "none", color)
        ax.scatter(x[which], y[which], s=14, facecolors=faces, edgecolors=color, zorder=6, **style)
    ink = plt.rcParams["text.color"]
    if kind == "volcano":
        ax.axvline(0, color=ink, linewidth=0.6, alpha=0.4, zorder=0)
        _volcano_axes(ax, rows)
    else:
        ax.axhline(0, color=ink, linewidth=0.6, alpha=0.4, zorder=0)
        ax.set_xscale("log")  # limits are those of the points of all panels
        ax.set(xlabel="cells with reads (group with fewer)", ylabel="difference in PSI")
    ax.spines[["top", "right"]].set_visible(False)
    n_missing = int((~drawn).sum())
    if alone:
        first, second = _sides(rows)
        handles = [
            _dot(UP, f"{first}: {int((up & drawn).sum()):,}"),
            _dot(DOWN, f"{second}: {int((down & drawn).sum()):,}"),
        ]
        if (doubtful & (up | down)).any():
            handles.append(_dot("none", "reads disagree", edge=ink))
        if n_missing:
            handles.append(_dot("none", f"not tested, no reads: {n_missing:,}"))
        if not bound:
            handles = handles[2:] if n_missing else []
        if handles:
            ax.legend(
                handles=handles,
                title=f"selected, {bound}" if bound else None,
                loc="upper center",
                bbox_to_anchor=(0.5, -0.14),
                frameon=False,
                fontsize="small",
                title_fontsize="small",
                alignment="left",
            )


def _handles(rows: pd.DataFrame, *, of_programs: bool) -> list[Line2D]:
    """Return the entries of a legend of several panels."""
    called, bound = called_rows(rows, "is_ds_fdr_")
    if not bound:
        return []
    if of_programs:
        names = ["more under the program", "less under the program"]
    else:
        names = ["more in the first group", "more in the second group"]
    handles = [_dot(c, f"{text}, {bound}") for c, text in zip((UP, DOWN), names, strict=True)]
    if "reads_disagree" in rows and (rows["reads_disagree"] & called).any():
        handles.append(_dot("none", "reads disagree", edge=plt.rcParams["text.color"]))
    return handles


def _volcano_axes(ax: Axes, rows: pd.DataFrame) -> None:
    """Name the axes; ticks of probabilities are 0, 0.9, 0.99, ..."""
    evidence = _evidence(rows)
    ax.set(xlabel="difference in PSI", ylabel=evidence.label)
    finite = evidence.height[np.isfinite(evidence.height)]
    highest = float(finite.max(initial=1.0))
    ax.set_ylim(-0.02 * highest, 1.08 * max(highest, ax.get_ylim()[1] / 1.08))
    if evidence.is_probability:
        ticks = np.arange(0, int(ax.get_ylim()[1]) + 1, 1 + int(highest) // 8)
        ax.set_yticks(ticks, [_probability(int(tick)) for tick in ticks])


def _probability(power: int) -> str:
    """Return 1 minus a power of ten."""
    if power <= 4:
        return ("0", "0.9", "0.99", "0.999", "0.9999")[power]
    return f"$1 - 10^{{-{power}}}$"


def _sides(rows: pd.DataFrame) -> tuple[str, str]:
    if "group1" in rows:
        return f"more in {rows['group1'].iloc[0]}", f"more in {rows['group2'].iloc[0]}"
    if "program" in rows:
        name = rows["program"].iloc[0]
        return f"more under {name}", f"less under {name}"
    return "positive", "negative"


def _dot(color: str, label: str, edge: str | None = None) -> Line2D:
    return Line2D(
        [], [], linestyle="", marker="o", ms=5, mfc=color, mec=edge or color, label=label
    )


def _ids(table: pd.DataFrame) -> list[np.ndarray]:
    """Names of ATSEs and junctions of the rows."""
    columns = [np.asarray(table[c].astype(str)) for c in ("atse_id", "junction") if c in table]
    return [np.asarray(table.index.astype(str)), *columns]


def _names(table: pd.DataFrame, label: str) -> np.ndarray:
    """What labels say, the junction where the column has nothing."""
    own = table["junction"].astype(str) if "junction" in table else table.index.astype(str)
    names = np.array(own, dtype=object)
    if label in table:
        given = table[label]
        has = given.notna().to_numpy() & (given.astype(str) != "").to_numpy()
        names = np.where(has, given.astype(str).to_numpy(), names)
    return names


def label_order(rows: pd.DataFrame, height: np.ndarray) -> np.ndarray:
    """Positions of rows to label, one of each ATSE, the most probable and largest effect first."""
    effect = np.abs(rows["effect_size"].to_numpy(float))
    called, bound = called_rows(rows, "is_ds_fdr_")
    keep = called.to_numpy() if bound else np.ones(len(rows), dtype=bool)
    keep = keep & np.isfinite(effect) & np.isfinite(height)
    order = np.lexsort((-effect, -height))
    order = order[keep[order]]
    if "atse_id" in rows:
        order = order[~rows["atse_id"].iloc[order].duplicated().to_numpy()]
    chosen: np.ndarray = order
    return chosen


def _label(
    ax: Axes,
    rows: pd.DataFrame,
    kind: _Kind,
    labels: int | str | Sequence[str],
    label: str,
) -> None:
    """Label the top points of one comparison, or those that are named."""
    x, y = _positions(rows, kind)
    # Coverage says nothing of evidence: the table has the most probable rows first.
    height = y if kind == "volcano" else -np.arange(len(rows), dtype=float)
    names = _names(rows, label)
    if isinstance(labels, int):
        chosen = label_order(rows, height)[:labels]
    else:
        wanted = {labels} if isinstance(labels, str) else set(map(str, labels))
        named = np.any([np.isin(i, list(wanted)) for i in (names, *_ids(rows))], axis=0)
        open_to_all = rows.drop(columns=[c for c in rows if str(c).startswith("is_ds_fdr_")])
        at = np.flatnonzero(named)
        chosen = at[label_order(open_to_all.iloc[at], height[at])]
    called = called_rows(rows, "is_ds_fdr_")[0].to_numpy() & np.isfinite(x) & np.isfinite(y)
    order = np.flatnonzero(called)
    place_labels(ax, x[chosen], y[chosen], list(names[chosen]), np.column_stack([x, y])[order])

"""Reference and query: cells together, fit of the query, overlap of junctions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_column, check_inside
from leafletfa_scvi._colors import Palette, group_colors
from leafletfa_scvi._constants import OVERLAP_SLOT
from leafletfa_scvi.pl._choice import check_table
from leafletfa_scvi.pl._docs import shared_docs
from leafletfa_scvi.pl._embedding import coordinates, dot_size, label_embedding
from leafletfa_scvi.pl._figures import finish
from leafletfa_scvi.pl._groups import edge_widths, legend_dot, missing_color
from leafletfa_scvi.pl._query_panels import draw_fit, draw_overlap
from leafletfa_scvi.pl._rows import names_width
from leafletfa_scvi.tl._activities import CellActivities, cell_activities

if TYPE_CHECKING:
    import os

    from anndata import AnnData
    from matplotlib.axes import Axes

    from leafletfa_scvi.model import LeafletFAModel

_ALL = "all cells"
_NAMES_PER_COLUMN = 24
_EMBEDDING, _OVERLAP = 4.0, 2.4
"""Heights of panels, in inches."""
_QUERY_COLOR = "#d55e00"


@shared_docs
def query(
    reference: AnnData | LeafletFAModel,
    query: AnnData | LeafletFAModel,
    groupby: str | None = None,
    *,
    basis: str | None = None,
    query_fit: pd.DataFrame | None = None,
    alpha: float = 0.05,
    palette: Palette | None = None,
    size: float | None = None,
    seed: int = 0,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
    return_fig: bool = False,
) -> Any:
    """Plot query cells among those of the reference, their fit, and which junctions they have.

    Parameters
    ----------
    reference
        Reference cells with activities in ``obsm["X_PHI"]``, or a trained model with its AnnData.
    query
        Query cells with activities on the same programs, in the same form.
    groupby
        Column of ``obs`` with groups of cells, such as cell types, or labels that
        :func:`leafletfa_scvi.tl.transfer_labels` gave to the query. The query must have it;
        reference cells are gray without it. Groups of the same name have the same color.
    basis
        Key of an embedding in ``obsm`` of both, with or without ``"X_"``, that was computed for
        both together (such as ``scanpy.tl.ingest`` does). If None, the first two principal
        components of square roots of the activities of the reference are used.
    query_fit
        Result of :func:`leafletfa_scvi.tl.query_fit` for the query cells, in any order.
    alpha
        Cells with a p value below count as not fitting.
    palette
        Colors of groups: a color map, colors in the order of the categories, or a color by
        category. If None, those of ``reference.uns["{groupby}_colors"]``.
    size
        Area of a dot, in points squared.
    seed
        Seed of the order in which cells are drawn, and of the scatter of points about their row.
    title
        Title of the figure.
    $figsize
    $output

    Returns
    -------
    dict
        Axes by name: ``"reference"``, its cells; ``"query"``, the query's before those of the
        reference in gray; ``"fit"``, scores z by group, with the share of cells below ``alpha``
        (given ``query_fit``); ``"overlap"``, what the query has of the reference's junctions,
        ATSEs, and of its own reads at them (if ``query.uns["junction_overlap"]`` has it, as
        ``prepare_query_anndata`` records).

    Raises
    ------
    KeyError
        A column or embedding is missing.
    TypeError
        One is neither an AnnData nor a model, or ``query_fit`` is not a DataFrame.
    ValueError
        Activities are missing or of other programs, or a query cell is not in ``query_fit``.

    Examples
    --------
    Motor neurons are missing in the reference, and do not fit it:

    >>> fit = lfa.tl.query_fit(query_model, reference=model)
    >>> lfa.pl.query(model, query_model, "cell_type", query_fit=fit)

    .. image:: /_static/gallery/query.png
       :alt: Two embeddings, of reference and query, scores of fit by type, and bars of
           the overlap.
    """
    alpha = check_inside("alpha", alpha, "[0, 1]")
    known, placed = cell_activities(reference, "reference"), cell_activities(query, "query")
    name, points = _points(known, placed, basis)
    labels = _labels(known.adata, placed.adata, groupby)
    colors = _colors(known.adata, labels, groupby, palette)
    fit = None if query_fit is None else _checked_fit(query_fit, placed.adata)
    overlap = placed.adata.uns.get(OVERLAP_SLOT)

    groups = _members(labels[1])
    lower = [key for key, has in (("fit", fit is not None), ("overlap", bool(overlap))) if has]
    below = 1.2 + max(1.3, 0.26 * len(groups) if fit is not None else 0.0)
    mosaic, heights = _layout(lower, below)
    legend = 0.0
    if groupby is not None:
        n_columns = -(-len(colors) // _NAMES_PER_COLUMN)
        legend = n_columns * (names_width(list(colors)) + 0.3)
    width = 8.4 + legend + (names_width(list(groups)) if fit is not None else 0.0)
    figure, axes = plt.subplot_mosaic(
        mosaic,
        figsize=figsize or (width, sum(heights)),
        height_ratios=heights,
        layout="constrained",
    )
    panels: dict[str, Axes] = dict(axes)
    rng = np.random.default_rng(seed)
    area = dot_size(len(points[0]) + len(points[1])) if size is None else size
    _draw_cells(panels, points, labels, colors, area, rng)
    for key, n in (("reference", len(points[0])), ("query", len(points[1]))):
        label_embedding(panels[key], name)
        panels[key].set_title(f"{key}, {n:,} cells", fontsize="medium")
    panels["query"].set_ylabel("")
    if groupby is not None:
        _legend(figure, colors, labels[0] is None, groupby)
    if fit is not None:
        draw_fit(panels["fit"], fit, groups, colors, alpha, rng)
    if overlap:
        draw_overlap(panels["overlap"], overlap)
    return finish(panels, title=title, show=show, save=save, return_fig=return_fig)


def _layout(lower: list[str], below: float) -> tuple[list[Any], list[float]]:
    """Return the places of the panels and the heights of rows, in inches.

    Embeddings are side by side, above the other panels; where these are higher than the
    embeddings, all but the fit are one below the other beside it.
    """
    if "fit" in lower and below > 1.5 * _EMBEDDING:
        column = ["reference", "query", *lower[1:]]
        heights = [_EMBEDDING, _EMBEDDING, *[_OVERLAP] * len(lower[1:])]
        missing = max(0.0, below - sum(heights)) / 2
        heights[:2] = [_EMBEDDING + missing] * 2
        return [["fit", name] for name in column], heights
    if lower:
        return [["reference", "query"], lower * (2 // len(lower))], [_EMBEDDING, below]
    return [["reference", "query"]], [_EMBEDDING]


def _points(
    known: CellActivities, placed: CellActivities, basis: str | None
) -> tuple[str, tuple[np.ndarray, np.ndarray]]:
    """Name and coordinates of the cells of both."""
    extra = placed.programs[len(known.programs) :]
    if placed.programs[: len(known.programs)] != known.programs:
        raise ValueError(
            f"Expected query with the programs of reference, {len(known.programs)} from "
            f"{known.programs[0]!r}, found {len(placed.programs)} from {placed.programs[0]!r}. "
            "Place its cells with load_query_data(query, reference)."
        )
    if basis is not None:
        name, own = coordinates(known.adata, basis, "reference")
        return name, (own, coordinates(placed.adata, basis, "query")[1])
    if len(placed.programs) < 2:
        raise ValueError("Expected at least 2 programs for principal components, found 1.")
    first = np.sqrt(np.pad(known.mean, ((0, 0), (0, len(extra)))))
    center = first.mean(0)
    axes = np.linalg.svd(first - center, full_matrices=False)[2][:2].T
    if axes.shape[1] < 2:
        raise ValueError(
            f"Expected at least 2 reference cells for principal components, found {len(first)}. "
            "Pass basis."
        )
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), [0, 1]])
    return "activity PC", ((first - center) @ axes, (np.sqrt(placed.mean) - center) @ axes)


def _labels(
    known: AnnData, placed: AnnData, groupby: str | None
) -> tuple[pd.Categorical | None, pd.Categorical]:
    """Groups of the cells of both, with the same categories."""
    if groupby is None:
        everything = pd.Categorical([_ALL] * placed.n_obs, [_ALL])
        return None, everything
    check_column("groupby", groupby)
    if groupby not in placed.obs:
        raise KeyError(
            f"Expected groupby to be a column of query.obs, one of {list(placed.obs)}, found "
            f"{groupby!r}."
        )
    own = pd.Categorical(placed.obs[groupby])
    names = [str(c) for c in own.categories]
    if groupby not in known.obs:
        return None, own.rename_categories(str)
    theirs = pd.Categorical(known.obs[groupby])
    first = [str(c) for c in theirs.categories]
    both = [*first, *(name for name in names if name not in first)]
    return (
        theirs.rename_categories(str).set_categories(both),
        own.rename_categories(str).set_categories(both),
    )


def _colors(
    known: AnnData,
    labels: tuple[pd.Categorical | None, pd.Categorical],
    groupby: str | None,
    palette: Palette | None,
) -> dict[str, str]:
    """A color for each group of either."""
    if groupby is None:
        return {_ALL: _QUERY_COLOR}
    from anndata import AnnData

    everything = AnnData(obs=pd.DataFrame({groupby: labels[1]}, index=_numbers(len(labels[1]))))
    colors = group_colors(everything, groupby, palette)
    if palette is not None or groupby not in known.obs:
        return colors
    theirs = group_colors(known, groupby)
    spare = iter([color for color in colors.values() if color not in theirs.values()])
    return {name: theirs[name] if name in theirs else next(spare) for name in colors}


def _numbers(n: int) -> pd.Index:
    return pd.RangeIndex(n).astype(str)


def _members(labels: pd.Categorical) -> dict[str, np.ndarray]:
    """Positions of the cells of each group of the query that has any."""
    rows = {str(c): np.flatnonzero(labels.codes == i) for i, c in enumerate(labels.categories)}
    return {name: cells for name, cells in rows.items() if len(cells)}


def _checked_fit(query_fit: Any, placed: AnnData) -> pd.DataFrame:
    """Return the fit of the query cells, in their order."""
    table = check_table("query_fit", query_fit, ["z", "p_value"], "tl.query_fit")
    if not table.index.is_unique:
        raise ValueError("Expected query_fit to have each cell once, found repeated names.")
    rows = table.index.get_indexer(placed.obs_names)
    missing = np.flatnonzero(rows < 0)
    if len(missing):
        raise ValueError(
            f"Expected query_fit to have all {placed.n_obs:,} query cells, found "
            f"{len(missing):,} missing, the first of them {placed.obs_names[missing[0]]!r}. "
            "Compute it for the same cells."
        )
    return table.iloc[rows]


def _draw_cells(
    panels: dict[str, Axes],
    points: tuple[np.ndarray, np.ndarray],
    labels: tuple[pd.Categorical | None, pd.Categorical],
    colors: dict[str, str],
    area: float,
    rng: np.random.Generator,
) -> None:
    """Draw the cells of both on the same scales."""
    background = panels["query"].get_facecolor()
    missing = missing_color(background)
    style: dict[str, Any] = {"s": area, "rasterized": True}
    panels["query"].scatter(*points[0].T, color=missing, alpha=0.6, linewidths=0, **style)
    for key, where, groups in zip(("reference", "query"), points, labels, strict=True):
        order = rng.permutation(len(where))
        if groups is None:
            panels[key].scatter(*where[order].T, color=missing, linewidths=0, **style)
            continue
        palette = np.array([*(colors[str(c)] for c in groups.categories), missing])
        widths = np.array([*edge_widths(palette[:-1], background), 0.0])
        panels[key].scatter(
            where[order, 0],
            where[order, 1],
            c=palette[groups.codes[order]],
            edgecolors=plt.rcParams["axes.edgecolor"],
            linewidths=widths[groups.codes[order]],
            **style,
        )
    together = np.concatenate(points)
    low, high = np.nanmin(together, axis=0), np.nanmax(together, axis=0)
    space = 0.04 * np.maximum(high - low, 1e-9)
    for key in ("reference", "query"):
        panels[key].set(
            xlim=(low[0] - space[0], high[0] + space[0]),
            ylim=(low[1] - space[1], high[1] + space[1]),
        )


def _legend(figure: Any, colors: dict[str, str], is_gray: bool, groupby: str) -> None:
    background = plt.rcParams["axes.facecolor"]
    handles = [legend_dot(name, color, background) for name, color in colors.items()]
    if is_gray:
        handles.append(legend_dot("reference", missing_color(background), background))
    figure.legend(
        handles=handles,
        title=groupby,
        loc="outside right upper",
        ncols=-(-len(colors) // _NAMES_PER_COLUMN),
        frameon=False,
        fontsize="small",
    )

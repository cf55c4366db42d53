"""Activities on an embedding of cells."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from leafletfa_scvi.pl._choice import choose
from leafletfa_scvi.pl._docs import shared_docs
from leafletfa_scvi.pl._figures import finish
from leafletfa_scvi.pl._panels import keep_outer_labels, one_or_all, panel_grid
from leafletfa_scvi.tl._activities import cell_activities

if TYPE_CHECKING:
    import os

    from anndata import AnnData
    from matplotlib.axes import Axes

    from leafletfa_scvi.model import LeafletFAModel


def coordinates(adata: AnnData, basis: str, argument: str = "adata") -> tuple[str, np.ndarray]:
    """Return the name of an embedding, as for axes, and its first two dimensions ``(C, 2)``.

    Parameters
    ----------
    adata
        Cells.
    basis
        Key of ``obsm``, with or without ``"X_"``, as in scanpy.
    argument
        Name of the argument of ``adata``, for messages.

    Raises
    ------
    KeyError
        There is no such embedding.
    ValueError
        It has fewer than two dimensions.
    """
    keys = [str(key) for key in adata.obsm]
    key = basis if basis in keys else f"X_{basis}"
    if key not in keys:
        near = get_close_matches(key, keys, 1)
        if near:
            remedy = f"The nearest is {near[0]!r}."
        else:
            remedy = (
                "Compute one from the activities, sc.pp.neighbors(adata, use_rep='X_PHI') and "
                "sc.tl.umap(adata), or pass another basis."
            )
        raise KeyError(
            f"Expected {argument}.obsm to have the embedding {basis!r}, found "
            f"{', '.join(map(repr, keys)) or 'no keys'}. {remedy}"
        )
    values = np.asarray(adata.obsm[key], dtype=float)
    if values.ndim != 2 or values.shape[1] < 2:
        raise ValueError(
            f"Expected {argument}.obsm[{key!r}] to have two dimensions or more, found shape "
            f"{values.shape}."
        )
    return basis_name(key), values[:, :2]


def basis_name(key: str) -> str:
    """Return the name of an embedding, as axes have it."""
    name = key.removeprefix("X_")
    return {"umap": "UMAP", "pca": "PC", "tsne": "tSNE"}.get(name, name)


def dot_size(n_cells: int) -> float:
    """Area of the dot of a cell in points squared, that of scanpy but for few cells."""
    return min(120_000 / max(n_cells, 1), 30.0)


def label_embedding(ax: Axes, name: str, components: tuple[int, int] = (0, 1)) -> None:
    """Name the axes of an embedding, whose scale means nothing."""
    first, second = components
    ax.set(xticks=[], yticks=[], xlabel=f"{name}{first + 1}", ylabel=f"{name}{second + 1}")


@shared_docs
def activity_embedding(
    adata: AnnData | LeafletFAModel,
    programs: str | list[str] | None = None,
    basis: str = "X_umap",
    *,
    cmap: str = "viridis",
    vmax: float | None = None,
    size: float | None = None,
    ncols: int = 4,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
    return_fig: bool = False,
) -> Any:
    """Plot the activity of each program on an embedding of cells, all on one color scale.

    Cells with high activities are drawn last. Dots are pixels also in vector formats.

    Parameters
    ----------
    $cells
    $programs
    $basis
    cmap
        Name of a color map.
    vmax
        Activity of the last color. If None, the highest activity drawn.
    size
        Area of a dot, in points squared.
    $ncols
    $title_of_panels
    $figsize
    ax
        Axes to draw the only program into. If None, a new figure is created.
    $output

    Returns
    -------
    matplotlib.axes.Axes or dict
        Axes of each program by name, or of the only one.

    Raises
    ------
    KeyError
        There is no such embedding or program.
    TypeError
        ``adata`` is neither an AnnData nor a model.
    ValueError
        There are no activities, ``programs`` is empty, or ``ax`` is given for several.

    Examples
    --------
    All programs on one color scale:

    >>> lfa.pl.activity_embedding(adata)

    .. image:: /_static/gallery/activity_embedding.png
       :alt: Eight UMAPs with cells colored by activity.
    """
    cells = cell_activities(adata, "adata")
    names = choose("programs", programs, cells.programs)
    name, points = coordinates(cells.adata, basis)
    values = cells.mean[:, [cells.programs.index(program) for program in names]]
    norm = Normalize(0, values.max() if vmax is None else vmax)
    scale = ScalarMappable(norm, cmap)
    panels = panel_grid(names, 2.6, 2.7, ncols=ncols, figsize=figsize, ax=ax)
    for k, (program, panel) in enumerate(panels.items()):
        order = np.argsort(values[:, k], kind="stable")
        panel.scatter(
            points[order, 0],
            points[order, 1],
            c=values[order, k],
            s=dot_size(len(points)) if size is None else size,
            cmap=cmap,
            norm=norm,
            linewidths=0,
            rasterized=True,
        )
        panel.set_title(program)
        label_embedding(panel, name)
    keep_outer_labels(panels)
    axes = list(panels.values())
    height = 2.7 * -(-len(names) // ncols)
    bar = axes[0].figure.colorbar(
        scale, ax=axes, label="activity", aspect=20, shrink=min(1.0, 2.2 / height), anchor=(0, 1)
    )
    bar.outline.set_visible(False)
    return finish(one_or_all(panels), title=title, show=show, save=save, return_fig=return_fig)

"""PSI of junctions on an embedding of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D

from leafletfa_scvi import tl
from leafletfa_scvi._arguments import check_anndata, check_positive, check_whole
from leafletfa_scvi._similar import did_you_mean
from leafletfa_scvi.pl._docs import shared_docs
from leafletfa_scvi.pl._embedding import basis_name, label_embedding
from leafletfa_scvi.pl._figures import finish
from leafletfa_scvi.pl._groups import missing_color
from leafletfa_scvi.pl._psi import heading, junctions_named, panel_grid

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

    from leafletfa_scvi import LeafletFAModel

_PANEL = 3.0
"""Width and height of a panel, in inches."""
_AREA = 30_000.0
"""Area of all points, in square points."""
_LARGEST = 25.0
_RASTERIZED = 20_000
"""Number of cells from which points are pixels in vector formats too."""


@shared_docs
def psi_embedding(
    adata: AnnData,
    junctions: str | Sequence[str],
    basis: str = "X_umap",
    *,
    model: LeafletFAModel | None = None,
    min_reads: int = 1,
    components: tuple[int, int] = (0, 1),
    cmap: str = "viridis",
    size: float | None = None,
    ncols: int = 4,
    seed: int = 0,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
    return_fig: bool = False,
) -> Any:
    """Plot PSI of junctions on an embedding of cells, one panel for each junction.

    Cells without reads of the ATSE are grey and lie beneath the others: their PSI was not
    observed, which is not a PSI of 0. The others are drawn in random order, so that neither high
    nor low PSI covers the rest.

    Parameters
    ----------
    adata
        Cells x junctions with both layers of counts, and the embedding in ``adata.obsm``.
    $junctions
    $basis
    model
        Trained model, whose expected PSI is drawn instead, of all cells.
    min_reads
        Minimum number of reads of the ATSE for PSI to count as observed.
    components
        0-based columns of the embedding.
    cmap
        Name of a color map for PSI, from 0 to 1.
    size
        Area of a point, in square points; by default, 30,000 divided by the number of cells, at
        most 25.
    $ncols
    seed
        Seed of the order of cells.
    $title_of_panels
    $figsize
    ax
        Axes to draw into, for one junction. If None, a new figure is created.
    $output

    Returns
    -------
    matplotlib.axes.Axes, or dict of str to Axes
        Axes of the junction, or of each by name if there are several.

    Raises
    ------
    KeyError
        A junction, ATSE, gene, embedding or layer is unknown; the message offers the nearest.
    ValueError
        The embedding lacks a component, or ``ax`` is given for several junctions.

    Examples
    --------
    Cells without reads of the exon are gray:

    >>> lfa.pl.psi_embedding(adata, ["Ncam1_2:inclusion", "Cadm1_6:inclusion"])

    .. image:: /_static/gallery/psi_embedding.png
       :alt: Two UMAPs with cells colored by PSI.

    Expected PSI of the model, of all cells:

    >>> names = ["Ncam1_2:inclusion", "Cadm1_6:inclusion"]
    >>> lfa.pl.psi_embedding(adata, names, model=model)

    .. image:: /_static/gallery/psi_embedding_model.png
       :alt: Two UMAPs with all cells colored by expected PSI.
    """
    check_anndata(adata)
    names = junctions_named(adata, junctions)
    check_whole("ncols", ncols, 1)
    points = _embedding(adata, basis, components)
    if size is None:
        size = min(_LARGEST, _AREA / max(1, adata.n_obs))
    check_positive("size", size)
    if ax is not None and len(names) > 1:
        raise ValueError(
            f"Expected one junction with ax, found {len(names)}. Leave ax out, or draw each into "
            "axes of its own."
        )
    if model is None:
        values = tl.observed_psi(adata, names, min_reads=min_reads).to_numpy()
    else:
        values = np.asarray(
            model.get_normalized_splicing(adata, None, names, return_numpy=True), np.float64
        )

    if ax is None:
        n_rows, n_columns = panel_grid(len(names), ncols)
        figure, grid = plt.subplots(
            n_rows,
            n_columns,
            figsize=figsize or (0.8 + n_columns * _PANEL, 0.6 + n_rows * (_PANEL + 0.3)),
            layout="constrained",
            squeeze=False,
        )
        for unused in grid.ravel()[len(names) :]:
            unused.set_axis_off()
        drawn = dict(zip(names, grid.ravel(), strict=False))
    else:
        drawn = {names[0]: ax}
    first = drawn[names[0]]
    missing = missing_color(first.get_facecolor())
    name_of_basis = basis_name(basis)
    order = np.random.default_rng(seed).permutation(adata.n_obs)
    options: dict[str, Any] = {
        "s": size,
        "linewidths": 0,
        "rasterized": adata.n_obs > _RASTERIZED,
    }
    for j, (name, axes) in enumerate(drawn.items()):
        observed = np.isfinite(values[order, j])
        without, shown = order[~observed], order[observed]
        axes.scatter(*points[without].T, color=missing, zorder=1, **options)
        image = axes.scatter(
            *points[shown].T, c=values[shown, j], cmap=cmap, vmin=0, vmax=1, zorder=2, **options
        )
        label_embedding(axes, name_of_basis, components)
        if len(names) > 1 or title is None:
            axes.set_title(heading(adata, name), fontsize="small")
    bar = first.figure.colorbar(
        image,
        ax=list(drawn.values()),
        ticks=[0, 0.5, 1],
        aspect=25,
        fraction=0.05,
        shrink=min(1.0, 0.6 + 0.2 / len(drawn)),
    )
    bar.set_label("PSI" if model is None else "expected PSI of the model")
    bar.outline.set_visible(False)
    if not np.isfinite(values).all():
        what = "no reads" if min_reads == 1 else f"fewer than {min_reads} reads"
        handle = Line2D([], [], color=missing, linestyle="none", marker="o", label=what)
        legend: dict[str, Any] = {"handles": [handle], "frameon": False, "fontsize": "small"}
        if ax is None:
            first.figure.legend(loc="outside lower center", **legend)
        else:
            ax.legend(loc="upper left", bbox_to_anchor=(0, -0.06), **legend)
    result = first if len(names) == 1 else drawn
    return finish(result, title=title, show=show, save=save, return_fig=return_fig)


def _embedding(adata: AnnData, basis: str, components: tuple[int, int]) -> np.ndarray:
    """Return two components of an embedding, ``(C, 2)``."""
    key = next((key for key in (basis, f"X_{basis}") if key in adata.obsm), None)
    if key is None:
        known = [str(name) for name in adata.obsm]
        raise KeyError(
            f"Expected basis to be a key of adata.obsm, one of {known}, found {basis!r}."
            + (did_you_mean(basis, known) or " Compute it first, as scanpy.tl.umap(adata).")
        )
    values = np.asarray(adata.obsm[key], float)
    first, second = (check_whole("components", x, 0) for x in components)
    if values.ndim != 2 or max(first, second) >= values.shape[1]:
        raise ValueError(
            f"Expected adata.obsm[{key!r}] to have components {first} and {second} (0-based), "
            f"found shape {values.shape}."
        )
    return values[:, [first, second]]

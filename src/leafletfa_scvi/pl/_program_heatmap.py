"""Heatmap of the junctions in which programs differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from leafletfa_scvi._arguments import check_column, check_inside, check_once, check_whole
from leafletfa_scvi._colors import program_colors
from leafletfa_scvi._constants import PROGRAM_SLOT
from leafletfa_scvi.pl._docs import shared_docs
from leafletfa_scvi.pl._figures import finish, new_axes
from leafletfa_scvi.pl._groups import diverging_map
from leafletfa_scvi.pl._slots import GRAY, program_ticks

if TYPE_CHECKING:
    import os

    from anndata import AnnData
    from matplotlib.axes import Axes

    from leafletfa_scvi.model import LeafletFAModel
    from leafletfa_scvi.tl._distinctive import ComparedPrograms

_MANY_ROWS = 50
_MEAN, _BRACKET, _NAME = 4, 34, 40
"""Distances of mean PSI, brackets and names of blocks from the axes, in points."""


class _Block(NamedTuple):
    """Junctions that are drawn together: name, rows of the programs, and color."""

    name: str
    rows: np.ndarray
    color: str


@shared_docs
def program_heatmap(
    adata: AnnData | LeafletFAModel,
    n_junctions: int = 5,
    *,
    delta: float = 0.1,
    markers: pd.DataFrame | Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    key: str = PROGRAM_SLOT,
    label: str | None = None,
    cmap: str | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
    return_fig: bool = False,
) -> Any:
    """Plot how the PSI of the most distinctive junctions of each program deviates from its mean.

    Colors are PSI under a program minus the mean over programs, weighted by their prevalence; the
    mean is written beside each row. Rows are in blocks by program, whose names are on the right.

    A junction is drawn once, in the block of the program where it differs most certainly: by the
    lower end of the 95 % interval of its difference from the mean of the other programs, if the
    posterior is known, else by the difference itself. Junctions of an ATSE that say the same, as
    their PSI over programs are correlated by 0.95 or more, or by -0.95 or less, are one finding,
    such as inclusion and exclusion of a cassette exon; of equal ones the one that the program uses
    more is drawn. For tested differences, pass the table of ``model.program_markers`` as
    ``markers``.

    Parameters
    ----------
    adata
        AnnData with programs in ``adata.varm[key]``, as written by ``model.export_posterior``, or
        a trained model.
    n_junctions
        Maximum number of junctions per program.
    delta
        Difference in PSI from the mean of the other programs that a junction must exceed, in
        [0, 1), also if it is certain. Not used with ``markers``.
    markers
        What to draw instead. A table of ``model.program_markers``: of the markers within its bound
        on false discoveries, the most probable and largest, each finding once as above. A list
        of junctions: all of them, in this order. A dictionary of lists: blocks by its keys.
    key
        Key of the programs in ``varm``: junctions x programs, PSI in [0, 1].
    label
        Column of ``adata.var`` to prepend to junction names, such as ``"gene_name"``, but to those
        that begin with it.
    $diverging
    $figure

    Returns
    -------
    matplotlib.axes.Axes
        Axes with one image, selected junctions x programs in their order.

    Raises
    ------
    KeyError
        ``adata.varm[key]``, ``adata.var[label]``, a junction or a program of ``markers`` is
        missing.
    TypeError
        ``label`` is not the name of one column, or ``adata`` is neither of the two.
    ValueError
        There is a single program, ``n_junctions`` or ``delta`` is out of range, nothing is left
        to draw, or the table of markers lacks a column.

    Examples
    --------
    Junctions that deviate most certainly from their mean, in blocks by program:

    >>> lfa.pl.program_heatmap(adata, label="gene_name")

    .. image:: /_static/gallery/program_heatmap.png
       :alt: A red and blue matrix, junctions by programs, with red blocks on the
           diagonal.
    """
    # Imports torch and scvi-tools, which other figures need not.
    from leafletfa_scvi.tl._distinctive import compared_programs

    programs = compared_programs(adata, key)
    if programs.psi.shape[1] < 2:
        raise ValueError("Expected at least 2 programs to compare, found 1.")
    check_whole("n_junctions", n_junctions, 1)
    check_inside("delta", delta, "[0, 1)")
    labels = _labels(programs, label)
    blocks = _blocks(programs, n_junctions, delta, markers)
    rows = np.concatenate([block.rows for block in blocks])
    names = [labels[row] for row in rows]

    deviation = programs.deviations().to_numpy()[rows]
    many = len(rows) > _MANY_ROWS
    if ax is None:
        text = (0.062 if many else 0.072) * max(map(len, names))
        width, height = 0.3 if deviation.shape[1] > 12 else 0.4, 0.135 if many else 0.18
        size = 2.6 + text + width * deviation.shape[1], 1.2 + height * len(rows)
        ax = new_axes(*size, figsize)
    limit = max(0.05, float(np.abs(deviation).max()))
    image = ax.imshow(
        deviation,
        aspect="auto",
        cmap=diverging_map(cmap, ax.get_facecolor()),
        vmin=-limit,
        vmax=limit,
        interpolation="nearest",
    )
    font = "x-small" if many else "small"
    program_ticks(ax.set_xticks, list(map(str, programs.psi.columns)), top=True)
    ax.set_yticks(range(len(rows)), names, fontsize=font)
    ax.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)
    _write_means(ax, programs.psi.to_numpy(float)[rows] @ programs.prevalence, font)
    if blocks[0].name:
        _bracket(ax, blocks)
    bar = ax.figure.colorbar(
        image, ax=ax, shrink=min(1.0, 6 / len(rows) + 0.2), aspect=14, anchor=(0.0, 1.0)
    )
    bar.set_label("deviation from mean PSI")
    bar.outline.set_visible(False)
    return finish(ax, title=title, show=show, save=save, return_fig=return_fig)


def _blocks(
    programs: ComparedPrograms, n_junctions: int, delta: float, markers: Any
) -> list[_Block]:
    """Choose the rows, at least one."""
    from leafletfa_scvi.tl._distinctive import distinctive_junctions, listed_markers

    names = list(map(str, programs.psi.columns))
    if markers is None:
        found = distinctive_junctions(programs, n_junctions, delta)
        empty = f"junctions whose PSI differs by more than delta={delta:g}, found none"
    elif isinstance(markers, pd.DataFrame):
        table, rows, of = _read_markers(programs, markers)
        found = listed_markers(programs, rows, of, table, n_junctions)
        empty = (
            f"markers within the bound on false discoveries, found none in {len(markers):,} rows. "
            "Make the table with a smaller delta or a larger fdr_target"
        )
    else:
        given = markers if isinstance(markers, Mapping) else {"": markers}
        if any(isinstance(junctions, str) for junctions in given.values()):
            raise TypeError("Expected markers to be lists of junctions, found a text.")
        blocks = [
            _Block(str(k), _positions(programs, junctions), GRAY) for k, junctions in given.items()
        ]
        blocks = [block for block in blocks if len(block.rows)]
        if not blocks:
            raise ValueError("Expected markers to be names of junctions, found none.")
        return blocks
    each = zip(names, found, program_colors(len(names)), strict=True)
    blocks = [_Block(*block) for block in each if len(block[1])]
    if not blocks:
        raise ValueError(f"Expected {empty}. Or pass junctions as markers=[...].")
    return blocks


def _read_markers(
    programs: ComparedPrograms, markers: pd.DataFrame
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return significant markers, and the positions of their junctions and programs."""
    lacking = [name for name in ("program", "effect_size") if name not in markers]
    if lacking:
        raise ValueError(
            f"Expected markers to be a table of model.program_markers, found no column "
            f"{lacking[0]!r}, but {list(markers)}. Pass that table, or a list of junctions."
        )
    significant = [name for name in markers if str(name).startswith("is_ds_fdr_")]
    table = markers[markers[significant].all(axis=1)] if significant else markers
    junctions = table["junction"] if "junction" in table else table.index
    known = programs.psi.columns.astype(str)
    of = known.get_indexer(pd.Index(table["program"].astype(str)))
    if (of < 0).any():
        unknown = table["program"].iloc[int((of < 0).argmax())]
        raise KeyError(f"Expected programs of markers in {list(known)}, found {unknown!r}.")
    return table, _positions(programs, junctions), of


def _positions(programs: ComparedPrograms, junctions: Any) -> np.ndarray:
    """Find junctions by name."""
    wanted = pd.Index([str(name) for name in junctions], dtype=object)
    known = pd.Index(programs.psi.index.astype(str), dtype=object)
    rows: np.ndarray = known.get_indexer(wanted)
    if (rows < 0).any():
        name = wanted[int((rows < 0).argmax())]
        near = get_close_matches(name, list(known), 1)
        remedy = f" Did you mean {near[0]!r}?" if near else ""
        raise KeyError(
            f"Expected junctions of markers among the {len(known):,} of the programs, found "
            f"{name!r}, in total {int((rows < 0).sum()):,} others.{remedy}"
        )
    return rows


def _labels(programs: ComparedPrograms, label: str | None) -> list[str]:
    """Return the name of each junction, after the value of a column unless it begins with it."""
    names = list(programs.psi.index.astype(str))
    if label is None:
        return names
    check_column("label", label, "var")
    var = pd.DataFrame() if programs.var is None else programs.var
    if label not in var:
        raise KeyError(
            f"Expected label to be a column of adata.var, one of {list(var)}, found {label!r}."
        )
    check_once(var, label, "var")
    first = var[label].astype(object).fillna("").astype(str)
    return [b if b.startswith(a) else f"{a}  {b}" for a, b in zip(first, names, strict=True)]


def _write_means(ax: Axes, means: np.ndarray, font: str) -> None:
    """Write the mean PSI of each row on the right."""
    style: dict[str, Any] = {"textcoords": "offset points", "color": GRAY, "fontsize": font}
    for i, mean in enumerate(means):
        where = (1, i), (_MEAN, 0)
        ax.annotate(f"{mean:.2f}", *where, xycoords=ax.get_yaxis_transform(), va="center", **style)
    ax.annotate("mean\nPSI", (1, 1), (_MEAN, 3), xycoords="axes fraction", va="bottom", **style)


def _bracket(ax: Axes, blocks: list[_Block]) -> None:
    """Mark the rows of each block with a line and its name, and separate the blocks."""
    figure: Any = ax.figure.canvas.figure
    shift = ScaledTranslation(_BRACKET / 72, 0, figure.dpi_scale_trans)
    end = 0
    for block in blocks:
        start, end = end, end + len(block.rows)
        if start:
            ax.axhline(start - 0.5, color=ax.get_facecolor(), linewidth=1.5)
        line = Line2D(
            [1, 1],
            [start - 0.35, end - 0.65],
            color=block.color,
            linewidth=3,
            solid_capstyle="butt",
            clip_on=False,
            transform=ax.get_yaxis_transform() + shift,
        )
        ax.add_artist(line)
        middle = (start + end - 1) / 2
        ax.annotate(
            block.name,
            (1, middle),
            (_NAME, 0),
            xycoords=ax.get_yaxis_transform(),
            textcoords="offset points",
            va="center",
            fontsize="small",
        )

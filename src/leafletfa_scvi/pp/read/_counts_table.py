"""Junction counts of many cells in a table of coordinates x cells, such as MARVEL's."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final

from leafletfa_scvi.pp.read._cell_columns import Layout, intron_of, read_cell_columns
from leafletfa_scvi.pp.read._options import read_options
from leafletfa_scvi.pp.read._read_inputs import read_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anndata import AnnData

    from leafletfa_scvi._choices import OnError
    from leafletfa_scvi.pp.read._barcode_map import CellsOfBarcodes
    from leafletfa_scvi.pp.read._file_counts import FileCounts
    from leafletfa_scvi.pp.read._sources import Inputs

CORNER: Final = "coord.intron"
"""Name of the first column in MARVEL's tables, by which they are recognized."""
_NAME: Final = re.compile(
    r"(?P<contig>[^:\s]+):(?P<start>\d+)[:-](?P<end>\d+)(?::(?P<strand>[-+?.*]))?", re.ASCII
)

LAYOUT: Final = Layout(
    expected="a table of junction counts (fields separated by tabs, a column for each cell)",
    separator=b"\t",
    corners=(CORNER, "junction", "intron", ""),
    junction=lambda name: intron_of(_NAME.fullmatch(name)),
    example="chrom:start:end or chrom:start-end:strand",
    missing=(b"NA", b""),
)


def read_counts_table(
    inputs: Inputs,
    *,
    barcodes: Sequence[str] | str | os.PathLike[str] | None = None,
    barcode_map: CellsOfBarcodes | None = None,
    n_jobs: int = 1,
    client: Any = None,
    work_dir: str | os.PathLike[str] | None = None,
    on_error: OnError = "raise",
    progress: Callable[[int, int], None] | None = None,
) -> AnnData:
    """Read tables of junction counts with a column for each cell, such as MARVEL's.

    The first column (``coord.intron``, ``junction``, ``intron`` or without a name) has the first
    and last base of each intron, as ``chrom:start:end`` (as MARVEL's, which are from
    ``SJ.out.tab``) or ``chrom:start-end:strand``, the names of junctions in this package. Fields
    are separated by tabs; empty ones and ``NA`` are 0. Files whose first column is named
    ``coord.intron`` are recognized without ``format``.

    Parameters
    ----------
    inputs
        Files, as in :func:`read_junctions`.
    barcodes
        Cells to keep: names, or a file of names.
    barcode_map
        Cells of several barcodes, as in :func:`read_junctions`.
    n_jobs, client, work_dir, on_error, progress
        As in :func:`read_junctions`.

    Returns
    -------
    AnnData
        As :func:`read_junctions`; coordinates are 1-based and inclusive, as in the files. The
        strand is ``?`` where it is not part of the name.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`read_junctions`.
    """
    return read_inputs(
        inputs,
        read_options(barcodes=barcodes, barcode_map=barcode_map),
        "counts_table",
        n_jobs=n_jobs,
        client=client,
        work_dir=work_dir,
        on_error=on_error,
        progress=progress,
    )


def read_coordinates(
    path: str | os.PathLike[str], *, barcodes: Iterable[str] | None = None
) -> FileCounts:
    """Read the counts of one table of coordinates x cells.

    Parameters
    ----------
    path
        The file, gzip or not.
    barcodes
        Cells to keep. If None, all.

    Returns
    -------
    FileCounts
        As of :func:`read_cell_columns`.

    Raises
    ------
    ValueError
        As :func:`read_cell_columns`.
    """
    return read_cell_columns(os.fspath(path), LAYOUT, barcodes)

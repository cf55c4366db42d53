"""Junction counts of many samples that leafcutter writes: ``perind.counts.gz``."""

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

_NAME: Final = re.compile(
    r"(?P<contig>[^:\s]+):(?P<start>\d+):(?P<end>\d+):clu_\d+(?:_(?P<strand>[-+?.]|NA))?(?::\S*)?",
    re.ASCII,
)


def _junction(name: str) -> tuple[str, int, int, int] | None:
    # leafcutter names the exon's bases on both sides of the intron.
    return intron_of(_NAME.fullmatch(name), first=1, last=-1)


LAYOUT: Final = Layout(
    expected="leafcutter's perind.counts (fields separated by spaces, a column for each sample)",
    separator=b" ",
    corners=("chrom",),
    junction=_junction,
    example="chrom:start:end:clu_number_strand",
    pair="reads/total",
)


def read_leafcutter(
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
    """Read ``perind.counts.gz`` or ``perind_numers.counts.gz`` of leafcutter.

    A row is named ``chrom:start:end:clu_number_strand``, with the last base of the exon before
    the intron and the first one of the exon after it, both 1-based: the intron lies between.
    Clusters are not used, as ATSEs are found from the junctions; junctions that leafcutter left
    out of all clusters are missing.

    Parameters
    ----------
    inputs
        Files, as in :func:`read_junctions`, of one or the other kind, as both have the same
        counts.
    barcodes
        Samples (or cells) to keep: names, or a file of names.
    barcode_map
        Cells of several barcodes, as in :func:`read_junctions`.
    n_jobs, client, work_dir, on_error, progress
        As in :func:`read_junctions`.

    Returns
    -------
    AnnData
        As :func:`read_junctions`; coordinates are 1-based and inclusive. Cells are the samples,
        as the file names them.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`read_junctions`.
    """
    return read_inputs(
        inputs,
        read_options(barcodes=barcodes, barcode_map=barcode_map),
        "leafcutter",
        n_jobs=n_jobs,
        client=client,
        work_dir=work_dir,
        on_error=on_error,
        progress=progress,
    )


def read_perind(
    path: str | os.PathLike[str], *, barcodes: Iterable[str] | None = None
) -> FileCounts:
    """Read the counts of one file of leafcutter.

    Names of introns, and that a file of numerators names its samples only, are those of
    ``leafcutter_cluster_regtools.py``. leafcutter2 adds the type of junction to the names.

    Parameters
    ----------
    path
        ``*_perind.counts.gz``, whose fields are ``reads/total``, or ``*_perind_numers.counts.gz``,
        whose fields are reads; gzip or not.
    barcodes
        Samples to keep. If None, all.

    Returns
    -------
    FileCounts
        As of :func:`read_cell_columns`. The strand ``NA``, and none, are read as ``?``.

    Raises
    ------
    ValueError
        As :func:`read_cell_columns`.
    """
    return read_cell_columns(os.fspath(path), LAYOUT, barcodes)

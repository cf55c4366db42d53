"""Splice junctions that STAR writes for one sample: ``SJ.out.tab``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from leafletfa_scvi._arguments import check_one_of
from leafletfa_scvi._choices import StarReads
from leafletfa_scvi.pp._codes import MOTIFS, STRANDS
from leafletfa_scvi.pp._text import read_blocks
from leafletfa_scvi.pp.read._options import read_options
from leafletfa_scvi.pp.read._read_inputs import read_inputs
from leafletfa_scvi.pp.read._tables import Column, CountTable, parse_block

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

    from leafletfa_scvi._choices import OnError
    from leafletfa_scvi.pp.read._file_counts import FileCounts
    from leafletfa_scvi.pp.read._sources import Inputs

SJ_FILE: Final = "STAR's SJ.out.tab (9 columns separated by tabs)"
_COLUMNS: Final = (
    Column("contig", "text"),
    Column("first base", low=1),
    Column("last base", low=1),
    Column("strand", high=len(STRANDS) - 1),
    Column("motif", high=6),
    Column("annotated", high=3),
    Column("unique reads"),
    Column("multi-mapping reads"),
    Column("overhang"),
)
_MOTIF: Final = np.array(
    [
        MOTIFS.index(name)
        for name in ("non-canonical", "GT-AG", "GT-AG", "GC-AG", "GC-AG", "AT-AC", "AT-AC")
    ],
    np.int8,
)
"""Motif of each code of STAR, which has two per motif: as read on + and on -."""


def read_star(
    inputs: Inputs,
    *,
    reads: StarReads = "unique",
    n_jobs: int = 1,
    client: Any = None,
    work_dir: str | os.PathLike[str] | None = None,
    on_error: OnError = "raise",
    progress: Callable[[int, int], None] | None = None,
) -> AnnData:
    """Read ``SJ.out.tab`` files of STAR, one for each cell.

    Parameters
    ----------
    inputs
        Files, as in :func:`read_junctions`.
    reads
        ``"unique"``: uniquely mapped reads (column 7); ``"all"``: multi-mapped reads as well
        (column 8).
    n_jobs, client, work_dir, on_error, progress
        As in :func:`read_junctions`.

    Returns
    -------
    AnnData
        As :func:`read_junctions`; coordinates are 1-based and inclusive, as in the files.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`read_junctions`.
    """
    return read_inputs(
        inputs,
        read_options(star_reads=reads),
        "star",
        n_jobs=n_jobs,
        client=client,
        work_dir=work_dir,
        on_error=on_error,
        progress=progress,
    )


def read_sj(path: str | os.PathLike[str], cell: str, *, reads: StarReads = "unique") -> FileCounts:
    """Read the junctions of one cell from STAR's ``SJ.out.tab``.

    Coordinates in the file are those of the package: first and last base of the intron, 1-based
    and inclusive (STAR manual, section on splice junctions).

    Parameters
    ----------
    path
        The file, plain or gzip. An empty file has no junctions.
    cell
        Name of its cell.
    reads
        ``"unique"``: uniquely mapped reads; ``"all"``: multi-mapped reads as well.

    Returns
    -------
    FileCounts
        Its ``report`` counts ``rows``, ``rows_without_reads`` (of the kind counted),
        ``rows_kept``, ``rows_summed`` (lines beyond the first of a junction), ``reads``,
        ``reads_multimapped`` if these are left out, and ``lines_skipped`` (blank, comments,
        header).

    Raises
    ------
    ValueError
        The file is damaged or of another format; names the line.
    """
    check_one_of("reads", reads, StarReads)
    table = read_sj_table(os.fspath(path))
    unique, multiple = table.column("unique"), table.column("multiple")
    count = unique if reads == "unique" else unique + multiple
    table.columns["count"] = [count]
    report = table.report
    report["rows_kept"] = int(np.count_nonzero(count))
    report["rows_without_reads"] = report["rows"] - report["rows_kept"]
    report["reads"] = int(count.sum())
    if reads == "unique":
        report["reads_multimapped"] = int(multiple.sum())
    return table.file_counts((cell,))


def read_sj_table(path: str) -> CountTable:
    """Read all rows of a ``SJ.out.tab`` in their order, with ``unique`` and ``multiple`` reads."""
    table = CountTable()
    for block in read_blocks(path):
        rows = parse_block(block, _COLUMNS, SJ_FILE)
        rows.require(
            rows["first base"] <= rows["last base"],
            "an intron that ends where it begins or later",
            "first base",
            "last base",
        )
        table.add(
            rows.words["contig"],
            rows["contig"],
            start=rows["first base"],
            end=rows["last base"],
            strand=rows["strand"],
            motif=_MOTIF[rows["motif"]],
            unique=rows["unique reads"],
            multiple=rows["multi-mapping reads"],
            line=rows.lines,
        )
        table.report["rows"] += rows.n
        table.report["lines_skipped"] += rows.skipped
    return table

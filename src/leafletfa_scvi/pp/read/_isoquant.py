"""Splice junction counts of read groups that IsoQuant writes, in any of its formats."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from leafletfa_scvi.pp._codes import FORWARD, REVERSE, UNSTRANDED
from leafletfa_scvi.pp._text import read_blocks, require_line_end
from leafletfa_scvi.pp.read._barcodes import kept_cells
from leafletfa_scvi.pp.read._isoquant_matrix import (
    INCLUDE,
    NO_GROUP,
    has_group_columns,
    read_group_columns,
    read_include_matrix,
    refuse_other_counts,
)
from leafletfa_scvi.pp.read._options import read_options
from leafletfa_scvi.pp.read._read_inputs import read_inputs
from leafletfa_scvi.pp.read._tables import Column, CountTable, parse_block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anndata import AnnData

    from leafletfa_scvi._choices import OnError
    from leafletfa_scvi.pp.read._barcode_map import CellsOfBarcodes
    from leafletfa_scvi.pp.read._file_counts import FileCounts
    from leafletfa_scvi.pp.read._sources import Inputs

STRANDS_OF_ISOQUANT: Final = {
    **{"+": FORWARD, "-": REVERSE},
    **dict.fromkeys((".", "+-", "-+"), UNSTRANDED),
}
_COLUMNS: Final = (
    Column("chr", "text"),
    Column("start", low=1),
    Column("end", low=1),
    Column("strand", "text", values=STRANDS_OF_ISOQUANT),
    Column("flags", "text"),
    Column("gene_ids", "text"),
    Column("group_id", "text"),
    Column("include_counts"),
    Column("exclude_counts"),
)
_WHAT: Final = "IsoQuant's intron counts (9 columns separated by tabs)"


def read_isoquant(
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
    """Read the splice junctions of long reads that IsoQuant counts for each read group.

    IsoQuant (4, and 3 with ``--count_exons``) counts them with ``--analysis exon_quantification``;
    groups are barcodes in its single-cell mode, or those of ``--read_group``. Groups are cells,
    except for ``NA``, that of reads without a barcode. Their counts are ``include``: reads,
    without copies of a UMI in its single-cell mode, that splice the intron out.

    What is lost: IsoQuant counts introns of the annotation only, in reads assigned to one gene
    and on its strand, and takes a splice site within a few bases for the annotated one. So novel
    junctions are in neither layer of a data set; a second run with the extended annotation that
    IsoQuant writes counts them. Its ``exclude``, reads that span an intron but do not contain it,
    is not used: such a read has another intron in its place, which is counted itself or novel, or
    retains it; and as it differs between the junctions of an ATSE, it cannot be part of the ATSE
    total. As always, that is the sum of the counts, to which a long read adds one for each of its
    introns.

    Parameters
    ----------
    inputs
        Files, as in :func:`read_junctions`. Of a run with more than 100 groups
        ``*.splice_junction_grouped_*_counts.include.matrix.mtx``, with ``features.tsv`` and
        ``barcodes.tsv`` beside it, or the folder with it; else ``*_counts.tsv`` with a column
        for each group. Or, of any run, ``*_counts.linear.tsv`` (version 3:
        ``*intron_grouped_counts.tsv``) with a line for each intron and group, or
        ``*splice_junction_counts.tsv`` of one cell, without groups.
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
        strand of an intron of genes on both strands is ``?``.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`read_junctions`; also if a file has, by its name, counts of exons, of retained
        introns, or ``exclude``.
    """
    return read_inputs(
        inputs,
        read_options(barcodes=barcodes, barcode_map=barcode_map),
        "isoquant",
        n_jobs=n_jobs,
        client=client,
        work_dir=work_dir,
        on_error=on_error,
        progress=progress,
    )


def read_intron_counts(
    path: str | os.PathLike[str], cell: str, *, barcodes: Iterable[str] | None = None
) -> FileCounts:
    """Read the splice junction counts of one file of IsoQuant.

    A matrix ``include`` is known by its name, a table with a column for each group by its first
    word. Otherwise there is a line for each intron and group; lines of one intron that differ in
    their flags or genes are summed, as IsoQuant before 3.13.1 splits an intron where its regions
    of genes do.

    Parameters
    ----------
    path
        The file, gzip or not.
    cell
        Name of the cell if the file has no groups: all are ``NA``.
    barcodes
        Groups to keep. If None, all.

    Returns
    -------
    FileCounts
        Cells in order of their names. Strands of introns of genes on both strands are ``?``.
        ``report`` counts ``rows``, ``rows_kept``, ``rows_without_reads``, ``reads`` and, of
        groups, ``barcodes_left_out``, ``barcodes_not_found``, ``reads_of_other_barcodes`` and
        ``reads_without_barcode`` (group ``NA`` beside others).

    Raises
    ------
    ValueError
        If the file is damaged, of another format or, by its name, of other counts, repeats a
        line, or none of ``barcodes`` occurs; names the line.
    """
    path = os.fspath(path)
    refuse_other_counts(path)
    if path.endswith(INCLUDE):
        return read_include_matrix(path, barcodes)
    if has_group_columns(path):
        return read_group_columns(path, barcodes)
    table, groups = CountTable(), dict[str, int]()
    texts: dict[str, dict[str, int]] = {"flags": {}, "gene_ids": {}}
    for block in read_blocks(path):
        rows = parse_block(block, _COLUMNS, _WHAT)
        require_line_end(block)
        rows.require(
            rows["start"] <= rows["end"],
            "an intron that ends where it begins or later",
            "start",
            "end",
        )
        codes = {
            name: _codes(rows.words[name], rows[name], known) for name, known in texts.items()
        }
        table.add(
            rows.words["chr"],
            rows["chr"],
            start=rows["start"],
            end=rows["end"],
            strand=rows["strand"],
            cell=_codes(rows.words["group_id"], rows["group_id"], groups),
            count=rows["include_counts"],
            line=rows.lines,
            **codes,
        )
        table.report["rows"] += rows.n
        table.report["lines_skipped"] += rows.skipped
    table.refuse_repeats(path, "cell", "flags", "gene_ids")
    count = table.column("count")
    table.report["rows_kept"] = int(np.count_nonzero(count))
    table.report["rows_without_reads"] = table.report["rows"] - table.report["rows_kept"]
    if set(groups) <= {NO_GROUP}:
        groups = {cell: 0} if count.size or barcodes is None else {}
    return _of_groups(path, table, list(groups), barcodes)


def _codes(words: Sequence[str], code: np.ndarray, known: dict[str, int]) -> np.ndarray:
    """Return codes that are the same in all blocks."""
    number = np.array([known.setdefault(word, len(known)) for word in words], np.int64)
    return number[code] if len(code) else code


def _of_groups(
    path: str, table: CountTable, names: list[str], barcodes: Iterable[str] | None
) -> FileCounts:
    """Return the counts of the groups that are kept, in order of their names."""
    report, cell, count = table.report, table.column("cell"), table.column("count")
    reads = np.bincount(cell, count, len(names)).astype(np.int64)
    kept = kept_cells(path, names, barcodes, reads, report, NO_GROUP)
    order = [int(i) for i in np.flatnonzero(kept)]
    order.sort(key=lambda i: names[i])
    rank = np.full(len(names), -1)
    rank[order] = np.arange(len(order))
    is_kept = rank[cell] >= 0
    for name in ("contig", "start", "end", "strand", "count"):
        table.columns[name] = [table.column(name)[is_kept]]
    table.columns["cell"] = [rank[cell][is_kept]]
    report["reads"] = int(table.column("count").sum())
    return table.file_counts([names[i] for i in order])

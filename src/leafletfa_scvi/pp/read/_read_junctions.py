"""Reading junction counts of files of any format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

from leafletfa_scvi._deprecated import renamed_arguments, renamed_choice
from leafletfa_scvi.pp.read._cell_table import add_cell_columns, read_cell_table
from leafletfa_scvi.pp.read._options import read_options
from leafletfa_scvi.pp.read._read_inputs import read_inputs

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    from anndata import AnnData

    from leafletfa_scvi._choices import (
        KeepOrDrop,
        LibraryStrand,
        OnError,
        StarReads,
        UmiMissing,
    )
    from leafletfa_scvi.pp.read._barcode_map import CellsOfBarcodes
    from leafletfa_scvi.pp.read._formats import InputFormat
    from leafletfa_scvi.pp.read._sources import Inputs


class ReadArguments(TypedDict, total=False):
    """Arguments of :func:`read_junctions` except for the lengths of introns, to be passed on."""

    format: InputFormat | Literal["auto"]
    star_reads: StarReads
    barcodes: Sequence[str] | str | os.PathLike[str] | None
    barcode_map: CellsOfBarcodes | None
    cell_tag: str | None
    umi_tag: str | None
    umi_missing: UmiMissing
    strand: LibraryStrand
    strand_tag: str | None
    min_anchor: int
    min_mapq: int
    multimapped: KeepOrDrop
    skip_duplicates: bool
    regtools: bool
    cram_reference: str | os.PathLike[str] | None
    cell_table: pd.DataFrame | str | os.PathLike[str] | None
    cell_column: str | None
    region: str | None
    table_columns: Mapping[str, str] | None
    table_zero_based: bool
    n_jobs: int
    client: Any
    work_dir: str | os.PathLike[str] | None
    on_error: OnError
    progress: Callable[[int, int], None] | None


@renamed_choice("reads_without_umi", "umi_missing", skip="drop", fragments="keep")
@renamed_arguments(reference="cram_reference")
def read_junctions(
    inputs: Inputs,
    *,
    format: InputFormat | Literal["auto"] = "auto",
    star_reads: StarReads = "unique",
    barcodes: Sequence[str] | str | os.PathLike[str] | None = None,
    barcode_map: CellsOfBarcodes | None = None,
    cell_tag: str | None = None,
    umi_tag: str | None = "auto",
    umi_missing: UmiMissing = "auto",
    strand: LibraryStrand = "auto",
    strand_tag: str | None = None,
    min_anchor: int = 8,
    min_intron: int = 70,
    max_intron: int = 500_000,
    min_mapq: int = 0,
    multimapped: KeepOrDrop = "drop",
    skip_duplicates: bool = False,
    regtools: bool = False,
    annotated_introns: pd.DataFrame | None = None,
    cram_reference: str | os.PathLike[str] | None = None,
    cell_table: pd.DataFrame | str | os.PathLike[str] | None = None,
    cell_column: str | None = None,
    region: str | None = None,
    table_columns: Mapping[str, str] | None = None,
    table_zero_based: bool = False,
    n_jobs: int = 1,
    client: Any = None,
    work_dir: str | os.PathLike[str] | None = None,
    on_error: OnError = "raise",
    progress: Callable[[int, int], None] | None = None,
) -> AnnData:
    """Read junction counts of files of any known format.

    Parameters
    ----------
    inputs
        A file; a folder; a pattern such as ``"cells/*.bam"``; a table of files (a DataFrame, or a
        ``.tsv``, ``.csv`` or ``.txt`` file) with the columns ``path`` and, optionally, ``cell``,
        ``sample`` and further columns for ``obs``; or a list of these. Without a table, a file
        that holds one cell is named after itself, without the usual endings.
    format
        ``"bam"`` (also CRAM), ``"regtools"`` (BED12, or with barcodes in two more columns),
        ``"junc"`` (six columns whose interval is the intron), ``"star"`` (``SJ.out.tab``),
        ``"starsolo"`` (a folder ``Solo.out/SJ/raw``), ``"leafcutter"`` (``perind.counts.gz``),
        ``"counts_table"`` (coordinates x cells), ``"isoquant"`` (splice junction counts),
        ``"long_table"`` (a row for each cell and junction) or ``"auto"``, by name and content.
    star_reads
        For ``SJ.out.tab``: ``"unique"`` reads, or ``"all"``, including multi-mapped reads; of
        alignments, ``multimapped`` decides.
    barcodes
        Cells to keep from files of many cells: names, or a file of names.
    barcode_map
        Cell of each barcode of files of many cells, such as those of Parse Biosciences, where a
        cell has one barcode for oligo-dT and one for random hexamer primers. The counts of the
        barcodes of a cell are summed (UMIs are copies only within a barcode: each primer made
        molecules of its own), and cells are named by the map. A dict or Series from barcode to
        cell; a DataFrame with the columns ``barcode`` (or barcodes in its index) and ``cell``; or
        a file with these columns or, without a header, with barcode and cell. Barcodes that it
        lacks are left out, with a warning that counts their reads; ``barcodes`` then lists cells
        of the map. If None, each barcode is a cell.
    cell_tag, umi_tag, umi_missing, strand, strand_tag
        For alignments: tags of reads and the strand of introns, as in :func:`read_bam`.
    min_anchor, min_intron, max_intron, min_mapq, multimapped, skip_duplicates
        For alignments: reads and introns that count, as in :func:`read_bam`.
    regtools, annotated_introns, cram_reference
        For alignments: as in :func:`read_bam`.
    cell_table, cell_column
        Table of cells with columns for ``obs``, and the column with their names, as in
        :func:`annotate_cells`. If None, none.
    region
        Contig, or part of one, such as ``"chr10:1-1000000"`` (1-based, inclusive): only junctions
        that lie in it are kept. Alignments with an index are read there only. If None, all.
    table_columns, table_zero_based
        For long tables: names of columns, and whether intervals are 0-based and half-open, as
        ``columns`` and ``zero_based`` of :func:`read_long_table`.
    n_jobs
        Number of processes that read files; -1 for one per core.
    client
        A ``dask.distributed.Client`` whose workers read the files instead. The files must have
        the same paths on all workers. The result is identical.
    work_dir
        Folder that keeps the counts of each file, so that an interrupted call resumes where it
        stopped. If None, a temporary folder. It can be deleted at any time.
    on_error
        ``"raise"``, or ``"skip"`` to leave out files that cannot be read, with a warning that
        names them; they are listed in ``uns["splicing"]["failed_files"]``.
    progress
        Called with the number of files done and of all files.

    Returns
    -------
    AnnData
        Cells x junctions; ``X`` int32 CSR of junction counts. ``var`` has ``chrom``, ``start``,
        ``end`` (first and last base of the intron, 1-based and inclusive), ``strand`` (``"?"``
        if unknown) and, if any is known, ``motif``; names are ``chrom:start-end:strand``.
        ``uns["splicing"]["reading"]`` counts what was read and what was left out, and why.
        Cells of files of many cells are named ``sample_barcode`` if there are several files.

    Raises
    ------
    FileNotFoundError
        If a path or pattern matches nothing.
    ValueError
        If a file is malformed, truncated or of another format: the message names it, with the
        line; or if two files would be the same cell.
    """
    if cell_table is None and cell_column is not None:
        raise ValueError(f"cell_column={cell_column!r} is given, but no cell_table.")
    table = None if cell_table is None else read_cell_table(cell_table, cell_column)
    options = read_options(
        star_reads=star_reads,
        barcodes=barcodes,
        barcode_map=barcode_map,
        cell_tag=cell_tag,
        umi_tag=umi_tag,
        umi_missing=umi_missing,
        strand=strand,
        strand_tag=strand_tag,
        min_anchor=min_anchor,
        min_intron=min_intron,
        max_intron=max_intron,
        min_mapq=min_mapq,
        multimapped=multimapped,
        skip_duplicates=skip_duplicates,
        regtools=regtools,
        annotated_introns=annotated_introns,
        reference=cram_reference,
        region=region,
        table_columns=table_columns,
        table_zero_based=table_zero_based,
    )
    adata = read_inputs(
        inputs,
        options,
        format,
        n_jobs=n_jobs,
        client=client,
        work_dir=work_dir,
        on_error=on_error,
        progress=progress,
    )
    if table is not None:
        add_cell_columns(adata, table)
    return adata

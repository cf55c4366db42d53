"""Readers of junction counts: many files in, one AnnData out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

from leafletfa_scvi._arguments import check_one_of
from leafletfa_scvi._choices import LibraryStrand, OnError, ReadsWithoutUmi, StarReads
from leafletfa_scvi.pp.read._read_inputs import ReadOptions, barcode_names, read_inputs
from leafletfa_scvi.pp.read.bam._options import BamOptions

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from typing import Unpack

    from anndata import AnnData

    from leafletfa_scvi.pp.read._formats import Format
    from leafletfa_scvi.pp.read._sources import Inputs


class RunArguments(TypedDict, total=False):
    """How many files are read; see :func:`read_junctions`."""

    n_jobs: int
    client: Any
    work_dir: str | os.PathLike[str] | None
    on_error: OnError
    progress: Callable[[int, int], None] | None


class CountingArguments(TypedDict, total=False):
    """How alignments are counted, lengths of introns apart; see :func:`read_bam`."""

    cell_tag: str | None
    umi_tag: str | None
    reads_without_umi: ReadsWithoutUmi
    strand: LibraryStrand
    strand_tag: str | None
    min_anchor: int
    min_mapq: int
    skip_duplicates: bool
    regtools: bool
    reference: str | os.PathLike[str] | None


class BamArguments(CountingArguments, total=False):
    """How alignments are counted; see :func:`read_bam`."""

    min_intron: int
    max_intron: int


class FileArguments(CountingArguments, RunArguments, total=False):
    """Everything that reading takes but lengths of introns; see :func:`read_junctions`."""

    format: Format | Literal["auto"]
    star_reads: StarReads
    barcodes: Sequence[str] | str | os.PathLike[str] | None


class ReadArguments(FileArguments, BamArguments, total=False):
    """Everything that reading takes; see :func:`read_junctions`."""


def read_junctions(inputs: Inputs, **arguments: Unpack[ReadArguments]) -> AnnData:
    """Read junction counts of files of any known format.

    Parameters
    ----------
    inputs
        A file; a folder; a pattern such as ``"cells/*.bam"``; a table of files (a DataFrame, or a
        ``.tsv``, ``.csv`` or ``.txt`` file) with the columns ``path`` and, if wanted, ``cell``,
        ``sample`` and further columns for ``obs``; or a list of these. Without a table a file
        that holds one cell is named after itself, without the usual endings.
    format
        ``"bam"`` (CRAM too), ``"regtools"`` (BED12, or with barcodes in two more columns),
        ``"junc"`` (six columns whose interval is the intron), ``"star"`` (``SJ.out.tab``),
        ``"starsolo"`` (a folder ``Solo.out/SJ/raw``) or ``"auto"``, by name and content.
    star_reads
        Of ``SJ.out.tab``: ``"unique"`` reads, or ``"all"``, those of several loci included.
    barcodes
        Cells to keep where a file holds many: names, or a file of them, which is only read.
    n_jobs
        Processes that read files; -1 is one for each core.
    client
        A ``dask.distributed.Client`` whose workers read the files instead. They must see the
        files under the same paths. The result is the same.
    work_dir
        Folder that keeps the counts of each file, so that an interrupted call goes on where it
        stopped. Without it they vanish at the end. It can be deleted at any time.
    on_error
        ``"raise"``, or ``"skip"``: leave out files that cannot be read, with a warning that names
        them; they are listed in ``uns["splicing"]["failed_files"]``.
    progress
        Called with the number of files done and of all files.
    arguments
        Those above, and for alignments those of :func:`read_bam`.

    Returns
    -------
    AnnData
        Cells x junctions; ``X`` int32 CSR of junction counts. ``var`` has ``chrom``, ``start``,
        ``end`` (first and last base of the intron, 1-based and inclusive), ``strand`` (``"?"``
        where unknown) and, where known, ``motif``; names are ``chrom:start-end:strand``.
        ``uns["splicing"]["reading"]`` counts what was read and what was left out, and why.
        Cells of files with many are named ``sample_barcode`` where there are several files.

    Raises
    ------
    FileNotFoundError
        A path or pattern matches nothing.
    ValueError
        A file is malformed, truncated or of another format: the message names it, with the line;
        or two files would be the same cell.
    """
    options = dict(arguments)
    run: Any = {key: options.pop(key) for key in RunArguments.__annotations__ if key in options}
    format: Any = options.pop("format", "auto")
    return read_inputs(inputs, read_options(**options), format, **run)  # type: ignore[arg-type]


def read_options(
    *,
    star_reads: StarReads = "unique",
    barcodes: Sequence[str] | str | os.PathLike[str] | None = None,
    **bam: Unpack[BamArguments],
) -> ReadOptions:
    """Options of every reader, checked.

    Raises
    ------
    TypeError
        An argument is unknown.
    ValueError
        A value is none of the choices.
    """
    unknown = set(bam) - set(BamArguments.__annotations__)
    if unknown:
        raise TypeError(
            f"Unknown argument {sorted(unknown)[0]!r}: expected any of "
            f"{', '.join(sorted(ReadArguments.__annotations__))}."
        )
    check_one_of("star_reads", star_reads, StarReads)
    names = barcode_names(barcodes)
    given: dict[str, Any] = dict(bam)
    if given.get("cell_tag") is not None:
        given.setdefault("umi_tag", "UB")
        given["barcodes"] = names
    else:
        given["umi_tag"] = None
    if given.get("reference") is not None:
        given["reference"] = str(given["reference"])
    return ReadOptions(BamOptions(**given), star_reads, names)


def read_bam(
    inputs: Inputs,
    *,
    cell_tag: str | None = None,
    umi_tag: str | None = "UB",
    reads_without_umi: ReadsWithoutUmi = "auto",
    barcodes: Sequence[str] | str | os.PathLike[str] | None = None,
    strand: LibraryStrand = "auto",
    strand_tag: str | None = None,
    min_anchor: int = 8,
    min_intron: int = 70,
    max_intron: int = 500_000,
    min_mapq: int = 0,
    skip_duplicates: bool = False,
    regtools: bool = False,
    reference: str | os.PathLike[str] | None = None,
    **run: Unpack[RunArguments],
) -> AnnData:
    """Count the junctions of spliced reads in BAM or CRAM files.

    Secondary, supplementary, unmapped and QC-fail reads are skipped; both mates of a fragment
    that cross the same junction count once. No index is needed.

    Parameters
    ----------
    inputs
        Files, as in :func:`read_junctions`.
    cell_tag
        Tag with the cell barcode, usually ``"CB"``, where a file holds many cells. Without it a
        file is one cell.
    umi_tag
        With ``cell_tag``: reads of one cell, junction and value of this tag count once, in all
        files of the sample; None counts fragments.
    reads_without_umi
        Where UMIs are counted, what to do with reads of a cell that have none. ``"auto"``: where
        the tag is there but empty, as zUMIs writes internal reads of Smart-seq3, they count as
        fragments beside the UMIs; where it is missing or ``"-"``, as Cell Ranger and STARsolo
        write a UMI that they could not tell, they are left out. ``"fragments"`` counts all of
        them as fragments, ``"skip"`` leaves all out. ``uns["splicing"]["reading"]`` has the
        numbers, ``reads_without_umi_counted`` and ``reads_without_umi`` (left out).
    barcodes
        With ``cell_tag``: cells to keep, names or a file of them, which is only read.
    strand
        Strand of an intron: ``"auto"`` and ``"tag"`` from the tags ``XS`` or ``ts``; ``"RF"`` and
        ``"FR"`` from the reads of a stranded library; ``"none"`` leaves all unknown. What stays
        unknown is ``"?"``, for :func:`resolve_strands`.
    strand_tag
        Only this tag.
    min_anchor
        Aligned bases on each side of an intron that a read needs, at least.
    min_intron, max_intron
        Shortest and longest intron, in bases.
    min_mapq
        Lowest mapping quality of a read.
    skip_duplicates
        Leave out reads marked as duplicates.
    regtools
        Count as ``regtools junctions extract`` does: no filter, every mate counts, and a junction
        needs the anchor on each side from any of its reads.
    reference
        FASTA file of the genome of CRAM files; most need none, as no bases are decoded.
    run
        ``n_jobs``, ``client``, ``work_dir``, ``on_error`` and ``progress``, as in
        :func:`read_junctions`.

    Returns
    -------
    AnnData
        As :func:`read_junctions`.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`read_junctions`.
    """
    bam = read_options(
        barcodes=barcodes,
        cell_tag=cell_tag,
        umi_tag=umi_tag,
        reads_without_umi=reads_without_umi,
        strand=strand,
        strand_tag=strand_tag,
        min_anchor=min_anchor,
        min_intron=min_intron,
        max_intron=max_intron,
        min_mapq=min_mapq,
        skip_duplicates=skip_duplicates,
        regtools=regtools,
        reference=reference,
    )
    return read_inputs(inputs, bam, "bam", **run)


def read_regtools(
    inputs: Inputs,
    *,
    barcodes: Sequence[str] | str | os.PathLike[str] | None = None,
    **run: Unpack[RunArguments],
) -> AnnData:
    """Read BED12 files of ``regtools junctions extract``, with or without counts by barcode.

    The intron lies between the two blocks: it begins ``blockSizes[0]`` bases after
    ``chromStart`` (0-based) and ends ``blockSizes[1]`` bases before ``chromEnd``.

    Parameters
    ----------
    inputs
        Files, as in :func:`read_junctions`.
    barcodes
        Cells to keep of files with counts by barcode: names, or a file of them.
    run
        ``n_jobs``, ``client``, ``work_dir``, ``on_error`` and ``progress``, as in
        :func:`read_junctions`.

    Returns
    -------
    AnnData
        As :func:`read_junctions`; coordinates are 1-based and inclusive.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`read_junctions`.
    """
    return read_inputs(inputs, read_options(barcodes=barcodes), "regtools", **run)


def read_junc(inputs: Inputs, **run: Unpack[RunArguments]) -> AnnData:
    """Read six-column BED or ``.junc`` files whose interval is the intron itself.

    The interval is 0-based and half-open, as in any BED file: the first base of the intron is
    ``chromStart + 1``, the last ``chromEnd``.

    Parameters
    ----------
    inputs
        Files, as in :func:`read_junctions`.
    run
        ``n_jobs``, ``client``, ``work_dir``, ``on_error`` and ``progress``, as in
        :func:`read_junctions`.

    Returns
    -------
    AnnData
        As :func:`read_junctions`; coordinates are 1-based and inclusive.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`read_junctions`.
    """
    return read_inputs(inputs, read_options(), "junc", **run)


def read_star(
    inputs: Inputs,
    *,
    reads: StarReads = "unique",
    **run: Unpack[RunArguments],
) -> AnnData:
    """Read ``SJ.out.tab`` files of STAR, one for each cell.

    Parameters
    ----------
    inputs
        Files, as in :func:`read_junctions`.
    reads
        ``"unique"``: reads that align to one place (column 7); ``"all"``: those of several places
        too (column 8).
    run
        ``n_jobs``, ``client``, ``work_dir``, ``on_error`` and ``progress``, as in
        :func:`read_junctions`.

    Returns
    -------
    AnnData
        As :func:`read_junctions`; coordinates are 1-based and inclusive, as in the files.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`read_junctions`.
    """
    return read_inputs(inputs, read_options(star_reads=reads), "star", **run)


def read_starsolo(
    inputs: Inputs,
    *,
    barcodes: Sequence[str] | str | os.PathLike[str] | None = None,
    **run: Unpack[RunArguments],
) -> AnnData:
    """Read the splice junctions of STARsolo: folders ``Solo.out/SJ/raw``.

    Barcodes without any junction read are left out, unless they are listed.

    Parameters
    ----------
    inputs
        Folders, as in :func:`read_junctions`.
    barcodes
        Cells to keep: names, or a file of them. STARsolo writes no filtered matrix of junctions,
        so ``Solo.out/Gene/filtered/barcodes.tsv`` is a good choice.
    run
        ``n_jobs``, ``client``, ``work_dir``, ``on_error`` and ``progress``, as in
        :func:`read_junctions`.

    Returns
    -------
    AnnData
        As :func:`read_junctions`; coordinates are 1-based and inclusive, as in the files.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`read_junctions`.
    """
    return read_inputs(inputs, read_options(barcodes=barcodes), "starsolo", **run)

"""Input formats: one row each, by which files are found, recognized and read.

A new format is a reader and a row here. Readers are imported when they are called, so that the
formats can be listed without pandas and pysam.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from leafletfa_scvi.pp.read._file_counts import FileCounts
    from leafletfa_scvi.pp.read._options import ReadOptions
    from leafletfa_scvi.pp.read._sources import Source

InputFormat: TypeAlias = Literal[
    "bam",
    "regtools",
    "junc",
    "star",
    "starsolo",
    "leafcutter",
    "counts_table",
    "isoquant",
    "long_table",
]


@dataclass(frozen=True)
class FileFormat:
    """An input format.

    Attributes
    ----------
    description
        The format, as messages call it.
    read
        Function that reads one file.
    endings
        Endings of the names of files that a folder is searched for. Empty if inputs are folders,
        or files of any name.
    name_endings
        Further endings of names of files that are no part of the name of their cell or sample.
    is_known_by_name
        If True, files with one of these endings are not examined further.
    magic
        First bytes of a file, any of these.
    sniff
        Function that recognizes a text file by the fields of its first line that is no header.
    sniff_header
        The same by those of its header.
    fallback_ending
        Ending by which a file is recognized if it is empty or damaged; reading it then tells what
        is wrong. Case and ``.gz`` are ignored.
    is_alignment
        If True, files hold reads rather than counts of junctions.
    holds_many_cells
        Function of the options that decides if a file holds many cells, named by barcodes.
    """

    description: str
    read: Callable[[Source, ReadOptions], FileCounts]
    endings: tuple[str, ...] = ()
    name_endings: tuple[str, ...] = ()
    is_known_by_name: bool = False
    magic: tuple[bytes, ...] = ()
    sniff: Callable[[list[str]], bool] = lambda fields: False
    sniff_header: Callable[[list[str]], bool] = lambda fields: False
    fallback_ending: str | None = None
    is_alignment: bool = False
    holds_many_cells: Callable[[ReadOptions], bool] = lambda options: False


def _read_bam(source: Source, options: ReadOptions) -> FileCounts:
    from leafletfa_scvi.pp.read.bam._count import count_bam
    from leafletfa_scvi.pp.read.bam._crossings import count_crossings

    if options.positions is not None:
        return count_crossings(
            source.path, source.cell, options.bam, options.positions, source.lanes
        )
    return count_bam(source.path, source.cell, options.bam, source.lanes)


def _read_regtools(source: Source, options: ReadOptions) -> FileCounts:
    from leafletfa_scvi.pp.read._bed import read_bed

    return read_bed(source.path, source.cell, layout="regtools", barcodes=options.barcodes)


def _read_junc(source: Source, options: ReadOptions) -> FileCounts:
    from leafletfa_scvi.pp.read._bed import read_bed

    return read_bed(source.path, source.cell, layout="intron", barcodes=options.barcodes)


def _read_star(source: Source, options: ReadOptions) -> FileCounts:
    from leafletfa_scvi.pp.read._star import read_sj

    return read_sj(source.path, source.cell, reads=options.star_reads)


def _read_starsolo(source: Source, options: ReadOptions) -> FileCounts:
    from leafletfa_scvi.pp.read._starsolo import read_solo

    barcodes = options.barcodes
    return read_solo(source.path, barcodes=barcodes, drop_empty=barcodes is None)


def _read_leafcutter(source: Source, options: ReadOptions) -> FileCounts:
    from leafletfa_scvi.pp.read._leafcutter import read_perind

    return read_perind(source.path, barcodes=options.barcodes)


def _read_counts_table(source: Source, options: ReadOptions) -> FileCounts:
    from leafletfa_scvi.pp.read._counts_table import read_coordinates

    return read_coordinates(source.path, barcodes=options.barcodes)


def _read_isoquant(source: Source, options: ReadOptions) -> FileCounts:
    from leafletfa_scvi.pp.read._isoquant import read_intron_counts

    return read_intron_counts(source.path, source.cell, barcodes=options.barcodes)


def _read_long_table(source: Source, options: ReadOptions) -> FileCounts:
    from leafletfa_scvi.pp.read._long_table import read_rows

    return read_rows(source.path, options.table, barcodes=options.barcodes)


def _is_long_header(fields: list[str]) -> bool:
    from leafletfa_scvi.pp.read._long_columns import is_header

    return is_header(fields)


_BED: Final = (".bed", ".bed.gz", ".junc", ".junc.gz")
_ISOQUANT_STRANDS: Final = ("+", "-", ".", "+-", "-+")
_PERIND: Final = tuple(
    f"perind{numers}.counts{gz}" for numers in ("", "_numers") for gz in ("", ".gz")
)

FORMATS: Final[dict[InputFormat, FileFormat]] = {
    "bam": FileFormat(
        "BAM, CRAM",
        _read_bam,
        endings=(".bam", ".cram"),
        is_known_by_name=True,
        magic=(b"BAM\1", b"CRAM", b"@HD\t", b"@SQ\t"),
        is_alignment=True,
        holds_many_cells=lambda options: options.bam.cell_tag is not None,
    ),
    "regtools": FileFormat(
        "regtools' BED12",
        _read_regtools,
        endings=_BED,
        sniff=lambda fields: len(fields) in (12, 14),
        fallback_ending=".bed",
        holds_many_cells=lambda options: True,
    ),
    "junc": FileFormat(
        "BED of introns in 6 columns",
        _read_junc,
        endings=_BED,
        sniff=lambda fields: len(fields) == 6,
        fallback_ending=".junc",
    ),
    "star": FileFormat(
        "STAR's SJ.out.tab",
        _read_star,
        endings=("SJ.out.tab", "SJ.out.tab.gz"),
        is_known_by_name=True,
        sniff=lambda fields: len(fields) == 9 and fields[3] not in _ISOQUANT_STRANDS,
    ),
    "starsolo": FileFormat(
        "a folder of STARsolo's junctions",
        _read_starsolo,
        holds_many_cells=lambda options: True,
    ),
    "leafcutter": FileFormat(
        "leafcutter's perind.counts",
        _read_leafcutter,
        endings=_PERIND,
        is_known_by_name=True,
        holds_many_cells=lambda options: True,
    ),
    "counts_table": FileFormat(
        "a table of coordinates x cells with the first column coord.intron",
        _read_counts_table,
        sniff=lambda fields: fields[0].strip('"') == "coord.intron",
        holds_many_cells=lambda options: True,
    ),
    "isoquant": FileFormat(
        "IsoQuant's splice junction counts",
        _read_isoquant,
        endings=(".include.matrix.mtx", ".include.matrix.mtx.gz"),
        is_known_by_name=True,
        sniff=lambda fields: (
            fields[0] == "intron_id" or (len(fields) == 9 and fields[3] in _ISOQUANT_STRANDS)
        ),
        holds_many_cells=lambda options: True,
    ),
    "long_table": FileFormat(
        "a long table with the columns cell, chrom, start, end and count",
        _read_long_table,
        name_endings=(".tsv", ".csv", ".parquet"),
        magic=(b"PAR1",),
        sniff_header=_is_long_header,
        holds_many_cells=lambda options: True,
    ),
}
"""Input formats by their names."""


def endings_of(format: str) -> tuple[str, ...]:
    """Endings of the names of files of a format, or of all formats for ``"auto"``."""
    return tuple(
        dict.fromkeys(
            ending
            for name, row in FORMATS.items()
            if format in ("auto", name)
            for ending in row.endings
        )
    )

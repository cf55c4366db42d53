"""Splice junction counts of IsoQuant in matrices: include and exclude, junctions x read groups."""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import TYPE_CHECKING, Final

import numpy as np

from leafletfa_scvi.pp._text import line_error, read_blocks, shown
from leafletfa_scvi.pp.read._barcodes import kept_cells
from leafletfa_scvi.pp.read._cell_columns import Layout, intron_of, read_cell_columns
from leafletfa_scvi.pp.read._file_counts import FileCounts, counts_of_rows
from leafletfa_scvi.pp.read._matrix_market import read_matrix
from leafletfa_scvi.pp.read._solo_folder import existing_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

INCLUDE: Final = (".include.matrix.mtx", ".include.matrix.mtx.gz")
"""Endings of the names of the matrices that are read."""
NO_GROUP: Final = "NA"
"""Name of the group of reads without one, such as without a barcode."""
CORNER: Final = "intron_id"
"""Name of the first column of tables with a column for each read group."""
_BLOCK: Final = 1 << 16
# The last three fields are plain, but names of contigs may have colons. An intron of genes on
# both strands is on none.
_NAME: Final = re.compile(
    r"(?P<contig>\S+):(?P<start>\d+)-(?P<end>\d+):(?:(?P<strand>[-+.])|\+-|-\+)", re.ASCII
)
_EXAMPLE: Final = "chrom:start-end:strand"
_MATRIX: Final = "counts in IsoQuant's include.matrix.mtx (row, column and count)"
_FEATURES: Final = "IsoQuant's features.tsv (a junction chrom:start-end:strand and its genes)"


def _junction(name: str) -> tuple[str, int, int, int] | None:
    return intron_of(_NAME.fullmatch(name))


LAYOUT: Final = Layout(
    expected="IsoQuant's matrix of splice junctions (a column of include,exclude for each group)",
    separator=b"\t",
    corners=(CORNER,),
    junction=_junction,
    example=_EXAMPLE,
    pair="include,exclude",
    no_cell=NO_GROUP,
)


def refuse_other_counts(path: str) -> None:
    """Refuse a file that has, by its name, counts of what is no junction.

    Raises
    ------
    ValueError
        If the file is of exons or of retained introns.
    """
    name = os.path.basename(path).lower()
    if "exon" in name:
        raise ValueError(
            f"{path} has counts of exons, by its name: expected IsoQuant's counts of introns, the "
            "file splice_junction_grouped_*_counts (before version 4, intron_grouped_counts) "
            "beside it. Rename it if it has introns."
        )
    if "retention" in name:
        raise ValueError(
            f"{path} has reads that retain introns, by its name: expected IsoQuant's counts of "
            "reads that splice them, the file splice_junction_grouped_*_counts beside it. Rename "
            "it if it has these."
        )


def has_group_columns(path: str) -> bool:
    """Return whether the file is a table with a column for each read group."""
    block = next(read_blocks(path, _BLOCK), None)
    return block is not None and block.data.startswith(f"{CORNER}\t".encode())


def read_group_columns(path: str, barcodes: Iterable[str] | None = None) -> FileCounts:
    """Read a table with a column of ``include,exclude`` for each read group.

    Parameters
    ----------
    path
        The file, gzip or not.
    barcodes
        Groups to keep. If None, all.

    Returns
    -------
    FileCounts
        As of :func:`read_cell_columns`; counts are those of ``include``.

    Raises
    ------
    ValueError
        As :func:`read_cell_columns`.
    """
    return read_cell_columns(path, LAYOUT, barcodes)


def read_include_matrix(path: str, barcodes: Iterable[str] | None = None) -> FileCounts:
    """Read the matrix ``include`` with its junctions and read groups.

    The files ``PREFIX.features.tsv`` and ``PREFIX.barcodes.tsv`` are beside
    ``PREFIX.include.matrix.mtx``, each gzip or not. Entries of the same junction and group are
    summed: IsoQuant 3.13.0 splits an intron where its regions of genes do.

    Parameters
    ----------
    path
        The matrix of junctions x read groups.
    barcodes
        Groups to keep. If None, all.

    Returns
    -------
    FileCounts
        Cells in order of their names. Strands of introns of genes on both strands are ``?``.
        ``report`` counts ``rows`` (junctions), ``rows_kept``, ``rows_without_reads``, ``reads``,
        ``barcodes``, ``reads_without_barcode`` (group ``NA``) and, if ``barcodes`` are given,
        ``barcodes_left_out``, ``barcodes_not_found`` and ``reads_of_other_barcodes``.

    Raises
    ------
    FileNotFoundError
        If the junctions or the groups are missing.
    ValueError
        If a file is damaged, files do not belong together, or none of ``barcodes`` occurs; names
        the file and line.
    """
    stem = path.removesuffix(".gz").removesuffix(INCLUDE[0])
    features_path = str(existing_file(f"{stem}.features.tsv"))
    names_path = existing_file(f"{stem}.barcodes.tsv")
    names = _read_names(str(names_path))
    contigs, places = _read_features(features_path)
    matrix = read_matrix(path, len(names), names_path.name, _MATRIX)
    n = places.shape[1]
    if matrix.n_rows != n:
        raise ValueError(
            f"{path} has {matrix.n_rows:,} rows, and {features_path} {n:,} junctions: they are of "
            "different runs of IsoQuant, or one is truncated."
        )
    report = Counter({"rows": n, "barcodes": len(names)})
    reads = np.bincount(matrix.column, matrix.count, len(names)).astype(np.int64)
    kept = kept_cells(path, names, barcodes, reads, report, NO_GROUP)
    order = np.array(sorted(np.flatnonzero(kept), key=lambda i: names[i]), np.int64)
    rank = np.full(len(names), -1)
    rank[order] = np.arange(len(order))
    is_kept = kept[matrix.column]
    row, count = matrix.row[is_kept], matrix.count[is_kept]
    report["reads"] = int(reads[kept].sum())
    report["rows_kept"] = len(np.unique(row[count > 0]))
    report["rows_without_reads"] = n - report["rows_kept"]
    contig, start, end, strand = places
    return counts_of_rows(
        contigs,
        contig,
        start,
        end,
        strand,
        [names[i] for i in order],
        row,
        rank[matrix.column[is_kept]],
        count,
        report=report,
    )


def _read_names(path: str) -> list[str]:
    """Read the names of read groups, which may have spaces, one a line."""
    line_of: dict[str, int] = {}
    for block in read_blocks(path):
        for number, name in _lines(block.lines(), path, "the name of a read group"):
            if line_of.setdefault(name, number) != number:
                raise line_error(
                    path, number, f"repeats the read group {shown(name)} of line {line_of[name]}."
                )
        _require_whole(path, block.is_whole, len(line_of))
    return list(line_of)


def _read_features(path: str) -> tuple[list[str], np.ndarray]:
    """Read contigs, and of each junction contig, first and last base and strand."""
    contigs: dict[str, int] = {}
    line_of: dict[tuple[str, int, int, int], int] = {}
    for block in read_blocks(path):
        for number, line in _lines(block.lines(), path, _FEATURES):
            name = line.partition("\t")[0]
            junction = _junction(name)
            if junction is None:
                raise line_error(
                    path,
                    number,
                    f"column 1 is {shown(name)}: expected {_EXAMPLE}, of {_FEATURES}.",
                )
            if line_of.setdefault(junction, number) != number:
                raise line_error(
                    path,
                    number,
                    f"repeats the junction {shown(name)} of line {line_of[junction]}.",
                )
            contigs.setdefault(junction[0], len(contigs))
        _require_whole(path, block.is_whole, len(line_of))
    places = [(contigs[contig], *place) for contig, *place in line_of]
    return list(contigs), np.array(places, np.int64).reshape(-1, 4).T


def _lines(
    lines: Iterable[tuple[int, bytes]], path: str, expected: str
) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line; none may be blank, as rows are counted by lines."""
    for number, line in lines:
        if not line.strip():
            raise line_error(path, number, f"is blank: expected {expected}.")
        try:
            yield number, line.decode()
        except UnicodeDecodeError:
            raise line_error(path, number, f"is not UTF-8 text: expected {expected}.") from None


def _require_whole(path: str, is_whole: bool, number: int) -> None:
    """Refuse a last line without a line end: part of the name may be missing."""
    if not is_whole:
        raise line_error(
            path,
            number,
            "has no line end, so that it may be cut off. Copy the file again or regenerate it; if "
            "it is complete, add a line end.",
        )

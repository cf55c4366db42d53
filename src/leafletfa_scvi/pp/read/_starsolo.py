"""Junction counts of each cell barcode that STARsolo writes: the folder ``Solo.out/SJ/raw``."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from leafletfa_scvi.pp._text import line_error
from leafletfa_scvi.pp.read._barcodes import (
    barcode,
    barcode_rows,
    check_alike,
    check_cut,
    no_barcode_message,
)
from leafletfa_scvi.pp.read._file_counts import FileCounts, counts_of_rows
from leafletfa_scvi.pp.read._matrix_market import Matrix, read_matrix
from leafletfa_scvi.pp.read._options import read_options
from leafletfa_scvi.pp.read._read_inputs import read_inputs
from leafletfa_scvi.pp.read._solo_folder import existing_file, find_features, find_solo
from leafletfa_scvi.pp.read._star import read_sj_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from anndata import AnnData

    from leafletfa_scvi._choices import OnError
    from leafletfa_scvi.pp.read._barcode_map import CellsOfBarcodes
    from leafletfa_scvi.pp.read._sources import Inputs
    from leafletfa_scvi.pp.read._tables import CountTable

_MATRIX: Final = "counts in STARsolo's matrix.mtx (row, column and count)"
_MISMATCHED: Final = 0.05
"""Share of junctions with more counts in cells than reads in all: then rows are mismatched."""


def read_starsolo(
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
    """Read the splice junctions of STARsolo: folders ``Solo.out/SJ/raw``.

    Barcodes without any junction read are left out, unless they are listed.

    Parameters
    ----------
    inputs
        Folders, as in :func:`read_junctions`.
    barcodes
        Cells to keep: names, or a file of names. STARsolo writes no filtered matrix of junctions,
        so ``Solo.out/Gene/filtered/barcodes.tsv`` is a good choice.
    barcode_map
        Cells of several barcodes, as in :func:`read_junctions`.
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
        read_options(barcodes=barcodes, barcode_map=barcode_map),
        "starsolo",
        n_jobs=n_jobs,
        client=client,
        work_dir=work_dir,
        on_error=on_error,
        progress=progress,
    )


def read_solo(
    path: str | os.PathLike[str],
    *,
    barcodes: Iterable[str] | None = None,
    drop_empty: bool = False,
) -> FileCounts:
    """Read STARsolo's junction counts, cells by barcode.

    STARsolo writes the rows of ``matrix.mtx`` in the order of the lines of ``SJ.out.tab``, to
    which ``features.tsv`` is a link; its coordinates are those of the package: first and last
    base of the intron, 1-based and inclusive. Counts are of uniquely mapped reads, collapsed by
    UMI or, of Smart-seq, by start and end; so they are fewer than in ``SJ.out.tab``, and
    junctions without any are left out.

    If the link is broken, missing, empty or text (as after copying on Windows),
    the ``SJ.out.tab`` of the folders above is taken, the one with the prefix of ``*Solo.out`` if
    several are found.

    The number of lines must be that of the matrix. One row more without counts is accepted: old
    versions of STAR wrote it. Any other number means that the features are of another run, for
    which no row can be trusted. So do features whose reads are fewer than the counts of all cells,
    for more than 5 % of junctions. Nor can the rows of a junction that is listed twice.

    Parameters
    ----------
    path
        The folder ``raw`` with ``matrix.mtx``, ``barcodes.tsv`` and ``features.tsv``, gzip or not;
        or ``SJ``, ``Solo.out`` or the folder above.
    barcodes
        Barcodes to keep. If None, all of STARsolo's list.
    drop_empty
        If True, leave out cells without counts: STARsolo lists all barcodes of the whitelist.

    Returns
    -------
    FileCounts
        Cells are barcodes in the order of the file. ``report`` counts ``rows`` (junctions),
        ``rows_kept``, ``rows_without_reads``, ``reads``, ``barcodes``, ``barcodes_left_out``,
        ``barcodes_not_found``, ``reads_of_other_barcodes``, ``barcodes_without_reads`` (dropped
        or not) and ``rows_above_star_reads``.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is damaged, or files do not belong together.
    """
    folder = find_solo(path)
    if folder is None:
        raise FileNotFoundError(
            f"{os.fspath(path)} is no folder of STARsolo's junctions: expected matrix.mtx, "
            "barcodes.tsv and features.tsv in it or in Solo.out/SJ/raw."
        )
    names = _read_barcodes(existing_file(folder / "barcodes.tsv"))
    matrix_path = existing_file(folder / "matrix.mtx")
    matrix = read_matrix(str(matrix_path), len(names), "barcodes.tsv", _MATRIX)
    features_path = find_features(folder)
    features = read_sj_table(str(features_path))
    features.refuse_repeats(str(features_path))
    report = Counter({"rows": features.report["rows"], "barcodes": len(names)})
    _check_rows(matrix, matrix_path, features, features_path, report)
    return _solo_counts(matrix, features, names, barcodes, drop_empty, report, folder)


def _read_barcodes(path: Path) -> list[str]:
    """Read barcodes in their order: the first field of each line, none of them blank."""
    name, blank, line_of = str(path), 0, dict[str, int]()
    for number, fields, is_cut in barcode_rows(name):
        if blank and fields:
            raise line_error(name, blank, "is blank: expected a barcode.")
        if not fields:
            blank = blank or number
            continue
        value = barcode(name, number, fields[0])
        if line_of.setdefault(value, number) != number:
            raise line_error(
                name, number, f"repeats the barcode {value!r} of line {line_of[value]}."
            )
        if is_cut:
            check_cut(name, number, value, line_of)
    check_alike(name, line_of)
    return list(line_of)


def _check_rows(
    matrix: Matrix, path: Path, features: CountTable, features_path: Path, report: Counter[str]
) -> None:
    """Check that the rows of the matrix are the lines of the features."""
    n, last = report["rows"], int(matrix.row.max(initial=-1))
    if matrix.n_rows != n and not (matrix.n_rows == n + 1 and last < n):
        if n == 0 and not matrix.count.any():
            return
        raise ValueError(
            f"{path} has {matrix.n_rows:,} rows, and {features_path} {n:,} junctions: they are of "
            "different runs of STAR, or one is truncated, so that rows cannot be identified. Copy "
            f"the SJ.out.tab of this run, of {matrix.n_rows:,} lines, to features.tsv."
        )
    counts = np.bincount(matrix.row, matrix.count, n)[:n]
    above = int((counts > features.column("unique")).sum())
    report["rows_above_star_reads"] = above
    if above > _MISMATCHED * np.count_nonzero(counts):
        raise ValueError(
            f"{path} has more counts in {above:,} of {np.count_nonzero(counts):,} junctions than "
            f"{features_path} has uniquely mapped reads in their lines: these are of another run, "
            "or in another order. Copy the SJ.out.tab of this run to features.tsv as it is."
        )


def _solo_counts(
    matrix: Matrix,
    features: CountTable,
    names: list[str],
    barcodes: Iterable[str] | None,
    drop_empty: bool,
    report: Counter[str],
    folder: Path,
) -> FileCounts:
    """Return the counts of the barcodes that are kept, in canonical order."""
    row, column, count = matrix.row, matrix.column, matrix.count
    reads = np.bincount(column, count, len(names)).astype(np.int64)
    kept = np.ones(len(names), bool)
    if barcodes is not None:
        listed = set(barcodes)
        kept = np.array([name in listed for name in names], bool)
        report["barcodes_not_found"] = len(listed) - int(kept.sum())
        if names and not kept.any():
            raise ValueError(no_barcode_message(str(folder), listed, names[0]))
    report["barcodes_left_out"] = int((~kept).sum())
    report["reads_of_other_barcodes"] = int(reads[~kept].sum())
    report["barcodes_without_reads"] = int((kept & (reads == 0)).sum())
    if drop_empty:
        kept &= reads > 0
    report["reads"] = int(reads[kept].sum())
    is_kept = kept[column] & (count > 0)
    cell = (np.cumsum(kept) - 1).astype(np.int32)
    row, column, count = row[is_kept], cell[column[is_kept]], count[is_kept]
    n = features.report["rows"]
    used = int(np.count_nonzero(np.bincount(row, minlength=n)))
    report["rows_kept"], report["rows_without_reads"] = used, n - used
    counts = counts_of_rows(
        list(features.contigs),
        features.column("contig"),
        features.column("start"),
        features.column("end"),
        features.column("strand"),
        [name for name, keep in zip(names, kept, strict=True) if keep],
        row,
        column,
        count,
        motif=features.column("motif"),
        report=report,
    )
    if len(counts.count) < len(count):
        pairs = pd.Series(row.astype(np.int64) * len(names) + column)
        i, k = divmod(int(pairs[pairs.duplicated()].iloc[0]), len(names))
        raise ValueError(
            f"{folder}: matrix.mtx has an entry twice, of row {i + 1} and the cell "
            f"{counts.cells[k]}: the file is damaged."
        )
    return counts

"""Junctions in BED files: regtools' BED12, with barcodes or without, and introns in 6 columns."""

from __future__ import annotations

import io
import os
import re
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_one_of
from leafletfa_scvi.pp._text import line_error, read_blocks, require_line_end, whole_number
from leafletfa_scvi.pp.read._bed_barcodes import CountsByBarcode
from leafletfa_scvi.pp.read._options import read_options
from leafletfa_scvi.pp.read._read_inputs import read_inputs
from leafletfa_scvi.pp.read._tables import (
    MAX_INTEGER,
    Column,
    CountTable,
    content_lines,
    parse_block,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anndata import AnnData

    from leafletfa_scvi._choices import OnError
    from leafletfa_scvi.pp._text import Block
    from leafletfa_scvi.pp.read._barcode_map import CellsOfBarcodes
    from leafletfa_scvi.pp.read._file_counts import FileCounts
    from leafletfa_scvi.pp.read._sources import Inputs
    from leafletfa_scvi.pp.read._tables import Rows

_STRAND: Final = {"+": 1, "-": 2, "?": 0, ".": 0}
_INTRON: Final = (
    Column("contig", "text"),
    Column("start"),
    Column("end"),
    Column("name", "skip"),
    Column("score"),
    Column("strand", "text", values=_STRAND),
)
_BLOCKS: Final = (
    *_INTRON,
    Column("thickStart", "skip"),
    Column("thickEnd", "skip"),
    Column("itemRgb", "skip"),
    Column("blockCount", low=2, high=2),
    Column("blockSizes", "string"),
    Column("blockStarts", "string"),
)
_BARCODES: Final = (*_BLOCKS, Column("number of barcodes"), Column("barcode counts", "string"))
_LAYOUTS: Final = {6: _INTRON, 12: _BLOCKS, 14: _BARCODES}
_WHAT: Final = {
    6: "introns in 6 columns of BED separated by tabs",
    12: "regtools' BED12 (columns separated by tabs)",
    14: "regtools' BED12 with the columns of barcodes (separated by tabs)",
}
_PAIRS: Final = re.compile(r"[0-9,\n]*", re.ASCII)


def read_regtools(
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
    """Read BED12 files of ``regtools junctions extract``, with or without counts by barcode.

    The intron lies between the two blocks: it begins ``blockSizes[0]`` bases after
    ``chromStart`` (0-based) and ends ``blockSizes[1]`` bases before ``chromEnd``.

    Parameters
    ----------
    inputs
        Files, as in :func:`read_junctions`.
    barcodes
        Cells to keep from files with counts by barcode: names, or a file of names.
    barcode_map
        Cells of several barcodes, as in :func:`read_junctions`.
    n_jobs, client, work_dir, on_error, progress
        As in :func:`read_junctions`.

    Returns
    -------
    AnnData
        As :func:`read_junctions`; coordinates are 1-based and inclusive.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`read_junctions`.
    """
    return read_inputs(
        inputs,
        read_options(barcodes=barcodes, barcode_map=barcode_map),
        "regtools",
        n_jobs=n_jobs,
        client=client,
        work_dir=work_dir,
        on_error=on_error,
        progress=progress,
    )


def read_junc(
    inputs: Inputs,
    *,
    n_jobs: int = 1,
    client: Any = None,
    work_dir: str | os.PathLike[str] | None = None,
    on_error: OnError = "raise",
    progress: Callable[[int, int], None] | None = None,
) -> AnnData:
    """Read six-column BED or ``.junc`` files whose interval is the intron itself.

    The interval is 0-based and half-open, as in any BED file: the first base of the intron is
    ``chromStart + 1``, the last ``chromEnd``.

    Parameters
    ----------
    inputs
        Files, as in :func:`read_junctions`.
    n_jobs, client, work_dir, on_error, progress
        As in :func:`read_junctions`.

    Returns
    -------
    AnnData
        As :func:`read_junctions`; coordinates are 1-based and inclusive.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`read_junctions`.
    """
    return read_inputs(
        inputs,
        read_options(),
        "junc",
        n_jobs=n_jobs,
        client=client,
        work_dir=work_dir,
        on_error=on_error,
        progress=progress,
    )


def read_bed(
    path: str | os.PathLike[str],
    cell: str,
    *,
    layout: Literal["auto", "regtools", "intron"] = "auto",
    barcodes: Iterable[str] | None = None,
) -> FileCounts:
    """Read junctions from a BED file, of one cell or with the counts of each barcode.

    BED is 0-based and half open; the result has the first and last base of the intron, 1-based
    and inclusive. With 12 columns the intron lies between the two blocks, as ``regtools
    junctions extract`` writes it: ``chromStart + size of block 1 + 1`` to
    ``chromEnd - size of block 2``. With 14 columns, the output of ``regtools -b`` pasted to it,
    the last two are the number of barcodes and ``barcode:count,barcode:count,...``. With 6
    columns the interval is the intron itself: ``start + 1`` to ``end``.

    Lines of the same junction are summed, as if files had been concatenated. But a junction is
    counted once if the file has 6 columns and no junction has lines with different scores: GTEx
    lists a junction for each gene that it may belong to.

    Parameters
    ----------
    path
        The file, gzip or not. An empty one has no junctions.
    cell
        Name of its cell; not used with 14 columns, whose barcodes are the cells.
    layout
        ``"regtools"``: 12 or 14 columns; ``"intron"``: 6; ``"auto"``: as many as the first line
        has.
    barcodes
        Barcodes to keep from a file with 14 columns. If None, all.

    Returns
    -------
    FileCounts
        Strand ``.`` is read as ``?``. With 14 columns, cells are the barcodes of the file in
        order of their names. ``report`` counts ``rows``, ``rows_without_reads``, ``rows_kept``,
        ``reads``, ``rows_summed`` and ``rows_repeated`` (lines beyond the first of a junction,
        counted or not), ``lines_skipped`` (blank, comments, track lines, header) and, of barcodes,
        ``reads_without_barcode`` (regtools' barcode ``?``, and reads of the score that no
        barcode has), ``reads_of_other_barcodes``, ``barcodes_left_out`` and
        ``barcodes_not_found``.

    Raises
    ------
    ValueError
        If the file is damaged or of another format, barcodes have more reads than the junction's
        score, or none of ``barcodes`` occurs; names the line.
    """
    check_one_of("layout", layout, ("auto", "regtools", "intron"))
    path = os.fspath(path)
    counts, by_barcode = CountTable(), CountsByBarcode()
    width = 0
    for block in read_blocks(path):
        width = width or _width(block, layout)
        if not width:  # nothing but comments so far
            counts.report["lines_skipped"] += block.data.count(b"\n")
            continue
        rows = parse_block(block, _LAYOUTS[width], _WHAT[width])
        if width == 14:
            require_line_end(block)
        start, end = _introns(rows, width)
        columns = {"start": start, "end": end, "strand": rows["strand"]}
        counts.report["rows"] += rows.n
        counts.report["lines_skipped"] += rows.skipped
        if width < 14:
            counts.add(rows.words["contig"], rows["contig"], count=rows["score"], **columns)
            _count(counts, rows["score"])
        else:
            row, columns["cell"], columns["count"] = by_barcode.read(rows)
            for name in ("start", "end", "strand"):
                columns[name] = columns[name][row]
            counts.add(rows.words["contig"], rows["contig"][row], **columns)
            _count(counts, np.bincount(row, columns["count"], rows.n))
    if width == 6:
        _list_once(counts)
    if width < 14:
        return counts.file_counts((cell,))
    return by_barcode.file_counts(path, counts, barcodes)


def _count(counts: CountTable, reads: np.ndarray) -> None:
    """Count rows with and without reads."""
    kept = int(np.count_nonzero(reads))
    counts.report["rows_kept"] += kept
    counts.report["rows_without_reads"] += len(reads) - kept
    counts.report["reads"] += int(reads.sum())


def _list_once(counts: CountTable) -> None:
    """Leave out lines that repeat a junction, unless lines of a junction differ in their score."""
    names = ("strand", "end", "start", "contig")
    count = counts.column("count")
    kept = np.flatnonzero(count)
    keys = [counts.column(name)[kept] for name in names]
    order = np.lexsort(keys)
    new = np.ones(len(order), bool)
    new[1:] = np.any([np.diff(key[order]) != 0 for key in keys], axis=0)
    repeats = len(order) - int(new.sum())
    if not repeats or (np.diff(count[kept][order])[~new[1:]] != 0).any():
        return
    first = kept[order[new]]
    counts.columns = {name: [counts.column(name)[first]] for name in counts.columns}
    counts.report["rows_repeated"] = repeats
    counts.report["rows_kept"] = len(first)
    counts.report["reads"] = int(count[first].sum())


def _width(block: Block, layout: str) -> int:
    """Return the number of columns of the first line with content; 0 if there is none."""
    number, line = next(content_lines(block), (0, b""))
    if not number:
        return 0
    width = line.count(b"\t") + 1
    expected = {"intron": (6,), "regtools": (12, 14)}.get(layout, tuple(_LAYOUTS))
    if width not in expected:
        kinds = "; ".join(f"{n} columns: {_WHAT[n]}" for n in expected)
        columns = f"{width} column" + "s" * (width != 1)
        raise line_error(block.path, number, f"has {columns}: expected {kinds}.")
    return width


def _introns(rows: Rows, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return first and last base of each intron, 1-based and inclusive."""
    start, end = rows["start"], rows["end"]
    rows.require(start < end, "an end after the start", "start", "end")
    if width == 6:
        return (start + 1).astype(np.int32), end.astype(np.int32)
    sizes, starts = (_pairs(rows, name) for name in ("blockSizes", "blockStarts"))
    good = (sizes > 0).all(1) & (starts[:, 0] == 0) & (starts[:, 1] + sizes[:, 1] == end - start)
    good &= starts[:, 1] > sizes[:, 0]
    rows.require(
        good,
        "two blocks, the first at the start and the second up to the end, with an intron between",
        "start",
        "end",
        "blockSizes",
        "blockStarts",
    )
    first, last = start + sizes[:, 0] + 1, end - sizes[:, 1]
    return first.astype(np.int32), last.astype(np.int32)


def _pairs(rows: Rows, name: str) -> np.ndarray:
    """Return the two whole numbers of each row, separated by a comma; -1 for anything else."""
    text = rows[name]
    if not len(text):
        return np.empty((0, 2), np.int64)
    lines = "\n".join(text)
    if lines.count(",") == len(text) and _PAIRS.fullmatch(lines):
        try:
            table = pd.read_csv(
                io.StringIO(lines), header=None, dtype=np.int64, na_filter=False, quoting=3
            )
        except (ValueError, OverflowError):
            table = None
        if table is not None and table.shape == (len(text), 2):
            pairs: np.ndarray = np.clip(table.to_numpy(), -1, MAX_INTEGER)
            return pairs
    return np.array([_pair(value) for value in text], np.int64)


def _pair(value: str) -> tuple[int, int]:
    """Return two numbers; a comma may follow them, as in many BED files."""
    numbers = [whole_number(field) for field in value.removesuffix(",").split(",")]
    first, second = numbers if len(numbers) == 2 else (None, None)
    if first is None or second is None or max(first, second) > MAX_INTEGER:
        return -1, -1
    return first, second

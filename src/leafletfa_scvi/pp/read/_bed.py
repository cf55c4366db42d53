"""Junctions in BED files: regtools' BED12, with barcodes or without, and introns in 6 columns."""

from __future__ import annotations

import io
import os
import re
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd

from leafletfa_scvi.pp._text import line_error, read_blocks, require_line_end, whole_number
from leafletfa_scvi.pp.read._barcodes import no_barcode_message
from leafletfa_scvi.pp.read._options import read_options
from leafletfa_scvi.pp.read._read_inputs import read_inputs
from leafletfa_scvi.pp.read._tables import (
    MAX_INTEGER,
    Column,
    CountTable,
    content_lines,
    parse_block,
    parse_fields,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anndata import AnnData

    from leafletfa_scvi._choices import OnError
    from leafletfa_scvi.pp._text import Block
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
_PAIR: Final = (Column("barcode", "text"), Column("reads"))
_LAYOUTS: Final = {6: _INTRON, 12: _BLOCKS, 14: _BARCODES}
_WHAT: Final = {
    6: "introns in 6 columns of BED separated by tabs",
    12: "regtools' BED12 (columns separated by tabs)",
    14: "regtools' BED12 with the columns of barcodes (separated by tabs)",
}
_PAIRS: Final = re.compile(r"[0-9,\n]*", re.ASCII)
_NO_BARCODE: Final = "?"
"""What regtools writes for reads without a barcode."""


def read_regtools(
    inputs: Inputs,
    *,
    barcodes: Sequence[str] | str | os.PathLike[str] | None = None,
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
        read_options(barcodes=barcodes),
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

    BED is 0-based with the end outside; what is returned are first and last base of the intron,
    1-based and inclusive. With 12 columns the intron lies between the two blocks, as ``regtools
    junctions extract`` writes it: ``chromStart + size of block 1 + 1`` to
    ``chromEnd - size of block 2``. With 14 columns, the output of ``regtools -b`` pasted to it,
    the last two are the number of barcodes and ``barcode:count,barcode:count,...``. With 6
    columns the interval is the intron itself: ``start + 1`` to ``end``.

    Lines of the same junction are summed, as where files were put together. But if, of 6 columns,
    no two lines of a junction differ in their score, it is counted once: GTEx lists a junction
    for each gene that it may belong to.

    Parameters
    ----------
    path
        The file, gzip or not. An empty one has no junctions.
    cell
        Name of its cell; not used with 14 columns, where barcodes are the cells.
    layout
        ``"regtools"``: 12 or 14 columns; ``"intron"``: 6; ``"auto"``: whichever the first line
        has.
    barcodes
        Barcodes to keep, of a file with 14 columns; all by default.

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
        The file is damaged or of another format, barcodes have more reads than the junction's
        score, or none of ``barcodes`` occurs; names the line.
    """
    if layout not in ("auto", "regtools", "intron"):
        raise ValueError(f"layout={layout!r}: expected 'auto', 'regtools' or 'intron'.")
    path = os.fspath(path)
    gathered, table = CountTable(), _Barcodes()
    width = 0
    for block in read_blocks(path):
        width = width or _width(block, layout)
        if not width:  # nothing but comments so far
            gathered.report["lines_skipped"] += block.data.count(b"\n")
            continue
        rows = parse_block(block, _LAYOUTS[width], _WHAT[width])
        if width == 14:
            require_line_end(block)
        start, end = _introns(rows, width)
        columns = {"start": start, "end": end, "strand": rows["strand"]}
        gathered.report["rows"] += rows.n
        gathered.report["lines_skipped"] += rows.skipped
        if width < 14:
            gathered.add(rows.words["contig"], rows["contig"], count=rows["score"], **columns)
            _count(gathered, rows["score"])
        else:
            row, columns["cell"], columns["count"] = table.read(rows)
            for name in ("start", "end", "strand"):
                columns[name] = columns[name][row]
            gathered.add(rows.words["contig"], rows["contig"][row], **columns)
            _count(gathered, np.bincount(row, columns["count"], rows.n))
    if width == 6:
        _list_once(gathered)
    if width < 14:
        return gathered.part((cell,))
    return table.part(path, gathered, barcodes)


def _count(gathered: CountTable, reads: np.ndarray) -> None:
    """Count rows with reads and without."""
    kept = int(np.count_nonzero(reads))
    gathered.report["rows_kept"] += kept
    gathered.report["rows_without_reads"] += len(reads) - kept
    gathered.report["reads"] += int(reads.sum())


def _list_once(gathered: CountTable) -> None:
    """Leave out lines that repeat a junction, if no two of a junction differ in their score."""
    names = ("strand", "end", "start", "contig")
    count = gathered.column("count")
    kept = np.flatnonzero(count)
    keys = [gathered.column(name)[kept] for name in names]
    order = np.lexsort(keys)
    new = np.ones(len(order), bool)
    new[1:] = np.any([np.diff(key[order]) != 0 for key in keys], axis=0)
    repeats = len(order) - int(new.sum())
    if not repeats or (np.diff(count[kept][order])[~new[1:]] != 0).any():
        return
    first = kept[order[new]]
    gathered.columns = {name: [gathered.column(name)[first]] for name in gathered.columns}
    gathered.report["rows_repeated"] = repeats
    gathered.report["rows_kept"] = len(first)
    gathered.report["reads"] = int(count[first].sum())


def _width(block: Block, layout: str) -> int:
    """Number of columns of the first line with content; 0 where the block has none."""
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
    """First and last base of each intron, 1-based and inclusive."""
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
    """Two whole numbers, separated by a comma, of each row; -1 where it is anything else."""
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
            return np.clip(table.to_numpy(), -1, MAX_INTEGER)
    return np.array([_pair(value) for value in text], np.int64)


def _pair(value: str) -> tuple[int, int]:
    """Two numbers; a comma may follow them, as in many BED files."""
    numbers = [whole_number(field) for field in value.removesuffix(",").split(",")]
    first, second = numbers if len(numbers) == 2 else (None, None)
    if first is None or second is None or max(first, second) > MAX_INTEGER:
        return -1, -1
    return first, second


class _Barcodes:
    """Barcodes of a file by the order in which they come, and what was left out."""

    def __init__(self) -> None:
        self.code: dict[str, int] = {}
        self.without = 0

    def read(self, rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row, barcode and count of each pair of the last column."""
        text = [value.removesuffix(",") for value in rows["barcode counts"]]
        size = np.array([value.count(",") + 1 for value in text], np.int64)
        rows.require(
            size == rows["number of barcodes"],
            "as many pairs barcode:count as the number of barcodes says",
            "number of barcodes",
            "barcode counts",
        )
        row = np.repeat(np.arange(rows.n), size)
        names, code, count = self._pairs(text, rows, row)
        total = np.bincount(row, count, rows.n).astype(np.int64)
        rows.values["reads of barcodes"] = total
        rows.require(
            total <= rows["score"],
            "no more reads of barcodes than the score",
            "score",
            "reads of barcodes",
        )
        self.without += int((rows["score"] - total).sum())
        place = np.array([self.code.setdefault(name, len(self.code)) for name in names], np.int64)
        return row, place[code] if len(code) else code, count

    def _pairs(
        self, text: Sequence[str], rows: Rows, row: np.ndarray
    ) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Distinct barcodes, the position of each pair's in them, and counts."""
        joined = ",".join(text)
        fast = (
            parse_fields(joined.replace(",", "\n").encode() + b"\n", _PAIR, ":", "#")
            if text
            else None
        )
        if fast is not None:  # no barcode has a colon or is otherwise odd
            return fast[1]["barcode"], fast[0]["barcode"], fast[0]["reads"]
        parts = [pair.rpartition(":") for pair in joined.split(",")] if text else []
        for i, (name, _, reads) in enumerate(parts):
            if not name or _PAIR[1].expected(reads) is not None:
                good = np.ones(rows.n, bool)
                good[row[i]] = False
                rows.values["pair"] = np.full(rows.n, f"{name}:{reads}"[:60], object)
                rows.require(good, "a barcode, a colon and a whole number of reads", "pair")
        code, names = pd.factorize(np.array([name for name, _, _ in parts], object))
        return list(names), code, np.array([int(reads) for _, _, reads in parts], np.int64)

    def part(self, path: str, gathered: CountTable, barcodes: Iterable[str] | None) -> FileCounts:
        """Counts of the barcodes that are kept, in order of their names."""
        report = gathered.report
        cell, count = gathered.column("cell"), gathered.column("count")
        reads = np.bincount(cell, count, len(self.code)).astype(np.int64)
        names = np.array(list(self.code), object)
        known = names != _NO_BARCODE
        report["reads_without_barcode"] = self.without + int(reads[~known].sum())
        kept = known
        if barcodes is not None:
            listed = set(barcodes)
            kept = known & np.array([name in listed for name in self.code], bool)
            report["barcodes_left_out"] = int((known & ~kept).sum())
            report["reads_of_other_barcodes"] = int(reads[known & ~kept].sum())
            report["barcodes_not_found"] = len(listed) - int(kept.sum())
            if known.any() and not kept.any():
                raise ValueError(no_barcode_message(path, listed, names[known][0]))
        order = np.flatnonzero(kept)
        order = order[np.argsort(names[order], kind="stable")]
        place = np.full(len(names), -1)
        place[order] = np.arange(len(order))
        here = place[cell] >= 0
        columns: dict[str, Any] = {
            name: [gathered.column(name)[here]] for name in gathered.columns if name != "cell"
        }
        gathered.columns = {**columns, "cell": [place[cell][here]]}
        report["reads"] = int(reads[kept].sum())
        return gathered.part(tuple(names[order]))

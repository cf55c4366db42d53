"""Tables with a row for each junction and a column for each cell."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from leafletfa_scvi.pp._codes import FORWARD, REVERSE, UNSTRANDED
from leafletfa_scvi.pp._text import line_error, read_blocks, require_line_end, shown, whole_number
from leafletfa_scvi.pp.read._barcodes import kept_cells
from leafletfa_scvi.pp.read._file_counts import FileCounts, file_counts
from leafletfa_scvi.pp.read._tables import MAX_INTEGER

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable, Sequence

_DIGITS: Final = b"0123456789"
_STRAND_OF: Final = {
    **{"+": FORWARD, "-": REVERSE},
    **dict.fromkeys(("?", ".", "*", "NA", ""), UNSTRANDED),
}


@dataclass(frozen=True)
class Layout:
    """A kind of such tables.

    Attributes
    ----------
    expected
        The format, as messages call it.
    separator
        Between fields: a space or a tab.
    corners
        Names of the first column, if the header names it.
    junction
        Function of the first field of a row that returns contig, first and last base of the
        intron (1-based and inclusive) and strand (position in ``STRANDS``), or None if it is not
        as expected.
    example
        What the first field of a row should be, for messages.
    pair
        What fields may be in all rows in place of one number, the first of which is the count:
        ``"reads/total"``, ``"include,exclude"`` or None.
    missing
        Fields that are 0.
    no_cell
        Name of a column for reads without a cell.
    """

    expected: str
    separator: bytes
    corners: tuple[str, ...]
    junction: Callable[[str], tuple[str, int, int, int] | None]
    example: str
    pair: Literal["reads/total", "include,exclude"] | None = None
    missing: tuple[bytes, ...] = ()
    no_cell: str | None = None

    @property
    def mark(self) -> bytes:
        """Character between the two numbers of a pair."""
        return b"," if self.pair == "include,exclude" else b"/"


@dataclass
class _Rows:
    """What has been read so far: junctions by row, and counts above 0."""

    cells: list[str] = field(default_factory=list)
    is_pair: bool | None = None
    contigs: dict[str, int] = field(default_factory=dict)
    line_of: dict[tuple[str, int, int, int], int] = field(default_factory=dict)
    row: list[np.ndarray] = field(default_factory=list)
    cell: list[np.ndarray] = field(default_factory=list)
    count: list[np.ndarray] = field(default_factory=list)


def read_cell_columns(
    path: str, layout: Layout, barcodes: Iterable[str] | None = None
) -> FileCounts:
    """Read a table with a row for each junction and a column for each cell.

    The header names the cells, and may name the first column.

    Parameters
    ----------
    path
        The file, plain or gzip.
    layout
        Its kind.
    barcodes
        Cells to keep. If None, all.

    Returns
    -------
    FileCounts
        Cells in the order of the columns. ``report`` counts ``rows``, ``rows_kept``,
        ``rows_without_reads``, ``reads`` and, of cells, ``barcodes``, ``barcodes_left_out``,
        ``barcodes_not_found``, ``reads_of_other_barcodes`` and ``reads_without_barcode``.

    Raises
    ------
    ValueError
        If the file is empty, damaged or of another format, repeats a cell or a junction, or
        none of ``barcodes`` occurs; names the line.
    """
    rows, header = _Rows(), list[str]()
    header_line = 0
    for block in read_blocks(path):
        for number, line in block.lines():
            if not line.strip():
                continue
            if not header:
                header, header_line = _header(path, number, line, layout), number
                continue
            if not rows.line_of:
                rows.cells = _cells(path, header_line, header, line, layout)
            _add_row(path, number, line, layout, rows)
        if header:
            require_line_end(block)
    if not header:
        raise ValueError(f"{path} is empty: expected {layout.expected}.")
    if not rows.line_of:
        rows.cells = header[1:] if header[0] in layout.corners else header
    return _kept(path, rows, layout, barcodes)


def _header(path: str, number: int, line: bytes, layout: Layout) -> list[str]:
    """Return the fields of the header."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise line_error(path, number, f"is not UTF-8 text: expected {layout.expected}.") from None
    names = [_unquoted(name) for name in text.split(layout.separator.decode())]
    first: dict[str, int] = {}
    for i, name in enumerate(names, 1):
        if not name.strip() and not (i == 1 and name in layout.corners):
            raise line_error(
                path,
                number,
                f"column {i} has no name: expected the names of cells, of {layout.expected}.",
            )
        if first.setdefault(name, i) != i:
            raise line_error(
                path, number, f"columns {first[name]} and {i} are both the cell {shown(name)}."
            )
    return names


def _cells(path: str, number: int, header: list[str], row: bytes, layout: Layout) -> list[str]:
    """Return the names of the cells: the header, without the name of the first column."""
    n = row.count(layout.separator)  # fields after the first
    names_junctions = bool(header[0]) and header[0] in layout.corners
    if len(header) == n and not names_junctions:
        return header
    if len(header) == n + 1 and header[0] in layout.corners:
        return header[1:]
    if len(header) == n + 1:
        wanted = " or ".join(map(repr, layout.corners))
        raise line_error(
            path,
            number,
            f"column 1 is {shown(header[0])}: expected {wanted}, of {layout.expected}.",
        )
    raise line_error(
        path,
        number,
        f"names {len(header)} columns, and the first row has {n + 1}: expected the first field "
        f"and one for each cell, of {layout.expected}.",
    )


def _unquoted(text: str) -> str:
    """Return a field without the quotes that R writes around text."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def _add_row(path: str, number: int, line: bytes, layout: Layout, rows: _Rows) -> None:
    """Add a row: its junction, and its counts above 0."""
    name, _, rest = line.partition(layout.separator)
    try:
        text = _unquoted(name.decode())
    except UnicodeDecodeError:
        raise line_error(path, number, f"is not UTF-8 text: expected {layout.expected}.") from None
    junction = layout.junction(text)
    if junction is None:
        raise line_error(
            path,
            number,
            f"column 1 is {shown(text)}: expected {layout.example}, of {layout.expected}.",
        )
    n_rows = len(rows.line_of)
    if (earlier := rows.line_of.setdefault(junction, number)) != number:
        raise line_error(path, number, f"repeats the junction {shown(text)} of line {earlier}.")
    rows.contigs.setdefault(junction[0], len(rows.contigs))
    if rows.is_pair is None:
        rows.is_pair = layout.pair is not None and layout.mark in rest
    counts = _counts(rest, layout, len(rows.cells), rows.is_pair)
    if counts is None:
        raise _row_error(path, number, rest, layout, rows)
    reads = counts[0]
    is_ratio = rows.is_pair and layout.pair == "reads/total"
    if is_ratio and (above := reads > counts[1]).any():
        i = int(above.argmax())
        raise line_error(
            path,
            number,
            f"column {i + 2} ({rows.cells[i]}) has {reads[i]:,} of {counts[1][i]:,} reads: "
            f"expected no more reads than the total, of {layout.expected}.",
        )
    used = np.flatnonzero(reads)
    rows.cell.append(used)
    rows.count.append(reads[used])
    rows.row.append(np.full(len(used), n_rows))


def _counts(rest: bytes, layout: Layout, n: int, is_pair: bool) -> np.ndarray | None:
    """Return counts, ``(1, n)``, or pairs, ``(2, n)``; None if they are malformed."""
    sep, mark = layout.separator, layout.mark
    has_empty = sep + sep in sep + rest + sep
    if layout.missing and (has_empty or rest.strip(_DIGITS + sep)):
        rest = sep.join(b"0" if one in layout.missing else one for one in rest.split(sep))
    marks = (mark + sep) * (n - 1) + mark if is_pair else sep * (n - 1)
    if not rest or rest.translate(None, _DIGITS) != marks:
        return None
    # Digits and separators alone, in the right order: too few numbers mean that one is empty.
    values = np.fromstring(rest.replace(mark, b" "), np.int64, sep=" ")
    if len(values) != n * (1 + is_pair) or values.max() > MAX_INTEGER:
        return None
    return values.reshape(n, 1 + is_pair).T


def _row_error(path: str, number: int, rest: bytes, layout: Layout, rows: _Rows) -> ValueError:
    """Return the error of a row: its number of fields, or the first wrong one."""
    fields = rest.split(layout.separator)
    if len(fields) != len(rows.cells):
        return line_error(
            path,
            number,
            f"has {len(fields) + 1} columns: expected {len(rows.cells) + 1}, as the first row, of "
            f"{layout.expected}.",
        )
    wanted = layout.pair if rows.is_pair else "a whole number"
    size = 2 if rows.is_pair else 1
    for i, value in enumerate(fields):
        parts = [whole_number(part) for part in value.split(layout.mark)]
        good = len(parts) == size and all(x is not None and x <= MAX_INTEGER for x in parts)
        if not good and value not in layout.missing:
            return line_error(
                path,
                number,
                f"column {i + 2} ({rows.cells[i]}) is {shown(value.decode(errors='replace'))}: "
                f"expected {wanted}, of {layout.expected}.",
            )
    raise AssertionError(f"{path}, line {number} is as expected.")


def _kept(path: str, rows: _Rows, layout: Layout, barcodes: Iterable[str] | None) -> FileCounts:
    """Return the counts of the cells that are kept, in canonical order."""
    junctions: Sequence[tuple[str, int, int, int]] = list(rows.line_of)
    none = [np.empty(0, np.int64)]
    row, cell, count = (np.concatenate(x or none) for x in (rows.row, rows.cell, rows.count))
    report = Counter({"rows": len(junctions), "barcodes": len(rows.cells)})
    reads = np.bincount(cell, count, len(rows.cells)).astype(np.int64)
    kept = kept_cells(path, rows.cells, barcodes, reads, report, layout.no_cell)
    row, cell, count = (values[kept[cell]] for values in (row, cell, count))
    report["rows_kept"] = len(np.unique(row))
    report["rows_without_reads"] = len(junctions) - report["rows_kept"]
    report["reads"] = int(count.sum())
    contig = np.array([rows.contigs[junction[0]] for junction in junctions], np.int32)
    start, end, strand = (
        np.array([junction[i] for junction in junctions], np.int64) for i in (1, 2, 3)
    )
    return file_counts(
        list(rows.contigs),
        contig[row],
        start[row],
        end[row],
        strand[row],
        [name for name, keep in zip(rows.cells, kept, strict=True) if keep],
        (np.cumsum(kept) - 1)[cell],
        count,
        report=report,
    )


def intron_of(
    match: re.Match[str] | None, first: int = 0, last: int = 0
) -> tuple[str, int, int, int] | None:
    """Return contig, first and last base and strand from the groups of a match.

    Parameters
    ----------
    match
        Match with the groups ``contig``, ``start``, ``end`` and ``strand``, or None.
    first, last
        What to add to ``start`` and ``end`` for the first and last base of the intron.
    """
    if match is None:
        return None
    start, end = whole_number(match["start"]), whole_number(match["end"])
    strand = _STRAND_OF.get(match["strand"] or "")
    if start is None or end is None or strand is None:
        return None
    start, end = start + first, end + last
    if not 1 <= start <= end <= MAX_INTEGER:
        return None
    return match["contig"], start, end, strand

"""Lists of barcodes, as tools, spreadsheets and R write them."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from leafletfa_scvi.pp._text import line_error, read_blocks, shown, whole_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_BARCODES: Final = frozenset(
    "barcode barcodes cell cells cell_barcode cell_barcodes cellbarcode cell_id cell_ids cellid "
    "cell_name cell_names".split()
)
"""Names of a column of barcodes, wherever it is."""
_HEADERS: Final = _BARCODES | frozenset("x v1 0 cb bc index name names obs_names rownames".split())
"""The same of a first column, or one after row names; R calls it x or V1, pandas 0."""
_BARCODE: Final = re.compile(r"[!-~]+", re.ASCII)
_BASES: Final = re.compile(r"[ACGTN]{4,}([-_.][0-9A-Za-z]+)?", re.ASCII)
_N_ALIKE: Final = 3
_N_COLUMNS: Final = 2
"""Maximum number of barcode columns without a header, as in lists that translate barcodes."""
_EXPECTED: Final = "expected one barcode a line, or a table with a column of them"


def barcode_rows(path: str) -> Iterator[tuple[int, list[str], bool]]:
    """Yield number and fields of each line without quotes, and True if it has no line end.

    Fields are divided by tabs, else by commas, else by semicolons, else by spaces; empty ones at
    the end are left out, so that a blank line has none.

    Raises
    ------
    ValueError
        If a line is not UTF-8, or has a quote without end; names the file and line.
    """
    for block in read_blocks(path):
        is_simple = not any(mark in block.data for mark in (b'"', b"\t", b",", b";", b" "))
        last = 0 if block.is_whole else block.first + block.data.count(b"\n") - 1
        for number, line in block.lines():
            try:
                text = line.decode()
            except UnicodeDecodeError:
                raise line_error(path, number, f"is no text in UTF-8: {_EXPECTED}.") from None
            fields = ([text] if text else []) if is_simple else _fields(path, number, text)
            yield number, fields, number == last


def _fields(path: str, number: int, text: str) -> list[str]:
    """Return the fields of a line."""
    mark = next((mark for mark in "\t,;" if mark in text), " ")
    try:
        rows = list(csv.reader([text], delimiter=mark, skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise line_error(
            path, number, f"{shown(text)} cannot be read ({error}): {_EXPECTED}."
        ) from None
    fields = [field.strip() for field in (rows[0] if rows else [])]
    while fields and not fields[-1]:
        fields.pop()
    return fields


def barcode(path: str, number: int, value: str) -> str:
    """Return the barcode, if it is valid.

    Raises
    ------
    ValueError
        If it is empty, or has other than printable ASCII characters.
    """
    if value in ("", "NA") or _BARCODE.fullmatch(value) is None:
        raise line_error(path, number, f"{shown(value)} is no barcode: {_EXPECTED}.")
    return value


def read_barcodes(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read the barcodes of a file, plain or gzip, in their order.

    The file is only read. It may be UTF-8 or, with a byte order mark, UTF-16, with line ends of
    any system, values in quotes, blank lines and empty columns at the end. Columns are divided
    by tabs, commas, semicolons or spaces. The barcodes are in

    - the column that a header calls ``barcode``, ``cell``, ``x`` (R) or the like;
    - else the second column, if the first has whole numbers only and the second others, as R
      and pandas number rows;
    - else the first column, as of a table with cells for row names.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is empty, no text, truncated, names a barcode twice, has what is no barcode, or
        several barcodes in a row. Names the line.
    """
    path = os.fspath(path)
    rows, cut = [], 0
    for number, fields, is_cut in barcode_rows(path):
        if fields:
            rows.append((number, fields))
            cut = number if is_cut else 0
    if rows and re.fullmatch("sep=.?", rows[0][1][0]):  # the separator, which Excel is told
        del rows[0]
    header: list[str] = []
    if rows and _is_header(rows):
        header = [_header_name(name) for name in rows.pop(0)[1]]
    if not rows:
        raise ValueError(f"{path} holds no barcode: {_EXPECTED}.")
    _check_rows(path, header, rows)
    column = _column(header, [fields for _, fields in rows])
    names: dict[str, int] = {}
    for number, fields in rows:
        name = barcode(path, number, fields[column] if column < len(fields) else "")
        if name in names:
            raise line_error(
                path,
                number,
                f"the barcode {name!r} is on line {names[name]} already. Leave one of the lines "
                "out.",
            )
        names[name] = number
    if cut:
        check_cut(path, cut, name, names)
    check_alike(path, names)
    return tuple(names)


def check_cut(path: str, number: int, name: str, names: Iterable[str]) -> None:
    """Refuse a last barcode without line end that is shorter than all others, of one length."""
    lengths = Counter(len(other) for other in names if other != name)
    if len(lengths) == 1 and lengths.total() > 1 and len(name) < min(lengths):
        raise line_error(
            path,
            number,
            f"{name!r} has no line end and is shorter than all other barcodes: the file is "
            "truncated. Copy it again or regenerate it; if it is complete, add a line end.",
        )


def _check_rows(path: str, header: Sequence[str], rows: Sequence[tuple[int, list[str]]]) -> None:
    """Refuse several barcodes in a row, of which one column would be read."""
    if header:
        wide = next((row for row in rows if len(row[1]) > len(header) + 1), None)
        if wide is not None:  # one more is the name of the row
            raise line_error(
                path,
                wide[0],
                f"has {len(wide[1])} fields, and the header names {len(header)}: {_EXPECTED}.",
            )
        return
    number, widest = max(rows, key=lambda row: len(row[1]))
    texts = [field for field in widest if whole_number(field) is None]
    is_row = len(rows) == 1 and len(texts) > 1
    if is_row or (
        len(widest) > _N_COLUMNS
        and all(_BASES.fullmatch(field) for _, fields in rows for field in fields)
    ):
        raise line_error(
            path,
            number,
            f"has {len(widest)} fields, such as {shown(texts[0])} and {shown(texts[1])}: "
            f"{_EXPECTED}. If it is a table, name its columns in the first line.",
        )


def _is_header(rows: Sequence[tuple[int, list[str]]]) -> bool:
    """Return whether the first row names columns."""
    first, others = rows[0][1], [fields for _, fields in rows[1:]]
    if not first[0]:  # row names have no name
        return True
    if first[0].isdigit() and others and others[0][0].isdigit():
        return False
    if others and not _BASES.fullmatch(first[0]):  # R's write.table names no row names
        if all(len(fields) == len(first) + 1 for fields in others):
            return True
    return _header_name(first[0]) in _HEADERS or any(
        _header_name(name) in _BARCODES
        and name not in (fields[i] for fields in others if fields[i:])
        for i, name in enumerate(first)
    )


def _header_name(name: str) -> str:
    return re.sub(r"[ .]", "_", name.lower().lstrip("#"))


def _column(header: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return the position of the barcodes in each row."""
    numbered = all(whole_number(fields[0]) is not None for fields in rows)
    # R's write.table has a column of row names more than its header.
    shift = int(bool(header) and len(header) + 1 == len(rows[0]))
    for known in (_BARCODES, _HEADERS):
        for i, name in enumerate(header, shift):
            if name in known and not (i == 0 and numbered and len(rows[0]) > 1):
                return i
    others = all(len(fields) > 1 and whole_number(fields[1]) is None for fields in rows)
    return int(numbered and others)


def check_alike(path: str, names: Mapping[str, int]) -> None:
    """Refuse a single barcode that is not a sequence of bases, if all others are.

    It may be an unknown header, or damaged.

    Parameters
    ----------
    path
        The file.
    names
        Line of each barcode.
    """
    odd = list(islice((name for name in names if not _BASES.fullmatch(name)), 2))
    if len(odd) != 1 or len(names) < _N_ALIKE:
        return
    example = next(name for name in names if name != odd[0])
    raise line_error(
        path,
        names[odd[0]],
        f"{odd[0]!r} is not like all other barcodes, such as {example!r}. If it names the column, "
        "call it 'barcode' or leave the line out; else copy the file again or regenerate it.",
    )


def no_barcode_message(path: str, listed: Iterable[str], example: Any) -> str:
    """Message for a file in which no barcode of a list occurs."""
    return (
        f"{path} holds none of the barcodes listed, such as {min(listed, default='')!r}; it has "
        f"{example!r}. Check for a suffix as in '-1', and that the list is of this sample."
    )


def kept_cells(
    path: str,
    names: Sequence[str],
    barcodes: Iterable[str] | None,
    reads: np.ndarray,
    report: Counter[str],
    no_cell: str | None = None,
) -> np.ndarray:
    """Return which cells of a file are kept, and write into the report what is left out.

    Parameters
    ----------
    path
        The file, for the message.
    names
        Names of the B cells of the file.
    barcodes
        Cells to keep. If None, all.
    reads
        ``(B,)`` reads of each cell.
    report
        Gets ``barcodes_left_out``, ``barcodes_not_found`` and ``reads_of_other_barcodes`` if
        ``barcodes`` are given, and ``reads_without_barcode`` if there is ``no_cell``.
    no_cell
        Name that stands for reads without a cell, unless it is the only one.

    Raises
    ------
    ValueError
        If none of ``barcodes`` occurs in a file with cells.
    """
    kept = np.array([name != no_cell for name in names], bool)
    if len(names) < 2:
        kept[:] = True
    if not kept.all():
        report["reads_without_barcode"] = int(reads[~kept].sum())
    if barcodes is None:
        return kept
    listed = set(barcodes)
    is_listed = np.array([name in listed for name in names], bool)
    report["barcodes_left_out"] = int((kept & ~is_listed).sum())
    report["reads_of_other_barcodes"] = int(reads[kept & ~is_listed].sum())
    kept &= is_listed
    report["barcodes_not_found"] = len(listed) - int(kept.sum())
    if len(names) and not kept.any():
        raise ValueError(no_barcode_message(path, listed, names[0]))
    return kept

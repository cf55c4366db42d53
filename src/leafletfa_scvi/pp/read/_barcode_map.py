"""Cells of several barcodes: a map from barcode to cell, by which counts are summed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import pandas as pd

from leafletfa_scvi.pp._text import line_error, shown
from leafletfa_scvi.pp.read._barcodes import barcode, barcode_rows, check_alike
from leafletfa_scvi.pp.read._file_counts import FileCounts, counts_of_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CellsOfBarcodes: TypeAlias = (
    "Mapping[str, str] | pd.Series[Any] | pd.DataFrame | str | os.PathLike[str]"
)
"""A map from barcode to cell, as users give it."""

_BARCODE, _CELL = "barcode", "cell"
_EXPECTED: Final = "expected a barcode and its cell in each line, or columns barcode and cell"


@dataclass(frozen=True, eq=False)
class BarcodeMap:
    """Cells of barcodes.

    Attributes
    ----------
    cells
        Cell of each barcode.
    kept
        Cells to keep, in their order. If None, all.
    digest
        Text that is the same if and only if both are.
    """

    cells: Mapping[str, str]
    kept: tuple[str, ...] | None
    digest: str


def barcode_map_of(given: CellsOfBarcodes, kept: Sequence[str] | None) -> BarcodeMap:
    """Check a map from barcode to cell.

    Parameters
    ----------
    given
        A dict; a Series with barcodes in its index; a DataFrame with the columns ``barcode`` (or
        barcodes in its index) and ``cell``; or a file, see :func:`read_barcode_map`.
    kept
        Cells to keep. If None, all.

    Raises
    ------
    TypeError
        If it is of another type.
    ValueError
        If it is empty, lacks a column, has a barcode twice or no name, or lacks one of ``kept``.
    """
    if isinstance(given, str | os.PathLike):
        what, cells = os.fspath(given), read_barcode_map(given)
    else:
        what, cells = "barcode_map", _from_table(given)
    if kept is not None:
        known = {*cells.values()}
        unknown = [name for name in kept if name not in known]
        if unknown:
            example = next(iter(cells.values()))
            more = f" and {len(unknown) - 1:,} more" if len(unknown) > 1 else ""
            raise ValueError(
                f"Expected barcodes to list cells of {what}, such as {example!r}, found "
                f"{unknown[0]!r}{more}. With a map, list cells, not their barcodes."
            )
    text = json.dumps([sorted(cells.items()), kept])
    return BarcodeMap(
        cells, None if kept is None else tuple(kept), hashlib.sha256(text.encode()).hexdigest()
    )


def _from_table(given: Any) -> dict[str, str]:
    """Return cells by barcode from a dict, Series or DataFrame."""
    if isinstance(given, pd.DataFrame):
        if _CELL not in given:
            raise ValueError(
                f"Expected barcode_map to have the columns {_BARCODE!r} and {_CELL!r}, found "
                f"{list(given.columns)}. Rename them."
            )
        barcodes = given[_BARCODE] if _BARCODE in given else given.index
        pairs: Iterable[tuple[Any, Any]] = zip(barcodes, given[_CELL], strict=True)
    elif isinstance(given, pd.Series | Mapping):
        pairs = given.items()
    else:
        raise TypeError(
            "Expected barcode_map to be a dict, a Series, a DataFrame or a file, found a "
            f"{type(given).__name__}."
        )
    cells: dict[str, str] = {}
    row_of: dict[str, int] = {}
    for row, pair in enumerate(pairs, 1):
        for value, name in zip(pair, (_BARCODE, _CELL), strict=True):
            if pd.isna(value) or not str(value).strip():
                raise ValueError(
                    f"Expected barcode_map to name a barcode and its cell in each row, found the "
                    f"{name} {value!r} in row {row}."
                )
        key, cell = map(str, pair)
        if key in row_of:
            raise ValueError(
                f"Expected each barcode once in barcode_map, found {key!r} in rows {row_of[key]} "
                f"(cell {cells[key]!r}) and {row} (cell {cell!r}). Leave one out."
            )
        row_of[key], cells[key] = row, cell
    if not cells:
        raise ValueError("barcode_map is empty: expected the cell of each barcode.")
    return cells


def read_barcode_map(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read the cell of each barcode from a file, plain or gzip.

    Columns are divided by tabs, commas, semicolons or spaces. With a header, they are ``barcode``
    and ``cell``, in any place; without, there are two, in this order.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is empty, no text, truncated, names a barcode twice, has what is no barcode, or
        a barcode without a cell. Names the line.
    """
    path = os.fspath(path)
    at_barcode, at_cell, has_header = 0, 1, False
    cells: dict[str, str] = {}
    line_of: dict[str, int] = {}
    cut = 0
    for number, fields, is_cut in barcode_rows(path):
        if not fields:
            continue
        names = [field.lower().lstrip("#") for field in fields]
        if not (cells or has_header) and (_BARCODE in names or _CELL in names):
            if not (_BARCODE in names and _CELL in names):
                raise line_error(path, number, f"names the columns {fields}: {_EXPECTED}.")
            at_barcode, at_cell, has_header = names.index(_BARCODE), names.index(_CELL), True
            continue
        is_wide = not has_header and len(fields) > 2
        if is_wide or len(fields) <= max(at_barcode, at_cell) or fields[at_cell] in ("", "NA"):
            raise line_error(path, number, f"has {shown(' '.join(fields))}: {_EXPECTED}.")
        name = barcode(path, number, fields[at_barcode])
        if name in line_of:
            raise line_error(
                path,
                number,
                f"the barcode {name!r} is on line {line_of[name]} already, of the cell "
                f"{cells[name]!r}. Leave one of the lines out.",
            )
        line_of[name], cells[name] = number, fields[at_cell]
        cut = number if is_cut else 0
    if not cells:
        raise ValueError(f"{path} holds no barcode: {_EXPECTED}.")
    if cut:
        raise line_error(
            path,
            cut,
            "has no line end, so that it may be cut off. Copy the file again or regenerate it; if "
            "it is complete, add a line end.",
        )
    check_alike(path, line_of)
    return cells


def merge_barcodes(
    path: str,
    counts: FileCounts,
    barcode_map: BarcodeMap,
    *,
    of_alignments: bool,
    drop_empty: bool,
) -> FileCounts:
    """Sum the counts of the barcodes of each cell.

    Parameters
    ----------
    path
        The file, for messages.
    counts
        Counts of barcodes of the map only.
    of_alignments
        If True, cells are all of ``barcode_map.kept``, if given, in their order; otherwise those
        of the file's barcodes, in order of their names.
    drop_empty
        If True, leave out cells without counts, unless ``barcode_map.kept`` names them.

    Returns
    -------
    FileCounts
        ``report`` counts ``barcodes_with_reads``, ``cells_of_several_barcodes`` (that have
        reads) and ``reads_of_other_cells`` (left out, as ``barcode_map.kept`` lacks them).

    Raises
    ------
    ValueError
        If alignments have barcodes, but none of the map.
    """
    report, kept = counts.report, barcode_map.kept
    if report["reads_other_barcode"] and not len(counts.count) and kept is None:
        raise ValueError(
            f"{path} holds none of the barcodes of barcode_map, such as "
            f"{next(iter(barcode_map.cells))!r}, in reads that count. Check for a suffix as in "
            "'-1', that the map is of this sample, and that barcodes, not cells, come first."
        )
    of_barcode = [barcode_map.cells[name] for name in counts.cells]
    used = np.bincount(counts.cell, minlength=len(of_barcode)) > 0
    wanted = None if kept is None else {*kept}
    if of_alignments and kept is not None:
        names = list(kept)
    else:
        names = sorted(
            {
                cell
                for cell, has_reads in zip(of_barcode, used.tolist(), strict=True)
                if (has_reads or not drop_empty or kept is not None)
                and (wanted is None or cell in wanted)
            }
        )
    number = {name: i for i, name in enumerate(names)}
    code = np.array([number.get(cell, -1) for cell in of_barcode], np.int64)
    n_barcodes = np.bincount(code[used & (code >= 0)], minlength=len(names))
    report["barcodes_with_reads"] = int(used.sum())
    report["cells_of_several_barcodes"] = int((n_barcodes > 1).sum())
    cell = code[counts.cell]
    is_kept = cell >= 0
    lost = int(counts.count[~is_kept].sum(dtype=np.int64))
    report["reads_of_other_cells"] = lost
    if not of_alignments:
        report["reads"] -= lost
    return counts_of_rows(
        counts.contigs,
        counts.contig,
        counts.start,
        counts.end,
        counts.strand,
        names,
        counts.junction[is_kept],
        cell[is_kept],
        counts.count[is_kept],
        motif=counts.motif,
        report=report,
    )

"""Junction counts in long tables: a row for each cell and junction."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from leafletfa_scvi.pp._codes import STRANDS
from leafletfa_scvi.pp._junctions import junction_name
from leafletfa_scvi.pp.read._barcodes import kept_cells
from leafletfa_scvi.pp.read._file_counts import FileCounts, counts_of_rows
from leafletfa_scvi.pp.read._long_columns import PARQUET, TableColumns, read_parts
from leafletfa_scvi.pp.read._options import read_options
from leafletfa_scvi.pp.read._read_inputs import read_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from anndata import AnnData

    from leafletfa_scvi._choices import OnError
    from leafletfa_scvi.pp.read._barcode_map import CellsOfBarcodes
    from leafletfa_scvi.pp.read._long_columns import Part
    from leafletfa_scvi.pp.read._sources import Inputs

_START_BITS, _STRAND_BITS = 31, 2


def read_long_table(
    inputs: Inputs,
    *,
    columns: Mapping[str, str] | None = None,
    zero_based: bool = False,
    barcodes: Sequence[str] | str | os.PathLike[str] | None = None,
    barcode_map: CellsOfBarcodes | None = None,
    n_jobs: int = 1,
    client: Any = None,
    work_dir: str | os.PathLike[str] | None = None,
    on_error: OnError = "raise",
    progress: Callable[[int, int], None] | None = None,
) -> AnnData:
    """Read long tables of junction counts, with a row for each cell and junction.

    Files are text with a header, divided by tabs or commas, plain or gzip, or Parquet (needs
    pyarrow). Rows may be in any order; columns that are not needed are ignored. For counts of any
    tool, such as junctions of long reads, that has no format of its own here.

    Parameters
    ----------
    inputs
        Files, as in :func:`read_junctions`.
    columns
        Names of columns in the files by what they are, as in ``{"cell": "CB", "count": "n"}``:
        ``"cell"``, ``"chrom"``, ``"start"``, ``"end"``, ``"strand"`` and ``"count"``. Others
        have these names, or a common one: ``barcode``, ``cell_barcode``, ``cell_id``; ``chr``,
        ``chromosome``, ``contig``, ``seqname``, ``seqnames``; ``counts``, ``reads``, ``n_reads``,
        ``umis``, ``n_umis``. Without a strand, or where it is ``.``, ``*``, ``?`` or ``NA``, it
        is unknown, see :func:`resolve_strands`.
    zero_based
        If False, ``start`` and ``end`` are the first and last base of the intron, 1-based and
        inclusive. If True, the interval is 0-based and half-open, as in BED.
    barcodes
        Cells to keep: names, or a file of names.
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
        As :func:`read_junctions`. Also if a column is missing, or a junction of a cell is listed
        twice.
    """
    return read_inputs(
        inputs,
        read_options(
            barcodes=barcodes,
            barcode_map=barcode_map,
            table_columns=columns,
            table_zero_based=zero_based,
        ),
        "long_table",
        n_jobs=n_jobs,
        client=client,
        work_dir=work_dir,
        on_error=on_error,
        progress=progress,
    )


def read_rows(
    path: str | os.PathLike[str],
    columns: TableColumns | None = None,
    *,
    barcodes: Iterable[str] | None = None,
) -> FileCounts:
    """Read the counts of one long table.

    Parameters
    ----------
    path
        The file.
    columns
        Its columns and coordinates. If None, as they are recognized, 1-based.
    barcodes
        Cells to keep. If None, all.

    Returns
    -------
    FileCounts
        Cells in order of their names. ``report`` counts ``rows``, ``rows_kept``,
        ``rows_without_reads``, ``reads``, ``barcodes`` and, if ``barcodes`` are given,
        ``barcodes_left_out``, ``barcodes_not_found`` and ``reads_of_other_barcodes``.

    Raises
    ------
    ValueError
        If the file is damaged or of another format, a junction of a cell is listed twice, or none
        of ``barcodes`` occurs; names the line.
    """
    path = os.fspath(path)
    rows = _Rows()
    for part in read_parts(path, columns or TableColumns()):
        rows.add(part)
    row, cell, count = (_joined(parts) for parts in (rows.row, rows.cell, rows.count))
    names = list(rows.cells)
    report = Counter({"rows": len(row), "barcodes": len(names)})
    reads = np.bincount(cell, count, len(names)).astype(np.int64)
    kept = kept_cells(path, names, barcodes, reads, report)
    order = np.array(sorted(np.flatnonzero(kept), key=lambda i: names[i]), np.int64)
    rank = np.full(len(names), -1, np.int32)
    rank[order] = np.arange(len(order))
    is_kept = kept[cell] & (count > 0)
    report["reads"] = int(reads[kept].sum())
    report["rows_kept"] = int(is_kept.sum())
    report["rows_without_reads"] = int(np.count_nonzero(count == 0))
    places = np.array(list(rows.places), np.int64).reshape(-1, 2)
    site, end = places.T
    counts = counts_of_rows(
        list(rows.contigs),
        site >> (_START_BITS + _STRAND_BITS),
        site >> _STRAND_BITS & ((1 << _START_BITS) - 1),
        end,
        site & ((1 << _STRAND_BITS) - 1),
        [names[i] for i in order],
        row[is_kept],
        rank[cell[is_kept]],
        count[is_kept],
        report=report,
    )
    if len(counts.count) < report["rows_kept"]:
        raise rows.repeat_error(path, np.flatnonzero(is_kept), row, cell)
    return counts


class _Rows:
    """Rows read so far: distinct junctions and cells, and numbers of both for each row."""

    def __init__(self) -> None:
        self.contigs: dict[str, int] = {}
        self.cells: dict[str, int] = {}
        self.places: dict[tuple[int, int], int] = {}
        self.row: list[np.ndarray] = []
        self.cell: list[np.ndarray] = []
        self.count: list[np.ndarray] = []
        self.lines: list[np.ndarray | range] = []

    def add(self, part: Part) -> None:
        """Add the rows of a part."""
        contig, cell = (
            np.array([known.setdefault(word, len(known)) for word in part.words[name]], np.int64)
            for name, known in (("chrom", self.contigs), ("cell", self.cells))
        )
        if not len(part.start):
            return
        site = contig[part.codes["chrom"]] << _START_BITS | part.start
        site = site << _STRAND_BITS | part.strand
        order = np.lexsort((part.end, site))
        new = np.ones(len(order), bool)
        new[1:] = (np.diff(site[order]) != 0) | (np.diff(part.end[order]) != 0)
        first = order[new]
        pairs = zip(site[first].tolist(), part.end[first].tolist(), strict=True)
        number = np.array([self.places.setdefault(p, len(self.places)) for p in pairs], np.int32)
        row = np.empty(len(order), np.int32)
        row[order] = number[np.cumsum(new) - 1]
        self.row.append(row)
        self.cell.append(cell[part.codes["cell"]].astype(np.int32))
        self.count.append(part.count.astype(np.int32))
        low, high = int(part.lines[0]), int(part.lines[-1]) + 1
        self.lines.append(range(low, high) if high - low == len(part.lines) else part.lines)

    def repeat_error(
        self, path: str, kept: np.ndarray, row: np.ndarray, cell: np.ndarray
    ) -> ValueError:
        """Return the error of the first row with a junction of a cell that an earlier one has."""
        key = row[kept].astype(np.int64) * len(self.cells) + cell[kept]
        i = int(pd.Series(key).duplicated().to_numpy().argmax())
        first = int((key == key[i]).argmax())
        lines = np.concatenate([np.asarray(part) for part in self.lines])[kept[[first, i]]]
        site, end = list(self.places)[row[kept[i]]]
        strand = STRANDS[site & ((1 << _STRAND_BITS) - 1)]
        start = site >> _STRAND_BITS & ((1 << _START_BITS) - 1)
        name = junction_name(
            list(self.contigs)[site >> (_START_BITS + _STRAND_BITS)], start, end, strand
        )
        with open(path, "rb") as file:
            unit = "row" if file.read(len(PARQUET)) == PARQUET else "line"
        return ValueError(
            f"{path}, {unit} {lines[1]}: repeats the junction {name} of the cell "
            f"{list(self.cells)[cell[kept[i]]]!r} of {unit} {lines[0]}: expected each once. Sum "
            "the counts first, or copy the file again if it is damaged."
        )


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0, np.int32), *parts])

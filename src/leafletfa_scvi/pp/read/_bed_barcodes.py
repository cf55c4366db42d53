"""Counts by barcode in BED12 files of regtools: the last column, ``barcode:count,...``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from leafletfa_scvi.pp.read._barcodes import no_barcode_message
from leafletfa_scvi.pp.read._tables import Column, parse_fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from leafletfa_scvi.pp.read._file_counts import FileCounts
    from leafletfa_scvi.pp.read._tables import CountTable, Rows

_PAIR: Final = (Column("barcode", "text"), Column("reads"))
_NO_BARCODE: Final = "?"
"""Barcode that regtools writes for reads without one."""


class CountsByBarcode:
    """Barcodes of a file in order of appearance, and the number of reads without any."""

    def __init__(self) -> None:
        self.code: dict[str, int] = {}
        self.without = 0

    def read(self, rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return row, barcode and count of each pair in the last column."""
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
        number = np.array([self.code.setdefault(name, len(self.code)) for name in names], np.int64)
        return row, number[code] if len(code) else code, count

    def _pairs(
        self, text: Sequence[str], rows: Rows, row: np.ndarray
    ) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Return distinct barcodes, the position of each pair's barcode in them, and counts."""
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

    def file_counts(
        self, path: str, counts: CountTable, barcodes: Iterable[str] | None
    ) -> FileCounts:
        """Return the counts of the barcodes that are kept, in order of their names."""
        report = counts.report
        cell, count = counts.column("cell"), counts.column("count")
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
        rank = np.full(len(names), -1)
        rank[order] = np.arange(len(order))
        is_kept = rank[cell] >= 0
        columns: dict[str, Any] = {
            name: [counts.column(name)[is_kept]] for name in counts.columns if name != "cell"
        }
        counts.columns = {**columns, "cell": [rank[cell][is_kept]]}
        report["reads"] = int(reads[kept].sum())
        return counts.file_counts(tuple(names[order]))

"""Cells of reads by their barcodes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from pysam import AlignedSegment

MISSING: Final = ("", "-")
"""Tags that STARsolo writes for an invalid barcode or UMI."""
_N_OTHERS: Final = 10_000


class Cells:
    """Numbers of cells by their barcodes, and counts of reads without a cell.

    Parameters
    ----------
    barcodes
        Barcodes to count, or None for all.
    """

    def __init__(self, barcodes: Sequence[str] | None) -> None:
        self.barcodes = barcodes
        self.numbers = {name: i for i, name in enumerate(barcodes or ())}
        self.n_without = self.n_other = self.n_found = 0
        self._others: set[str] = set()

    def of(self, read: AlignedSegment, tag: str) -> int:
        """Return the number of the read's cell, or -1."""
        try:  # nearly every read has it
            name = read.get_tag(tag)
        except KeyError:
            name = ""
        number = self.numbers.get(name) if isinstance(name, str) else None
        if number is not None:
            self.n_found += 1
            return number
        if name in MISSING:
            self.n_without += 1
            return -1
        if self.barcodes is None:
            self.n_found += 1
            return self.numbers.setdefault(str(name), len(self.numbers))
        self.n_other += 1
        if len(self._others) < _N_OTHERS:
            self._others.add(str(name))
        return -1

    def add_to(self, report: Counter[str]) -> None:
        """Write the numbers of reads into the report."""
        report["reads_without_barcode"] += self.n_without
        report["reads_other_barcode"] += self.n_other

    def sorted(self, cell: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
        """Return the names of cells, and ``cell`` as positions in them.

        The barcodes that were given, or those with a count, sorted.
        """
        if self.barcodes is not None:
            return tuple(self.barcodes), cell
        names = np.array(list(self.numbers), dtype=object)
        used = np.unique(cell)
        order = used[np.argsort(names[used], kind="stable")]
        rank = np.zeros(len(names), np.int64)
        rank[order] = np.arange(len(order))
        return tuple(names[order]), rank[cell]

    def check_suffix(self, path: str | os.PathLike[str]) -> None:
        """Check that barcodes of the list and of the file have the same suffix, such as ``-1``.

        Raises
        ------
        ValueError
            If no read has a barcode of the list, but would if suffixes were ignored.
        """
        if self.n_found or self.barcodes is None:
            return
        bare = {_bare(name): name for name in self.barcodes}
        for name in sorted(self._others):
            if _bare(name) in bare:
                raise ValueError(
                    f"{os.fspath(path)}: no spliced read has a barcode of the list. Reads have "
                    f"{name!r}, the list has {bare[_bare(name)]!r}: use the same suffix in both."
                )


def _bare(name: str) -> str:
    """Return a barcode without its suffix, such as ``-1``."""
    stem, _, end = name.rpartition("-")
    return stem if stem and end.isdecimal() else name

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
"""STARsolo's tag for a barcode or UMI that it could not tell."""
_N_OTHERS: Final = 10_000


class Cells:
    """Numbers of cells by their barcodes, and of reads that have none.

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
        """Number of the read's cell, or -1."""
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
        """Names of cells, and ``cell`` as positions in them.

        The barcodes that were given, or those with a count, sorted.
        """
        if self.barcodes is not None:
            return tuple(self.barcodes), cell
        names = np.array(list(self.numbers), dtype=object)
        used = np.unique(cell)
        order = used[np.argsort(names[used], kind="stable")]
        place = np.zeros(len(names), np.int64)
        place[order] = np.arange(len(order))
        return tuple(names[order]), place[cell]

    def check_suffix(self, path: str | os.PathLike[str]) -> None:
        """Barcodes of the list and of the file must not differ by ``-1`` at their ends.

        Raises
        ------
        ValueError
            No read has a barcode of the list, but would if the ends were alike.
        """
        if self.n_found or self.barcodes is None:
            return
        bare = {_bare(name): name for name in self.barcodes}
        for name in sorted(self._others):
            if _bare(name) in bare:
                raise ValueError(
                    f"{os.fspath(path)}: no spliced read has a barcode of the list. Reads have "
                    f"{name!r}, the list has {bare[_bare(name)]!r}: make their ends alike."
                )


def _bare(name: str) -> str:
    """Barcode without the number of its well, such as ``-1``."""
    stem, _, end = name.rpartition("-")
    return stem if stem and end.isdecimal() else name

"""Junction counts of one input file: what every reader returns, on disk and in memory."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from leafletfa_scvi._files import writing_whole
from leafletfa_scvi.pp._codes import STRANDS
from leafletfa_scvi.pp._junctions import junction_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COUNTS_VERSION: Final = 2
"""Changes when the same input would give another part; parts of other versions are made anew."""


@dataclass(frozen=True, eq=False)
class FileCounts:
    """Junction counts of one file, sparse, in canonical order.

    Made by :func:`file_counts`, which sorts and sums. J junctions, B cells, N counts above zero.

    Attributes
    ----------
    contigs
        Names of the contigs that occur, ascending as text.
    contig
        ``(J,)`` int32, 0-based in ``contigs``.
    start, end
        ``(J,)`` int32, first and last base of the intron, 1-based and inclusive.
    strand
        ``(J,)`` int8, position in ``STRANDS``.
    motif
        ``(J,)`` int8, position in ``MOTIFS``.
    cells
        Names of the B cells of the file, those without reads included.
    cell, junction, count
        ``(N,)`` int32, ascending by cell and then junction, each pair once; counts are positive.
    report
        What was read and what was left out, and why, as numbers.
    """

    contigs: tuple[str, ...]
    contig: np.ndarray
    start: np.ndarray
    end: np.ndarray
    strand: np.ndarray
    motif: np.ndarray
    cells: tuple[str, ...]
    cell: np.ndarray
    junction: np.ndarray
    count: np.ndarray
    report: Counter[str] = field(default_factory=Counter)

    @property
    def n_junctions(self) -> int:
        """Number of distinct junctions."""
        return len(self.start)

    def save(self, path: Path) -> None:
        """Write to ``path`` (.npz), whole or not at all."""
        names = json.dumps(
            {"contigs": self.contigs, "cells": self.cells, "report": dict(self.report)}
        )
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        try:
            with writing_whole(path) as temporary, open(temporary, "wb") as file:
                np.savez(file, names=np.frombuffer(names.encode(), np.uint8), **arrays)
        except OSError as error:  # such as a full disk, in which case numpy does not name the file
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error

    @classmethod
    def load(cls, path: Path) -> FileCounts:
        """Read what :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            names = json.loads(file["names"].tobytes().decode())
            arrays = {name: file[name] for name in _ARRAYS}
        return cls(
            contigs=tuple(names["contigs"]),
            cells=tuple(names["cells"]),
            report=Counter(names["report"]),
            **arrays,
        )


_ARRAYS: Final = ("contig", "start", "end", "strand", "motif", "cell", "junction", "count")


def file_counts(
    contigs: Sequence[str],
    contig: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    strand: np.ndarray,
    cells: Sequence[str],
    cell: np.ndarray,
    count: np.ndarray,
    *,
    motif: np.ndarray | None = None,
    report: Counter[str] | None = None,
) -> FileCounts:
    """Junction counts in canonical order, from one row for each count.

    Rows of the same junction and cell are summed; rows with count 0 are left out, and so are
    junctions without any other. The order of the rows does not matter.

    Parameters
    ----------
    contigs
        Names of contigs, distinct.
    contig
        ``(N,)`` 0-based position in ``contigs``.
    start, end
        ``(N,)`` first and last base of the intron, 1-based and inclusive.
    strand
        ``(N,)`` position in ``STRANDS``.
    cells
        Names of cells, distinct.
    cell
        ``(N,)`` 0-based position in ``cells``.
    count
        ``(N,)`` non-negative whole numbers.
    motif
        ``(N,)`` position in ``MOTIFS``; unknown without. Where rows of a junction differ, the
        largest counts.
    report
        What was read and left out.
    """
    keep = np.flatnonzero(np.asarray(count) > 0)
    rank = np.argsort(np.argsort(np.asarray(contigs, dtype=object), kind="stable"))
    contig = rank[np.asarray(contig)[keep]].astype(np.int64) if len(rank) else np.empty(0, int)
    start, end = np.asarray(start)[keep], np.asarray(end)[keep]
    strand = np.asarray(strand)[keep]
    motif = np.zeros(len(keep), np.int8) if motif is None else np.asarray(motif)[keep]

    order = np.lexsort((strand, end, start, contig))
    contig, start, end, strand, motif = (
        values[order] for values in (contig, start, end, strand, motif)
    )
    new = np.ones(len(order), bool)
    new[1:] = False
    for values in (contig, start, end, strand):
        new[1:] |= values[1:] != values[:-1]
    first = np.flatnonzero(new)
    junction = np.empty(len(order), np.int64)
    junction[order] = np.cumsum(new) - 1
    pair = np.asarray(cell)[keep].astype(np.int64) * len(first) + junction
    pairs, where = np.unique(pair, return_inverse=True)
    total = np.zeros(len(pairs), np.int64)
    np.add.at(total, where, np.asarray(count)[keep].astype(np.int64))
    if len(total) and total.max() > np.iinfo(np.int32).max:
        largest = pairs[total.argmax()]
        i = first[largest % len(first)]
        chrom = sorted(contigs)[contig[i]]
        name = junction_name(chrom, start[i], end[i], STRANDS[strand[i]])
        raise ValueError(
            f"Expected counts up to 2,147,483,647, found {total.max():,} reads of junction {name} "
            f"in cell {cells[largest // len(first)]!r}. Check the counts of that file."
        )

    used, contig = np.unique(contig[first], return_inverse=True)
    by_name = sorted(contigs)
    return FileCounts(
        contigs=tuple(by_name[code] for code in used),
        contig=contig.astype(np.int32),
        start=start[first].astype(np.int32),
        end=end[first].astype(np.int32),
        strand=strand[first].astype(np.int8),
        motif=(np.maximum.reduceat(motif, first) if len(first) else motif).astype(np.int8),
        cells=tuple(cells),
        cell=(pairs // max(len(first), 1)).astype(np.int32),
        junction=(pairs % max(len(first), 1)).astype(np.int32),
        count=total.astype(np.int32),
        report=Counter() if report is None else report,
    )

"""Junction counts of one input file, as every reader returns them, in memory and on disk."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import scipy.sparse as sp

from leafletfa_scvi._files import writing_whole
from leafletfa_scvi.pp._codes import STRANDS
from leafletfa_scvi.pp._junctions import junction_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COUNTS_VERSION: Final = 3
"""Increased when the same input gives other counts; counts of other versions are not used."""


@dataclass(frozen=True, eq=False)
class FileCounts:
    """Sparse junction counts of one file, in canonical order.

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
        Names of the B cells of the file, including those without reads.
    cell, junction, count
        ``(N,)`` int32, ascending by cell and then junction, each pair once; counts are positive.
    report
        Numbers of what was read, and of what was left out by reason.
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
        """Write to ``path`` (.npz), entirely or not at all."""
        names = json.dumps(
            {"contigs": self.contigs, "cells": self.cells, "report": dict(self.report)}
        )
        # Few arrays, as the header of each takes as long to read as the array.
        sites = np.stack([self.contig, self.start, self.end])
        codes = np.stack([self.strand, self.motif])
        entries = np.stack([self.cell, self.junction, self.count])
        text = np.frombuffer(names.encode(), np.uint8)
        try:
            with writing_whole(path) as temporary, open(temporary, "wb") as file:
                np.savez(file, names=text, sites=sites, codes=codes, entries=entries)
        except OSError as error:  # such as a full disk, in which case numpy does not name the file
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error

    @classmethod
    def load(cls, path: Path) -> FileCounts:
        """Read what :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            names = json.loads(file["names"].tobytes().decode())
            contig, start, end = file["sites"]
            strand, motif = file["codes"]
            cell, junction, count = file["entries"]
        return cls(
            contigs=tuple(names["contigs"]),
            contig=contig,
            start=start,
            end=end,
            strand=strand,
            motif=motif,
            cells=tuple(names["cells"]),
            cell=cell,
            junction=junction,
            count=count,
            report=Counter(names["report"]),
        )


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
    """Build counts in canonical order from one row for each count.

    Rows of the same junction and cell are summed. Rows with count 0, and junctions that have only
    such, are left out. The order of the rows does not matter.

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
        ``(N,)`` position in ``MOTIFS``; if None, unknown. If rows of a junction differ, the
        largest position is taken.
    report
        Numbers of what was read and left out.

    Raises
    ------
    ValueError
        If the counts of a junction in a cell sum to more than an int32 holds.
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
    entry_key = np.asarray(cell)[keep].astype(np.int64) * len(first) + junction
    entries, entry = np.unique(entry_key, return_inverse=True)
    total = np.zeros(len(entries), np.int64)
    np.add.at(total, entry, np.asarray(count)[keep].astype(np.int64))
    if len(total) and total.max() > np.iinfo(np.int32).max:
        largest = entries[total.argmax()]
        i = first[largest % len(first)]
        name = junction_name(sorted(contigs)[contig[i]], start[i], end[i], STRANDS[strand[i]])
        raise _too_many(total.max(), name, cells[largest // len(first)])

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
        cell=(entries // max(len(first), 1)).astype(np.int32),
        junction=(entries % max(len(first), 1)).astype(np.int32),
        count=total.astype(np.int32),
        report=Counter() if report is None else report,
    )


def counts_of_rows(
    contigs: Sequence[str],
    contig: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    strand: np.ndarray,
    cells: Sequence[str],
    row: np.ndarray,
    cell: np.ndarray,
    count: np.ndarray,
    *,
    motif: np.ndarray | None = None,
    report: Counter[str] | None = None,
) -> FileCounts:
    """Bring counts that refer to the rows of a table of junctions into canonical order.

    As :func:`file_counts`, but without a copy of the coordinates for each count. Rows of the same
    junction are summed, and so are counts of the same row and cell.

    Parameters
    ----------
    contigs, contig, start, end, strand, motif
        R rows, as in :func:`file_counts`.
    cells
        Names of cells, distinct.
    row, cell, count
        ``(N,)`` 0-based row and cell of each count, and its non-negative whole number.
    report
        Numbers of what was read and left out.

    Raises
    ------
    ValueError
        If the counts of a junction in a cell sum to more than an int32 holds.
    """
    if len(count) and count.min() == 0:
        row, cell, count = (values[count > 0] for values in (row, cell, count))
    used = np.flatnonzero(np.bincount(row, minlength=len(start)))
    # Counts of one read for each row, each as a cell of its own, tell which junction it is.
    table = file_counts(
        contigs,
        contig[used],
        start[used],
        end[used],
        strand[used],
        [""] * len(used),
        np.arange(len(used)),
        np.ones(len(used), np.int8),
        motif=None if motif is None else motif[used],
    )
    junction = np.zeros(len(start), np.int32)
    junction[used] = table.junction
    highest = np.iinfo(np.int32).max
    fits = count.sum(dtype=np.int64) <= highest
    csr = sp.csr_array(
        (count.astype(np.int32 if fits else np.int64), (cell, junction[row])),
        shape=(len(cells), table.n_junctions),
    )
    csr.sum_duplicates()
    of_cell = np.repeat(np.arange(len(cells), dtype=np.int32), np.diff(csr.indptr))
    if not fits and csr.data.max() > highest:
        i = int(csr.data.argmax())
        j = csr.indices[i]
        name = junction_name(
            table.contigs[table.contig[j]], table.start[j], table.end[j], STRANDS[table.strand[j]]
        )
        raise _too_many(csr.data[i], name, cells[of_cell[i]])
    return dataclasses.replace(
        table,
        cells=tuple(cells),
        cell=of_cell,
        junction=csr.indices.astype(np.int32),
        count=csr.data.astype(np.int32),
        report=Counter() if report is None else report,
    )


def _too_many(count: int, junction: str, cell: str) -> ValueError:
    return ValueError(
        f"Expected at most {np.iinfo(np.int32).max:,} reads of a junction in a cell, found "
        f"{count:,} of {junction} in cell {cell!r}. Check the counts of the file."
    )

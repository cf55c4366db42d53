"""From the parts of many files to one matrix of junction counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
import scipy.sparse as sp
from natsort import natsorted

from leafletfa_scvi.pp._codes import MOTIFS, STRANDS
from leafletfa_scvi.pp._contigs import is_second_mitochondrion, other_names
from leafletfa_scvi.pp._junctions import junction_names
from leafletfa_scvi.pp.read._file_counts import FileCounts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData

    from leafletfa_scvi.pp.read._sources import Source

_PENDING: Final = 1_000_000
"""Junctions gathered from parts before they are sorted into the union."""
_STRAND_BITS: Final = 2
_START_BITS: Final = 31


def merge_files(
    paths: Sequence[Path], sources: Sequence[Source], annotation: pd.DataFrame | None = None
) -> AnnData:
    """One AnnData of junction counts from the parts of many files.

    Parts are read twice, one at a time: for the union of their junctions, then for their counts.
    Memory holds the result and one part.

    Parameters
    ----------
    paths
        Part of each file.
    sources
        The files, in the order in which their cells shall come.
    annotation
        One row for each file: columns of ``obs`` for its cells.

    Returns
    -------
    AnnData
        Cells x junctions; ``X`` int32 CSR of junction counts without stored zeros; ``var`` with
        ``chrom``, ``start``, ``end`` (1-based, inclusive introns), ``strand`` and, where any is
        known, ``motif``, in genomic order; ``obs["sample"]`` where samples were named or a file
        holds many cells. Counts of one cell in several parts are summed.

    Raises
    ------
    ValueError
        Files name a contig differently: with and without the prefix ``chr``, or the mitochondrion
        by two of its names.
    """
    union = _Union()
    named = _Cells(sources)
    report: Counter[str] = Counter()
    for i, path in enumerate(paths):
        part = FileCounts.load(path)
        union.add(part, sources[i].path)
        named.add(i, part)
        report.update(part.report)
    union.finish()
    matrix = _counts(paths, union, named)
    return _anndata(matrix, union, named.obs(annotation), report)


def _named_twice(name: str, file: str, other: str, other_file: str) -> ValueError:
    return ValueError(
        f"{file} has the contig {name!r}, {other_file} the contig {other!r}: the same junctions "
        "would be counted as different ones. Use files aligned to one genome, or rename the "
        "contigs of some."
    )


class _Union:
    """Distinct junctions of all parts, each as two numbers: contig, start, strand; and end."""

    def __init__(self) -> None:
        self.contigs: dict[str, int] = {}
        self.files: dict[str, str] = {}
        self.two_sequences: set[frozenset[str]] = set()
        self.place = self.end = np.empty(0, np.int64)
        self.motif = np.empty(0, np.int8)
        self.pending: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.n_pending = 0

    def add(self, part: FileCounts, file: str) -> None:
        for name in part.contigs:
            self.contigs.setdefault(name, len(self.contigs))
            self.files.setdefault(name, file)
        self._check_contigs(part, file)
        self.pending.append((self._place(part), part.end.astype(np.int64), part.motif))
        self.n_pending += part.n_junctions
        if self.n_pending > _PENDING:
            self._merge()

    def _check_contigs(self, part: FileCounts, file: str) -> None:
        """No contig has one name in this file and another, as with ``chr``, in one before."""
        for name in part.contigs:
            for other in other_names(name):
                if is_second_mitochondrion(name, other):
                    if other in part.contigs:
                        self.two_sequences.add(frozenset((name, other)))
                elif self.files.get(other, file) != file and other not in part.contigs:
                    raise _named_twice(name, file, other, self.files[other])

    def _check_mitochondrion(self) -> None:
        """It has one name, such as ``M`` or ``MT``, or those of the two sequences of hg19.

        That these are two shows in any file that has both, which may be the last.
        """
        for name in natsorted(self.contigs):
            for other in other_names(name):
                pair = frozenset((name, other))
                if (
                    other in self.contigs
                    and is_second_mitochondrion(name, other)
                    and pair not in self.two_sequences
                ):
                    raise _named_twice(name, self.files[name], other, self.files[other])

    def _place(self, part: FileCounts) -> np.ndarray:
        """Contig, start and strand of each junction in one number."""
        code = np.array([self.contigs[name] for name in part.contigs], np.int64)
        contig = code[part.contig] if len(code) else np.empty(0, np.int64)
        return (
            contig << (_START_BITS + _STRAND_BITS)
            | part.start.astype(np.int64) << _STRAND_BITS
            | part.strand
        )

    def _merge(self) -> None:
        """Sort what is pending into the union."""
        place, end, motif = (
            np.concatenate([old, *new])
            for old, new in zip(
                (self.place, self.end, self.motif), zip(*self.pending, strict=True), strict=True
            )
        )
        order = np.lexsort((end, place))
        place, end = place[order], end[order]
        new = np.ones(len(order), bool)
        new[1:] = (place[1:] != place[:-1]) | (end[1:] != end[:-1])
        first = np.flatnonzero(new)
        self.place, self.end = place[first], end[first]
        self.motif = np.maximum.reduceat(motif[order], first) if len(first) else motif
        self.pending, self.n_pending = [], 0

    def finish(self) -> None:
        """Put contigs in natural order and junctions in that of the genome."""
        self._check_mitochondrion()
        if self.pending:
            self._merge()
        names = natsorted(self.contigs)
        rank = np.empty(len(names), np.int64)
        rank[[self.contigs[name] for name in names]] = np.arange(len(names))
        self.contigs = {name: i for i, name in enumerate(names)}
        self.names = names
        mask = (1 << (_START_BITS + _STRAND_BITS)) - 1
        contig = rank[self.place >> (_START_BITS + _STRAND_BITS)] if len(names) else self.place
        self.place = contig << (_START_BITS + _STRAND_BITS) | self.place & mask
        order = np.lexsort((self.end, self.place))
        self.place, self.end, self.motif = self.place[order], self.end[order], self.motif[order]
        self.distinct, code = np.unique(self.place, return_inverse=True)
        self.key = code.astype(np.int64) << _START_BITS | self.end  # ascending, like the junctions
        # Genomic order is by start, end, then strand.
        strand, start = self.strand, self.start
        self.order = np.lexsort((strand, self.end, start, self.contig))
        self.column = np.empty(len(order), np.int32)
        self.column[self.order] = np.arange(len(order), dtype=np.int32)

    @property
    def contig(self) -> np.ndarray:
        return self.place >> (_START_BITS + _STRAND_BITS)

    @property
    def start(self) -> np.ndarray:
        return self.place >> _STRAND_BITS & ((1 << _START_BITS) - 1)

    @property
    def strand(self) -> np.ndarray:
        return self.place & ((1 << _STRAND_BITS) - 1)

    def columns(self, part: FileCounts) -> np.ndarray:
        """Column of each junction of a part."""
        code = np.searchsorted(self.distinct, self._place(part))
        return self.column[np.searchsorted(self.key, code << _START_BITS | part.end)]

    def var(self) -> pd.DataFrame:
        """Annotation of junctions, in genomic order."""
        order = self.order
        contig = pd.Categorical.from_codes(self.contig[order].astype(np.int32), self.names)
        strand = pd.Categorical.from_codes(self.strand[order].astype(np.int8), list(STRANDS))
        table = pd.DataFrame(
            {"chrom": contig, "start": self.start[order], "end": self.end[order], "strand": strand}
        )
        if self.motif.any():
            table["motif"] = pd.Categorical.from_codes(self.motif[order], list(MOTIFS))
        table.index = junction_names(table)
        return table


@dataclass
class _Cells:
    """Names of cells over all files, and how many counts each has."""

    sources: Sequence[Source]
    rows: dict[str, int] = field(default_factory=dict)
    sample: list[str | None] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    of_part: list[np.ndarray] = field(default_factory=list)
    size: list[np.ndarray] = field(default_factory=list)

    def add(self, i: int, part: FileCounts) -> None:
        """Rows of the cells of part ``i``."""
        rows = []
        for cell in part.cells:
            name, sample = self._name(self.sources[i], cell)
            row = self.rows.setdefault(name, len(self.rows))
            if row == len(self.sample):
                self.sample.append(sample)
                self.first.append(i)
            elif self.sample[row] != sample:
                raise ValueError(
                    f"The cell {name!r} of {self.sources[i].path} is also in "
                    f"{self.sources[self.first[row]].path}, of another sample. Name cells or "
                    "samples in a table of files so that they differ."
                )
            rows.append(row)
        self.of_part.append(np.array(rows, np.int64))
        self.size.append(np.bincount(part.cell, minlength=len(rows)))

    def _name(self, source: Source, cell: str) -> tuple[str, str | None]:
        """Name of a cell over all files, and its sample."""
        if cell == source.cell:  # the file holds this cell only
            return cell, source.sample
        sample = source.sample or source.cell
        is_only = len(self.sources) == 1 and not source.lanes
        return (cell if is_only else f"{sample}_{cell}"), sample

    def obs(self, annotation: pd.DataFrame | None) -> pd.DataFrame:
        """Annotation of cells."""
        table = pd.DataFrame(index=pd.Index(self.rows, dtype=object))
        if any(sample is not None for sample in self.sample):
            table["sample"] = pd.Categorical(self.sample)
        if annotation is not None:
            for name in annotation:
                table[name] = annotation[name].to_numpy()[self.first]
        return table


def _counts(paths: Sequence[Path], union: _Union, cells: _Cells) -> sp.csr_matrix:
    """Cells x junctions, int32; every part is put at its place in arrays made beforehand."""
    n_cells, n_junctions = len(cells.rows), len(union.order)
    size = np.zeros(n_cells, np.int64)
    for rows, counts in zip(cells.of_part, cells.size, strict=True):
        size[rows] += counts
    indptr = np.concatenate([[0], np.cumsum(size)])
    free = indptr[:-1].copy()
    small = indptr[-1] <= np.iinfo(np.int32).max
    column = np.empty(indptr[-1], np.int32)
    count = np.empty(indptr[-1], np.int32)
    for path, rows, counts in zip(paths, cells.of_part, cells.size, strict=True):
        part = FileCounts.load(path)
        begin = np.concatenate([[0], np.cumsum(counts)])[:-1]
        place = np.arange(len(part.cell)) + np.repeat(free[rows] - begin, counts)
        column[place] = union.columns(part)[part.junction]
        count[place] = part.count
        free[rows] += counts
    pointer = indptr.astype(np.int32 if small else np.int64)
    matrix = sp.csr_matrix((count, column, pointer), shape=(n_cells, n_junctions))
    matrix.sum_duplicates()
    return matrix


def _anndata(
    matrix: sp.csr_matrix, union: _Union, obs: pd.DataFrame, report: Counter[str]
) -> AnnData:
    from anndata import AnnData

    adata = AnnData(matrix, obs=obs, var=union.var())
    adata.uns["splicing"] = {
        "coordinates": "1-based inclusive intron",
        "reading": {key: int(value) for key, value in sorted(report.items())},
    }
    return adata

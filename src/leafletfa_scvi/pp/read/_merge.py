"""Merging the counts of many files into one matrix of junction counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
import scipy.sparse as sp
from natsort import natsorted

from leafletfa_scvi._contigs import is_second_mitochondrion, other_names
from leafletfa_scvi._narrow_stubs import categorical
from leafletfa_scvi.pp._codes import MOTIFS, STRANDS
from leafletfa_scvi.pp._junctions import junction_names
from leafletfa_scvi.pp.read._file_counts import FileCounts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData

    from leafletfa_scvi.pp.read._sources import Source

_PENDING: Final = 1_000_000
"""Number of junctions collected from files before they are sorted into the union."""
_STRAND_BITS: Final = 2
_START_BITS: Final = 31
_CONTIG_SHIFT: Final = _START_BITS + _STRAND_BITS


def merge_files(
    paths: Sequence[Path], sources: Sequence[Source], annotation: pd.DataFrame | None = None
) -> AnnData:
    """Merge the counts of many files into one AnnData of junction counts.

    Counts are read twice, one file at a time: for the union of their junctions, then for the
    matrix. Memory holds the result and the counts of one file.

    Parameters
    ----------
    paths
        Saved :class:`FileCounts` of each file.
    sources
        The files, in the order of their cells in the result.
    annotation
        One row for each file: columns of ``obs`` for its cells.

    Returns
    -------
    AnnData
        Cells x junctions; ``X`` int32 CSR of junction counts without stored zeros; ``var`` with
        ``chrom``, ``start``, ``end`` (1-based, inclusive introns), ``strand`` and, if any is
        known, ``motif``, in genomic order; ``obs["sample"]`` if samples were named or a file
        holds many cells. Counts of one cell in several files are summed.

    Raises
    ------
    ValueError
        If files name a contig differently: with and without the prefix ``chr``, or the
        mitochondrion by two of its names.
    """
    union = _JunctionUnion()
    cells = _CellUnion(sources)
    report: Counter[str] = Counter()
    for i, path in enumerate(paths):
        counts = FileCounts.load(path)
        union.add(counts, sources[i].path)
        cells.add(i, counts)
        report.update(counts.report)
    union.finish()
    matrix = _fill_matrix(paths, union, cells)
    return _anndata(matrix, union, cells.obs(annotation), report)


def _two_names_error(name: str, file: str, other: str, other_file: str) -> ValueError:
    return ValueError(
        f"{file} has the contig {name!r}, {other_file} the contig {other!r}: the same junctions "
        "would be counted as different ones. Use files aligned to one genome, or rename the "
        "contigs of some."
    )


class _JunctionUnion:
    """Distinct junctions of all files.

    A junction is held as two numbers, ``site_key`` (contig, start and strand) and ``end``, because
    its four coordinates do not fit into 64 bits. Sorting and searching two integers is many times
    faster than a table of four columns, or text.
    """

    def __init__(self) -> None:
        self.contigs: dict[str, int] = {}
        self.files: dict[str, str] = {}  # first file with each contig, for messages
        self.two_sequences: set[frozenset[str]] = set()
        self.site_key = self.end = np.empty(0, np.int64)
        self.motif = np.empty(0, np.int8)
        self.pending: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.n_pending = 0

    def add(self, counts: FileCounts, file: str) -> None:
        """Add the junctions of a file."""
        for name in counts.contigs:
            self.contigs.setdefault(name, len(self.contigs))
            self.files.setdefault(name, file)
        self._check_contigs(counts, file)
        self.pending.append((self._site_key(counts), counts.end.astype(np.int64), counts.motif))
        self.n_pending += counts.n_junctions
        # Most junctions of a file are in the union already. Sorting after every file would take
        # time in proportion to files x junctions; sorting once at the end, memory for all files.
        if self.n_pending > _PENDING:
            self._merge()

    def _check_contigs(self, counts: FileCounts, file: str) -> None:
        """Fail if a contig of this file has another name, as with ``chr``, in an earlier one."""
        for name in counts.contigs:
            for other in other_names(name):
                if is_second_mitochondrion(name, other):
                    if other in counts.contigs:
                        self.two_sequences.add(frozenset((name, other)))
                elif self.files.get(other, file) != file and other not in counts.contigs:
                    raise _two_names_error(name, file, other, self.files[other])

    def _check_mitochondrion(self) -> None:
        """Fail if the mitochondrion has two names, such as ``M`` and ``MT``.

        In hg19, ``chrM`` and ``MT`` are different sequences, so both may occur. Only a file with
        both shows this, which may be the last one.
        """
        for name in natsorted(self.contigs):
            for other in other_names(name):
                pair = frozenset((name, other))
                if (
                    other in self.contigs
                    and is_second_mitochondrion(name, other)
                    and pair not in self.two_sequences
                ):
                    raise _two_names_error(name, self.files[name], other, self.files[other])

    def _site_key(self, counts: FileCounts) -> np.ndarray:
        """Pack contig, start and strand of each junction into one number."""
        code = np.array([self.contigs[name] for name in counts.contigs], np.int64)
        contig = code[counts.contig] if len(code) else np.empty(0, np.int64)
        key: np.ndarray = contig << _CONTIG_SHIFT | counts.start.astype(np.int64) << _STRAND_BITS
        key |= counts.strand
        return key

    def _merge(self) -> None:
        """Sort the pending junctions into the union."""
        site_key, end, motif = (
            np.concatenate([old, *new])
            for old, new in zip(
                (self.site_key, self.end, self.motif), zip(*self.pending, strict=True), strict=True
            )
        )
        order = np.lexsort((end, site_key))
        site_key, end = site_key[order], end[order]
        new = np.ones(len(order), bool)
        new[1:] = (site_key[1:] != site_key[:-1]) | (end[1:] != end[:-1])
        first = np.flatnonzero(new)
        self.site_key, self.end = site_key[first], end[first]
        # An unknown motif is 0, so the maximum is the motif of any file that knows it.
        self.motif = np.maximum.reduceat(motif[order], first) if len(first) else motif
        self.pending, self.n_pending = [], 0

    def finish(self) -> None:
        """Sort contigs in natural order and junctions in genomic order."""
        self._check_mitochondrion()
        if self.pending:
            self._merge()
        names = natsorted(self.contigs)
        rank = np.empty(len(names), np.int64)
        rank[[self.contigs[name] for name in names]] = np.arange(len(names))
        self.contigs = {name: i for i, name in enumerate(names)}
        self.names = names
        mask = (1 << _CONTIG_SHIFT) - 1
        contig = rank[self.site_key >> _CONTIG_SHIFT] if len(names) else self.site_key
        self.site_key = contig << _CONTIG_SHIFT | self.site_key & mask
        order = np.lexsort((self.end, self.site_key))
        self.site_key, self.end = self.site_key[order], self.end[order]
        self.motif = self.motif[order]
        # Ranks of distinct site keys are small: with the end they fit into one number, by which
        # the junctions of a file are found in one binary search.
        self.distinct_sites, site = np.unique(self.site_key, return_inverse=True)
        self.key = site.astype(np.int64) << _START_BITS | self.end
        # Keys sort by start, strand and end, the genome by start, end and strand.
        self.order = np.lexsort((self.strand, self.end, self.start, self.contig))
        self.column = np.empty(len(order), np.int32)
        self.column[self.order] = np.arange(len(order), dtype=np.int32)

    @property
    def contig(self) -> np.ndarray:
        return self.site_key >> _CONTIG_SHIFT

    @property
    def start(self) -> np.ndarray:
        return self.site_key >> _STRAND_BITS & ((1 << _START_BITS) - 1)

    @property
    def strand(self) -> np.ndarray:
        return self.site_key & ((1 << _STRAND_BITS) - 1)

    def columns(self, counts: FileCounts) -> np.ndarray:
        """Return the column of each junction of a file."""
        site = np.searchsorted(self.distinct_sites, self._site_key(counts))
        at = np.searchsorted(self.key, site << _START_BITS | counts.end)
        column: np.ndarray = self.column[at]
        return column

    def var(self) -> pd.DataFrame:
        """Return the annotation of junctions, in genomic order."""
        order = self.order
        contig = categorical(self.contig[order].astype(np.int32), self.names)
        strand = categorical(self.strand[order].astype(np.int8), list(STRANDS))
        table = pd.DataFrame(
            {"chrom": contig, "start": self.start[order], "end": self.end[order], "strand": strand}
        )
        if self.motif.any():
            table["motif"] = categorical(self.motif[order], list(MOTIFS))
        table.index = junction_names(table)
        return table


@dataclass
class _CellUnion:
    """Names of cells over all files, and the number of counts of each in every file."""

    sources: Sequence[Source]
    rows: dict[str, int] = field(default_factory=dict)
    sample: list[str | None] = field(default_factory=list)
    first_file: list[int] = field(default_factory=list)
    rows_of_file: list[np.ndarray] = field(default_factory=list)
    sizes_of_file: list[np.ndarray] = field(default_factory=list)

    def add(self, i: int, counts: FileCounts) -> None:
        """Add the cells of file ``i``."""
        rows = []
        for cell in counts.cells:
            name, sample = self._name(self.sources[i], cell)
            row = self.rows.setdefault(name, len(self.rows))
            if row == len(self.sample):
                self.sample.append(sample)
                self.first_file.append(i)
            elif self.sample[row] != sample:
                raise ValueError(
                    f"The cell {name!r} of {self.sources[i].path} is also in "
                    f"{self.sources[self.first_file[row]].path}, of another sample. Name cells or "
                    "samples in a table of files so that they differ."
                )
            rows.append(row)
        self.rows_of_file.append(np.array(rows, np.int64))
        self.sizes_of_file.append(np.bincount(counts.cell, minlength=len(rows)))

    def _name(self, source: Source, cell: str) -> tuple[str, str | None]:
        """Return the name of a cell over all files, and its sample."""
        if cell == source.cell:  # the file holds this cell only
            return cell, source.sample
        sample = source.sample or source.cell
        is_only = len(self.sources) == 1 and not source.lanes
        return (cell if is_only else f"{sample}_{cell}"), sample

    def obs(self, annotation: pd.DataFrame | None) -> pd.DataFrame:
        """Return the annotation of cells."""
        table = pd.DataFrame(index=pd.Index(self.rows, dtype=object))
        if any(sample is not None for sample in self.sample):
            table["sample"] = pd.Categorical(self.sample)
        if annotation is not None:
            for name in annotation:
                table[name] = annotation[name].to_numpy()[self.first_file]
        return table


def _fill_matrix(paths: Sequence[Path], union: _JunctionUnion, cells: _CellUnion) -> sp.csr_matrix:
    """Return cells x junctions, int32.

    The numbers of counts are known, so the arrays of the matrix are allocated once and the counts
    of each file are written to their final position; nothing is concatenated.
    """
    n_cells, n_junctions = len(cells.rows), len(union.order)
    size = np.zeros(n_cells, np.int64)
    for rows, sizes in zip(cells.rows_of_file, cells.sizes_of_file, strict=True):
        size[rows] += sizes
    indptr = np.concatenate([[0], np.cumsum(size)])
    next_free = indptr[:-1].copy()  # of each cell, several files of which may follow
    is_small = indptr[-1] <= np.iinfo(np.int32).max
    column = np.empty(indptr[-1], np.int32)
    count = np.empty(indptr[-1], np.int32)
    for path, rows, sizes in zip(paths, cells.rows_of_file, cells.sizes_of_file, strict=True):
        counts = FileCounts.load(path)
        begin = np.concatenate([[0], np.cumsum(sizes)])[:-1]
        position = np.arange(len(counts.cell)) + np.repeat(next_free[rows] - begin, sizes)
        column[position] = union.columns(counts)[counts.junction]
        count[position] = counts.count
        next_free[rows] += sizes
    pointer: np.ndarray = indptr.astype(np.int32 if is_small else np.int64)
    matrix: sp.csr_matrix = sp.csr_matrix((count, column, pointer), shape=(n_cells, n_junctions))
    matrix.sum_duplicates()  # of cells in several files
    return matrix


def _anndata(
    matrix: sp.csr_matrix, union: _JunctionUnion, obs: pd.DataFrame, report: Counter[str]
) -> AnnData:
    from anndata import AnnData

    adata = AnnData(matrix, obs=obs, var=union.var())
    adata.uns["splicing"] = {
        "coordinates": "1-based inclusive intron",
        "reading": {key: int(value) for key, value in sorted(report.items())},
    }
    return adata

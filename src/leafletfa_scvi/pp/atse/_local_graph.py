"""Junctions in use, the exons between them, and the annotation around them, for local events."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from leafletfa_scvi._contigs import match_contigs
from leafletfa_scvi.pp._codes import FORWARD, STRANDS
from leafletfa_scvi.pp._intervals import overlapping, ranges
from leafletfa_scvi.pp._junctions import splice_sites
from leafletfa_scvi.pp.atse._events import contain_intron
from leafletfa_scvi.pp.atse._usage import usage_of_sites

if TYPE_CHECKING:
    from leafletfa_scvi.pp._junctions import Introns
    from leafletfa_scvi.pp.annotate._annotation import Annotation


class AnnotatedParts(NamedTuple):
    """Introns and exons of an annotation, on the contigs of the data.

    Attributes
    ----------
    introns
        ``strand_key`` as of the junctions, ``start``, ``end``, ``gene_id``.
    exons
        Distinct ``strand_key``, ``start`` and ``end``, with the flags ``first`` and ``last``.
    """

    introns: pd.DataFrame
    exons: pd.DataFrame

    @classmethod
    def on_contigs_of(cls, junctions: Introns, annotation: Annotation) -> AnnotatedParts:
        """Select the rows on ``+`` and ``-`` of the contigs that the junctions have."""
        chroms = pd.unique(annotation.introns["chrom"].astype(object).to_numpy())
        matched = match_contigs(junctions.chroms, chroms, "the junctions", "the annotation")
        code = {name: junctions.chroms.index(ours) for ours, name in matched.items()}

        def placed(table: pd.DataFrame) -> pd.DataFrame:
            chrom = table["chrom"].astype(object).map(code).to_numpy(np.float64, na_value=-1)
            strand = table["strand"].astype(object).map(STRANDS.index).to_numpy(np.int64)
            is_here = (chrom >= 0) & (strand > 0)
            key = (chrom * len(STRANDS) + strand).astype(np.int64)
            return table.assign(strand_key=key)[is_here]

        exons = placed(annotation.exons)
        exons = exons.groupby(["strand_key", "start", "end"], as_index=False)[
            ["first", "last"]
        ].any()
        introns = placed(annotation.introns)[["strand_key", "start", "end", "gene_id"]]
        return cls(introns, exons)

    def mirrored(self, length: int) -> AnnotatedParts:
        """Read all from the other end of contigs of this length."""
        return AnnotatedParts(*(_turned(table, length) for table in self))


def _turned(table: pd.DataFrame, length: int) -> pd.DataFrame:
    return table.assign(start=length - table["end"], end=length - table["start"])


def junctions_in_use(
    junctions: pd.DataFrame, table: Introns, reads: np.ndarray, min_usage: float
) -> np.ndarray:
    """Select the junctions with a minimum usage, as :func:`find_local_events` defines it.

    Parameters
    ----------
    junctions, table
        J junctions, and their coordinates.
    reads
        ``(J,)`` reads of each, summed over cells.
    min_usage
        Minimum usage.

    Returns
    -------
    ndarray
        ``(J,)`` bool.
    """
    is_used: np.ndarray = (usage_of_sites(junctions, reads) >= min_usage).all(axis=1).to_numpy()
    # All reads at a site that no other junction has are its own, however few they are.
    sites = splice_sites(table.strand_key, table.start, table.end)
    alone = np.flatnonzero(np.all([np.bincount(site)[site] == 1 for site in sites], axis=0))
    length = int(table.end.max(initial=0)) + 1
    start, end = (table.strand_key * length + side for side in (table.start, table.end))
    other, i = overlapping(start[alone], end[alone], start, end)
    other, i = (values[other != alone[i]] for values in (other, alone[i]))
    most = np.zeros(len(reads))
    np.maximum.at(most, i, reads[other])
    return is_used & (reads >= min_usage * most)


@dataclass(frozen=True, eq=False)
class LocalGraph:
    """U junctions of all genes, sorted by gene, start and end.

    Sites are numbered in the order of gene and position, left and right ones separately. A
    junction of several genes is in the graph once for each.

    Attributes
    ----------
    group, start, end
        ``(U,)`` number of the gene and strand, and coordinates.
    column
        ``(U,)`` position of the junction in the data, -1 for annotated introns that share no
        splice site with a junction of the data.
    reads
        ``(U,)`` reads of the junction, 0 for those introns.
    strand_key
        ``(G,)`` contig and strand of each group.
    length
        Number above all coordinates, also those of annotated exons.
    """

    group: np.ndarray
    start: np.ndarray
    end: np.ndarray
    column: np.ndarray
    reads: np.ndarray
    strand_key: np.ndarray
    length: int

    @classmethod
    def of(cls, table: pd.DataFrame, strand_key: np.ndarray, length: int) -> LocalGraph:
        """Sort the columns ``group``, ``start``, ``end``, ``column`` and ``reads`` of a table."""
        table = table.sort_values(["group", "start", "end"], kind="stable")
        group, start, end, column, reads = (
            table[name].to_numpy(np.int64) for name in ("group", "start", "end", "column", "reads")
        )
        return cls(group, start, end, column, reads, strand_key, length)

    def mirrored(self) -> LocalGraph:
        """Read all from the other end: left sites are right sites, and the reverse."""
        names = ("group", "start", "end", "column", "reads")
        table = pd.DataFrame({name: getattr(self, name) for name in names})
        return LocalGraph.of(_turned(table, self.length), self.strand_key, self.length)

    @cached_property
    def is_observed(self) -> np.ndarray:
        """``(U,)`` whether a junction is in the data."""
        return self.column >= 0

    def key(self, group: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Return one number for gene and position, in their order."""
        return np.asarray(group * self.length + position)

    @cached_property
    def lefts(self) -> np.ndarray:
        """Keys of distinct left sites, ascending."""
        return np.unique(self.key(self.group, self.start))

    @cached_property
    def rights(self) -> np.ndarray:
        """Keys of distinct right sites, ascending."""
        return np.unique(self.key(self.group, self.end))

    @cached_property
    def left(self) -> np.ndarray:
        """``(U,)`` left site of each junction; ascending."""
        return np.searchsorted(self.lefts, self.key(self.group, self.start))

    @cached_property
    def right(self) -> np.ndarray:
        """``(U,)`` right site of each junction."""
        return np.searchsorted(self.rights, self.key(self.group, self.end))

    @cached_property
    def leaving(self) -> np.ndarray:
        """First junction at each left site, and U: they are consecutive."""
        return np.searchsorted(self.left, np.arange(len(self.lefts) + 1))

    @cached_property
    def by_right(self) -> np.ndarray:
        """Junctions in the order of right sites, then of starts."""
        return np.argsort(self.right, kind="stable")

    @cached_property
    def arriving(self) -> np.ndarray:
        """First position in ``by_right`` of each right site, and U."""
        return np.searchsorted(self.right[self.by_right], np.arange(len(self.rights) + 1))

    def find(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Return the junction between two sites, -1 if there is none."""
        width = len(self.rights) + 1
        keys = self.left * width + self.right  # ascending, as junctions are sorted
        wanted = left * width + right
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(keys[at] == wanted, at, -1) if len(keys) else at

    def contain_intron(
        self, group: np.ndarray, exon_start: np.ndarray, exon_end: np.ndarray
    ) -> np.ndarray:
        """Mark exons that contain a junction, with at least one base on either side."""
        if not len(self.start):
            return np.zeros(len(group), bool)
        return contain_intron(self.start, self.end, self.group, group, exon_start, exon_end)


@dataclass(frozen=True, eq=False)
class Exons:
    """Exons between the junctions of a graph: right site before and left site after each.

    Attributes
    ----------
    right, left
        Sites, sorted by both.
    start, end
        First and last base, 1-based.
    group
        Gene.
    """

    right: np.ndarray
    left: np.ndarray
    start: np.ndarray
    end: np.ndarray
    group: np.ndarray


def exons_between(graph: LocalGraph, annotated: AnnotatedParts | None) -> Exons:
    """Find the exons between junctions, as defined by :func:`find_local_events`."""
    length = graph.length
    # An exon that contains a left site and behind it a right site is more likely two exons with
    # an intron between, even if no junction joins the two (mutually exclusive exons). So its last
    # base is at most the first right site behind the first left site in it (`next_left`).
    observed = graph.is_observed
    lefts = np.unique(graph.key(graph.group, graph.start)[observed])
    rights = np.unique(graph.key(graph.group, graph.end)[observed])
    limit = (graph.rights // length + 1) * length  # of keys of the same gene
    next_left = np.append(lefts, limit[-1:])[np.searchsorted(lefts, graph.rights + 2)]
    beyond = (
        np.append(rights, limit[-1:])[np.searchsorted(rights, next_left)] + 1
    )  # left site after it
    begin = np.searchsorted(graph.lefts, graph.rights + 2)
    end = np.searchsorted(graph.lefts, np.minimum(beyond, limit - 1), side="right")
    right, left = ranges(begin, end)
    if annotated is not None:
        right, left = _with_annotated(graph, annotated, right, left)
    group = graph.rights[right] // length
    start, stop = graph.rights[right] % length + 1, graph.lefts[left] % length - 1
    is_exon = ~graph.contain_intron(group, start, stop)
    if annotated is not None:
        is_exon &= _may_be_annotated(annotated, graph.strand_key[group], start, stop)
    return Exons(*(values[is_exon] for values in (right, left, start, stop, group)))


def _with_annotated(
    graph: LocalGraph, annotated: AnnotatedParts, right: np.ndarray, left: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Add the annotated exons between two sites of the same gene."""
    sites = []
    for keys, name, shift in ((graph.rights, "start", 1), (graph.lefts, "end", -1)):
        group = keys // graph.length
        columns = {"strand_key": graph.strand_key[group], name: keys % graph.length + shift}
        sites.append(pd.DataFrame({**columns, "group": group, f"at_{name}": np.arange(len(keys))}))
    exons = annotated.exons[["strand_key", "start", "end"]].astype(np.int64)
    more = exons.merge(sites[0], on=["strand_key", "start"])
    more = more.merge(sites[1], on=["strand_key", "end", "group"])
    n_lefts = len(graph.lefts) + 1
    both = np.unique(
        np.concatenate(
            [right * n_lefts + left, (more["at_start"] * n_lefts + more["at_end"]).to_numpy()]
        )
    )
    return both // n_lefts, both % n_lefts


def _may_be_annotated(
    annotated: AnnotatedParts, strand_key: np.ndarray, start: np.ndarray, end: np.ndarray
) -> np.ndarray:
    """Tell exons apart from the space between the start of one exon and the end of another.

    If exons start here and exons end there according to the annotation, then one that starts here
    has to overlap one that ends there, or be the same.
    """
    exons = annotated.exons
    longest = pd.Series(exons["end"].to_numpy(np.int64)).groupby(
        [exons["strand_key"].to_numpy(), exons["start"].to_numpy()]
    )
    earliest = pd.Series(exons["start"].to_numpy(np.int64)).groupby(
        [exons["strand_key"].to_numpy(), exons["end"].to_numpy()]
    )
    reach = _looked_up(longest.max(), strand_key, start, 2**40)
    from_ = _looked_up(earliest.min(), strand_key, end, -(2**40))
    return reach >= from_


def _looked_up(
    series: pd.Series, strand_key: np.ndarray, position: np.ndarray, default: int
) -> np.ndarray:
    """Return the value for each contig, strand and position."""
    keys = series.index.get_level_values(0).to_numpy(np.int64) << 32
    keys = keys + series.index.get_level_values(1).to_numpy(np.int64)
    at = pd.Index(keys).get_indexer((strand_key << 32) + position)
    return np.append(series.to_numpy(np.int64), default)[at]


def exon_bounds(
    annotated: AnnotatedParts, strand_key: np.ndarray, end: np.ndarray, flag: tuple[str, str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of the annotated exons that end at a position.

    Parameters
    ----------
    annotated
        Annotation.
    strand_key, end
        ``(N,)`` contig and strand, and last base.
    flag
        Name of the flag on ``+`` and on ``-``.

    Returns
    -------
    earliest
        ``(N,)`` first base of the longest exon, 0 where none ends.
    shortest
        ``(N,)`` first base of the shortest exon with the flag, 0 where none ends.
    """
    exons = annotated.exons
    is_forward = exons["strand_key"].to_numpy() % len(STRANDS) == FORWARD
    has_flag = np.where(is_forward, exons[flag[0]], exons[flag[1]]).astype(bool)
    results = []
    for table, choose in ((exons, "min"), (exons[has_flag], "max")):
        grouped = table.groupby(["strand_key", "end"])["start"].agg(choose)
        results.append(_looked_up(grouped, strand_key, end, 0))
    return results[0], results[1]

"""Local events by their two forms: the junctions of each, and the exons that they differ in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from leafletfa_scvi.pp._codes import FORWARD, STRANDS, UNSTRANDED
from leafletfa_scvi.pp._intervals import ranges
from leafletfa_scvi.pp.atse._events import (
    ALTERNATIVE_3SS,
    ALTERNATIVE_5SS,
    CASSETTE_EXON,
    FIRST_EXON,
    LAST_EXON,
    MULTI_EXON_SKIP,
    MUTUALLY_EXCLUSIVE,
)
from leafletfa_scvi.pp.atse._local_graph import exon_bounds, exons_between

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from leafletfa_scvi.pp.atse._local_graph import AnnotatedParts, Exons, LocalGraph

Span = tuple[int, int]
"""First and last base of an exon, 1-based."""

CODES: Final = {
    CASSETTE_EXON: "SE",
    MUTUALLY_EXCLUSIVE: "MX",
    ALTERNATIVE_5SS: "A5",
    ALTERNATIVE_3SS: "A3",
    FIRST_EXON: "AF",
    LAST_EXON: "AL",
    MULTI_EXON_SKIP: "MES",
}
"""Code of each event type in the ids of events."""


@dataclass(frozen=True)
class LocalEvent:
    """A local event.

    Attributes
    ----------
    event_type
        One of the keys of ``CODES``.
    group
        Number of the gene.
    inclusion, exclusion
        Positions of the junctions of both forms in the data.
    exons
        The exons that distinguish the forms; of alternative splice sites, the bases between them.
    introns
        Introns of both forms in the order of the id, as first and last base. They include
        introns that are not in the data.
    """

    event_type: str
    group: int
    inclusion: tuple[int, ...]
    exclusion: tuple[int, ...]
    exons: tuple[Span, ...]
    introns: tuple[Span, ...]


def local_events_of(graph: LocalGraph, annotated: AnnotatedParts | None) -> Iterator[LocalEvent]:
    """Yield the local events of all genes, as defined by :func:`find_local_events`."""
    exons = exons_between(graph, annotated)
    yield from _exon_events(graph, exons)
    yield from _multi_exon_skips(graph, exons)
    yield from _alternative_ends(graph, annotated, is_mirrored=False)
    mirrored = None if annotated is None else annotated.mirrored(graph.length)
    yield from _alternative_ends(graph.mirrored(), mirrored, is_mirrored=True)


def _exon_events(graph: LocalGraph, exons: Exons) -> Iterator[LocalEvent]:
    """Find cassette exons and mutually exclusive exons."""
    # All ways through an exon: a junction into it and one out of it.
    n_in = np.diff(graph.arriving)[exons.right]
    n_out = np.diff(graph.leaving)[exons.left]
    exon, k = ranges(np.zeros_like(n_in), n_in * n_out)
    into = graph.by_right[graph.arriving[exons.right[exon]] + k // n_out[exon]]
    out_of = graph.leaving[exons.left[exon]] + k % n_out[exon]
    is_observed = graph.is_observed[into] & graph.is_observed[out_of]
    exon, into, out_of = exon[is_observed], into[is_observed], out_of[is_observed]

    skip = graph.find(graph.left[into], graph.right[out_of])
    for i in np.flatnonzero(skip >= 0):
        yield _event(CASSETTE_EXON, graph, exons, [into[i], out_of[i]], [skip[i]], [exon[i]])

    # Two ways between the same two sites, the exons of which do not overlap.
    ends = graph.left[into] * (len(graph.rights) + 1) + graph.right[out_of]
    order = np.lexsort((exons.end[exon], exons.start[exon], ends))
    exon, into, out_of, ends = (values[order] for values in (exon, into, out_of, ends))
    first, second = ranges(np.arange(len(ends)) + 1, np.searchsorted(ends, ends, side="right"))
    is_apart = exons.end[exon[first]] + 1 < exons.start[exon[second]]
    first, second = first[is_apart], second[is_apart]
    both = graph.find(exons.left[exon[first]], exons.right[exon[second]])
    for i, j in zip(first[both < 0], second[both < 0], strict=True):
        inclusion, exclusion = [into[i], out_of[i]], [into[j], out_of[j]]
        yield _event(MUTUALLY_EXCLUSIVE, graph, exons, inclusion, exclusion, [exon[i], exon[j]])


def _event(
    event_type: str,
    graph: LocalGraph,
    exons: Exons,
    inclusion: Sequence[int],
    exclusion: Sequence[int],
    between: Sequence[int],
) -> LocalEvent:
    """Create an event from junctions and exons of the graph."""
    in_id = inclusion if len(exclusion) == 1 else (*inclusion, *exclusion)
    return LocalEvent(
        event_type,
        int(graph.group[inclusion[0]]),
        tuple(int(graph.column[i]) for i in inclusion if graph.column[i] >= 0),
        tuple(int(graph.column[i]) for i in exclusion),
        tuple((int(exons.start[i]), int(exons.end[i])) for i in between),
        tuple((int(graph.start[i]), int(graph.end[i])) for i in in_id),
    )


def _multi_exon_skips(graph: LocalGraph, exons: Exons) -> Iterator[LocalEvent]:
    """Find rows of at least two exons that a junction skips."""
    # Only a junction with another one inside can skip two exons.
    is_skip = graph.is_observed & graph.contain_intron(graph.group, graph.start, graph.end)
    row = _Rows(graph, exons)
    for skip in np.flatnonzero(is_skip).tolist():
        left, right = graph.left[skip], graph.right[skip]
        firsts = np.arange(graph.leaving[left], skip)  # they end before the skip does
        lasts = graph.by_right[graph.arriving[right] : graph.arriving[right + 1]]
        lasts = lasts[graph.start[lasts] > graph.start[skip]]
        for first in firsts[graph.is_observed[firsts]]:
            for last in lasts[graph.is_observed[lasts]]:
                if graph.end[first] >= graph.start[last]:
                    continue
                _, between, inner = row.best(int(graph.right[first]), int(graph.left[last]))
                if len(between) > 1:
                    inclusion = [first, *inner, last]
                    yield _event(MULTI_EXON_SKIP, graph, exons, inclusion, [skip], between)


class _Rows:
    """The most used row of exons and junctions from a right site to a left site.

    Its width is the number of reads of its least used junction. There may be very many rows;
    the widest from each site depends only on those from the sites behind it.
    """

    def __init__(self, graph: LocalGraph, exons: Exons) -> None:
        self.graph, self.exons = graph, exons
        self.after = np.searchsorted(exons.right, np.arange(len(graph.rights) + 1))
        self.known: dict[Span, tuple[float, tuple[int, ...], tuple[int, ...]]] = {}

    def best(self, right: int, target: int) -> tuple[float, tuple[int, ...], tuple[int, ...]]:
        """Return the width of the row, its exons and the junctions between them; -1 if none."""
        graph, exons, widest = self.graph, self.exons, (-1.0, (), ())
        if (right, target) in self.known:
            return self.known[right, target]
        end = graph.lefts[target]
        found: tuple[float, tuple[int, ...], tuple[int, ...]] = widest
        for exon in range(self.after[right], self.after[right + 1]):
            left = int(exons.left[exon])
            if left == target:
                found = max(found, (np.inf, (exon,), ()), key=_merit)
            if left >= target:
                break
            for junction in range(graph.leaving[left], graph.leaving[left + 1]):
                if graph.rights[graph.right[junction]] >= end:
                    break
                width, further, inner = self.best(int(graph.right[junction]), target)
                width = min(width, float(graph.reads[junction]))
                if further:
                    row = (width, (exon, *further), (junction, *inner))
                    found = max(found, row, key=_merit)
        self.known[right, target] = found
        return found


def _merit(row: tuple[float, tuple[int, ...], tuple[int, ...]]) -> tuple[float, int]:
    return row[0], len(row[1])


def _alternative_ends(
    graph: LocalGraph, annotated: AnnotatedParts | None, *, is_mirrored: bool
) -> Iterator[LocalEvent]:
    """Find alternative splice sites and terminal exons, on the left of the same right site."""
    length, by_right = graph.length, graph.by_right[graph.is_observed[graph.by_right]]
    # Pairs of junctions into the same site, the longer intron first.
    sites = graph.right[by_right]
    first, second = ranges(np.arange(len(sites)) + 1, np.searchsorted(sites, sites, side="right"))
    longer, shorter = by_right[first], by_right[second]
    is_stranded = graph.strand_key[graph.group[longer]] % len(STRANDS) != UNSTRANDED
    longer, shorter = longer[is_stranded], shorter[is_stranded]
    group, outer, inner = graph.group[longer], graph.start[longer], graph.start[shorter]

    # Junctions that end between the two left sites lead into an exon of its own, which ends at
    # the second site. They may be of another gene.
    strand_key = graph.strand_key[graph.group]
    rights = np.unique(graph.key(strand_key, graph.end)[graph.is_observed])
    lefts = np.unique(graph.key(strand_key, graph.start)[graph.is_observed])
    strand_key = strand_key[longer]
    last_end = np.append(rights, -1)[np.searchsorted(rights, graph.key(strand_key, inner - 1)) - 1]
    is_between = last_end >= graph.key(strand_key, outer)
    is_site = ~is_between
    is_terminal = np.zeros(len(group), bool)
    outer_start = inner_start = np.zeros(len(group), np.int64)
    if annotated is not None:
        flag = ("last", "first") if is_mirrored else ("first", "last")
        longest, inner_start = exon_bounds(annotated, strand_key, inner - 1, flag)
        is_site &= longest < outer  # also where no annotated exon ends
        outer_start = exon_bounds(annotated, strand_key, outer - 1, flag)[1]
        is_terminal = ~is_site & (outer_start > 0) & (inner_start >= outer)
        # Another exon may lie between the two, if its other end does as well.
        next_left = np.append(lefts, 2**62)[np.searchsorted(lefts, last_end + 2)]
        is_terminal &= ~is_between | (next_left < graph.key(strand_key, inner))

    for i in np.flatnonzero(is_site | is_terminal):
        is_left_5ss = graph.strand_key[group[i]] % len(STRANDS) == FORWARD
        is_5ss = is_left_5ss != is_mirrored
        introns = [_turned(graph, j, length, is_mirrored) for j in (longer[i], shorter[i])]
        far, near = (int(graph.column[j]) for j in (longer[i], shorter[i]))
        if is_site[i]:
            bases = [(int(outer[i]), int(inner[i]) - 1)]
            kind = ALTERNATIVE_5SS if is_5ss else ALTERNATIVE_3SS
            forms = (near,), (far,)
            introns.reverse()
        else:
            bases = [(int(outer_start[i]), int(outer[i]) - 1)]
            bases.append((int(inner_start[i]), int(inner[i]) - 1))
            kind = FIRST_EXON if is_5ss else LAST_EXON
            forms = (far,), (near,)
        if is_mirrored:
            bases = [(length - end, length - start) for start, end in bases]
        if is_mirrored and is_terminal[i]:  # in the order of the genome
            bases.reverse()
            introns.reverse()
        yield LocalEvent(kind, int(group[i]), *forms, tuple(bases), tuple(introns))


def _turned(graph: LocalGraph, junction: int, length: int, is_mirrored: bool) -> Span:
    """Return the intron of a junction, in coordinates of the genome."""
    start, end = int(graph.start[junction]), int(graph.end[junction])
    return (length - end, length - start) if is_mirrored else (start, end)

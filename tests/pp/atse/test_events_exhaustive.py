"""All small splice graphs, against types from exon-level templates of isoforms."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from helpers.events import (
    A3,
    A5,
    CASSETTE,
    COMPLEX,
    EXCLUSIVE,
    FLIPPED,
    MULTI,
    introns_of,
)

from leafletfa_scvi.pp.atse._events import event_types
from leafletfa_scvi.pp.atse._graph import label_atses

POSITIONS = tuple(range(10, 70, 10))


PAIRS = list(itertools.combinations(POSITIONS, 2))


SUBSETS = [set_ for n in range(2, 6) for set_ in itertools.combinations(PAIRS, n)]


def components(introns):
    """Connected sets of introns: grown until nothing is added."""
    left = set(introns)
    while left:
        part = {left.pop()}
        while grown := {j for j in left if any(j[0] == i[0] or j[1] == i[1] for i in part)}:
            part |= grown
            left -= grown
        yield frozenset(part)


def transcript(*sites):
    """Exons of a transcript from its splice sites: left and right ends of introns in turn."""
    starts = [sites[0] - 5, *(end + 1 for end in sites[1::2])]
    ends = [*(start - 1 for start in sites[::2]), sites[-1] + 5]
    return list(zip(starts, ends, strict=True))


def templates():
    """Type of each connected set of introns on +, from the isoforms that make up an event."""
    types = {}

    def add(kind, *isoforms):
        whole = frozenset(introns_of(isoforms))
        if len(list(components(whole))) == 1:
            assert types.setdefault(whole, kind) == kind

    for a, b, c, d in itertools.combinations(POSITIONS, 4):
        full = transcript(a, b, c, d)
        add(CASSETTE, full, [full[0], full[2]])
    for sites in itertools.combinations(POSITIONS, 6):
        first, one, two, last = full = transcript(*sites)
        for some in itertools.product([0, 1], repeat=2):
            more = [
                [first, exon, last] for exon, take in zip((one, two), some, strict=True) if take
            ]
            add(MULTI, full, [first, last], *more)
    for site in POSITIONS:
        for n in range(2, 6):
            for others in itertools.combinations(POSITIONS, n):
                if others[-1] < site:
                    add(A5, *(transcript(other, site) for other in others))
                if others[0] > site:
                    add(A3, *(transcript(site, other) for other in others))
    return types


TEMPLATES = templates()


# Introns of both isoforms; a single base between the exons is enough.
EXCLUSIVES = [
    introns_of([transcript(a, b, c, d), transcript(a, e, f, d)])
    for n in (5, 6)
    for a, b, c, *e, f, d in itertools.combinations(POSITIONS, n)
    for e in (e or [c])
]


def test_the_templates_cover_every_type_that_junctions_show():
    counts = pd.Series(TEMPLATES.values()).value_counts().to_dict()
    # Four sites of six; six sites, with one or both of the exons alone; two to five of a site.
    assert counts == {CASSETTE: 15, MULTI: 3, A5: 42, A3: 42}


def many(graphs, strand):
    """One table of all graphs, far from each other, and labels in the order of the graphs."""
    rows = [
        (1000 * i + start, 1000 * i + end, f"{i:06d}")
        for i, graph in enumerate(graphs)
        for start, end in graph
    ]
    junctions = pd.DataFrame(rows, columns=["start", "end", "atse"])
    return junctions.assign(chrom="1", strand=strand)


@pytest.mark.parametrize("strand", ["+", "-"])
def test_all_small_splice_graphs_in_all_orders(strand):
    connected = [set_ for set_ in SUBSETS if len(list(components(set_))) == 1]
    assert len(connected) > 1000
    graphs = [
        order
        for set_ in connected
        for order in (itertools.permutations(set_) if len(set_) < 5 else [set_])
    ]
    expected = [TEMPLATES.get(frozenset(graph), COMPLEX) for graph in graphs]
    if strand == "-":
        expected = [FLIPPED.get(kind, kind) for kind in expected]
    junctions = many(graphs, strand)
    types = event_types(junctions, junctions["atse"])
    assert types.tolist() == expected
    shuffled = junctions.sample(frac=1, random_state=0)
    pd.testing.assert_series_equal(event_types(shuffled, shuffled["atse"]), types)


def most_exons(introns, after, before):
    """Most exons between two sites, on any path through introns that lie between."""
    if before - after < 2:
        return -99  # no exon fits
    through = [
        most_exons(introns, after, start) + most_exons(introns, end, before)
        for start, end in introns
        if after < start and end < before
    ]
    return max([1, *through])


@pytest.mark.parametrize("strand", ["+", "-"])
def test_all_small_sets_of_junctions_from_graph_to_type(strand):
    junctions = many(SUBSETS, strand)
    labels, _ = label_atses(junctions, use_genes=False)
    types = event_types(junctions, labels)
    assert types.index.is_monotonic_increasing
    seen = set()
    for _, rows in junctions.assign(label=labels).groupby("atse"):
        shift = rows["start"].iloc[0] // 1000 * 1000
        rows = rows.assign(pair=list(zip(rows["start"] - shift, rows["end"] - shift, strict=True)))
        label_of = dict(zip(rows["pair"], rows["label"], strict=True))
        for part in components(rows["pair"]):
            label = label_of[min(part)]
            if len(part) == 1:
                assert label is None
                continue
            kind = TEMPLATES.get(part, COMPLEX)
            if kind == CASSETTE:
                (_, b), _, (c, _) = sorted(part)
                kind = MULTI if most_exons(label_of, b, c) > 1 else CASSETTE
            halves = [list(components(both)) for both in EXCLUSIVES if set(both) <= set(label_of)]
            if any(part in pair and set(pair) <= set(components(label_of)) for pair in halves):
                kind = EXCLUSIVE
            seen.add(kind)
            kind = FLIPPED.get(kind, kind) if strand == "-" else kind
            assert types[label] == kind
    assert seen == {CASSETTE, MULTI, EXCLUSIVE, A3, A5, COMPLEX}


def test_fifty_thousand_atses():
    """Some 0.3 s on one free core; what grows with their square would not end."""
    rng = np.random.default_rng(0)
    graphs = [SUBSETS[i] for i in rng.integers(0, len(SUBSETS), 50_000)]
    junctions = many(graphs, "+")
    types = event_types(junctions, junctions["atse"])
    assert len(types) == 50_000

"""Tables of junctions, and ATSEs by a plain union-find."""

from __future__ import annotations

import pandas as pd

COLUMNS = ["chrom", "start", "end", "strand", "gene_id"]


def frame(*rows):
    """Junctions from texts like ``chr1:10-20:+ A,B``."""
    split = []
    for row in rows:
        place, _, gene = row.partition(" ")
        chrom, span, strand = place.split(":")
        split.append((chrom, *map(int, span.split("-")), strand, gene))
    return pd.DataFrame(split, columns=COLUMNS, index=list(rows))


def partition(labels):
    """Sets of positions with one label."""
    groups = {}
    for i, label in enumerate(labels):
        if label is not None:
            groups.setdefault(label, set()).add(i)
    return {frozenset(group) for group in groups.values()}


def union_find(rows):
    """Components of distinct (group, start, end) that share a site: plain and independent."""
    parent = {}

    def root(x):
        while parent.setdefault(x, x) != x:
            x = parent[x]
        return x

    for group, start, end in rows:
        a, b = root(("left", group, start)), root(("right", group, end))
        if a != b:
            parent[a] = b
    members, edges = {}, {}
    for i, (group, start, end) in enumerate(rows):
        top = root(("left", group, start))
        members.setdefault(top, set()).add(i)
        edges.setdefault(top, set()).add((start, end))
    return {frozenset(members[top]) for top in members if len(edges[top]) > 1}


def add_up(report):
    """Each row is in exactly one class."""
    parts = [
        "junctions_in_atses",
        "junctions_alone",
        "junctions_unstranded_dropped",
        "junctions_without_gene_dropped",
        "junctions_joining_genes_dropped",
        "junctions_of_several_genes_dropped",
        "junctions_dropped_by_splitting",
    ]
    assert sum(report[name] for name in parts) == report["junctions"]
    for name in ("unstranded", "without_gene", "joining_genes", "of_several_genes"):
        assert report[f"junctions_{name}_dropped"] <= report[f"junctions_{name}"]

"""Junction counts and annotations of transcripts, and local events by their definition."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from anndata import AnnData
from helpers.events import annotation_of, introns_of, table

from leafletfa_scvi.pp._junctions import junction_names
from leafletfa_scvi.pp.annotate._annotation import Annotation


def counts_of(introns, strand="+", chrom="1", reads=None, **columns):
    """Make the counts of one cell, 100 reads of each junction unless given."""
    var = table(introns, strand, chrom).assign(**columns)
    var.index = junction_names(var)
    reads = np.full(len(var), 100) if reads is None else np.asarray(reads)
    return AnnData(reads[None].astype(np.float32), pd.DataFrame(index=["cell"]), var)


def whole_annotation(transcripts, strand="+", chrom="1", gene="g"):
    """Make the annotation of a gene with these transcripts, each a list of exons."""
    parts = annotation_of(transcripts, strand, chrom)
    ends = [end for exons in transcripts for exon in exons for end in exon]
    genes = table([(min(ends), max(ends))], strand, chrom).assign(gene_name=gene.upper())
    return Annotation(
        genes=genes.set_index(pd.Index([gene], name="gene_id")),
        introns=parts.introns.assign(gene_id=gene),
        exons=parts.exons.assign(gene_id=gene),
    )


def transcripts_counts(transcripts, strand="+", **options):
    """Make the counts of the introns of transcripts."""
    return counts_of(introns_of(transcripts), strand, **options)


def forms(events):
    """Return type and introns of both forms of each event, without names and strands."""

    def introns(names):
        spans = (name.split(":")[1].split("-") for name in names.split(","))
        return tuple((int(start), int(end)) for start, end in spans)

    columns = ["event_type", "inclusion_junctions", "exclusion_junctions"]
    return {
        (kind, introns(inclusion), introns(exclusion))
        for kind, inclusion, exclusion in events[columns].itertuples(index=False)
    }


def by_definition(introns, reads, strand="+"):
    """Find local events without annotation: every choice of junctions, one after the other.

    ``introns`` are distinct and in use, ``reads`` maps each to its number of reads.
    """
    introns = sorted(introns)
    starts, ends = {a for a, _ in introns}, {b for _, b in introns}

    def is_exon(b, c):
        inside = [(a, e) for a in starts for e in ends if b + 2 <= a <= e <= c - 2]
        return c >= b + 2 and not inside

    def rows(b, c):
        """All rows of junctions from one exon to the next, from right site b to left site c."""
        if is_exon(b, c):
            yield ()
        for first in introns:
            if is_exon(b, first[0]) and first[1] < c:
                for further in rows(first[1], c):
                    yield (first, *further)

    found = set()
    for (a, b), (c, d) in itertools.permutations(introns, 2):
        if b >= c or (a, d) not in introns:
            continue
        if is_exon(b, c):
            found.add(("cassette_exon", ((a, b), (c, d)), ((a, d),)))
        inner = [row for row in rows(b, c) if row]
        if inner:
            width = [(min(reads[j] for j in row), len(row)) for row in inner]
            best = {row for row, w in zip(inner, width, strict=True) if w == max(width)}
            found.add(
                ("multi_exon_skip", frozenset(((a, b), *row, (c, d)) for row in best), (a, d))
            )
    ways = [(x, y) for x in introns for y in introns if x[1] < y[0] and is_exon(x[1], y[0])]
    for (x, y), (v, w) in itertools.permutations(ways, 2):
        same_ends = x[0] == v[0] and y[1] == w[1]
        if same_ends and y[0] <= v[1] and (y[0], v[1]) not in introns:
            found.add(("mutually_exclusive_exons", (x, y), (v, w)))
    for (a, b), (c, d) in itertools.permutations(introns, 2):
        if strand == "?":
            break
        is_forward = strand == "+"
        if b == d and a < c and not any(a <= e <= c - 2 for e in ends):
            kind = "alternative_5ss" if is_forward else "alternative_3ss"
            found.add((kind, ((c, d),), ((a, b),)))
        if a == c and b < d and not any(b + 2 <= s <= d for s in starts):
            kind = "alternative_3ss" if is_forward else "alternative_5ss"
            found.add((kind, ((a, b),), ((c, d),)))
    return found

"""Tables of introns from transcripts, and the types of their events."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pandas as pd

from leafletfa_scvi.pp.atse._events import EVENT_TYPES, event_types
from leafletfa_scvi.pp.atse._graph import label_atses

CASSETTE, EXCLUSIVE, A5, A3, FIRST, LAST, MULTI, COMPLEX = EVENT_TYPES


FLIPPED = {A5: A3, A3: A5, FIRST: LAST, LAST: FIRST}


def table(introns, strand="+", chrom="1"):
    introns = list(introns)
    starts, ends = zip(*introns, strict=True) if introns else ((), ())
    return pd.DataFrame(
        {
            "chrom": pd.Series([chrom] * len(introns), dtype=object),
            "start": pd.Series(starts, dtype=int),
            "end": pd.Series(ends, dtype=int),
            "strand": pd.Series([strand] * len(introns), dtype=object),
        }
    )


def introns_of(transcripts):
    """Distinct introns of transcripts, each a list of exons (first base, last base)."""
    return sorted(
        {
            (left + 1, right - 1)
            for exons in map(sorted, transcripts)
            for (_, left), (right, _) in itertools.pairwise(exons)
        }
    )


def annotation_of(transcripts, strand="+", chrom="1"):
    """Make the annotation of these transcripts."""
    flags = {}
    for exons in map(sorted, transcripts):
        inside = len(exons) - 1
        for i, exon in enumerate(exons):
            first, last = (i == 0, i == inside) if strand == "+" else (i == inside, i == 0)
            old = flags.get(exon, (False, False))
            flags[exon] = (old[0] or first, old[1] or last)
    exons = table(flags, strand, chrom)
    exons["first"] = [first for first, _ in flags.values()]
    exons["last"] = [last for _, last in flags.values()]
    return SimpleNamespace(introns=table(introns_of(transcripts), strand, chrom), exons=exons)


def mirrored(transcripts, length=10_000):
    """The same on the other strand, read from the other end."""
    return [[(length - end, length - start) for start, end in exons] for exons in transcripts]


def types_of(transcripts, strand="+", annotated=()):
    """Types of all ATSEs that the introns of transcripts form, from left to right."""
    junctions = table(introns_of(transcripts), strand)
    labels, _ = label_atses(junctions, use_genes=False, unstranded="keep")
    annotation = annotation_of(annotated, strand) if annotated else None
    types = event_types(junctions, labels, annotation=annotation)
    return types.tolist()

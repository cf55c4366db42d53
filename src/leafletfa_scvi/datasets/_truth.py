"""Tables of the junctions, events and transcripts of a simulated genome."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from leafletfa_scvi.datasets._genome import CONSTITUTIVE
from leafletfa_scvi.pp._junctions import junction_name, junction_names

if TYPE_CHECKING:
    from leafletfa_scvi.datasets._genome import Gene, Genome, Span


def _name(chrom: str, intron: Span, strand: str) -> str:
    return junction_name(chrom, intron[0] + 1, intron[1], strand)


def junction_table(genome: Genome) -> tuple[pd.DataFrame, dict[tuple[str, Span], int]]:
    """Tabulate all planted introns in order of the genome, and return the row of each."""
    rows = []
    for gene in genome.genes:
        known = {intron for one in gene.transcripts if one.annotated for intron in one.introns}
        alternative, atse = set(gene.alternative), _connected(gene)
        for intron in gene.introns:
            event = intron in alternative
            rows.append(
                {
                    "chrom": gene.chrom,
                    "start": intron[0] + 1,
                    "end": intron[1],
                    "strand": gene.strand,
                    "motif": gene.motifs[intron],
                    "gene_id": gene.gene_id,
                    "gene_name": gene.gene_name,
                    "known_junction": intron in known,
                    "event_id": f"{gene.gene_id}:event" if event else "",
                    "event_type": gene.kind if event else "",
                    "atse": atse.get(intron, ""),
                }
            )
    table = pd.DataFrame(rows)
    table = table.sort_values(["chrom", "start", "end", "strand"], ignore_index=True)
    columns = zip(table["gene_id"], table["start"], table["end"], strict=True)
    number = {(gene_id, (start - 1, end)): i for i, (gene_id, start, end) in enumerate(columns)}
    table.index = junction_names(table)
    return table, number


def _connected(gene: Gene) -> dict[Span, str]:
    """Label introns that are connected by shared splice sites."""
    groups: list[set[Span]] = []
    for intron in gene.introns:
        connected = [
            group for group in groups if any(a == intron[0] or b == intron[1] for a, b in group)
        ]
        groups = [group for group in groups if group not in connected]
        groups.append({intron}.union(*connected))
    large = sorted((min(group), group) for group in groups if len(group) > 1)
    names = [f"{gene.gene_id}:ATSE_{i + 1}" for i in range(len(large))]
    return {
        intron: name for name, (_, group) in zip(names, large, strict=True) for intron in group
    }


def event_table(genes: list[Gene]) -> pd.DataFrame:
    """Tabulate the planted events."""
    rows = [
        {
            "event_id": f"{gene.gene_id}:event",
            "gene_id": gene.gene_id,
            "gene_name": gene.gene_name,
            "chrom": gene.chrom,
            "strand": gene.strand,
            "event_type": gene.kind,
            "annotated": all(one.annotated for one in gene.transcripts),
            "junctions": tuple(_name(gene.chrom, one, gene.strand) for one in gene.alternative),
        }
        for gene in genes
        if gene.kind != CONSTITUTIVE
    ]
    columns = ["event_id", "gene_id", "gene_name", "chrom", "strand", "event_type", "annotated"]
    return pd.DataFrame(rows, columns=[*columns, "junctions"]).set_index("event_id")


def transcript_table(genes: list[Gene]) -> pd.DataFrame:
    """Tabulate the transcripts."""
    rows = [
        {
            "transcript_id": one.transcript_id,
            "gene_id": gene.gene_id,
            "chrom": gene.chrom,
            "strand": gene.strand,
            "exons": tuple((start + 1, end) for start, end in one.exons),
            "annotated": one.annotated,
        }
        for gene in genes
        for one in gene.transcripts
    ]
    return pd.DataFrame(rows).set_index("transcript_id")

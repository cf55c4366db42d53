"""What a splice graph shows: the junctions of an ATSE or gene, and the genes around them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from leafletfa_scvi import pp
from leafletfa_scvi._arguments import check_column
from leafletfa_scvi._constants import ATSE_KEY
from leafletfa_scvi._contigs import match_contigs
from leafletfa_scvi._similar import did_you_mean
from leafletfa_scvi.pp._junctions import coordinates_in_names, introns
from leafletfa_scvi.pp.annotate._annotate import annotate

if TYPE_CHECKING:
    import os

    from anndata import AnnData

_COORDINATES = ("chrom", "start", "end")


@dataclass(frozen=True)
class Gene:
    """A gene in the range of a splice graph; positions are edges between bases.

    Attributes
    ----------
    name, strand
        Name, and ``"+"``, ``"-"`` or ``"?"``.
    exons
        ``(e, 2)`` distinct exons.
    transcripts
        Exons ``(x, 2)`` of transcripts by their id.
    is_shown
        Whether it is the gene of the junctions, rather than one that overlaps it.
    """

    name: str
    strand: str
    exons: np.ndarray
    transcripts: dict[str, np.ndarray]
    is_shown: bool


@dataclass(frozen=True)
class Target:
    """Junctions to show; positions are edges between bases.

    Attributes
    ----------
    title
        What they are.
    junctions
        ``(m,)`` names.
    atse
        ``(m,)`` number of the ATSE of each, from 0.
    left, right
        ``(m,)`` edges of their introns.
    chrom, strand
        Contig and strand, ``"?"`` if unknown.
    is_known
        ``(m,)`` whether each is annotated; None if that is not known.
    known_as
        What known and novel mean, for the legend.
    genes
        Genes of the annotation in the range; empty without one.
    """

    title: str
    junctions: list[str]
    atse: np.ndarray
    left: np.ndarray
    right: np.ndarray
    chrom: str
    strand: str
    is_known: np.ndarray | None
    known_as: tuple[str, str]
    genes: list[Gene] = field(default_factory=list)

    @property
    def exons(self) -> np.ndarray:
        """``(e, 2)`` annotated exons that introns end at: at each of their ends the shortest."""
        parts = [gene.exons for gene in self.genes if gene.is_shown]
        exons = np.concatenate(parts) if parts else np.empty((0, 2), np.int64)
        exons = exons[np.argsort(exons[:, 1] - exons[:, 0], kind="stable")]
        chosen: list[int] = []
        for ends, side in ((self.left, 1), (self.right, 0)):
            for end in np.unique(ends):
                chosen += np.flatnonzero(exons[:, side] == end)[:1].tolist()
        return np.unique(exons[sorted(set(chosen))], axis=0)


def splice_target(
    adata: AnnData,
    name: str,
    gtf: str | os.PathLike[str] | pp.Annotation | None,
    atse_key: str = ATSE_KEY,
) -> Target:
    """Find the junctions of an ATSE, gene or junction, and the annotated genes around them.

    Raises
    ------
    KeyError
        No ATSE, gene or junction has the name; the message offers the nearest.
    ValueError
        The junctions lie on several strands or contigs, or have no coordinates.
    """
    check_column("name of an ATSE or gene", name, "var")
    rows, kind = find_junctions(adata.var, name, atse_key)
    var = adata.var.iloc[rows]
    place = introns(_coordinates(var))
    loci = sorted(set(zip(place.contig, place.strand, strict=True)))
    if len({contig for contig, _ in loci}) > 1 or len({s for _, s in loci} - {0}) > 1:
        others = "its ATSEs or gene_id" if kind == "gene" else "another"
        shown = ", ".join(f"{contig}:{'?+-'[strand]}" for contig, strand in loci)
        raise ValueError(
            f"Expected the junctions of {name!r} on one strand of one contig, found {shown}. Pass "
            f"one of {others}."
        )
    order = np.lexsort((place.end, place.start))
    rows, var = rows[order], var.iloc[order]
    left, right = place.start[order] - 1, place.end[order]
    labels = var[atse_key] if atse_key in var else pd.Series(np.arange(len(var)), var.index)
    is_known, known_as = _known(var)
    chrom, strand = str(loci[0][0]), "?+-"[max(s for _, s in loci)]
    genes: list[Gene] = []
    if gtf is not None:
        annotation = gtf if isinstance(gtf, pp.Annotation) else pp.read_annotation(gtf)
        status, _ = annotate(_coordinates(var), annotation)
        is_known = status["known_junction"].to_numpy(bool)
        known_as = ("known junction", "novel junction")
        if not (status["known_5ss"] | status["known_3ss"]).any():
            warnings.warn(
                f"None of the splice sites of {name!r} is in the annotation. Is it of the genome "
                "build that the junctions are of?",
                UserWarning,
                stacklevel=3,
            )
        wanted = _gene_names(var) or _split(status["gene_id"])
        genes = _genes(annotation, chrom, int(left.min()), int(right.max()), wanted)
    return Target(
        title=_title(var, name, kind),
        junctions=[str(x) for x in var.index],
        atse=pd.factorize(labels.astype(object))[0],
        left=left,
        right=right,
        chrom=chrom,
        strand=strand,
        is_known=is_known,
        known_as=known_as,
        genes=genes,
    )


def find_junctions(
    var: pd.DataFrame, name: str, atse_key: str = ATSE_KEY
) -> tuple[np.ndarray, str]:
    """Return the rows of an ATSE, a gene, or the ATSE of a junction, and which the name is of.

    Raises
    ------
    KeyError
        It is none; the message offers the nearest names.
    """
    known: set[str] = set()
    for column, kind in ((atse_key, "ATSE"), ("atse_label", "ATSE")):
        if column in var:
            values = var[column].astype(str).to_numpy(object)
            rows = np.flatnonzero(values == name)
            if len(rows):
                return rows, kind
            known |= set(values)
    for column in ("gene_name", "gene_id"):
        if column in var:
            parts = var[column].astype(str).str.split(",")
            has_name = parts.map(lambda names: name in names).to_numpy(bool)
            if has_name.any():
                return np.flatnonzero(has_name), "gene"
            known |= _split(var[column])
    row = var.index.get_indexer_for(pd.Index([name]))
    if (row >= 0).all():
        if atse_key in var:
            label = var[atse_key].iloc[row[0]]
            return np.flatnonzero(var[atse_key].to_numpy(object) == label), "ATSE"
        return row[:1], "junction"
    columns = [c for c in (atse_key, "gene_name", "gene_id") if c in var]
    hint = did_you_mean(name, known) or did_you_mean(name, map(str, var.index))
    raise KeyError(
        f"Expected the name of an ATSE or gene, in columns {columns} of adata.var, or of a "
        f"junction, found {name!r}.{hint}"
    )


def _coordinates(var: pd.DataFrame) -> pd.DataFrame:
    """Return contig, start, end and strand of junctions, from columns or from their names."""
    if set(_COORDINATES) <= set(var):
        table = var[list(_COORDINATES)].copy()
        table["chrom"] = table["chrom"].astype(object)
        strand = var["strand"].astype(object) if "strand" in var else "?"
        return table.assign(strand=strand)
    table = coordinates_in_names(var.index).set_axis(var.index)
    if table["chrom"].isna().any():
        name = str(var.index[int(table["chrom"].isna().argmax())])
        raise ValueError(
            f"Expected coordinates of junctions, found none for {name!r}. Store the introns in "
            "adata.var, in columns chrom, start and end (1-based, both inclusive) and strand."
        )
    return table


def _known(var: pd.DataFrame) -> tuple[np.ndarray | None, tuple[str, str]]:
    """Return which junctions are annotated, as far as columns of ``var`` say so."""
    if "known_junction" in var:
        return var["known_junction"].to_numpy(bool), ("known junction", "novel junction")
    if "annotation_status" in var:
        both = var["annotation_status"].astype(str).to_numpy() == "both"
        return both, ("known splice sites", "novel splice site")
    return None, ("", "")


def _gene_names(var: pd.DataFrame) -> set[str]:
    """Return ids, or else names, of the genes of junctions."""
    for column in ("gene_id", "gene_name"):
        if column in var:
            if names := _split(var[column]):
                return names
    return set()


def _split(column: pd.Series) -> set[str]:
    """Return the distinct names in a column, several being joined by commas."""
    return {name for text in column.astype(str) for name in text.split(",")} - {"", "nan"}


def _title(var: pd.DataFrame, name: str, kind: str) -> str:
    gene = ", ".join(sorted(_split(var["gene_name"]))) if "gene_name" in var else ""
    if kind == "gene" or not gene or name.startswith(gene):
        return name
    return f"{gene}  {name}"


def _genes(
    annotation: pp.Annotation, chrom: str, low: int, high: int, wanted: set[str]
) -> list[Gene]:
    """Return the genes of an annotation between two edges, those of the junctions first."""
    contigs = annotation.genes["chrom"].unique()
    contig = match_contigs([chrom], contigs, "the junctions", "the annotation").get(chrom)
    genes = annotation.genes
    genes = genes[(genes["chrom"] == contig) & (genes["start"] <= high) & (genes["end"] > low)]
    exons, transcripts = annotation.exons, annotation.transcripts
    exons = exons[exons["gene_id"].isin(genes.index)]
    transcripts = transcripts[transcripts["gene_id"].isin(genes.index)]
    found = []
    for gene_id, row in genes.iterrows():
        own = transcripts[transcripts["gene_id"] == gene_id]
        by_id = own.groupby("transcript_id", observed=True, sort=False)
        found.append(
            Gene(
                name=str(row["gene_name"]),
                strand=str(row["strand"]),
                exons=_edges(exons[exons["gene_id"] == gene_id]),
                transcripts={str(key): _edges(part) for key, part in by_id},
                is_shown=gene_id in wanted or row["gene_name"] in wanted,
            )
        )
    return sorted(found, key=lambda gene: not gene.is_shown)


def _edges(table: pd.DataFrame) -> np.ndarray:
    """Return intervals ``(n, 2)`` as edges between bases."""
    edges: np.ndarray = table[["start", "end"]].to_numpy(np.int64) - np.array([1, 0])
    return edges

"""Finding local events: a table with one row for each event inside the ATSEs of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_anndata, check_column, check_inside
from leafletfa_scvi._constants import ATSE_KEY
from leafletfa_scvi.pp._codes import STRANDS
from leafletfa_scvi.pp._junctions import introns
from leafletfa_scvi.pp.atse._events import FIRST_EXON, LAST_EXON
from leafletfa_scvi.pp.atse._graph import joins_genes
from leafletfa_scvi.pp.atse._local_forms import CODES, local_events_of
from leafletfa_scvi.pp.atse._local_graph import AnnotatedParts, LocalGraph, junctions_in_use
from leafletfa_scvi.pp.qc._matrices import junction_reads

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData

    from leafletfa_scvi.pp._junctions import Introns
    from leafletfa_scvi.pp.annotate._annotation import Annotation
    from leafletfa_scvi.pp.atse._local_forms import LocalEvent

_COLUMNS: Final = (
    "event_type",
    "gene_id",
    "gene_name",
    "atse_id",
    "chrom",
    "strand",
    "start",
    "end",
    "exons",
    "inclusion_junctions",
    "exclusion_junctions",
)


def find_local_events(
    adata: AnnData,
    annotation: Annotation | None = None,
    *,
    min_usage: float = 0.05,
    atse_key: str = ATSE_KEY,
) -> pd.DataFrame:
    """Find the local splicing events of each gene, as rMATS, SUPPA2 and MARVEL count them.

    An ATSE may hold several local events, and two ATSEs one (mutually exclusive exons), while
    :func:`classify_events` gives each ATSE one type. Each local event compares two forms, of
    which the *inclusion* form is that of SUPPA2. Events are found among the junctions that are
    used by a share of at least ``min_usage`` of the reads at both of their splice sites, summed
    over all cells: a rare junction neither hides an event nor makes one. A junction that shares
    no splice site with another one needs that share of the reads of each junction that overlaps
    it.

    ``a--b`` is a junction with first and last base a and b of the intron; ``e`` and ``s`` in ids
    are the last base of an exon (a - 1) and the first base of one (b + 1), 1-based, numbered
    along the genome on both strands. Inclusion form first:

    ============================  ===========================  ===============================
    ``event_type``                forms                        ``event_id``
    ============================  ===========================  ===============================
    ``cassette_exon``             ``a--b c--d`` or ``a--d``    ``SE:chr:e1-s2:e2-s3:+``
    ``mutually_exclusive_exons``  ``a--b c--d`` or             ``MX:chr:e1-s2:e2-s4:e1-s3:``
                                  ``a--f g--d``, f >= c        ``e3-s4:+``
    ``alternative_5ss``           two donors of one exon,      ``A5:chr:e2-s3:e1-s3:+``
                                  that of the shorter intron   ``A5:chr:e1-s2:e1-s3:-``
    ``alternative_3ss``           two acceptors of one exon,   ``A3:chr:e1-s2:e1-s3:+``
                                  that of the shorter intron   ``A3:chr:e2-s3:e1-s3:-``
    ``alternative_first_exon``    two first exons before the   ``AF:chr:s1:e1-s3:s2:e2-s3:+``
                                  same acceptor, the longer    ``AF:chr:e1-s2:e2:e1-s3:e3:-``
                                  intron
    ``alternative_last_exon``     two last exons after the     ``AL:chr:e1-s2:e2:e1-s3:e3:+``
                                  same donor, the longer       ``AL:chr:s1:e1-s3:s2:e2-s3:-``
                                  intron
    ``multi_exon_skip``           a row of junctions with at   ``MES:chr:e1-s2:e2-s3:e3-s4:+``
                                  least two exons between,
                                  or one from end to end
    ============================  ===========================  ===============================

    - An *exon* lies between the end of one junction and the start of another, and no junction
      lies within it. If it also holds the start and, behind it, the end of other junctions, as
      when two mutually exclusive exons are taken for one, it has to be annotated. If exons that
      start there and exons that end there are annotated, one of each has to overlap.
    - Mutually exclusive exons do not overlap, and no junction joins the two.
    - Two donors (or acceptors) belong to one exon if no junction ends (or starts) between them,
      and if, where annotated exons end at the inner one, one of them reaches the outer one.
    - First and last exons are those of the annotation, which do not overlap each other; of
      several at a splice site the shortest counts. Nothing joins the inner one to another exon
      between the two. Without annotation, they are alternative splice sites.
    - If several rows of exons connect two junctions, the multi-exon skip is that row whose least
      used junction has the most reads.

    Parameters
    ----------
    adata
        Junction counts or a splicing data set, with the columns ``chrom``, ``start`` and ``end``
        (first and last base of the intron, 1-based and inclusive) and ``strand`` in ``var``;
        not changed. With ``gene_id``, events are found within genes, otherwise within strands of
        contigs. A junction of several genes takes part in the events of each, but one that joins
        genes (``joins_genes``, see :func:`annotate_junctions`) in none. Junctions of strand
        ``?`` form events with each other only, of the types that have no 5' and 3' side.
    annotation
        Annotated introns and exons, of which those on ``+`` and ``-`` are used. A data set lacks
        the junctions that share no splice site, such as those between two exons that are always
        skipped together: they are taken from the annotation. Without one, pass junction counts
        that still have them, or such exons are reported as one cassette exon.
    min_usage
        Minimum share of the reads at its 5' and at its 3' splice site that support a junction,
        from 0 to 1. Lower it for events of rare cell types.
    atse_key
        Column of ``var`` with ATSE labels; it may be missing.

    Returns
    -------
    DataFrame
        One row for each event in order of the genome; index ``event_id``, the coordinates of
        SUPPA2 after its ``gene_id;`` (``MES`` is as in IsoformSwitchAnalyzeR, which SUPPA2 does
        not have). Columns ``event_type``; ``gene_id`` and ``gene_name``, several joined by ``,``;
        ``atse_id``, the one or two ATSEs of the junctions, joined by ``,``; ``chrom``,
        ``strand``; ``start`` and ``end`` of the region that its introns cover; ``exons``, the
        exons that the forms differ in (of alternative splice sites, the bases between) as
        ``start-end``, joined by ``,``; ``inclusion_junctions`` and ``exclusion_junctions``,
        names of junctions in ``adata``, joined by ``,``. Coordinates are 1-based and inclusive.

    Raises
    ------
    ValueError
        If a column of coordinates is missing or holds other values, counts are missing,
        ``min_usage`` is not between 0 and 1, or no contig is in the annotation.

    See Also
    --------
    event_psi : PSI of the events in each cell.

    References
    ----------
    Ids and inclusion forms: Trincado et al., *Genome Biology* 19, 40 (2018), SUPPA2, and the
    README of https://github.com/comprna/SUPPA. Types: Shen et al., *PNAS* 111, E5593 (2014),
    rMATS. MES: Vitting-Seerup & Sandelin, *Bioinformatics* 35, 4469 (2019).
    """
    var = check_anndata(adata).var
    check_inside("min_usage", min_usage, "[0, 1]")
    check_column("atse_key", atse_key, "var")
    reads = junction_reads(adata)
    table = introns(var)
    is_used = junctions_in_use(var, table, reads, min_usage) & ~joins_genes(var)
    annotated = None if annotation is None else AnnotatedParts.on_contigs_of(table, annotation)
    graph, genes = _graph(var, table, is_used, reads, annotated)
    names = _gene_names(var, annotation)
    atses = var[atse_key].astype(object).to_numpy() if atse_key in var else None
    return _table(local_events_of(graph, annotated), var.index, table, genes, names, atses)


def _graph(
    var: pd.DataFrame,
    table: Introns,
    is_used: np.ndarray,
    reads: np.ndarray,
    annotated: AnnotatedParts | None,
) -> tuple[LocalGraph, list[str]]:
    """Return the graph of the junctions in use, and the gene of each group."""
    rows = pd.DataFrame(
        {
            "strand_key": table.strand_key,
            "start": table.start,
            "end": table.end,
            "column": np.arange(len(var)),
            "reads": reads,
            "gene_id": "",
        }
    )
    sites = [rows[["strand_key", side]].drop_duplicates() for side in ("start", "end")]
    if "gene_id" in var:
        rows["gene_id"] = _split_genes(var)
    rows = rows[is_used].explode("gene_id")
    by = ["strand_key", "gene_id"]
    if annotated is not None:
        more = annotated.introns.assign(column=-1, reads=0)
        if "gene_id" not in var:
            more["gene_id"] = ""
        # Only of genes that are here, and only those that share no site with any junction.
        more = more.merge(rows[by].drop_duplicates(), on=by)
        for side, known in zip(("start", "end"), sites, strict=True):
            more = more.merge(known.assign(is_known=True), "left", on=["strand_key", side])
            more = more[more.pop("is_known").isna()]
        rows = pd.concat([rows, more], ignore_index=True)
    rows = rows.drop_duplicates([*by, "start", "end"])
    rows["group"] = rows.groupby(by).ngroup()
    groups = rows.drop_duplicates("group").sort_values("group")
    last = 0 if annotated is None else annotated.exons["end"].max()
    length = int(np.nanmax([last, rows["end"].max(), 0])) + 4
    graph = LocalGraph.of(rows, groups["strand_key"].to_numpy(np.int64), length)
    return graph, groups["gene_id"].astype(str).tolist()


def _split_genes(var: pd.DataFrame) -> list[list[str]]:
    """Return the genes of each junction, ``[""]`` if it has none."""
    genes = var["gene_id"].astype(object)
    texts = genes.where(genes.notna(), "").map(str)
    # A single gene may have a comma in its id.
    is_one = (var["n_genes"] == 1).to_numpy() if "n_genes" in var else np.zeros(len(var), bool)
    return [[text] if one else text.split(",") for text, one in zip(texts, is_one, strict=True)]


def _gene_names(var: pd.DataFrame, annotation: Annotation | None) -> dict[str, str]:
    """Return the name of each gene by its id."""
    names: dict[str, str] = {}
    if annotation is not None:
        genes = annotation.genes
        names = dict(zip(genes.index.astype(str), genes["gene_name"].astype(str), strict=True))
    if {"gene_id", "gene_name"} <= set(var.columns):
        pairs = var[["gene_id", "gene_name"]].astype(object).dropna().drop_duplicates()
        for gene_ids, gene_names in pairs.astype(str).itertuples(index=False):
            listed = gene_names.split(",")
            if len(listed) == len(gene_ids.split(",")):
                for gene_id, name in zip(gene_ids.split(","), listed, strict=True):
                    names.setdefault(gene_id, name)
    return names


def _table(
    events: Iterable[LocalEvent],
    junctions: pd.Index,
    table: Introns,
    genes: list[str],
    gene_names: dict[str, str],
    atses: np.ndarray | None,
) -> pd.DataFrame:
    """Tabulate events, those that are the same in several genes once."""
    names = junctions.astype(str).to_numpy(object)
    rows: dict[str, list[object]] = {}
    of_genes: dict[str, list[str]] = {}
    for event in events:
        members = [*event.inclusion, *event.exclusion]
        any_member = members[0]
        chrom, strand = table.chroms[table.chrom[any_member]], STRANDS[table.strand[any_member]]
        event_id = f"{CODES[event.event_type]}:{chrom}:{_coordinates(event)}:{strand}"
        of_genes.setdefault(event_id, []).append(genes[event.group])
        labels = [] if atses is None else [atses[i] for i in members if not pd.isna(atses[i])]
        rows[event_id] = [
            event.event_type,
            "",
            "",
            ",".join(dict.fromkeys(map(str, labels))),
            chrom,
            strand,
            min(start for start, _ in event.introns),
            max(end for _, end in event.introns),
            ",".join(f"{start}-{end}" for start, end in event.exons),
            ",".join(names[i] for i in event.inclusion),
            ",".join(names[i] for i in event.exclusion),
        ]
    for event_id, ids in of_genes.items():
        ids.sort()
        rows[event_id][1:3] = [",".join(ids), ",".join(gene_names.get(x, x) for x in ids)]
    index = pd.Index(list(rows), dtype=object, name="event_id")
    result = pd.DataFrame(list(rows.values()), index, _COLUMNS, dtype=object)
    result = result.astype({"start": np.int64, "end": np.int64})
    if atses is None:
        result = result.drop(columns="atse_id")
    rank = {name: i for i, name in enumerate(table.chroms)}
    order = np.lexsort(
        (
            result.index.to_numpy(str),
            result["end"],
            result["start"],
            result["chrom"].map(rank).to_numpy(np.int64),
        )
    )
    return result.iloc[order]


def _coordinates(event: LocalEvent) -> str:
    """Return the coordinates of an event as SUPPA2 writes them."""
    introns = [(start - 1, end + 1) for start, end in event.introns]
    if event.event_type not in (FIRST_EXON, LAST_EXON):
        return ":".join(f"{left}-{right}" for left, right in introns)
    parts = []
    for (start, end), (left, right) in zip(event.exons, introns, strict=True):
        parts.append(f"{start}:{left}-{right}" if end == left else f"{left}-{right}:{end}")
    return ":".join(parts)

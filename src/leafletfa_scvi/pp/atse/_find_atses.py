"""Finding ATSEs: the step that labels the junctions of an AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from leafletfa_scvi._constants import ATSE_KEY, ATSE_LABEL_KEY, DATASET_SLOT
from leafletfa_scvi._deprecated import renamed_arguments
from leafletfa_scvi.pp._table_deprecated import accepts_table
from leafletfa_scvi.pp.atse._graph import GIANT_SIZE, label_atses
from leafletfa_scvi.pp.atse._ids import atse_ids
from leafletfa_scvi.pp.qc._matrices import junction_reads, require_no_totals

if TYPE_CHECKING:
    from anndata import AnnData

    from leafletfa_scvi._choices import KeepOrDrop


@renamed_arguments(giant="giant_size")
@accepts_table(label_atses)
def find_atses(
    adata: AnnData,
    *,
    use_genes: bool = True,
    multi_gene: KeepOrDrop = "drop",
    no_gene: KeepOrDrop = "drop",
    unstranded: KeepOrDrop = "drop",
    read_through: KeepOrDrop = "drop",
    max_junctions: int | None = None,
    giant_size: int = GIANT_SIZE,
) -> None:
    """Label each junction with its ATSE, the junctions that share splice sites with it, in place.

    Splice sites are the nodes of a graph (contig, strand, gene, donor or acceptor, position) and
    junctions its edges; an ATSE is a connected component of at least two junctions. Without genes
    it is a component on one strand of a contig.

    The id of an ATSE is ``{gene_name}:{digest}``, or ``{chrom}:{start}-{end}:{strand}:{digest}``
    without genes. The digest, 12 hexadecimal digits, is computed from the names of its junctions:
    ATSEs of the same junctions have the same id in every data set, others never. The label
    is easier to read, ``{gene_id}:ATSE_{i}`` or ``{chrom}:{strand}:ATSE_{i}``, where i = 1, 2, ...
    along the genome, by the smallest start and then end; in another data set, the same label may
    be that of another ATSE.

    Parameters
    ----------
    adata
        Junction counts, with the columns ``chrom``, ``start`` and ``end`` (first and last base of
        the intron, 1-based and inclusive) and ``strand`` in ``var``.
    use_genes
        If True, junctions share a splice site only within a gene: ``var`` needs the columns of
        :func:`annotate_junctions`.
    multi_gene
        Treatment of junctions that several genes share: ``"drop"`` leaves them without a label.
        With ``"keep"``, genes that such junctions link, directly or through others, act as one;
        its id consists of theirs, sorted and joined by ``+``.
    no_gene
        Treatment of junctions of no gene: ``"drop"``, or ``"keep"`` to find ATSEs among them,
        named as without genes.
    unstranded
        Treatment of junctions of strand ``?``: ``"drop"``, or ``"keep"``. Those that share a
        splice site with junctions on a strand join their ATSE, with their gene, if these are on
        one strand and of one gene; so do those that share one with these, and so on. ATSEs are
        found among the others. Names and strands of junctions stay as they are.
    read_through
        Treatment of junctions that join genes (``joins_genes``, see :func:`annotate_junctions`):
        ``"drop"``, so that they neither link the ATSEs of the genes nor change their events, or
        ``"keep"``, to treat the genes that they join as one, as ``multi_gene`` does.
    max_junctions
        Split larger components (at least 2). The usage of a junction is the smaller of its shares
        of the reads at its donor and at its acceptor, in the whole component. Junctions with a
        usage below 1 % are removed from components that are too large, then those below 2 % from
        the pieces that still are, and so on. Removed junctions get no label, nor do pieces of one
        junction. If None, components are not split.
    giant_size
        Minimum number of junctions of an ATSE that the report lists as giant.

    Returns
    -------
    None
        ``var["atse_id"]`` holds the ids of ATSEs and ``var["atse_label"]`` their labels,
        categorical, missing for junctions in none.
        ``uns["splicing"]["atses"]`` reports numbers: ``junctions``, which are
        ``junctions_in_atses``, ``junctions_alone`` (no other shares a splice site),
        ``junctions_unstranded_dropped``, ``junctions_without_gene_dropped``,
        ``junctions_joining_genes_dropped``, ``junctions_of_several_genes_dropped`` and
        ``junctions_dropped_by_splitting``; ``junctions_repeated``; ``junctions_unstranded``,
        ``junctions_without_gene``, ``junctions_joining_genes`` and, other than these,
        ``junctions_of_several_genes``, dropped or not; ``junctions_unstranded_joined``, those
        that joined the ATSE whose splice site they share; ``atses``, ``atses_split``,
        ``largest_component_junctions`` before splitting, ``largest_atse_junctions``,
        ``giant_atses``. Numbers named ``reads`` are those of the same junctions, if ``X`` holds
        counts. ``largest_giant_atses`` maps the labels of the five largest giants to
        their numbers of junctions.

    Raises
    ------
    ValueError
        If a column is missing or holds other values, ``n_genes`` contradicts ``gene_id``, an
        argument is out of range, or ``adata`` has ATSE totals already.
    """
    require_no_totals(adata, "Find ATSEs of junction counts, before totals are summed.")
    labels, report = label_atses(
        adata.var,
        use_genes=use_genes,
        multi_gene=multi_gene,
        no_gene=no_gene,
        unstranded=unstranded,
        read_through=read_through,
        max_junctions=max_junctions,
        reads=None if adata.X is None else junction_reads(adata),
        giant_size=giant_size,
    )
    adata.var[ATSE_KEY] = pd.Categorical(atse_ids(adata.var, labels))
    adata.var[ATSE_LABEL_KEY] = pd.Categorical(labels)
    adata.uns[DATASET_SLOT] = {**adata.uns.get(DATASET_SLOT, {}), "atses": report}

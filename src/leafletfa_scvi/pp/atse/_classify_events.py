"""Classifying splicing events: the step that names the event of each ATSE of an AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from leafletfa_scvi._arguments import check_anndata, check_column
from leafletfa_scvi._constants import ATSE_KEY
from leafletfa_scvi.pp._table_deprecated import accepts_table
from leafletfa_scvi.pp.atse._events import event_types

if TYPE_CHECKING:
    from anndata import AnnData

    from leafletfa_scvi.pp.annotate._annotation import Annotation


@accepts_table(event_types)
def classify_events(
    adata: AnnData, *, annotation: Annotation | None = None, atse_key: str = ATSE_KEY
) -> None:
    """Classify the splicing event of each ATSE by its junctions, in place.

    Coordinates run from left to right along the genome, on either strand; ``a--b`` is the junction
    with first intron base a and last intron base b, 1-based. An exon between the junctions
    ``a--b`` and ``c--d`` is b+1 .. c-1 and has at least one base. Donor and acceptor are the left
    and the right end of an intron on ``+``, and the right and the left end on ``-``. The
    definitions are exact: an ATSE with one junction more or less is of another type.

    ``cassette_exon``: ``a--b``, ``c--d`` and ``a--d``, with one exon in between::

        =====a--b====c--d=====        a < b < c < d
        =====a----------d=====

    ``multi_exon_skip``: one junction skips several exons. Either the pattern of a cassette exon,
    but some intron ``x--y`` of the same strand lies between b and c and leaves an exon on either
    side (so one such intron is a path from b to c). It shares no splice site with the other
    three, so it is searched for among all junctions, including those in no ATSE, and among the
    introns of ``annotation``::

        =====a--b====x--y====c--d=====        a < b < x <= y < c < d
        =====a------------------d=====

    Or the ATSE consists of a row of at least three introns ``a--b``, ``c--d``, ``e--f``, ... and
    of junctions from the left end of one of them to the right end of a later one, at least one of
    which skips several exons, counted as above::

        =====a--b====c--d====e--f=====
        =====a----------d====e--f=====
        =====a------------------f=====

    ``mutually_exclusive_exons``: one exon or the other, ``a--b`` and ``c--d`` or ``a--e`` and
    ``f--d``; with ``c--e`` (both) or ``a--d`` (none) it is another type. The junctions that leave
    a share no splice site with those that arrive at d: they are two ATSEs, and both get this type
    if neither contains another junction, and no intron as above lies between b and c or between e
    and f. In the same way, one of three or more exons; and the same in a single ATSE, if labels
    join the two::

        =====a--b====c------------d=====        a < b < c <= e < f < d
        =====a-----------e====f---d=====

    ``alternative_5ss``: all junctions share their acceptor; ``alternative_3ss``: all share their
    donor::

        ===a-----b=====        alternative_5ss on +, alternative_3ss on -
        =====c---b=====

        =====a---b=====        alternative_3ss on +, alternative_5ss on -
        =====a-----c===

    ``alternative_first_exon``: as ``alternative_5ss``, and annotated first exons that do not
    overlap each other end at all donors (if several end at a donor, the shortest counts).
    ``alternative_last_exon``: as ``alternative_3ss``, and such last exons begin at all
    acceptors::

        [==a----------b=====        alternative_first_exon on +, alternative_last_exon on -
             [==c-----b=====        ([: where transcripts begin on +, and end on -)

        =====a-----b==]             alternative_last_exon on +, alternative_first_exon on -
        =====a----------c==]

    ``complex``: everything else; also junctions of strand ``?`` that share one site, and ATSEs of
    one junction, of several contigs or of both strands. In an ATSE with junctions on one strand,
    those of strand ``?`` are taken to be on it.

    Parameters
    ----------
    adata
        Junctions with the columns ``chrom``, ``start`` and ``end`` (first and last base of the
        intron, 1-based and inclusive), ``strand`` (``+``, ``-`` or ``?``) and ``atse_key`` in
        ``var``. Junctions without a label are known to have been observed.
    annotation
        Annotated introns and exons, of which those on ``+`` and ``-`` are used.
    atse_key
        Column of ``var`` with ATSE labels; missing for junctions in no ATSE.

    Returns
    -------
    None
        ``var["event_type"]`` holds the event type of the junction's ATSE, categorical, missing for
        junctions in none.

    Raises
    ------
    KeyError
        If ``var`` has no column ``atse_key``.
    ValueError
        If a column of coordinates is missing or holds other values.

    Notes
    -----
    The types are those of rMATS and SUPPA2, restated for junctions. Genes do not matter: an intron
    of an overlapping gene on the same strand indicates exons like any other.
    """
    var = check_anndata(adata).var
    if check_column("atse_key", atse_key, "var") not in var:
        raise KeyError(
            f"Expected ATSE labels in adata.var[{atse_key!r}], found the columns "
            f"{list(var.columns)}. Call find_atses first, or name the column with atse_key."
        )
    labels = var[atse_key].astype(object)
    var["event_type"] = pd.Categorical(labels.map(event_types(var, labels, annotation=annotation)))

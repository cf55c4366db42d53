"""Productive and unproductive splicing: what a junction does to the reading frame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_anndata
from leafletfa_scvi._constants import DATASET_SLOT
from leafletfa_scvi._contigs import match_contigs
from leafletfa_scvi._narrow_stubs import categorical
from leafletfa_scvi.pp._codes import FORWARD, STRANDS, UNSTRANDED
from leafletfa_scvi.pp._intervals import overlapping
from leafletfa_scvi.pp._junctions import introns
from leafletfa_scvi.pp.annotate._cds import read_coding_parts

if TYPE_CHECKING:
    import os

    from anndata import AnnData

    from leafletfa_scvi.pp._junctions import Introns

IN_FRAME: Final = "in_frame"
FRAME_SHIFT: Final = "frame_shift"
PRODUCTIVE: Final = "productive"
UNPRODUCTIVE: Final = "unproductive"


def annotate_productivity(adata: AnnData, gtf: str | os.PathLike[str]) -> None:
    """Predict from annotated coding sequences whether a junction leads to a protein, in place.

    Each base of an annotated coding sequence (CDS) is the first, second or third of a codon. A
    junction joins the last base of one exon to the first base of another: it keeps the frame if
    the two follow each other in a codon or between codons. If both bases are in coding sequences
    and do not follow each other in any combination of transcripts, the frame shifts: a stop codon
    follows soon, and nonsense-mediated decay (NMD) degrades the transcript, unless that stop is in
    the last exon or less than about 50 bases before its last junction.

    A junction is, by the first that applies:

    1. productive, if it is an intron of a transcript with a CDS, untranslated regions included;
    2. unproductive, if it is an intron of a transcript of type ``nonsense_mediated_decay`` or
       ``non_stop_decay`` (GENCODE, Ensembl);
    3. productive if it keeps the frame, and unproductive if it shifts it;
    4. without a prediction, as outside of coding sequences. In particular exons that are in no
       transcript with a CDS are not translated.

    Parameters
    ----------
    adata
        Junctions with the columns ``chrom``, ``start`` and ``end`` (first and last base of the
        intron, 1-based and inclusive) and ``strand`` in ``var``.
    gtf
        GTF or GFF3 file with lines of feature ``CDS``, plain, gzip or bgzip. Transcript types are
        taken from ``transcript_type``, ``transcript_biotype`` or ``biotype``; without types, rule
        2 never applies.

    Returns
    -------
    None
        ``var["reading_frame"]``: ``in_frame`` or ``frame_shift``, categorical, missing where a
        side of the junction is not in a CDS. ``var["productivity"]``: ``productive`` or
        ``unproductive``, missing without a prediction. ``uns["splicing"]["productivity"]``
        reports the numbers of junctions.

    Raises
    ------
    FileNotFoundError
        If there is no file ``gtf``.
    ValueError
        If a line is malformed (the message gives file and line), there is no CDS, a column of
        coordinates is missing or holds other values, or no contig is in the annotation.

    References
    ----------
    Productive and unproductive junctions: Fair et al., *Nature Genetics* 56, 1851 (2024),
    leafcutter2, which follows whole transcripts through the sequence of the genome. Frames: GTF
    2.2, https://mblab.wustl.edu/GTF22.html.
    """
    table = introns(check_anndata(adata).var)
    parts = read_coding_parts(Path(gtf))
    contigs = pd.unique(parts.cds["chrom"].to_numpy(object))
    contigs = pd.unique(np.concatenate([contigs, parts.introns["chrom"].to_numpy(object)]))
    matched = match_contigs(table.chroms, contigs, "the junctions", "the annotation")
    code = {theirs: table.chroms.index(ours) for ours, theirs in matched.items()}

    frame = _frames(table, _placed(parts.cds, code))
    annotated = _placed(parts.introns, code)
    columns = ["strand_key", "start", "end"]
    rows = pd.DataFrame(
        {"strand_key": table.strand_key, "start": table.start, "end": table.end}
    ).merge(annotated[[*columns, "coding", "decay"]], "left", on=columns)
    coding, decay = (rows[name].eq(True).to_numpy() for name in ("coding", "decay"))
    is_known = coding | decay
    productive = coding | (~is_known & (frame == 1))
    unproductive = ~productive & (decay | (~is_known & (frame == 2)))
    effect = np.where(productive, 0, np.where(unproductive, 1, -1))
    adata.var["reading_frame"] = categorical(frame - 1, [IN_FRAME, FRAME_SHIFT])
    adata.var["productivity"] = categorical(effect, [PRODUCTIVE, UNPRODUCTIVE])
    report = {
        "junctions": len(frame),
        "junctions_in_frame": int((frame == 1).sum()),
        "junctions_frame_shift": int((frame == 2).sum()),
        "junctions_productive": int(productive.sum()),
        "junctions_unproductive": int(unproductive.sum()),
    }
    earlier = adata.uns.get(DATASET_SLOT, {})
    adata.uns[DATASET_SLOT] = {**earlier, "productivity": report}


def _placed(table: pd.DataFrame, code: dict[str, int]) -> pd.DataFrame:
    """Select the rows on contigs of the data, with one number for contig and strand."""
    chrom = table["chrom"].map(code).to_numpy(np.float64, na_value=-1)
    key = (chrom * len(STRANDS) + table["strand"].to_numpy()).astype(np.int64)
    return table.assign(strand_key=key)[chrom >= 0]


def _frames(table: Introns, cds: pd.DataFrame) -> np.ndarray:
    """Return 1 for junctions that keep the frame, 2 for those that shift it, and 0."""
    is_forward = table.strand == FORWARD
    before = np.where(is_forward, table.start - 1, table.end + 1)
    after = np.where(is_forward, table.end + 1, table.start - 1)
    last, first = (_codon_positions(table.strand_key, base, cds) for base in (before, after))
    following = (last << 1 | last >> 2) & 7  # positions in the codon are 0, 1, 2, 0, ...
    is_coding = (last > 0) & (first > 0) & (table.strand != UNSTRANDED)
    frame: np.ndarray = np.where(following & first, 1, 2) * is_coding
    return frame


def _codon_positions(strand_key: np.ndarray, base: np.ndarray, cds: pd.DataFrame) -> np.ndarray:
    """Return the positions in codons that bases have in some transcript, one bit for each."""
    key, start, end, phase = (
        cds[name].to_numpy(np.int64) for name in ("strand_key", "start", "end", "phase")
    )
    length = max(int(end.max(initial=0)), int(base.max(initial=0))) + 1
    where = strand_key * length + base
    query, part = overlapping(key * length + start, key * length + end, where, where)
    is_forward = key[part] % len(STRANDS) == FORWARD
    offset = np.where(is_forward, base[query] - start[part], end[part] - base[query])
    positions = np.zeros(len(base), np.int64)
    np.bitwise_or.at(positions, query, 1 << (offset - phase[part]) % 3)
    return positions

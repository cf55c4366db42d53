"""Strands of junctions that have none, and splice motifs from the genome."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pysam
import scipy.sparse as sp
from anndata import AnnData

from leafletfa_scvi._arguments import check_anndata, check_file
from leafletfa_scvi._constants import CLUSTER_LAYER, DATASET_SLOT
from leafletfa_scvi.data._layers import named_layers
from leafletfa_scvi.pp._codes import FORWARD, MOTIFS, REVERSE, STRANDS, UNSTRANDED
from leafletfa_scvi.pp._contigs import match_contigs
from leafletfa_scvi.pp._junctions import introns
from leafletfa_scvi.pp._text import line_error, open_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leafletfa_scvi.pp.annotate._annotation import Annotation

_IS_BASE: Final = np.isin(np.arange(256), list(b"ACGTUNRYSWKMBDHVX-*."))
_WINDOW: Final = 1 << 20
"""Bases of the genome that are read at once."""
_MAX_NAME: Final = 1 << 20
"""Bytes of the first line of a genome."""

_FORWARD_ENDS: Final = {b"GTAG": 2, b"GCAG": 3, b"ATAC": 4}
_REVERSE_ENDS: Final = {b"CTAC": 2, b"CTGC": 3, b"GTAT": 4}
"""First and last two bases of the intron on the forward strand, and the code of the motif."""


def splice_motifs(
    junctions: pd.DataFrame, genome: str | os.PathLike[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Splice motif of each junction, and the strand that its motif implies.

    Parameters
    ----------
    junctions
        J rows with columns ``chrom``, ``start``, ``end`` (first and last base of the intron,
        1-based inclusive) and ``strand``.
    genome
        FASTA file, plain or bgzip. Its ``.fai`` is used if it is there and not older than the
        file; else an index is made in a temporary folder and removed again. Contigs are matched
        by :func:`match_contigs`.

    Returns
    -------
    motif
        ``(J,)`` int8, position in ``MOTIFS``, on the junction's own strand; junctions of strand
        ``"?"`` have that of the strand implied. ``unknown`` where the contig is not in the
        genome or a base is not A, C, G or T.
    strand
        ``(J,)`` int8, position in ``STRANDS``: ``+`` for GT-AG, GC-AG and AT-AC on the forward
        strand, ``-`` for CT-AC, CT-GC and GT-AT (their reverse complements), ``?`` for others.

    Raises
    ------
    ValueError
        An intron ends beyond its contig, the genome cannot be read, or no contig matches.
    """
    where = introns(junctions)
    own = where.strand
    ends = _read_ends(where.contig, where.start, where.end, own, genome)
    implied = ends.implied()
    return ends.motif(np.where(own == UNSTRANDED, implied, own)), implied


@dataclass(frozen=True)
class _Ends:
    """What the ends of J introns say: ``(J,)`` codes of the canonical motif, or 0."""

    forward: np.ndarray
    reverse: np.ndarray
    is_read: np.ndarray
    unmatched_contigs: int

    def implied(self) -> np.ndarray:
        """Strand on which the motif is canonical."""
        strand = np.where(self.reverse > 0, REVERSE, UNSTRANDED)
        return np.where(self.forward > 0, FORWARD, strand).astype(np.int8)

    def motif(self, strand: np.ndarray) -> np.ndarray:
        """Motif on a strand; without strand, and no motif to imply it, there is none."""
        motif = np.where(strand == REVERSE, self.reverse, self.forward)
        motif[(motif == 0) & self.is_read] = MOTIFS.index("non-canonical")
        return motif.astype(np.int8)


def _read_ends(
    contig: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    strand: np.ndarray,
    genome: str | os.PathLike[str],
) -> _Ends:
    """Compare both ends of each intron in the genome with the canonical motifs."""
    letters = np.full((len(start), 4), ord("N"), np.uint8)
    names = pd.unique(contig)
    with open_genome(genome) as fasta:
        matched = match_contigs(names, fasta.references, "the junctions", str(genome))
        for name, group in pd.Series(np.arange(len(start))).groupby(contig):
            if name not in matched:
                continue
            rows = group.to_numpy()
            length = fasta.get_reference_length(matched[name])
            if (beyond := end[rows] > length).any():
                i = rows[beyond.argmax()]
                raise ValueError(
                    f"Junction {name}:{start[i]}-{end[i]}:{STRANDS[strand[i]]} ends beyond contig "
                    f"{matched[name]!r} of {genome}, which has {length:,} bases. This is not the "
                    "genome build that the reads were aligned to."
                )
            rows = rows[end[rows] > start[rows]]  # a single base has no motif
            letters[rows, :2] = _dinucleotides(fasta, genome, matched[name], start[rows])
            letters[rows, 2:] = _dinucleotides(fasta, genome, matched[name], end[rows] - 1)
    text = letters.view("S4").ravel()
    forward, reverse = np.zeros(len(text), np.int8), np.zeros(len(text), np.int8)
    for codes, known in ((forward, _FORWARD_ENDS), (reverse, _REVERSE_ENDS)):
        for motif, code in known.items():
            codes[text == motif] = code
    is_read = np.all(np.isin(letters, list(b"ACGT")), axis=1)
    return _Ends(forward, reverse, is_read, len(names) - len(matched))


def _dinucleotides(
    fasta: pysam.FastaFile, genome: str | os.PathLike[str], contig: str, position: np.ndarray
) -> np.ndarray:
    """``(J, 2)`` upper-case letters, as bytes, of the two bases from each 1-based position on."""
    found = np.empty((len(position), 2), np.uint8)
    order = np.argsort(position, kind="stable")
    window = (position[order] - 1) // _WINDOW
    for rows in np.split(order, np.flatnonzero(np.diff(window)) + 1):
        if not len(rows):
            continue
        begin, stop = int(position[rows[0]]) - 1, int(position[rows[-1]]) + 1
        letters = _letters(fasta, genome, contig, begin, stop)
        offset = position[rows] - 1 - begin
        found[rows, 0], found[rows, 1] = letters[offset], letters[offset + 1]
    return found


def _letters(
    fasta: pysam.FastaFile, genome: str | os.PathLike[str], contig: str, begin: int, stop: int
) -> np.ndarray:
    """``(stop - begin,)`` upper-case letters of bases, as bytes."""
    try:
        letters = np.frombuffer(fasta.fetch(contig, begin, stop).upper().encode(), np.uint8)
    except (UnicodeDecodeError, OSError):
        letters = np.empty(0, np.uint8)
    if len(letters) != stop - begin or not _IS_BASE[letters].all():
        raise ValueError(
            f"{os.fspath(genome)} holds no bases between {begin + 1:,} and {stop:,} of contig "
            f"{contig!r}, or not only bases: the file is damaged, or its index (.fai) is that of "
            "another. Copy or make it anew."
        )
    return letters


def _check_first_line(path: Path) -> None:
    """Refuse a first line without end, of which pysam would keep all as the name of a contig."""
    with open_bytes(os.fspath(path)) as file:
        start = file.read(_MAX_NAME)
    if len(start) == _MAX_NAME and b"\n" not in start:
        raise line_error(
            os.fspath(path),
            1,
            f"is longer than {_MAX_NAME:,} bytes: expected FASTA, which begins with the name of a "
            "contig in a line of its own.",
        )


@contextmanager
def open_genome(path: str | os.PathLike[str]) -> Iterator[pysam.FastaFile]:
    """Open a FASTA file for random access without writing beside it."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no genome at {path}.")
    check_file(path, "FASTA file")
    _check_first_line(path)
    with tempfile.TemporaryDirectory() as folder:
        # The index, if it must be made, is made beside this link.
        link = Path(folder) / path.name
        link.symlink_to(path.resolve())
        indexes = [Path(f"{path}{suffix}") for suffix in (".fai", ".gzi")]
        indexes = indexes if path.suffix in (".gz", ".bgz", ".bgzf") else indexes[:1]
        if all(
            index.is_file() and index.stat().st_mtime >= path.stat().st_mtime for index in indexes
        ):
            for index in indexes:
                Path(f"{link}{index.suffix}").symlink_to(index.resolve())
        previous = pysam.set_verbosity(0)
        try:
            fasta = pysam.FastaFile(os.fspath(link))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{path} cannot be read as a genome: expected FASTA with lines of one length in "
                "each contig, plain or compressed by bgzip (gzip will not do)."
            ) from error
        finally:
            pysam.set_verbosity(previous)
        with fasta:
            yield fasta


def resolve_strands(
    adata: AnnData,
    annotation: Annotation | None = None,
    genome: str | os.PathLike[str] | None = None,
) -> AnnData:
    """Give a strand to junctions that have none, and merge those that become the same.

    A junction of strand ``"?"`` takes the strand of, in this order,

    1. its twin, the junction of the same contig, start and end on ``+`` or ``-``, if there is
       exactly one,
    2. the annotated introns of the same contig, start and end, if all are on one strand,
    3. its splice motif in the genome: GT-AG, GC-AG and AT-AC, or their reverse complements.

    Others keep ``"?"``. Counts of junctions that have the same name afterwards are summed, in
    ``X`` and in every layer.

    Parameters
    ----------
    adata
        Cells x junctions, counts in ``X`` (sparse), with ``var`` columns ``chrom``, ``start``,
        ``end`` (first and last base of the intron, 1-based inclusive) and ``strand``. Not
        changed. ATSEs must not have been made yet.
    annotation
        From :func:`read_annotation`; without, rule 2 finds nothing.
    genome
        FASTA file, see :func:`splice_motifs`; without, rule 3 finds nothing.

    Returns
    -------
    AnnData
        A new object, junctions in natural order of contigs, then by start, end and strand
        (``?``, ``+``, ``-``), named ``chrom:start-end:strand``. Further columns of ``var`` are
        those of the stranded junction where two are merged; annotate afterwards. With a genome,
        ``var["motif"]`` holds the motif on the strand of the junction wherever it was unknown.

        ``uns["splicing"]["strand"]`` reports how many junctions were ``unstranded``,
        ``merged_into_twin``, resolved ``by_annotation`` and ``by_motif``, and
        ``left_unstranded``; for each, ``reads_...``, the sum of their counts in ``X``; and
        ``junctions_before`` and ``junctions_after``. With an annotation or genome,
        ``annotation_unmatched_contigs`` or ``genome_unmatched_contigs`` counts contigs that are
        not in it; with a genome, ``strand_against_motif`` counts the junctions afterwards whose
        motif is canonical on the opposite strand, and their reads.

    Raises
    ------
    ValueError
        Columns of ``var`` are missing or malformed, ``adata`` has ATSE totals, no contig matches
        the annotation or genome, or an intron ends beyond its contig.
    """
    if CLUSTER_LAYER in check_anndata(adata).layers:
        raise ValueError(
            f"adata has ATSE totals in layer {CLUSTER_LAYER!r}, which would not be those of the "
            "merged junctions. Resolve strands of junction counts, then make ATSEs."
        )
    if adata.X is None:
        raise ValueError("adata has no X: expected the junction counts there.")
    where = introns(adata.var)
    contig, start, end, strand = where.contig, where.start, where.end, where.strand
    report: Counter[str] = Counter()

    # Each rule answers with a strand for each junction; the first that has one counts.
    rules = {"merged_into_twin": _twin_strand(where.chrom, start, end, strand)}
    if annotation is not None:
        rules["by_annotation"], report["annotation_unmatched_contigs"] = _annotated_strand(
            contig, start, end, annotation
        )
    ends = None
    if genome is not None:
        ends = _read_ends(contig, start, end, strand, genome)
        rules["by_motif"] = ends.implied()
        report["genome_unmatched_contigs"] = ends.unmatched_contigs
    reads = np.asarray(adata.X.sum(axis=0)).ravel().astype(np.int64)
    resolved, left = strand.copy(), strand == UNSTRANDED
    _count(report, "unstranded", left, reads)
    for name in ("merged_into_twin", "by_annotation", "by_motif"):
        answer = rules.get(name, np.zeros(len(strand), np.int8))
        chosen = left & (answer != UNSTRANDED)
        resolved[chosen] = answer[chosen]
        left &= ~chosen
        _count(report, name, chosen, reads)
    _count(report, "left_unstranded", left, reads)

    # Junctions that are the same now lie side by side, those that had a strand first.
    order = np.lexsort((strand == UNSTRANDED, resolved, end, start, where.chrom))
    new = np.ones(len(order), bool)
    new[1:] = False
    for values in (where.chrom, start, end, resolved):
        new[1:] |= np.diff(values[order]) != 0
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(new) - 1
    first = order[new]
    var = adata.var.iloc[first].copy()
    names = np.array(STRANDS, object)[resolved[first]]
    is_categorical = isinstance(var["strand"].dtype, pd.CategoricalDtype)
    var["strand"] = pd.Categorical(names, STRANDS) if is_categorical else names
    places = zip(contig[first], start[first], end[first], names, strict=True)
    var.index = pd.Index([f"{c}:{s}-{e}:{sign}" for c, s, e, sign in places], dtype=object)
    motif = _motifs(adata.var.get("motif"), group, first)
    if ends is not None:
        read = ends.motif(resolved)[first]
        motif = read if motif is None else np.where(motif == 0, read, motif)
        implied = rules["by_motif"][first]
        is_against = (implied != resolved[first]) & (implied != UNSTRANDED)
        is_against &= resolved[first] != UNSTRANDED
        _count(report, "strand_against_motif", is_against, np.bincount(group, reads))
    if motif is not None:
        var["motif"] = np.array(MOTIFS, object)[motif]
    report["junctions_before"], report["junctions_after"] = len(order), len(first)
    return _summed(adata, group, first, var, report)


def _count(report: Counter[str], name: str, chosen: np.ndarray, reads: np.ndarray) -> None:
    report[name], report[f"reads_{name}"] = int(chosen.sum()), int(reads[chosen].sum())


def _only_strand(on_forward: np.ndarray, on_reverse: np.ndarray) -> np.ndarray:
    """The strand on which something is, where it is on one alone."""
    strand = np.where(on_forward, FORWARD, REVERSE)
    return np.where(on_forward ^ on_reverse, strand, UNSTRANDED)


def _twin_strand(
    place: np.ndarray, start: np.ndarray, end: np.ndarray, strand: np.ndarray
) -> np.ndarray:
    """Strand of the only stranded junction with the same contig, start and end."""
    junctions = pd.DataFrame({"place": place, "start": start, "end": end})
    for name, code in (("forward", FORWARD), ("reverse", REVERSE)):
        junctions[name] = strand == code
    twins = junctions.groupby(["place", "start", "end"], sort=False)[["forward", "reverse"]]
    found = twins.transform("any")
    return _only_strand(found["forward"].to_numpy(bool), found["reverse"].to_numpy(bool))


def _annotated_strand(
    contig: np.ndarray, start: np.ndarray, end: np.ndarray, annotation: Annotation
) -> tuple[np.ndarray, int]:
    """Strand of the annotated introns with the same place, and the number of unknown contigs."""
    names = pd.unique(contig)
    reference = annotation.genes["chrom"].astype(object)
    matched = match_contigs(names, reference, "the junctions", "the annotation")
    chrom = pd.Series(contig, dtype=object).map(matched).astype(object)
    junctions = pd.DataFrame({"chrom": chrom, "start": start, "end": end})
    annotated = annotation.introns[["chrom", "start", "end", "strand"]].astype(
        {"chrom": object, "strand": object}
    )
    found = []
    for code in (FORWARD, REVERSE):
        distinct = annotated.loc[annotated["strand"] == STRANDS[code], ["chrom", "start", "end"]]
        joined = junctions.merge(distinct.drop_duplicates(), how="left", indicator=True)
        found.append((joined["_merge"] == "both").to_numpy() & junctions["chrom"].notna())
    return _only_strand(*map(np.asarray, found)), len(names) - len(matched)


def _motifs(given: pd.Series | None, group: np.ndarray, first: np.ndarray) -> np.ndarray | None:
    """Code of the motif of merged junctions: that of the first, or what others know of it."""
    if given is None:
        return None
    code = pd.Index(MOTIFS, dtype=object).get_indexer(given.astype(object))
    if (wrong := code < 0).any():
        raise ValueError(
            f"Junction {given.index[wrong.argmax()]!r} has motif {given.iloc[wrong.argmax()]!r}: "
            f"expected one of {', '.join(MOTIFS)}."
        )
    best = np.zeros(len(first), np.int64)
    np.maximum.at(best, group, code)
    return np.where(code[first] > 0, code[first], best)


def _summed(
    adata: AnnData, group: np.ndarray, first: np.ndarray, var: pd.DataFrame, report: Counter[str]
) -> AnnData:
    """New object with the counts of each group of junctions summed."""
    shape = (len(group), len(first))
    member = sp.csr_matrix((np.ones(len(group), np.int64), (np.arange(len(group)), group)), shape)

    def summed(values: Any) -> sp.csr_matrix:
        total = sp.csr_matrix(values) @ member
        total.sort_indices()
        if values.dtype.kind in "iu" and total.nnz and total.max() > np.iinfo(values.dtype).max:
            raise ValueError(f"A sum of counts is {total.max():,}, too much for {values.dtype}.")
        return total.astype(values.dtype)

    uns = deepcopy(dict(adata.uns))
    uns[DATASET_SLOT] = {**uns.get(DATASET_SLOT, {}), "strand": dict(report)}
    return AnnData(
        X=summed(adata.X),
        obs=adata.obs.copy(),
        var=var,
        uns=uns,
        layers={name: summed(values) for name, values in named_layers(adata).items()},
        obsm={name: values.copy() for name, values in adata.obsm.items()},
        obsp={name: values.copy() for name, values in adata.obsp.items()},
        varm={
            name: values.iloc[first] if hasattr(values, "iloc") else values[first]
            for name, values in adata.varm.items()
        },
    )

"""Splice motifs: the ends of introns in the genome."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
import pysam

from leafletfa_scvi._arguments import check_anndata, check_file
from leafletfa_scvi._contigs import match_contigs
from leafletfa_scvi._narrow_stubs import categorical
from leafletfa_scvi.pp._codes import FORWARD, MOTIFS, REVERSE, STRANDS, UNSTRANDED
from leafletfa_scvi.pp._junctions import introns, junction_name
from leafletfa_scvi.pp._table_deprecated import accepts_table
from leafletfa_scvi.pp._text import line_error, open_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

_IS_BASE: Final = np.isin(np.arange(256), list(b"ACGTUNRYSWKMBDHVX-*."))
_WINDOW: Final = 1 << 20
"""Number of bases of the genome that are read at once."""
_MAX_NAME: Final = 1 << 20
"""Maximum number of bytes of the first line of a genome."""

_FORWARD_ENDS: Final = {b"GTAG": 2, b"GCAG": 3, b"ATAC": 4}
_REVERSE_ENDS: Final = {b"CTAC": 2, b"CTGC": 3, b"GTAT": 4}
"""First and last two bases of the intron on the forward strand, and the code of the motif."""


def motifs_and_strands(
    junctions: pd.DataFrame, genome: str | os.PathLike[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Find the splice motif of each junction of a table, and the strand that the motif implies.

    Parameters
    ----------
    junctions
        J rows with columns ``chrom``, ``start``, ``end`` (first and last base of the intron,
        1-based inclusive) and ``strand``.
    genome
        FASTA file, as in :func:`splice_motifs`.

    Returns
    -------
    motif
        ``(J,)`` int8, position in ``MOTIFS``, on the strand of the junction, or for ``"?"`` on the
        strand implied. ``unknown`` if the contig is not in the genome or a base is not A, C, G or
        T.
    strand
        ``(J,)`` int8, position in ``STRANDS``: ``+`` for GT-AG, GC-AG and AT-AC on the forward
        strand, ``-`` for CT-AC, CT-GC and GT-AT (their reverse complements), ``?`` for others.

    Raises
    ------
    ValueError
        If an intron ends beyond its contig, the genome cannot be read, or no contig matches.
    """
    table = introns(junctions)
    ends = read_intron_ends(table.contig, table.start, table.end, table.strand, genome)
    implied = ends.implied()
    return ends.motif(np.where(table.strand == UNSTRANDED, implied, table.strand)), implied


@accepts_table(motifs_and_strands)
def splice_motifs(adata: AnnData, genome: str | os.PathLike[str]) -> None:
    """Write the splice motif of each junction into ``adata.var``, in place.

    :func:`resolve_strands` with a genome does so, too, for junctions of unknown motif.

    Parameters
    ----------
    adata
        Junctions, with the columns ``chrom``, ``start`` and ``end`` (first and last base of the
        intron, 1-based and inclusive) and ``strand`` in ``var``.
    genome
        FASTA file, plain or bgzip. Its ``.fai`` index is used unless it is older than the file;
        otherwise an index is made in a temporary folder. Contigs may be named with or without
        ``chr``.

    Returns
    -------
    None
        ``var["motif"]`` holds ``"GT-AG"``, ``"GC-AG"``, ``"AT-AC"``, ``"non-canonical"`` or
        ``"unknown"``, categorical, on the strand of the junction, or for ``"?"`` on the strand
        that the motif implies. It is ``"unknown"`` if the contig is not in the genome or a base is
        not A, C, G or T.

    Raises
    ------
    ValueError
        If an intron ends beyond its contig, the genome cannot be read, or no contig matches.
    """
    motif, _ = motifs_and_strands(check_anndata(adata).var, genome)
    adata.var["motif"] = categorical(motif, list(MOTIFS))


@dataclass(frozen=True)
class IntronEnds:
    """Motifs at the ends of J introns.

    Attributes
    ----------
    forward, reverse
        ``(J,)`` code of the canonical motif on this strand, or 0.
    is_read
        ``(J,)`` true if all four bases are A, C, G or T.
    n_unmatched_contigs
        Number of contigs of junctions that are not in the genome.
    """

    forward: np.ndarray
    reverse: np.ndarray
    is_read: np.ndarray
    n_unmatched_contigs: int

    def implied(self) -> np.ndarray:
        """Return the strand on which the motif is canonical."""
        strand = np.where(self.reverse > 0, REVERSE, UNSTRANDED)
        return np.where(self.forward > 0, FORWARD, strand).astype(np.int8)

    def motif(self, strand: np.ndarray) -> np.ndarray:
        """Return the motif on a strand."""
        motif = np.where(strand == REVERSE, self.reverse, self.forward)
        motif[(motif == 0) & self.is_read] = MOTIFS.index("non-canonical")
        return motif.astype(np.int8)


def read_intron_ends(
    contig: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    strand: np.ndarray,
    genome: str | os.PathLike[str],
) -> IntronEnds:
    """Compare both ends of each intron in the genome with the canonical motifs."""
    letters = np.full((len(start), 4), ord("N"), np.uint8)
    names = pd.unique(contig)
    with open_genome(genome) as fasta:
        matched = match_contigs(names, fasta.references, "the junctions", str(genome))
        for name, group in pd.Series(np.arange(len(start))).groupby(contig):
            assert isinstance(name, str)
            if name not in matched:
                continue
            rows = group.to_numpy()
            length = fasta.get_reference_length(matched[name])
            if (beyond := end[rows] > length).any():
                i = rows[beyond.argmax()]
                junction = junction_name(name, start[i], end[i], STRANDS[strand[i]])
                raise ValueError(
                    f"Junction {junction} ends beyond contig {matched[name]!r} of {genome}, which "
                    f"has {length:,} bases. Pass the genome build that the reads were aligned to."
                )
            rows = rows[end[rows] > start[rows]]  # a single base has no motif
            letters[rows, :2] = _dinucleotides(fasta, genome, matched[name], start[rows])
            letters[rows, 2:] = _dinucleotides(fasta, genome, matched[name], end[rows] - 1)
    text = letters.view("S4").ravel()
    forward, reverse = np.zeros(len(text), np.int8), np.zeros(len(text), np.int8)
    for codes, ends in ((forward, _FORWARD_ENDS), (reverse, _REVERSE_ENDS)):
        for motif, code in ends.items():
            codes[text == motif] = code
    is_read = np.all(np.isin(letters, list(b"ACGT")), axis=1)
    return IntronEnds(forward, reverse, is_read, len(names) - len(matched))


def _dinucleotides(
    fasta: pysam.FastaFile, genome: str | os.PathLike[str], contig: str, position: np.ndarray
) -> np.ndarray:
    """Read the two bases from each 1-based position on, ``(J, 2)`` upper-case bytes."""
    bases = np.empty((len(position), 2), np.uint8)
    order = np.argsort(position, kind="stable")
    window = (position[order] - 1) // _WINDOW
    for rows in np.split(order, np.flatnonzero(np.diff(window)) + 1):
        if not len(rows):
            continue
        begin, stop = int(position[rows[0]]) - 1, int(position[rows[-1]]) + 1
        letters = _letters(fasta, genome, contig, begin, stop)
        offset = position[rows] - 1 - begin
        bases[rows, 0], bases[rows, 1] = letters[offset], letters[offset + 1]
    return bases


def _letters(
    fasta: pysam.FastaFile, genome: str | os.PathLike[str], contig: str, begin: int, stop: int
) -> np.ndarray:
    """Read bases as upper-case bytes, ``(stop - begin,)``."""
    try:
        letters = np.frombuffer(fasta.fetch(contig, begin, stop).upper().encode(), np.uint8)
    except (UnicodeDecodeError, OSError):
        letters = np.empty(0, np.uint8)
    if len(letters) != stop - begin or not _IS_BASE[letters].all():
        raise ValueError(
            f"{os.fspath(genome)} holds no bases between {begin + 1:,} and {stop:,} of contig "
            f"{contig!r}, or not only bases: the file is damaged, or its index (.fai) is that of "
            "another. Copy it again or regenerate it."
        )
    return letters


def _check_first_line(path: Path) -> None:
    """Refuse an endless first line, all of which pysam would keep as the name of a contig."""
    with open_bytes(os.fspath(path)) as file:
        start = file.read(_MAX_NAME)
    if len(start) == _MAX_NAME and b"\n" not in start:
        raise line_error(
            os.fspath(path),
            1,
            f"is longer than {_MAX_NAME:,} bytes: expected FASTA, which begins with a line that "
            "names a contig.",
        )


@contextmanager
def open_genome(path: str | os.PathLike[str]) -> Iterator[pysam.FastaFile]:
    """Open a FASTA file for random access without writing beside it."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"Expected a genome at {path}, found nothing.")
    check_file(path, "FASTA file")
    _check_first_line(path)
    with tempfile.TemporaryDirectory() as folder:
        # pysam writes a missing index beside the file that it opens: beside this link.
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

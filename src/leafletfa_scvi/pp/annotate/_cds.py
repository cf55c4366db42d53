"""Coding sequences and introns of transcripts, as lines of a GTF or GFF3 file give them."""

from __future__ import annotations

import os
import re
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from leafletfa_scvi.pp._text import line_error, read_blocks, whole_number
from leafletfa_scvi.pp.annotate._attributes import Attributes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TYPES: Final = ("transcript_type", "transcript_biotype", "biotype")
_STRANDS: Final = {b"+": 1, b"-": 2}
_DECAY: Final = frozenset({b"nonsense_mediated_decay", b"non_stop_decay"})
"""Types of transcripts that GENCODE and Ensembl predict to be degraded."""


@dataclass(frozen=True)
class CodingParts:
    """Introns and coding sequences; all coordinates 1-based and inclusive.

    Attributes
    ----------
    introns
        Distinct ``chrom``, ``strand`` (code), ``start`` and ``end``, with the flags ``coding``,
        of some transcript with a coding sequence that is not degraded, and ``decay``, of some
        transcript that is.
    cds
        Distinct parts of coding sequences of transcripts that are not degraded: ``chrom``,
        ``strand``, ``start``, ``end`` and ``phase``, the number of bases before the first codon
        that begins in the part.
    """

    introns: pd.DataFrame
    cds: pd.DataFrame


@dataclass
class _Lines:
    """Exons, or parts of coding sequences, of transcripts."""

    transcript: array[int] = field(default_factory=lambda: array("q"))
    start: array[int] = field(default_factory=lambda: array("q"))
    end: array[int] = field(default_factory=lambda: array("q"))
    phase: array[int] = field(default_factory=lambda: array("q"))

    def add(self, transcript: int, start: int, end: int, phase: int) -> None:
        self.transcript.append(transcript)
        self.start.append(start)
        self.end.append(end)
        self.phase.append(phase)

    def table(self) -> pd.DataFrame:
        names = ("transcript", "start", "end", "phase")
        return pd.DataFrame({name: np.array(getattr(self, name), np.int64) for name in names})


def read_coding_parts(path: Path) -> CodingParts:
    """Read a GTF or GFF3 file, plain, gzip or bgzip; raises as ``annotate_productivity`` does."""
    name = os.fspath(path)
    parts = {b"exon": _Lines(), b"CDS": _Lines()}
    codes: dict[tuple[bytes, int, bytes], int] = {}
    types: dict[bytes, bytes] = {}
    find: Attributes | None = None
    for number, fields in _features(name):
        feature, text = fields[2], fields[8]
        if find is None:
            find = Attributes(is_gff3=bool(re.match(rb'[^\s="]+=', text.strip())))
        if feature not in parts:
            if find.is_gff3 or feature == b"transcript":
                identifier = find.get(text, "ID" if find.is_gff3 else "transcript_id")
                if value := find.first(text, _TYPES):
                    types.setdefault(identifier, value)
            continue
        start, end, phase = _numbers(name, number, fields)
        if fields[6] not in _STRANDS:
            continue
        transcripts = find.get(text, "Parent" if find.is_gff3 else "transcript_id")
        for transcript in transcripts.split(b",") if find.is_gff3 else [transcripts]:
            if not transcript:
                raise line_error(name, number, "the line names no transcript.")
            key = (fields[0], _STRANDS[fields[6]], transcript)
            parts[feature].add(codes.setdefault(key, len(codes)), start, end, phase)
            if transcript not in types and (value := find.first(text, _TYPES)):
                types[transcript] = value
    if not parts[b"CDS"].start:
        raise ValueError(
            f"{name} has no line of feature 'CDS' on a strand: reading frames cannot be derived "
            "without. Use the full GTF or GFF3 of GENCODE, Ensembl or NCBI."
        )
    return _parts(parts, list(codes), types)


def _features(name: str) -> Iterator[tuple[int, list[bytes]]]:
    """Yield number and columns of the lines of a GTF or GFF3 file that describe features."""
    for block in read_blocks(name):
        for number, line in block.lines():
            if line.startswith(b"##FASTA"):
                return
            if line.startswith((b"#", b"track ", b"browser ")) or not line.strip():
                continue
            fields = line.split(b"\t")
            if len(fields) != 9:
                raise line_error(
                    name,
                    number,
                    f"{len(fields)} columns, expected the 9 tab-separated columns of GTF or GFF3. "
                    "Is the file complete, and is it an annotation?",
                )
            yield number, fields


def _numbers(name: str, number: int, fields: list[bytes]) -> tuple[int, int, int]:
    """Return first and last base and frame of a line; 0 for the frame of an exon."""
    start, end = whole_number(fields[3]), whole_number(fields[4])
    if start is None or end is None or not 1 <= start <= end:
        first, last = (text.decode("utf-8", "backslashreplace") for text in fields[3:5])
        raise line_error(
            name, number, f"start {first!r} and end {last!r} in columns 4 and 5 are no interval."
        )
    if fields[2] == b"exon":
        return start, end, 0
    if fields[7] not in (b"0", b"1", b"2"):
        found = fields[7].decode("utf-8", "backslashreplace")
        raise line_error(
            name,
            number,
            f"Expected the frame of a CDS in column 8 to be 0, 1 or 2, found {found!r}. Use the "
            "GTF or GFF3 of GENCODE or Ensembl.",
        )
    return start, end, int(fields[7])


def _parts(
    parts: dict[bytes, _Lines], keys: list[tuple[bytes, int, bytes]], types: dict[bytes, bytes]
) -> CodingParts:
    """Derive introns from exons, and drop coding sequences of degraded transcripts."""
    chrom = np.array([key[0].decode("utf-8", "replace") for key in keys], object)
    strand = np.array([key[1] for key in keys])
    is_decay = np.array([types.get(key[2], b"") in _DECAY for key in keys])
    cds = parts[b"CDS"].table()
    is_coding = np.zeros(len(keys), bool)
    is_coding[cds["transcript"]] = True
    is_coding &= ~is_decay

    exons = parts[b"exon"].table().sort_values(["transcript", "start"], ignore_index=True)
    transcript = exons["transcript"].to_numpy()
    before = np.flatnonzero(transcript[1:] == transcript[:-1])
    introns = pd.DataFrame(
        {
            "transcript": transcript[before],
            "start": exons["end"].to_numpy()[before] + 1,
            "end": exons["start"].to_numpy()[before + 1] - 1,
        }
    )
    introns = introns[introns["start"] <= introns["end"]]
    cds = cds[is_coding[cds["transcript"]]]
    for table in (introns, cds):
        table.insert(0, "chrom", chrom[table["transcript"]])
        table.insert(1, "strand", strand[table["transcript"]])
    introns = introns.assign(
        coding=is_coding[introns["transcript"]], decay=is_decay[introns["transcript"]]
    )
    place = ["chrom", "strand", "start", "end"]
    return CodingParts(
        introns.groupby(place, as_index=False)[["coding", "decay"]].any(),
        cds[[*place, "phase"]].drop_duplicates(ignore_index=True),
    )

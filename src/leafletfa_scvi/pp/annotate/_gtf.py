"""Exons, transcripts and genes as lines of a GTF or GFF3 file give them."""

from __future__ import annotations

import os
import re
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import numpy as np

from leafletfa_scvi.pp._text import line_error, read_blocks, whole_number
from leafletfa_scvi.pp.annotate._attributes import Attributes
from leafletfa_scvi.pp.annotate._read_through import states_read_through

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_STRANDS: Final = {b"+": "+", b"-": "-", b".": "?", b"?": "?"}
_MAX_POSITION: Final = 2**31 - 1
_PARTS: Final = frozenset(
    b"CDS UTR five_prime_UTR three_prime_UTR 5UTR 3UTR start_codon stop_codon intron region "
    b"Selenocysteine cDNA_match match match_part biological_region".split()
)
"""Features of GFF3 that can be neither a gene nor a transcript of exons."""

_N_COMPARED: Final = 1000
"""Lines with which a last line without line end is compared."""
_OWN_GENES: Final = 0.95
"""Share of transcripts whose gene id is their own, from which genes are taken to be missing."""
_SHARING: Final = 0.05
"""Share of transcripts that share the start or end of an exon with another one."""
_GENE_NAMES: Final = ("gene_name", "Name", "gene")
_EXON_NAMES: Final = ("gene_name", "gene")
"""Attributes that name a gene, the best first; ``Name`` of an exon is the name of the exon."""
_TYPES: Final = ("gene_type", "gene_biotype", "biotype")
_GENE_ATTRIBUTES: Final = ("gene_id", "geneID")

Locus = tuple[str, str, str]
"""Gene id, contig, strand."""


@dataclass
class ExonLines:
    """Exon lines: one entry for each exon of each transcript, 1-based and inclusive.

    Attributes
    ----------
    loci
        Gene id, contig and strand (``+``, ``-``, ``?``) of each transcript.
    transcript_ids
        Id of each transcript; ``""`` for an exon that nothing joins to others.
    transcript
        ``(E,)`` 0-based position in ``loci``.
    start, end
        ``(E,)`` int64 first and last base of the exon.
    gene_lines
        First and last base that lines of genes give.
    names, types
        By gene id: how good the source is (0 is best) and the name, or type, of the gene.
    read_through
        Ids of the genes that the file states to be read-through genes, or all of whose
        transcripts it states to be read-through transcripts.
    report
        Counts of lines.
    """

    loci: list[Locus]
    transcript_ids: list[str]
    transcript: np.ndarray
    start: np.ndarray
    end: np.ndarray
    gene_lines: dict[Locus, tuple[int, int]]
    names: dict[str, tuple[int, str]]
    types: dict[str, tuple[int, str]]
    read_through: set[str]
    report: Counter[str]


def read_exon_lines(path: Path) -> ExonLines:
    """Read a GTF or GFF3 file, plain, gzip or bgzip; raises as ``read_annotation`` does."""
    reader = _Reader(path)
    before: list[bytes] = []
    for block in read_blocks(os.fspath(path)):
        lines = block.data.split(b"\n")[:-1]
        for reader.number, line in enumerate(lines, block.first):
            if line.startswith(b"##FASTA"):
                return reader.finish()
            if not line.startswith((b"#", b"track ", b"browser ")) and line.strip():
                reader.read(line)
        if not block.is_whole:
            reader.check_last([*before, *lines[:-1]], lines[-1])
        before = lines
    return reader.finish()


@dataclass
class _Reader:
    """Takes one line after the other."""

    path: Path
    number: int = 0
    find: Attributes | None = None
    transcript: array[int] = field(default_factory=lambda: array("q"))
    start: array[int] = field(default_factory=lambda: array("q"))
    end: array[int] = field(default_factory=lambda: array("q"))
    codes: dict[tuple[bytes, bytes, bytes, bytes], int] = field(default_factory=dict)
    """By contig, strand, transcript and gene id (empty: follow the parents)."""
    keys: list[tuple[str, str, str, str]] = field(default_factory=list)
    """The same as text, by code."""
    hints: list[tuple[tuple[int, str] | None, tuple[int, str] | None]] = field(
        default_factory=list
    )
    parents: dict[str, tuple[str, ...]] = field(default_factory=dict)
    without_transcript: int = 0
    """Number of the first line of an exon that has no attribute for its transcript."""
    first_line: list[int] = field(default_factory=list)
    """Number of the first line of each code."""
    parent_line: dict[str, int] = field(default_factory=dict)
    """Number of the line of each feature of GFF3 that may have exons."""
    gene_of: dict[str, str] = field(default_factory=dict)
    """Gene id of a feature of GFF3 that says so itself or is a gene."""
    gene_lines: dict[Locus, tuple[int, int]] = field(default_factory=dict)
    read_through: set[str] = field(default_factory=set)
    """Ids of read-through genes, and in GFF3 of read-through transcripts."""
    read_through_codes: set[int] = field(default_factory=set)
    """Codes of read-through transcripts."""
    names: dict[str, tuple[int, str]] = field(default_factory=dict)
    types: dict[str, tuple[int, str]] = field(default_factory=dict)
    report: Counter[str] = field(default_factory=Counter)

    def fail(self, problem: str) -> ValueError:
        return line_error(str(self.path), self.number, problem)

    def read(self, line: bytes) -> None:
        self.report["lines"] += 1
        fields = line.split(b"\t", 9)
        if len(fields) != 9:
            n_columns = len(fields) if len(fields) < 9 else line.count(b"\t") + 1
            raise self.fail(
                f"{n_columns} columns, expected the 9 tab-separated columns of GTF or GFF3. "
                "Is the file complete, and is it an annotation?"
            )
        feature = fields[2]
        if feature in (b"", b"."):
            raise self.fail(f"column 3 is {_shown(feature)}: expected a feature, such as exon.")
        if feature == b"exon":
            self.read_exon(fields)
        elif feature.endswith(b"gene"):
            self.read_gene(fields)
        elif feature not in _PARTS and self.attributes(fields[8]).is_gff3:
            self.read_parent(fields[8])

    def attributes(self, text: bytes) -> Attributes:
        """Parse attributes in the syntax of the file, taken from the first line that has any."""
        if self.find is None:
            if text.strip() in (b"", b"."):
                return Attributes(is_gff3=False)
            if not (is_gff3 := bool(re.match(rb'[^\s="]+=', text.strip()))) and not re.match(
                rb"\S+\s+\S", text.strip()
            ):
                raise self.fail(
                    f"attributes {_shown(text)} in column 9 are neither those of GTF "
                    '(gene_id "x";) nor those of GFF3 (ID=x;).'
                )
            self.find = Attributes(is_gff3)
        return self.find

    def checked(self, text: bytes) -> Attributes:
        """Return the attributes, if all of the text has their syntax."""
        find = self.attributes(text)
        if (problem := find.problem(text)) is not None:
            raise self.fail(problem)
        return find

    def check_last(self, earlier: Sequence[bytes], line: bytes) -> None:
        """Refuse a last line that is cut off, judging by earlier lines."""
        fields = line.split(b"\t")
        if len(fields) != 9 or line.startswith(b"#"):
            return
        lines = [row.split(b"\t") for row in earlier if not row.startswith(b"#")]
        same = [row[8] for row in lines if len(row) == 9 and row[2] == fields[2]]
        find = self.attributes(fields[8])
        problem = find.problem_of_last(fields[8], same[-_N_COMPARED:])
        if problem is not None:
            raise self.fail(f"{problem} The file is truncated: copy it again or regenerate it.")

    def interval(self, fields: list[bytes]) -> tuple[int, int]:
        """Read the first and last base of a line, and check them and its strand."""
        start, end = whole_number(fields[3]), whole_number(fields[4])
        if start is None or end is None:
            raise self.fail(
                f"start {_shown(fields[3])} and end {_shown(fields[4])} in columns 4 and 5 are "
                "not whole numbers."
            )
        if not 1 <= start <= end <= _MAX_POSITION:
            raise self.fail(
                f"start {start} and end {end} are no interval: expected 1 <= start <= end."
            )
        if fields[6] not in _STRANDS:
            raise self.fail(f"strand {_shown(fields[6])} in column 7 is not '+', '-' or '.'.")
        if not fields[0]:
            raise self.fail("column 1 is empty: expected a contig.")
        return start, end

    def read_exon(self, fields: list[bytes]) -> None:
        self.report["exon_lines"] += 1
        start, end = self.interval(fields)
        text = fields[8]
        find = self.checked(text)
        gene = find.first(text, _GENE_ATTRIBUTES)
        parents = find.get(text, "Parent").split(b",") if find.is_gff3 else [b""]
        if parents == [b""]:
            parents = [find.get(text, "transcript_id")]
            if not gene:
                attribute = "gene_id or Parent" if find.is_gff3 else "gene_id"
                raise self.fail(f"the exon has no {attribute}. Attributes: {_shown(text)}.")
            if not parents[0]:  # nothing joins it to other exons
                self.report["exon_lines_without_transcript"] += 1
                if not re.search(rb"transcript_id|Parent", text):
                    self.without_transcript = self.without_transcript or self.number
                parents = [b"\0%d-%d" % (start, end)]
        for parent in parents:
            key = (fields[0], fields[6], parent, gene)
            code = self.codes.get(key)
            if code is None:
                code = self.codes[key] = len(self.codes)
                contig, transcript, name = map(self.text, (fields[0], parent, gene))
                self.first_line.append(self.number)
                self.keys.append((contig, _STRANDS[fields[6]], transcript, name))
                self.hints.append((self.best(text, _EXON_NAMES, 3), self.best(text, _TYPES, 3)))
                if states_read_through(text):
                    self.read_through_codes.add(code)
            self.transcript.append(code)
            self.start.append(start)
            self.end.append(end)

    def read_gene(self, fields: list[bytes]) -> None:
        start, end = self.interval(fields)
        text = fields[8]
        find = self.checked(text)
        gene = self.text(find.first(text, _GENE_ATTRIBUTES))
        if find.is_gff3 and (identifier := self.text(find.get(text, "ID"))):
            gene = gene or _without_prefix(identifier)
            self.gene_of[identifier] = gene
        if not gene:
            raise self.fail(
                f"the gene has no {'ID' if find.is_gff3 else 'gene_id'}. Attributes: "
                f"{_shown(text)}."
            )
        self.report["gene_lines"] += 1
        locus = (gene, self.text(fields[0]), _STRANDS[fields[6]])
        earlier = self.gene_lines.get(locus, (start, end))
        self.gene_lines[locus] = (min(start, earlier[0]), max(end, earlier[1]))
        _keep_best(self.names, gene, self.best(text, _GENE_NAMES, 0))
        _keep_best(self.types, gene, self.best(text, _TYPES, 0))
        if states_read_through(text):
            self.read_through.add(gene)

    def read_parent(self, text: bytes) -> None:
        """Store the parents and the gene id of a feature that may have exons."""
        find = self.checked(text)
        identifier = self.text(find.get(text, "ID"))
        if not identifier:
            return
        self.parent_line[identifier] = self.number
        if states_read_through(text):
            self.read_through.add(identifier)
        if gene := find.first(text, _GENE_ATTRIBUTES):
            self.gene_of[identifier] = self.text(gene)
        if parents := find.get(text, "Parent"):
            self.parents[identifier] = tuple(map(self.text, parents.split(b",")))

    def best(self, text: bytes, keys: tuple[str, ...], rank: int) -> tuple[int, str] | None:
        """Return the value of the first attribute that is present, with its rank."""
        for i, key in enumerate(keys):
            if value := self.attributes(text).get(text, key):
                return rank + i, self.text(value)
        return None

    def text(self, value: bytes) -> str:
        try:
            text = value.decode()
        except UnicodeDecodeError:
            raise self.fail(f"{_shown(value)} is not UTF-8 text.") from None
        is_escaped = "%" in text and self.find is not None and self.find.is_gff3
        return unquote(text) if is_escaped else text

    def genes(self, identifier: str, above: frozenset[str] = frozenset()) -> set[str]:
        """Return gene ids of a feature or its parents; the topmost feature if none is a gene."""
        if identifier in self.gene_of:
            return {self.gene_of[identifier]}
        above = above | {identifier}
        parents = [name for name in self.parents.get(identifier, ()) if name not in above]
        if not parents:
            return {_without_prefix(identifier)}
        return set().union(*(self.genes(name, above) for name in parents))

    def check_parents(self) -> None:
        """Refuse a Parent that no line has as its ID, in a file with IDs."""
        identifiers = {*self.gene_of, *self.parent_line}
        exons = {
            parent: line
            for (_, _, parent, gene), line in zip(self.keys, self.first_line, strict=True)
            if identifiers and not gene
        }
        above = {
            parent: self.parent_line[name]
            for name, parents in self.parents.items()
            for parent in parents
            if self.gene_lines and name not in self.gene_of
        }
        for parent, line in {**exons, **above}.items():
            if parent not in identifiers:
                self.number = line
                raise self.fail(
                    f"Parent {parent!r} is the ID of no line: the file is incomplete or damaged. "
                    "Use the full annotation."
                )

    def own_genes(self, start: np.ndarray, end: np.ndarray) -> int:
        """Count the transcripts with their own id for that of the gene, if these are the rule.

        UCSC writes such GTF. It is harmful if transcripts share exons, or their ends.
        """
        same = sum(gene == name for _, _, name, gene in self.keys)
        if same < _OWN_GENES * len(self.keys):
            return 0
        codes: dict[tuple[str, str], int] = {}
        strand_of = np.array([codes.setdefault(key[:2], len(codes)) for key in self.keys])
        transcript = np.frombuffer(self.transcript, np.int64)
        sharing = np.zeros(len(self.keys), bool)
        for base in (start, end):
            ends = np.unique(np.stack([strand_of[transcript], base, transcript]), axis=1)
            is_same = (np.diff(ends[:2], axis=1) == 0).all(0)
            sharing[ends[2, 1:][is_same]] = sharing[ends[2, :-1][is_same]] = True
        return same if sharing.sum() >= _SHARING * len(sharing) else 0

    def finish(self) -> ExonLines:
        if not self.transcript:
            raise ValueError(
                f"{self.path} has no line of feature 'exon' among its {self.report['lines']:,} "
                "lines: introns cannot be derived without exons. Use the full GTF or GFF3 of the "
                "annotation."
            )
        self.check_parents()
        n_named = self.report["exon_lines"] - self.report["exon_lines_without_transcript"]
        if n_named and self.without_transcript:
            self.number = self.without_transcript
            raise self.fail(
                f"the exon names no transcript, as {n_named:,} others do: the line is damaged."
            )
        transcript = np.frombuffer(self.transcript, np.int64)
        start, end = (np.frombuffer(values, np.int64) for values in (self.start, self.end))
        if self.find is not None and not self.find.is_gff3:
            self.report["transcripts_named_as_genes"] = self.own_genes(start, end)
        loci: list[Locus] = []
        ids = ["" if name.startswith("\0") else name for _, _, name, _ in self.keys]
        extra = []
        further = len(self.codes)
        further_loci: list[Locus] = []
        only_read_through: dict[str, bool] = {}
        for code, (contig, strand, parent, gene) in enumerate(self.keys):
            genes = [gene] if gene else sorted(self.genes(parent))
            gene_loci = [(name, contig, strand) for name in genes]
            loci.append(gene_loci[0])
            further_loci += gene_loci[1:]
            for _ in gene_loci[1:]:  # a transcript of several genes, which only GFF3 can have
                ids.append(ids[code])
                rows = np.flatnonzero(transcript == code)
                extra.append((np.full(len(rows), further), rows))
                further += 1
            for name in genes:
                _keep_best(self.names, name, self.hints[code][0])
                _keep_best(self.types, name, self.hints[code][1])
                is_read_through = code in self.read_through_codes or parent in self.read_through
                only_read_through[name] = only_read_through.get(name, True) and is_read_through
        rows = np.concatenate([np.arange(len(start)), *(rows for _, rows in extra)])
        self.report["transcripts"] = len(self.codes)
        return ExonLines(
            loci=loci + further_loci,
            transcript_ids=ids,
            transcript=np.concatenate([transcript, *(codes for codes, _ in extra)]),
            start=start[rows],
            end=end[rows],
            gene_lines=self.gene_lines,
            names=self.names,
            types=self.types,
            read_through={
                name
                for name, is_only in only_read_through.items()
                if is_only or name in self.read_through
            },
            report=self.report,
        )


def _keep_best(
    names: dict[str, tuple[int, str]], gene: str, candidate: tuple[int, str] | None
) -> None:
    """Keep the better of two sources; of equals the first as text, whatever their order."""
    if candidate is not None:
        names[gene] = min(candidate, names.get(gene, candidate))


def _without_prefix(identifier: str) -> str:
    """Remove the prefix of a gene's id that Ensembl and NCBI use in GFF3."""
    return identifier.removeprefix("gene:").removeprefix("gene-")


def _shown(value: bytes) -> str:
    text = value.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= 80 else text[:77] + "...")

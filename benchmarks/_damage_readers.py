"""Readers with small whole files, what they read, and what is a valid file of each format.

What is valid is written here once more, line by line, from the formats' descriptions: a damaged
file that is valid as it stands cannot be told from another whole one.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pysam
import scipy.sparse as sp
from _damage import BYTES, LINES

import leafletfa_scvi as lfa
from leafletfa_scvi.cli._fit import read as read_data_set
from leafletfa_scvi.pp._bam import BamOptions, count_bam
from leafletfa_scvi.pp._barcodes import read_barcodes
from leafletfa_scvi.pp._bed import read_bed
from leafletfa_scvi.pp._sources import find_sources
from leafletfa_scvi.pp._star import read_sj
from leafletfa_scvi.pp._starsolo import read_solo
from leafletfa_scvi.pp._strand import splice_motifs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import anndata as ad
    from _damage import Damage

    from leafletfa_scvi.pp._part import JunctionPart

N_LINES = 30
BASES = "ACGT"
LARGEST = 2**31 - 1


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes
    ----------
    name
        Of the table.
    write
        Writes the whole files into a folder and returns the one to damage.
    read
        Reads the file; what it returns is compared by ``==``.
    is_valid
        Whether bytes are a valid file of this format, beside the other files as they are.
    damages
        Kinds of damage.
    is_text
        Whether errors must name a line.
    in_child
        Whether a process of its own reads: damaged HDF5 can make its library crash or hang.
    """

    name: str
    write: Callable[[Path], Path]
    read: Callable[[Path], Any]
    is_valid: Callable[[bytes], bool]
    damages: tuple[Damage, ...] = (*BYTES, *LINES)
    is_text: bool = True
    in_child: bool = False


def counts(part: JunctionPart) -> Any:
    """Everything that a part says of junctions and cells."""
    arrays = (part.contig, part.start, part.end, part.strand, part.cell, part.junction, part.count)
    motif = None if part.motif is None else part.motif.tolist()
    return part.contigs, part.cells, motif, [values.tolist() for values in arrays]


def text_lines(data: bytes) -> list[str] | None:
    """Lines with content, or None where bytes are no text."""
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError:
        return None
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text.replace("\r\n", "\n")):
        return None
    return [line for line in text.replace("\r\n", "\n").split("\n") if line.strip()]


def records(data: bytes) -> list[list[str]] | None:
    """Fields of the lines that are no comments."""
    lines = text_lines(data)
    return None if lines is None else [x.split("\t") for x in lines if not x.startswith("#")]


def number(text: str, low: int = 0) -> int | None:
    """A number of plain digits within the limits."""
    value = int(text) if re.fullmatch("[0-9]{1,15}", text) else -1
    return value if low <= value <= LARGEST else None


def numbers(fields: list[str], low: int = 0) -> list[int] | None:
    """All fields as numbers."""
    values = [number(field, low) for field in fields]
    return None if None in values else [value for value in values if value is not None]


def sj_lines() -> list[str]:
    rng = random.Random(1)
    lines = []
    for i in range(N_LINES):
        start = 1000 + 500 * i + rng.randrange(100)
        reads = rng.randint(40, 99)
        fields = ["chr1", start, start + rng.randint(70, 300), rng.choice("12"), "1", "1", reads]
        lines.append("\t".join(map(str, [*fields, rng.randrange(9), rng.randint(10, 50)])))
    return lines


def is_sj(data: bytes) -> bool:
    rows = records(data)
    for row in rows or []:
        values = numbers(row[1:])
        if len(row) != 9 or not row[0] or values is None:
            return False
        if not 1 <= values[0] <= values[1] or values[2] > 2 or values[3] > 6 or values[4] > 3:
            return False
    return rows is not None


def bed_lines(width: int) -> list[str]:
    rng = random.Random(2)
    lines = []
    for i in range(N_LINES):
        start, length, a, b = 1000 + 900 * i, rng.randint(300, 800), 20, rng.randint(10, 30)
        score, strand = rng.randint(10, 99), rng.choice("+-")
        fields = ["chr1", start, start + length, f"JUNC{i:04}", score, strand]
        fields += [start, start + length, "255,0,0", 2, f"{a},{b}", f"0,{length - b}"]
        fields += [2, f"AC{BASES[i % 4]}:{score - 4},GT{BASES[i // 4 % 4]}:4"]
        lines.append("\t".join(map(str, fields[:width])))
    return lines


def is_bed(width: int) -> Callable[[bytes], bool]:
    def is_valid(data: bytes) -> bool:
        rows = records(data)
        return rows is not None and all(len(row) == width and _is_bed_row(row) for row in rows)

    return is_valid


def _is_bed_row(row: list[str]) -> bool:
    values = numbers([row[1], row[2], row[4]])
    if not row[0] or values is None or values[0] >= values[1] or row[5] not in (*"+-.?",):
        return False
    if len(row) > 6:
        sizes, starts = (numbers(text.removesuffix(",").split(",")) for text in row[10:12])
        if row[9] != "2" or sizes is None or starts is None or len(sizes) != 2 != len(starts):
            return False
        if starts[0] or starts[1] + sizes[1] != values[1] - values[0] or starts[1] <= sizes[0]:
            return False
    if len(row) > 12:
        pairs = [pair.rpartition(":") for pair in row[13].removesuffix(",").split(",")]
        reads = numbers([pair[2] for pair in pairs])
        if reads is None or not all(pair[0] for pair in pairs) or sum(reads) > values[2]:
            return False
        return number(row[12]) == len(pairs)
    return True


GTF_ATTRIBUTES = re.compile(r'\s*([^\s;"=]+\s+("[^"]*"|[^\s;"]+)\s*(;\s*|$))+')


def gtf_lines() -> list[str]:
    lines = []
    for gene in range(3):
        strand, at = "+-"[gene % 2], 1000 + 5000 * gene
        ids = f'gene_id "ENSG{gene:05}.1"; '
        name = f'gene_name "Gene{gene}";'
        lines.append(f"chr1\tx\tgene\t{at}\t{at + 3000}\t.\t{strand}\t.\t{ids}{name}")
        for k, exons in enumerate([(0, 1, 2), (0, 2), (0, 1, 2, 3)]):
            for i in exons:
                start = at + 700 * i
                place = f"chr1\tx\texon\t{start}\t{start + 150}\t.\t{strand}\t.\t"
                lines.append(f'{place}{ids}transcript_id "ENST{gene}{k}.1"; {name}')
    return lines


def is_gtf(data: bytes) -> bool:
    rows = records(data)
    for row in rows or []:
        values = numbers(row[3:5], 1)
        if len(row) != 9 or not row[0] or not row[2] or values is None or values[0] > values[1]:
            return False
        if row[6] not in (*"+-.",) or GTF_ATTRIBUTES.fullmatch(row[8]) is None:
            return False
        keys = set(re.findall(r"(?:^|;)\s*(\S+)\s", row[8]))
        if "gene_id" not in keys or (row[2] == "exon" and "transcript_id" not in keys):
            return False
    return bool(rows) and any(row[2] == "exon" for row in rows)


def gff3_lines() -> list[str]:
    lines = ["##gff-version 3"]
    for gene in range(3):
        strand, at = "+-"[gene % 2], 1000 + 5000 * gene
        place = f"{at}\t{at + 3000}\t.\t{strand}\t."
        lines.append(f"chr1\tx\tgene\t{place}\tID=gene:G{gene};Name=Gene{gene};biotype=lncRNA")
        for k, exons in enumerate([(0, 1, 2), (0, 2), (0, 1, 2, 3)]):
            lines.append(f"chr1\tx\tmRNA\t{place}\tID=rna:T{gene}{k};Parent=gene:G{gene}")
            for i in exons:
                where = f"{at + 700 * i}\t{at + 700 * i + 150}\t.\t{strand}\t."
                lines.append(f"chr1\tx\texon\t{where}\tParent=rna:T{gene}{k};exon_number={i}")
    return lines


def is_gff3(data: bytes) -> bool:
    rows = records(data)
    ids, parents = set(), set()
    for row in rows or []:
        values = numbers(row[3:5], 1)
        if len(row) != 9 or not row[0] or row[2] in ("", ".") or values is None:
            return False
        if values[0] > values[1]:
            return False
        parts = [part.partition("=") for part in row[8].strip().split(";") if part.strip()]
        if row[6] not in (*"+-.?",) or not all(key.strip() and mark for key, mark, _ in parts):
            return False
        found = {key.strip(): value for key, _, value in parts}
        ids |= {found["ID"]} if found.get("ID") else set()
        parents |= set(found["Parent"].split(",")) if found.get("Parent") else set()
        if not found.get("Parent" if row[2] == "exon" else "ID"):
            return False
    return bool(rows) and parents <= ids and any(row[2] == "exon" for row in rows)


def annotation(path: Path) -> Any:
    found = lfa.pp.read_annotation(path)
    tables = (found.genes.reset_index(), found.introns, found.exons)
    return [table.to_numpy().tolist() for table in tables]


def barcode_lines(n: int = N_LINES) -> list[str]:
    rng = random.Random(3)
    return ["".join(rng.choices(BASES, k=12)) + "-1" for _ in range(n)]


def is_barcodes(n: int | None = None) -> Callable[[bytes], bool]:
    def is_valid(data: bytes) -> bool:
        lines = text_lines(data)
        if not lines or len(set(lines)) != len(lines) or (n or len(lines)) != len(lines):
            return False
        names = [re.split(r"[\t,; ]", line)[0] for line in lines]
        if not all(re.fullmatch("[!-~]+", name) and '"' not in name for name in names):
            return False
        lengths = {len(name) for name in names[:-1]}
        is_cut = (
            len(names) > 2
            and not data.endswith(b"\n")
            and len(lengths) == 1
            and len(names[-1]) < min(lengths)
        )
        return len(set(names)) == len(names) and not is_cut

    return is_valid


def solo(damaged: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        raw = folder / "Solo.out" / "SJ" / "raw"
        raw.mkdir(parents=True)
        for name, lines in solo_files().items():
            write_lines(raw / name, lines)
        return raw / damaged

    return write


def solo_files() -> dict[str, list[str]]:
    rng = random.Random(4)
    places = sorted(rng.sample(range(N_LINES * 10), 40), key=lambda k: (k % 10, k // 10))
    entries = [f"{k // 10 + 1} {k % 10 + 1} {rng.randint(1, 9)}" for k in places]
    head = ["%%MatrixMarket matrix coordinate integer general", "%", f"{N_LINES} 10 {len(places)}"]
    return {
        "matrix.mtx": [*head, *entries],
        "features.tsv": sj_lines(),
        "barcodes.tsv": barcode_lines(10),
    }


def is_matrix(data: bytes) -> bool:
    lines = text_lines(data)
    if not lines or not data.endswith(b"\n"):
        return False
    if not re.fullmatch(
        "%%matrixmarket matrix coordinate (integer|real) general", lines[0].lower()
    ):
        return False
    rows = [numbers(line.split()) for line in lines if not line.startswith("%")]
    if not rows or any(row is None or len(row) != 3 for row in rows):
        return False
    size, *entries = [row for row in rows if row is not None]
    reads = np.zeros(N_LINES, int)
    for row, column, count in entries:
        if not 1 <= row <= size[0] or not 1 <= column <= size[1]:
            return False
        reads[min(row, N_LINES) - 1] += count
    unique = np.array([int(line.split("\t")[6]) for line in sj_lines()])
    is_of_run = (reads > unique).sum() <= 0.05 * np.count_nonzero(reads)
    whole = len({(row, column) for row, column, _ in entries}) == len(entries) == size[2]
    return size[1] == 10 and size[0] in (N_LINES, N_LINES + 1) and whole and bool(is_of_run)


def is_features(data: bytes) -> bool:
    rows = records(data)
    return is_sj(data) and rows is not None and len(rows) in (N_LINES, N_LINES - 1)


def write_lines(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), newline="")
    return path


def lines_in(name: str, lines: Callable[[], list[str]]) -> Callable[[Path], Path]:
    return lambda folder: write_lines(folder / name, lines())


def write_bam(folder: Path) -> Path:
    header = pysam.AlignmentHeader.from_dict(
        {"HD": {"VN": "1.6"}, "SQ": [{"SN": "chr1", "LN": 100_000}]}
    )
    with pysam.AlignmentFile(str(folder / "reads.bam"), "wb", header=header) as file:
        for i in range(300):
            read = pysam.AlignedSegment(header)
            read.query_name, read.reference_id, read.reference_start = f"r{i}", 0, 1000 + i
            read.cigarstring, read.query_sequence = "50M300N50M", "ACGTA" * 20
            read.mapping_quality = 60
            read.set_tags([("XS", "+"), ("CB", barcode_lines()[i % 9]), ("UB", f"U{i}")])
            file.write(read)
    return folder / "reads.bam"


def write_sam(folder: Path) -> Path:
    with pysam.AlignmentFile(str(write_bam(folder))) as bam:
        lines = [str(bam.header).rstrip("\n"), *(read.to_string() for read in bam)]
    return write_lines(folder / "reads.sam", lines[: N_LINES * 2])


def is_sam(data: bytes) -> bool:
    lines = text_lines(data)
    for line in lines or []:
        fields = line.split("\t")
        if line.startswith("@"):
            if not re.fullmatch(r"@[A-Z]{2}(\t[A-Za-z][A-Za-z0-9]:[ -~]+)+", line):
                return False
            continue
        good = len(fields) >= 11 and re.fullmatch("[!-?A-~]{1,254}", fields[0])
        good = good and numbers([fields[k] for k in (1, 3, 4, 7)]) is not None
        good = good and re.fullmatch(r"([0-9]+[MIDNSHPX=])+", fields[5]) and int(fields[1]) < 2**16
        consumed = (
            sum(int(n) for n, _ in re.findall("([0-9]+)([MIS=X])", fields[5])) if good else 0
        )
        good = good and consumed == len(fields[9]) and re.fullmatch("[A-Za-z=.]+", fields[9])
        good = good and fields[2] in ("chr1", "*") and fields[6] in ("*", "=", "chr1")
        tags = [re.fullmatch(r"[A-Za-z][A-Za-z0-9]:[AifZHB]:[ -~]*", x) for x in fields[11:]]
        if not good or not all(tags):
            return False
    return lines is not None


def count_tagged(path: Path) -> Any:
    return counts(count_bam(path, "", BamOptions(cell_tag="CB", umi_tag="UB")))


def genome_junctions() -> pd.DataFrame:
    starts = np.arange(100, 1900, 60)
    return pd.DataFrame(
        {"chrom": "chr1", "start": starts, "end": starts + 40, "strand": "+"}
    ).set_index("chrom", drop=False)


def write_fasta(folder: Path) -> Path:
    rng = random.Random(5)
    lines = ["".join(rng.choices(BASES, k=60)) for _ in range(40)]
    return write_lines(folder / "genome.fa", [">chr1 test", *lines, ">chr2", *lines[:3]])


def is_fasta(data: bytes) -> bool:
    lines = text_lines(data)
    if not lines or not lines[0].startswith(">") or b"\n\n" in data:
        return False
    contigs: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith(">"):
            name = (line[1:].split() or [""])[0]
            if not name or name in contigs:
                return False
            contigs[name] = []
        elif re.fullmatch("[ACGTUNRYSWKMBDHVacgtunryswkmbdhv]+", line):
            contigs[name].append(line)
        else:
            return False
    for parts in contigs.values():
        lengths = {len(part) for part in parts[:-1]}
        if len(lengths) > 1 or (lengths and len(parts[-1]) > min(lengths)):
            return False
    return sum(map(len, contigs.get("chr1", []))) >= genome_junctions()["end"].max()


def motifs(path: Path) -> Any:
    return splice_motifs(genome_junctions(), path)


def write_table(folder: Path) -> Path:
    for i in range(5):
        write_lines(folder / f"cell{i}.SJ.out.tab", sj_lines()[: i + 1])
    rows = [f"cell{i}.SJ.out.tab\tcell_{i}\t{'AB'[i % 2]}\t{20 + i}" for i in range(5)]
    return write_lines(folder / "cells.tsv", ["path\tcell\tsample\tage", *rows])


def sources(path: Path) -> Any:
    found = find_sources(path)
    rows = [(one.path, one.format, one.cell, one.sample) for one in found.sources]
    return rows, found.annotation.to_dict("list")


def is_table(data: bytes) -> bool:
    rows = records(data)
    if rows and "path" not in rows[0]:  # a table may do without a header
        rows.insert(0, ["path", "cell", "sample", "age"])
    rows = [[*row[: len(rows[0])], *filter(None, row[len(rows[0]) :])] for row in rows or []]
    if not rows or "path" not in rows[0] or len(set(rows[0])) != len(rows[0]):
        return False
    paths = [row[rows[0].index("path")] for row in rows[1:] if len(row) == len(rows[0])]
    known = all(re.fullmatch(r"(\./)?cell[0-4]\.SJ\.out\.tab", path) for path in paths)
    return known and len(set(paths)) == len(paths) == len(rows) - 1 > 0


def write_h5ad(folder: Path) -> Path:
    lfa.datasets.simulate_splicing(20, 30, 2, seed=0).write_h5ad(
        folder / "data.h5ad", compression="gzip"
    )
    return folder / "data.h5ad"


def data_set(path: Path) -> Any:
    adata = read_data_set(path)
    check_data_set(adata)
    tables = [adata.obs.to_dict("list"), adata.var.to_dict("list")]
    layers = {key: _dense(value) for key, value in [*adata.layers.items(), ("X", adata.X)]}
    return tables, list(adata.obs_names), list(adata.var_names), layers


def check_data_set(adata: ad.AnnData) -> None:
    lfa.LeafletFAModel.setup_anndata(adata, atse_key="atse_id")


def _dense(values: Any) -> Any:
    return (values.toarray() if sp.issparse(values) else np.asarray(values)).tolist()


READERS: tuple[Reader, ...] = (
    Reader(
        "STAR SJ.out.tab",
        lines_in("c.SJ.out.tab", sj_lines),
        lambda p: counts(read_sj(p, "c")),
        is_sj,
    ),
    *(
        Reader(
            f"STARsolo {name}",
            solo(name),
            lambda path: counts(read_solo(path.parent)),
            is_valid,
        )
        for name, is_valid in (
            ("matrix.mtx", is_matrix),
            ("features.tsv", is_features),
            ("barcodes.tsv", is_barcodes(10)),
        )
    ),
    *(
        Reader(
            name,
            lambda folder, width=width: write_lines(folder / "c.bed", bed_lines(width)),
            lambda path: counts(read_bed(path, "c")),
            is_bed(width),
        )
        for name, width in (
            ("BED of introns", 6),
            ("regtools BED12", 12),
            ("regtools with barcodes", 14),
        )
    ),
    Reader("GTF", lines_in("a.gtf", gtf_lines), annotation, is_gtf),
    Reader("GFF3", lines_in("a.gff3", gff3_lines), annotation, is_gff3),
    Reader(
        "list of barcodes", lines_in("barcodes.tsv", barcode_lines), read_barcodes, is_barcodes()
    ),
    Reader("table of files", write_table, sources, is_table),
    Reader("FASTA", write_fasta, motifs, is_fasta, is_text=False),
    Reader("SAM", write_sam, count_tagged, is_sam, is_text=False),
    Reader("BAM", write_bam, count_tagged, lambda data: False, BYTES, is_text=False),
    # HDF5 has no checksums: what opens and passes the checks of the model cannot be told apart.
    Reader("h5ad", write_h5ad, data_set, lambda data: True, BYTES, is_text=False, in_child=True),
)

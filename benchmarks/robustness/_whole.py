"""Whole files of every text format, small, as lines."""

from __future__ import annotations

import random

import numpy as np
import pandas as pd

N_LINES = 30
BASES = "ACGT"


def sj_lines() -> list[str]:
    rng = random.Random(1)
    lines = []
    for i in range(N_LINES):
        start = 1000 + 500 * i + rng.randrange(100)
        reads = rng.randint(40, 99)
        fields = ["chr1", start, start + rng.randint(70, 300), rng.choice("12"), "1", "1", reads]
        lines.append("\t".join(map(str, [*fields, rng.randrange(9), rng.randint(10, 50)])))
    return lines


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


def barcode_lines(n: int = N_LINES) -> list[str]:
    rng = random.Random(3)
    return ["".join(rng.choices(BASES, k=12)) + "-1" for _ in range(n)]


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


def cell_column_lines(kind: str) -> list[str]:
    """Lines of leafcutter's ratios and numerators, and of a table of coordinates."""
    rng = random.Random(6)
    names = [f"sample_{i}" for i in range(6)]
    lines = [{"ratios": "chrom ", "numers": ""}.get(kind, "coord.intron ") + " ".join(names)]
    for i in range(N_LINES):
        start = 1000 + 500 * i + rng.randrange(100)
        place = f"chr1:{start}:{start + rng.randint(70, 300)}"
        name = place if kind == "coordinates" else f"{place}:clu_{i}_{rng.choice('+-')}"
        counts = [rng.randint(0, 30) for _ in names]
        fields = [f"{n}/{n + 5}" if kind == "ratios" else str(n) for n in counts]
        lines.append(" ".join([name, *fields]))
    return [line.replace(" ", "\t") if kind == "coordinates" else line for line in lines]


def cell_lines() -> list[str]:
    rows = [f"cell_{i}\t{'ABC'[i % 3]}\t{20 + i}" for i in range(N_LINES)]
    return ["sample.id\tcell.type\tage", *rows]


def isoquant_lines() -> list[str]:
    rng = random.Random(7)
    lines = ["chr start end strand flags gene_ids group_id include_counts exclude_counts"]
    for i in range(N_LINES):
        start = 1000 + 500 * (i // 3) + 7 * (i // 3)
        place = ["chr1", start, start + 100 + i // 3, "+-"[i // 3 % 2], "IU", f"ENSG{i // 9}"]
        lines.append(" ".join(map(str, [*place, "ACG"[i % 3] * 8, rng.randint(1, 30), i])))
    return [line.replace(" ", "\t") for line in lines]


def isoquant_files() -> dict[str, list[str]]:
    """Lines of the matrix include, its junctions and its groups, and of a table of groups."""
    rows = [line.split("\t") for line in isoquant_lines()[1:]]
    names = [f"{row[0]}:{row[1]}-{row[2]}:{row[3]}" for row in rows]
    junctions = list(dict.fromkeys(names))
    groups = sorted({row[6] for row in rows})
    entries = [
        f"{junctions.index(name) + 1} {groups.index(row[6]) + 1} {row[7]}"
        for name, row in zip(names, rows, strict=True)
    ]
    size = f"{len(junctions)} {len(groups)} {len(entries)}"
    pair_of = {(name, row[6]): f"{row[7]},{row[8]}" for name, row in zip(names, rows, strict=True)}
    table = ["\t".join([name, *(pair_of[name, group] for group in groups)]) for name in junctions]
    return {
        "x.include.matrix.mtx": ["%%MatrixMarket matrix coordinate real general", size, *entries],
        "x.features.tsv": [f"{name}\tG" for name in junctions],
        "x.barcodes.tsv": groups,
        "x_counts.tsv": ["\t".join(["intron_id", *groups]), *table],
    }


def long_table_lines() -> list[str]:
    rng = random.Random(8)
    lines = ["cell\tchrom\tstart\tend\tgene\tstrand\tcount\tnote"]
    for i in range(N_LINES):
        start = 1000 + 500 * (i // 3)
        place = ["chr1", start, start + 100, f"G{i // 9}", "+-"[i // 3 % 2]]
        lines.append("\t".join(map(str, ["ACG"[i % 3] * 8, *place, rng.randint(1, 30), "x"])))
    return lines


def barcode_map_lines() -> list[str]:
    return [f"{name[:-2]}\tcell_{i // 2}" for i, name in enumerate(barcode_lines())]


def genome_junctions() -> pd.DataFrame:
    starts = np.arange(100, 1900, 60)
    return pd.DataFrame(
        {"chrom": "chr1", "start": starts, "end": starts + 40, "strand": "+"}
    ).set_index("chrom", drop=False)

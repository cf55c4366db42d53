"""Valid files of every text format, told line by line from the formats' descriptions.

Written once more than in the readers: a damaged file that is valid as it stands cannot be told
from another whole one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from benchmarks.robustness._whole import N_LINES, genome_junctions, isoquant_files, sj_lines

if TYPE_CHECKING:
    from collections.abc import Callable

LARGEST = 2**31 - 1


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


def is_sj(data: bytes) -> bool:
    rows = records(data)
    for row in rows or []:
        values = numbers(row[1:])
        if len(row) != 9 or not row[0] or values is None:
            return False
        if not 1 <= values[0] <= values[1] or values[2] > 2 or values[3] > 6 or values[4] > 3:
            return False
    return rows is not None


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


def is_cell_columns(kind: str) -> Callable[[bytes], bool]:
    """Tables with a column for each cell: leafcutter's ratios and numerators, or coordinates."""
    place = r"([^:\s]+):([0-9]{1,15}):([0-9]{1,15})"
    strand = "(?:_([-+?.]|NA))?"
    name = {"coordinates": r"([^:\s]+):([0-9]{1,15})[:-]([0-9]{1,15})(?::([-+?.*]))?"}.get(
        kind, rf"{place}:clu_[0-9]+{strand}(?::\S*)?"
    )

    def is_valid(data: bytes) -> bool:
        lines = text_lines(data)
        if not lines or not data.endswith(b"\n"):
            return False
        mark = "\t" if kind == "coordinates" else " "
        header, *rows = [line.split(mark) for line in lines]
        if rows and len(rows[0]) == len(header):
            first = header.pop(0).strip('"')
            corners = ("coord.intron", "junction", "intron", "")
            if first not in (corners if kind == "coordinates" else ("chrom",)):
                return False
        elif header[0] in ("coord.intron", "junction", "intron", "chrom"):
            return False
        if not all(x.strip() for x in header) or len({*header}) != len(header):
            return False
        is_ratio = kind != "coordinates" and any("/" in field for field in rows[0]) if rows else 0
        seen = set()
        for row in rows:
            found = re.fullmatch(name, row[0])
            if found is None or len(row) != len(header) + 1:
                return False
            margin = 0 if kind == "coordinates" else 1
            start, end = int(found[2]) + margin, int(found[3]) - margin
            if not 1 <= start <= end <= LARGEST:
                return False
            seen.add((found[1], start, end, found[4] if found[4] in ("+", "-") else "?"))
            fields = ["0" if x in ("NA", "") else x for x in row[1:]] if margin == 0 else row[1:]
            for field in fields:
                values = numbers(field.split("/"))
                if values is None or len(values) != 1 + is_ratio or values[0] > values[-1]:
                    return False
        return len(seen) == len(rows)

    return is_valid


def is_cell_table(data: bytes) -> bool:
    """A header with sample.id, names, and rows that are as long."""
    lines = text_lines(data)
    rows = [line.split("\t") for line in lines or []]
    if not rows or rows[0].count("sample.id") != 1:
        return False
    header, *rows = rows
    named = [name for name in header if name]
    cells = [row[header.index("sample.id")] for row in rows if len(row) >= len(header)]
    whole = all(len(row) >= len(header) and not any(row[len(header) :]) for row in rows)
    plain = not any('"' in field for row in rows for field in row)
    return whole and plain and len({*named}) == len(named) and len({*cells}) == len(cells)


def is_isoquant(data: bytes) -> bool:
    rows = records(data)
    if rows is None or not data.endswith(b"\n") and data:
        return False
    rows = rows[1:] if rows and rows[0][0] == "chr" and "start" in rows[0][1] else rows
    for row in rows:
        place, reads = numbers(row[1:3], 1), numbers(row[7:])
        if len(row) != 9 or not all(row) or place is None or reads is None:
            return False
        if place[0] > place[1] or row[3] not in ("+", "-", ".", "+-", "-+"):
            return False
    return len({tuple(row[:7]) for row in rows}) == len(rows)


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
    if not is_sj(data) or rows is None or len(rows) not in (N_LINES, N_LINES - 1):
        return False
    return len({(row[0], *map(int, row[1:4])) for row in rows}) == len(rows)


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


_JUNCTION = re.compile(r"(\S+):([0-9]{1,15})-([0-9]{1,15}):([-+.]|\+-|-\+)")


def _junction(text: str) -> tuple[str, int, int, str] | None:
    found = _JUNCTION.fullmatch(text)
    if found is None or not 1 <= int(found[2]) <= int(found[3]) <= LARGEST:
        return None
    return found[1], int(found[2]), int(found[3]), found[4] if found[4] in "+-" else "?"


def is_isoquant_matrix(data: bytes) -> bool:
    lines = text_lines(data)
    kind = "%%matrixmarket matrix coordinate (integer|real) general"
    if not lines or not data.endswith(b"\n") or not re.fullmatch(kind, lines[0].lower()):
        return False
    rows = [numbers(line.split()) for line in lines if not line.startswith("%")]
    if not rows or any(row is None or len(row) != 3 for row in rows):
        return False
    size, *entries = [row for row in rows if row is not None]
    n_rows, n_columns = len(isoquant_files()["x.features.tsv"]), 3
    inside = all(1 <= row <= n_rows and 1 <= column <= n_columns for row, column, _ in entries)
    return size == [n_rows, n_columns, len(entries)] and inside


def is_isoquant_features(data: bytes) -> bool:
    lines = text_lines(data)
    if lines is None or not data.endswith(b"\n"):
        return False
    found = [_junction(line.split("\t")[0]) for line in lines]
    n = len(isoquant_files()["x.features.tsv"])
    return None not in found and len({*found}) == len(found) == n == data.count(b"\n")


def is_isoquant_groups(data: bytes) -> bool:
    lines = text_lines(data)
    whole = lines is not None and data.endswith(b"\n") and data.count(b"\n") == 3
    return whole and len({*(lines or ())}) == 3


def is_isoquant_columns(data: bytes) -> bool:
    if not data:  # of one cell, without groups
        return True
    lines = text_lines(data)
    if not lines or not data.endswith(b"\n"):
        return False
    header, *rows = [line.split("\t") for line in lines]
    if header[0] != "intron_id" or not all(x.strip() for x in header):
        return False
    junctions = [_junction(row[0]) for row in rows]
    for row in rows:
        pairs = [numbers(field.split(",")) for field in row[1:]]
        if len(row) != len(header) or any(pair is None or len(pair) != 2 for pair in pairs):
            return False
    unique = len({*junctions}) == len(junctions) and len({*header}) == len(header)
    return None not in junctions and unique


def is_long_table(data: bytes) -> bool:
    lines = text_lines(data)
    if not lines or not data.endswith(b"\n"):
        return False
    header, *rows = [line.split("\t") for line in lines if not line.startswith("#")]
    needed = ("cell", "chrom", "start", "end", "count")
    if any(header.count(name) != 1 for name in needed) or header.count("strand") > 1:
        return False
    named = [name for name in header if name]
    if len({*named}) != len(named):
        return False
    seen = set()
    for row in rows:
        if len(row) != len(header):
            return False
        of = dict(zip(header, row, strict=True))
        place, count = numbers([of["start"], of["end"]], 1), number(of["count"])
        if not (of["cell"] and of["chrom"]) or place is None or count is None:
            return False
        strand = of.get("strand", "?")
        if place[0] > place[1] or strand not in ("+", "-", "?", ".", "*", "NA"):
            return False
        if count:
            key = (of["cell"], of["chrom"], *place, strand if strand in "+-" else "?")
            if key in seen:
                return False
            seen.add(key)
    return True


def is_barcode_map(data: bytes) -> bool:
    lines = text_lines(data)
    if not lines or not data.endswith(b"\n"):
        return False
    rows = [[x.strip() for x in re.split("\t", line.rstrip())] for line in lines]
    names = [row[0] for row in rows]
    whole = all(len(row) == 2 and row[1] not in ("", "NA") for row in rows)
    return (
        whole
        and len({*names}) == len(names)
        and all(re.fullmatch("[!-~]+", name) and name != "NA" for name in names)
    )

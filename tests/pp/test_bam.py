"""Counting spliced reads: against regtools, slow counters of other make, and damaged files."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import numpy as np
import pysam
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leafletfa_scvi.pp import _bam
from leafletfa_scvi.pp._bam import BamOptions, count_bam, read_barcodes, regtools_blocks
from leafletfa_scvi.pp._bam_strand import library_strand, regtools_strand
from leafletfa_scvi.pp._part import STRANDS, JunctionPart

if TYPE_CHECKING:
    from pathlib import Path

CONTIGS = {"chr1": 100_000, "chr2": 50_000}
HEADER = pysam.AlignmentHeader.from_dict(
    {
        "HD": {"VN": "1.6", "SO": "coordinate"},
        "SQ": [{"SN": name, "LN": length} for name, length in CONTIGS.items()],
    }
)
EOF = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


def counts(part: JunctionPart) -> dict[tuple[str, str, int, int, str], int]:
    """Counts by cell, contig, start, end and strand."""
    return {
        (
            part.cells[cell],
            part.contigs[part.contig[j]],
            int(part.start[j]),
            int(part.end[j]),
            STRANDS[part.strand[j]],
        ): int(n)
        for cell, j, n in zip(part.cell, part.junction, part.count, strict=True)
    }


def slow_introns(cigar: str, position: int):
    """Introns of a read at a 0-based position, with the anchors on both sides."""
    parts = [(int(n), op) for n, op in re.findall(r"(\d+)([MIDNSHP=X])", cigar)]
    cuts = [i for i, (_, op) in enumerate(parts) if op == "N"]

    def aligned(some):
        return sum(n for n, op in some if op in "MDX=")

    for k, cut in enumerate(cuts):
        before = parts[:cut]
        start = position + sum(n for n, op in before if op in "MDX=N") + 1
        left = aligned(parts[cuts[k - 1] + 1 : cut] if k else before)
        right = aligned(parts[cut + 1 : cuts[k + 1] if k + 1 < len(cuts) else None])
        yield start, start + parts[cut][0] - 1, left, right


def slow_strand(read, options: BamOptions) -> str:
    flag = read.flag
    reverse = bool(flag & 16)
    if options.strand == "none":
        return "?"
    if options.strand in ("RF", "FR"):
        sense = {"RF": "+" if reverse else "-", "FR": "-" if reverse else "+"}[options.strand]
        turned = {"+": "-", "-": "+"}
        if not flag & 1:
            return sense
        if bool(flag & 64) == bool(flag & 128):
            return "?"
        own = sense if flag & 64 else turned[sense]
        if flag & 8 or bool(flag & 32) != reverse:
            return own
        return "?"
    tags = dict(read.get_tags())
    if tags.get("XS") in ("+", "-"):
        return tags["XS"]
    if tags.get("ts") in ("+", "-"):
        return tags["ts"] if not reverse else {"+": "-", "-": "+"}[tags["ts"]]
    return "?"


def slow_count(path, options: BamOptions, name: str = "cell"):
    """Sets of names or UMIs of each cell, intron and strand."""
    seen = defaultdict(set)
    with pysam.AlignmentFile(path) as file:
        for i, read in enumerate(file.fetch(until_eof=True)):
            if "N" not in (read.cigarstring or ""):
                continue
            if read.is_unmapped or read.is_secondary or read.is_supplementary or read.is_qcfail:
                continue
            if options.skip_duplicates and read.is_duplicate:
                continue
            if read.mapping_quality < options.min_mapq:
                continue
            tags = dict(read.get_tags())
            cell = tags.get(options.cell_tag, "-") if options.cell_tag else name
            if cell == "-" or (options.barcodes and cell not in options.barcodes):
                continue
            molecule = read.query_name if read.is_paired else i
            if options.umi_tag:
                molecule = tags.get(options.umi_tag, "-")
                if molecule == "-":
                    continue
            strand = slow_strand(read, options)
            for start, end, left, right in slow_introns(read.cigarstring, read.reference_start):
                long_enough = options.min_intron <= end - start + 1 <= options.max_intron
                if long_enough and min(left, right) >= options.min_anchor:
                    seen[cell, read.reference_name, start, end, molecule].add(strand)
    total = Counter()
    for (cell, contig, start, end, _), strands in seen.items():
        for strand in strands - {"?"} or {"?"}:
            total[cell, contig, start, end, strand] += 1
    return dict(total)


def make_read(name="r", flag=0, contig=0, position=100, cigar="20M100N20M", mapq=60, tags=()):
    read = pysam.AlignedSegment(HEADER)
    read.query_name, read.flag = name, flag
    read.reference_id, read.reference_start = contig, position
    read.mapping_quality, read.cigarstring = mapq, cigar
    length = sum(int(n) for n, op in re.findall(r"(\d+)(.)", cigar) if op in "MIS=X")
    read.query_sequence, read.query_qualities_str = "A" * length, "I" * length
    read.set_tags(list(tags))
    return read


def write(path: Path, reads, mode: str = "wb", **options) -> Path:
    with pysam.AlignmentFile(path, mode, header=HEADER, **options) as file:
        for read in reads:
            file.write(read)
    return path


def count_reads(tmp_path: Path, *reads, **options) -> dict:
    path = write(tmp_path / "reads.bam", reads)
    return {k[1:]: n for k, n in counts(count_bam(path, "c", BamOptions(**options))).items()}


# --- real files


@pytest.mark.parametrize(
    ("strand", "expected", "n"),
    [("tag", "expected_a8.bed", 25), ("RF", "expected_stranded_rf_a8.bed", 49)],
)
def test_parity_mode_equals_regtools(data_dir, strand, expected, n):
    folder = data_dir / "regtools"
    options = BamOptions(strand=strand, regtools=True, min_anchor=8)
    blocks, introns = set(), {}
    for line in (folder / expected).read_text().splitlines():
        field = line.split("\t")
        left, right = (int(size) for size in field[10].split(","))
        start, end, score = int(field[1]), int(field[2]), int(field[4])
        blocks.add((field[0], start, end, field[5], left, right, score))
        introns["c", field[0], start + left + 1, end - right, field[5]] = score
    found = regtools_blocks(folder / "test_hcc1395.bam", options)
    got = {(b.chrom, b.start, b.end, b.strand, b.left, b.right, b.count) for b in found}
    assert len(found) == len(blocks) == n
    assert got == blocks
    part = count_bam(folder / "test_hcc1395.bam", "c", options)
    assert counts(part) == introns
    assert part.report["introns_counted"] == sum(introns.values())


@pytest.mark.parametrize("options", [BamOptions(), BamOptions("RF", skip_duplicates=True)])
def test_pairs_equal_slow_count(data_dir, options):
    path = data_dir / "regtools" / "test_hcc1395.bam"
    part = count_bam(path, "cell", options)
    assert counts(part) == slow_count(path, options)
    assert part.report["mates_of_one_fragment"] > 0


def test_smart_seq_files_equal_slow_count(data_dir):
    files = sorted((data_dir / "brie_ss2" / "bams_SS2").glob("*.bam"))
    assert len(files) == 130
    options = BamOptions(min_mapq=10)
    for path in files[::20]:
        part = count_bam(path, "cell", options)
        assert counts(part) == slow_count(path, options)
        assert part.n_junctions > 0
        assert part.report["reads_with_unused_barcode"] == 0


def test_10x_file_equals_slow_count(data_dir):
    folder = data_dir / "brie_ss2" / "10xData"
    path = folder / "neuron_1k_v3_possorted_genome_bam.50events.bam"
    barcodes = read_barcodes(folder / "barcodes.tsv.gz")
    options = BamOptions("FR", cell_tag="CB", umi_tag="UB", barcodes=barcodes)
    part = count_bam(path, "", options)
    assert part.cells == barcodes
    assert counts(part) == slow_count(path, options)
    report = part.report
    assert report["reads"] == 51_079
    left = report["reads_without_barcode"] + report["reads_other_barcode"]
    assert left > 0
    assert report["umi_copies"] > 0
    options = BamOptions("FR", cell_tag="CB")
    part = count_bam(path, "", options)
    assert counts(part) == slow_count(path, options)
    assert list(part.cells) == sorted(part.cells)
    assert count_bam(path, "", BamOptions()).report["reads_with_unused_barcode"] > 9_000


def test_parity_mode_by_barcode_sums_to_that_without(data_dir):
    folder = data_dir / "brie_ss2" / "10xData"
    path = folder / "neuron_1k_v3_possorted_genome_bam.50events.bam"
    whole = count_bam(path, "c", BamOptions("FR", regtools=True))
    cells = count_bam(path, "c", BamOptions("FR", regtools=True, cell_tag="CB"))
    assert cells.report["introns_counted"] > 0
    n_reads = whole.report["reads_spliced"] - cells.report["reads_without_barcode"]
    assert 0 < n_reads < whole.report["reads_spliced"]
    per_junction = Counter()
    for (_, *junction), n in counts(cells).items():
        per_junction[tuple(junction)] += n
    whole_counts = {key[1:]: n for key, n in counts(whole).items()}
    assert all(n <= whole_counts[key] for key, n in per_junction.items())


# --- any reads

OPERATIONS = st.lists(
    st.tuples(st.integers(1, 12), st.sampled_from("MMMID=XNNN")), min_size=1, max_size=7
)


@st.composite
def fragments(draw):
    """Reads of few names, places and tags, so that much coincides."""
    name = f"q{draw(st.integers(0, 5))}"
    flag = draw(st.sampled_from([0, 16, 83, 99, 147, 163, 65, 129, 113, 177, 73, 89, 137, 193]))
    flag |= draw(st.sampled_from([0] * 8 + [4, 256, 512, 1024, 2048]))
    inner = draw(
        st.one_of(
            st.sampled_from(["8M10N8M", "8M10N8M", "4M10N6M20N5M", "3S5M10N8M", "8M10N8M2S"]),
            OPERATIONS.map(lambda parts: "".join(f"{n}{op}" for n, op in parts)),
        )
    )
    tags = []
    if xs := draw(st.sampled_from([None, "+", "-", "?"])):
        tags.append(("XS", xs, "A"))
    if ts := draw(st.sampled_from([None, None, "+", "-"])):
        tags.append(("ts", ts, "A"))
    if barcode := draw(st.sampled_from([None, "-", "AAA-1", "CCC-1", "GGG-1"])):
        tags.append(("CB", barcode, "Z"))
    if umi := draw(st.sampled_from([None, "-", "TT", "GG"])):
        tags.append(("UB", umi, "Z"))
    position = draw(st.sampled_from([100, 100, 104, 110, 300]))
    if draw(st.booleans()):  # the same two introns from different places
        left, first = draw(st.integers(1, 9)), draw(st.sampled_from([108, 300]))
        position, inner = first - left, f"{left}M10N8M"
    contig = draw(st.integers(0, 1))
    mapq = draw(st.sampled_from([0, 3, 60, 255]))
    return {
        "name": name,
        "flag": flag,
        "contig": contig,
        "position": position,
        "cigar": inner,
        "mapq": mapq,
        "tags": tags,
    }


@st.composite
def all_options(draw):
    cell_tag = draw(st.sampled_from([None, "CB"]))
    barcodes = draw(st.sampled_from([None, ("CCC-1", "AAA-1", "NONE")])) if cell_tag else None
    return BamOptions(
        draw(st.sampled_from(["auto", "tag", "RF", "FR", "none"])),
        min_anchor=draw(st.sampled_from([0, 1, 5, 8])),
        min_intron=draw(st.sampled_from([1, 8])),
        max_intron=draw(st.sampled_from([10, 500])),
        min_mapq=draw(st.sampled_from([0, 10])),
        skip_duplicates=draw(st.booleans()),
        cell_tag=cell_tag,
        umi_tag=draw(st.sampled_from([None, "UB"])),
        barcodes=barcodes,
    )


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(fragments(), max_size=40), all_options(), st.randoms(), st.sampled_from([1, 3, 1000])
)
def test_any_reads_in_any_order_equal_slow_count(tmp_path, made, options, random, n_reads):
    made = sorted(made, key=lambda read: (read["contig"], read["position"]))
    path = write(tmp_path / "sorted.bam", [make_read(**read) for read in made])
    expected = slow_count(path, options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_bam, "_N_READS", n_reads)  # condense often
        part = count_bam(path, "cell", options)
        assert counts(part) == expected
        assert part.report["reads"] == len(made)
        if options.barcodes:
            assert part.cells == options.barcodes
        random.shuffle(made)
        path = write(tmp_path / "shuffled.bam", [make_read(**read) for read in made])
        shuffled = count_bam(path, "cell", options)
    assert counts(shuffled) == expected
    assert shuffled.report == part.report


def test_report_accounts_for_all_reads_and_introns(tmp_path):
    reads = [
        make_read(flag=4),
        make_read(flag=256 | 2048),
        make_read(flag=2048),
        make_read(flag=512),
        make_read(cigar="40M"),
        make_read(mapq=1),
        make_read(tags=[("UB", "A")]),
        make_read(tags=[("CB", "other"), ("UB", "A")]),
        make_read(tags=[("CB", "one")]),
        make_read(tags=[("CB", "one"), ("UB", "A")], cigar="20M10N20M100N7M100N20M600000N20M"),
        make_read(tags=[("CB", "one"), ("UB", "A")]),
        make_read(tags=[("CB", "one"), ("UB", "A")], flag=1024),
    ]
    path = write(tmp_path / "reads.bam", reads)
    options = BamOptions(min_mapq=2, cell_tag="CB", umi_tag="UB", barcodes=("two", "one"))
    part = count_bam(path, "", options)
    assert {key: n for key, n in part.report.items() if n} == {
        "reads": 12,
        "reads_unmapped": 1,
        "reads_secondary": 1,
        "reads_supplementary": 1,
        "reads_qc_fail": 1,
        "reads_duplicate": 1,
        "reads_spliced": 7,
        "reads_low_mapq": 1,
        "reads_without_barcode": 1,
        "reads_other_barcode": 1,
        "reads_without_umi": 1,
        "introns_too_short": 1,
        "introns_too_long": 1,
        "introns_short_anchor": 2,
        "umi_copies": 1,
        "introns_counted": 1,
        "introns_without_strand": 1,
    }
    assert part.cells == ("two", "one")
    assert counts(part) == {("one", "chr1", 121, 220, "?"): 1}


def test_mates_count_once_and_the_stranded_one_decides(tmp_path):
    pair = [make_read(flag=99), make_read(flag=147, position=105, cigar="15M100N25M")]
    assert count_reads(tmp_path, *pair) == {("chr1", 121, 220, "?"): 1}
    pair[1].set_tag("XS", "-", "A")
    assert count_reads(tmp_path, *pair) == {("chr1", 121, 220, "-"): 1}
    pair[0].set_tag("XS", "+", "A")  # two junctions then, each once
    expected = {("chr1", 121, 220, "-"): 1, ("chr1", 121, 220, "+"): 1}
    assert count_reads(tmp_path, *pair) == expected
    single = [make_read(), make_read()]
    assert count_reads(tmp_path, *single) == {("chr1", 121, 220, "?"): 2}


def pairs_far_apart(n: int = 40):
    """Pairs whose mates span one intron from places that differ, one base before it at last."""
    for i in range(n):
        for flag, left in ((99, 20), (147, 1)):
            place = 1_000 + 50 * i
            yield make_read(f"q{i}", flag, position=place - left, cigar=f"{left}M100N20M")


@pytest.mark.parametrize("n_reads", [1, 2, 7])
@pytest.mark.parametrize("contigs", [1, 2])
def test_names_are_forgotten_neither_too_early_nor_in_disorder(
    tmp_path, monkeypatch, n_reads, contigs
):
    monkeypatch.setattr(_bam, "_N_READS", n_reads)
    reads = list(pairs_far_apart())
    for i, read in enumerate(reads):
        read.reference_id = i // 2 % contigs
    in_order = sorted(reads, key=lambda read: (read.reference_id, read.reference_start))
    firsts, seconds = reads[::2], reads[1::2]
    for order in (in_order, in_order[::-1], firsts + seconds, seconds[::-1] + firsts, reads):
        part = count_bam(write(tmp_path / "a.bam", order), "c", BamOptions(min_anchor=1))
        assert part.count.tolist() == [1] * 40
        assert part.report["mates_of_one_fragment"] == 40
        assert part.report["reads"] == 80


def test_anchor_is_aligned_bases_up_to_the_next_intron(tmp_path):
    read = make_read(cigar="5S3M2I5M100N4M2D2=80N7M")
    assert count_reads(tmp_path, read, min_anchor=7) == {("chr1", 217, 296, "?"): 1} | {
        ("chr1", 109, 208, "?"): 1
    }
    assert count_reads(tmp_path, read, min_anchor=8) == {("chr1", 109, 208, "?"): 1}
    assert count_reads(tmp_path, read, min_anchor=9) == {}


def test_strand_tags(tmp_path):
    def strand(*tags, flag=0, **options):
        (key,) = count_reads(tmp_path, make_read(flag=flag, tags=tags), **options)
        return key[3]

    assert strand() == "?"
    assert strand(("XS", -12, "i")) == "?"  # BWA's
    assert strand(("XS", -12, "i"), ("ts", "+", "A")) == "+"
    assert strand(("ts", "+", "A"), flag=16) == "-"
    assert strand(("ts", "-", "A"), flag=16) == "+"
    assert strand(("XS", "-", "A"), ("ts", "+", "A")) == "-"
    assert strand(("XS", "-", "A"), ("ts", "+", "A"), strand_tag="ts") == "+"
    assert strand(("XX", "-", "A"), ("XS", "+", "A"), flag=16, strand_tag="XX") == "-"
    assert strand(("XS", "-", "A"), strand="none") == "?"


def test_strand_of_libraries():
    # Reads of a transcript on +, from a dUTP library: read 1 reversed, read 2 forward.
    for flag in (83, 163, 16, 1 | 8 | 16 | 64, 1 | 8 | 128):
        assert STRANDS[library_strand(flag, "RF")] == "+"
        assert STRANDS[library_strand(flag, "FR")] == "-"
    for flag in (99, 147, 0, 1 | 8 | 64, 1 | 8 | 16 | 128):
        assert STRANDS[library_strand(flag, "RF")] == "-"
        assert STRANDS[library_strand(flag, "FR")] == "+"
    for flag in (65, 129, 113, 177, 1, 1 | 64 | 128):  # mates in one direction; read 1 or 2?
        assert STRANDS[library_strand(flag, "RF")] == "?"
    for flag in (83, 163, 99, 147, 65, 129, 113, 177):  # as regtools where both are aligned
        for library in ("RF", "FR"):
            assert library_strand(flag, library) == regtools_strand(flag, library)


def test_cram_equals_bam_and_needs_no_reference(tmp_path, data_dir):
    rng = np.random.default_rng(0)
    fasta = tmp_path / "genome.fa"
    genome = {n: "".join(rng.choice(list("ACGT"), size)) for n, size in CONTIGS.items()}
    fasta.write_text("".join(f">{name}\n{bases}\n" for name, bases in genome.items()))
    pysam.faidx(str(fasta))
    reads = []
    for i in range(300):
        flag = int(rng.choice([83, 99, 147, 163]))
        tags = [("CB", "AAA"), ("UB", f"U{i % 7}")] + [("XS", "+", "A")] * (i % 2)
        start = 100 + i // 10
        reads.append(make_read(f"q{i % 150}", flag, 0, start, f"{20 + i % 3}M100N20M", tags=tags))
    bam = write(tmp_path / "reads.bam", reads)
    cram = write(tmp_path / "reads.cram", reads, "wc", reference_filename=str(fasta))
    for options in (
        BamOptions(),
        BamOptions("RF", cell_tag="CB", umi_tag="UB"),
        BamOptions("RF", regtools=True),
        BamOptions(reference=str(fasta), threads=2),
    ):
        one, other = count_bam(bam, "c", options), count_bam(cram, "c", options)
        assert counts(one) == counts(other)
        assert one.report == other.report
        assert one.n_junctions
    fasta.rename(tmp_path / "away.fa")
    assert counts(count_bam(cram, "c", BamOptions())) == counts(count_bam(bam, "c", BamOptions()))
    with pytest.raises(ValueError, match=r"reference .*genome\.fa .*reads\.cram is no file"):
        count_bam(cram, "c", BamOptions(reference=str(fasta)))
    damaged = tmp_path / "damaged.cram"
    for cut in (-38, -100, 2 * cram.stat().st_size // 3):
        damaged.write_bytes(cram.read_bytes()[:cut])
        with pytest.raises(ValueError, match=r"damaged\.cram"):
            count_bam(damaged, "c", BamOptions())


def test_damaged_files_are_named(tmp_path, data_dir, capfd):
    whole = (data_dir / "regtools" / "test_hcc1395.bam").read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    half = len(whole) // 2
    bad = {
        "is empty": b"",
        "is not a BAM": b"chr1\t100\t200\n",
        "is not a BAM or CRAM": gzip.compress(b"chr1\t100\t200\n" * 50),
        "cannot be opened .*EOF": whole[: -len(EOF)],
        "cannot be opened .*truncated": whole[:half],
        "cannot be read to its end.*truncated": whole[:half] + EOF,
        "cannot be read to its end.*damaged": bytes(flipped),
    }
    path = tmp_path / "some.bam"
    for message, content in bad.items():
        path.write_bytes(content)
        for options in (BamOptions(), BamOptions(regtools=True)):
            with pytest.raises(ValueError, match=rf"some\.bam {message}"):
                count_bam(path, "c", options)
    assert capfd.readouterr().err == ""
    # Blocks and end in order, but the last record stops in its middle.
    raw = gzip.decompress(whole)
    with pysam.BGZFile(str(path), "wb") as file:
        file.write(raw[: len(raw) // 2])
    with pytest.raises(ValueError, match=r"some\.bam cannot be read to its end"):
        count_bam(path, "c", BamOptions())
    with pytest.raises(FileNotFoundError, match=r"none\.bam"):
        count_bam(tmp_path / "none.bam", "c", BamOptions())
    with pytest.raises(ValueError, match="is a folder"):
        count_bam(tmp_path, "c", BamOptions())
    with pysam.AlignmentFile(path, "wb", header={"HD": {"VN": "1.6"}}):
        pass
    with pytest.raises(ValueError, match="not aligned"):
        count_bam(path, "c", BamOptions())


def test_file_without_reads_has_no_junctions(tmp_path):
    for options in (BamOptions(), BamOptions(regtools=True)):
        part = count_bam(write(tmp_path / "none.bam", []), "c", options)
        assert part.n_junctions == 0
        assert part.cells == ("c",)
    part = count_bam(tmp_path / "none.bam", "c", BamOptions(cell_tag="CB"))
    assert part.cells == ()


def test_memory_stays_bounded_where_reads_are_sorted(tmp_path, monkeypatch):
    from leafletfa_scvi.pp import _bam_distinct

    kept = []
    condense = _bam_distinct.Distinct.condense

    def spy(self, position):
        kept.append(condense(self, position))
        return kept[-1]

    monkeypatch.setattr(_bam_distinct.Distinct, "condense", spy)
    monkeypatch.setattr(_bam, "_N_READS", 100)
    reads = [make_read(f"q{i}", 99, position=10 * (i // 2)) for i in range(5_000)]
    part = count_bam(write(tmp_path / "a.bam", reads), "c", BamOptions())
    assert part.count.sum() == 5_000
    assert len(kept) > 40
    assert max(kept) <= 6  # introns begin 20 bases into two reads that begin every 10


def test_barcodes_that_differ_by_their_end_are_an_error(tmp_path):
    path = write(tmp_path / "a.bam", [make_read(tags=[("CB", "ACGT-1")])])
    with pytest.raises(ValueError, match="'ACGT-1', the list has 'ACGT'"):
        count_bam(path, "", BamOptions(cell_tag="CB", barcodes=("ACGT",)))
    part = count_bam(path, "", BamOptions(cell_tag="CB", barcodes=("TTTT",)))
    assert part.report["reads_other_barcode"] == 1


def test_read_barcodes(tmp_path):
    path = tmp_path / "barcodes.tsv"
    path.write_text("B-1\tx\nA-1,y\n\nC-1\r\n")
    assert read_barcodes(path) == ("B-1", "A-1", "C-1")
    zipped = tmp_path / "barcodes.tsv.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    zipped.chmod(0o444)
    assert read_barcodes(zipped) == ("B-1", "A-1", "C-1")
    for content, message in (
        (b"\n", "holds no barcode"),
        (b"A\nB\nA\n", r"line 3: the barcode 'A' is on line 1"),
        (b"\xff\xfe\n", "is no text"),
        (gzip.compress(b"A\nB\n")[:-9], "truncated"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"barcodes\.tsv.*{message}"):
            read_barcodes(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strand": "fr"}, "strand='fr'"),
        ({"min_anchor": -1}, "min_anchor=-1"),
        ({"min_intron": 10, "max_intron": 5}, "max_intron=5 is below"),
        ({"cell_tag": "cell"}, "two characters"),
        ({"barcodes": ("A",)}, "cell_tag='CB'"),
        ({"barcodes": "A", "cell_tag": "CB"}, "read_barcodes"),
        ({"barcodes": (), "cell_tag": "CB"}, "is empty"),
        ({"barcodes": ("A", "A"), "cell_tag": "CB"}, "'A' is listed more than once"),
        ({"regtools": True, "umi_tag": "UB"}, "not UMIs"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        BamOptions(**options)


def test_imports_light():
    heavy = "('torch', 'scvi', 'scanpy', 'pyro', 'anndata')"
    code = f"import sys, leafletfa_scvi.pp._bam; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"

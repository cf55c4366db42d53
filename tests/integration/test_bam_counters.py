"""Counting spliced reads equals regtools and slow counters of other make."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import pysam
import pytest
from helpers.bam import make_read, write
from helpers.parts import counts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leafletfa_scvi.pp.read._barcodes import read_barcodes
from leafletfa_scvi.pp.read.bam import _count as _bam
from leafletfa_scvi.pp.read.bam._count import count_bam
from leafletfa_scvi.pp.read.bam._options import BamOptions


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
    """Counts of each cell, intron and strand."""
    return dict(sum(slow_kinds(path, options, name).values(), Counter()))


def slow_kinds(path, options: BamOptions, name: str = "cell"):
    """Counts of UMIs and of fragments, from sets of names or UMIs of each cell and intron."""
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
            if options.multimapped == "drop" and tags.get("NH", 1) > 1:
                continue
            cell = tags.get(options.cell_tag, "-") if options.cell_tag else name
            if cell == "-" or (options.barcodes and cell not in options.barcodes):
                continue
            molecule = read.query_name if read.is_paired else i
            if options.umi_tag:
                umi = tags.get(options.umi_tag, "-")
                counted = {"auto": [""], "drop": [], "keep": ["", "-"]}
                if umi not in ("", "-"):
                    molecule = ("umi", umi)
                elif umi not in counted[options.umi_missing]:
                    continue
            strand = slow_strand(read, options)
            for start, end, left, right in slow_introns(read.cigarstring, read.reference_start):
                long_enough = options.min_intron <= end - start + 1 <= options.max_intron
                if long_enough and min(left, right) >= options.min_anchor:
                    seen[cell, read.reference_name, start, end, molecule].add(strand)
    total = {"umi": Counter(), "fragment": Counter()}
    for (cell, contig, start, end, molecule), strands in seen.items():
        kind = "umi" if isinstance(molecule, tuple) else "fragment"
        for strand in strands - {"?"} or {"?"}:
            total[kind][cell, contig, start, end, strand] += 1
    return total


@pytest.mark.parametrize(
    ("strand", "expected", "n"),
    [("tag", "expected_a8.bed", 25), ("RF", "expected_stranded_rf_a8.bed", 49)],
)
def test_parity_mode_equals_regtools(data_dir, strand, expected, n):
    folder = data_dir / "regtools"
    options = BamOptions(strand=strand, regtools=True, min_anchor=8)
    introns = {}
    for line in (folder / expected).read_text().splitlines():
        field = line.split("\t")
        left, right = (int(size) for size in field[10].split(","))
        start, end, score = int(field[1]), int(field[2]), int(field[4])
        introns["c", field[0], start + left + 1, end - right, field[5]] = score
    part = count_bam(folder / "test_hcc1395.bam", "c", options)
    assert len(introns) == n
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
    if hits := draw(st.sampled_from([None, None, 1, 1, 2, 10])):
        tags.append(("NH", hits, "i"))
    if barcode := draw(st.sampled_from([None, "-", "AAA-1", "CCC-1", "GGG-1"])):
        tags.append(("CB", barcode, "Z"))
    if (umi := draw(st.sampled_from([None, "-", "", "TT", "GG", name]))) is not None:
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
    umi_tag = draw(st.sampled_from([None, "UB"]))
    barcodes = draw(st.sampled_from([None, ("CCC-1", "AAA-1", "NONE")])) if cell_tag else None
    return BamOptions(
        draw(st.sampled_from(["auto", "tag", "RF", "FR", "none"])),
        min_anchor=draw(st.sampled_from([0, 1, 5, 8])),
        min_intron=draw(st.sampled_from([1, 8])),
        max_intron=draw(st.sampled_from([10, 500])),
        min_mapq=draw(st.sampled_from([0, 10])),
        multimapped=draw(st.sampled_from(["drop", "keep"])),
        skip_duplicates=draw(st.booleans()),
        cell_tag=cell_tag,
        umi_tag=umi_tag,
        umi_missing=draw(st.sampled_from(["auto", "keep", "drop"])) if umi_tag else "auto",
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
        if options.umi_tag:
            for kind, counted in slow_kinds(path, options).items():
                assert part.report[f"introns_counted_by_{kind}"] == counted.total()
        if options.barcodes:
            assert part.cells == options.barcodes
        random.shuffle(made)
        path = write(tmp_path / "shuffled.bam", [make_read(**read) for read in made])
        shuffled = count_bam(path, "cell", options)
        half = len(made) // 2
        lanes = [tmp_path / "lane1.bam", tmp_path / "lane2.bam"]
        for lane, some in zip(lanes, (made[:half], made[half:]), strict=True):
            write(lane, [make_read(**read) for read in some])
        both = count_bam(lanes[0], "cell", options, lanes[1:])
    assert counts(shuffled) == counts(both) == expected
    assert shuffled.report == part.report
    if options.cell_tag:  # without, each file is looked at for barcodes
        assert both.report == part.report

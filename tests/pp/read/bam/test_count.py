"""Counting spliced reads: known answers."""

from __future__ import annotations

import pytest
from helpers.bam import count_reads, make_read, write
from helpers.parts import counts

from leafletfa_scvi.pp import read_bam, read_star
from leafletfa_scvi.pp._codes import STRANDS
from leafletfa_scvi.pp.read.bam import _count as _bam
from leafletfa_scvi.pp.read.bam._count import count_bam
from leafletfa_scvi.pp.read.bam._options import BamOptions
from leafletfa_scvi.pp.read.bam._strand import library_strand, regtools_strand


def test_reads_of_several_loci_count_as_in_junction_files(tmp_path):
    """By the tag NH: STAR counts such reads in column 8, which is not read by default either."""
    reads = [make_read(f"r{i}", tags=[("NH", hits)]) for i, hits in enumerate([1, 1, 2, 10, 1])]
    reads += [make_read("none"), make_read("low", mapq=1, tags=[("NH", 3)])]
    junction = ("chr1", 121, 220, "?")
    assert count_reads(tmp_path, *reads) == {junction: 4}
    assert count_reads(tmp_path, *reads, multimapped="keep") == {junction: 7}
    assert count_reads(tmp_path, *reads, regtools=True) == {junction: 7}
    report = count_bam(tmp_path / "reads.bam", "c", BamOptions(min_mapq=10)).report
    assert (report["reads_low_mapq"], report["reads_multimapped"]) == (1, 2)
    star = tmp_path / "c.SJ.out.tab"
    star.write_text("chr1\t121\t220\t0\t0\t0\t4\t3\t20\n")
    for keep, all_reads in (("drop", "unique"), ("keep", "all")):
        bam = read_bam(tmp_path / "reads.bam", multimapped=keep)
        assert (bam.X != read_star(star, reads=all_reads).X).nnz == 0


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
        "introns_counted_by_umi": 1,
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


def test_memory_stays_bounded_where_reads_are_sorted(tmp_path, monkeypatch):
    from leafletfa_scvi.pp.read.bam import _distinct as _bam_distinct

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

"""BAM and CRAM files that are damaged, empty or of several kinds; lists of barcodes; options."""

from __future__ import annotations

import gzip

import numpy as np
import pysam
import pytest
from helpers.bam import CONTIGS, make_read, write
from helpers.parts import counts

from leafletfa_scvi.pp.read._barcodes import read_barcodes
from leafletfa_scvi.pp.read.bam._count import count_bam
from leafletfa_scvi.pp.read.bam._options import BamOptions

EOF = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


def test_bam_files_compressed_by_gzip_are_named_as_such(tmp_path):
    bam = write(tmp_path / "reads.bam", [make_read("q", 0, 0, 100, "20M100N20M")])
    with open(bam, "rb") as file:
        packed = file.read()
    plain = gzip.decompress(packed)
    for content, words in (
        (gzip.compress(plain), "compressed by gzip: expected BGZF.*samtools view -b"),
        (gzip.compress(packed), "compressed once more, by gzip: .*gunzip"),
        (gzip.compress(b"CRAM\3\0" + bytes(100)), "compressed once more, by gzip"),
    ):
        path = tmp_path / "other.bam"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"other\.bam is a BAM .*{words}"):
            count_bam(path, "c", BamOptions())
    path.write_bytes(plain)  # not compressed at all
    assert counts(count_bam(path, "c", BamOptions())) == counts(count_bam(bam, "c", BamOptions()))


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
        (b"\xff\xfd\n", "line 1: is no text"),
        (gzip.compress(b"A\nB\n")[:-9], "truncated"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"barcodes\.tsv.*{message}"):
            read_barcodes(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strand": "fr"}, "strand to be .*, found 'fr'"),
        ({"min_anchor": -1}, "min_anchor to be a number from 0, found -1"),
        ({"min_intron": 10, "max_intron": 5}, "max_intron to be a number from 10, found 5"),
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


def test_no_index_is_made_of_the_reference(tmp_path):
    made_with = tmp_path / "indexed.fa"
    made_with.write_text("".join(f">{name}\n{'A' * size}\n" for name, size in CONTIGS.items()))
    pysam.faidx(str(made_with))
    reads = [make_read(f"q{i}", position=100 + i) for i in range(20)]
    cram = write(tmp_path / "reads.cram", reads, "wc", reference_filename=str(made_with))
    (tmp_path / "mine").mkdir()
    reference = tmp_path / "mine" / "genome.fa"
    reference.write_bytes(made_with.read_bytes())
    made_with.unlink()
    part = count_bam(cram, "c", BamOptions(reference=str(reference)))
    assert list(counts(part).values()) == [1] * 20
    assert [path.name for path in reference.parent.iterdir()] == ["genome.fa"]

"""Nothing is written beside the genome that a CRAM file is read with."""

from __future__ import annotations

import pysam
from helpers.bam import CONTIGS, make_read, write
from helpers.parts import counts

from leafletfa_scvi.pp.read.bam._count import BamOptions, count_bam


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

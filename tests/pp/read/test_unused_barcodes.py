"""A list of cells to keep that no input can use is an error: else all cells would be kept."""

from __future__ import annotations

import pytest
from helpers.bam import make_read
from helpers.bam import write as write_bam
from helpers.junction_files import BARCODES, SJ, write

import leafletfa_scvi as lfa


def test_barcodes_that_no_input_has_are_an_error(tmp_path):
    bam = write_bam(tmp_path / "a.bam", [make_read(tags=[("CB", "AC"), ("UB", "A")])])
    star = write(tmp_path / "b.SJ.out.tab", SJ)
    with pytest.raises(ValueError, match=r"barcodes .*cell_tag"):
        lfa.pp.read_junctions(bam, barcodes=["AC"])
    with pytest.raises(ValueError, match="barcodes"):
        lfa.pp.read_junctions([bam, star], barcodes=["AC"])


def test_barcodes_that_one_input_has_are_used(tmp_path):
    bam = write_bam(tmp_path / "a.bam", [make_read(tags=[("CB", "AC"), ("UB", "A")])])
    regtools = write(tmp_path / "b.bed", BARCODES)
    star = write(tmp_path / "c.SJ.out.tab", SJ)
    counts = lfa.pp.read_junctions(bam, barcodes=["AC"], cell_tag="CB")
    assert list(counts.obs_names) == ["AC"]
    counts = lfa.pp.read_junctions([regtools, star], barcodes=["AC"])
    assert list(counts.obs_names) == ["b_AC", "c"]

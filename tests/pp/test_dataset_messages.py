from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from helpers.bam import make_read, write

import leafletfa_scvi as lfa

GTF = 'chr1\tx\texon\t{}\t{}\t.\t+\t.\tgene_id "G"; transcript_id "T";\n'


@pytest.fixture
def cells(tmp_path):
    """Two cells with the junctions 101-300 and 101-400, 20 reads each, and a GTF of the first."""
    for name in "ab":
        lines = "".join(f"chr1\t101\t{end}\t1\t1\t0\t20\t0\t30\n" for end in (300, 400))
        (tmp_path / f"{name}.SJ.out.tab").write_text(lines)
    (tmp_path / "right.gtf").write_text(GTF.format(1, 100) + GTF.format(301, 500))
    (tmp_path / "wrong.gtf").write_text(GTF.format(9001, 9100) + GTF.format(9301, 9500))
    return tmp_path


def message(*args, **kwargs) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="No ATSE is left") as caught:
            lfa.pp.make_splicing_dataset(*args, **kwargs)
    return str(caught.value)


def test_the_largest_loss_is_named_with_a_remedy(cells):
    files = f"{cells}/*.SJ.out.tab"
    text = message(files, min_cells=3)
    assert "left of 2 junctions. Lost to min_cells (2). Is min_cells right" in text
    assert "Lost to min_reads (2)" in message(files, min_reads=50)
    text = message(files, gtf=cells / "wrong.gtf")
    assert "Lost to no gene (2). Is the annotation of this species" in text
    assert "no other junction at their splice sites (1)" in message(files, max_intron=250)


def test_where_nothing_was_read_the_counts_of_reading_are_shown(cells):
    for path in cells.glob("*.tab"):
        path.write_text(path.read_text().replace("\t20\t", "\t0\t"))
    text = message(f"{cells}/*.SJ.out.tab")
    assert "no junction was read" in text
    assert "rows_without_reads 4" in text


def test_an_annotation_of_something_else_is_doubted(cells):
    junctions = lfa.pp.read_star(f"{cells}/*.SJ.out.tab")
    with pytest.warns(UserWarning, match=r"Only 0% of the reads .* wrong\.gtf has, 0% in its"):
        lfa.pp.make_splicing_dataset(junctions, gtf=cells / "wrong.gtf", no_gene="keep")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        lfa.pp.make_splicing_dataset(junctions, gtf=cells / "right.gtf")


def test_unfit_objects_are_refused(cells, tmp_path):
    junctions = lfa.pp.read_star(f"{cells}/*.SJ.out.tab")
    twice = junctions[[0, 0]].copy()
    with pytest.raises(ValueError, match="the cell 'a' twice"):
        lfa.pp.make_splicing_dataset(twice)
    junctions.write_h5ad(tmp_path / "junctions.h5ad")
    import anndata

    backed = anndata.read_h5ad(tmp_path / "junctions.h5ad", backed="r")
    with pytest.raises(ValueError, match=r"pass inputs\.to_memory\(\)"):
        lfa.pp.make_splicing_dataset(backed)
    again = lfa.pp.make_splicing_dataset(backed.to_memory())
    np.testing.assert_array_equal(again.X.toarray(), 20)
    with pytest.raises(ValueError, match="n_jobs to be a number of processes, found 0"):
        lfa.pp.read_star(f"{cells}/*.SJ.out.tab", n_jobs=0)
    with pytest.raises(TypeError, match="client is a int"):
        lfa.pp.read_star(f"{cells}/*.SJ.out.tab", client=3)


NO_CELL = {"cell_tag": "CB", "umi_tag": None}
FIRST_RUNS = {
    "no UMI": ("reads.bam", {"cell_tag": "CB"}, "reads_without_umi 1.* umi_tag=None"),
    "other tag": ("reads.bam", {"cell_tag": "XC"}, "reads_without_barcode 1.* cell_tag"),
    "other sample": ("reads.bam", {**NO_CELL, "barcodes": ["Z-1"]}, "reads_other_barcode 1.*ends"),
    "anchor": ("reads.bam", {"min_anchor": 60}, "introns_short_anchor 1.* Lower min_anchor"),
    "short": ("reads.bam", {"min_intron": 900}, "introns_too_short 1.* Lower min_intron"),
    "long": ("reads.bam", {"max_intron": 90}, "introns_too_long 1.* Raise max_intron"),
    "quality": ("reads.bam", {"min_mapq": 99}, "reads_low_mapq 1.* Lower min_mapq"),
    "unspliced": ("unspliced.bam", {}, "No read is spliced"),
    "unaligned": ("unaligned.bam", {}, "reads_unmapped 1.* not aligned"),
    "no read": ("none.bam", {}, "hold no reads"),
    "several loci": ("m.SJ.out.tab", {}, "reads_multimapped 9.* star_reads='all'"),
    "empty": ("empty.SJ.out.tab", {}, "hold no reads and no junctions"),
}


@pytest.fixture
def first_runs(tmp_path, cells):
    tags = [("XS", "+"), ("CB", "A-1")]
    kinds = {
        "reads": [{"cigar": "50M200N50M", "tags": tags}],
        "unspliced": [{"cigar": "50M", "tags": tags}],
        "unaligned": [{"cigar": "50M", "flag": 4}],
        "none": [],
    }
    for name, reads in kinds.items():
        write(tmp_path / f"{name}.bam", [make_read(**read) for read in reads])
    (tmp_path / "m.SJ.out.tab").write_text("chr1\t101\t300\t1\t1\t1\t0\t9\t30\n")
    (tmp_path / "empty.SJ.out.tab").write_text("")
    return tmp_path


@pytest.mark.parametrize("with_gtf", [True, False])
@pytest.mark.parametrize("name", FIRST_RUNS)
def test_no_junction_read_is_explained_with_and_without_annotation(first_runs, name, with_gtf):
    file, options, expected = FIRST_RUNS[name]
    gtf = first_runs / "right.gtf" if with_gtf else None
    text = message(first_runs / file, gtf=gtf, **options)
    assert "no junction was read" in text
    assert re.search(expected, text), text
    junctions = lfa.pp.read_junctions(first_runs / file, **options)
    text = message(junctions, gtf=gtf)  # read before
    assert re.search(expected, text), text


def test_tables_without_junctions_pass_through_every_step(first_runs):
    junctions = lfa.pp.read_star(first_runs / "empty.SJ.out.tab")
    annotation = lfa.pp.read_annotation(first_runs / "right.gtf")
    stranded = lfa.pp.resolve_strands(junctions, annotation)
    lfa.pp.annotate_junctions(stranded, annotation)
    assert lfa.pp.filter_junctions(stranded).shape == (1, 0)
    assert "n_genes" in stranded.var

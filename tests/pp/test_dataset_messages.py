from __future__ import annotations

import warnings

import numpy as np
import pytest

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


def test_the_largest_loss_is_named_with_what_helps(cells):
    files = f"{cells}/*.SJ.out.tab"
    text = message(files, min_cells=3)
    assert "left of 2 junctions. Lost to min_cells 2. Is min_cells right" in text
    assert "Lost to min_reads 2" in message(files, min_reads=50)
    text = message(files, gtf=cells / "wrong.gtf")
    assert "Lost to no gene 2. Is the annotation of this species" in text
    assert "no other junction at their splice sites 1" in message(files, max_intron=250)


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
    with pytest.raises(ValueError, match="n_jobs=0"):
        lfa.pp.read_star(f"{cells}/*.SJ.out.tab", n_jobs=0)
    with pytest.raises(TypeError, match="client is a int"):
        lfa.pp.read_star(f"{cells}/*.SJ.out.tab", client=3)

"""A second data set on the junctions of a first."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from helpers.equality import assert_same
from helpers.splicing_data import CLUSTER, JUNCTION, LENIENT, star_line
from hypothesis import given, settings
from hypothesis import strategies as st

import leafletfa_scvi as lfa

pytestmark = pytest.mark.filterwarnings("ignore:.*reads at the splice sites of")


def star(path, lines):
    path.write_text("".join(star_line(*line) for line in lines))
    return path


@pytest.fixture
def first(tmp_path):
    """Junctions 100-300, 100-400 and 350-400 of one ATSE, 700-800 and 700-900 of another."""
    lines = [(100, 300, 5), (100, 400, 3), (350, 400, 7), (700, 800, 2), (700, 900, 1)]
    return lfa.pp.make_splicing_dataset(star(tmp_path / "a.SJ.out.tab", lines), **LENIENT)


@pytest.fixture
def second(tmp_path):
    """Lacks 100-300 and 700-900; 100-500 is novel at a known site, 2000-3000 is elsewhere."""
    lines = [(100, 400, 4), (100, 500, 30), (350, 400, 6), (700, 800, 9), (2000, 3000, 50)]
    star(tmp_path / "b.SJ.out.tab", lines)
    star(tmp_path / "c.SJ.out.tab", [(2000, 3000, 5)])
    return [tmp_path / "b.SJ.out.tab", tmp_path / "c.SJ.out.tab"]


def truth(counts, reference):
    """y and n by the names of junctions, one by one."""
    counts = counts.to_df()
    y = np.zeros((len(counts), reference.n_vars), int)
    n = np.zeros_like(y)
    atse = list(reference.var["atse_id"].astype(str))
    for i, name in enumerate(reference.var_names):
        if name in counts:
            y[:, i] = counts[name]
    for i, label in enumerate(atse):
        for j, other in enumerate(atse):
            if label == other:
                n[:, i] += y[:, j]
    return y, n


def assert_on_reference(adata, counts, reference):
    y, n = truth(counts, reference)
    assert adata.var_names.equals(reference.var_names)
    np.testing.assert_array_equal(adata.layers[JUNCTION].toarray(), y)
    np.testing.assert_array_equal(adata.layers[CLUSTER].toarray(), n)
    np.testing.assert_array_equal(adata.X.toarray(), y)
    assert (adata.layers[CLUSTER].data > 0).all()


def test_counts_and_totals_by_hand(first, second):
    lines = []
    with pytest.warns(UserWarning, match=r"61\.2% of the reads .* at 1 junctions that it lacks"):
        adata = lfa.pp.make_splicing_dataset(second, reference=first, stage=lines.append)
    assert adata.obs_names.tolist() == ["b", "c"]
    assert adata.layers[JUNCTION].toarray().tolist() == [[0, 4, 6, 9, 0], [0] * 5]
    assert adata.layers[CLUSTER].toarray().tolist() == [[10, 10, 10, 9, 9], [0] * 5]
    for name in ("chrom", "start", "end", "strand", "atse_id", "atse_label", "event_type"):
        pd.testing.assert_series_equal(adata.var[name], first.var[name])
    assert list(adata.var) == list(first.var)
    assert adata.var["reads"].tolist() == [0, 4, 6, 9, 0]
    np.testing.assert_allclose(adata.var["usage_5ss"], [0, 4 / 34, 1, 1, 0])
    report = adata.uns["splicing"]["reference"]
    assert (report["junctions"], report["junctions_without_reads"], report["reads"]) == (5, 2, 19)
    assert (report["junctions_not_in_reference"], report["reads_not_in_reference"]) == (2, 85)
    assert report["reads_not_in_reference_at_its_splice_sites"] == 30
    assert lines[-2:] == [
        "  dropped 1 of 5 junctions (55 of 104 reads): not in the reference, and at none of its "
        "splice sites; option: without reference (--like)",
        "  dropped 1 of 5 junctions (30 of 104 reads): not in the reference, but at its splice "
        "sites; option: without reference (--like)",
    ]
    assert lfa.pp.list_losses(adata)["dropped"].tolist() == [1, 1]


@pytest.mark.parametrize("n_first", [2, 6, 10])
def test_gtex_made_apart_equals_counting_together(data_dir, n_first):
    files = sorted((data_dir / "gtex_chr10").glob("*.bed.gz"))
    annotation = lfa.pp.read_annotation(data_dir / "gtex_chr10" / "chr10.gtf.gz")
    first = lfa.pp.make_splicing_dataset(lfa.pp.read_junc(files[:n_first]), gtf=annotation)
    for gtf in (annotation, None):
        adata = lfa.pp.make_splicing_dataset(files[n_first:], gtf=gtf, reference=first)
        together = lfa.pp.read_junc(files)[adata.obs_names]
        assert_on_reference(adata, together, first)
    mine = lfa.pp.make_splicing_dataset(files[:n_first], reference=first)
    for layer in (JUNCTION, CLUSTER):
        assert (mine.layers[layer] != first.layers[layer]).nnz == 0


def test_order_and_labels_of_the_reference_stay(first, second):
    names = first.var_names[[3, 0, 4, 2, 1]]
    reference = first[:, names].copy()
    reference.var["atse_id"] = ["x", "y", "x", "y", "y"]
    reference.var["mine"] = range(5)
    reference.varm["psi_learned"] = np.ones((5, 2))
    adata = lfa.pp.make_splicing_dataset(second, reference=reference)
    assert adata.var["atse_id"].tolist() == list("xyxyy")
    assert adata.var["mine"].tolist() == list(range(5))
    assert_on_reference(adata, lfa.pp.read_star(second), reference)


class TestStrands:
    @pytest.fixture
    def unstranded(self, tmp_path):
        return star(tmp_path / "u.SJ.out.tab", [(100, 300, 5, 0), (700, 900, 2, 0), (9, 99, 1, 0)])

    def test_of_the_reference(self, first, unstranded):
        """As if its junctions had been read together with those of unknown strand."""
        adata = lfa.pp.make_splicing_dataset(unstranded, reference=first)
        assert adata.layers[JUNCTION].toarray().tolist() == [[5, 0, 0, 0, 2]]
        report = adata.uns["splicing"]["reference"]
        assert report["junctions_unstranded_of_reference_strand"] == 2
        assert report["junctions_not_in_reference"] == 1

    def test_of_a_twin_on_the_other_strand_is_left_open(self, first, unstranded, tmp_path):
        more = star(tmp_path / "m.SJ.out.tab", [(100, 300, 8, 2)])
        adata = lfa.pp.make_splicing_dataset([unstranded, more], reference=first)
        assert adata.layers[JUNCTION].toarray().tolist() == [[0, 0, 0, 0, 2], [0, 0, 0, 0, 0]]
        assert adata.uns["splicing"]["reference"]["junctions_not_in_reference"] == 3

    def test_of_the_annotation(self, first, unstranded, tmp_path):
        gtf = tmp_path / "g.gtf"
        text = 'chr1\tx\texon\t{}\t{}\t.\t+\t.\tgene_id "g"; transcript_id "t";\n'
        gtf.write_text("".join(text.format(*exon) for exon in [(50, 99), (301, 400)]))
        more = star(tmp_path / "m.SJ.out.tab", [(100, 300, 8, 2)])
        adata = lfa.pp.make_splicing_dataset([unstranded, more], reference=first, gtf=gtf)
        assert adata.layers[JUNCTION].toarray()[:, 0].tolist() == [5, 0]

    def test_none_in_the_reference(self, unstranded, tmp_path):
        lines = [(100, 300, 1, 0), (100, 400, 1, 0)]
        path = star(tmp_path / "r.SJ.out.tab", lines)
        reference = lfa.pp.make_splicing_dataset(path, unstranded="keep", **LENIENT)
        assert reference.var["strand"].tolist() == ["?", "?"]
        adata = lfa.pp.make_splicing_dataset(unstranded, reference=reference)
        assert adata.layers[CLUSTER].toarray().tolist() == [[5, 5]]


def raw(reads, cell):
    """Junction counts of one cell, as readers return them."""
    var = pd.DataFrame(list(reads), columns=["start", "end", "strand"])
    var.insert(0, "chrom", "chr1")
    var.index = [f"chr1:{s}-{e}:{strand}" for s, e, strand in reads]
    counts = sp.csr_matrix([list(reads.values())], dtype=np.int32)
    return AnnData(counts, pd.DataFrame(index=[cell]), var)


JUNCTIONS = st.dictionaries(
    st.tuples(st.just(100), st.integers(300, 304), st.sampled_from("+-?")),
    st.integers(1, 9),
    min_size=1,
)
ON_BOTH_STRANDS = {(100, 990, "+"): 1, (100, 991, "+"): 1, (100, 992, "-"): 1, (100, 993, "-"): 1}


@settings(deadline=None, max_examples=25)
@given(JUNCTIONS, JUNCTIONS)
def test_strands_and_counts_are_those_of_counting_together(one, other):
    """All share a site with others of their strand, so that the first keeps all that have one."""
    counts = [raw({**ON_BOTH_STRANDS, **one}, "a"), raw({**other, (100, 990, "+"): 2}, "b")]
    first = lfa.pp.make_splicing_dataset(counts[0], **LENIENT)
    second = lfa.pp.make_splicing_dataset(counts[1], reference=first)
    both = anndata.concat(counts, join="outer")
    both.var = (
        pd.concat([part.var for part in counts]).groupby(level=0).first().loc[both.var_names]
    )
    together = lfa.pp.resolve_strands(both)["b"]
    assert_on_reference(second, together, first)
    report = second.uns["splicing"]["reference"]
    assert report["reads"] + report["reads_not_in_reference"] == counts[1].X.sum()


def test_contigs_without_their_prefix(first, tmp_path):
    path = star(tmp_path / "b.SJ.out.tab", [(100, 300, 5)])
    path.write_text(path.read_text().replace("chr1", "1"))
    adata = lfa.pp.make_splicing_dataset(path, reference=first)
    assert adata.layers[JUNCTION].toarray().tolist() == [[5, 0, 0, 0, 0]]


def test_lengths_of_introns_are_those_of_the_reference(tmp_path):
    path = star(tmp_path / "a.SJ.out.tab", [(100, 120, 5), (100, 400, 3)])
    options = {**LENIENT, "min_intron": 20}
    reference = lfa.pp.make_splicing_dataset(path, **options)
    assert reference.n_vars == 2
    adata = lfa.pp.make_splicing_dataset(path, reference=reference)
    assert_same(adata.layers[JUNCTION], reference.layers[JUNCTION])
    assert adata.uns["splicing"]["parameters"]["min_length"] == 20
    del reference.uns["splicing"]
    again = lfa.pp.make_splicing_dataset(path, reference=reference)
    assert again.uns["splicing"]["parameters"]["min_length"] == 21
    with pytest.raises(ValueError, match="min_intron=50 would leave out 1 of 2 junctions"):
        lfa.pp.make_splicing_dataset(path, reference=reference, min_intron=50)


class TestSources:
    """Where junctions and ATSEs are taken from."""

    @pytest.fixture
    def model(self, first):
        data = anndata.concat([first] * 4, merge="same", index_unique="-")
        data.var = first.var.copy()
        lfa.LeafletFAModel.setup_anndata(data)
        model = lfa.LeafletFAModel(data, 2)
        model.train(method="em", accelerator="cpu", enable_progress_bar=False)
        return model

    def test_all_give_the_same(self, first, second, model, tmp_path):
        first.write_h5ad(tmp_path / "first.h5ad")
        model.save(tmp_path / "with", save_anndata=True)
        model.save(tmp_path / "without")
        wanted = lfa.pp.make_splicing_dataset(second, reference=first)
        loaded = lfa.LeafletFAModel.load(tmp_path / "without", adata=False)
        sources = {
            "file": tmp_path / "first.h5ad",
            "text": str(tmp_path / "first.h5ad"),
            "model": model,
            "folder": tmp_path / "with",
            "folder without data": tmp_path / "without",
            "model without data": loaded,
        }
        for name, source in sources.items():
            adata = lfa.pp.make_splicing_dataset(second, reference=source)
            for layer in (JUNCTION, CLUSTER):
                assert (adata.layers[layer] != wanted.layers[layer]).nnz == 0, name
            columns = ["chrom", "start", "end", "strand", "atse_id", "event_type"]
            for column in columns:
                found, expected = (list(a.var[column].astype(str)) for a in (adata, wanted))
                assert found == expected, (name, column)
            if "without" not in name:
                assert list(adata.var) == list(wanted.var), name
        query = lfa.LeafletFAModel.load_query_data(wanted, loaded)
        assert list(query.atse_labels_) == list(first.var["atse_id"])

    def test_a_model_saved_before_labels_were_has_ids_of_its_junctions(self, first, second, model):
        model = lfa.LeafletFAModel(model.adata, 2)
        model.atse_labels_ = None
        adata = lfa.pp.make_splicing_dataset(second, reference=model)
        assert list(adata.var["atse_id"]) == list(first.var["atse_id"])

    def test_genes_of_the_annotation(self, second, model, tmp_path):
        gtf = tmp_path / "g.gtf"
        text = 'chr1\tx\texon\t{}\t{}\t.\t+\t.\tgene_id "g"; transcript_id "t";\n'
        gtf.write_text("".join(text.format(*exon) for exon in [(50, 99), (301, 950)]))
        model.save(tmp_path / "without")
        adata = lfa.pp.make_splicing_dataset(second, reference=tmp_path / "without", gtf=gtf)
        assert adata.var["gene_id"].tolist() == ["g"] * 5
        assert adata.var["known_junction"].tolist() == [True] + [False] * 4


FILTERS = {
    "min_reads": 3, "min_cells": 4, "min_samples": 2, "canonical_only": True, "min_usage": 0.2,
    "multi_gene": "keep", "no_gene": "keep", "unstranded": "keep", "max_junctions": 9,
}  # fmt: skip


@pytest.mark.parametrize("name", FILTERS)
def test_filters_are_refused(first, name):
    """Before any file is read."""
    with pytest.raises(ValueError, match=f"Expected no {name} with reference, found {name}="):
        lfa.pp.make_splicing_dataset("nowhere", reference=first, **{name: FILTERS[name]})


def test_what_is_no_reference_is_refused(first, second, tmp_path):
    def refused(reference, error, match):
        with pytest.raises(error, match=match):
            lfa.pp.make_splicing_dataset(second, reference=reference)

    refused(first.var, TypeError, "Expected reference to be an AnnData, .* found a DataFrame")
    refused(tmp_path / "none.h5ad", FileNotFoundError, r"no file .*none\.h5ad")
    (tmp_path / "text.h5ad").write_text("text")
    refused(tmp_path / "text.h5ad", ValueError, "neither. The FASTA file of CRAM files")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", ValueError, r"There is no file .*model\.pt")
    refused(lfa.pp.read_star(second), KeyError, "'atse_id' is missing")
    named = first.copy()
    named.var_names = [f"j{i}" for i in range(5)]
    refused(named, ValueError, "to be named chrom:start-end:strand, found 'j0', 5 such")
    other = first.copy()
    other.var["start"] += 1
    other.var_names = [name.replace(":1", ":11") for name in first.var_names]
    away = first[:, :3].copy()
    away.var_names = [f"chr1:{i}1-{i}99:+" for i in (5, 6, 7)]
    refused(away, ValueError, "None of the 5 junctions is one of the 3 of the data set")
    away.var_names = [f"chr9:{i}1-{i}99:+" for i in (5, 6, 7)]
    away.var["chrom"] = "chr9"
    refused(away, ValueError, "No contig of the inputs")


def test_a_fasta_file_is_accepted_under_the_old_name(second, monkeypatch):
    from leafletfa_scvi.pp import _dataset

    seen = []

    def read(*args, **kwargs):
        seen.append(kwargs["cram_reference"])
        raise InterruptedError

    monkeypatch.setattr(_dataset, "read_junctions", read)
    with (
        pytest.warns(FutureWarning, match="a FASTA file for CRAM files is cram_reference"),
        pytest.raises(InterruptedError),
    ):
        lfa.pp.make_splicing_dataset(second, reference="genome.fa.gz")
    assert seen == ["genome.fa.gz"]

"""Steps of preprocessing chain from junction counts to a splicing data set."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import leafletfa_scvi as lfa


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    return lfa.datasets.simulate_alignments(folder, n_cells=4, fragments_per_cell=1500)


@pytest.fixture(scope="module")
def counts(simulated):
    return lfa.pp.read_bam(simulated.bams)


@pytest.fixture
def junctions(counts, simulated):
    """Filtered junctions with genes."""
    junctions = lfa.pp.resolve_strands(counts, genome=simulated.fasta)
    lfa.pp.annotate_junctions(junctions, lfa.pp.read_annotation(simulated.gtf))
    return lfa.pp.filter_junctions(junctions, min_reads=10, min_cells=2)


@pytest.mark.parametrize("with_annotation", [True, False])
def test_steps_chain_to_the_data_set_of_one_call(counts, simulated, with_annotation):
    annotation = lfa.pp.read_annotation(simulated.gtf) if with_annotation else None
    expected = lfa.pp.make_splicing_dataset(counts, gtf=annotation, genome=simulated.fasta)

    junctions = lfa.pp.resolve_strands(counts, annotation, genome=simulated.fasta)
    if annotation is not None:
        lfa.pp.annotate_junctions(junctions, annotation)
    junctions = lfa.pp.filter_junctions(
        junctions, min_reads=10, min_cells=2, min_length=70, max_length=500_000
    )
    junctions = lfa.pp.filter_usage(junctions, min_usage=0.01)
    lfa.pp.find_atses(junctions, use_genes=with_annotation)
    lfa.pp.classify_events(junctions, annotation=annotation)
    adata = lfa.pp.splicing_from_counts(junctions)
    lfa.pp.qc_metrics(adata)

    assert adata.n_vars > 50
    pd.testing.assert_frame_equal(adata.obs, expected.obs)
    pd.testing.assert_frame_equal(adata.var, expected.var)
    assert set(adata.layers) == set(expected.layers)
    for name in (None, *expected.layers):
        one, other = (data.X if name is None else data.layers[name] for data in (adata, expected))
        assert one.dtype == other.dtype
        for part in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(one, part), getattr(other, part))
    record, wanted = dict(adata.uns["splicing"]), dict(expected.uns["splicing"])
    assert (record.pop("source"), wanted.pop("source")) == (
        "splicing_from_counts",
        "make_splicing_dataset",
    )
    del wanted["parameters"]
    assert record == wanted


def test_steps_that_describe_junctions_write_to_the_anndata(junctions):
    for step in (lfa.pp.splice_site_usage, lfa.pp.find_atses, lfa.pp.classify_events):
        assert step(junctions) is None
    columns = ["usage_5ss", "usage_3ss", "atse_id", "atse_label", "event_type"]
    assert set(columns) <= set(junctions.var)
    has_atse = junctions.var["atse_id"].notna()
    assert has_atse.any()
    assert not has_atse.all()
    assert (junctions.var["event_type"].notna() == has_atse).all()
    assert junctions.uns["splicing"]["atses"]["junctions_in_atses"] == has_atse.sum()


def test_steps_that_drop_junctions_leave_the_anndata_unchanged(junctions):
    before = junctions.copy()
    kept = lfa.pp.filter_usage(junctions, 0.4)
    assert 0 < kept.n_vars < junctions.n_vars
    assert (kept.var[["usage_5ss", "usage_3ss"]] >= 0.4).all(axis=None)
    report = kept.uns["splicing"]["splice_site_usage"]
    assert (report["junctions"], report["junctions_kept"]) == (junctions.n_vars, kept.n_vars)
    lfa.pp.find_atses(kept)
    adata = lfa.pp.splicing_from_counts(kept)
    assert adata.n_vars == kept.var["atse_id"].notna().sum()
    pd.testing.assert_frame_equal(junctions.var, before.var)
    assert "splice_site_usage" not in junctions.uns["splicing"]


def test_large_atses_are_split_by_the_reads_of_the_anndata(junctions):
    lfa.pp.find_atses(junctions)
    largest = junctions.uns["splicing"]["atses"]["largest_atse_junctions"]
    assert largest > 2
    lfa.pp.find_atses(junctions, max_junctions=2, giant_size=2)
    report = junctions.uns["splicing"]["atses"]
    assert report["atses_split"] > 0
    assert report["largest_atse_junctions"] == 2
    assert report["giant_atses"] == report["atses"]


def test_tables_are_still_accepted_with_a_warning(junctions):
    lfa.pp.splice_site_usage(junctions)
    lfa.pp.find_atses(junctions)
    lfa.pp.classify_events(junctions)
    table = junctions.var[["chrom", "start", "end", "strand", "gene_id", "n_genes"]]
    reads = np.asarray(junctions.X.sum(axis=0)).ravel()
    deprecated = pytest.warns(FutureWarning, match="of a table of junctions is deprecated")
    with deprecated:
        usage = lfa.pp.splice_site_usage(table, reads)
    pd.testing.assert_frame_equal(usage, junctions.var[["usage_5ss", "usage_3ss"]])
    with deprecated:
        mask, report = lfa.pp.filter_usage(table, reads, 0.4)
    assert report["junctions_kept"] == mask.sum() == lfa.pp.filter_usage(junctions, 0.4).n_vars
    with deprecated:
        labels, report = lfa.pp.find_atses(junctions=table, use_genes=True, reads=reads)
    assert report == junctions.uns["splicing"]["atses"]
    expected = junctions.var["atse_label"].astype(object)
    assert labels.fillna("").tolist() == expected.fillna("").tolist()
    with deprecated:
        events = lfa.pp.classify_events(table, labels)
    has_atse = labels.notna()
    expected = junctions.var["event_type"].astype(object)[has_atse]
    assert (expected == labels[has_atse].map(events)).all()
    with deprecated, pytest.warns(FutureWarning, match="'giant' of find_atses is deprecated"):
        _, report = lfa.pp.find_atses(table, use_genes=True, giant=2)
    assert report["giant_atses"] == report["atses"]


def test_motifs_are_those_that_resolving_strands_writes(counts, simulated):
    stranded = lfa.pp.resolve_strands(counts, genome=simulated.fasta)
    bare = stranded.copy()
    del bare.var["motif"]
    assert lfa.pp.splice_motifs(bare, simulated.fasta) is None
    assert bare.var["motif"].tolist() == stranded.var["motif"].tolist()
    assert (bare.var["motif"] == "GT-AG").any()
    with pytest.warns(FutureWarning, match="splice_motifs of a table of junctions is deprecated"):
        motif, strand = lfa.pp.splice_motifs(bare.var, simulated.fasta)
    assert motif.tolist() == bare.var["motif"].cat.codes.tolist()
    assert len(strand) == bare.n_vars


@pytest.mark.parametrize(
    "step",
    [
        lfa.pp.splice_site_usage,
        lfa.pp.filter_usage,
        lfa.pp.find_atses,
        lfa.pp.classify_events,
        lfa.pp.filter_junctions,
    ],
)
def test_anything_but_an_anndata_is_refused(step):
    with pytest.raises(TypeError, match="Expected an AnnData, found a list"):
        step([1, 2])


def test_a_finished_data_set_is_refused(junctions):
    lfa.pp.find_atses(junctions)
    adata = lfa.pp.splicing_from_counts(junctions)
    for step in (
        lfa.pp.filter_junctions,
        lfa.pp.filter_usage,
        lfa.pp.find_atses,
        lfa.pp.splicing_from_counts,
    ):
        with pytest.raises(ValueError, match="found ATSE totals in layer"):
            step(adata)


def test_missing_labels_are_named(junctions):
    for step in (lfa.pp.classify_events, lfa.pp.splicing_from_counts):
        with pytest.raises(KeyError, match=r"Expected ATSE labels.*Call find_atses first"):
            step(junctions)
    junctions.var["atse_id"] = None
    with pytest.raises(ValueError, match="found none for any of"):
        lfa.pp.splicing_from_counts(junctions)
    with pytest.raises(TypeError, match="Expected an AnnData alone"):
        lfa.pp.splicing_from_counts(junctions, ["a"] * junctions.n_vars)
    with pytest.raises(TypeError, match="Expected atse_id"):
        lfa.pp.splicing_from_counts(junctions.X)

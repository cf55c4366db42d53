"""Every argument of ``make_splicing_dataset`` reaches the step that it is for."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.bam import make_read, write

import leafletfa_scvi as lfa
from leafletfa_scvi.pp import _dataset

LENIENT = {"min_reads": 1, "min_cells": 1, "min_usage": 0.0, "unstranded": "keep"}


@pytest.fixture
def bam(tmp_path):
    """Three junctions of one ATSE, with 5, 4 and 1 reads."""
    sizes = [50] * 5 + [60] * 4 + [900]
    reads = [make_read(f"q{i}", cigar=f"20M{n}N20M") for i, n in enumerate(sizes)]
    return write(tmp_path / "cell.bam", reads)


@pytest.fixture
def calls(monkeypatch):
    """Arguments with which steps are called, by the name of the step."""
    seen = {}

    def spy(name):
        step = getattr(_dataset, name)

        def called(*args, **kwargs):
            seen[name] = args, kwargs
            return step(*args, **kwargs)

        monkeypatch.setattr(_dataset, name, called)

    for name in (
        "filter_junctions", "filter_usage", "find_atses", "resolve_strands", "classify_events"
    ):  # fmt: skip
        spy(name)
    return seen


def test_lengths_of_introns_concern_reading_and_filtering(bam, calls):
    adata = lfa.pp.make_splicing_dataset(bam, min_intron=55, max_intron=1000, **LENIENT)
    assert adata.var_names.tolist() == ["chr1:121-180:?", "chr1:121-1020:?"]
    filtered = calls["filter_junctions"][1]
    assert (filtered["min_length"], filtered["max_length"]) == (55, 1000)


def test_criteria_and_rules_of_atses_are_passed_on(bam, calls, tmp_path):
    genome, gtf = tmp_path / "g.fa", tmp_path / "g.gtf"
    genome.write_text(f">chr1\n{'A' * 2000}\n")
    exons = [(101, 120), (171, 400), (1021, 1100)]
    text = 'chr1\tx\texon\t{}\t{}\t.\t+\t.\tgene_id "g"; transcript_id "t";\n'
    gtf.write_text("".join(text.format(*exon) for exon in exons))
    junctions = lfa.pp.read_bam(bam, min_intron=1)
    junctions.obs["sample"] = "s"
    arguments = {
        "multi_gene": "keep", "no_gene": "keep", "read_through": "keep", "max_junctions": 2
    }  # fmt: skip
    with pytest.raises(ValueError, match="No ATSE is left"):
        lfa.pp.make_splicing_dataset(
            junctions, gtf=gtf, genome=genome, min_reads=3, min_cells=4, min_samples=2,
            canonical_only=True, annotation_status="both", min_usage=0.3, **arguments,
        )  # fmt: skip
    wanted = {
        "min_reads": 3, "min_cells": 4, "min_samples": 2, "min_length": 70, "max_length": 500_000,
        "canonical_only": True, "annotation_status": "both",
    }  # fmt: skip
    assert calls["filter_junctions"][1] == wanted
    assert calls["filter_usage"][0][1] == 0.3
    found = calls["find_atses"][1]
    assert {key: found[key] for key in arguments} == arguments
    assert (found["unstranded"], found["use_genes"]) == ("drop", True)
    _, annotation, path = calls["resolve_strands"][0]
    assert (set(annotation.genes.index), path) == ({"g"}, genome)


def test_events_know_all_junctions_in_use_those_in_no_atse_too(tmp_path, calls):
    reads = [make_read(cigar=f"20M{n}N20M") for n in [50] * 5 + [60] * 4 + [900]]
    bam = write(tmp_path / "cell.bam", [*reads, make_read(contig=1)])
    options = {**LENIENT, "min_intron": 1, "min_usage": 0.2}
    adata = lfa.pp.make_splicing_dataset(bam, **options)
    assert adata.var_names.tolist() == ["chr1:121-170:?", "chr1:121-180:?"]
    used = calls["classify_events"][0][0].var_names
    assert used.tolist() == [*adata.var_names, "chr2:121-220:?"]
    assert adata.var["chrom"].cat.categories.tolist() == ["chr1"]


def test_either_status_needs_an_annotation_too(bam):
    with pytest.raises(ValueError, match="needs an annotation: pass gtf"):
        lfa.pp.make_splicing_dataset(bam, annotation_status="either")


@pytest.mark.parametrize(
    "name",
    [
        *("min_reads", "min_cells", "min_samples", "min_intron", "max_intron", "min_usage"),
        *("max_junctions", "min_anchor", "min_mapq"),
    ],
)
def test_a_text_is_no_number(bam, name):
    with pytest.raises(TypeError, match=rf"Expected {name} (to be|in) .*\d\]?, found '5'"):
        lfa.pp.make_splicing_dataset(bam, **{name: "5"})


def test_numbers_of_numpy_are_numbers(bam):
    numbers = {"min_reads": np.int64(1), "min_cells": np.array(1), "min_usage": np.float32(0)}
    options = {**LENIENT, "min_intron": 1}
    one = lfa.pp.make_splicing_dataset(bam, **options)
    other = lfa.pp.make_splicing_dataset(bam, **{**options, **numbers})
    assert one.var_names.tolist() == other.var_names.tolist()


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (lambda data, **more: lfa.pp.filter_atses(data, **more), "min_cells"),
        (lambda data, **more: lfa.pp.select_variable_atses(data, **more), "min_cells"),
        (lambda data, **more: lfa.pp.pseudobulk(data, "program_true", **more), "min_cells"),
    ],
)
def test_single_steps_report_it_too(small, step, name):
    with pytest.raises(TypeError, match=rf"Expected {name} (to be|in) .*\d\]?, found '5'"):
        step(small, **{name: "5"})


def test_a_tag_of_alignments_where_there_are_none_is_refused(bam, tmp_path):
    path = tmp_path / "c.SJ.out.tab"
    path.write_text("chr1\t101\t200\t1\t1\t0\t5\t0\t30\n")
    with pytest.raises(ValueError, match=r"cell_tag='CB'.*c\.SJ\.out\.tab is read as 'star'"):
        lfa.pp.read_junctions(path, cell_tag="CB")
    assert lfa.pp.read_junctions([path, bam], cell_tag="CB", umi_tag=None).n_vars

"""Data sets from junctions without strands, and around junctions that join two genes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers.annotation import exon
from helpers.splicing_data import LENIENT, assert_contract, star_line

import leafletfa_scvi as lfa

# Each of two genes has a cassette exon.
GENES = {
    "A": [(101, 200), (301, 400), (501, 600)],
    "B": [(1101, 1200), (1301, 1400), (1501, 1600)],
}
CASSETTES = [(201, 300), (401, 500), (201, 500), (1201, 1300), (1401, 1500), (1201, 1500)]


@pytest.fixture
def files(tmp_path):
    """Write a GTF and cells with junctions on strands of STAR (0: unknown), 20 reads each."""

    def write(junctions):
        lines = [
            exon("chr1", *span, "+", gene, gene.lower()) for gene in GENES for span in GENES[gene]
        ]
        (tmp_path / "g.gtf").write_text("".join(lines))
        text = "".join(star_line(start, end, 20, strand) for start, end, strand in junctions)
        for name in "ab":
            (tmp_path / f"{name}.SJ.out.tab").write_text(text)
        return f"{tmp_path}/*.tab", tmp_path / "g.gtf"

    return write


def made(files, junctions, **options):
    said: list[str] = []
    inputs, gtf = files(junctions)
    data = lfa.pp.make_splicing_dataset(inputs, gtf=gtf, stage=said.append, **LENIENT, **options)
    assert_contract(data)
    types = data.var.groupby("atse_id", observed=True)["event_type"].unique()
    return data, {name: list(of) for name, of in types.items()}, [s for s in said if s[0] == " "]


def test_novel_junctions_keep_their_place_with_a_gtf_alone(files):
    """The skipping junctions are novel, and no read has a strand."""
    data, types, said = made(files, [(*span, "0") for span in CASSETTES])
    assert data.n_vars == 6
    assert set(data.var["strand"]) == {"+"}
    assert set(data.var["annotation_status"]) == {"both"}
    assert list(types.values()) == [["cassette_exon"]] * 2
    assert said == []
    strand = data.uns["splicing"]["strand"]
    assert (strand["by_annotation"], strand["by_splice_site"]) == (4, 2)


def test_junctions_of_unknown_strand_are_said_and_kept(files):
    """One end of 201-350 is annotated, neither of 250-350; so its strand is that of its site."""
    novel = [(201, 350, "0"), (250, 350, "0"), (701, 800, "0")]
    junctions = [*((*span, "1") for span in CASSETTES), *novel]
    data, _, said = made(files, junctions)
    assert "chr1:201-350:+" in data.var_names
    assert data.n_vars == 7
    assert said[0].startswith("  dropped 2 of 9 junctions")
    assert (
        "unknown strand; option: genome (--genome), strand='FR' (--strand FR) or unstr" in said[0]
    )

    data, types, said = made(files, junctions, unstranded="keep")
    (kept,) = set(data.var_names) - {*made(files, junctions)[0].var_names}
    assert kept == "chr1:250-350:?"
    assert data.var.loc[kept, "atse_id"] == data.var.loc["chr1:201-350:+", "atse_id"]
    assert len(types) == 2
    assert set(data.var["atse_id"].str.split(":").str[0]) == {"A", "B"}
    # With as few reads as at its other junction, it is filtered by usage like any other.
    assert data.var.loc[kept, "usage_3ss"] == 0.5


def test_the_event_of_a_junction_of_unknown_strand_is_that_of_its_atse(files):
    """Without a GTF, the skipping junction shares both of its sites with the others."""
    strands = ["1", "1", "0", "2", "2", "0"]
    junctions = [(*span, strand) for span, strand in zip(CASSETTES, strands, strict=True)]
    inputs, _ = files(junctions)
    data = lfa.pp.make_splicing_dataset(inputs, unstranded="keep", **LENIENT)
    assert data.n_vars == 6
    assert set(data.var["event_type"]) == {"cassette_exon"}
    assert data.var["strand"].tolist() == ["+", "?", "+", "-", "?", "-"]


JOINING = [(201, 1300), (401, 1350), (401, 1500)]


@pytest.mark.parametrize("joining", JOINING)
def test_a_junction_that_joins_two_genes_changes_the_event_of_neither(files, joining):
    plain = [(*span, "1") for span in CASSETTES]
    before, types, _ = made(files, plain)
    data, again, said = made(files, [*plain, (*joining, "1")])
    assert again == types
    assert list(again.values()) == [["cassette_exon"]] * 2
    pd.testing.assert_frame_equal(
        data.var.drop(columns=["usage_5ss", "usage_3ss"]),
        before.var.drop(columns=["usage_5ss", "usage_3ss"]),
    )
    np.testing.assert_array_equal(data.X.toarray(), before.X.toarray())
    assert len(said) == 1
    assert said[0].startswith("  dropped 1 of 7 junctions")
    assert said[0].endswith("join two genes; option: read_through='keep' (--read-through keep)")
    # Junctions of several genes are others.
    assert made(files, [*plain, (*joining, "1")], multi_gene="keep")[1] == types

    kept, types, said = made(files, [*plain, (*joining, "1")], read_through="keep")
    assert kept.n_vars == 7
    assert kept.var["joins_genes"].sum() == 1
    assert all(label.startswith("A+B:") for label in kept.var["atse_label"])
    labels = kept.var["atse_label"].nunique()
    assert labels == len(types) == (2 if joining == (401, 1350) else 1)
    assert said == []


def test_data_sets_are_combined_without_joining_genes(files):
    plain = [(*span, "1") for span in CASSETTES]
    inputs, gtf = files([*plain, (201, 1300, "1")])
    junctions = lfa.pp.read_junctions(inputs, min_intron=1)
    lfa.pp.annotate_junctions(junctions, lfa.pp.read_annotation(gtf))
    parts = {"x": junctions[:1].copy(), "y": junctions[1:].copy()}
    assert lfa.pp.concat_splicing(parts).n_vars == 6
    kept = lfa.pp.concat_splicing(parts, read_through="keep")
    assert kept.n_vars == 7
    assert kept.var["atse_id"].nunique() == 1


def test_gtex_with_strands_removed_gives_the_same_data_set(data_dir):
    folder = data_dir / "gtex_chr10"
    annotation = lfa.pp.read_annotation(folder / "chr10.gtf.gz")
    junctions = lfa.pp.read_junc(f"{folder}/*.bed.gz")
    options = {"gtf": annotation, "min_reads": 1, "min_cells": 1, "min_usage": 0.0}
    wanted = lfa.pp.make_splicing_dataset(junctions, **options)
    junctions.var["strand"] = "?"
    junctions.var_names = [f"{name[:-1]}?" for name in junctions.var_names]
    found = lfa.pp.make_splicing_dataset(junctions, **options)
    missing = wanted.var_names.difference(found.var_names)
    assert len(found.var_names.difference(wanted.var_names)) == 0
    assert len(missing) <= 11
    novel = ~wanted.var["known_junction"]
    assert set(missing) <= set(wanted.var_names[novel])
    shared = wanted.var.loc[found.var_names]
    assert shared["strand"].tolist() == found.var["strand"].tolist()
    assert shared["gene_id"].tolist() == found.var["gene_id"].tolist()

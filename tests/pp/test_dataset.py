"""Splicing data sets from files: counts by hand, real data, and what is refused."""

from __future__ import annotations

import gzip
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from helpers.equality import assert_same
from helpers.splicing_data import CLUSTER, JUNCTION, LENIENT, assert_contract, star_line

import leafletfa_scvi as lfa

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def tasic(data_dir) -> Path:
    return data_dir / "tasic2016"


def test_tasic_has_its_cells_and_junctions(tasic):
    junctions = lfa.pp.read_star(tasic / "sj", reads="all")
    assert junctions.shape == (264, 703)
    adata = lfa.pp.make_splicing_dataset(
        junctions, gtf=tasic / "gencode.vM10.annotation.subset.gtf"
    )
    assert_contract(adata)
    assert adata.n_obs == 264
    assert "Snap25" in set(adata.var["gene_name"])


def test_known_events_of_tasic_are_found(tasic):
    """Each transcript of Snap25 has exon 5a or 5b; exons of Tufm and Srsf7 are skipped."""
    adata = lfa.pp.make_splicing_dataset(
        tasic / "sj", gtf=tasic / "gencode.vM10.annotation.subset.gtf"
    )
    events = {
        frozenset(group.index): group["event_type"].iloc[0]
        for _, group in adata.var.groupby("atse_id", observed=True)
    }
    exclusive = (
        {"chr2:136763622-136769742:+", "chr2:136763622-136770056:+"},
        {"chr2:136769861-136773894:+", "chr2:136770175-136773894:+"},
    )
    cassettes = (
        {
            "chr7:126487783-126488259:+",
            "chr7:126487783-126488649:+",
            "chr7:126488427-126488649:+",
        },
        {"chr17:80201603-80202168:-", "chr17:80201603-80202690:-", "chr17:80202205-80202690:-"},
    )
    for junctions in exclusive:
        assert events[frozenset(junctions)] == "mutually_exclusive_exons"
    for junctions in cassettes:
        assert events[frozenset(junctions)] == "cassette_exon"


def union_find(junctions) -> set[frozenset]:
    """Groups of at least two junctions that share splice sites, by plain union of sets."""
    parent: dict = {}

    def root(node):
        while parent.setdefault(node, node) != node:
            node = parent[node]
        return node

    members = defaultdict(list)
    for name, chrom, start, end, strand, group in junctions:
        left, right = (chrom, strand, group, start, "l"), (chrom, strand, group, end, "r")
        parent[root(left)] = root(right)
        members[left].append(name)
    groups = defaultdict(set)
    for node, names in members.items():
        groups[root(node)].update(names)
    return {frozenset(names) for names in groups.values() if len(names) > 1}


@pytest.mark.parametrize("with_genes", [True, False])
def test_gtex_atses_are_connected_components(data_dir, with_genes):
    folder = data_dir / "gtex_chr10"
    gtf = folder / "chr10.gtf.gz" if with_genes else None
    adata = lfa.pp.make_splicing_dataset(f"{folder}/*.bed.gz", gtf=gtf, **LENIENT)
    assert_contract(adata)
    assert adata.n_obs == 12
    counts: dict = defaultdict(int)
    for path in sorted(folder.glob("*.bed.gz")):
        of_file = {}
        with gzip.open(path, "rt") as lines:
            for line in lines:  # a junction of several genes is listed several times
                chrom, start, end, _, score, strand = line.split()
                of_file[chrom, int(start) + 1, int(end), strand] = int(float(score))
        for key, score in of_file.items():
            counts[key] += score
    seen = {key for key, count in counts.items() if count > 0}
    group = dict.fromkeys(seen, "")
    if with_genes:
        table = pd.DataFrame(sorted(seen), columns=["chrom", "start", "end", "strand"])
        table.index = [f"{c}:{s}-{e}:{t}" for c, s, e, t in table.itertuples(index=False)]
        import anndata

        junctions = anndata.AnnData(np.ones((1, len(table)), np.float32), var=table)
        lfa.pp.annotate_junctions(junctions, lfa.pp.read_annotation(gtf))
        of_one = junctions.var[junctions.var["n_genes"] == 1]
        group = {
            (row.chrom, row.start, row.end, row.strand): row.gene_id for row in of_one.itertuples()
        }
    rows = [(f"{c}:{s}-{e}:{t}", c, s, e, t, g) for (c, s, e, t), g in group.items()]
    wanted = union_find(rows)
    found = adata.var.groupby("atse_id", observed=True).groups
    assert {frozenset(names) for names in found.values()} == wanted
    for name, names in list(found.items())[:50]:
        for junction in names:
            c, rest, t = junction.split(":")
            s, e = map(int, rest.split("-"))
            column = adata.var_names.get_loc(junction)
            assert adata.layers[JUNCTION][:, [column]].sum() == counts[c, s, e, t], name


@pytest.fixture
def three_cells(tmp_path) -> Path:
    for i in range(3):
        lines = [star_line(100, 300, 5 + i), star_line(100, 400, 3), star_line(350, 400, 7)]
        (tmp_path / f"c{i}.SJ.out.tab").write_text("".join(lines))
    return tmp_path


def test_counts_and_totals_by_hand(three_cells):
    adata = lfa.pp.make_splicing_dataset(three_cells, **LENIENT)
    assert adata.var_names.tolist() == ["chr1:100-300:+", "chr1:100-400:+", "chr1:350-400:+"]
    assert set(adata.var["atse_label"]) == {"chr1:+:ATSE_1"}
    assert set(adata.var["event_type"]) == {"cassette_exon"}
    assert adata.layers[JUNCTION].toarray().tolist() == [[5, 3, 7], [6, 3, 7], [7, 3, 7]]
    assert adata.layers[CLUSTER].toarray()[:, 0].tolist() == [15, 16, 17]
    np.testing.assert_allclose(adata.var["usage_5ss"], [18 / 27, 9 / 27, 1])
    np.testing.assert_allclose(adata.var["usage_3ss"], [1, 9 / 30, 21 / 30])
    assert adata.uns["splicing"]["coordinates"] == "1-based inclusive intron"
    assert adata.uns["splicing"]["parameters"]["min_reads"] == 1


def test_junctions_read_before_give_the_same_and_stay_as_they_were(three_cells, tmp_path):
    junctions = lfa.pp.read_star(three_cells)
    before = junctions.copy()
    adata = lfa.pp.make_splicing_dataset(junctions, **LENIENT)
    assert_same(junctions, before)
    assert_same(adata, lfa.pp.make_splicing_dataset(three_cells, **LENIENT))
    with pytest.raises(TypeError, match="'n_jobs' concerns the reading of files"):
        lfa.pp.make_splicing_dataset(junctions, n_jobs=2)
    adata.write_h5ad(tmp_path / "data.h5ad")  # everything recorded can be stored


@pytest.mark.parametrize("how", ["processes", "dask", "work_dir"])
def test_every_way_of_running_gives_the_same(three_cells, tmp_path_factory, how):
    plain = lfa.pp.make_splicing_dataset(three_cells, **LENIENT)
    if how == "processes":
        other = lfa.pp.make_splicing_dataset(three_cells, n_jobs=2, **LENIENT)
    elif how == "dask":
        from distributed import Client

        with Client(processes=False, n_workers=1, dashboard_address=None) as client:
            other = lfa.pp.make_splicing_dataset(three_cells, client=client, **LENIENT)
    else:
        folder = tmp_path_factory.mktemp("parts") / "new"
        for _ in range(2):
            other = lfa.pp.make_splicing_dataset(three_cells, work_dir=folder, **LENIENT)
        assert len(list(folder.iterdir())) == 3
    assert_same(plain, other)


def test_broken_files_are_named_or_left_out(three_cells):
    (three_cells / "c1.SJ.out.tab").write_text("chr1\t100\tnonsense\t1\t1\t1\t5\t0\t20\n")
    with pytest.raises(ValueError, match=r"c1\.SJ\.out\.tab.*line 1"):
        lfa.pp.make_splicing_dataset(three_cells, **LENIENT)
    with pytest.warns(UserWarning, match=r"1 of 3 files could not be read.*c1\.SJ\.out\.tab"):
        adata = lfa.pp.make_splicing_dataset(three_cells, on_error="skip", **LENIENT)
    assert adata.obs_names.tolist() == ["c0", "c2"]
    assert adata.uns["splicing"]["failed_files"] == [str(three_cells / "c1.SJ.out.tab")]
    for path in three_cells.iterdir():
        path.write_text("nonsense\n")
    with pytest.raises(ValueError, match="No file could be read"):
        lfa.pp.make_splicing_dataset(three_cells, on_error="skip", format="star", **LENIENT)


def test_impossible_arguments_are_refused_before_reading(tmp_path):
    nowhere = tmp_path / "nowhere"
    for arguments, message in (
        ({"annotation_status": "all"}, "annotation_status to be .*, found 'all'"),
        ({"annotation_status": "both"}, "needs an annotation: pass gtf"),
        ({"multi_gene": "maybe"}, "multi_gene to be .*, found 'maybe'"),
        ({"min_usage": 1.5}, r"min_usage in \[0, 1\], found 1.5"),
        ({"max_junctions": 1}, "max_junctions to be a number from 2, found 1"),
        ({"min_intron": 10, "max_intron": 5}, "min_intron=10 is above max_intron=5"),
    ):
        with pytest.raises(ValueError, match=message):
            lfa.pp.make_splicing_dataset(nowhere, **arguments)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        lfa.pp.make_splicing_dataset(nowhere)
    with pytest.raises(TypeError, match="Unknown argument 'color'"):
        lfa.pp.make_splicing_dataset(nowhere, color="red")
    with pytest.raises(ValueError, match="star_reads to be 'unique' or 'all', found 'best'"):
        lfa.pp.make_splicing_dataset(nowhere, star_reads="best")


def test_an_empty_result_explains_the_losses(three_cells):
    with pytest.raises(ValueError, match=r"Lost to min_length \(1\), min_reads \(2\)\."):
        lfa.pp.make_splicing_dataset(three_cells, min_reads=10_000)
    for path in three_cells.iterdir():
        path.write_text(star_line(100, 300, 9, "0") + star_line(100, 400, 9, "0"))
    with pytest.raises(ValueError, match=r"To find strands, pass gtf \(--gtf\) or genome"):
        lfa.pp.make_splicing_dataset(three_cells, **LENIENT)
    adata = lfa.pp.make_splicing_dataset(three_cells, unstranded="keep", **LENIENT)
    assert adata.var_names.tolist() == ["chr1:100-300:?", "chr1:100-400:?"]


def test_barcoded_bam_without_the_tag_warns(data_dir):
    folder = data_dir / "brie_ss2" / "10xData"
    bam = folder / "neuron_1k_v3_possorted_genome_bam.50events.bam"
    with pytest.warns(UserWarning, match="Pass cell_tag='CB'"):
        adata = lfa.pp.read_bam(bam)
    assert adata.n_obs == 1
    cells = lfa.pp.read_bam(bam, cell_tag="CB", barcodes=folder / "barcodes.tsv.gz")
    assert cells.n_obs == 1301


def test_a_gtf_without_genes_is_refused(tmp_path):
    """In a GTF of UCSC's table browser each transcript is a separate gene."""
    starts = {"NM_1": (1001, 2001, 3001), "NM_2": (1001, 3001)}
    (tmp_path / "a.gtf").write_text(
        "".join(
            f"chr1\tx\texon\t{start}\t{start + 199}\t.\t+\t.\t"
            f'gene_id "{name}"; transcript_id "{name}";\n'
            for name, of_exons in starts.items()
            for start in of_exons
        )
    )
    introns = [(1201, 2000), (1201, 3000), (2201, 3000)]
    (tmp_path / "SJ.out.tab").write_text(
        "".join(f"chr1\t{start}\t{end}\t1\t1\t1\t50\t0\t30\n" for start, end in introns)
    )
    options = {"gtf": tmp_path / "a.gtf", "min_reads": 1, "min_cells": 1}
    with pytest.raises(ValueError, match=r"a\.gtf names no genes: gene_id is the same as"):
        lfa.pp.make_splicing_dataset(tmp_path / "SJ.out.tab", **options)
    with pytest.warns(UserWarning, match="names no genes"):
        options["gtf"] = lfa.pp.read_annotation(tmp_path / "a.gtf")
    with pytest.raises(ValueError, match="gtf names no genes"):
        lfa.pp.make_splicing_dataset(tmp_path / "SJ.out.tab", **options)

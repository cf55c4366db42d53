"""Anchors that reach over annotated microexons."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from helpers.bam import make_read, write
from helpers.junction_files import SJ
from helpers.parts import counts
from hypothesis import given, settings
from hypothesis import strategies as st

import leafletfa_scvi as lfa
from leafletfa_scvi.pp.read._options import read_options
from leafletfa_scvi.pp.read.bam._count import count_bam
from leafletfa_scvi.pp.read.bam._microexons import Microexons, reach_over_microexons

COLUMNS = ["chrom", "start", "end", "strand", "gene_id"]
# Exons 101-140, a microexon of 3 bases 241-243, 344-383.
BEFORE, AFTER, SKIPPED = (141, 240), (244, 343), (141, 343)


def introns(*rows) -> pd.DataFrame:
    return pd.DataFrame(
        [row if len(row) == 5 else ("chr1", *row) for row in rows], columns=COLUMNS
    )


GENE = introns((*BEFORE, "+", "A"), (*AFTER, "+", "A"), (*SKIPPED, "+", "A"))


def including(cigar="40M100N3M100N40M", position=100, **more):
    return make_read(position=position, cigar=cigar, **more)


def count(tmp_path, *reads, known=GENE, **options):
    path = write(tmp_path / "reads.bam", reads)
    options = read_options(annotated_introns=known, **options).bam
    part = count_bam(path, "c", options)
    return {key[2:4]: n for key, n in counts(part).items()}, part.report


def test_both_junctions_of_a_microexon_count(tmp_path):
    reads = [*[including()] * 3, make_read(cigar="40M203N40M")]
    found, report = count(tmp_path, *reads)
    assert found == {BEFORE: 3, AFTER: 3, SKIPPED: 1}
    assert report["introns_beside_microexons"] == 6
    assert report["introns_short_anchor"] == 0
    found, report = count(tmp_path, *reads, known=None)
    assert found == {SKIPPED: 1}
    assert "introns_beside_microexons" not in report
    assert report["introns_short_anchor"] == 6


def test_an_intron_that_is_not_annotated_gains_nothing_and_gives_nothing(tmp_path):
    noise = including("40M100N3M90N40M")  # ends at no site
    assert count(tmp_path, noise)[0] == {}
    novel = introns(
        (*BEFORE, "+", "A"), (*AFTER, "+", "A"), (*AFTER, "+", "B"), (244, 333, "+", "B")
    )
    assert count(tmp_path, noise, known=novel)[0] == {}  # at sites of two genes
    apart = introns((*BEFORE, "+", "A"), (300, 499, "+", "A"), (*AFTER, "+", "B"))
    assert count(tmp_path, including(), known=apart)[0] == {}


def test_sites_need_not_be_of_one_annotated_intron(tmp_path):
    # The microexon is annotated with another exon after it, 344-383 with another before it.
    known = introns((*BEFORE, "+", "A"), (244, 900, "+", "A"), (141, 343, "+", "A"))
    assert count(tmp_path, including(), known=known)[0] == {BEFORE: 1, AFTER: 1}


def test_the_whole_anchor_must_be_long_enough(tmp_path):
    # 5 bases before the microexon: its own intron has a short anchor, the next one 5 + 3.
    found, report = count(tmp_path, including("5M100N3M100N40M", position=135))
    assert found == {AFTER: 1}
    assert report["introns_short_anchor"] == 1
    assert count(tmp_path, including("4M100N3M100N40M", position=136))[0] == {}
    assert count(tmp_path, including("40M100N3M100N4M"))[0] == {}
    assert count(tmp_path, including("40M100N3M100N5M"))[0] == {BEFORE: 1}


def test_two_microexons_in_a_row(tmp_path):
    known = introns((*BEFORE, "+", "A"), (*AFTER, "+", "A"), (346, 445, "+", "A"))
    read = including("40M100N3M100N2M100N40M")
    assert count(tmp_path, read, known=known)[0] == {BEFORE: 1, AFTER: 1, (346, 445): 1}
    # The third is not annotated: 3 + 2 bases are too few for the first.
    assert count(tmp_path, read, known=GENE)[0] == {}


@pytest.mark.parametrize(("tag", "n"), [("+", 1), ("-", 0), (None, 1)])
def test_strand_of_the_read_must_be_that_of_the_gene(tmp_path, tag, n):
    tags = [] if tag is None else [("XS", tag, "A")]
    found, _ = count(tmp_path, including(tags=tags))
    assert found == ({BEFORE: 1, AFTER: 1} if n else {})


def test_contigs_by_other_names_and_without_microexons(tmp_path):
    known = GENE.assign(chrom="1")
    assert count(tmp_path, including(), known=known)[0] == {BEFORE: 1, AFTER: 1}
    assert count(tmp_path, including(contig=1), known=known)[0] == {}
    assert count(tmp_path, including(), known=GENE.assign(chrom="Z"))[0] == {}


def test_regtools_mode_takes_no_notice(tmp_path):
    assert read_options(annotated_introns=GENE, regtools=True).bam.microexons is None
    assert count(tmp_path, including(), regtools=True)[0] == {}


def test_only_genes_with_microexons_are_kept():
    longer = introns((1, 100, "+", "B"), (109, 200, "+", "B"))  # an exon of 8 bases
    assert Microexons(longer, 8).sites == {}
    assert set(Microexons(longer, 9).sites) == {"chr1"}
    assert (
        Microexons(pd.concat([GENE, longer]), 8).sites["chr1"] == Microexons(GENE, 8).sites["chr1"]
    )
    with pytest.raises(ValueError, match="found none named 'gene_id'"):
        Microexons(GENE.drop(columns="gene_id"), 8)


def test_counts_in_the_working_directory_depend_on_the_microexons(tmp_path):
    path = write(tmp_path / "c.bam", [including()] * 2)
    folder = tmp_path / "parts"

    def n_junctions(known, **more):
        return lfa.pp.read_bam(path, work_dir=folder, annotated_introns=known, **more).n_vars

    assert n_junctions(None) == 0
    assert n_junctions(GENE) == 2
    assert n_junctions(None) == 0
    assert n_junctions(GENE.iloc[[0, 2]]) == 0
    n_files = len(list(folder.iterdir()))
    far = introns(("chr2", 1, 100, "+", "B"), ("chr2", 200, 300, "+", "B"))
    assert n_junctions(pd.concat([far, GENE.sample(frac=1, random_state=0)])) == 2
    assert len(list(folder.iterdir())) == n_files  # other genes, in any order: the same counts


def test_counts_of_junction_files_do_not_depend_on_an_annotation(tmp_path):
    path = tmp_path / "cell_SJ.out.tab"
    path.write_bytes(SJ)
    for known in (None, GENE):
        lfa.pp.read_junctions(path, work_dir=tmp_path / "parts", annotated_introns=known)
    assert len(list((tmp_path / "parts").iterdir())) == 1


def _gtf(tmp_path):
    exons = {"in": [(101, 140), (241, 243), (344, 383)], "out": [(101, 140), (344, 383)]}
    gtf = tmp_path / "genes.gtf"
    gtf.write_text(
        "".join(
            f'chr1\tx\texon\t{a}\t{b}\t.\t+\t.\tgene_id "A"; transcript_id "{name}";\n'
            for name, parts in exons.items()
            for a, b in parts
        )
    )
    return gtf


def test_make_splicing_dataset_counts_them_with_a_gtf(tmp_path):
    for cell in "ab":
        write(
            tmp_path / f"{cell}.bam", [*[including()] * 30, *[make_read(cigar="40M203N40M")] * 10]
        )
    adata = lfa.pp.make_splicing_dataset(tmp_path, gtf=_gtf(tmp_path), n_jobs=2)
    assert adata.var_names.tolist() == ["chr1:141-240:+", "chr1:141-343:+", "chr1:244-343:+"]
    assert adata.layers["cell_by_junction_matrix"].toarray().tolist() == [[30, 10, 30]] * 2


def test_a_reference_stands_in_for_the_annotation(tmp_path):
    reads = [*[including()] * 30, *[make_read(cigar="40M203N40M")] * 10]
    for cell in "ab":
        write(tmp_path / f"{cell}.bam", reads)
    first = lfa.pp.make_splicing_dataset(tmp_path, gtf=_gtf(tmp_path))
    second = lfa.pp.make_splicing_dataset(tmp_path, reference=first)
    for layer in first.layers:
        assert (first.layers[layer] != second.layers[layer]).nnz == 0


def slow_reach(found, sites_of, min_anchor):
    """Bases on both sides of each intron, block by block."""
    blocks = [found[0][2], *(right for *_, right in found)]
    result = []
    for i in range(len(found)):
        anchors = []
        for step in (-1, 1):
            shared, total = set(sites_of[i]), 0
            block, intron = (i, i - 1) if step < 0 else (i + 1, i + 1)
            while True:
                total += blocks[block]
                if total >= min_anchor or not 0 <= intron < len(found):
                    break
                shared &= set(sites_of[intron])
                if not shared:
                    break
                block, intron = block + step, intron + step
            anchors.append(total)
        result.append((*found[i][:2], *anchors))
    return result


@settings(max_examples=200, deadline=None)
@given(
    blocks=st.lists(st.integers(1, 12), min_size=2, max_size=6),
    data=st.data(),
    min_anchor=st.integers(1, 15),
)
def test_reach_is_that_of_a_walk_from_block_to_block(blocks, data, min_anchor):
    first = np.cumsum([0, *(block + 100 for block in blocks[:-1])])
    found = [
        (int(at) + blocks[i] + 1, int(at) + blocks[i] + 100, blocks[i], blocks[i + 1])
        for i, at in enumerate(first[:-1])
    ]
    assert all(b[0] - a[1] - 1 == a[3] for a, b in pairwise(found))
    genes = [data.draw(st.frozensets(st.integers(0, 2))) for _ in found]
    position = 1_000
    sites = tuple(
        {
            position + intron[side]: frozenset(g << 2 | 1 for g in which)
            for intron, which in zip(found, genes, strict=True)
        }
        for side in (0, 1)
    )
    expected = slow_reach(found, genes, min_anchor)
    assert reach_over_microexons(found, position, 1, sites, min_anchor) == expected
    assert reach_over_microexons(found, position, 0, sites, min_anchor) == expected
    other = reach_over_microexons(found, position, 2, sites, min_anchor)
    assert other == found

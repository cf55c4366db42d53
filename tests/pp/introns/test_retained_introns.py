"""Retained introns: known answers, and introns that are not to be called."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from helpers.bam import make_read, write
from helpers.junction_files import SJ

import leafletfa_scvi as lfa
from leafletfa_scvi.pp.introns._probes import probe_introns
from leafletfa_scvi.pp.introns._retained import spliced_reads

LAYER = "intron_boundary_reads"
# Exons 1001-1100, 2001-2100 and 3001-3100; the second is skipped by some.
FIRST, SECOND, SKIPPING = (f"chr1:{x}:+" for x in ("1101-2000", "2101-3000", "1101-3000"))
EXONS = [(1001, 1100), (2001, 2100), (3001, 3100)]


def exon(a, b, gene="G", transcript="t", strand="+"):
    names = f'gene_id "{gene}"; transcript_id "{gene}{transcript}";'
    return f"chr1\tx\texon\t{a}\t{b}\t.\t{strand}\t.\t{names}\n"


GTF = "".join(
    exon(*EXONS[i], transcript=name) for name, i in zip("aaabb", (0, 1, 2, 0, 2), strict=True)
)


def spliced(intron, n):
    a, b = map(int, intron.split(":")[1].split("-"))
    cigar = f"20M{b - a + 1}N20M"
    return [make_read(position=a - 21, cigar=cigar, tags=[("XS", "+", "A")])] * n


def across(last_base, n):
    """Reads across the position after a base."""
    return [make_read(position=last_base - 20, cigar="40M")] * n


def retaining(left, right, inside, shift=0):
    """Reads of the first intron, or with a shift of 1,000 of the second."""
    reads = across(1100 + shift, left) + across(2000 + shift, right)
    for place in (1250, 1400, 1550, 1700, 1850):
        reads += across(place + shift, inside)
    return reads


def make(tmp_path, *cells, gtf=GTF, **options):
    (tmp_path / "genes.gtf").write_text(gtf)
    for i, reads in enumerate(cells):
        write(tmp_path / f"c{i}.bam", reads)
    return lfa.pp.make_splicing_dataset(
        tmp_path, gtf=tmp_path / "genes.gtf", **{"retained_introns": True, **options}
    )


def usual(*more):
    return [*spliced(FIRST, 60), *spliced(SECOND, 60), *spliced(SKIPPING, 20), *more]


def test_reads_and_psi_by_hand(tmp_path):
    adata = make(tmp_path, usual(*retaining(20, 30, 25)), usual(*retaining(10, 20, 15)))
    assert adata.var_names.tolist() == [FIRST, SKIPPING, SECOND]
    assert adata.layers[LAYER].toarray().tolist() == [[50, 0, 0], [30, 0, 0]]
    table = adata.uns["retained_introns"]
    # The skipping intron has the others within it.
    assert table.index.tolist() == [FIRST, SECOND]
    row = table.loc[FIRST]
    assert (row["left"], row["right"], row["inside"], row["spliced"]) == (30, 50, 40, 160)
    assert row["psi"] == pytest.approx(40 / (40 + 160))
    assert table["event_type"].tolist() == ["retained_intron", ""]
    assert table["atse_id"].tolist() == adata.var.loc[table.index, "atse_id"].tolist()
    assert adata.var["retained_intron"].tolist() == [True, False, False]
    psi = lfa.pp.retained_intron_psi(adata)
    assert psi.columns.tolist() == [FIRST]
    np.testing.assert_allclose(psi[FIRST], [25 / (25 + 80), 15 / (15 + 80)])
    both = lfa.pp.retained_intron_psi(adata, only_retained=False)
    assert both.columns.tolist() == [FIRST, SECOND]
    assert both[SECOND].tolist() == [0, 0]
    few = lfa.pp.retained_intron_psi(adata[:, [1, 2]].copy())
    assert few.shape == (2, 0)


@pytest.mark.parametrize(
    ("reads", "why"),
    [
        (retaining(60, 2, 30), "one boundary"),
        (retaining(20, 20, 3), "little inside"),
        (retaining(9, 8, 9), "few reads"),
        (retaining(10, 10, 10), "low PSI"),
    ],
)
def test_introns_that_are_not_retained(tmp_path, reads, why):
    cell = [read for read in usual() if why != "few reads"]
    cell += [*spliced(FIRST, 5), *spliced(SECOND, 5), *spliced(SKIPPING, 5)]
    adata = make(tmp_path, [*cell, *reads], cell)
    assert not adata.var["retained_intron"].any(), why


@pytest.mark.parametrize(("n", "is_retained"), [(15, False), (60, True)])
def test_a_retained_intron_has_more_reads_than_those_of_noise(tmp_path, n, is_retained):
    noise = [*retaining(12, 12, 12), *retaining(12, 12, 12, 1_000)]
    gtf, reads = GTF, [*usual(), *retaining(n, n, n), *retaining(12, 12, 12, 1_000)]
    for i in range(1, 7):  # other genes, of which there are more reads
        gtf += "".join(
            exon(EXONS[k][0] + 5_000 * i, EXONS[k][1] + 5_000 * i, f"H{i}", name)
            for name, k in zip("aaabb", (0, 1, 2, 0, 2), strict=True)
        )
        for read in [*usual() * 3, *noise]:
            other = read.__copy__()
            other.reference_start += 5_000 * i
            reads.append(other)
    adata = make(tmp_path, reads, gtf=gtf, min_cells=1)
    table = adata.uns["retained_introns"]
    assert table["psi"][FIRST] > 0.1
    assert adata.var["retained_intron"].tolist() == [is_retained, *[False] * 20]
    assert adata.uns["splicing"]["retained_introns"]["background_reads"] == 12


@pytest.mark.parametrize(
    ("other", "is_measurable"),
    [
        ((1050, 1200, "-"), False),  # over the left boundary
        ((1950, 2050, "+"), False),
        ((500, 4000, "-"), False),  # all of it
        ((1400, 1600, "-"), True),  # inside, two positions remain
        ((1110, 1950, "-"), False),
        ((3050, 4000, "-"), True),
        ((1101, 2000, "-"), False),
    ],
)
def test_exons_of_other_genes(tmp_path, other, is_measurable):
    first, last, strand = other
    cells = [usual(*retaining(40, 40, 40))] * 2
    adata = make(tmp_path, *cells, gtf=GTF + exon(first, last, "H", strand=strand))
    assert adata.var["retained_intron"][FIRST] == is_measurable
    assert (FIRST in adata.uns["retained_introns"].index) == is_measurable
    assert (adata.layers[LAYER].toarray()[0, 0] > 0) == is_measurable


def test_an_annotated_retained_intron_is_measured(tmp_path):
    cells = [usual(*retaining(40, 40, 40))] * 2
    gtf = GTF + exon(1001, 2100, transcript="ri") + exon(3001, 3100, transcript="ri")
    assert make(tmp_path, *cells, gtf=gtf).var["retained_intron"][FIRST]


def test_other_junctions_within_an_intron_are_found_as_by_comparing_all():
    rng = np.random.default_rng(0)
    start = rng.integers(1, 60, 200)
    var = pd.DataFrame(
        {
            "chrom": rng.choice(["chr1", "chr2"], 200),
            "start": start,
            "end": start + rng.integers(0, 20, 200),
            "strand": rng.choice(["+", "-"], 200),
        }
    ).drop_duplicates()
    rows = list(var.itertuples())
    expected = [
        not any(
            b.chrom == a.chrom
            and a.start <= b.start
            and b.end <= a.end
            and (a.start, a.end) != (b.start, b.end)
            for b in rows
        )
        for a in rows
    ]
    assert probe_introns(var, None).is_measurable.tolist() == expected
    counts = rng.integers(0, 5, (3, len(var)))
    sums = [
        max(
            sum(counts[0, j] for j, b in enumerate(rows)
                if (b.chrom, b.strand, getattr(b, side)) == (a.chrom, a.strand, getattr(a, side)))
            for side in ("start", "end")
        )
        for a in rows
    ]  # fmt: skip
    assert spliced_reads(counts, var)[0].tolist() == sums


def test_results_without_the_option_are_as_before_and_files_resume(tmp_path):
    cells = [usual(*retaining(40, 40, 40))] * 2
    plain = make(tmp_path, *cells, retained_introns=False)
    with_them = make(tmp_path, *cells, work_dir=tmp_path / "parts", n_jobs=2)
    assert len(list((tmp_path / "parts").iterdir())) == 4
    again = make(tmp_path, *cells, work_dir=tmp_path / "parts")
    assert len(list((tmp_path / "parts").iterdir())) >= 4
    np.testing.assert_array_equal(again.layers[LAYER].toarray(), with_them.layers[LAYER].toarray())
    assert LAYER not in plain.layers
    assert "retained_introns" not in plain.uns
    assert "retained_introns" not in plain.uns["splicing"]
    for layer in plain.layers:
        assert (plain.layers[layer] != with_them.layers[layer]).nnz == 0
    pd.testing.assert_frame_equal(plain.var, with_them.var.drop(columns="retained_intron"))
    with pytest.raises(KeyError, match="retained_introns=True"):
        lfa.pp.retained_intron_psi(plain)


def test_barcodes_and_a_file_that_is_written_and_read(tmp_path):
    def tagged(reads, cell):
        copies = [read.__copy__() for read in reads]
        for i, read in enumerate(copies):
            read.set_tags([*read.get_tags(), ("CB", cell), ("UB", f"U{i}")])
        return copies

    reads = tagged(usual(*retaining(40, 40, 40)), "B") + tagged(usual(), "A")
    adata = make(tmp_path, reads, cell_tag="CB", min_cells=1)
    assert adata.obs_names.tolist() == ["A", "B"]
    assert adata.layers[LAYER].toarray().tolist() == [[0, 0, 0], [80, 0, 0]]
    adata.write_h5ad(tmp_path / "a.h5ad")
    read = ad.read_h5ad(tmp_path / "a.h5ad")
    psi, again = lfa.pp.retained_intron_psi(adata), lfa.pp.retained_intron_psi(read)
    assert again.columns.tolist() == psi.columns.tolist() == [FIRST]
    np.testing.assert_array_equal(again, psi)


def test_junctions_of_a_reference_and_files_of_cram(tmp_path):
    first = make(tmp_path, *[usual(*retaining(20, 30, 25))] * 2, retained_introns=False)
    fasta = tmp_path / "genome.fa"
    fasta.write_text(f">chr1\n{'A' * 100_000}\n>chr2\n{'A' * 50_000}\n")
    reads = sorted(usual(*retaining(20, 30, 25)), key=lambda read: read.reference_start)
    cram = write(tmp_path / "c.cram", reads, "wc", reference_filename=str(fasta))
    adata = lfa.pp.make_splicing_dataset(
        cram, reference=first, retained_introns=True, cram_reference=fasta
    )
    assert adata.var_names.tolist() == first.var_names.tolist()
    assert adata.layers[LAYER].toarray().tolist() == [[50, 0, 0]]


def test_what_has_no_reads_in_introns_is_refused(tmp_path):
    path = tmp_path / "c_SJ.out.tab"
    path.write_bytes(SJ)
    with pytest.raises(ValueError, match="'star', which has no reads in introns"):
        lfa.pp.make_splicing_dataset(path, retained_introns=True)
    path.unlink()
    bam = write(tmp_path / "c.bam", usual())
    with pytest.raises(ValueError, match="found regtools=True"):
        lfa.pp.make_splicing_dataset(bam, retained_introns=True, regtools=True)
    with pytest.raises(ValueError, match="found counts in an AnnData"):
        lfa.pp.make_splicing_dataset(lfa.pp.read_bam(bam), retained_introns=True)
    bam.unlink()
    bam = tmp_path / "c0.bam"
    adata = make(tmp_path, usual(), min_cells=1, retained_introns=False)
    for wrong in ({"min_psi": 1.5}, {"min_reads": 0}):
        with pytest.raises(ValueError, match="min_"):
            lfa.pp.count_retained_introns(adata, bam, **wrong)

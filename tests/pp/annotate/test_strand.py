from __future__ import annotations

import gzip
import os
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pysam
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from leafletfa_scvi.pp import read_junc, read_regtools
from leafletfa_scvi.pp._codes import MOTIFS, STRANDS
from leafletfa_scvi.pp.annotate import _genome
from leafletfa_scvi.pp.annotate._annotation import read_annotation
from leafletfa_scvi.pp.annotate._genome import motifs_and_strands
from leafletfa_scvi.pp.annotate._strand import resolve_strands

ENDS = {
    "GT-AG": "+",
    "GC-AG": "+",
    "AT-AC": "+",
    "CT-AC": "-",
    "CT-GC": "-",
    "GT-AT": "-",
    "GT-AC": "?",
    "CT-AG": "?",
}
OWN = {"CT-AC": "GT-AG", "CT-GC": "GC-AG", "GT-AT": "AT-AC"}


def write_genome(path, contigs, width=17):
    text = ""
    for name, letters in contigs.items():
        lines = [letters[i : i + width] for i in range(0, len(letters), width)]
        text += f">{name} a contig\n" + "\n".join(lines) + "\n"
    Path(path).write_text(text)
    return path


def with_introns(length, introns):
    """``A`` everywhere, but for both ends of introns, 1-based and inclusive."""
    letters = ["A"] * length
    for start, end, ends in introns:
        letters[start - 1 : start + 1] = ends[:2]
        letters[end - 2 : end] = ends[3:]
    return "".join(letters)


def counts(rows, reads=None, **more):
    """One cell for each row of ``reads`` over junctions ``(chrom, start, end, strand)``."""
    var = pd.DataFrame(rows, columns=["chrom", "start", "end", "strand"])
    var.index = [f"{c}:{s}-{e}:{sign}" for c, s, e, sign in rows]
    reads = np.arange(1, 2 * len(rows) + 1).reshape(2, -1) if reads is None else np.array(reads)
    return anndata.AnnData(sp.csr_matrix(reads.astype(np.int32)), var=var.assign(**more))


def by_name(adata):
    return dict(zip(adata.var_names, adata.X.toarray().T.tolist(), strict=True))


@pytest.mark.parametrize("start", [b">", b"", b">chr1 "])
def test_a_first_line_without_end_is_refused_before_it_fills_the_memory(
    tmp_path, monkeypatch, start
):
    plain, packed = tmp_path / "a.fa", tmp_path / "b.fa.gz"
    plain.write_bytes(start + b"x" * 2_000_000)
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    monkeypatch.setattr(pysam, "FastaFile", None)  # is not reached
    for path in (plain, packed):
        with pytest.raises(ValueError, match=rf"{path.name}, line 1: is longer than"):
            motifs_and_strands(counts([("chr1", 10, 20, "+")]).var, path)


@pytest.fixture
def genome(tmp_path):
    places = [(100 * i + 11, 100 * i + 90, ends) for i, ends in enumerate(ENDS)]
    return write_genome(
        tmp_path / "genome.fa",
        {"chr1": with_introns(900, places), "chr2": with_introns(30, [(11, 20, "gt-aG")])},
    )


def all_ends(strand):
    return counts([("chr1", 100 * i + 11, 100 * i + 90, strand) for i in range(len(ENDS))]).var


@pytest.mark.parametrize("strand", STRANDS)
def test_motifs_on_the_own_strand(genome, strand):
    motif, implied = motifs_and_strands(all_ends(strand), genome)
    assert motif.dtype == implied.dtype == np.int8
    assert [STRANDS[code] for code in implied] == list(ENDS.values())
    wanted = [
        OWN.get(ends, ends) if right == (right if strand == "?" else strand) != "?" else None
        for ends, right in ENDS.items()
    ]
    assert [MOTIFS[code] for code in motif] == [name or "non-canonical" for name in wanted]


def test_case_unknown_bases_contigs_and_short_introns(tmp_path):
    path = write_genome(tmp_path / "g.fa", {"1": "aacgtaaaagAAANTAAAAGgtaCc", "MT": "GTAAAG"})
    table = counts(
        [
            ("chr1", 4, 10, "?"),  # lower case
            ("chr1", 14, 20, "+"),  # N
            ("ERCC", 4, 10, "+"),  # not in the genome
            ("chrM", 1, 6, "-"),
            ("chr1", 24, 25, "+"),  # the last bases
            ("chr1", 1, 1, "+"),
            ("chrM", 6, 6, "+"),
        ]
    ).var
    motif, implied = motifs_and_strands(table, path)
    names = [MOTIFS[code] for code in motif]
    assert names == [
        "GT-AG",
        "unknown",
        "unknown",
        "non-canonical",
        "non-canonical",
        "unknown",
        "unknown",
    ]
    assert [STRANDS[code] for code in implied] == ["+", "?", "?", "+", "?", "?", "?"]


def test_an_intron_beyond_the_contig_is_named(genome):
    with pytest.raises(ValueError, match=r"chr2:11-31:\+ ends beyond contig 'chr2'.*30 bases"):
        motifs_and_strands(counts([("chr2", 11, 20, "+"), ("chr2", 11, 31, "+")]).var, genome)
    assert motifs_and_strands(counts([("chr2", 11, 30, "+")]).var, genome)[0].tolist() == [1]
    with pytest.raises(ValueError, match="No contig of the junctions"):
        motifs_and_strands(counts([("scaffold", 11, 20, "+")]).var, genome)
    with pytest.raises(FileNotFoundError, match="Expected a genome at .*none.fa, found nothing"):
        motifs_and_strands(counts([("chr2", 11, 20, "+")]).var, genome.with_name("none.fa"))


@pytest.mark.parametrize("kind", ["plain", "bgzip", "indexed", "read-only", "stale"])
def test_the_folder_of_the_genome_stays_as_it_is(genome, kind):
    folder = genome.parent
    table = all_ends("?")
    wanted = motifs_and_strands(table, genome)
    if kind == "bgzip":
        pysam.tabix_compress(str(genome), f"{genome}.gz")
        genome = Path(f"{genome}.gz")
    elif kind == "indexed":
        pysam.FastaFile(str(genome)).close()
    elif kind == "read-only":
        folder.chmod(0o555)
    elif kind == "stale":  # the index of another genome
        Path(f"{genome}.fai").write_text("chr9\t10\t6\t17\t18\n")
        os.utime(f"{genome}.fai", (1, 1))
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    try:
        found = motifs_and_strands(table, genome)
    finally:
        folder.chmod(0o755)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_files_without_a_genome(tmp_path):
    table = counts([("chr1", 1, 9, "+")]).var
    path = tmp_path / "g.fa.gz"
    for content in (gzip.compress(b">chr1\nACGT\n"), b"", b"chr1\t1\n", bytes(range(200))):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="g.fa.gz cannot be read as a genome"):
            motifs_and_strands(table, path)


@settings(max_examples=40, deadline=None)
@given(
    st.text("ACGTN", min_size=40, max_size=200),
    st.lists(
        st.tuples(st.integers(1, 36), st.integers(1, 160), st.sampled_from(STRANDS)),
        min_size=1,
        max_size=20,
        unique=True,
    ),
    st.sampled_from([1, 7, 1 << 20]),
)
def test_motifs_equal_slices_of_the_genome(tmp_path_factory, letters, places, window):
    places = [(s, min(s + n, len(letters)), sign) for s, n, sign in places]
    path = write_genome(tmp_path_factory.mktemp("slices") / "g.fa", {"c": letters})
    complement = str.maketrans("ACGTN", "TGCAN")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_genome, "_WINDOW", window)
        motif, implied = motifs_and_strands(counts([("c", *place) for place in places]).var, path)
    for i, (start, end, sign) in enumerate(places):
        intron = letters[start - 1 : end]
        back = intron.translate(complement)[::-1]
        names = {"+": f"{intron[:2]}-{intron[-2:]}", "-": f"{back[:2]}-{back[-2:]}"}
        right = [side for side in "+-" if names[side] in MOTIFS]
        assert len(right) < 2
        assert STRANDS[implied[i]] == (right[0] if right else "?")
        side = sign if sign != "?" else STRANDS[implied[i]]
        name = names.get(side, names["+"])
        wanted = name if name in MOTIFS and side != "?" else "non-canonical"
        assert MOTIFS[motif[i]] == ("unknown" if "N" in names["+"] else wanted)


GTF = "".join(
    f'chr1\t.\texon\t{start}\t{end}\t.\t{strand}\t.\tgene_id "{gene}"; transcript_id "{gene}";\n'
    for gene, strand, start, end in [
        ("A", "+", 1, 10), ("A", "+", 91, 110), ("A", "+", 191, 210), ("A", "+", 291, 300),
        ("B", "-", 1, 10), ("B", "-", 91, 110), ("B", "-", 391, 410), ("B", "-", 491, 500),
    ]
)  # fmt: skip


@pytest.fixture
def annotation(tmp_path):
    (tmp_path / "a.gtf").write_text(GTF)
    return read_annotation(tmp_path / "a.gtf")


@pytest.fixture
def every_rule():
    """Junctions that meet each of the rules, most of them without a strand."""
    rows = [
        ("1", 311, 390, "?"),  # 390 is annotated on -, as its motif CT-AC says
        ("1", 511, 590, "?"),  # annotated nowhere, motif GT-AT
        ("1", 111, 190, "?"),  # annotated on + alone, a twin on -: the twin counts
        ("1", 111, 190, "-"),
        ("1", 211, 290, "?"),  # both twins: the annotation decides, +
        ("1", 211, 290, "+"),
        ("1", 211, 290, "-"),
        ("1", 11, 90, "?"),  # annotated on both strands: the motif decides, +
        ("1", 611, 690, "?"),  # no rule
        ("1", 711, 790, "+"),  # was never without strand
        ("1", 312, 390, "+"),
        ("1", 411, 490, "?"),  # annotated on -, twin on -
        ("1", 411, 490, "-"),
        ("ERCC", 5, 9, "?"),
    ]
    return counts(rows)


def test_every_rule(every_rule, annotation, genome):
    found = resolve_strands(every_rule, annotation, genome)
    x = every_rule.X.toarray()
    assert by_name(found) == {
        "1:11-90:+": x[:, 7].tolist(),
        "1:111-190:-": (x[:, 2] + x[:, 3]).tolist(),
        "1:211-290:+": (x[:, 4] + x[:, 5]).tolist(),
        "1:211-290:-": x[:, 6].tolist(),
        "1:311-390:-": x[:, 0].tolist(),
        "1:312-390:+": x[:, 10].tolist(),
        "1:411-490:-": (x[:, 11] + x[:, 12]).tolist(),
        "1:511-590:-": x[:, 1].tolist(),
        "1:611-690:?": x[:, 8].tolist(),
        "1:711-790:+": x[:, 9].tolist(),
        "ERCC:5-9:?": x[:, 13].tolist(),
    }
    assert found.X.dtype == np.int32
    assert isinstance(found.X, sp.csr_matrix)
    assert list(found.var["motif"]) == [
        "GT-AG", "non-canonical", "AT-AC", "non-canonical", "GT-AG", "non-canonical", "GC-AG",
        "AT-AC", "non-canonical", "non-canonical", "unknown",
    ]  # fmt: skip


def test_the_report_counts_junctions_and_reads_of_each_rule(every_rule, annotation, genome):
    found = resolve_strands(every_rule, annotation, genome)
    value = every_rule.X.toarray().sum(axis=0).tolist()
    assert found.uns["splicing"]["strand"] == {
        "unstranded": 8,
        "reads_unstranded": sum(value[i] for i in (0, 1, 2, 4, 7, 8, 11, 13)),
        "merged_into_twin": 2,
        "reads_merged_into_twin": value[2] + value[11],
        "by_annotation": 1,
        "reads_by_annotation": value[4],
        "by_splice_site": 1,
        "reads_by_splice_site": value[0],
        "by_motif": 2,
        "reads_by_motif": value[1] + value[7],
        "splice_site_against_motif": 0,
        "reads_splice_site_against_motif": 0,
        "left_unstranded": 2,
        "reads_left_unstranded": value[8] + value[13],
        "strand_against_motif": 2,  # 111-190 and 211-290 on -, whose motifs are on +
        "reads_strand_against_motif": value[2] + value[3] + value[6],
        "annotation_unmatched_contigs": 1,
        "genome_unmatched_contigs": 1,
        "junctions_before": 14,
        "junctions_after": 11,
        "introns_compared": 5,  # 111-190, 211-290, 711-790, 411-490 and 312-390
        "introns_on_both_strands": 1,
    }


def test_the_given_object_does_not_change(every_rule, annotation, genome):
    before = every_rule.copy()
    resolve_strands(every_rule, annotation, genome)
    pd.testing.assert_frame_equal(every_rule.var, before.var)
    assert (every_rule.X != before.X).nnz == 0
    assert every_rule.uns == {}


@pytest.mark.parametrize(
    ("start", "end", "strand"),
    [
        (211, 250, "+"),  # 211 is a donor of A
        (222, 290, "+"),
        (411, 450, "-"),  # 411 is an acceptor of B
        (300, 390, "-"),
        (111, 290, "?"),  # 111 is one of A and of B, though 290 is of A alone
        (111, 150, "?"),
        (211, 390, "?"),  # 211 of A, 390 of B
        (90, 150, "?"),  # 90 is the end of an intron, not a start
        (150, 211, "?"),
        (20, 80, "?"),  # within A and B
        (212, 289, "?"),
    ],
)
def test_one_annotated_site_on_one_strand_decides(annotation, start, end, strand):
    found = resolve_strands(counts([("chr1", start, end, "?")]), annotation)
    assert list(found.var_names) == [f"chr1:{start}-{end}:{strand}"]
    report = found.uns["splicing"]["strand"]
    assert report["by_splice_site"] == (strand != "?")
    assert report["left_unstranded"] == (strand == "?")
    assert report["by_annotation"] == 0


def test_a_site_and_a_motif_that_disagree_decide_nothing(tmp_path, annotation):
    introns = [
        (211, 250, "CT-AC"),  # a site on +, a motif on -
        (222, 290, "GT-AG"),  # both on +
        (111, 150, "GC-AG"),  # sites on both strands: the motif decides
        (311, 390, "AA-AA"),  # no motif: the site decides
        (411, 490, "GT-AG"),  # an annotated intron, against its motif
    ]
    path = write_genome(tmp_path / "g.fa", {"chr1": with_introns(900, introns)})
    junctions = counts([("chr1", start, end, "?") for start, end, _ in introns])
    found = resolve_strands(junctions, annotation, path)
    assert set(found.var_names) == {
        "chr1:211-250:?", "chr1:222-290:+", "chr1:111-150:+", "chr1:311-390:-", "chr1:411-490:-",
    }  # fmt: skip
    report = found.uns["splicing"]["strand"]
    assert report["splice_site_against_motif"] == report["left_unstranded"] == 1
    assert report["reads_splice_site_against_motif"] == junctions.X[:, 0].sum()
    assert (report["by_annotation"], report["by_splice_site"], report["by_motif"]) == (1, 2, 1)


def test_gtex_with_strands_removed(data_dir, tmp_path):
    """Introns of one transcript for each gene are annotated: of the others, none goes wrong."""
    folder = data_dir / "gtex_chr10"
    with gzip.open(folder / "chr10.gtf.gz", "rt") as file:
        lines = [line for line in file if "\texon\t" not in line or "Ensembl_canonical" in line]
    (tmp_path / "a.gtf").write_text("".join(lines))
    junctions = read_junc(f"{folder}/*.bed.gz")
    truth = {name[:-2]: name[-1] for name in junctions.var_names}
    assert len(truth) == junctions.n_vars
    junctions.var["strand"] = "?"
    junctions.var_names = [f"{name}:?" for name in truth]
    found = resolve_strands(junctions, read_annotation(tmp_path / "a.gtf"))
    is_right = {truth[name[:-2]] == name[-1] for name in found.var_names if name[-1] != "?"}
    assert is_right == {True}
    report = found.uns["splicing"]["strand"]
    assert report["unstranded"] == 10_343
    assert report["by_annotation"] == 7515
    assert report["by_splice_site"] == 2344
    assert report["left_unstranded"] == 484


def introns_on_both(weaker, n_on_both=3, n_on_one=0):
    rows = [("c", 10 * i, 10 * i + 5, sign) for i in range(1, n_on_both + 1) for sign in "+-"]
    rows += [("d", 10 * i, 10 * i + 5, "+") for i in range(1, n_on_one + 1)]
    return counts(rows, [[100, weaker] * n_on_both + [100] * n_on_one])


def test_a_library_that_is_not_stranded_is_noticed():
    message = r"3 of 4 introns with at least 10 reads .* 23% of their .* strand='auto' \(--strand"
    with pytest.warns(UserWarning, match=message):
        found = resolve_strands(introns_on_both(40, 3, 1))
    report = found.uns["splicing"]["strand"]
    assert (report["introns_compared"], report["introns_on_both_strands"]) == (4, 3)
    for usual in (
        introns_on_both(20),  # antisense reads
        introns_on_both(40, 2),  # too few to tell
        introns_on_both(40, 3, 28),  # overlapping genes
        introns_on_both(3)[:, :0],
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            resolve_strands(usual.copy())


def test_regtools_files_of_a_library_that_is_not_stranded(data_dir):
    folder = data_dir / "regtools"
    with pytest.warns(UserWarning, match="11 of 11 introns .* 48% of their reads"):
        resolve_strands(read_regtools(folder / "expected_stranded_rf_a8.bed"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        resolve_strands(read_regtools(folder / "expected_a8.bed"))


def test_without_annotation_and_genome_only_twins_decide():
    adata = counts([("2", 1, 9, "?"), ("10", 1, 9, "?"), ("2", 1, 9, "-"), ("2", 1, 8, "+")])
    adata.uns["splicing"] = {"source": "x"}
    adata.obsm["X_a"] = np.ones((2, 2))
    adata.varm["w"] = np.arange(4)[:, None]
    adata.layers["unique"] = adata.X.copy()
    found = resolve_strands(adata)
    assert by_name(found) == {"2:1-8:+": [4, 8], "2:1-9:-": [4, 12], "10:1-9:?": [2, 6]}
    assert (found.layers["unique"] != found.X).nnz == 0
    assert found.varm["w"].ravel().tolist() == [3, 2, 1]
    assert "motif" not in found.var
    assert found.uns["splicing"]["source"] == "x"
    assert found.uns["splicing"]["strand"]["left_unstranded"] == 1
    assert "strand" not in adata.uns["splicing"]


def test_rows_of_one_name_are_summed_in_the_order_of_strands():
    adata = counts([("c", 1, 9, "+"), ("c", 1, 9, "-"), ("c", 1, 9, "?"), ("c", 1, 9, "?")])
    adata = adata[:, [3, 0, 2, 1]]  # a view
    assert by_name(resolve_strands(adata)) == {
        "c:1-9:?": [7, 15],
        "c:1-9:+": [1, 5],
        "c:1-9:-": [2, 6],
    }
    assert adata.is_view


@pytest.mark.parametrize("kind", ["category", "object"])
def test_motifs_of_readers_are_kept(genome, kind):
    rows = [
        ("chr1", 11, 90, "+"), ("chr1", 11, 90, "?"), ("chr1", 111, 190, "+"),
        ("chr1", 211, 290, "?"),
    ]  # fmt: skip
    motifs = ["unknown", "GC-AG", "AT-AC", "unknown"]
    adata = counts(rows, motif=motifs)
    adata.var = adata.var.astype({"motif": kind, "strand": kind, "chrom": kind})
    plain, read = resolve_strands(adata), resolve_strands(adata, genome=genome)
    assert list(plain.var["motif"]) == ["GC-AG", "AT-AC", "unknown"]
    assert list(plain.var["strand"]) == ["+", "+", "?"]
    assert list(read.var["motif"]) == ["GC-AG", "AT-AC", "AT-AC"]
    assert list(read.var["strand"]) == ["+", "+", "+"]
    assert list(read.var_names) == ["chr1:11-90:+", "chr1:111-190:+", "chr1:211-290:+"]


def test_a_strand_found_by_the_annotation_has_the_motif_of_that_strand(tmp_path, annotation):
    path = write_genome(tmp_path / "g.fa", {"chr1": with_introns(900, [(411, 490, "GT-AG")])})
    found = resolve_strands(counts([("chr1", 411, 490, "?")]), annotation, path)
    assert list(found.var_names) == ["chr1:411-490:-"]
    assert list(found.var["motif"]) == ["non-canonical"]
    assert found.uns["splicing"]["strand"]["strand_against_motif"] == 1


def test_errors_describe_the_problem(annotation):
    adata = counts([("chr1", 1, 9, "?")])
    adata.layers["cell_by_cluster_matrix"] = adata.X.copy()
    with pytest.raises(ValueError, match="then find ATSEs"):
        resolve_strands(adata)
    with pytest.raises(ValueError, match="has motif 'GTAG'"):
        resolve_strands(counts([("chr1", 1, 9, "?")], motif=["GTAG"]))
    with pytest.raises(ValueError, match="No contig of the junctions"):
        resolve_strands(counts([("scaffold", 1, 9, "?")]), annotation)
    large = counts([("c", 1, 9, "?"), ("c", 1, 9, "+")], [[2**31 - 1, 1]])
    with pytest.raises(ValueError, match="2,147,483,648, too much for int32"):
        resolve_strands(large)
    bare = counts([("chr1", 1, 9, "?")])
    bare.X = None
    with pytest.raises(ValueError, match="Expected junction counts in adata.X, found none"):
        resolve_strands(bare)


def test_no_junctions_at_all(annotation, genome):
    empty = counts([("chr1", 1, 9, "?")])[:, :0].copy()
    found = resolve_strands(empty, annotation, genome)
    assert found.shape == (2, 0)
    assert found.uns["splicing"]["strand"]["unstranded"] == 0


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["chr1", "chr2", "chr10"]),
        st.sampled_from([1, 11, 111]),
        st.sampled_from([190, 290, 390]),
        st.sampled_from(STRANDS),
    ),
    min_size=1,
    max_size=20,
    unique=True,
)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.randoms(use_true_random=False))
def test_reads_are_kept_and_order_does_not_matter(tmp_path_factory, rows, rng):
    path = tmp_path_factory.getbasetemp() / "strand.gtf"
    path.write_text(GTF)
    annotation = read_annotation(path)
    rows = list(dict.fromkeys([*rows, ("chr1", 1, 8, "+")]))
    adata = counts(rows)
    found = resolve_strands(adata, annotation)
    assert (found.X.sum(axis=1) == adata.X.sum(axis=1)).all()
    assert found.var_names.is_unique
    places = found.var[["chrom", "start", "end", "strand"]]
    key = [
        (int(c[3:]), s, e, STRANDS.index(sign))
        for c, s, e, sign in places.itertuples(index=False, name=None)
    ]
    assert key == sorted(key)
    order = rng.sample(range(len(rows)), len(rows))
    again = resolve_strands(adata[:, order].copy(), annotation)
    pd.testing.assert_frame_equal(again.var, found.var)
    assert (again.X != found.X).nnz == 0
    assert again.uns["splicing"]["strand"] == found.uns["splicing"]["strand"]
    assert by_name(resolve_strands(found, annotation)) == by_name(found)
